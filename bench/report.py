"""What a bench found, for people as a table and for programs as JSON: the same figures in both.

A target says where a figure must get to, and the report whether it did. Violations are what must never happen, however
fast; a run with one never passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from bench.latencies import Summary
from bench.machine import Machine


class Target(Struct, frozen=True, kw_only=True):
    """Where a figure must get to."""

    name: str
    value: float
    bound: float
    unit: str = "ms"
    """Empty for a ratio."""
    at_least: bool = False
    """Whether the bound is one from below."""

    @property
    def is_met(self) -> bool:
        """Whether the figure has reached the bound; at it, it has."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        """The figure, its bound and the verdict, for people."""
        unit = f" {self.unit}" if self.unit else ""
        relation = "at least" if self.at_least else "at most"
        verdict = "met" if self.is_met else "NOT met"
        return f"{self.name}: {self.value:,.2f}{unit}, {relation} {self.bound:,g}{unit}: {verdict}"


class Curve(Struct, frozen=True, kw_only=True):
    """How one figure goes with another."""

    name: str
    x: str
    """What is varied, with its unit."""
    y: str
    """What was measured, with its unit."""
    points: Sequence[tuple[float, float]]


class Report(Struct, frozen=True, kw_only=True):
    """The outcome of one run."""

    bench: str
    """Its name on the command line."""
    title: str
    """What it measures, for people."""
    machine: Machine
    settings: Mapping[str, str]
    measured: Sequence[Summary]
    floor: Sequence[Summary] = ()
    curves: Sequence[Curve] = ()
    ratios: Mapping[str, float] = {}
    targets: Sequence[Target] = ()
    violations: Sequence[str] = ()
    """What happened that must never happen, however fast."""

    @property
    def faults(self) -> list[str]:
        """Why the run does not pass its check; empty if it does."""
        faults = [*self.violations, *(str(target) for target in self.targets if not target.is_met)]
        if not self.machine.is_durable:
            faults.append(
                f"the data is on {self.machine.file_system}, where nothing is durable: choose a directory on a disk"
            )
        return faults


def to_json(report: Report) -> str:
    """The report as one JSON object; each target says whether it is met."""
    told: dict[str, Any] = msgspec.to_builtins(report)
    for target, builtin in zip(report.targets, told["targets"], strict=True):
        builtin["is_met"] = target.is_met
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def to_text(report: Report) -> str:
    """The report for people."""
    machine = report.machine
    lines = [
        f"tenure {machine.tenure}: {report.title}, {machine.date}",
        f"  {machine.cores} cores, {machine.processor}; {machine.kernel}",
        f"  Python {machine.python}, SQLite {machine.sqlite}, libzmq {machine.libzmq}",
        f"  data on {machine.file_system or 'an unknown file system'}"
        + ("" if machine.is_durable else ", which is NOT durable: no figure below says anything about a disk"),
        *(f"  {name}: {value}" for name, value in report.settings.items()),
        "",
    ]
    if report.measured:
        lines.append(_row("", "count", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "a second", "p99 by round"))
        lines += (_figures(summary) for summary in report.measured)
    if report.floor:
        lines.append("the floor of this machine, in the same run")
        lines += (_figures(summary) for summary in report.floor)
    for curve in report.curves:
        points = ", ".join(f"{x:,g}: {y:,.4g}" for x, y in curve.points)
        lines.append(f"{curve.name} ({curve.y}, by {curve.x}): {points}")
    lines.append("")
    lines += (f"{name}: {value:,.2f}" for name, value in report.ratios.items())
    lines += (str(target) for target in report.targets)
    lines += report.violations
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
