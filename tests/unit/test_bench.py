"""The arithmetic of the bench: a figure that is computed wrongly is worse than none. Nothing here depends on speed."""

from __future__ import annotations

import asyncio
import json
import os
from array import array
from itertools import pairwise
from pathlib import Path
from time import monotonic_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from typer.testing import CliRunner

from bench import ensure as ensure_bench
from bench import storm
from bench.__main__ import app
from bench.claim import floor_ratio, targets
from bench.cores import Cores, choose_cores, on_core
from bench.ensure import LIMIT_US, Call, active_tenure, ensure
from bench.event import claim_to_listener_ns
from bench.floor import sync_ns
from bench.latencies import Latencies, Summary
from bench.loops import closed_loop, open_loop
from bench.machine import Machine, describe_machine, is_durable
from bench.options import finish
from bench.pictures import draw
from bench.place import Place, Transport, temporary_place
from bench.processes import ProcessFailedError, echo, first_endpoint
from bench.report import Curve, Report, Target, to_json, to_text

MS = 1_000_000
NEARLY = 1e-3  # three significant digits


def summary(p50_ms: float = 1.0, p99_ms: float = 2.0) -> Summary:
    """Figures that nobody measured."""
    return Summary(
        name="a load",
        count=1_000,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        p999_ms=3.0,
        max_ms=4.0,
        per_second=500.0,
        p99_by_round_ms=(1.5, 2.5),
    )


def report(*, p99_ms: float = 2.0, file_system: str = "ext4") -> Report:
    """A report with one target of 5 ms."""
    machine = Machine(
        date="2030-01-02 03:04 UTC",
        cores=2,
        processor="a processor",
        kernel="Linux 6.1",
        python="3.13.0",
        sqlite="3.40.1",
        libzmq="4.3.5",
        tenure="0.1.0",
        file_system=file_system,
        is_durable=is_durable(file_system),
    )
    return Report(
        bench="some",
        title="a bench",
        machine=machine,
        settings={"transport": "ipc"},
        measured=(summary(p99_ms=p99_ms),),
        floor=(summary(),),
        ratios={"this / that": 1.25},
        targets=(Target(name="p99 of a load", value=p99_ms, bound=5.0),),
    )


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


# --- loops ------------------------------------------------------------------------------------------------------------


async def test_a_closed_loop_asks_as_often_as_it_should_and_no_more_at_once() -> None:
    """So many operations, so many of them at a time, a latency for each."""
    at_once: list[int] = []
    running = 0

    async def operation() -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0)
        running -= 1

    taken = await closed_loop(operation, 3, 20)
    assert len(taken.latencies_ns) == len(at_once) == 20
    assert max(at_once) == 3
    assert 0 < max(taken.latencies_ns) <= taken.elapsed_ns


async def test_an_open_loop_counts_from_when_an_operation_was_meant_to_begin() -> None:
    """The first one keeps the whole loop from turning; those that were due meanwhile were late, and that counts."""
    begun = 0

    async def operation() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            ends_ns = monotonic_ns() + 20 * MS
            while monotonic_ns() < ends_ns:
                pass

    taken = await open_loop(operation, 1_000, 10)
    assert begun == len(taken.latencies_ns) == 10
    assert sum(latency_ns > 10 * MS for latency_ns in taken.latencies_ns) >= 9
    assert taken.elapsed_ns >= 9 * MS


async def test_an_open_loop_begins_nothing_before_its_time() -> None:
    """Operations that take no time at all are as far apart as the rate says, or farther."""
    begun_ns: list[int] = []

    async def operation() -> None:
        begun_ns.append(monotonic_ns())

    taken = await open_loop(operation, 500, 8)
    assert min(taken.latencies_ns) >= 0
    assert begun_ns[-1] - begun_ns[0] >= (8 - 1) * 2 * MS - taken.latencies_ns[0]


# --- what is measured on ----------------------------------------------------------------------------------------------


def test_the_machine_is_described(tmp_path: Path) -> None:
    """Date, cores and versions are there, and the file system of the directory."""
    machine = describe_machine(tmp_path)
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.date.endswith("UTC")
    assert all((machine.kernel, machine.python, machine.sqlite, machine.libzmq, machine.tenure))
    assert machine.is_durable is is_durable(machine.file_system)


@pytest.mark.parametrize(
    ("usable", "pin", "cores"),
    [
        ({0, 1}, True, Cores(0, 1)),
        ({7, 3, 5}, True, Cores(3, 5)),
        ({0}, True, Cores(None, None)),
        ({0, 1}, False, Cores(None, None)),
    ],
)
def test_each_side_gets_a_core_where_there_are_two(usable: set[int], *, pin: bool, cores: Cores) -> None:
    """Broker and load never share a core that is theirs; with one core, or on demand, nothing is pinned."""
    assert choose_cores(usable, pin=pin) == cores


def test_cores_are_told() -> None:
    """Whoever reads the figures learns who ran where."""
    assert str(Cores(0, 1)) == "broker on core 0, load on core 1"
    assert str(Cores(None, None)) == "not pinned"


def test_a_core_is_given_back() -> None:
    """After a block on one core all those from before may be used again."""
    before = os.sched_getaffinity(0)
    with on_core(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    with on_core(None):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_a_place_is_gone_afterwards(tmp_path: Path) -> None:
    """Data goes where it was asked for, and nothing of it stays."""
    with temporary_place(tmp_path, Transport.IPC) as place:
        (place.data / "file").write_text("x")
        assert place.data.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_endpoints_are_nobody_elses(tmp_path: Path) -> None:
    """Each ipc endpoint is a new one, short enough for a socket; over tcp the system chooses the port, on loopback."""
    place = Place(tmp_path, Path("/tmp/sockets"), Transport.IPC)  # noqa: S108  (nothing is made there)
    assert [place.endpoint(), place.endpoint()] == ["ipc:///tmp/sockets/0", "ipc:///tmp/sockets/1"]
    assert Place(tmp_path, tmp_path, Transport.TCP).endpoint() == "tcp://127.0.0.1:0"


@pytest.mark.parametrize("preallocated", [True, False])
def test_every_sync_is_measured(tmp_path: Path, *, preallocated: bool) -> None:
    """There is one latency for each write, and the file is gone."""
    assert len(sync_ns(tmp_path, 3, preallocated=preallocated)) == 3
    assert list(tmp_path.iterdir()) == []


# --- other processes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "endpoint"),
    [
        ("Tenure takes requests at   ipc:///run/b.ipc  tcp://127.0.0.1:7400\n", "ipc:///run/b.ipc"),
        ("tcp://127.0.0.1:40001\n", "tcp://127.0.0.1:40001"),
        ("tenure: the data cannot be used\n", None),
        ("", None),
    ],
)
def test_the_first_line_says_where(line: str, endpoint: str | None) -> None:
    """The first endpoint on it is taken; a line without one says that the process did not start."""
    assert first_endpoint(line) == endpoint


def test_a_process_that_does_not_listen_is_an_error(tmp_path: Path) -> None:
    """An endpoint that cannot be bound ends in an error that names the command, not in a wait."""
    place = Place(tmp_path, tmp_path / "missing", Transport.IPC)
    with pytest.raises(ProcessFailedError, match=r"bench\.echo"), echo(place):
        pass


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--in-flight", "0"], ["--directory", "/nowhere"], ["-x"]])
def test_a_wrong_argument_is_refused(arguments: list[str]) -> None:
    """Nothing is started for it."""
    assert CliRunner().invoke(app, ["claim", *arguments]).exit_code == 2


def test_what_asking_costs_is_measured_as_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """Both calls return the epoch that is held, and the report has a figure for each, here of one round."""
    tenure = active_tenure()
    assert tenure.ensure_active() == tenure.registration.ensure_active() == 1

    assert CliRunner().invoke(app, ["ensure", "--rounds", "1", "--json"]).exit_code == 0
    ensure(rounds=1, as_json=True)
    told = json.loads(capsys.readouterr().out)

    assert [target["name"] for target in told["targets"]] == [
        "p50 of tenure.ensure_active()",
        "p50 of registration.ensure_active()",
    ]
    assert all(target["value"] > 0 for target in told["targets"])


@pytest.mark.parametrize(("p50_us", "is_met"), [(LIMIT_US, True), (LIMIT_US + 0.01, False)])
def test_the_median_of_the_rounds_is_what_a_call_costs(p50_us: float, *, is_met: bool) -> None:
    """A slow round alone is no fault."""
    call = Call(name="a call", min_us=0.1, p50_us=p50_us, max_us=9.0)
    found = ensure_bench.report(ensure_bench.plan(), report().machine, [call])
    assert [target.is_met for target in found.targets] == [is_met]


def test_a_claim_that_was_not_heard_of_ends_the_bench() -> None:
    """Each latency is from its own claim to its own event, and a lost one is no figure left out."""
    assert list(claim_to_listener_ns({"a": 5, "b": 7}, {"b": 10, "warm-up": 1, "a": 11})) == [6, 3]
    with pytest.raises(ProcessFailedError, match="b"):
        claim_to_listener_ns({"a": 5, "b": 7}, {"a": 11})


def test_a_storm_is_as_long_as_its_last_role() -> None:
    """The slowest role of the slowest storm is what the target is about."""
    plan = storm.Plan(storms=2, resources=2, cores=Cores(None, None))
    found = storm.report(plan, report().machine, [[90 * MS, 100 * MS], [200 * MS, 7 * MS]])
    assert [load.count for load in found.measured] == [4, 2]
    assert found.targets[0].value == pytest.approx(200, rel=NEARLY)
    assert not found.targets[0].is_met
