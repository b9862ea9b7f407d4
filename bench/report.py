"""What a bench found, for people as a table and for programs as JSON: the same figures in both."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from bench.latencies import Summary
from bench.machine import Machine


class Limit(Struct, frozen=True, kw_only=True):
    """A bound that a figure has to stay below."""

    name: str
    value_ms: float
    limit_ms: float

    @property
    def is_kept(self) -> bool:
        """Whether the figure is below the limit; at it is not."""
        return self.value_ms < self.limit_ms

    def __str__(self) -> str:
        """The figure and the limit, for people."""
        relation = "below" if self.is_kept else "NOT below"
        return f"{self.name} is {self.value_ms:.2f} ms, {relation} {self.limit_ms:g} ms"


class Report(Struct, frozen=True, kw_only=True):
    """The outcome of one run."""

    bench: str
    machine: Machine
    settings: Mapping[str, str]
    measured: Sequence[Summary]
    floor: Sequence[Summary]
    ratios: Mapping[str, float]
    limits: Sequence[Limit]
    violations: Sequence[str] = ()
    """What happened that must never happen, however fast."""

    @property
    def faults(self) -> list[str]:
        """Why the run does not pass its check; empty if it does."""
        faults = [*self.violations, *(str(limit) for limit in self.limits if not limit.is_kept)]
        if not self.machine.is_durable:
            faults.append(
                f"the data is on {self.machine.file_system}, where nothing is durable: choose a directory on a disk"
            )
        return faults


def finish(report: Report, *, as_json: bool, check: bool) -> None:
    """Print it; with `check` its faults too.

    Raises:
        SystemExit: There are some.
    """
    print(to_json(report) if as_json else to_text(report))
    if check and report.faults:
        for fault in report.faults:
            print(f"bench: {fault}", file=sys.stderr)
        sys.exit(1)


def to_json(report: Report) -> str:
    """The report as one JSON object."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def to_text(report: Report) -> str:
    """The report for people."""
    machine = report.machine
    lines = [
        f"tenure {machine.tenure}: {report.bench}, {machine.date}",
        f"  {machine.cores} cores, {machine.processor}; {machine.kernel}",
        f"  Python {machine.python}, SQLite {machine.sqlite}, libzmq {machine.libzmq}",
        f"  data on {machine.file_system or 'an unknown file system'}"
        + ("" if machine.is_durable else ", which is NOT durable: no figure below says anything about a disk"),
        *(f"  {name}: {value}" for name, value in report.settings.items()),
        "",
        _row("", "count", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "a second", "p99 by round"),
        *(_figures(summary) for summary in report.measured),
        *(["the floor of this machine, in the same run"] if report.floor else []),
        *(_figures(summary) for summary in report.floor),
        "",
        *(f"{name}: {value:.2f}" for name, value in report.ratios.items()),
        *(str(limit) for limit in report.limits),
        *report.violations,
    ]
    return "\n".join(lines)


def _figures(summary: Summary) -> str:
    figures_ms = (summary.p50_ms, summary.p99_ms, summary.p999_ms, summary.max_ms)
    low, high = min(summary.p99_by_round_ms), max(summary.p99_by_round_ms)
    return _row(
        summary.name,
        f"{summary.count:,}",
        *(f"{value_ms:.3f}" for value_ms in figures_ms),
        f"{summary.per_second:,.0f}",
        f"{low:.2f} to {high:.2f}",
    )


def _row(name: str, *cells: str) -> str:
    *figures, last = cells
    return f"{name:<36}" + "".join(f"{cell:>10}" for cell in figures) + f"{last:>22}"
