"""What the figures of all peers come to: Tenure's ratios to each, and targets for those to the best durable one.

The best is taken for each figure by itself, among those that do the whole work durably: one may have the throughput and
another the tail. Who does less (no event, nothing durable) stands in the table, but is nobody's measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from bench.latencies import Summary
from bench.peers.load import FOLLOWED, IN_FLIGHT, REJECTED, SEQUENTIAL, TOLD
from bench.report import Target

P99_MS_MAX: Final = 5.0


class Figures(Struct, frozen=True, kw_only=True):
    """What was measured of one peer."""

    peer: str
    is_durable: bool
    is_told: bool
    loads: Mapping[str, Summary]
    """By load."""

    @property
    def is_measure(self) -> bool:
        """Whether it does the same work as Tenure, so that Tenure is measured by it."""
        return self.is_durable and self.is_told


class Against(Struct, frozen=True, kw_only=True):
    """One figure, and how Tenure's has to compare with the best peer's."""

    load: str
    figure: str
    of: Callable[[Summary], float]
    bound: float
    """For Tenure's figure divided by the best peer's."""
    at_least: bool


def _throughput(load: str, bound: float) -> Against:
    return Against(load=load, figure="a second", of=lambda found: found.per_second, bound=bound, at_least=True)


def _p50(load: str, bound: float) -> Against:
    return Against(load=load, figure="p50", of=lambda found: found.p50_ms, bound=bound, at_least=False)


def _p99(load: str, bound: float) -> Against:
    return Against(load=load, figure="p99", of=lambda found: found.p99_ms, bound=bound, at_least=False)


AIMS: Final = (
    _throughput(IN_FLIGHT, 1.3),
    _p99(IN_FLIGHT, 0.6),
    _throughput(FOLLOWED, 1.3),
    _p99(FOLLOWED, 0.6),
    _throughput(REJECTED, 1.3),
    _p50(SEQUENTIAL, 1.0),
    _p99(SEQUENTIAL, 1.0),
    _p50(TOLD, 1.0),
    _p99(TOLD, 1.0),
)


def targets(tenure: Figures, peers: Sequence[Figures]) -> list[Target]:
    """Tenure against the best durable peer, figure by figure, and the limit of its own tail."""
    measures = [peer for peer in peers if peer.is_measure]
    found: list[Target] = []
    for aim in AIMS:
        if not measures:
            break
        by_peer = {peer.peer: aim.of(peer.loads[aim.load]) for peer in measures}
        best = (max if aim.at_least else min)(by_peer, key=lambda name: by_peer[name])
        found.append(
            Target(
                name=f"{aim.load}: {aim.figure} / that of the best durable peer ({best})",
                value=round(aim.of(tenure.loads[aim.load]) / by_peer[best], 3),
                bound=aim.bound,
                unit="",
                at_least=aim.at_least,
            )
        )
    found.append(Target(name=f"{IN_FLIGHT}: p99", value=tenure.loads[IN_FLIGHT].p99_ms, bound=P99_MS_MAX))
    return found


def ratios(tenure: Figures, peers: Sequence[Figures]) -> dict[str, float]:
    """Tenure's figures divided by those of each peer, whatever it does."""
    return {
        f"{aim.load}: {aim.figure} / that of {peer.peer}": round(
            aim.of(tenure.loads[aim.load]) / aim.of(peer.loads[aim.load]), 3
        )
        for aim in AIMS
        for peer in peers
        if aim.load in peer.loads
    }
