"""What the bench measures with: loops, cores, places and processes, and the benches that are little else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import monotonic_ns

import pytest
from typer.testing import CliRunner

from bench import ensure as ensure_bench
from bench import storm
from bench.__main__ import app
from bench.cores import Cores, choose_cores, on_core
from bench.ensure import LIMIT_US, Call, active_tenure, ensure
from bench.event import claim_to_listener_ns
from bench.floor import sync_ns
from bench.loops import closed_loop, open_loop
from bench.machine import describe_machine, is_durable
from bench.place import Place, Transport, temporary_place
from bench.processes import ProcessFailedError, echo, first_endpoint
from tests.turns import turns
from tests.unit.bench_stage import MS, NEARLY, report

# --- loops ------------------------------------------------------------------------------------------------------------


async def test_a_closed_loop_asks_as_often_as_it_should_and_no_more_at_once() -> None:
    """So many operations, so many of them at a time, a latency for each."""
    at_once: list[int] = []
    running = 0

    async def operation() -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        await turns()
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
