"""The demo's ledger: what was written by whom under which epoch, and the check that it was only ever one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tenure.contract.events import AnyEvent, RoleChangedEvent
from tenure.contract.vocabulary import ServiceRole


class Entry(NamedTuple):
    """One line: when (nanoseconds of the monotonic clock), who, and under which epoch."""

    at_ns: int
    instance_id: str
    epoch: int


class Stint(NamedTuple):
    """An unbroken run of entries under one epoch."""

    instance_id: str
    epoch: int
    first_ns: int
    last_ns: int
    entries: int


def read_ledger(path: Path) -> list[Entry]:
    """All complete lines, in the order in which they were written."""
    entries: list[Entry] = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            at_ns, instance_id, epoch = line.split()
            entries.append(Entry(int(at_ns), instance_id, int(epoch)))
    return entries


def stints(entries: list[Entry]) -> list[Stint]:
    """The runs of entries under one epoch and instance, in the order of the ledger."""
    found: list[Stint] = []
    for entry in entries:
        last = found[-1] if found else None
        if last is not None and (last.instance_id, last.epoch) == (entry.instance_id, entry.epoch):
            found[-1] = last._replace(last_ns=entry.at_ns, entries=last.entries + 1)
        else:
            found.append(Stint(entry.instance_id, entry.epoch, entry.at_ns, entry.at_ns, 1))
    return found


def faults(entries: list[Entry], events: Sequence[AnyEvent]) -> list[str]:
    """Everything that is wrong with a ledger, given what the broker says happened; empty if nothing is."""
    found: list[str] = []
    runs = stints(entries)
    for before, after in pairwise(runs):
        if after.epoch <= before.epoch:
            found.append(f"epoch {after.epoch} ({after.instance_id}) wrote after epoch {before.epoch} had begun")
        if after.first_ns < before.last_ns:
            found.append(f"epochs {before.epoch} and {after.epoch} overlap in time")
    granted = {
        event.epoch: event.instance_id
        for event in events
        if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE
    }
    found.extend(
        f"{run.instance_id} wrote under epoch {run.epoch}, which the broker never gave it"
        for run in runs
        if granted.get(run.epoch) != run.instance_id
    )
    expected = list(range(1, len(events) + 1))
    if [event.revision for event in events] != expected:
        found.append("the broker's events are not gapless from revision 1 on")
    return found
