"""What a store says when it refuses: messages that name who has it, and from where on events are kept."""

from __future__ import annotations

from tenure.domain.store import (
    EventsCompactedError,
    StoreError,
    StoreFailedError,
    StoreInvariantError,
    StoreLockedError,
    StoreRefusedError,
)


def test_a_locked_store_names_its_broker() -> None:
    """Whoever meets a store in use learns where it is and, if it is known, which process has it."""
    known, unknown = StoreLockedError("/data/tenure.db", 4711), StoreLockedError("/data/tenure.db", None)

    assert (known.place, known.pid, unknown.pid) == ("/data/tenure.db", 4711, None)
    assert "a broker with pid 4711" in str(known)
    assert "another broker" in str(unknown)


def test_compacted_events_name_the_first_kept() -> None:
    """Whoever asks for events that are gone learns which is the first still kept."""
    error = EventsCompactedError(17)

    assert error.first_revision == 17
    assert "17" in str(error)


def test_a_refusal_is_no_failure() -> None:
    """Nothing was committed, or nobody knows: a caller that handles the one never swallows the other."""
    assert issubclass(StoreInvariantError, StoreRefusedError)
    assert not issubclass(StoreFailedError, StoreRefusedError)
    assert issubclass(StoreFailedError, StoreError)
