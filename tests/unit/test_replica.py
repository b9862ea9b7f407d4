"""A replica, kept from a snapshot's pages and the stream, is the registry's own view of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tenure.contract.errors import RequestRefusedError
from tenure.contract.events import AnyEvent
from tenure.contract.interventions import PauseResource, ResumeResource
from tenure.contract.limits import STANDBYS_LISTED_MAX
from tenure.contract.messages import (
    Deregister,
    GivenUp,
    ListPresence,
    ListServices,
    PresencePage,
    Register,
    Resign,
    ServicePage,
)
from tenure.contract.views import Presence, ServiceInstance
from tenure.contract.vocabulary import OnConflict, ServiceRole, ServiceStatus
from tenure.domain.limits import RegistryLimits
from tenure.sdk.replica import Replica
from tests.unit.scene import HISTORY, Scene

LIMITS = RegistryLimits(abandoned_resources_max=1)
NAMES = ("a", "b", "c")
RESOURCES = ("r1", "r2", "svc")


def presence_of(scene: Scene) -> dict[int, Presence]:
    """What the broker observes of each session."""
    page = scene.ask(ListPresence())
    assert isinstance(page, PresencePage)
    return {one.session: one for one in page.presence}


def rows_of(
    scene: Scene, *, service_name: str | None = None, resource_id: str | None = None
) -> tuple[ServiceInstance, ...]:
    """The registry's own rows."""
    return scene.page(ListServices(service_name=service_name, resource_id=resource_id)).instances


def assert_same(replica: Replica, scene: Scene) -> None:
    """The replica says what the registry says, once it is told what the broker observes of the sessions."""
    presence = presence_of(scene)
    assert replica.is_settled
    assert replica.revision == scene.registry.revision
    assert replica.instances(presence=presence) == list(rows_of(scene))
    assert replica.pauses == {pause.resource_id: pause for pause in scene.page(ListServices()).pauses}
    living = {row.resource_id for row in rows_of(scene)}
    assert set(replica.resource_ids) == living
    for resource_id in living:
        assert replica.resource(resource_id, presence) == scene.resource(resource_id)
    assert set(replica.services) == {row.service_name for row in rows_of(scene)}
    for service_name in replica.services:
        rows = rows_of(scene, service_name=service_name)
        assert replica.resources_of(service_name) == sorted({row.resource_id for row in rows})


def copy_of(scene: Scene, *, service_name: str | None = None, resource_id: str | None = None) -> Replica:
    """A replica from a snapshot that was taken at once."""
    replica = Replica(service_name=service_name, resource_id=resource_id)
    page = scene.page(ListServices(service_name=service_name, resource_id=resource_id))
    replica.begin(page.history_id, page.revision)
    replica.load(page)
    return replica


def feed(replica: Replica, scene: Scene) -> Replica:
    """Apply all that has happened."""
    for event in scene.events:
        assert replica.apply(event)
    return replica


# --- whatever happens -------------------------------------------------------------------------------------------------


class Story:
    """Things that happen to a registry, while somebody takes a snapshot of it page by page."""

    def __init__(self) -> None:
        self.scene = Scene(LIMITS)
        self.clients = [self.scene.client(name) for name in NAMES]
        self.replica = Replica()
        self.pages = 0
        self.after: int | None = 0

    def happen(self, steps: list[Step]) -> None:
        """Let things happen; what the registry refuses does not."""
        for step in steps:
            with contextlib.suppress(RequestRefusedError):
                step(self)

    def page(self, limit: int) -> None:
        """Take the snapshot's next page, if there is one."""
        if self.after is None:
            return
        page = self.scene.page(ListServices(after=self.after, limit=limit))
        if not self.pages:
            self.replica.begin(page.history_id, page.revision)
        self.pages += 1
        self.replica.load(page)
        self.after = page.next_after

    def hello(self, number: int) -> None:
        """Open another session if the last one has ended."""
        client = self.clients[number]
        if client.session not in self.scene.registry.state.sessions:
            client.session_id += "+"
            client.hello()

    def beat(self, number: int, status: ServiceStatus) -> None:
        """Send a heartbeat."""
        self.clients[number].beat(status)

    def register(self, number: int, request: Register) -> None:
        """Register, or ask again."""
        client = self.clients[number]
        client.register(structs.replace(request, instance_id=client.name))

    def resign(self, number: int, resource_id: str) -> None:
        """Step down."""
        for row in self._own(number, resource_id):
            self.clients[number].ask(Resign(registration_id=row.registration_id, epoch=row.epoch))

    def give_up(self, number: int, resource_id: str, is_declined: bool) -> None:
        """Say in a heartbeat that a tenure was left."""
        for row in self._own(number, resource_id):
            client = self.clients[number]
            client.beat(client.status, GivenUp(epoch=row.epoch, declined=is_declined))

    def deregister(self, number: int, resource_id: str) -> None:
        """End registrations."""
        for row in self._own(number, resource_id):
            self.clients[number].ask(Deregister(registration_id=row.registration_id, epoch=row.epoch))

    def goodbye(self, number: int) -> None:
        """End the session."""
        self.clients[number].goodbye()

    def pause(self, resource_id: str) -> None:
        """Pause a resource."""
        self.scene.ask(PauseResource(resource_id=resource_id, why=f"since {self.scene.now_ms}", for_ms=1_000))

    def resume(self, resource_id: str) -> None:
        """End a pause."""
        self.scene.ask(ResumeResource(resource_id=resource_id))

    def wait(self, wait_ms: int) -> None:
        """Let time pass, and what has expired end."""
        self.scene.now_ms += wait_ms
        self.scene.expire()

    def _own(self, number: int, resource_id: str) -> list[ServiceInstance]:
        session = self.clients[number].session
        return [row for row in rows_of(self.scene, resource_id=resource_id) if row.session == session]


type Step = Callable[[Story], None]

clients = st.integers(0, 2)
resources = st.sampled_from(RESOURCES)
requests = st.builds(
    Register,
    service_name=st.sampled_from(("svc", "other")),
    instance_id=st.just("?"),
    resource_id=resources,
    role=st.sampled_from(ServiceRole),
    on_conflict=st.sampled_from(OnConflict),
    priority=st.integers(0, 2),
    hold_limit_ms=st.sampled_from((0, 0, 3_000)),
    metadata=st.sampled_from(({}, {"host": "h"})),
)
statuses = st.sampled_from([*ServiceStatus, *[ServiceStatus.HEALTHY] * 6])


def step_of(what: Callable[..., None], **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """One thing that may happen."""
    return st.builds(partial, st.just(what), **arguments)


registrations = step_of(Story.register, number=clients, request=requests)
occurrences = st.one_of(
    registrations,
    registrations,
    step_of(Story.hello, number=clients),
    step_of(Story.beat, number=clients, status=statuses),
    step_of(Story.beat, number=clients, status=statuses),
    step_of(Story.resign, number=clients, resource_id=resources),
    step_of(Story.give_up, number=clients, resource_id=resources, is_declined=st.booleans()),
    step_of(Story.deregister, number=clients, resource_id=resources),
    step_of(Story.goodbye, number=clients),
    step_of(Story.pause, resource_id=resources),
    step_of(Story.resume, resource_id=resources),
    step_of(Story.wait, wait_ms=st.sampled_from((100, 700, 1_300))),
)
pages = step_of(Story.page, limit=st.integers(1, 3))


def deliver(replica: Replica, events: list[AnyEvent], chances: Random) -> None:
    """Tell a replica of all events, with some lost, some doubled, and the gaps filled where they show."""
    for event in events:
        chance = chances.random()
        if chance < 0.2:
            continue  # it was lost
        for _ in range(2 if chance < 0.4 else 1):
            if not replica.apply(event):
                for missed in events[replica.revision : event.revision]:
                    assert replica.apply(missed)
    for event in events[replica.revision :]:
        assert replica.apply(event)


@settings(max_examples=300)
@given(
    before=st.lists(occurrences, max_size=30),
    during=st.lists(st.one_of(pages, occurrences, occurrences), max_size=30),
    after=st.lists(occurrences, max_size=10),
    chances=st.randoms(use_true_random=False),
)
def test_a_replica_is_the_registry_whatever_happens_and_however_it_is_told(
    before: list[Step], during: list[Step], after: list[Step], chances: Random
) -> None:
    """Pages of different times, events lost, doubled and read again: the replica ends as the registry's own view."""
    story = Story()
    story.happen(before)
    story.page(2)
    story.happen(during)
    while story.after is not None:
        story.page(3)
    story.happen(after)

    deliver(story.replica, story.scene.events, chances)

    assert_same(story.replica, story.scene)


@settings(max_examples=100)
@given(before=st.lists(occurrences, max_size=30), after=st.lists(occurrences, max_size=30))
def test_a_replica_of_one_resource_is_that_resource(before: list[Step], after: list[Step]) -> None:
    """A replica of one resource ends with the registry's own view of it, and with nothing else."""
    story = Story()
    story.happen(before)
    replica = copy_of(story.scene, resource_id="r1")
    story.happen(after)

    feed(replica, story.scene)

    presence = presence_of(story.scene)
    assert replica.instances(presence=presence) == list(rows_of(story.scene, resource_id="r1"))
    if len(replica):
        assert replica.resource("r1", presence) == story.scene.resource("r1")
    assert set(replica.resource_ids) <= {"r1"}
    assert set(replica.pauses) <= {"r1"}


# --- one by one -------------------------------------------------------------------------------------------------------


def test_an_event_that_does_not_follow_changes_nothing() -> None:
    """A gap is reported, and the replica stays as it was until the missing event has come."""
    scene = Scene()
    replica = copy_of(scene)
    scene.client("a").claim("r")
    opened, status_changed, registered = scene.events

    assert replica.apply(opened)
    assert not replica.apply(registered)
    assert (replica.revision, len(replica)) == (1, 0)

    assert replica.apply(status_changed)
    assert replica.apply(registered)
    assert (replica.revision, len(replica)) == (3, 1)


def test_an_event_that_is_known_changes_nothing() -> None:
    """A replica takes each event once: an old one is passed over, and is no gap."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    replica = feed(copy_of(scene), scene)
    a.deregister(held)
    feed(replica, scene)

    assert replica.apply(scene.events[2])
    assert (replica.revision, len(replica)) == (4, 0)


def test_a_snapshot_of_two_times_is_settled_by_the_events_in_between() -> None:
    """While pages were read the role moved to a later row and back: for a time both rows claim it, then one has it."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    first = a.claim("r")
    b.stand_by("r")
    page = scene.page(ListServices(limit=1))
    replica = Replica()
    replica.begin(page.history_id, page.revision)
    replica.load(page)
    a.resign(first)
    second = scene.page(ListServices(after=page.instances[0].registration_id))
    replica.load(second)

    assert not replica.is_settled
    assert replica.settled_revision == second.revision
    feed(replica, scene)

    assert_same(replica, scene)
    assert scene.who("r") == "b | a"


def test_a_tenure_that_ended_while_pages_were_read_does_not_hide_the_one_after_it() -> None:
    """A row from an early page is promoted and demoted again before a later page shows who is active."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.stand_by("r")
    c = scene.client("c")
    page = scene.page(ListServices(limit=1))
    replica = Replica()
    replica.begin(page.history_id, page.revision)
    replica.load(page)
    held = c.claim("r")
    c.deregister(held)  # a is promoted
    assert scene.who("r") == "a |"
    b.stand_by("r")
    a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=rows_of(scene)[0].epoch, declined=True))  # b is promoted
    replica.load(scene.page(ListServices(after=page.instances[0].registration_id)))

    feed(replica, scene)

    assert_same(replica, scene)
    assert scene.who("r") == "b | a"


def test_a_row_never_goes_back() -> None:
    """Events older than a row are passed over: what a later page said of it stays."""
    scene = Scene()
    a = scene.client("a")
    first, second = a.claim("r"), a.stand_by("s", priority=1)
    page = scene.page(ListServices(limit=1))
    replica = Replica()
    replica.begin(page.history_id, page.revision)
    replica.load(page)
    a.stand_by("s", priority=2)
    a.resign(first)
    a.claim("s")
    a.stand_by("s", priority=3)
    replica.load(scene.page(ListServices(after=first.registration_id)))
    seen: list[tuple[str, int]] = []

    for event in scene.events:
        replica.apply(event)
        row = replica.instance(second.registration_id)
        assert row is not None
        seen.append((row.role, row.priority))

    assert set(seen) == {("active", 3)}
    assert_same(replica, scene)


def test_rows_have_what_was_reported_and_a_full_lease_until_presence_is_known() -> None:
    """A replica hears no heartbeats: it never says `late` by itself, and goes by what it is told of presence."""
    scene = Scene()
    a = scene.client("a")
    held = a.stand_by("r")
    a.beat(ServiceStatus.DEGRADED)
    scene.now_ms += 1_500
    replica = copy_of(scene)
    number = held.registration_id

    row = replica.instance(number)
    assert row is not None
    assert (row.status, row.reported_status, row.lease_left_ms) == ("degraded", "degraded", 2_000)

    row = replica.instance(number, presence_of(scene))
    assert row is not None
    assert (row.status, row.reported_status, row.lease_left_ms) == ("late", "degraded", 500)


def test_the_hold_limit_is_the_one_asked_for_last() -> None:
    """Said with the registration, and anew when it asks again with another."""
    scene = Scene()
    a = scene.client("a")
    request = Register(service_name="svc", instance_id="a", resource_id="r", hold_limit_ms=5_000)
    replica = copy_of(scene)
    number = a.register(request).registration_id
    feed(replica, scene)
    assert [row.hold_limit_ms for row in replica.instances()] == [5_000]

    a.register(structs.replace(request, hold_limit_ms=7_000))

    assert [row.hold_limit_ms for row in feed(replica, scene).instances()] == [7_000]
    assert scene.resource("r").standbys[0].registration_id == number
    assert_same(replica, scene)


def test_only_a_candidate_is_next_for_a_resource_that_was_never_held() -> None:
    """Without a tenure before it a plain standby comes after a candidate, whatever its priority."""
    scene = Scene()
    scene.client("a").stand_by("r", priority=9)
    b = scene.client("b", status=ServiceStatus.UNHEALTHY)
    b.compete("r")
    replica = copy_of(scene)
    healthy = {
        session: Presence(session=session, status=ServiceStatus.HEALTHY, lease_left_ms=1)
        for session in presence_of(scene)
    }

    view = replica.resource("r", healthy)

    assert view is not None
    assert [standby.instance_id for standby in view.standbys] == ["b", "a"]


def test_a_status_is_its_sessions_and_changes_for_all_of_its_registrations() -> None:
    """One event about a session changes the status of each of its instances, and the order of succession with it."""
    scene = Scene()
    scene.client("a").claim("r")
    b, c = scene.client("b"), scene.client("c")
    b.stand_by("r")
    b.stand_by("s")
    c.stand_by("r")
    replica = copy_of(scene)
    b.beat(ServiceStatus.DEGRADED)
    feed(replica, scene)

    assert {row.status for row in replica.instances() if row.instance_id == "b"} == {ServiceStatus.DEGRADED}
    view = replica.resource("r")
    assert view is not None
    assert [standby.instance_id for standby in view.standbys] == ["c", "b"]


def test_a_standby_knows_of_a_tenure_that_ended_before_it_came() -> None:
    """A resource that everybody left is forgotten; whoever comes next brings the epoch of its newest tenure."""
    scene = Scene()
    a = scene.client("a")
    replica = copy_of(scene)
    held = a.claim("r")
    a.deregister(held)
    b = scene.client("b", status=ServiceStatus.UNHEALTHY)
    b.stand_by("r")
    feed(replica, scene)

    view = replica.resource("r")
    assert view is not None
    assert view.last_epoch == held.epoch
    assert_same(replica, scene)


def test_a_replica_of_a_service_leaves_out_the_others() -> None:
    """With a service's name only its instances are kept, from pages and events alike."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.register(Register(service_name="mine", instance_id="a1", resource_id="r"))
    b.register(Register(service_name="other", instance_id="b1", resource_id="r"))
    replica = copy_of(scene, service_name="mine")
    a.register(Register(service_name="mine", instance_id="a2", resource_id="r"))
    b.register(Register(service_name="other", instance_id="b2", resource_id="r"))
    feed(replica, scene)

    assert [row.instance_id for row in replica.instances()] == ["a1", "a2"]
    assert list(replica.services) == ["mine"]


def test_what_is_not_there_is_not_found() -> None:
    """Unknown ids and names are no errors: there is nothing of them."""
    replica = Replica()

    assert replica.instance(7) is None
    assert replica.resource("r") is None
    assert replica.resources_of("svc") == []
    assert (replica.instances(), replica.history_id, replica.revision) == ([], "", 0)


def test_instances_are_read_a_page_at_a_time() -> None:
    """Pages are cut by registration id, and stay right when registrations end between them."""
    scene = Scene()
    a = scene.client("a")
    held = [a.stand_by(f"r{number}") for number in range(5)]
    replica = copy_of(scene)

    assert [row.resource_id for row in replica.instances(limit=2)] == ["r0", "r1"]
    a.deregister(held[1])
    a.deregister(held[3])
    feed(replica, scene)

    assert [row.resource_id for row in replica.instances(held[1].registration_id, 2)] == ["r2", "r4"]
    assert replica.instances(held[4].registration_id, 2) == []


def test_a_long_line_of_standbys_is_cut_and_counted() -> None:
    """As from the broker: the first hundred in order, and how many there are in all."""
    scene = Scene()
    a = scene.client("a")
    for number in range(STANDBYS_LISTED_MAX + 20):
        a.stand_by("r", instance_id=f"i{number}", priority=number)
    replica = copy_of(scene)

    view = replica.resource("r", presence_of(scene))

    assert view == scene.resource("r")
    assert view is not None
    assert (len(view.standbys), view.standby_count) == (STANDBYS_LISTED_MAX, STANDBYS_LISTED_MAX + 20)


def test_a_page_of_another_history_is_a_defect() -> None:
    """Rows of two histories are never mixed."""
    replica = Replica()
    replica.begin(HISTORY, 0)

    with pytest.raises(AssertionError, match="one history"):
        replica.load(ServicePage(history_id="another", revision=0, instances=()))
