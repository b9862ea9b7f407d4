"""What the workers wrote while they believed to be active, and the check that they never were two at once.

A line says that `ensure_active()` let a worker pass under an epoch, or refused it, somewhere between two readings of
one clock that all processes of this machine share. So it shows a belief, not a write: a process may be stopped between
the two, and what it then writes late is what epochs are for. Such lines are counted as *fenced*, not as faults. A fault
is only what no schedule can excuse: an older epoch believed in for certain after a newer one was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tenure.contract.events import AnyEvent, RoleChangedEvent
from tenure.contract.vocabulary import ChangeReason, ServiceRole


class Kind(StrEnum):
    """What `ensure_active()` did."""

    PASSED = "passed"
    REFUSED = "refused"


class Line(NamedTuple):
    """One call of `ensure_active()`; times are nanoseconds of `CLOCK_BOOTTIME`."""

    kind: Kind
    epoch: int
    before_ns: int
    after_ns: int
    deadline_ns: int
    """Until when its writer was to believe it at least, as known before the call; 0 if it was over."""
    instance_id: str

    def encode(self) -> bytes:
        """The line as it is written."""
        return (" ".join(map(str, self)) + "\n").encode()


class Stint(NamedTuple):
    """All that shows belief in one epoch."""

    epoch: int
    instance_id: str
    first_ns: int
    """It was believed in by then, for certain."""
    last_ns: int
    """It was believed in after that, for certain."""
    deadline_ns: int
    lines: int


def now_ns() -> int:
    """The clock of the ledger."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Ledger:
    """The file that all workers append to, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        """In the order in which they were written."""
        self.stints: dict[int, Stint] = {}
        self.faults: list[str] = []
        self.fenced = 0
        """Lines that were written after one with a greater epoch."""
        self._greatest_epoch = 0
        self._file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._rest = b""

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def read(self) -> list[Line]:
        """Take in what was written since the last time; returns it."""
        found: list[Line] = []
        while data := os.read(self._file, 1 << 16):
            *complete, self._rest = (self._rest + data).split(b"\n")
            found.extend(map(_decode, complete))
        for line in found:
            self._add(line)
        return found

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        if line.kind is Kind.REFUSED:
            return
        self.fenced += line.epoch < self._greatest_epoch
        self._greatest_epoch = max(self._greatest_epoch, line.epoch)
        known = self.stints.get(line.epoch)
        if known is None:
            known = Stint(line.epoch, line.instance_id, line.after_ns, line.before_ns, 0, 0)
        elif known.instance_id != line.instance_id:
            self.faults.append(f"epoch {line.epoch} was used by {known.instance_id} and by {line.instance_id}")
        self.stints[line.epoch] = known._replace(
            first_ns=min(known.first_ns, line.after_ns),
            last_ns=max(known.last_ns, line.before_ns),
            deadline_ns=max(known.deadline_ns, line.deadline_ns),
            lines=known.lines + 1,
        )

    @property
    def newest(self) -> Stint | None:
        """The stint with the greatest epoch."""
        return self.stints.get(self._greatest_epoch)

    def after(self, epoch: int) -> Stint | None:
        """The first stint under a greater epoch."""
        return min((stint for stint in self.stints.values() if stint.epoch > epoch), default=None)

    def is_refused(self, epoch: int) -> bool:
        """Whether `ensure_active()` has refused somebody under this epoch."""
        return any(line.epoch == epoch and line.kind is Kind.REFUSED for line in reversed(self.lines))

    def gaps_ms(self) -> list[float]:
        """How long nobody wrote between two tenures, for each failover."""
        stints = sorted(self.stints.values())
        return [max(0.0, (after.first_ns - before.last_ns) / 1e6) for before, after in pairwise(stints)]


def check(ledger: Ledger, events: Sequence[AnyEvent]) -> list[str]:
    """Everything that is wrong with a ledger, given all events of the broker; empty if nothing is."""
    stints = sorted(ledger.stints.values())
    found = [*ledger.faults, *overlaps(ledger), *_early_successions(stints, events)]
    granted = {
        event.epoch: event.instance_id
        for event in events
        if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE
    }
    found.extend(
        f"{stint.instance_id} wrote under epoch {stint.epoch}, which the broker gave to {granted.get(stint.epoch)}"
        for stint in stints
        if granted.get(stint.epoch) != stint.instance_id
    )
    if [event.revision for event in events] != [*range(1, len(events) + 1)]:
        found.append("the listener had events twice, not at all or out of order")
    return found


def ends(events: Iterable[AnyEvent]) -> dict[int, ChangeReason]:
    """Why the tenure with each epoch ended, of those that have."""
    return {
        event.epoch: event.reason
        for event in events
        if isinstance(event, RoleChangedEvent)
        and event.old_role is ServiceRole.ACTIVE
        and event.new_role is not ServiceRole.ACTIVE
    }


def overlaps(ledger: Ledger) -> Iterator[str]:
    """Epochs that were believed in after a greater one was."""
    latest: Stint | None = None
    for stint in sorted(ledger.stints.values()):
        if latest is not None and latest.last_ns > stint.first_ns:
            late_ms = (latest.last_ns - stint.first_ns) / 1e6
            yield (
                f"epoch {latest.epoch} ({latest.instance_id}) was believed in {late_ms:.3f} ms after"
                f" epoch {stint.epoch} ({stint.instance_id}) was"
            )
        if latest is None or stint.last_ns > latest.last_ns:
            latest = stint


def _early_successions(stints: Sequence[Stint], events: Iterable[AnyEvent]) -> Iterator[str]:
    """Tenures that ended by silence, and whose successor believed before its predecessor had to stop believing."""
    why = ends(events)
    for before, after in pairwise(stints):
        if why.get(before.epoch) is ChangeReason.EXPIRED and after.first_ns < before.deadline_ns:
            yield (
                f"epoch {after.epoch} ({after.instance_id}) began {(before.deadline_ns - after.first_ns) / 1e6:.3f} ms"
                f" before the end of epoch {before.epoch} ({before.instance_id}), whose lease ran out"
            )


def _decode(line: bytes) -> Line:
    kind, epoch, before_ns, after_ns, deadline_ns, instance_id = line.decode().split()
    return Line(Kind(kind), int(epoch), int(before_ns), int(after_ns), int(deadline_ns), instance_id)
