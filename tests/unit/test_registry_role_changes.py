"""Many roles changed by one request: all is accepted or nothing is done, and each held role moves in its own time."""

from __future__ import annotations

import pytest

from tenure.contract.errors import (
    ErrorCode,
    InvalidRequestError,
    LimitExceededError,
    NotActiveError,
    NotEligibleError,
    NotFoundError,
    RequestRefusedError,
    RoleConflictError,
    StoreRolledBackError,
    SwitchoverUnderWayError,
)
from tenure.contract.events import RoleChangedEvent
from tenure.contract.interventions import (
    ChangeRoles,
    PauseResource,
    RoleChange,
    RoleChangeResult,
    RoleChangesAccepted,
    Switchover,
)
from tenure.contract.limits import BATCH_ITEMS_MAX, DRAIN_MS_MAX
from tenure.contract.messages import Registered
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.limits import RegistryLimits
from tests.unit.scene import Client, Scene


def to_active(registered: Registered, epoch: int = 0) -> RoleChange:
    """A registration is to be active, after the tenure of `epoch`."""
    return RoleChange(registration_id=registered.registration_id, role=ServiceRole.ACTIVE, epoch=epoch)


def to_standby(registered: Registered, epoch: int | None = None) -> RoleChange:
    """A registration is to stand by, after its own tenure unless another is named."""
    named = registered.epoch if epoch is None else epoch
    return RoleChange(registration_id=registered.registration_id, role=ServiceRole.STANDBY, epoch=named)


def change(scene: Scene, *changes: RoleChange, drain_ms: int = 0) -> tuple[RoleChangeResult, ...]:
    """Ask for changes of roles."""
    reply = scene.ask(ChangeRoles(changes=changes, drain_ms=drain_ms, by="ada"), identity="uid:7")
    assert isinstance(reply, RoleChangesAccepted)
    return reply.results


def refused(scene: Scene, kind: type[RequestRefusedError], *changes: RoleChange, index: int | None) -> None:
    """The request is refused for the change of this index, and nothing has happened."""
    revision, under_way = scene.registry.revision, dict(scene.registry.state.switchovers.by_resource)
    with pytest.raises(kind) as refusal:
        change(scene, *changes)
    assert refusal.value.info.index == index
    assert scene.registry.revision == revision
    assert scene.registry.state.switchovers.by_resource == under_way
    assert scene.last.step_downs == ()


def pair(scene: Scene, resource_id: str) -> tuple[Client, Registered, Client, Registered]:
    """An active and a standby for a resource, each with a session of its own."""
    a, b = scene.client(f"a-{resource_id}"), scene.client(f"b-{resource_id}")
    return a, a.claim(resource_id), b, b.stand_by(resource_id)


def test_vacant_roles_are_granted_in_one_commit() -> None:
    """Of several resources, by whoever asked, also to a plain standby of a role that was never held."""
    scene = Scene()
    a = scene.client("a")
    results = change(scene, to_active(a.stand_by("r")), to_active(a.stand_by("s")))
    granted = [event for event in scene.last.events if isinstance(event, RoleChangedEvent)]
    assert [(event.resource_id, event.reason, event.by) for event in granted] == [
        ("r", ChangeReason.SWITCHOVER, "ada (uid:7)"),
        ("s", ChangeReason.SWITCHOVER, "ada (uid:7)"),
    ]
    assert [(result.epoch, result.awaited_epoch) for result in results] == [(event.epoch, 0) for event in granted]
    assert [statement.epoch for _, statement in scene.last.statements] == [event.epoch for event in granted]
    assert a.beat().confirmed == tuple(event.epoch for event in granted)


def test_whoever_is_not_fit_is_not_granted_a_vacancy() -> None:
    """It is starting, late or says that it is not well: as for any promotion."""
    scene = Scene()
    waiting = scene.client("a", status=ServiceStatus.STARTING).stand_by("r")
    refused(scene, NotEligibleError, to_active(waiting), index=0)


def test_held_roles_move_when_each_holder_has_stepped_down() -> None:
    """★ Accepted together, and each moves for itself: nobody is active before its holder has acknowledged."""
    scene = Scene()
    a, first, _, second = pair(scene, "r")
    c, third, d, fourth = pair(scene, "s")
    results = change(scene, to_active(second, first.epoch), to_active(fourth, third.epoch), drain_ms=500)
    assert scene.last.events == ()
    assert [(session, ask.epoch, ask.drain_ms) for session, ask in scene.last.step_downs] == [
        (a.session, first.epoch, 500),
        (c.session, third.epoch, 500),
    ]
    assert [(result.epoch, result.awaited_epoch) for result in results] == [(0, first.epoch), (0, third.epoch)]
    c.resign(third)
    assert (scene.who("r"), scene.who("s")) == ("a-r | b-r", "b-s | a-s")
    moved = scene.resource("s").active
    assert moved is not None
    promoted = next(event for event in scene.events if event.revision == moved.epoch)
    assert isinstance(promoted, RoleChangedEvent)
    assert (promoted.reason, promoted.by) == (ChangeReason.SWITCHOVER, "ada (uid:7)")
    assert d.beat().confirmed == (moved.epoch,)
    a.resign(first)
    assert scene.who("r") == "b-r | a-r"


def test_an_active_that_is_to_stand_by_is_followed_by_whoever_is_next() -> None:
    """By ordinary succession, if no other change of the request names who."""
    scene = Scene()
    a, first, _, _ = pair(scene, "r")
    scene.client("c").stand_by("r", priority=5)
    (result,) = change(scene, to_standby(first))
    assert (result.epoch, result.awaited_epoch) == (first.epoch, first.epoch)
    a.resign(first)
    assert scene.who("r").startswith("c |")


@pytest.mark.parametrize("is_reversed", [False, True])
def test_an_active_that_is_to_stand_by_is_followed_by_whom_another_change_names(is_reversed: bool) -> None:
    """One switchover for both changes, in whatever order they come."""
    scene = Scene()
    a, first, _, _ = pair(scene, "r")
    third = scene.client("c").stand_by("r", priority=-5)
    changes = [to_standby(first), to_active(third, first.epoch)]
    if is_reversed:
        changes.reverse()
    assert {result.awaited_epoch for result in change(scene, *changes)} == {first.epoch}
    under_way = scene.registry.state.switchovers.get("r")
    assert under_way is not None
    assert (under_way.to_registration_id, under_way.even_if_vacant) == (third.registration_id, True)
    a.resign(first)
    assert scene.who("r").startswith("c |")


def test_an_active_that_is_to_stand_by_does_so_even_if_nobody_follows() -> None:
    """The vacancy stays: it was said of this registration that it is to stand by."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    change(scene, to_standby(held))
    a.resign(held)
    assert scene.who("r") == "- | a"


def test_what_is_so_already_is_left_as_it_is() -> None:
    """Whatever epoch is named: so a repeat of what was carried out is accepted, and does nothing."""
    scene = Scene()
    _, first, _, second = pair(scene, "r")
    results = change(scene, to_active(first, 1), to_standby(second, 1))
    assert [(result.epoch, result.awaited_epoch) for result in results] == [(first.epoch, 0), (0, 0)]
    assert (scene.last.events, scene.last.step_downs) == ((), ())
    assert scene.registry.state.switchovers.get("r") is None


def test_a_repeat_may_shorten_the_drain_and_does_no_more() -> None:
    """What is under way to the same registration is what was asked for."""
    scene = Scene()
    _, first, _, second = pair(scene, "r")
    change(scene, to_active(second, first.epoch), drain_ms=5_000)
    under_way = scene.registry.state.switchovers.get("r")
    for drain_ms, asks in ((5_000, 0), (9_000, 0), (1_000, 1), (0, 1)):
        (result,) = change(scene, to_active(second, first.epoch), drain_ms=drain_ms)
        assert (result.awaited_epoch, len(scene.last.step_downs)) == (first.epoch, asks)
        assert scene.registry.state.switchovers.get("r") is under_way


def test_an_active_that_is_to_stand_by_does_so_whatever_move_is_under_way() -> None:
    """★ A plain switchover that began before does not let it begin another tenure; what was refused adds nothing."""
    scene = Scene()
    a, first, b, _ = pair(scene, "r")
    scene.ask(Switchover(resource_id="r", epoch=first.epoch, drain_ms=5_000))
    refused(
        scene, NotFoundError, to_standby(first), RoleChange(registration_id=10_000, role=ServiceRole.ACTIVE), index=1
    )
    under_way = scene.registry.state.switchovers.get("r")
    assert under_way is not None
    assert not under_way.even_if_vacant
    change(scene, to_standby(first), drain_ms=5_000)
    b.goodbye()
    a.resign(first)
    assert scene.who("r") == "- | a-r"


def test_one_change_that_cannot_be_refuses_all() -> None:
    """★ Whatever is wrong with one of them, the others have not happened; the refusal says which it is."""
    scene = Scene()
    a, first, _, second = pair(scene, "r")
    _, third, d, fourth = pair(scene, "s")
    vacant = scene.client("v").stand_by("v")
    good = (to_active(vacant), to_active(second, first.epoch))
    unknown = RoleChange(registration_id=10_000, role=ServiceRole.ACTIVE)
    refused(scene, NotFoundError, *good, unknown, index=2)
    refused(scene, RoleConflictError, *good, to_active(fourth), index=2)
    refused(scene, NotActiveError, *good, to_active(fourth, third.epoch + 1), index=2)
    refused(scene, NotActiveError, *good, to_standby(third, 0), index=2)
    refused(scene, NotActiveError, to_active(vacant, 1), *good[1:], index=0)
    refused(scene, InvalidRequestError, *good, to_active(vacant), index=2)
    third_of_r = scene.client("c").stand_by("r")
    refused(scene, InvalidRequestError, *good, to_active(third_of_r, first.epoch), index=2)
    refused(scene, InvalidRequestError, *good, to_active(first), index=2)
    refused(scene, InvalidRequestError, *good, RoleChange(registration_id=0, role=ServiceRole.ACTIVE), index=2)
    refused(scene, InvalidRequestError, *good, to_standby(third, -1), index=2)
    d.beat(ServiceStatus.UNHEALTHY)
    refused(scene, NotEligibleError, *good, to_active(fourth, third.epoch), index=2)
    refused(scene, NotEligibleError, *good, to_standby(third), to_active(fourth, third.epoch), index=3)
    d.beat()
    scene.ask(Switchover(resource_id="s", epoch=third.epoch, drain_ms=5_000))
    refused(scene, SwitchoverUnderWayError, *good, to_active(fourth, third.epoch), index=2)
    assert scene.who("v") == "- | v"
    a.resign(first)
    with pytest.raises(RequestRefusedError) as refusal:
        change(scene, to_standby(scene.client("x").claim("x"), 1))
    assert refusal.value.code is ErrorCode.NOT_ACTIVE


def test_who_declined_a_vacancy_is_not_made_to_fill_it() -> None:
    """It resigned on purpose; it asks again itself when it can."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    a.resign(held)
    refused(scene, NotEligibleError, to_active(held), index=0)
    a.stand_by("r")
    assert scene.who("r") == "a |"


def test_limits_count_what_the_request_itself_begins() -> None:
    """Switchovers in all and of one session: with one too many nothing is begun."""
    scene = Scene(RegistryLimits(switchovers_max=3, switchovers_per_session_max=2))
    holder, others = scene.client("h"), [scene.client(name) for name in "ab"]
    changes: list[RoleChange] = []
    for number in range(3):
        held = holder.claim(f"r-{number}")
        changes.append(to_active(scene.client(f"s-{number}").stand_by(f"r-{number}"), held.epoch))
    for client in others:
        held = client.claim(client.name)
        changes.append(to_active(scene.client(f"s-{client.name}").stand_by(client.name), held.epoch))
    refused(scene, LimitExceededError, *changes[:3], index=2)
    refused(scene, LimitExceededError, *changes[:2], *changes[3:], index=3)
    change(scene, *changes[:2], changes[3])
    change(scene, *changes[:2], changes[3])


def test_a_pause_does_not_stand_against_it() -> None:
    """What somebody asks for goes on, for a vacant role and for one that is held."""
    scene = Scene()
    a, first, _, second = pair(scene, "r")
    vacant = scene.client("v").stand_by("v")
    for resource_id in ("r", "v"):
        scene.ask(PauseResource(resource_id=resource_id, why="work"))
    change(scene, to_active(second, first.epoch), to_active(vacant))
    a.resign(first)
    assert (scene.who("r"), scene.who("v")) == ("b-r | a-r", "v |")


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (ChangeRoles(changes=()), InvalidRequestError),
        (
            ChangeRoles(changes=(RoleChange(registration_id=2, role=ServiceRole.ACTIVE),) * (BATCH_ITEMS_MAX + 1)),
            LimitExceededError,
        ),
        (
            ChangeRoles(changes=(RoleChange(registration_id=2, role=ServiceRole.ACTIVE),), drain_ms=DRAIN_MS_MAX + 1),
            InvalidRequestError,
        ),
        (
            ChangeRoles(changes=(RoleChange(registration_id=2, role=ServiceRole.ACTIVE),), by="b" * 256),
            InvalidRequestError,
        ),
    ],
)
def test_values_out_of_their_range_are_refused(question: ChangeRoles, kind: type[RequestRefusedError]) -> None:
    """Of the request as a whole: no change is at fault."""
    scene = Scene()
    scene.client("a").stand_by("r")
    with pytest.raises(kind) as refusal:
        scene.ask(question)
    assert refusal.value.info.index is None


def test_an_old_copy_of_a_store_grants_nothing() -> None:
    """A broker whose store is behind what a client has seen changes no role."""
    scene = Scene()
    a = scene.client("a")
    waiting = a.stand_by("r")
    with pytest.raises(StoreRolledBackError):
        a.beat(last_revision=10_000)
    with pytest.raises(StoreRolledBackError):
        change(scene, to_active(waiting))
