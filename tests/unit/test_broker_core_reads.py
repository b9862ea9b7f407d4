"""What only the store can answer: reads of events and tenures go to it, and come back without what is not committed."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.broker.core_limits import CoreLimits
from tenure.broker.pages import EventsRead, TenuresRead
from tenure.contract import codec
from tenure.contract.errors import ErrorCode, RevisionCompactedError
from tenure.contract.events import RoleChangedEvent
from tenure.contract.history import EventPage, ListTenures, ReadEvents, TenurePage
from tenure.contract.messages import ErrorReply
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.records import KeptTenure, Tenure
from tests.contract.records import tenure
from tests.unit.core_stage import CoreStage, claim_of, codes


def test_a_read_of_events_goes_to_the_store_and_its_page_comes_back() -> None:
    """The core checks what is asked for and hands it on; the answer names how far the history goes."""
    stage = CoreStage()
    stage.open("a")
    request_id = stage.says("a/requests", ReadEvents(since=0, limit=1))

    (read,) = stage.core.store_reads
    assert isinstance(read, EventsRead)

    assert (read.since, read.limit) == (0, 1)
    answer = stage.core.events_page(read, tuple(stage.published[:1]))
    page = codec.decode_broker(answer.body)
    assert (answer.route.routing_id, answer.request_id) == (b"a/requests", request_id)
    assert isinstance(page, EventPage)
    assert (page.events, page.revision) == (tuple(stage.published[:1]), stage.core.registry.committed_revision)


def test_a_page_of_events_does_not_go_beyond_what_its_broker_knows_to_be_committed() -> None:
    """★ The store shows a batch before its commit is reported: a listener must not get ahead of the broker it asks."""
    stage = CoreStage()
    stage.open("a")
    known = stage.core.registry.committed_revision
    stage.says("a/requests", ReadEvents(since=known - 1))
    stage.says("a/requests", claim_of("a"))
    batch = stage.core.take_batch()
    assert batch is not None
    (read,) = stage.core.store_reads
    assert isinstance(read, EventsRead)

    answer = stage.core.events_page(read, (stage.published[-1], *batch.events))

    page = codec.decode_broker(answer.body)
    assert isinstance(page, EventPage)
    assert ([event.revision for event in page.events], page.revision) == ([known], known)
    stage.core.committed()
    stage.says("a/requests", ReadEvents(since=page.events[-1].revision))
    assert codes(stage.sent()) == []


@pytest.mark.parametrize(("since", "limit"), [(0, 0), (0, 1_001), (-1, 10), (10_000, 10)])
def test_a_read_of_events_that_cannot_be_is_refused(since: int, limit: int) -> None:
    """Pages have 1 to 1,000 items, and revisions are those of this history."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", ReadEvents(since=since, limit=limit))
    assert codes(stage.sent()) == [ErrorCode.INVALID_REQUEST]
    assert stage.core.store_reads == []


def test_reads_of_events_count_as_unanswered() -> None:
    """Until the store has answered, they take the room of a connection; a refusal frees it as a page does."""
    stage = CoreStage(CoreLimits(requests_in_flight_max=2))
    stage.open("a")
    for _ in range(3):
        stage.says("a/requests", ReadEvents())
    assert codes(stage.sent()) == [ErrorCode.OVERLOADED]
    first, second = stage.core.store_reads
    assert isinstance(first, EventsRead)

    stage.core.events_page(first, ())
    refused = stage.core.refuse_read(second, RevisionCompactedError("gone", revision=7))
    assert isinstance(codec.decode_broker(refused.body), ErrorReply)

    stage.says("a/requests", ReadEvents())
    stage.says("a/requests", ReadEvents())
    assert stage.sent() == []


def test_reads_of_events_survive_a_failed_commit() -> None:
    """They are answered from what is committed, which a refused commit does not change."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", ReadEvents())
    stage.says("a/requests", claim_of("a"))
    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")
    assert len(stage.core.store_reads) == 1


def tenures_page(
    stage: CoreStage, tenures: tuple[Tenure, ...], end: RoleChangedEvent | None = None, limit: int = 1_000
) -> TenurePage:
    """What comes back when the store answers a read of tenures with these, of which the event of the end is this."""
    stage.says("a/requests", ListTenures(resource_id="r", limit=limit))
    read = stage.core.store_reads.pop()
    assert isinstance(read, TenuresRead)
    page = codec.decode_broker(stage.core.tenures_page(read, tuple(KeptTenure(one, end) for one in tenures)).body)
    assert isinstance(page, TenurePage)
    return page


def test_a_page_of_tenures_shows_nothing_that_its_broker_does_not_know_to_be_committed() -> None:
    """A tenure whose end the store shows before its commit is reported lasts; the store is asked for no newer one."""
    stage = CoreStage()
    stage.open("a")
    known = stage.core.registry.committed_revision
    stage.says("a/requests", ListTenures(resource_id="r"))
    stage.says("a/requests", ListTenures(resource_id="r", before=known))
    stage.says("a/requests", ListTenures(resource_id="r", before=known + 100, limit=7))
    asked = [read for read in stage.core.store_reads if isinstance(read, TenuresRead)]
    assert [(read.resource_id, read.before, read.limit) for read in asked] == [
        ("r", known + 1, 1_000),
        ("r", known, 1_000),
        ("r", known + 1, 7),
    ]

    page = tenures_page(stage, (tenure(2, "r", ended=known + 1), tenure(1, "r", ended=known)))

    assert [(one.epoch, one.end_revision, one.end_reason) for one in page.tenures] == [
        (2, None, None),
        (1, known, ChangeReason.RESIGNED),
    ]
    assert [one.duration_ms for one in page.tenures] == [None, known - 1]
    assert (page.history_id, page.next_before) == (stage.core.registry.history_id, None)


@pytest.mark.parametrize(
    ("reason", "silent_ms", "certain_ms", "most_ms"),
    [
        (ChangeReason.RESIGNED, 0, 900, 900),
        (ChangeReason.RESIGNED, 300, 600, 600),
        (ChangeReason.RESIGNED, None, None, 900),
        (ChangeReason.DIED, 0, 900, 900),
        (ChangeReason.DIED, 300, 600, 900),
        (ChangeReason.DIED, None, None, 900),
        (ChangeReason.EXPIRED, 300, 600, 900),
        (ChangeReason.EXPIRED, 10_000, 0, 900),
        (ChangeReason.EXPIRED, None, None, 900),
        (ChangeReason.REVOKED, 300, 600, 900),
        (ChangeReason.CONFIRMED_DEAD, 300, 600, 900),
        (ChangeReason.GIVEN_UP, 300, 600, 600),
        (ChangeReason.GIVEN_UP, None, None, 900),
        (ChangeReason.RESTORED, 300, 900, None),
    ],
)
def test_how_long_a_tenure_lasted_is_said_as_far_as_it_is_known(
    reason: ChangeReason, silent_ms: int | None, certain_ms: int | None, most_ms: int | None
) -> None:
    """★ Its end is its own word or a proof in time; else it lasted until it was heard, and at most until its end."""
    stage = CoreStage()
    stage.open("a")
    ended = structs.replace(tenure(1, "r", ended=1), began_ms=0, ended_ms=900, end_reason=reason)
    end = RoleChangedEvent(
        revision=1, at_ms=900, registration_id=1, resource_id="r", service_name="svc", instance_id="a", reason=reason,
        silent_ms=silent_ms, by="ada",
    )  # fmt: skip

    (told,) = tenures_page(stage, (ended,), end).tenures

    assert (told.certain_ms, told.duration_ms, told.ended_ms, told.by) == (certain_ms, most_ms, 900, "ada")


def test_what_only_the_event_of_its_end_knew_goes_with_it() -> None:
    """Who asked for it, and when its holder was heard last; one that told its end may have told it late."""
    stage = CoreStage()
    stage.open("a")
    expired = structs.replace(tenure(2, "r", ended=1), end_reason=ChangeReason.EXPIRED)
    resigned = tenure(1, "r", ended=1)

    told = tenures_page(stage, (expired, resigned)).tenures

    assert [(one.certain_until_ms, one.possible_until_ms, one.by) for one in told] == [
        (None, expired.ended_ms, ""),
        (None, resigned.ended_ms, ""),
    ]


def test_a_full_page_of_tenures_leads_to_the_next() -> None:
    """With as many as were asked for there may be more, before the last one's epoch."""
    stage = CoreStage()
    stage.open("a")
    assert tenures_page(stage, (tenure(2, "r", ended=3), tenure(1, "r", ended=2)), limit=2).next_before == 1
    assert tenures_page(stage, (), limit=2).next_before is None


@pytest.mark.parametrize(
    "question", [ListTenures(resource_id="r", limit=0), ListTenures(resource_id="r", limit=1_001),
                 ListTenures(resource_id="r", before=-1), ListTenures(resource_id="")],
)  # fmt: skip
def test_a_read_of_tenures_that_cannot_be_is_refused(question: ListTenures) -> None:
    """Pages have 1 to 1,000 items, and a resource has a name."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", question)
    assert codes(stage.sent()) == [ErrorCode.INVALID_REQUEST]
    assert stage.core.store_reads == []


def test_progress_tells_how_far_the_committed_history_goes() -> None:
    """What is decided and not committed is not told."""
    stage = CoreStage()
    stage.open("a")
    before = stage.core.progress()
    stage.says("a/requests", claim_of("a"))
    assert stage.core.progress() == before
    stage.commit()
    assert stage.core.progress() != before
