"""A holder that does not answer when it is asked: its tenure is renewed no more, and ends with its limit."""

from __future__ import annotations

from tenure.contract.events import RoleChangedEvent
from tenure.contract.interventions import Switchover
from tenure.contract.messages import GivenUp
from tenure.contract.vocabulary import ChangeReason, ServiceStatus
from tests.unit.planned import Planned
from tests.unit.scene import LEASE_MS, Scene


def test_a_holder_that_does_not_answer_ends_with_its_lease() -> None:
    """★ Once the drain is over heartbeats confirm the tenure no more, and it ends a lease after the last that did."""
    planned = Planned()
    planned.start("c", drain_ms=500)
    for _ in range(4):
        planned.scene.pass_ms(100, planned.b, planned.c)
        assert planned.a.beat().confirmed == (planned.held.epoch,)

    planned.scene.pass_ms(100, planned.b, planned.c)
    assert planned.a.beat().confirmed == ()

    planned.scene.pass_ms(LEASE_MS - 101, planned.a, planned.b, planned.c)
    assert planned.scene.who("r") == "a | b c"
    planned.scene.pass_ms(1, planned.a, planned.b, planned.c)
    assert planned.scene.who("r") == "c | b a"
    ended, begun = (event for event in planned.scene.events[-2:] if isinstance(event, RoleChangedEvent))
    assert (ended.reason, begun.reason) == (ChangeReason.REVOKED, ChangeReason.SWITCHOVER)


def test_a_holder_that_finds_its_tenure_confirmed_no_more_is_not_promoted_again() -> None:
    """★ It gives the epoch up a moment before the broker ends it, and is first in line: still the role moves on."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r", priority=9)
    b.stand_by("r")
    scene.ask(Switchover(resource_id="r", epoch=held.epoch))
    scene.pass_ms(LEASE_MS - 1, a, b)

    a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch))

    ended, begun = scene.last.events
    assert isinstance(ended, RoleChangedEvent)
    assert isinstance(begun, RoleChangedEvent)
    assert (ended.reason, begun.reason) == (ChangeReason.REVOKED, ChangeReason.SWITCHOVER)
    assert scene.who("r") == "b | a"


def test_a_holder_that_does_not_answer_is_active_again_where_nobody_is_left() -> None:
    """★ Whoever was to take over is gone by the end of its lease: a healthy holder is not left standing by for ever."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    scene.ask(Switchover(resource_id="r", epoch=held.epoch))
    b.goodbye()

    scene.pass_ms(LEASE_MS, a)

    assert scene.who("r") == "a |"
    assert scene.resource("r").last_epoch > held.epoch


def test_a_held_tenure_that_does_not_answer_ends_with_its_hold() -> None:
    """★ A tenure is believed for its own limit: a longer one takes longer to revoke."""
    planned = Planned(hold_limit_ms=2 * LEASE_MS)
    planned.start("c")

    planned.scene.pass_ms(2 * LEASE_MS - 1, planned.a, planned.b, planned.c)
    assert planned.scene.who("r") == "a | b c"

    planned.scene.pass_ms(1, planned.a, planned.b, planned.c)
    assert planned.scene.who("r") == "c | b a"


def test_a_grant_that_was_not_committed_is_counted_from_every_heartbeat() -> None:
    """★ A holder counts a new tenure from the newest heartbeat that was answered before the grant was committed."""
    scene = Scene(is_committing=False)
    a, b = scene.client("a"), scene.client("b")
    b.stand_by("r")
    scene.commit()
    held = a.claim("r")
    scene.ask(Switchover(resource_id="r", epoch=held.epoch))
    scene.expire()
    scene.now_ms += 1_000

    assert a.beat().confirmed == ()
    scene.commit()

    scene.pass_ms(LEASE_MS - 1, b)
    assert scene.registry.state.resources["r"].active == held.registration_id
    scene.pass_ms(1, b)
    assert scene.registry.state.resources["r"].active != held.registration_id
