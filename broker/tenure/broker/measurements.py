"""What the broker counts and measures of itself: plain numbers in memory, noted where things happen.

One thread notes and reads, so that nothing is locked, and no clock is read here. A value costs a search among a few
bounds. What is said of roles is counted when it is committed, and rests on the events alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, get_args

from msgspec import Struct

from tenure.contract.errors import ErrorCode
from tenure.contract.events import AnyEvent, RoleChangedEvent, SessionClosedEvent, SessionOpenedEvent
from tenure.contract.measurements import Count, Histogram, Measurements
from tenure.contract.messages import ClientMessage
from tenure.contract.vocabulary import LOST, ChangeReason, ServiceRole
from tenure.domain.records import StoredState

# 50 µs is less than any commit takes; beyond a second clients begin to repeat what they asked for.
_LATENCIES_US: Final = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
_EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
SHARES_PERMILLE: Final = tuple(range(100, 1_001, 100))  # a heartbeat in time comes with 800 left, each lost costs 200
# From a proven death, over leases of seconds, to a role that waits for somebody to start its service again.
_GAPS_MS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 600_000, 3_600_000)

_VACANCIES_MAX: Final = 100_000
"""How many vacancies are remembered, to tell how long they lasted: as many as the registry keeps without anybody."""
_US_PER_S: Final = 1_000_000
_PLANNED: Final = (ChangeReason.SUCCESSION, ChangeReason.SWITCHOVER)

# What may be counted is there from the start, as 0: a monitor does not see a number rise that begins with 1.
_SESSION_ENDS: Final = (
    ChangeReason.CONFIRMED_DEAD,
    ChangeReason.DIED,
    ChangeReason.EXPIRED,
    ChangeReason.GOODBYE,
)
_LOST: Final = sorted(LOST - {ChangeReason.RESTORED})  # nobody knows when the tenures of a backup ended
_LEFT: Final = (
    ChangeReason.DEREGISTERED,
    ChangeReason.GOODBYE,
    ChangeReason.RESIGNED,
    ChangeReason.REVOKED,
    ChangeReason.SWITCHOVER,
)


class Asked(Struct, frozen=True, gc=False):
    """A request that is to be answered: its id, its type, and when it had come, by a clock that never jumps."""

    request_id: bytes
    kind: type[ClientMessage]
    received_s: float


class Buckets:
    """How many values there were up to each of some rising bounds."""

    __slots__ = ("_bounds", "_counts", "_limits", "_total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self._bounds = bounds
        self._limits = tuple(map(float, bounds))  # values are floats, and are slow to compare with integers
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._limits, value)] += 1
        self._total += value

    def histogram(self, of: str = "") -> Histogram:
        """What was counted so far."""
        return Histogram(of=of, bounds=self._bounds, counts=tuple(self._counts), total=int(self._total))


class BrokerMeasurements:
    """One broker's numbers, from its start to its end."""

    def __init__(self, stored: StoredState, started_ms: int) -> None:
        self.commits_refused = 0
        """Batches that the store did not take."""
        self.commits = Buckets(_LATENCIES_US)
        self.batches = Buckets(_EVENTS)
        self.loop_lags = Buckets(_LATENCIES_US)
        self.lease_margins = Buckets(SHARES_PERMILLE)
        self.failovers = _gaps(_LOST)
        self.vacancies = _gaps((*_LOST, *_LEFT))
        """Of all tenures that followed on another, how long that took."""
        self._started_ms = started_ms
        self._requests: dict[type[ClientMessage], Buckets] = {
            kind: Buckets(_LATENCIES_US) for kind in get_args(ClientMessage.__value__)
        }
        self._refusals = Counter[ErrorCode](dict.fromkeys(ErrorCode, 0))
        self._sessions_opened = 0
        self._sessions_ended = Counter[ChangeReason](dict.fromkeys(_SESSION_ENDS, 0))
        self._switchovers = Counter[ChangeReason](dict.fromkeys(_LEFT, 0))
        self.ended: dict[str, tuple[int, ChangeReason]] = {}
        """For each vacant resource when its last tenure was ended, in unix milliseconds, and why; the oldest first."""
        held = {one.resource_id for one in stored.registrations if one.role is ServiceRole.ACTIVE}
        for tenure in stored.tenures:
            ended_ms, why = tenure.ended_ms, tenure.end_reason
            if ended_ms is None or why is None or why is ChangeReason.RESTORED or tenure.resource_id in held:
                continue
            self._vacate(tenure.resource_id, ended_ms, why)

    # --- what is noted ------------------------------------------------------------------------------------------------

    def answered(self, requests: Iterable[Asked | None], now_s: float) -> None:
        """Answers to these requests were handed to the sockets; what answers nothing is None."""
        for asked in requests:
            if asked is not None:
                self._requests[asked.kind].note((now_s - asked.received_s) * _US_PER_S)

    def refused(self, code: ErrorCode) -> None:
        """A request, or an item of one, was refused."""
        self._refusals[code] += 1

    def stored(self, events: int, took_s: float) -> None:
        """A batch is durable."""
        self.commits.note(took_s * _US_PER_S)
        self.batches.note(events)

    def committed(self, events: Iterable[AnyEvent], unix_ms: int) -> None:
        """These events are durable since `unix_ms`."""
        for event in events:
            if isinstance(event, RoleChangedEvent):
                if event.new_role is ServiceRole.ACTIVE:
                    self._begun(event, unix_ms)
                elif event.old_role is ServiceRole.ACTIVE:
                    self._vacate(event.resource_id, event.at_ms, event.reason)
            elif isinstance(event, SessionClosedEvent):
                self._sessions_ended[event.reason] += 1
            elif isinstance(event, SessionOpenedEvent):
                self._sessions_opened += 1

    # --- what is told -------------------------------------------------------------------------------------------------

    def told(self, history_id: str, revision: int, *, sessions: int, connections: int) -> Measurements:
        """All of it, with what is known elsewhere."""
        requests = [buckets.histogram(str(kind.__struct_config__.tag)) for kind, buckets in self._requests.items()]
        return Measurements(
            history_id=history_id,
            revision=revision,
            started_ms=self._started_ms,
            sessions=sessions,
            connections=connections,
            sessions_opened=self._sessions_opened,
            sessions_ended=_counts(self._sessions_ended),
            switchovers=_counts(self._switchovers),
            refusals=_counts(self._refusals),
            commits_refused=self.commits_refused,
            requests_us=tuple(one for one in requests if any(one.counts)),
            commits_us=self.commits.histogram(),
            batch_events=self.batches.histogram(),
            loop_lag_us=self.loop_lags.histogram(),
            lease_margins_permille=self.lease_margins.histogram(),
            failovers_ms=_histograms(self.failovers),
            vacancies_ms=_histograms(self.vacancies),
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _vacate(self, resource_id: str, ended_ms: int, reason: ChangeReason) -> None:
        self.ended[resource_id] = (ended_ms, reason)
        if len(self.ended) > _VACANCIES_MAX:
            del self.ended[next(iter(self.ended))]

    def _begun(self, event: RoleChangedEvent, unix_ms: int) -> None:
        ended = self.ended.pop(event.resource_id, None)
        if ended is None:  # its first tenure
            return
        ended_ms, why = ended
        vacant_ms = max(0, unix_ms - ended_ms)  # the wall clock may have been set back
        self.vacancies[why].note(vacant_ms)
        if event.reason is ChangeReason.FAILOVER:
            self.failovers[why].note(vacant_ms)
        elif event.reason in _PLANNED:
            self._switchovers[why] += 1


def _gaps(reasons: Iterable[ChangeReason]) -> defaultdict[ChangeReason, Buckets]:
    return defaultdict(partial(Buckets, _GAPS_MS), {reason: Buckets(_GAPS_MS) for reason in reasons})


def _counts[Kind: str](counted: Mapping[Kind, int]) -> tuple[Count, ...]:
    return tuple(Count(of=str(kind), count=count) for kind, count in counted.items())


def _histograms(measured: Mapping[ChangeReason, Buckets]) -> tuple[Histogram, ...]:
    return tuple(buckets.histogram(str(reason)) for reason, buckets in measured.items())
