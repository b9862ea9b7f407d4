"""For how long nothing was known of a holder when its tenure ended: what people are told, and nothing is decided by."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from tenure.contract.events import DeregisteredEvent, RoleChangedEvent
from tenure.contract.messages import Entered, GivenUp, Registered
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tests.unit.scene import LEASE_MS, Client, Scene

ACTIVE = ServiceRole.ACTIVE


@pytest.mark.parametrize(("ago_ms", "silent_ms"), [(39_000, 39_000), (0, 0), (2**53, 41_000)])
def test_who_gave_its_role_up_while_nobody_heard_it_says_when(ago_ms: int, silent_ms: int) -> None:
    """★ The broker stood still for 41 s, and its holder stopped in time: the tenure ended and the gap began then."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    scene.set_back_ms -= 41_000
    a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch, ago_ms=ago_ms))
    epoch = scene.resource("r").last_epoch
    b.beat(entered=(Entered(epoch=epoch, ago_ms=0),))

    (move,) = scene.moves("r")

    assert (move.end_reason, move.ended_ms - move.last_heard_ms, move.gap_ms) == (
        ChangeReason.GIVEN_UP, silent_ms, silent_ms,
    )  # fmt: skip
    ended = next(event for event in scene.events if isinstance(event, RoleChangedEvent) and event.old_role is ACTIVE)
    assert (ended.silent_ms, ended.at_ms) == (silent_ms, move.ended_ms)


def test_what_a_holder_tells_at_once_was_so_until_then() -> None:
    """★ Of a resignation nothing is unknown; one that no broker heard is told later, with how long ago it was."""
    for given_up in (None, GivenUp(epoch=1, declined=True, ago_ms=700)):
        scene = Scene()
        a = scene.client("a")
        held = a.claim("r")
        scene.pass_ms(900)
        if given_up is None:
            a.resign(held)
        else:
            a.beat(ServiceStatus.HEALTHY, structs.replace(given_up, epoch=held.epoch))
        ended = next(event for event in scene.events if getattr(event, "old_role", None) is ACTIVE)
        assert isinstance(ended, RoleChangedEvent)
        assert (ended.reason, ended.silent_ms) == (ChangeReason.RESIGNED, 0 if given_up is None else 700)


LEAVINGS: dict[ChangeReason, Callable[[Scene, Client, Registered], object]] = {
    ChangeReason.RESIGNED: lambda _, client, held: client.resign(held),
    ChangeReason.DEREGISTERED: lambda _, client, held: client.deregister(held),
    ChangeReason.GOODBYE: lambda _, client, __: client.goodbye(),
    ChangeReason.DIED: lambda scene, client, _: scene.end_session(client),
}


def silence_at_the_end(scene: Scene, reason: ChangeReason) -> int | None:
    """For how long nothing was known of a holder, says the event of its end, which has this reason."""
    (ended,) = [one for one in scene.events if isinstance(one, RoleChangedEvent) and one.old_role is ACTIVE]
    assert ended.reason is reason
    return ended.silent_ms


@pytest.mark.parametrize("reason", LEAVINGS)
@pytest.mark.parametrize(("away_ms", "told", "seen"), [(1_000, 0, 0), (1_001, None, 1_001)])
def test_who_leaves_while_no_broker_listens_may_have_left_long_ago(
    reason: ChangeReason, away_ms: int, told: int | None, seen: int | None
) -> None:
    """★ What is heard of one that is late, by the time of day, is no word on when: half the lease is the bound."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    scene.set_back_ms -= away_ms

    LEAVINGS[reason](scene, a, held)

    assert silence_at_the_end(scene, reason) == (seen if reason is ChangeReason.DIED else told)
    if reason is ChangeReason.RESIGNED:
        assert scene.moves("r")[-1].last_heard_ms == (0 if told is None else scene.now.unix_ms)


@pytest.mark.parametrize("reason", LEAVINGS)
def test_who_leaves_before_it_is_heard_by_a_new_broker_may_have_left_long_ago(reason: ChangeReason) -> None:
    """★ The new broker does not know for how long nobody listened."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    scene.restart()

    LEAVINGS[reason](scene, a, held)

    assert silence_at_the_end(scene, reason) is None


@pytest.mark.parametrize("reason", LEAVINGS)
def test_what_lay_unread_while_the_broker_stood_still_is_no_news(reason: ChangeReason) -> None:
    """★ A heartbeat that is read after a stall may have come when that began: its sender may have left since."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    scene.set_back_ms -= 4_000
    scene.waited_ms = 3_900
    a.beat()
    scene.now_ms += 10
    scene.waited_ms = 0

    LEAVINGS[reason](scene, a, held)

    assert silence_at_the_end(scene, reason) == (3_910 if reason is ChangeReason.DIED else None)


@pytest.mark.parametrize("reason", LEAVINGS)
@pytest.mark.parametrize(("waited_ms", "told", "seen"), [(100, 0, 0), (101, None, 300)])
def test_an_end_that_lay_unread_is_not_dated(reason: ChangeReason, waited_ms: int, told: int | None, seen: int) -> None:
    """★ However short the silence before it: the broker stood still, and the holder may have left when that began."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    a.beat()
    scene.now_ms += 300
    scene.waited_ms = waited_ms

    LEAVINGS[reason](scene, a, held)

    assert silence_at_the_end(scene, reason) == (seen if reason is ChangeReason.DIED else told)


def test_a_heartbeat_that_tells_of_a_tenure_came_after_that_began() -> None:
    """★ However long it may have lain unread: nobody is heard for the last time before he was promoted."""
    scene = Scene()
    a, b, c = scene.client("a"), scene.client("b"), scene.client("c")
    a.claim("r")
    b.stand_by("r")
    c.stand_by("r")
    a.goodbye()
    promoted_ms = scene.now.unix_ms
    scene.now_ms += 10
    scene.waited_ms = 3_900
    b.beat(entered=(Entered(epoch=scene.moves("r")[-1].new_epoch, ago_ms=0),))
    scene.waited_ms = 0
    scene.pass_ms(LEASE_MS, c)

    move = scene.moves("r")[-1]

    assert (move.old_instance_id, move.last_heard_ms) == ("b", promoted_ms)


@pytest.mark.parametrize(("waited_ms", "silent_ms"), [(100, 300), (101, None)])
@pytest.mark.parametrize("declined", [True, False])
def test_how_long_ago_is_no_date_if_it_lay_unread(waited_ms: int, silent_ms: int | None, *, declined: bool) -> None:
    """★ It counts back from when it was sent, which nobody knows of what waited for a broker that stood still."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    scene.set_back_ms -= 4_000
    scene.waited_ms = waited_ms

    a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch, declined=declined, ago_ms=300))

    assert silence_at_the_end(scene, ChangeReason.RESIGNED if declined else ChangeReason.GIVEN_UP) == silent_ms


def test_a_silence_is_as_long_as_the_day_has_it() -> None:
    """★ Leases stand still with the broker; people are told how long it was since the holder was heard."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")
    a.beat()
    heard_ms = scene.now.unix_ms
    scene.set_back_ms -= 41_000
    scene.pass_ms(LEASE_MS, b)

    (move,) = scene.moves("r")

    assert (move.last_heard_ms, move.ended_ms) == (heard_ms, heard_ms + 41_000 + LEASE_MS)


def test_who_was_not_heard_since_the_start_of_the_broker_is_not_said_to_have_been() -> None:
    """★ It was given a lease from the start on; when it was heard last, the broker before it knew."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")
    scene.restart()
    scene.pass_ms(LEASE_MS, b)

    (move,) = scene.moves("r")

    assert (move.end_reason, move.last_heard_ms, move.new_instance_id) == (ChangeReason.EXPIRED, 0, "b")
    ended = next(event for event in scene.events if isinstance(event, DeregisteredEvent))
    assert ended.silent_ms is None


def test_how_long_nobody_was_active_is_not_known_of_one_that_had_stopped_before() -> None:
    """★ A holder that could not confirm its lease had stopped before: if it does not say when, no number is made up."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=None)
    held = a.claim("r")
    b.stand_by("r")
    a.beat(ServiceStatus.UNHEALTHY, GivenUp(epoch=held.epoch))
    b.beat()
    epoch = scene.resource("r").last_epoch
    b.beat(entered=(Entered(epoch=epoch, ago_ms=0),))

    (move,) = scene.moves("r")

    assert (move.end_reason, move.new_epoch, move.entered_ms > 0) == (ChangeReason.GIVEN_UP, epoch, True)
    assert (move.gap_ms, move.last_heard_ms) == (None, 0)
