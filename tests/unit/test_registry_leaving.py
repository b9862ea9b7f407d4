"""Leaving: resignations, deregistrations and goodbyes, and who comes after."""

from __future__ import annotations

import pytest

from tenure.contract.errors import NotActiveError, NotFoundError
from tenure.contract.events import DeregisteredEvent, RoleChangedEvent, SessionClosedEvent
from tenure.contract.messages import (
    Deregistered,
    Resigned,
    RoleStatement,
)
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tenure.domain.limits import RegistryLimits
from tests.unit.scene import Scene


def test_resign() -> None:
    """Whoever resigns stands by, and the successor's tenure begins after the end of this one."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")

    resigned = a.resign(held)

    ended, begun = scene.last.events
    assert resigned == Resigned(
        statement=RoleStatement(
            registration_id=held.registration_id, role=ServiceRole.STANDBY, epoch=0, revision=ended.revision
        )
    )
    assert isinstance(ended, RoleChangedEvent)
    assert isinstance(begun, RoleChangedEvent)
    assert (ended.instance_id, ended.new_role, ended.epoch) == ("a", ServiceRole.STANDBY, held.epoch)
    assert (ended.reason, ended.declined_epoch) == (ChangeReason.RESIGNED, held.epoch)
    assert (begun.instance_id, begun.new_role, begun.epoch) == ("b", ServiceRole.ACTIVE, begun.revision)
    assert begun.reason is ChangeReason.SUCCESSION
    assert scene.who("r") == "b | a"


def test_a_resigned_instance_declines_the_vacancy_it_left() -> None:
    """Whoever resigned does not fill that vacancy, however long it lasts, until it asks again."""
    scene = Scene()
    a = scene.client("a")
    held = a.compete("r")
    a.resign(held)

    scene.pass_ms(5_000, a)
    assert scene.who("r") == "- | a"
    assert scene.resource("r").standbys[0].declined_epoch == held.epoch

    assert a.compete("r").epoch > held.epoch


def test_a_resigned_instance_asks_again_as_a_plain_standby() -> None:
    """Asking again to stand by takes the refusal back: the vacancy of a tenure that was is filled with it."""
    scene = Scene()
    a = scene.client("a")
    a.resign(a.claim("r"))

    assert a.stand_by("r").role is ServiceRole.ACTIVE


def test_a_resigned_instance_is_eligible_after_another_tenure() -> None:
    """A resignation declines one vacancy: when the next active is lost, whoever resigned is a standby like any."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    a.resign(held)
    assert scene.who("r") == "b | a"

    scene.end_session(b)

    assert scene.who("r") == "a |"


def test_resign_is_safe_to_repeat() -> None:
    """A resignation that is repeated names an epoch that has ended: `not_active`, and nothing happens."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    a.resign(held)
    before = scene.registry.revision

    with pytest.raises(NotActiveError, match="standing by"):
        a.resign(held)

    assert scene.registry.revision == before


def test_a_late_resignation_does_not_end_the_next_tenure() -> None:
    """★ A delayed resignation names its own epoch: the tenure that the same instance has won since goes on."""
    scene = Scene()
    a = scene.client("a")
    first = a.claim("r")
    a.resign(first)
    second = a.claim("r")

    with pytest.raises(NotActiveError, match=f"active with epoch {second.epoch}"):
        a.resign(first)

    assert scene.resource("r").active is not None


def test_resign_of_a_standby() -> None:
    """A standby has nothing to resign from, not even by naming epoch 0."""
    a = Scene().client("a")
    standing = a.stand_by("r")

    with pytest.raises(NotActiveError):
        a.resign(standing)


def test_somebody_elses_registration() -> None:
    """A session ends what is its own; another's registration does not exist for it."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")

    with pytest.raises(NotFoundError):
        b.resign(held)
    with pytest.raises(NotFoundError):
        b.deregister(held)

    assert scene.who("r") == "a |"


def test_deregister_a_standby() -> None:
    """A standby leaves; nobody's role changes."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    standing = b.stand_by("r")

    left = b.deregister(standing)

    assert left == Deregistered(
        statement=RoleStatement(registration_id=standing.registration_id, role=None, revision=scene.registry.revision)
    )
    assert scene.who("r") == "a |"


def test_deregister_the_active() -> None:
    """An active that deregisters with its epoch ends its tenure, and the successor follows in the same commit."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")

    a.deregister(held)

    ended, begun = scene.last.events
    assert isinstance(ended, DeregisteredEvent)
    assert (ended.old_role, ended.new_role, ended.epoch) == (ServiceRole.ACTIVE, None, held.epoch)
    assert isinstance(begun, RoleChangedEvent)
    assert begun.reason is ChangeReason.SUCCESSION
    assert scene.who("r") == "b |"


def test_deregister_is_safe_to_repeat() -> None:
    """A deregistration that is repeated finds nothing: `not_found` means that it is done."""
    a = Scene().client("a")
    held = a.claim("r")
    a.deregister(held)

    with pytest.raises(NotFoundError):
        a.deregister(held)


def test_a_late_deregistration_does_not_end_another_tenure() -> None:
    """★ A deregistration sent as a standby, or in an earlier tenure, does not end the one that began meanwhile."""
    scene = Scene()
    a = scene.client("a")
    standing = a.stand_by("r")
    first = a.claim("r")
    with pytest.raises(NotActiveError):
        a.deregister(standing)
    a.resign(first)
    a.claim("r")

    with pytest.raises(NotActiveError):
        a.deregister(first)

    assert scene.who("r") == "a |"


def test_deregister_after_the_tenure_has_ended() -> None:
    """A standby is deregistered whatever epoch is named: whoever wanted to leave as the active still wants to."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    a.resign(held)

    a.deregister(held)

    assert scene.who("r") == "b |"


def test_goodbye_hands_over_all_roles() -> None:
    """A goodbye ends every registration of the session first, then the session, then fills the vacancies."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r1")
    a.claim("r2")
    a.stand_by("r3")
    b.stand_by("r1")
    b.stand_by("r2")

    a.goodbye()

    kinds = [type(event).__name__ for event in scene.last.events]
    assert kinds == [
        "DeregisteredEvent",
        "DeregisteredEvent",
        "DeregisteredEvent",
        "SessionClosedEvent",
        "RoleChangedEvent",
        "RoleChangedEvent",
    ]
    assert {event.reason for event in scene.last.events if isinstance(event, DeregisteredEvent)} == {
        ChangeReason.GOODBYE
    }
    assert {event.reason for event in scene.last.events if type(event) is RoleChangedEvent} == {ChangeReason.SUCCESSION}
    assert [scene.who("r1"), scene.who("r2")] == ["b |", "b |"]


def test_expiry_fails_over() -> None:
    """When the active's lease runs out, the standby is active under a new epoch, and the event says failover."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")

    scene.pass_ms(2_000, b)

    assert scene.who("r") == "b |"
    expired, closed, begun = scene.events[-3:]
    assert isinstance(expired, DeregisteredEvent)
    assert (expired.epoch, expired.reason) == (held.epoch, ChangeReason.EXPIRED)
    assert isinstance(closed, SessionClosedEvent)
    assert isinstance(begun, RoleChangedEvent)
    assert (begun.reason, begun.epoch) == (ChangeReason.FAILOVER, begun.revision)
    assert begun.previous_holder is not None
    assert begun.previous_holder.epoch == held.epoch


def test_nobody_is_promoted_while_the_lease_runs() -> None:
    """★ Silence is no proof: until the last millisecond of the active's lease nobody else is promoted."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.compete("r")

    scene.pass_ms(1_999, b)
    assert scene.who("r") == "a | b"

    scene.pass_ms(1, b)
    assert scene.who("r") == "b |"


def test_proven_death_fails_over_at_once() -> None:
    """With proof that the active's process is gone, nobody waits for its lease."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")

    begun = scene.end_session(a).events[-1]

    assert isinstance(begun, RoleChangedEvent)
    assert (begun.instance_id, begun.reason) == ("b", ChangeReason.FAILOVER)


def test_sessions_that_expire_together_do_not_succeed_each_other() -> None:
    """A standby whose own lease has run out too is not promoted for the moment it still exists."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.compete("r")
    scene.now_ms += 2_000

    first = scene.expire(registrations_max=1)
    second = scene.expire(registrations_max=1)

    assert not any(type(event) is RoleChangedEvent for event in (*first.events, *second.events))


def test_a_plain_standby_fills_no_first_vacancy() -> None:
    """Where nobody has ever been active, a plain standby waits for somebody to claim the role."""
    scene = Scene()
    a = scene.client("a")
    a.stand_by("r")

    scene.pass_ms(5_000, a)

    assert scene.who("r") == "- | a"


def test_a_plain_standby_fills_a_vacancy_that_came_before_it() -> None:
    """A resource whose active was lost with nobody standing by is taken by the next plain standby that joins."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    scene.end_session(a)

    held = b.stand_by("r")

    assert held.role is ServiceRole.ACTIVE
    joined, begun = scene.last.events
    assert (type(joined).__name__, type(begun).__name__) == ("RegisteredEvent", "RoleChangedEvent")
    assert isinstance(begun, RoleChangedEvent)
    assert begun.reason is ChangeReason.FAILOVER


def test_abandoned_resources_are_forgotten_beyond_the_limit() -> None:
    """Of resources nobody is registered for only the newest are remembered; a forgotten one is like a new one."""
    scene = Scene(RegistryLimits(abandoned_resources_max=2))
    a = scene.client("a")
    for resource_id in ("r1", "r2", "r3"):
        a.deregister(a.claim(resource_id))

    roles = [a.stand_by(resource_id).role for resource_id in ("r1", "r2", "r3")]

    assert roles == [ServiceRole.STANDBY, ServiceRole.ACTIVE, ServiceRole.ACTIVE]


def test_epochs_rise_over_a_forgotten_resource() -> None:
    """★ A resource that was forgotten does not begin at a low epoch again: epochs are revisions."""
    scene = Scene(RegistryLimits(abandoned_resources_max=0))
    a = scene.client("a")
    first = a.claim("r")
    a.deregister(first)
    assert scene.registry.state.resources == {}

    assert a.claim("r").epoch > first.epoch


def test_a_resource_that_never_had_an_active_leaves_no_trace() -> None:
    """A resource that only standbys were registered for is gone with the last of them."""
    scene = Scene()
    a = scene.client("a")

    a.deregister(a.stand_by("r"))

    assert scene.registry.state.resources == {}
