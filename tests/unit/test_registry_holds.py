"""Holding a role beyond the lease: what a second, longer lease keeps, what it does not, and when it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenure.contract.errors import InvalidRequestError, SessionLapsedError
from tenure.contract.events import RoleChangedEvent, SessionClosedEvent
from tenure.contract.interventions import Switchover
from tenure.contract.limits import HOLD_LIMIT_MS_MAX
from tenure.contract.messages import Register, Registered
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tests.unit.scene import LEASE_MS, Client, Scene

HOLD_MS = 3 * LEASE_MS


def test_a_held_tenure_outlasts_the_lease() -> None:
    """★ Nobody is promoted before the hold limit has passed in silence, and somebody is as soon as it has."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r", hold_limit_ms=HOLD_MS)
    b.stand_by("r")

    scene.pass_ms(HOLD_MS - 1, b)
    assert scene.who("r") == "a | b"

    scene.pass_ms(1, b)
    assert scene.who("r") == "b |"
    assert isinstance(closed := scene.events[-2], SessionClosedEvent)
    assert closed.reason is ChangeReason.EXPIRED
    (move,) = scene.moves("r")
    assert (move.lease_ms, move.hold_limit_ms, move.ended_ms - move.last_heard_ms) == (LEASE_MS, HOLD_MS, HOLD_MS)


def test_a_session_that_lapsed_keeps_what_it_holds_and_no_more() -> None:
    """At the end of the lease its other tenures move on; it stands by for them, late, and is not promoted."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("held", hold_limit_ms=HOLD_MS)
    a.claim("plain")
    b.stand_by("plain")
    b.stand_by("held")

    scene.pass_ms(LEASE_MS, b)

    assert (scene.who("held"), scene.who("plain")) == ("a | b", "b | a")
    demoted = next(e for e in scene.events if isinstance(e, RoleChangedEvent) and e.old_role is ServiceRole.ACTIVE)
    assert (demoted.reason, demoted.silent_ms) == (ChangeReason.EXPIRED, LEASE_MS)


def test_a_session_that_lapsed_comes_back() -> None:
    """A heartbeat within the hold limit finds the session, confirms what is held, and tells what was lost."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held, plain = a.claim("held", hold_limit_ms=HOLD_MS), a.claim("plain")
    b.stand_by("plain")
    a.beat()
    scene.pass_ms(2 * LEASE_MS, b)

    ack = a.beat()

    assert ack.confirmed == (held.epoch,)
    assert [(one.registration_id, one.role) for one in ack.statements] == [(plain.registration_id, ServiceRole.STANDBY)]
    scene.pass_ms(LEASE_MS - 1, b)
    assert scene.who("held") == "a |"
    b.goodbye()
    a.beat()
    assert scene.who("plain") == "a |"


def test_the_lease_counts_anew_after_a_lapse() -> None:
    """A session that came back is watched for its lease again, not only for the end of what it holds."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("held", hold_limit_ms=HOLD_MS)
    scene.pass_ms(LEASE_MS, b)
    a.beat()
    a.claim("plain")
    b.stand_by("plain")

    scene.pass_ms(LEASE_MS, b)

    assert scene.who("plain") == "b | a"


def test_each_tenure_has_a_limit_of_its_own() -> None:
    """Of several held tenures each ends at its own limit, and the session with the last."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("short", hold_limit_ms=HOLD_MS)
    a.claim("long", hold_limit_ms=2 * HOLD_MS)
    for resource_id in ("short", "long"):
        b.stand_by(resource_id)

    scene.pass_ms(HOLD_MS, b)
    assert (scene.who("short"), scene.who("long")) == ("b | a", "a | b")

    scene.pass_ms(HOLD_MS, b)
    assert (scene.who("short"), scene.who("long")) == ("b |", "b |")


def test_a_lapsed_session_is_granted_nothing() -> None:
    """★ Requests renew no lease: a claim by a session that lives on for what it holds is refused until it is heard."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("held", hold_limit_ms=HOLD_MS)
    scene.pass_ms(LEASE_MS, b)

    with pytest.raises(SessionLapsedError):
        a.claim("other")
    with pytest.raises(SessionLapsedError):
        a.register_many(Register(service_name="svc", instance_id="a", resource_id="other"))

    a.beat()
    a.claim("other")


def resign(scene: Scene, holder: Client, held: Registered) -> None:
    """Its requests get through, and its heartbeats do not."""
    del scene
    holder.resign(held)


def deregister(scene: Scene, holder: Client, held: Registered) -> None:
    """Likewise."""
    del scene
    holder.deregister(held)


@pytest.mark.parametrize("lose", [resign, deregister])
def test_a_session_that_lapsed_ends_with_the_last_tenure_it_went_on_for(
    lose: Callable[[Scene, Client, Registered], None],
) -> None:
    """★ Its lease is over, and nothing is left that could be held: its standbys and its names are free at once."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("held", hold_limit_ms=HOLD_MS)
    a.claim("plain")
    b.stand_by("held")
    scene.pass_ms(LEASE_MS, b)
    assert scene.who("plain") == "- | a"

    lose(scene, a, held)

    assert a.session not in scene.registry.state.sessions
    assert scene.who("held") == "b |"
    closed = next(event for event in scene.events if isinstance(event, SessionClosedEvent))
    assert (closed.session, closed.reason) == (a.session, ChangeReason.EXPIRED)


def test_a_session_that_lapsed_ends_with_what_a_switchover_has_revoked() -> None:
    """★ Its tenure was confirmed no more while it was still heard: that ends first, and the session with it."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("held", hold_limit_ms=HOLD_MS)
    b.stand_by("held")
    scene.ask(Switchover(resource_id="held", epoch=held.epoch))
    scene.pass_ms(LEASE_MS / 2, a, b)

    scene.pass_ms(HOLD_MS - LEASE_MS / 2 - 1, b)
    assert scene.who("held") == "a | b"
    scene.pass_ms(1, b)

    assert scene.who("held") == "b |"
    assert a.session not in scene.registry.state.sessions


def test_a_session_that_lapsed_goes_on_for_the_other_tenure_it_holds() -> None:
    """Of two the one that is resigned does not end it."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    first, second = (a.claim(name, hold_limit_ms=HOLD_MS) for name in ("first", "second"))
    scene.pass_ms(LEASE_MS, b)

    a.resign(first)
    assert a.beat().confirmed == (second.epoch,)


def test_a_session_whose_lease_runs_goes_on_without_a_tenure() -> None:
    """One that was heard again after its lease had run out is a session like any other."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("held", hold_limit_ms=HOLD_MS)
    scene.pass_ms(LEASE_MS, b)
    a.beat()

    a.resign(held)

    assert a.beat().session == a.session


def test_proof_ends_a_held_tenure_at_once() -> None:
    """A hold outlasts silence, not proof of death."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r", hold_limit_ms=HOLD_MS)
    b.stand_by("r")

    scene.end_session(a)

    assert scene.who("r") == "b |"


def test_the_limit_is_durable_and_counts_anew_after_a_restart() -> None:
    """A broker that starts again gives the holder its whole limit, as it gives every session its lease."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r", hold_limit_ms=HOLD_MS)
    b.stand_by("r")
    scene.pass_ms(LEASE_MS + 100, b)

    scene.restart()

    b.hello(resume=True)
    scene.pass_ms(HOLD_MS - 1, b)
    assert scene.who("r") == "a | b"
    scene.pass_ms(1, b)
    assert scene.who("r") == "b |"


def test_the_limit_of_a_tenure_is_fixed() -> None:
    """★ What a holder counts on cannot change under it: another limit needs another tenure."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r", hold_limit_ms=HOLD_MS)
    assert held.hold_limit_ms == HOLD_MS

    with pytest.raises(InvalidRequestError, match="resign first"):
        a.claim("r")

    a.resign(held)
    assert a.claim("r", hold_limit_ms=2 * HOLD_MS).hold_limit_ms == 2 * HOLD_MS


@pytest.mark.parametrize("hold_limit_ms", [-1, 1, LEASE_MS, HOLD_LIMIT_MS_MAX + 1])
def test_a_limit_that_makes_no_sense(hold_limit_ms: int) -> None:
    """A hold is longer than the lease and at most a day."""
    scene = Scene()

    with pytest.raises(InvalidRequestError, match="hold_limit_ms"):
        scene.client("a").claim("r", hold_limit_ms=hold_limit_ms)


def test_a_standby_knows_of_no_limit() -> None:
    """A statement has the limit of the tenure it grants; a standby's has none, and the promotion states it."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    waiting = b.register(Register(service_name="svc", instance_id="b", resource_id="r", hold_limit_ms=HOLD_MS))
    assert waiting.hold_limit_ms == 0

    a.goodbye()

    assert [statement.hold_limit_ms for _, statement in scene.last.statements] == [HOLD_MS]
