"""The arithmetic of the bench: a figure that is computed wrongly is worse than none. Nothing here depends on speed."""

from __future__ import annotations

import json
import os
from array import array
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.__main__ import app
from bench.cores import Cores, choose_cores, on_core
from bench.ensure import LIMIT_US, Call, EnsureReport, active_tenure, ensure
from bench.floor import sync_ns
from bench.latencies import Latencies, Summary
from bench.latency import floor_ratio
from bench.machine import Machine, describe_machine, is_durable
from bench.place import Place, Transport, temporary_place
from bench.processes import ProcessFailedError, echo, first_endpoint
from bench.report import Limit, Report, to_json, to_text

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
    """A report with one limit of 5 ms."""
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
        bench="a bench",
        machine=machine,
        settings={"transport": "ipc"},
        measured=(summary(p99_ms=p99_ms),),
        floor=(summary(),),
        ratios={"this / that": 1.25},
        limits=(Limit(name="p99 of a load", value_ms=p99_ms, limit_ms=5.0),),
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


@pytest.mark.parametrize(("p99_ms", "is_kept"), [(4.999, True), (5.0, False), (5.001, False)])
def test_a_limit_is_passed_at_the_limit(p99_ms: float, *, is_kept: bool) -> None:
    """5 ms or more is too much."""
    found = report(p99_ms=p99_ms)
    assert [limit.is_kept for limit in found.limits] == [is_kept]
    assert bool(found.faults) is not is_kept


def test_a_fault_names_figure_and_limit() -> None:
    """What is told says which figure, how much it is, and what it should have been."""
    assert report(p99_ms=7.254).faults == ["p99 of a load is 7.25 ms, NOT below 5 ms"]


def test_what_is_fast_because_nothing_is_durable_does_not_pass() -> None:
    """On a file system in memory a sync costs nothing, so its figures prove nothing."""
    (fault,) = report(file_system="tmpfs").faults
    assert "tmpfs" in fault
    assert "NOT durable" in to_text(report(file_system="tmpfs"))


def test_the_ratio_is_to_round_trip_and_sync_together() -> None:
    """A median of 0.9 ms over 0.1 ms of round trip and 0.2 ms of sync is 3."""
    assert floor_ratio(summary(0.9), summary(0.1), summary(0.2)) == 3.0


# --- the report -------------------------------------------------------------------------------------------------------


def test_json_and_table_have_the_same_figures() -> None:
    """Every figure of a load is in the table as in the JSON."""
    found = report()
    read = json.loads(to_json(found))
    assert read["measured"][0]["p99_ms"] == 2.0
    assert read["machine"]["python"] == "3.13.0"
    assert read["ratios"] == {"this / that": 1.25}
    assert read["limits"] == [{"name": "p99 of a load", "value_ms": 2.0, "limit_ms": 5.0}]
    (row,) = [line for line in to_text(found).split("the floor")[0].splitlines() if line.startswith("a load")]
    assert row.split() == ["a", "load", "1,000", "1.000", "2.000", "3.000", "4.000", "500", "1.50", "to", "2.50"]


def test_columns_stand_under_their_heads() -> None:
    """Head and figures end at the same places."""
    lines = to_text(report()).splitlines()
    head = next(line for line in lines if line.endswith("p99 by round"))
    assert {len(line) for line in lines if line.startswith("a load")} == {len(head)}


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
    assert CliRunner().invoke(app, ["latency", *arguments]).exit_code == 2


def test_what_asking_costs_is_measured_as_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """Both calls return the epoch that is held, and the report has a figure for each, here of one round."""
    tenure = active_tenure()
    assert tenure.ensure_active() == tenure.registration.ensure_active() == 1

    assert CliRunner().invoke(app, ["ensure", "--rounds", "1", "--json"]).exit_code == 0
    ensure(rounds=1, as_json=True)
    told = json.loads(capsys.readouterr().out)

    assert [call["name"] for call in told["measured"]] == ["tenure.ensure_active()", "registration.ensure_active()"]
    assert all(0 < call["min_us"] <= call["p50_us"] <= call["max_us"] for call in told["measured"])


def test_a_call_at_the_limit_does_not_keep_it() -> None:
    """The median of the rounds counts."""
    call = Call(name="a call", min_us=0.1, p50_us=LIMIT_US, max_us=9.0)
    found = EnsureReport(
        bench="b", machine=report().machine, rounds=1, calls_per_round=1, measured=(call,), limit_us=LIMIT_US
    )
    assert not found.is_kept
