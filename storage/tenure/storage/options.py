"""What an operator, or a test, may choose about a store; each default says why."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

_MIB: Final = 1024 * 1024


class StoreOptions(Struct, frozen=True, kw_only=True):
    """How much a store keeps, and how far its write-ahead log runs before it is recycled."""

    events_kept: int = 1_000_000
    """How many of the newest events are kept at least: some 200 MB, and more than any listener's backlog."""
    wal_reserved_bytes: int = 4 * _MIB
    """The log is written out to this size ahead of use: a commit into it costs half of one that grows it."""
    checkpoint_idle_bytes: int = _MIB // 2
    """Without a batch waiting, this much log is worth a checkpoint, which then takes about a millisecond."""
    checkpoint_forced_bytes: int = 2 * _MIB
    """With batches waiting, a checkpoint goes between two of them after this much; it has to fit what is reserved."""

    def __post_init__(self) -> None:
        """Check the limits against each other."""
        if self.events_kept < 1:
            raise ValueError(f"events_kept is {self.events_kept}; at least the newest event is kept")
        if not 0 < self.checkpoint_idle_bytes <= self.checkpoint_forced_bytes <= self.wal_reserved_bytes:
            raise ValueError(
                "checkpoint_idle_bytes, checkpoint_forced_bytes and wal_reserved_bytes have to rise in this order"
            )
