"""After a start: what is loaded, who has how long, and what a store that is too old leads to."""

from __future__ import annotations

import pytest

from tenure.contract.errors import SessionExpiredError, StoreRolledBackError
from tenure.contract.events import RoleChangedEvent
from tenure.contract.messages import Hello
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tests.unit.scene import HISTORY, Client, Scene


def test_a_holder_keeps_its_role_over_a_restart() -> None:
    """★ A session goes on under its number and its epoch after the broker was away, without registering again."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    scene.now_ms += 1_500

    scene.restart()
    scene.now_ms += 1_999
    scene.expire()

    a.hello(resume=True)
    assert a.beat().confirmed == (held.epoch,)


def test_everybody_has_a_full_lease_after_a_restart() -> None:
    """★ However little of its lease was left, a session has a full one from the start of the broker on, and no more."""
    scene = Scene()
    a = scene.client("a", lease_ms=5_000)
    scene.now_ms += 4_999

    scene.restart()
    scene.now_ms += 4_999
    assert scene.expire().events == ()
    scene.now_ms += 1
    scene.expire()

    with pytest.raises(SessionExpiredError):
        a.beat()


def test_nobody_is_promoted_before_it_was_heard() -> None:
    """★ A standby that was healthy before the restart may be long gone: it is promoted once it is heard again."""
    scene = Scene()
    a, b = scene.client("a", lease_ms=1_000), scene.client("b", lease_ms=10_000)
    a.claim("r")
    b.stand_by("r")

    scene.restart()
    scene.now_ms += 1_000
    scene.expire()
    assert scene.resource("r").standbys[0].status is ServiceStatus.STARTING
    assert scene.who("r") == "- | b"

    b.beat()
    assert scene.who("r") == "b |"


def test_a_silent_session_is_late_after_a_restart() -> None:
    """A session that does not come back is late after half its lease, as ever."""
    scene = Scene()
    scene.client("a").stand_by("r")

    scene.restart()
    scene.now_ms += 1_001

    assert scene.resource("r").standbys[0].status is ServiceStatus.LATE


def test_within_two_leases_of_a_restart() -> None:
    """After a restart a resource whose active does not come back has a new one within one more lease."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")

    scene.restart()
    scene.pass_ms(2_000, b)

    assert scene.who("r") == "b |"


def test_what_was_not_committed_never_was() -> None:
    """A claim that was decided but not committed is not there after the restart; nobody was told of it."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    scene.is_committing = False
    lost = a.claim("r")

    scene.restart()

    held = b.claim("r")
    assert held.epoch == lost.epoch
    assert scene.who("r") == "b |"


def test_epochs_and_revisions_continue() -> None:
    """Revisions and epochs go on where the store ends."""
    scene = Scene()
    a = scene.client("a")
    first = a.claim("r")
    a.resign(first)
    newest = scene.registry.revision

    scene.restart()

    assert a.claim("r").epoch > newest


def test_what_a_vacancy_needs_survives() -> None:
    """A declined vacancy, a lost active and an abandoned resource are as they were."""
    scene = Scene()
    a, b, c = (scene.client(name) for name in "abc")
    a.resign(a.claim("declined"))
    b.claim("lost")
    c.beat(ServiceStatus.STARTING)
    c.stand_by("lost")
    b.claim("abandoned")
    scene.end_session(b)

    scene.restart()
    a.beat()
    c.beat()

    assert scene.who("declined") == "- | a"
    assert scene.who("lost") == "c |"
    assert a.stand_by("abandoned").role is ServiceRole.ACTIVE


def test_a_client_that_has_seen_more_than_the_store() -> None:
    """★ A hello that has seen a newer revision of this history is refused: the store is an old copy."""
    scene = Scene()
    a = scene.client("a")

    with pytest.raises(StoreRolledBackError) as refused:
        a.hello(resume=True, history_id=HISTORY, last_revision=scene.registry.revision + 1)

    assert refused.value.info.revision == scene.registry.committed_revision


def test_a_client_that_has_seen_another_history() -> None:
    """What a client has seen of another history says nothing about this one."""
    a = Scene().client("a")

    assert a.hello(resume=True, history_id="another", last_revision=10**9).history_id == HISTORY


def test_a_client_that_has_seen_the_newest() -> None:
    """A client that has seen just what is committed is welcome."""
    scene = Scene()
    a = scene.client("a")

    a.hello(resume=True, history_id=HISTORY, last_revision=scene.registry.committed_revision)
    a.beat(last_revision=scene.registry.committed_revision)


def test_a_store_that_was_rolled_back_grants_nothing() -> None:
    """★ Once one client has seen more than the store has, no claim of anybody and no new session is granted."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    with pytest.raises(StoreRolledBackError):
        a.beat(last_revision=10**6)

    with pytest.raises(StoreRolledBackError):
        b.claim("r")
    with pytest.raises(StoreRolledBackError):
        b.register_many()
    with pytest.raises(StoreRolledBackError):
        Client(scene, "c", "").hello()
    with pytest.raises(StoreRolledBackError):
        b.hello(resume=True)


def test_a_store_that_was_rolled_back_confirms_nothing() -> None:
    """★ Nor is any lease renewed or tenure confirmed."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    with pytest.raises(StoreRolledBackError):
        b.beat(last_revision=10**6)

    with pytest.raises(StoreRolledBackError):
        a.beat()


def test_a_store_that_was_rolled_back_promotes_nobody() -> None:
    """★ Nor is a vacancy filled, however it comes about: by expiry, a resignation, a goodbye or a proven death."""
    scene = Scene()
    holders = {name: scene.client(name) for name in ("resigns", "leaves", "dies", "expires")}
    held = {name: client.claim(f"of-{name}") for name, client in holders.items()}
    standby = scene.client("standby")
    for name in holders:
        standby.compete(f"of-{name}")
    with pytest.raises(StoreRolledBackError):
        standby.beat(last_revision=10**6)
    before = len(scene.events)

    holders["resigns"].resign(held["resigns"])
    holders["leaves"].goodbye()
    scene.end_session(holders["dies"])
    assert {scene.who(f"of-{name}")[0] for name in ("resigns", "leaves", "dies")} == {"-"}
    scene.now_ms += 2_000
    scene.expire()

    assert scene.registry.state.registrations == {}
    assert [
        event.new_role for event in scene.events[before:] if isinstance(event, RoleChangedEvent) and event.new_role
    ] == [ServiceRole.STANDBY]


def test_reading_goes_on_over_an_old_copy() -> None:
    """Readers may still look at a store that was rolled back."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r")
    with pytest.raises(StoreRolledBackError):
        a.beat(last_revision=10**6)

    assert scene.who("r") == "a |"
    scene.ask(Hello(version=1))
