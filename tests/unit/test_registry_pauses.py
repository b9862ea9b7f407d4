"""Paused resources: nobody is promoted on the broker's own account, and what is asked for goes on."""

from __future__ import annotations

import pytest

from tenure.contract.errors import RoleConflictError
from tenure.contract.events import ResourcePausedEvent, ResourceResumedEvent
from tenure.contract.interventions import ChangeRoles, Paused, PauseResource, RoleChange, Switchover
from tenure.contract.limits import PAUSE_MS_DEFAULT
from tenure.contract.messages import GivenUp
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason, ResumeReason, ServiceRole, ServiceStatus
from tests.unit.pauses import pause, paused_beside_a_candidate, promotions, resume
from tests.unit.scene import LEASE_MS, Scene


def test_a_pause_says_who_why_and_until_when() -> None:
    """It stands in the resource and in an event; over ipc with the user whom the kernel names."""
    scene = Scene()
    scene.client("a").claim("r")
    reply = scene.ask(PauseResource(resource_id="r", why="the exchange is closed", by="ada"), identity="uid:7")
    now_ms = scene.now.unix_ms
    expected = Pause(
        resource_id="r",
        why="the exchange is closed",
        paused_ms=now_ms,
        until_ms=now_ms + PAUSE_MS_DEFAULT,
        by="ada (uid:7)",
    )
    assert reply == Paused(pause=expected)
    assert scene.resource("r").pause == expected
    assert scene.last.events == ()
    (event,) = scene.decisions[-2].events
    assert event == ResourcePausedEvent(
        revision=scene.registry.revision,
        at_ms=now_ms,
        resource_id="r",
        why=expected.why,
        until_ms=expected.until_ms,
        by="ada (uid:7)",
    )


@pytest.mark.parametrize("end", ["died", "expired", "goodbye", "resigned", "given up", "deregistered"])
def test_nobody_is_promoted_while_a_resource_is_paused(end: str) -> None:
    """★ However the active is lost, its vacancy stays, also when others become fit or stand by anew."""
    scene = Scene()
    a, b, held = paused_beside_a_candidate(scene)
    match end:
        case "died":
            scene.end_session(a)
        case "expired":
            scene.pass_ms(LEASE_MS + 100, b)
        case "goodbye":
            a.goodbye()
        case "resigned":
            a.resign(held)
        case "given up":
            a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch))
        case _:
            a.deregister(held)
    assert scene.resource("r").active is None
    b.beat(ServiceStatus.UNHEALTHY)
    b.beat(ServiceStatus.HEALTHY)
    scene.client("c").stand_by("r")
    assert scene.resource("r").active is None
    scene.restart()
    b.beat()
    assert scene.resource("r").active is None

    assert resume(scene).why == "work"

    reason = ChangeReason.FAILOVER if end in {"died", "expired", "given up"} else ChangeReason.SUCCESSION
    assert promotions(scene) == [("b", reason)]
    resumed = scene.last.events[0]
    assert isinstance(resumed, ResourceResumedEvent)
    assert (resumed.reason, resumed.by) == (ResumeReason.ASKED, "eve")
    assert scene.resource("r").pause is None


def test_the_active_stays_active_and_may_still_lose_its_role() -> None:
    """A pause touches no tenure: heartbeats confirm it, and its end is as ever."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    pause(scene)
    assert a.beat().confirmed == (held.epoch,)
    with pytest.raises(RoleConflictError):
        scene.client("b").claim("r")
    a.resign(held)
    assert a.beat().confirmed == ()


def test_a_claim_that_insists_is_granted() -> None:
    """Who starts an instance that is to be active, or nothing, asks for the role: a vacant one is its own."""
    scene = Scene()
    a, _, _ = paused_beside_a_candidate(scene)
    scene.end_session(a)
    assert scene.client("a").claim("r").role is ServiceRole.ACTIVE
    assert scene.who("r") == "a | b"
    assert scene.resource("r").pause is not None


def test_a_candidate_that_registers_again_does_not_end_what_a_pause_is_for() -> None:
    """★ Its session ended in a hiccup and its client registers it again, as before: nobody has asked for that."""
    scene = Scene()
    a, _, _ = paused_beside_a_candidate(scene)
    scene.end_session(a)
    scene.pass_ms(LEASE_MS + 100)
    b = scene.client("b")

    assert b.compete("r").role is ServiceRole.STANDBY
    b.compete("r", priority=1)

    assert scene.who("r") == "- | b"
    resume(scene)
    assert promotions(scene) == [("b", ChangeReason.FAILOVER)]


def test_a_candidate_of_a_paused_resource_without_a_history_waits() -> None:
    """The first tenure is no exception; nor is that of a resource which everybody has left."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.stand_by("new")
    a.claim("left")
    for resource_id in ("new", "left"):
        pause(scene, resource_id)
    a.goodbye()
    for resource_id in ("new", "left"):
        assert b.compete(resource_id).role is ServiceRole.STANDBY
        resume(scene, resource_id)
        assert [instance_id for instance_id, _ in promotions(scene)] == ["b"]


def test_a_standby_that_asks_for_the_role_gets_it() -> None:
    """To register again as active, insisting, is to ask."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    pause(scene)
    a.resign(held)
    b.claim("r")
    assert promotions(scene) == [("b", ChangeReason.CLAIMED)]


def test_a_switchover_goes_on() -> None:
    """Somebody has asked for the role to move: the next one is promoted in the commit of the acknowledgement."""
    scene = Scene()
    a, _, held = paused_beside_a_candidate(scene)
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, drain_ms=1_000))
    a.resign(held)
    assert promotions(scene) == [("b", ChangeReason.SWITCHOVER)]


@pytest.mark.parametrize("drain_ms", [0, 60_000])
@pytest.mark.parametrize("end", ["died", "fell silent", "given up", "vouched for"])
def test_a_holder_that_is_lost_during_a_switchover_leaves_a_vacancy(end: str, drain_ms: int) -> None:
    """★ It has acknowledged nothing: nobody is promoted while the resource is paused, whether it drained or not."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    standing = b.compete("r")
    pause(scene)
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, drain_ms=drain_ms))
    match end:
        case "died":
            scene.end_session(a)
        case "fell silent":
            scene.pass_ms(LEASE_MS + 100, b)
        case "given up":
            a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch))
        case _:
            scene.end_session(a, ChangeReason.CONFIRMED_DEAD)
    scene.pass_ms(LEASE_MS, b)
    assert scene.who("r").startswith("- | b")

    scene.ask(ChangeRoles(changes=(RoleChange(registration_id=standing.registration_id, role=ServiceRole.ACTIVE),)))

    assert promotions(scene) == [("b", ChangeReason.SWITCHOVER)]


def test_a_holder_that_does_not_step_down_leaves_a_vacancy() -> None:
    """★ Its tenure is revoked, which is no acknowledgement either; it has declined nothing, and waits like others."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r", priority=1)
    b.compete("r")
    pause(scene)
    scene.ask(Switchover(resource_id="r", epoch=held.epoch))
    scene.pass_ms(LEASE_MS + 100, a, b)
    assert scene.who("r") == "- | a b"
    a.beat(ServiceStatus.UNHEALTHY)
    a.beat()
    assert scene.who("r") == "- | a b"
    resume(scene)
    assert promotions(scene) == [("a", ChangeReason.SUCCESSION)]


def test_a_revoked_holder_that_is_well_again_in_the_same_breath_ends_no_pause() -> None:
    """★ One heartbeat gives the tenure up and says that the session is fit: the planned move is not made by that."""
    scene = Scene()
    a, _, held = paused_beside_a_candidate(scene)
    scene.ask(Switchover(resource_id="r", epoch=held.epoch))
    a.beat(ServiceStatus.UNHEALTHY)
    a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch))
    assert scene.who("r") == "- | b a"


def test_a_holder_that_is_to_leave_in_any_case_is_not_next_after_the_pause() -> None:
    """It was asked to, whoever follows; and did not, so that its tenure was revoked."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r", priority=1)
    b.compete("r")
    pause(scene)
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, even_if_vacant=True))
    scene.pass_ms(LEASE_MS + 100, a, b)
    assert scene.who("r") == "- | b a"
    resume(scene)
    assert promotions(scene) == [("b", ChangeReason.SUCCESSION)]


@pytest.mark.parametrize("end", ["goodbye", "deregistered", "given up on purpose"])
def test_a_holder_that_leaves_by_itself_has_acknowledged(end: str) -> None:
    """There is more than one way to say that the work has stopped."""
    scene = Scene()
    a, _, held = paused_beside_a_candidate(scene)
    scene.ask(Switchover(resource_id="r", epoch=held.epoch))
    match end:
        case "goodbye":
            a.goodbye()
        case "deregistered":
            a.deregister(held)
        case _:
            a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch, declined=True))
    assert promotions(scene) == [("b", ChangeReason.SWITCHOVER)]
