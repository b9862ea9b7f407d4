"""Moves as stories: each step with how long after the first one, from the broker's memory or from the events alone."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec import structs

from tenure.cli.history import newest_tenures
from tenure.contract.errors import RevisionCompactedError
from tenure.contract.events import AnyEvent, PreviousHolder, RoleChangedEvent, StatusChangedEvent
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.interventions import ChangeRoles, PauseResource, ResumeResource, RoleChange, Switchover
from tenure.contract.messages import BrokerMessage, ClientMessage, GivenUp
from tenure.contract.views import Move, TenureView
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.sdk.timeline import how_it_ended, how_long, is_told, stories
from tests.unit.scene import LEASE_MS, Client, Scene

SILENT = Move(
    old_epoch=41,
    old_instance_id="a",
    end_reason=ChangeReason.EXPIRED,
    lease_ms=2_000,
    last_heard_ms=10_000,
    ended_ms=12_000,
    new_epoch=50,
    new_instance_id="b",
    promoted_ms=12_000,
    committed_ms=12_001,
    entered_ms=12_004,
)


def test_a_failover_by_silence_is_told_from_the_last_heartbeat_on() -> None:
    """Heard, suspected after half a lease, over after a lease, promoted, committed, active."""
    (story,) = stories([SILENT], [], 3)

    assert [step.after_ms for step in story.steps] == [0, 1_000, 2_000, 2_000, 2_001, 2_004]
    assert [
        word in step.what
        for step, word in zip(
            story.steps, ("heard", "suspected", "2,000 ms", "promoted", "committed", "active"), strict=True
        )
    ] == [True] * 6
    assert (story.old_instance_id, story.old_epoch, story.new_instance_id, story.new_epoch) == ("a", 41, "b", 50)
    assert (story.gap_ms, story.gap_max_ms, story.is_gap_about, story.began_ms) == (4, 2_004, False, 10_000)
    assert story.why == "it fell silent until its time ran out"


def test_a_proof_of_death_needs_no_suspicion() -> None:
    """A process that ended right after its heartbeat was never late."""
    move = Move(
        old_epoch=41,
        old_instance_id="a",
        end_reason=ChangeReason.DIED,
        lease_ms=2_000,
        last_heard_ms=10_000,
        ended_ms=10_300,
    )
    (story,) = stories([move], [], 3)

    assert [step.what for step in story.steps] == [
        "a was heard for the last time",
        "the tenure of a was over: proof of death, by the kernel",
    ]
    assert (story.new_instance_id, story.new_epoch, story.gap_ms) == ("", 0, None)


def test_of_a_death_that_was_seen_events_do_not_know_when_the_last_heartbeat_came() -> None:
    """They say that nothing was unknown of it until then: no step is made up."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r")
    scene.now_ms += 300
    scene.end_session(a)

    (story,) = stories((), role_events(scene), 3)

    assert [step.what for step in story.steps] == ["the tenure of a was over: proof of death, by the kernel"]


def test_a_held_tenure_is_suspected_by_the_lease_and_lost_by_the_hold_limit() -> None:
    """The two are different waits."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r", hold_limit_ms=5 * LEASE_MS)
    b.stand_by("r")
    scene.pass_ms(5 * LEASE_MS, b)

    (story,) = stories(scene.moves("r"), role_events(scene), 3)

    assert [step.after_ms for step in story.steps[:3]] == [0, LEASE_MS // 2, 5 * LEASE_MS]
    assert "hold limit of 10,000 ms" in story.steps[2].what


def test_a_switchover_names_who_asked() -> None:
    """The events know by whom; the memory knows when."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    move_role(scene, a, b)

    (story,) = stories(scene.moves("r"), role_events(scene), 3)

    assert story.why == "it stepped down for a switchover, as ada had asked"
    assert [step.what for step in story.steps if "asked" in step.what] == ["a was asked to step down"]


def test_a_role_that_is_given_to_whom_somebody_names_says_so() -> None:
    """Nobody had to step down for it."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    standby = b.stand_by("r")
    scene.ask(PauseResource(resource_id="r", why="a new disk"))
    scene.pass_ms(100, a, b)
    a.resign(held)
    change = RoleChange(registration_id=standby.registration_id, role=ServiceRole.ACTIVE)
    scene.ask(ChangeRoles(changes=(change,), by="ada"))

    (story,) = stories(scene.moves("r"), role_events(scene), 3)

    assert story.steps[1].what == f"b was promoted under epoch {story.new_epoch} (switchover, as ada had asked)"


def test_what_the_broker_forgot_is_told_from_the_events() -> None:
    """After a restart a move is told without lease, commit and first activity, and newer ones follow with them."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    move_role(scene, a, b)
    before = stories(scene.moves("r"), role_events(scene), 3)
    scene.restart()
    a.beat()
    b.beat()
    a.compete("r")
    b.goodbye()

    first, second = stories(scene.moves("r"), role_events(scene), 3)

    assert first.why == before[0].why
    assert [step.what for step in first.steps] == [
        "the tenure of a was over: by its own word (switchover)",
        f"b was promoted under epoch {first.new_epoch} (switchover)",
    ]
    assert [step.what for step in second.steps][-1] == "that was committed"
    assert (first.gap_ms, first.gap_max_ms, first.is_gap_about, second.is_gap_about) == (0, 0, True, False)
    assert (second.old_epoch, second.new_instance_id) == (first.new_epoch, "a")
    assert [story.old_epoch for story in stories(scene.moves("r"), role_events(scene), 1)] == [second.old_epoch]


def test_who_gave_up_stopped_before_it_was_heard_again() -> None:
    """By its own word; one that does not say when leaves that open, and how long nobody was active."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=None)
    held = a.claim("r")
    b.stand_by("r")
    scene.set_back_ms -= 41_000
    a.beat(ServiceStatus.UNHEALTHY, GivenUp(epoch=held.epoch, ago_ms=39_000))

    (story,) = stories(scene.moves("r"), role_events(scene), 3)
    (unknown,) = stories([structs.replace(scene.moves("r")[0], last_heard_ms=0)], [], 3)

    assert [(step.after_ms, step.what) for step in story.steps[:2]] == [
        (0, "a stopped, as it said itself when it was heard again"),
        (39_000, "a was heard again, and said that it had stopped"),
    ]
    assert unknown.steps[0].what == "a was heard again, and said that it had stopped: when, its clock knows"
    assert (unknown.gap_ms, unknown.gap_max_ms) == (None, None)


def test_who_resigned_unheard_stopped_then() -> None:
    """★ It is told later, and nobody was active all that time: that is a step, and counts."""
    move = structs.replace(SILENT, end_reason=ChangeReason.RESIGNED)

    (story,) = stories([move], [], 3)

    assert [(step.after_ms, step.what) for step in story.steps[:3]] == [
        (0, "a stopped, as it said itself when it was heard again"),
        (2_000, "a was heard again, and said that it had stopped"),
        (2_000, "the tenure of a was over: by its own word (resigned)"),
    ]
    assert (story.gap_ms, story.gap_max_ms) == (2_004, 2_004)


def test_a_vacancy_that_lasted_because_of_a_pause_says_so() -> None:
    """★ Who paused and resumed it, and why, also if it was paused long before; pauses of another time are not told."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.compete("r")
    for why in ("long ago", "a new disk"):
        scene.ask(PauseResource(resource_id="r", why=why, by="ada"))
        scene.pass_ms(100, a, b)
        if why == "long ago":
            scene.ask(ResumeResource(resource_id="r", by="bob"))
            scene.pass_ms(100, a, b)
    a.resign(held)
    scene.pass_ms(60, b)
    scene.ask(PauseResource(resource_id="r", why="and a new fan", for_ms=1_000))
    scene.pass_ms(40, b)
    scene.ask(ResumeResource(resource_id="r", by="bob"))

    (story,) = stories(scene.moves("r"), [event for event in scene.events if is_told(event)], 3)

    assert [(step.after_ms, step.what) for step in story.steps[:4]] == [
        (0, "the tenure of a was over: by its own word (resigned)"),
        (60, "failover was paused by somebody: and a new fan"),
        (100, "failover was resumed, as bob asked; somebody had paused it: and a new fan"),
        (100, f"b was promoted under epoch {story.new_epoch} (succession)"),
    ]


def test_a_pause_whose_time_is_over_is_told_too() -> None:
    """With who had asked for it, and why."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.compete("r")
    scene.ask(PauseResource(resource_id="r", why="a new disk", for_ms=1_000, by="ada"))
    scene.pass_ms(100, a, b)
    a.resign(held)
    scene.pass_ms(1_000, a, b)

    (story,) = stories(scene.moves("r"), [event for event in scene.events if is_told(event)], 3)

    assert story.steps[1].what == "failover was resumed, as its time was over; ada had paused it: a new disk"


@pytest.mark.parametrize(("certain_until_ms", "possible_until_ms", "said"), [
    (5_000, 5_000, "for 4,000 ms"),
    (3_000, 5_000, "for at most 4,000 ms (heard last after 2,000 ms)"),
    (None, 5_000, "for at most 4,000 ms"),
    (5_000, None, "for at least 4,000 ms"),
])  # fmt: skip
def test_how_long_a_tenure_lasted_in_words(
    certain_until_ms: int | None, possible_until_ms: int | None, said: str
) -> None:
    """As far as it is known, and no further."""
    tenure = TenureView(
        epoch=7, service_name="svc", instance_id="a", began_ms=1_000, ended_ms=5_000, end_revision=8,
        end_reason=ChangeReason.EXPIRED, certain_until_ms=certain_until_ms, possible_until_ms=possible_until_ms,
    )  # fmt: skip
    assert how_long(tenure) == said


@pytest.mark.parametrize("reason", list(ChangeReason))
def test_every_reason_has_words(reason: ChangeReason) -> None:
    """And whoever gave his word is named, whatever his name looks like."""
    said = how_it_ended(reason, "{ada}")
    assert said
    assert ("{ada}" in said) is (reason in {ChangeReason.CONFIRMED_DEAD, ChangeReason.SWITCHOVER, ChangeReason.REVOKED})


# --- finding the events -----------------------------------------------------------------------------------------------


class Store:
    """Answers `read_events` as a broker does, and counts how much was read."""

    def __init__(self, events: list[AnyEvent], first: int = 1) -> None:
        self.events = events
        self.first = first
        self.read = 0

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """One page."""
        assert isinstance(message, ReadEvents)
        assert answer is EventPage
        if message.since + 1 < self.first:
            raise RevisionCompactedError("gone", revision=self.first)
        page = tuple(event for event in self.events if message.since < event.revision)[: message.limit]
        self.read += len(page)
        return cast("T", EventPage(history_id="h", events=page, revision=self.events[-1].revision))


async def test_the_way_back_leads_from_tenure_to_tenure() -> None:
    """Of a store full of other events only the pages around the moves are read."""
    events, epochs = long_history(tenures=6, apart=5_000)
    store = Store(events)

    found = await newest_tenures(store, "r", epochs[-1], 2)

    changes = [event for event in found if isinstance(event, RoleChangedEvent)]
    assert [event.epoch for event in changes if event.new_role is ServiceRole.ACTIVE][-2:] == epochs[-2:]
    assert [event.epoch for event in changes if event.old_role is ServiceRole.ACTIVE][-2:] == epochs[-3:-1]
    assert [event.revision for event in found] == sorted({event.revision for event in found})
    assert store.read <= 4_000


@pytest.mark.parametrize("first", [1, 40, 3_990])
async def test_what_is_not_kept_any_more_is_left_out(first: int) -> None:
    """The oldest event that is kept ends the way back, wherever it lies."""
    events, _ = long_history(tenures=4, apart=2_000)
    store = Store([event for event in events if event.revision >= first], first)

    found = await newest_tenures(store, "r", events[-1].revision, 10)

    assert found == [event for event in events if isinstance(event, RoleChangedEvent) and event.revision >= first]
    assert found


async def test_a_vacancy_is_found_from_the_newest_event() -> None:
    """The end of the last tenure lies before whatever has happened since."""
    events, epochs = long_history(tenures=2, apart=50)
    end = role_change(events[-1].revision + 1, epochs[-1], was_active=True)
    since = [other(end.revision + number) for number in range(1, 2_500)]
    store = Store([*events, end, *since])

    found = await newest_tenures(store, "r", since[-1].revision, 1)

    assert found[-1] == end
    assert isinstance(found[0], RoleChangedEvent)
    assert stories([], found, 1)[0].new_epoch == 0


async def test_a_store_that_says_no_more_ends_the_search() -> None:
    """A page without events, as from a broker whose store was made anew in between, is no endless loop."""
    assert await newest_tenures(Store([other(1)]), "r", 5_000, 3) == []


def long_history(tenures: int, apart: int) -> tuple[list[AnyEvent], list[int]]:
    """Tenures of one resource, each beginning right after the end of the one before it, and what lies between."""
    events: list[AnyEvent] = []
    epochs: list[int] = []
    for _ in range(tenures):
        if epochs:
            events.append(role_change(len(events) + 1, epochs[-1], was_active=True))
        epoch = len(events) + 1
        events.append(role_change(epoch, epoch, was_active=False, after=epochs[-1] if epochs else 0))
        epochs.append(epoch)
        events.extend(other(epoch + number) for number in range(1, apart))
    return events[: epochs[-1]], epochs


def role_change(revision: int, epoch: int, *, was_active: bool, after: int = 0) -> RoleChangedEvent:
    """A tenure begins or ends."""
    roles = (ServiceRole.ACTIVE, ServiceRole.STANDBY) if was_active else (ServiceRole.STANDBY, ServiceRole.ACTIVE)
    return RoleChangedEvent(
        revision=revision,
        at_ms=revision,
        registration_id=1,
        resource_id="r",
        service_name="svc",
        instance_id=f"of-{epoch}",
        old_role=roles[0],
        new_role=roles[1],
        epoch=epoch,
        reason=ChangeReason.EXPIRED if was_active else ChangeReason.FAILOVER,
        previous_holder=PreviousHolder(service_name="svc", instance_id="x", epoch=after) if after else None,
    )


def other(revision: int) -> AnyEvent:
    """What has nothing to do with it."""
    return StatusChangedEvent(
        revision=revision,
        at_ms=revision,
        session=1,
        old_status=ServiceStatus.HEALTHY,
        new_status=ServiceStatus.DEGRADED,
    )


def role_events(scene: Scene) -> list[RoleChangedEvent]:
    """All that was told of roles."""
    return [event for event in scene.events if isinstance(event, RoleChangedEvent)]


def move_role(scene: Scene, a: Client, b: Client) -> None:
    """From `a` to `b`, as Ada asks."""
    held = a.claim("r")
    b.compete("r")
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, drain_ms=500, by="ada"))
    scene.pass_ms(300, a, b)
    a.resign(held)
