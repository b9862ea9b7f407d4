"""What is told of every belief: of each validity BEFORE the application can see it, of each end AFTER it no longer can.

The port through which a session's core arms a hard stop and keeps a record, without doing either itself. A witness is
called under the session's lock, from any thread; it must not wait, and it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tenure.sdk.standing import Reading


class Witness(Protocol):
    """Is told what a session believes of its tenures."""

    def extending(self, epochs: Sequence[int], now: Reading, until: Reading, revision: int) -> None:
        """These tenures are about to be valid until then; `revision` is the newest that the broker has named."""
        ...

    def left(self, epoch: int, why: str, *, is_lost: bool) -> None:
        """A tenure that was valid once is not any more.

        `is_lost`: its time ran out or the broker ended it; else it was left on purpose.
        """
        ...


class Witnesses:
    """Several at once: they hear of a validity in their order, and of an end in the reverse of it."""

    def __init__(self, *witnesses: Witness) -> None:
        self._witnesses = witnesses

    def extending(self, epochs: Sequence[int], now: Reading, until: Reading, revision: int) -> None:
        """Tell each of them."""
        for witness in self._witnesses:
            witness.extending(epochs, now, until, revision)

    def left(self, epoch: int, why: str, *, is_lost: bool) -> None:
        """Tell each of them, the last one first."""
        for witness in reversed(self._witnesses):
            witness.left(epoch, why, is_lost=is_lost)
