"""A replica, kept from a snapshot's pages and the stream, is the registry's own view of itself."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tenure.contract.events import AnyEvent
from tenure.contract.limits import STANDBYS_LISTED_MAX
from tenure.contract.messages import GivenUp, ListServices, Register, ServicePage
from tenure.contract.views import Presence
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk.replica import Replica
from tests.unit.replica_stage import assert_same, copy_of, feed, presence_of, rows_of
from tests.unit.scene import HISTORY, Scene
from tests.unit.stories import Step, Story, occurrences, pages

# --- whatever happens -------------------------------------------------------------------------------------------------


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
