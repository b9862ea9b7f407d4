"""From a batch to rows: the last state of each record, and text that the write path can keep."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from tenure.domain.store import StoreInvariantError
from tenure.storage.options import StoreOptions
from tenure.storage.rows import encode
from tests.contract.records import active, batch, drop, event, forget, paused, put, session, standby, tenure


def test_standbys_are_written_before_actives() -> None:
    """★ In whatever order a batch has them, standbys come first, so that a swap never has two actives half way."""
    changes = [put(active(1, "a")), put(standby(2, "a")), put(active(3, "b")), put(standby(4, "b"))]
    row, _ = encode(batch(1, *changes))
    assert row.registrations is not None
    assert [values[0] for values in json.loads(row.registrations)] == [2, 4, 1, 3]


def test_what_changes_twice_in_a_batch_is_one_row() -> None:
    """Of each record one row is left, with its last state; of what a batch has nothing of, nothing."""
    changes = [put(active(1, "r")), put(standby(1, "r", revision=2)), put(session(3)), drop(session(3))]
    row, _ = encode(batch(1, *changes, events=3))
    assert row.registrations is not None
    assert [values[0] for values in json.loads(row.registrations)] == [1]
    assert json.loads(row.registrations)[0][8] == 2
    assert (row.sessions, row.dropped_sessions, row.tenures) == (None, "[3]", None)


def test_what_is_forgotten_goes_before_what_comes() -> None:
    """A forgotten resource's tenures are not even written where the batch has them, and later ones stay."""
    changes = [put(tenure(1, "r", ended=2)), forget("r"), put(tenure(3, "r", ended=4)), forget("s")]
    row, _ = encode(batch(1, *changes, events=4))
    assert row.forgotten_resources is not None
    assert row.tenures is not None
    assert sorted(json.loads(row.forgotten_resources)) == ["r", "s"]
    assert [values[0] for values in json.loads(row.tenures)] == [3]


def test_bodies_are_found_by_where_they_begin() -> None:
    """All bodies are one string of bytes, cut by the places in the row."""
    made = batch(7, events=3)
    row, _ = encode(made)
    assert row.events is not None
    cut = {revision: row.bodies[start - 1 : start - 1 + size] for revision, start, size in json.loads(row.events)}
    assert cut == dict(zip([7, 8, 9], made.encoded_events, strict=True))
    assert (row.first_revision, row.next_revision) == (7, 10)


def test_a_batch_with_more_rows_may_change_more_pages() -> None:
    """The room asked for grows with the rows and the bytes of a batch."""
    pages = [
        encode(batch(1, *(put(active(n, str(n))) for n in range(1, count + 1)), events=count))[1] for count in (1, 99)
    ]
    assert pages[0] < pages[1]
    assert encode(batch(1))[1] < encode(structs.replace(batch(1), encoded_events=(b"x" * 100_000,)))[1]


def test_text_that_cannot_be_kept_is_refused() -> None:
    """★ NUL, where SQLite's JSON would cut a text, and halves of characters are refused; what looks like NUL is not."""
    for broken in ("a\0b", "\ud800"):
        for change in (
            put(structs.replace(session(1), client=broken)),
            put(tenure(1, broken, ended=2)),
            forget(broken),
            put(paused("r", why=broken)),
        ):
            with pytest.raises(StoreInvariantError):
                encode(batch(1, change))
    fine = structs.replace(standby(1, "\\u0000"), metadata={"a": "\0"})
    row, _ = encode(batch(1, put(fine)))
    assert row.registrations is not None
    assert json.loads(row.registrations)[0][4] == "\\u0000"


def test_events_are_not_looked_at() -> None:
    """The body kept is the bytes that came with the event, whatever they are."""
    row, _ = encode(structs.replace(batch(1), events=(event(1),), encoded_events=(b"\xc1",)))
    assert row.bodies == b"\xc1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"events_kept": 0},
        {"checkpoint_idle_bytes": 0},
        {"checkpoint_idle_bytes": 3_000_000},
        {"wal_reserved_bytes": 1_000_000},
    ],
)
def test_options_that_contradict_each_other(wrong: dict[str, int]) -> None:
    """Options that cannot work are refused when they are made."""
    with pytest.raises(ValueError, match=r"events_kept|checkpoint_idle_bytes"):
        StoreOptions(**wrong)
