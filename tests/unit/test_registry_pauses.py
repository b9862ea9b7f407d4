"""Paused resources: nobody is promoted on the broker's own account, what is asked for goes on, and it ends again."""

from __future__ import annotations

import pytest

from tenure.contract.errors import (
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    RoleConflictError,
    StoreRolledBackError,
)
from tenure.contract.events import ResourcePausedEvent, ResourceResumedEvent, RoleChangedEvent
from tenure.contract.interventions import (
    ChangeRoles,
    Paused,
    PauseResource,
    Resumed,
    ResumeResource,
    RoleChange,
    Switchover,
)
from tenure.contract.limits import PAUSE_MS_DEFAULT, PAUSE_MS_MAX, PAUSE_MS_MIN, WHY_BYTES_MAX
from tenure.contract.messages import ClientMessage, GivenUp, ListServices
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason, ResumeReason, ServiceRole, ServiceStatus
from tenure.domain.limits import RegistryLimits
from tenure.domain.registry import Registry
from tests.unit.scene import LEASE_MS, Scene


def pause(scene: Scene, resource_id: str = "r", *, for_ms: int = 60_000, by: str = "ada", why: str = "work") -> Pause:
    """Pause a resource."""
    reply = scene.ask(PauseResource(resource_id=resource_id, why=why, for_ms=for_ms, by=by))
    assert isinstance(reply, Paused)
    return reply.pause


def resume(scene: Scene, resource_id: str = "r") -> Pause:
    """End a pause."""
    reply = scene.ask(ResumeResource(resource_id=resource_id, by="eve"))
    assert isinstance(reply, Resumed)
    return reply.pause


def promotions(scene: Scene) -> list[tuple[str, ChangeReason]]:
    """Whom the newest decision promoted, and why."""
    return [
        (event.instance_id, event.reason)
        for event in scene.last.events
        if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE
    ]


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
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.compete("r")
    pause(scene)
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
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.compete("r")
    pause(scene)
    scene.end_session(a)
    assert scene.client("a").claim("r").role is ServiceRole.ACTIVE
    assert scene.who("r") == "a | b"
    assert scene.resource("r").pause is not None


def test_a_candidate_that_registers_again_does_not_end_what_a_pause_is_for() -> None:
    """★ Its session ended in a hiccup and its client registers it again, as before: nobody has asked for that."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.compete("r")
    pause(scene)
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
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.compete("r")
    pause(scene)
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
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.compete("r")
    pause(scene)
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
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.compete("r")
    pause(scene)
    scene.ask(Switchover(resource_id="r", epoch=held.epoch))
    match end:
        case "goodbye":
            a.goodbye()
        case "deregistered":
            a.deregister(held)
        case _:
            a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch, declined=True))
    assert promotions(scene) == [("b", ChangeReason.SWITCHOVER)]


def test_a_pause_ends_by_itself() -> None:
    """When its time is over the vacancy is filled in the same commit; not a millisecond sooner."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.compete("r")
    pause(scene, for_ms=PAUSE_MS_MIN)
    scene.end_session(a)
    scene.now_ms += PAUSE_MS_MIN - 1
    assert not scene.registry.is_due(scene.now)
    assert scene.expire().events == ()
    scene.now_ms += 1
    assert scene.registry.is_due(scene.now)
    scene.expire()
    resumed = scene.last.events[0]
    assert isinstance(resumed, ResourceResumedEvent)
    assert (resumed.reason, resumed.by) == (ResumeReason.EXPIRED, "")
    assert promotions(scene) == [("b", ChangeReason.FAILOVER)]
    assert not scene.registry.is_due(scene.now)


def passes_within(scene: Scene, ms: int) -> bool:
    """Whether what is left of a pause passes in so many milliseconds by the lease clock, and not in one less."""
    scene.now_ms += ms - 1
    is_early = scene.registry.is_due(scene.now) or scene.expire().events != ()
    scene.now_ms += 1
    assert scene.registry.is_due(scene.now)
    ended = [event.reason for event in scene.expire().events if isinstance(event, ResourceResumedEvent)]
    return not is_early and ended == [ResumeReason.EXPIRED]


def test_a_time_of_day_that_is_set_back_makes_no_pause_longer() -> None:
    """★ It has lasted for as long as it was given for; said anew while the time of day is wrong, from then on."""
    scene = Scene()
    scene.client("a", lease_ms=600_000).claim("r")
    pause(scene, for_ms=5_000)
    scene.set_back_ms = 3_600_000
    scene.now_ms += 1_000
    assert passes_within(scene, 4_000)
    assert not scene.registry.is_due(scene.now)
    pause(scene, for_ms=60_000)
    pause(scene, for_ms=5_000)
    scene.set_back_ms *= 2
    assert passes_within(scene, 5_000)


def test_a_time_of_day_that_is_set_forward_makes_a_pause_shorter() -> None:
    """It ends at the time that was said, whichever is first."""
    scene = Scene()
    scene.client("a", lease_ms=600_000).claim("r")
    pause(scene, for_ms=5_000)
    scene.set_back_ms = -4_000
    assert passes_within(scene, 1_000)


@pytest.mark.parametrize(("set_back_ms", "left_ms"), [(0, 3_000), (1_000, 4_000), (3_600_000, 5_000), (-1_000, 2_000)])
def test_what_is_left_of_a_pause_after_a_restart_is_at_most_its_whole_length(set_back_ms: int, left_ms: int) -> None:
    """★ By the time of day, which is all that outlives a broker: set back, it makes the pause no longer than it was."""
    scene = Scene()
    scene.client("a", lease_ms=600_000).claim("r")
    pause(scene, for_ms=5_000)
    scene.now_ms += 2_000
    scene.set_back_ms = set_back_ms
    scene.restart()
    assert passes_within(scene, left_ms)


def test_a_store_that_refuses_makes_no_pause_longer() -> None:
    """★ The registry is loaded again, and goes on from how long pauses have lasted, if they were stored."""
    scene = Scene()
    a = scene.client("a", lease_ms=600_000)
    for resource_id in "rst":
        a.claim(resource_id)
    pause(scene, "r", for_ms=5_000)
    pause(scene, "s", for_ms=60_000)
    scene.set_back_ms = 3_600_000
    scene.now_ms += 2_000
    stored, before = scene.ledger.stored(), scene.registry
    pause(scene, "s", for_ms=1_000)
    pause(scene, "t", for_ms=1_000)

    scene.registry = Registry(stored, scene.now)
    scene.registry.keep_times(before)

    assert passes_within(scene, 3_000)
    assert scene.resource("r").pause is None
    assert scene.resource("s").pause is not None


def test_to_pause_again_says_anew_who_why_and_until_when() -> None:
    """Whether it is to end later or earlier: the newest word counts."""
    scene = Scene()
    b = scene.client("b", lease_ms=600_000)
    b.claim("r")
    pause(scene, for_ms=5_000)
    later = pause(scene, for_ms=50_000, by="bob", why="other work")
    assert scene.resource("r").pause == later
    assert (later.by, later.why) == ("bob", "other work")
    scene.now_ms += 6_000
    assert scene.expire().events == ()
    pause(scene, for_ms=1_000)
    scene.now_ms += 1_000
    assert [type(event) for event in scene.expire().events] == [ResourceResumedEvent]


def test_a_pause_outlives_brokers_and_registrations() -> None:
    """It keeps its resource known while nobody is registered; whoever comes then finds it paused."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    paused = pause(scene)
    a.deregister(held)
    scene.restart()
    view = scene.resource("r")
    assert (view.active, view.standbys, view.pause) == (None, (), paused)
    assert scene.moves("r") == ()
    scene.client("b").stand_by("r")
    assert scene.who("r") == "- | b"
    assert resume(scene) == paused
    assert scene.who("r") == "b |"


def test_a_resource_that_never_had_an_active_may_be_paused_and_be_empty() -> None:
    """What was known of it goes with its last registration; its pause is shown all the same, and may be said anew."""
    scene = Scene()
    a = scene.client("a")
    a.deregister(a.stand_by("r"))
    with pytest.raises(NotFoundError, match="nobody is registered"):
        pause(scene)
    waiting = a.stand_by("r")
    pause(scene)
    a.deregister(waiting)
    assert scene.resource("r").last_epoch == 0
    assert pause(scene, why="still") == scene.resource("r").pause
    scene.now_ms += 60_000
    scene.expire()
    with pytest.raises(NotFoundError):
        scene.resource("r")


def test_what_is_not_paused_cannot_be_resumed_and_what_is_unknown_not_be_paused() -> None:
    """Both are refused and change nothing."""
    scene = Scene()
    with pytest.raises(NotFoundError, match="nobody is registered"):
        pause(scene)
    scene.client("a").claim("r")
    with pytest.raises(NotFoundError, match="is not paused"):
        resume(scene)


def test_the_first_page_of_a_snapshot_has_the_pauses() -> None:
    """All of them, or that of the resource asked for; later pages have none."""
    scene = Scene()
    a = scene.client("a")
    for resource_id in ("r", "s", "t"):
        a.claim(resource_id)
    first, second = pause(scene, "r"), pause(scene, "s")
    page = scene.page(ListServices(limit=2))
    assert page.pauses == (first, second)
    assert page.next_after is not None
    assert scene.page(ListServices(after=page.next_after)).pauses == ()
    assert scene.page(ListServices(resource_id="s")).pauses == (second,)
    assert scene.page(ListServices(resource_id="t")).pauses == ()


def test_there_is_a_limit_to_pauses() -> None:
    """One more is refused; one that is there may be said anew."""
    scene = Scene(RegistryLimits(pauses_max=1))
    a = scene.client("a")
    a.claim("r")
    a.claim("s")
    pause(scene, "r")
    with pytest.raises(LimitExceededError, match="pauses_max"):
        pause(scene, "s")
    pause(scene, "r")
    resume(scene, "r")
    pause(scene, "s")


def test_many_pauses_end_in_parts() -> None:
    """A look at what is due ends no more of them than it may, and there is something due until all have ended."""
    scene = Scene()
    a = scene.client("a", lease_ms=600_000)
    for resource_id in "rst":
        a.claim(resource_id)
        pause(scene, resource_id, for_ms=1_000)
    scene.now_ms += 1_000
    ended = [len(scene.expire(registrations_max=3).events) for _ in range(3)]
    assert ended == [2, 1, 0]
    assert not scene.registry.is_due(scene.now)


@pytest.mark.parametrize(
    "question",
    [
        PauseResource(resource_id="", why="work"),
        PauseResource(resource_id="r", why=""),
        PauseResource(resource_id="r", why="w" * (WHY_BYTES_MAX + 1)),
        PauseResource(resource_id="r", why="two\nlines"),
        PauseResource(resource_id="r", why="work", for_ms=PAUSE_MS_MIN - 1),
        PauseResource(resource_id="r", why="work", for_ms=PAUSE_MS_MAX + 1),
        PauseResource(resource_id="r", why="work", by="b" * 256),
        ResumeResource(resource_id=""),
        ResumeResource(resource_id="r", by="b" * 256),
    ],
)
def test_values_out_of_their_range_are_refused(question: ClientMessage) -> None:
    """The message names the field."""
    scene = Scene()
    scene.client("a").claim("r")
    with pytest.raises(InvalidRequestError):
        scene.ask(question)


def test_an_old_copy_of_a_store_is_not_written_to() -> None:
    """A broker whose store is behind what a client has seen neither pauses nor resumes."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r")
    pause(scene)
    with pytest.raises(StoreRolledBackError):
        a.beat(last_revision=10_000)
    with pytest.raises(StoreRolledBackError):
        pause(scene)
    with pytest.raises(StoreRolledBackError):
        resume(scene)
