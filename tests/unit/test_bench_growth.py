"""What the benches of scale and soak say of what they saw: a cost of what broke down is no figure."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from msgspec import structs
from typer.testing import CliRunner

from bench import soak, usage, wire
from bench.__main__ import app
from bench.everything import BENCHES, verdicts
from bench.fleet import connect_from
from bench.growth import AtRest, Filled, load_name, report, targets
from bench.report import Target
from tenure.contract import codec
from tenure.contract.errors import ErrorCode, ErrorInfo, SessionExpiredError
from tenure.contract.messages import ErrorReply, Farewell, Welcome
from tests.unit.bench_stage import report as any_report
from tests.unit.bench_stage import summary


def at_rest(**changed: float) -> AtRest:
    """10,000 sessions, all of whose heartbeats were confirmed."""
    one = AtRest(
        sessions=10_000,
        lease_ms=2_000,
        opened=10_000,
        cpu_percent=20.0,
        sent_a_second=25_000,
        answered_a_second=25_000,
        unconfirmed_a_second=0,
        p50_ms=1.0,
        p99_ms=2.0,
        max_ms=3.0,
    )
    return structs.replace(one, **changed)


def filled(registrations: int, p99_ms: float = 1.0, **changed: float) -> Filled:
    """A broker with so many registrations."""
    one = Filled(
        registrations=registrations,
        memory_bytes=900,
        loaded_bytes=800,
        stored_bytes=400,
        fill_a_second=10_000,
        start_s=1.4,
        rest_cpu_percent=0.5,
        claims=[
            structs.replace(summary(p99_ms=p99_ms), name=load_name(1, registrations)),
            structs.replace(summary(p99_ms=2 * p99_ms), name=load_name(64, registrations)),
        ],
    )
    return structs.replace(one, **changed)


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cpu_percent", "is_met"), [(25.0, True), (25.1, False)])
def test_sessions_at_rest_are_held_against_a_quarter_of_a_core(cpu_percent: float, *, is_met: bool) -> None:
    """Of as many as the target names; fewer are a point of the curve alone."""
    found = targets([at_rest(sessions=5_000, opened=5_000), at_rest(cpu_percent=cpu_percent)], [])
    assert [(target.value, target.is_met) for target in found] == [(cpu_percent, is_met)]


@pytest.mark.parametrize("broken", [{"opened": 5_500}, {"unconfirmed_a_second": 5_000}])
def test_what_sessions_cost_that_were_lost_is_no_figure(broken: dict[str, float]) -> None:
    """The broker spent little because it had fewer to serve: no point of a curve, and the target is not met."""
    lost = at_rest(cpu_percent=5.0, answered_a_second=10_000, **broken)
    (target,) = targets([lost], [])
    assert not target.is_met
    assert target.unit == "%"
    assert target.value == (20.0 if "unconfirmed_a_second" in broken else 40.0)
    found = report({}, any_report().machine, [at_rest(sessions=100, opened=100), lost], [])
    assert [points for curve in found.curves for points, _ in curve.points] == [100, 100, 100]


def test_every_session_connects_from_an_address_of_its_own() -> None:
    """ZeroMQ passes over a second connection to the same name."""
    names = {connect_from("tcp://127.0.0.1:7400", index) for index in range(130_000)}
    assert len(names) == 130_000
    numbers = {int(part) for name in names for part in name.removeprefix("tcp://").partition(":")[0].split(".")}
    assert max(numbers) <= 255
    assert not any(name.partition(":0;")[0].endswith((".0", ".255")) for name in names)


# --- registrations ----------------------------------------------------------------------------------------------------


def test_registrations_are_held_against_their_targets() -> None:
    """The most against the fewest, under the same load; memory from 100,000 on, the start at just so many."""
    found = targets(
        [], [filled(10_000), filled(100_000, start_s=1.6), filled(1_000_000, p99_ms=1.4, loaded_bytes=1_001)]
    )
    assert [(target.value, target.bound, target.is_met) for target in found] == [
        (1.4, 1.5, True),
        (1.4, 1.5, True),
        (900, 1_000, True),
        (1.6, 1.5, False),
        (1_001, 1_000, False),
    ]
    assert targets([], [filled(10_000)]) == []


def test_what_is_registered_to_fill_a_broker_is_all_different() -> None:
    """No two are the same instance for the same resource, and none claims what another one has."""
    items = [wire.active_registration(number) for number in (*range(3), *range(wire.PER_SESSION, wire.PER_SESSION + 3))]
    assert len({item.resource_id for item in items}) == len(items)
    assert len(codec.encode(items[0])) > 80


def test_a_refusal_is_raised_and_anything_else_is_no_answer() -> None:
    """A harness that took either for its answer would measure nothing."""
    refusal = ErrorReply(error=ErrorInfo(code=ErrorCode.SESSION_EXPIRED, message="over"))
    with pytest.raises(SessionExpiredError):
        wire.accept(refusal, Welcome)
    with pytest.raises(TypeError, match="Farewell, not Welcome"):
        wire.accept(Farewell(), Welcome)
    assert wire.accept(Farewell(), Farewell) == Farewell()


# --- over time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "is_met"), [(105, True), (106, False), (90, True)])
def test_memory_is_flat_if_its_end_is_like_its_second_fifth(end: int, *, is_met: bool) -> None:
    """The first fifth is warming up, and one sample out of line is not what is meant."""
    fifths = ([10, 20, 30, 40], [100, 100, 900, 100], [500] * 4, [500] * 4, [end, 900, end, end])
    (target,) = soak.targets([*itertools.chain(*fifths)])
    assert target.is_met is is_met


def test_too_few_samples_say_nothing() -> None:
    """Without fifths there is no target, met or not."""
    assert soak.targets([1, 1, 1, 1]) == []


# --- what a process uses ----------------------------------------------------------------------------------------------


def test_usage_is_read_whatever_a_process_calls_itself() -> None:
    """A name may hold spaces and brackets; memory is told in units of 1,024."""
    stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3 0 99\n"
    assert usage.read_cpu_s(stat, 100) == 3.0
    assert usage.read_rss_bytes("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t  120 kB\n") == 122_880


def test_files_count_as_what_they_take_on_the_disk(tmp_path: Path) -> None:
    """Blocks, not lengths; directories and what is in them do not count."""
    (tmp_path / "one").write_bytes(b"x")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "two").write_bytes(b"x" * 100_000)
    assert usage.stored_bytes(tmp_path) == (tmp_path / "one").stat().st_blocks * 512


# --- all of them ------------------------------------------------------------------------------------------------------


def test_the_verdicts_name_every_target_and_violation() -> None:
    """Whoever reads the end alone misses nothing."""
    met = Target(name="a", value=1, bound=2)
    missed = Target(name="b", value=1, bound=2, at_least=True)
    said = verdicts([structs.replace(any_report(), targets=(met, missed), violations=("TWO were active",))])
    assert said.splitlines() == [
        "1 of 2 targets are met",
        "some: a: 1.00 ms, at most 2 ms: met",
        "some: b: 1.00 ms, at least 2 ms: NOT met",
        "some: TWO were active",
    ]


def test_each_bench_can_be_run_alone_too() -> None:
    """Every name of `all` is a command of its own, and no other name is taken."""
    for name in BENCHES:
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
    assert CliRunner().invoke(app, ["all", "--only", "sneeze"]).exit_code == 2
