"""The arithmetic of the bench: a figure that is computed wrongly is worse than none. Nothing here depends on speed."""

from __future__ import annotations

import json
from array import array
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bench.claim import floor_ratio, targets
from bench.latencies import Latencies
from bench.options import finish
from bench.pictures import draw
from bench.report import Curve, Report, Target, to_json, to_text
from tests.unit.bench_stage import MS, NEARLY, report, summary

# --- latencies --------------------------------------------------------------------------------------------------------


def test_percentiles_are_those_of_what_was_recorded() -> None:
    """Of 1 to 1,000 ms in any order half are at most 500, 99 % at most 990, 99.9 % at most 999, all at most 1,000."""
    latencies = Latencies("a load")
    latencies.add_round(array("q", (number * MS for number in range(1_000, 0, -1))), 2_000 * MS)
    found = latencies.summary()
    assert (found.name, found.count) == ("a load", 1_000)
    assert found.p50_ms == pytest.approx(500, rel=NEARLY)
    assert found.p99_ms == pytest.approx(990, rel=NEARLY)
    assert found.p999_ms == pytest.approx(999, rel=NEARLY)
    assert found.max_ms == pytest.approx(1_000, rel=NEARLY)


def test_one_slow_operation_shows_in_the_maximum_alone() -> None:
    """Of 10,000 operations the slowest is no part of any percentile up to 99.9."""
    latencies = Latencies("a load")
    latencies.add_round(array("q", [MS] * 9_999 + [900 * MS]), 10_000 * MS)
    found = latencies.summary()
    assert found.p999_ms == pytest.approx(1, rel=NEARLY)
    assert found.max_ms == pytest.approx(900, rel=NEARLY)


def test_rounds_are_summed_up_and_kept_apart() -> None:
    """Percentiles and throughput are those of all rounds together; each round's p99 is told as well."""
    latencies = Latencies("a load")
    latencies.add_round(array("q", [1 * MS] * 100), 1_000 * MS)
    latencies.add_round(array("q", [9 * MS] * 300), 3_000 * MS)
    found = latencies.summary()
    assert found.count == 400
    assert found.per_second == 100.0
    assert found.p50_ms == pytest.approx(9, rel=NEARLY)
    assert found.p99_by_round_ms == pytest.approx((1, 9), rel=NEARLY)


@given(st.lists(st.integers(min_value=-5, max_value=200 * 1_000 * MS), min_size=1, max_size=60))
def test_percentiles_rise_and_end_at_the_maximum(taken_ns: list[int]) -> None:
    """Whatever was recorded, also what no histogram holds: p50, p99, p99.9 and the maximum never fall."""
    latencies = Latencies("a load")
    latencies.add_round(array("q", taken_ns), 1)
    found = latencies.summary()
    assert all(low <= high for low, high in pairwise((found.p50_ms, found.p99_ms, found.p999_ms, found.max_ms)))


@pytest.mark.parametrize(("taken_ns", "elapsed_ns"), [([], 5), ([5], 0)])
def test_a_round_without_measurements_is_refused(taken_ns: list[int], elapsed_ns: int) -> None:
    """A load that did nothing, or took no time, is no figure."""
    with pytest.raises(ValueError, match="measured nothing"):
        Latencies("a load").add_round(array("q", taken_ns), elapsed_ns)


def test_nothing_measured_has_no_summary() -> None:
    """Without a round there is nothing to say."""
    with pytest.raises(ValueError, match="nothing was measured"):
        Latencies("a load").summary()


# --- the check --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p99_ms", "is_met"), [(4.999, True), (5.0, True), (5.001, False)])
def test_a_bound_from_above_is_met_up_to_it(p99_ms: float, *, is_met: bool) -> None:
    """At most 5 ms is what the words say; whatever is more is a fault."""
    found = report(p99_ms=p99_ms)
    assert [target.is_met for target in found.targets] == [is_met]
    assert bool(found.faults) is not is_met


@pytest.mark.parametrize(("value", "is_met"), [(1.299, False), (1.3, True), (1.301, True)])
def test_a_bound_from_below_is_met_from_it_on(value: float, *, is_met: bool) -> None:
    """At least 1.3 times is 1.3 or more."""
    target = Target(name="throughput", value=value, bound=1.3, unit="", at_least=True)
    assert target.is_met is is_met
    assert str(target).endswith("at least 1.3: " + ("met" if is_met else "NOT met"))


def test_a_fault_names_figure_and_bound() -> None:
    """What is told says which figure, how much it is, and what it should have been."""
    assert report(p99_ms=7.254).faults == ["p99 of a load: 7.25 ms, at most 5 ms: NOT met"]


def test_what_is_fast_because_nothing_is_durable_does_not_pass() -> None:
    """On a file system in memory a sync costs nothing, so its figures prove nothing."""
    (fault,) = report(file_system="tmpfs").faults
    assert "tmpfs" in fault
    assert "NOT durable" in to_text(report(file_system="tmpfs"))


def test_the_ratio_is_to_round_trip_and_sync_together() -> None:
    """A median of 0.9 ms over 0.1 ms of round trip and 0.2 ms of sync is 3."""
    assert floor_ratio(0.9, 0.1, 0.2) == 3.0


def test_claims_are_held_against_the_floor_at_the_same_percentile() -> None:
    """One after the other: the median against the medians, the p99 against the p99s; with 64 in flight 5 ms."""
    alone = structs.replace(summary(0.6, 3.0), name="one after the other")
    busy = structs.replace(summary(2.0, 6.0), name="64 in flight")
    found = targets([alone, busy], [summary(0.1, 0.5), summary(0.2, 0.7), summary(0.3, 9.0)])
    assert [(target.value, target.bound, target.is_met) for target in found] == [
        (3.0, 5.0, True),
        (6.0, 5.0, False),
        (2.0, 1.6, False),
        (2.5, 2.5, True),
    ]
    assert targets([structs.replace(busy, name="8 in flight")], [summary()] * 3) == []


# --- the report -------------------------------------------------------------------------------------------------------


def test_json_and_table_have_the_same_figures() -> None:
    """Every figure of a load is in the table as in the JSON."""
    found = report()
    read = json.loads(to_json(found))
    assert read["measured"][0]["p99_ms"] == 2.0
    assert read["machine"]["python"] == "3.13.0"
    assert read["ratios"] == {"this / that": 1.25}
    assert read["targets"] == [
        {"name": "p99 of a load", "value": 2.0, "bound": 5.0, "unit": "ms", "at_least": False, "is_met": True}
    ]
    (row,) = [line for line in to_text(found).split("the floor")[0].splitlines() if line.startswith("a load")]
    assert row.split() == ["a", "load", "1,000", "1.000", "2.000", "3.000", "4.000", "500", "1.50", "to", "2.50"]


def test_columns_stand_under_their_heads() -> None:
    """Head and figures end at the same places."""
    lines = to_text(report()).splitlines()
    head = next(line for line in lines if line.endswith("p99 by round"))
    assert {len(line) for line in lines if line.startswith("a load")} == {len(head)}


def with_curves() -> Report:
    """A report that has everything which can be drawn."""
    curve = Curve(name="claims", x="registrations", y="p99, ms", points=((10_000, 1.0), (1_000_000, 1.2)))
    other = Curve(name="the broker", x="seconds", y="memory, MB", points=tuple((n, 50 + n / 9) for n in range(60)))
    return structs.replace(report(), curves=(curve, other))


def test_curves_are_told_and_kept_whole() -> None:
    """For people each point stands in the table, for programs in the JSON."""
    assert "claims (p99, ms, by registrations): 10,000: 1, 1e+06: 1.2" in to_text(with_curves())
    assert json.loads(to_json(with_curves()))["curves"][0]["points"] == [[10_000, 1.0], [1_000_000, 1.2]]


def test_the_same_report_is_the_same_picture(tmp_path: Path) -> None:
    """Byte for byte, so that a picture in a repository changes with its figures alone; it names what it shows."""
    for name in ("a.svg", "b.svg"):
        draw(with_curves(), tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    assert len(drawn) < 100_000
    assert all(word in drawn for word in ("a load", "p99.9", "milliseconds", "claims", "registrations", "memory, MB"))


def test_bare_ratios_are_drawn_as_bars_and_nothing_is_refused(tmp_path: Path) -> None:
    """A report without latencies shows what it has; one without anything has no picture."""
    bare = structs.replace(report(), measured=(), floor=())
    draw(bare, tmp_path / "bars.svg")
    assert "this / that" in (tmp_path / "bars.svg").read_text()
    with pytest.raises(ValueError, match="nothing to be drawn"):
        draw(structs.replace(bare, ratios={}), tmp_path / "none.svg")


def test_a_finished_report_is_kept_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is written under its name, in a directory that is made; a check fails after that, not instead."""
    with pytest.raises(SystemExit) as ended:
        finish(report(p99_ms=6.0), as_json=True, out=tmp_path / "out", check=True)
    assert ended.value.code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["some.json", "some.svg"]
    said = capsys.readouterr()
    assert (tmp_path / "out" / "some.json").read_text() == said.out
    assert "NOT met" in said.err
