"""Latencies as they are recorded, and what is said of them.

Recording costs one append, so that it does not slow down what it measures; the histogram (HdrHistogram, three
significant digits) is filled afterwards. Rounds are kept apart, because a figure that differs from round to round says
more about the machine than about Tenure.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, cast

from hdrh.histogram import HdrHistogram
from msgspec import Struct

_NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
_HIGHEST_NS: Final = 60 * _NS_PER_S
_DIGITS: Final = 3


class Summary(Struct, frozen=True, kw_only=True):
    """What was measured under one load."""

    name: str
    count: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    per_second: float
    """Operations, over the time that was measured."""
    p99_by_round_ms: tuple[float, ...]


class Latencies:
    """The latencies of one kind of operation, round by round."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._all = _histogram()
        self._p99_by_round_ms: list[float] = []
        self._elapsed_ns = 0

    def add_round(self, latencies_ns: array[int], elapsed_ns: int) -> None:
        """Take in what one round measured, and how long it took altogether.

        Raises:
            ValueError: Nothing was measured.
        """
        if not latencies_ns or elapsed_ns <= 0:
            raise ValueError(f"a round of {self.name!r} measured nothing")
        of_round = _histogram()
        _fill(of_round, latencies_ns)
        _fill(self._all, latencies_ns)
        self._p99_by_round_ms.append(_at(of_round, 99.0))
        self._elapsed_ns += elapsed_ns

    def summary(self) -> Summary:
        """What all rounds come to.

        Raises:
            ValueError: There was none.
        """
        if not self._elapsed_ns:
            raise ValueError(f"nothing was measured of {self.name!r}")
        count = cast("int", self._all.get_total_count())
        return Summary(
            name=self.name,
            count=count,
            p50_ms=_at(self._all, 50.0),
            p99_ms=_at(self._all, 99.0),
            p999_ms=_at(self._all, 99.9),
            max_ms=_at(self._all, 100.0),
            per_second=round(count * _NS_PER_S / self._elapsed_ns, 1),
            p99_by_round_ms=tuple(self._p99_by_round_ms),
        )


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, _HIGHEST_NS, _DIGITS)


def _fill(histogram: HdrHistogram, latencies_ns: Iterable[int]) -> None:
    for latency_ns in latencies_ns:
        histogram.record_value(min(max(latency_ns, 1), _HIGHEST_NS))


def _at(histogram: HdrHistogram, percentile: float) -> float:
    value_ns: int = histogram.get_value_at_percentile(percentile)
    return round(value_ns / _NS_PER_MS, 4)
