"""A report as a picture: latencies of each load on a logarithmic axis, and below them its curves.

SVG of some ten kilobytes, the same bytes for the same report, and readable without colour: each line has a marker of
its own, each bar its name. Nothing here measures or decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.latencies import Summary
from bench.report import Curve, Report

_STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "tenure",  # ids are the same each time
    "svg.fonttype": "none",  # text stays text: small, and to be searched for
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "0.85",
    "axes.axisbelow": True,
    "path.simplify": True,
}
_COLOURS: Final = ("#000000", "#0072b2", "#e69f00", "#009e73")  # told apart by whoever sees no red or green
_MARKERS: Final = ("o", "s", "^", "D", "v", "x")
_WIDTH_INCHES: Final = 8.0
_ROW_INCHES: Final = 0.34
_CURVE_INCHES: Final = 2.6
_SIZES_MAX: Final = 8  # points of a curve that are sizes, each some times the one before; more are moments
_TICKS: Final = 5  # each with its line: more of them would be most of the file


def draw(report: Report, path: Path) -> None:
    """Draw a report: its latencies, and one panel for each kind of curve.

    Raises:
        OSError: It cannot be written.
        ValueError: There is nothing in it to be drawn.
    """
    summaries = [*report.measured, *report.floor]
    panels = _panels(report.curves)
    bars = {} if summaries or panels else dict(report.ratios)
    heights = [
        *([_rows_inches(len(summaries), 4)] if summaries else []),
        *([_CURVE_INCHES] * len(panels)),
        *([_rows_inches(len(bars), 1)] if bars else []),
    ]
    if not heights:
        raise ValueError(f"the report of {report.bench!r} has nothing to be drawn")
    with style.context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, sum(heights) + 0.6), layout="constrained")
        axes: list[Axes] = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
        figure.suptitle(f"{report.title}\n{report.machine.processor}, {report.machine.date}", fontsize=9)
        if summaries:
            draw_latencies(axes.pop(0), summaries)
        for panel in panels:
            draw_curves(axes.pop(0), panel)
        if bars:
            draw_bars(axes.pop(0), bars, "")
        save(figure, path)


def draw_latencies(axes: Axes, summaries: Sequence[Summary]) -> None:
    """From the median to the maximum of each load, on a logarithmic axis."""
    rows = range(len(summaries))
    for summary, row in zip(summaries, rows, strict=True):
        axes.plot([summary.p50_ms, summary.max_ms], [row, row], color="0.7", linewidth=1, zorder=1)
    for index, (name, values) in enumerate(
        (
            ("p50", [summary.p50_ms for summary in summaries]),
            ("p99", [summary.p99_ms for summary in summaries]),
            ("p99.9", [summary.p999_ms for summary in summaries]),
            ("max", [summary.max_ms for summary in summaries]),
        )
    ):
        axes.scatter(values, list(rows), label=name, marker=_MARKERS[index], color=_COLOURS[index], zorder=2, s=24)
    _spread(axes)
    axes.set_yticks(list(rows), [summary.name for summary in summaries])
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds (logarithmic)")
    axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)


def draw_curves(axes: Axes, curves: Sequence[Curve]) -> None:
    """Curves that share both axes; the axis is logarithmic for sizes of more than a power of ten."""
    for curve, marker, colour in zip(curves, cycle(_MARKERS), cycle(_COLOURS)):
        xs, ys = [x for x, _ in curve.points], [y for _, y in curve.points]
        is_dense = len(xs) > 30
        axes.plot(xs, ys, marker="" if is_dense else marker, color=colour, label=curve.name, linewidth=1)
    xs = [x for curve in curves for x, _ in curve.points]
    if len(xs) <= _SIZES_MAX * len(curves) and min(xs) > 0 and max(xs) / min(xs) > 10:
        _spread(axes)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(_TICKS))
    axes.yaxis.set_major_locator(MaxNLocator(_TICKS))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(curves[0].x)
    axes.set_ylabel(curves[0].y)
    axes.legend(frameon=False)


def draw_bars(axes: Axes, values: Mapping[str, float], unit: str) -> None:
    """One bar for each name, with its figure."""
    rows = range(len(values))
    bars = axes.barh(list(rows), list(values.values()), color="0.8", edgecolor="0.15")
    axes.bar_label(bars, fmt="{:,.3g}", padding=3)
    axes.set_yticks(list(rows), list(values))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(unit)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG without a date.

    Raises:
        OSError: It cannot be written.
    """
    FigureCanvasSVG(figure)
    text = StringIO()
    with style.context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    path.write_text("\n".join(lines) + "\n")


def _spread(axes: Axes) -> None:
    """Make the axis logarithmic, with a tick for each power of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())


def _panels(curves: Sequence[Curve]) -> list[list[Curve]]:
    """The curves that share both axes, together."""
    by_axes: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        by_axes.setdefault((curve.x, curve.y), []).append(curve)
    return list(by_axes.values())


def _rows_inches(rows: int, least: int) -> float:
    return 0.6 + _ROW_INCHES * max(rows, least)
