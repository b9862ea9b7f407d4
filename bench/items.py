"""A queue of work items that only the newest tenure may take from, and the ledger of what became of each. Pure.

It stands for whatever a service works for: an item that was acknowledged is done, for good and once; one that was taken
under an earlier epoch and not acknowledged is handed over. Whoever comes with an older epoch is refused.
"""

from __future__ import annotations

from msgspec import Struct


class Stint(Struct):
    """What was done under one epoch; times are the worker's own, in nanoseconds of CLOCK_BOOTTIME."""

    epoch: int
    worker: str
    first_ns: int
    """When it took its first item."""
    last_ns: int
    """When it took or acknowledged something last."""
    acknowledged: int = 0
    handed_over: int = 0
    """How many it got that somebody had in hand before."""


class Items:
    """Items are numbers from 1 on; there is always another one."""

    def __init__(self) -> None:
        self.stints: list[Stint] = []
        self.violations: list[str] = []
        """Everything that must not happen."""
        self.done: dict[int, int] = {}
        """Item → the epoch under which it was acknowledged."""
        self._newest = 0
        self._in_hand: dict[int, int] = {}
        """Item → the epoch under which it was taken."""

    def take(self, worker: str, epoch: int, at_ns: int) -> int:
        """The next item: one that is left over from an earlier epoch, else a new one. 0: a later tenure has begun."""
        if not self._note(worker, epoch, at_ns, "took an item"):
            return 0
        left_over = next((item for item, taken in self._in_hand.items() if taken < epoch), None)
        if left_over is None:
            self._newest += 1
            item = self._newest
        else:
            item = left_over
            self.stints[-1].handed_over += 1
        self._in_hand[item] = epoch
        return item

    def acknowledge(self, worker: str, epoch: int, item: int, at_ns: int) -> bool:
        """The work on an item is done. False: a later tenure has begun, and does it again."""
        if not self._note(worker, epoch, at_ns, f"acknowledged item {item}"):
            return False
        if item in self.done:
            self.violations.append(f"item {item} was done under epoch {self.done[item]} and again under {epoch}")
        elif self._in_hand.pop(item, 0) != epoch:
            self.violations.append(f"item {item} was acknowledged under epoch {epoch}, which had not taken it")
        else:
            self.done[item] = epoch
            self.stints[-1].acknowledged += 1
        return True

    def lost(self) -> list[int]:
        """Items that were taken once, are in nobody's hands and were never acknowledged."""
        return [item for item in range(1, self._newest + 1) if item not in self.done and item not in self._in_hand]

    def gaps_ns(self) -> list[int]:
        """Between the stints: from the last thing done under one epoch to the first under the next."""
        return [after.first_ns - before.last_ns for before, after in zip(self.stints, self.stints[1:], strict=False)]

    def _note(self, worker: str, epoch: int, at_ns: int, what: str) -> bool:
        """Whether this epoch is the newest; whoever acts under an older one after a newer one began is noted."""
        last = self.stints[-1] if self.stints else None
        if last is not None and epoch < last.epoch:
            if at_ns > last.first_ns:
                self.violations.append(f"{worker} {what} under epoch {epoch} after epoch {last.epoch} had begun")
            return False
        if last is None or epoch > last.epoch:
            if last is not None and at_ns < last.last_ns:
                self.violations.append(f"epoch {epoch} began before the last act of epoch {last.epoch}")
            self.stints.append(Stint(epoch=epoch, worker=worker, first_ns=at_ns, last_ns=at_ns))
        else:
            last.last_ns = max(last.last_ns, at_ns)
        return True
