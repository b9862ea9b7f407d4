"""What clients believed, by their interval logs, held against the history: G2 and G4.

Boot-time clocks compare exactly under one boot id and time namespace, and not at all otherwise; wall clocks are a hint
and nothing is concluded from them. A belief without an end is one of a process that was killed: it ended at the latest
with its lease, and sooner where the store has proof that the tenure was over.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final, assert_never

from tenure.contract.intervals import (
    AnyIntervalRecord,
    EnteredRecord,
    ExtendedRecord,
    LeftRecord,
    SessionRecord,
    StoppedRecord,
)
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.replay import Replay
from tenure.domain.verdicts import Findings

# How a tenure may end before its lease does: by the holder's own word, or on proof that its process is gone.
_BEFORE_THE_LEASE: Final = frozenset(
    {
        ChangeReason.RESIGNED,
        ChangeReason.SWITCHOVER,
        ChangeReason.GIVEN_UP,
        ChangeReason.DEREGISTERED,
        ChangeReason.GOODBYE,
        ChangeReason.DIED,
        ChangeReason.CONFIRMED_DEAD,
    }
)


class ImpossibleLogError(ValueError):
    """An interval log has lines in an order in which no client writes them."""


class _Log:
    """One session's log as a whole."""

    __slots__ = ("intervals", "name", "newest", "session")

    def __init__(self, name: str, session: SessionRecord) -> None:
        self.name = name
        self.session = session
        self.newest = 0
        """The newest revision that the broker has named, or granted."""
        self.intervals: dict[int, _Interval] = {}
        """By epoch."""

    @property
    def clock(self) -> tuple[str, int]:
        """What its times are of. One that does not tell compares with nobody's."""
        return (self.session.boot_id or self.name, self.session.time_namespace)

    def interval(self, epoch: int) -> _Interval:
        """The interval that a line is about."""
        try:
            return self.intervals[epoch]
        except KeyError:
            raise ImpossibleLogError(f"{self.name}: tenure {epoch} was never entered, but extended or left") from None


class _Interval:
    """One tenure as its holder believed in it."""

    __slots__ = ("begin_ms", "end_reason", "epoch", "left_ms", "log", "seen_ms", "unix_ms", "until_ms")

    def __init__(self, log: _Log, record: EnteredRecord) -> None:
        self.log = log
        self.epoch = record.epoch
        self.begin_ms = self.seen_ms = record.at_ms
        self.until_ms = record.until_ms
        self.left_ms: float | None = None
        self.unix_ms = record.unix_ms
        self.end_reason: ChangeReason | None = None
        """How the tenure ended by the history."""

    @property
    def is_over_by_proof(self) -> bool:
        """Whether it has no end of its own, and the history says that it was over before its lease."""
        return self.left_ms is None and self.end_reason in _BEFORE_THE_LEASE

    @property
    def end_ms(self) -> float:
        """When it was over: with its lease at the latest; one that is over by proof ends where it was last seen."""
        if self.left_ms is not None:
            return min(self.left_ms, self.until_ms)
        return self.seen_ms if self.is_over_by_proof else self.until_ms

    def unix_at(self, at_ms: float) -> float:
        """A moment of it by the wall clock of its machine."""
        return self.unix_ms + (at_ms - self.begin_ms)


class Beliefs:
    """All that the interval logs say."""

    def __init__(self) -> None:
        self.one_believer = Findings()
        self.durable = Findings()
        self.intervals = 0
        self.stopped = 0
        """Logs that end while their sessions may have gone on."""
        self.compared = 0
        """Pairs of intervals, one after the other, on one clock."""
        self.by_proof = 0
        """Those of them where the first had lease left when the second began, and was over by proof."""
        self.uncompared = 0
        """Pairs on different clocks."""
        self.hints = 0
        """Those of them that overlap by the wall clocks."""
        self.forgotten = 0
        """Intervals of tenures that the store does not keep any more."""
        self._logs: list[_Log] = []

    @property
    def logs(self) -> int:
        """How many were read."""
        return len(self._logs)

    @property
    def epochs(self) -> frozenset[int]:
        """Every tenure somebody believed in."""
        return frozenset(epoch for log in self._logs for epoch in log.intervals)

    def read(self, name: str, records: Iterable[AnyIntervalRecord]) -> None:
        """Take in a log; its first record is the session's.

        Raises:
            ImpossibleLogError: No client has written it.
        """
        log: _Log | None = None
        for record in records:
            if isinstance(record, SessionRecord):
                log = _Log(name, record)
                self._logs.append(log)
            elif log is None:
                raise ImpossibleLogError(f"{name}: it does not begin with its session")
            else:
                self._take(log, record)

    def hold_against(self, replay: Replay, history_id: str, next_revision: int) -> None:
        """Look every belief up in the history, then compare those of each resource with each other."""
        found: list[tuple[str, int, _Interval]] = []
        for log in self._logs:
            if log.session.history_id != history_id:
                self.durable.add(
                    log.newest,
                    f"{log.name} acknowledges it in history {log.session.history_id}, which is not this store's; "
                    "if the store was replaced on purpose, verify the logs since then alone",
                )
                continue
            if log.newest >= next_revision:
                self.durable.add(log.newest, f"acknowledged by {log.name}, but the store ends at {next_revision - 1}")
            for epoch, interval in log.intervals.items():
                facts = replay.facts.get(epoch)
                if facts is not None:
                    interval.end_reason = facts.end_reason
                    found.append((facts.resource_id, epoch, interval))
                    if facts.session not in {None, log.session.session}:
                        self.one_believer.add(epoch, f"{log.name} believes in a tenure of session {facts.session}")
                elif epoch < replay.first_revision:
                    self.forgotten += 1
                elif epoch < replay.stopped_at:
                    self.durable.add(epoch, f"{log.name} was granted it as a tenure, which by the store did not begin")
        found.sort(key=lambda item: item[:2])
        for resource_id, items in groupby(found, key=lambda item: item[0]):
            self._compare(resource_id, [interval for _, _, interval in items])

    def _take(self, log: _Log, record: EnteredRecord | ExtendedRecord | LeftRecord | StoppedRecord) -> None:
        match record:
            case EnteredRecord(epoch=epoch):
                log.newest = max(log.newest, epoch)
                if epoch in log.intervals:
                    self.one_believer.add(epoch, f"{log.name} enters the tenure again after it was left")
                else:
                    self.intervals += 1
                    log.intervals[epoch] = _Interval(log, record)
            case ExtendedRecord():
                log.newest = max(log.newest, record.revision)
                for epoch in record.epochs:
                    interval = log.interval(epoch)
                    if interval.left_ms is not None:
                        self.one_believer.add(epoch, f"{log.name} extends the tenure after it was left")
                    interval.seen_ms = record.at_ms
                    interval.until_ms = max(interval.until_ms, record.until_ms)
            case LeftRecord():
                log.interval(record.epoch).left_ms = record.at_ms
            case StoppedRecord():
                self.stopped += 1
            case _:
                assert_never(record)

    def _compare(self, resource_id: str, intervals: list[_Interval]) -> None:
        """Whether each is over, on each clock, before one with a greater epoch begins."""
        latest: dict[tuple[str, int], _Interval] = {}
        for before, interval in zip([None, *intervals], intervals, strict=False):
            if before is not None and before.epoch == interval.epoch:
                both = f"{before.log.name} and {interval.log.name}"
                self.one_believer.add(interval.epoch, f"{both} both believe in this tenure")
            elif before is not None and before.log.clock != interval.log.clock:
                self.uncompared += 1
                self.hints += before.unix_at(before.end_ms) > interval.unix_ms
            other = latest.get(interval.log.clock)
            if other is not None:
                self._compare_two(resource_id, other, interval)
            if other is None or interval.end_ms > other.end_ms:
                latest[interval.log.clock] = interval

    def _compare_two(self, resource_id: str, earlier: _Interval, later: _Interval) -> None:
        self.compared += 1
        if earlier.end_ms > later.begin_ms:
            self.one_believer.add(
                later.epoch,
                f"{resource_id!r}: {later.log.name} believes to be active from {later.begin_ms:.3f} ms on, and "
                f"{earlier.log.name}, under epoch {earlier.epoch}, until {earlier.end_ms:.3f} ms",
            )
        elif earlier.is_over_by_proof and earlier.until_ms > later.begin_ms:
            self.by_proof += 1
