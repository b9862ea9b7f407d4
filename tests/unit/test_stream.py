"""A listener's core: what it hands out, what it asks the store for, and when it says that it cannot go on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.contract.errors import InvalidRequestError, OverloadedError, RevisionCompactedError
from tenure.contract.events import AnyEvent, SessionOpenedEvent
from tenure.contract.history import EventPage, Events, Progress
from tenure.sdk.stream import RestartReason, StreamCore, StreamRestarted

HISTORY = "a-history"
PAGE_ITEMS = 4


def event(revision: int) -> AnyEvent:
    """An event; of which kind is all the same here."""
    return SessionOpenedEvent(revision=revision, at_ms=0, lease_ms=2_000)


def published(*revisions: int, history_id: str = HISTORY) -> Events:
    """A message of the stream."""
    return Events(history_id=history_id, events=tuple(map(event, revisions)))


def progress(revision: int, history_id: str = HISTORY) -> Progress:
    """How far the stream has come."""
    return Progress(history_id=history_id, revision=revision)


def page(since: int, newest: int, history_id: str = HISTORY) -> EventPage:
    """What the store has after a revision."""
    revisions = range(since + 1, min(newest, since + PAGE_ITEMS) + 1)
    return EventPage(history_id=history_id, events=tuple(map(event, revisions)), revision=newest)


def taken(core: StreamCore) -> list[int]:
    """All that it hands out now."""
    revisions: list[int] = []
    while (handed_out := core.take()) is not None:
        revisions.append(handed_out.revision)
    return revisions


def at(revision: int) -> StreamCore:
    """A core that knows its store to be at this revision."""
    core = StreamCore(HISTORY, revision)
    core.check(HISTORY, revision)
    return core


def is_at_rest(core: StreamCore) -> bool:
    """Whether it could go on and needs nothing from the store."""
    return core.restart is None and core.missing_since is None


def test_what_follows_on_is_handed_out_at_once() -> None:
    """Events that come in order need no store."""
    core = at(7)

    core.receive(published(8, 9))
    core.receive(published(10))

    assert taken(core) == [8, 9, 10]
    assert (core.revision, core.missing_since, core.is_waiting) == (10, None, True)


def test_a_gap_is_filled_from_the_store() -> None:
    """An event that does not follow is left alone, and everything from the gap on is read a page at a time."""
    core = at(7)

    core.receive(published(13))

    assert taken(core) == []
    assert core.missing_since == 7
    core.fill(page(7, 13))
    assert core.missing_since is None, "what was read is handed out before more is asked for"
    assert taken(core) == [8, 9, 10, 11]
    assert core.missing_since == 11
    core.fill(page(11, 13))
    assert taken(core) == [12, 13]
    assert core.missing_since is None


def test_a_lost_tail_is_filled_from_the_store() -> None:
    """Progress that is further than the events shows that the last ones were lost."""
    core = at(7)

    core.receive(progress(9))

    assert core.missing_since == 7
    core.fill(page(7, 9))
    assert taken(core) == [8, 9]


def test_events_are_handed_out_once() -> None:
    """What was read from the store is passed over when it is published later, in whole or in part."""
    core = at(7)
    core.receive(progress(9))
    core.fill(page(7, 10))
    assert taken(core) == [8, 9, 10]

    core.receive(published(10, 11, 12))

    assert taken(core) == [11, 12]


def test_a_message_that_waited_here_for_long_is_no_reason_to_start_again() -> None:
    """A stream behind what was read makes one look at the store, unless a newer message shows that all is well."""
    core = at(7)
    core.receive(progress(9))
    core.fill(page(7, 11))
    assert taken(core) == [8, 9, 10, 11]

    core.receive(progress(10))
    assert core.missing_since == 11
    core.fill(page(11, 11))
    assert is_at_rest(core)

    core.receive(progress(10))
    assert core.missing_since == 11
    core.receive(progress(11))
    assert is_at_rest(core)


def test_a_stream_of_another_history_makes_it_look_at_the_store() -> None:
    """A message may be left over from the broker before; the store says which history it has."""
    core = at(7)

    core.receive(published(8, history_id="another"))

    assert taken(core) == []
    assert core.missing_since == 7
    core.fill(page(7, 7))
    assert is_at_rest(core)


def test_a_store_of_another_history_ends_the_stream() -> None:
    """Revisions of another history mean other events: none of them is handed out."""
    core = at(7)
    core.receive(progress(0, "another"))

    core.fill(page(7, 9, "another"))

    assert core.restart is RestartReason.OTHER_HISTORY
    assert (core.take(), core.missing_since, core.is_waiting) == (None, None, False)


def test_a_store_that_is_behind_ends_the_stream() -> None:
    """A store without the revisions that were seen is an old copy."""
    core = at(7)
    core.subscribed()

    core.fill(page(7, 6))

    assert core.restart is RestartReason.ROLLED_BACK


@pytest.mark.parametrize("message", [progress(8), published(8, 9)])
def test_a_stream_that_goes_back_ends(message: Progress | Events) -> None:
    """A broker never takes back what it published: one that does has an old copy of the store."""
    core = at(7)
    core.receive(published(8, 9))
    assert taken(core) == [8, 9]

    core.receive(message)

    assert core.restart is RestartReason.ROLLED_BACK
    assert core.take() is None


def test_a_new_subscription_may_begin_anywhere() -> None:
    """What another subscription spoke of does not bind the next one, but the store is looked at."""
    core = at(7)
    core.receive(progress(7))
    core.subscribed()

    assert core.missing_since == 7
    core.receive(progress(7))
    assert is_at_rest(core)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (RevisionCompactedError("gone", revision=100), RestartReason.COMPACTED),
        (InvalidRequestError("since is 7; this history has revisions 0 to 3"), RestartReason.ROLLED_BACK),
    ],
)
def test_a_store_that_cannot_give_what_comes_next_ends_the_stream(
    refusal: RevisionCompactedError | InvalidRequestError, reason: RestartReason
) -> None:
    """Events that are no longer kept, and a revision that the store never had, are reasons to start again."""
    core = StreamCore(HISTORY, 7)

    assert core.refused(refusal)
    assert core.restart is reason


def test_the_break_names_both_sides_and_the_snapshot_has_the_last_word_on_the_history() -> None:
    """A store that refuses a revision may be rolled back or another one; only the snapshot's history tells."""
    core = StreamCore(HISTORY, 7)
    core.refused(InvalidRequestError("since is 7; this history has revisions 0 to 3"))

    same, another = core.break_at(HISTORY, 3), core.break_at("another", 3)

    assert same == StreamRestarted(
        reason=RestartReason.ROLLED_BACK, revision=3, history_id=HISTORY, last_revision=7, last_history_id=HISTORY
    )
    assert (another.reason, another.history_id) == (RestartReason.OTHER_HISTORY, "another")


def test_a_refusal_that_says_nothing_of_the_stream_is_left_to_the_caller() -> None:
    """A broker that has too much to do is asked again later."""
    core = StreamCore(HISTORY, 7)

    assert not core.refused(OverloadedError("later"))
    assert (core.restart, core.missing_since) == (None, 7)


def test_a_store_that_gives_nothing_is_not_asked_at_once_again() -> None:
    """A store that says it has more and gives nothing is asked at the next sign of life, not in a busy loop."""
    core = at(7)
    core.receive(progress(9))

    core.fill(EventPage(history_id=HISTORY, events=(), revision=9))
    assert core.missing_since is None

    core.receive(progress(9))
    assert core.missing_since == 7


def test_a_message_without_events_says_nothing() -> None:
    """The protocol allows for an empty message, and it means nothing."""
    core = at(7)

    core.receive(published())

    assert (core.missing_since, core.take()) == (None, None)


@given(
    batches=st.lists(st.integers(1, 5), max_size=20),
    lost=st.lists(st.booleans(), min_size=20, max_size=20),
    takes=st.lists(st.integers(0, 5), min_size=20, max_size=20),
)
def test_every_event_once_and_in_order(batches: Sequence[int], lost: Sequence[bool], takes: Sequence[int]) -> None:
    """Whatever is lost on the way and however slowly events are taken, all come out, once and in order."""
    core = StreamCore(HISTORY, 0)
    newest, handed_out = 0, list[int]()

    def take(most: int) -> None:
        while len(handed_out) < most:
            if core.missing_since is not None:
                core.fill(page(core.missing_since, newest))
            event = core.take()
            if event is None:
                return
            handed_out.append(event.revision)

    for size, is_lost, most in zip(batches, lost, takes, strict=False):
        first, newest = newest + 1, newest + size
        if not is_lost:
            core.receive(published(*range(first, newest + 1)))
        take(len(handed_out) + most)
    core.receive(progress(newest))
    take(newest)

    assert core.restart is None
    assert handed_out == list(range(1, newest + 1))
