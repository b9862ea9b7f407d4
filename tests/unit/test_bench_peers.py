"""The comparison with peers: who is the measure, what counts as met, who is left out. No peer takes part in it."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.latencies import Summary
from bench.peers import catalogue, peer
from bench.peers.comparison import in_turn
from bench.peers.load import FOLLOWED, IN_FLIGHT, LOADS, REJECTED, SEQUENTIAL, TOLD, Loads, Task
from bench.peers.outcome import Figures, ratios, targets
from bench.peers.servers import running
from bench.processes import ProcessFailedError
from bench.report import Target


def figures(name: str, *, per_second: float, p99_ms: float, is_durable: bool = True, is_told: bool = True) -> Figures:
    """A peer that has the same figures under every load that it can have."""
    summary = Summary(
        name=name,
        count=100,
        p50_ms=p99_ms / 2,
        p99_ms=p99_ms,
        p999_ms=p99_ms,
        max_ms=p99_ms,
        per_second=per_second,
        p99_by_round_ms=(p99_ms,),
    )
    loads = {load: summary for load in LOADS if is_told or load not in {FOLLOWED, TOLD}}
    return Figures(peer=name, is_durable=is_durable, is_told=is_told, loads=loads)


def by_name(found: list[Target]) -> Mapping[str, Target]:
    """Targets by how their names begin."""
    return {target.name.partition(" /")[0]: target for target in found}


# --- targets ----------------------------------------------------------------------------------------------------------

TENURE = figures("tenure", per_second=13_000, p99_ms=4.0)


def test_the_best_is_taken_for_each_figure_by_itself() -> None:
    """One peer has the throughput, another the tail; Tenure's figures are divided by the better one each time."""
    quick = figures("quick", per_second=10_000, p99_ms=9.0)
    steady = figures("steady", per_second=2_000, p99_ms=8.0)
    found = by_name(targets(TENURE, [steady, quick]))
    throughput = found[f"{IN_FLIGHT}: a second"]
    assert (throughput.value, throughput.is_met) == (1.3, True)
    assert "(quick)" in throughput.name


def test_the_tail_is_held_against_the_best_tail() -> None:
    """4 ms against 8 and 9 ms is a half, whoever has the throughput."""
    quick = figures("quick", per_second=10_000, p99_ms=9.0)
    steady = figures("steady", per_second=2_000, p99_ms=8.0)
    (tail,) = [target for target in targets(TENURE, [quick, steady]) if target.name.startswith(f"{IN_FLIGHT}: p99 /")]
    assert (tail.value, tail.bound, tail.is_met) == (0.5, 0.6, True)
    assert "(steady)" in tail.name


@pytest.mark.parametrize(("is_durable", "is_told"), [(False, True), (True, False)])
def test_who_does_less_is_nobodys_measure(*, is_durable: bool, is_told: bool) -> None:
    """A peer that is not durable, or tells nobody, is in the ratios, and changes no target."""
    same = figures("same", per_second=10_000, p99_ms=8.0)
    less = figures("less", per_second=99_000, p99_ms=0.1, is_durable=is_durable, is_told=is_told)
    assert targets(TENURE, [same, less]) == targets(TENURE, [same])
    assert ratios(TENURE, [same, less])[f"{IN_FLIGHT}: a second / that of less"] == pytest.approx(0.131, abs=0.001)


def test_every_load_has_a_target() -> None:
    """None is measured only to be looked at."""
    found = targets(TENURE, [figures("same", per_second=10_000, p99_ms=8.0)])
    assert {target.name.partition(":")[0] for target in found} == set(LOADS)


def test_without_a_peer_only_its_own_limit_is_left() -> None:
    """Nobody to compare with: the p99 in flight alone has a bound, and Tenure is not said to be ahead of anybody."""
    (own,) = targets(TENURE, [figures("less", per_second=1, p99_ms=1, is_durable=False)])
    assert (own.value, own.bound, own.unit) == (4.0, 5.0, "ms")


# --- who takes part ---------------------------------------------------------------------------------------------------


def test_the_first_that_is_missing_is_named(tmp_path: Path) -> None:
    """A command, a file or a module; None if all are there."""
    assert peer.not_installed(commands=("sh",), files=(tmp_path,), modules=("asyncio",)) is None
    assert peer.not_installed(commands=("sh", "no-such-command")) == "the command no-such-command is not installed"
    assert peer.not_installed(files=(tmp_path / "absent",)) == f"{tmp_path}/absent is not installed"
    assert "no_such_module" in (peer.not_installed(modules=("asyncio", "no_such_module")) or "")


def test_who_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With no server on the path these three cannot take part, whatever else is installed; Tenure always can."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, command in (("etcd", "etcd"), ("redis", "redis-server"), ("nats", "nats-server")):
        assert catalogue.peer_named(name).missing() == f"the command {command} is not installed"
    assert catalogue.peer_named(catalogue.TENURE).missing() is None


def test_an_unknown_peer_is_told_with_those_there_are() -> None:
    """Whoever mistypes a name learns the right ones."""
    with pytest.raises(ValueError, match=r"no peer 'etdc'; there are tenure, .*etcd"):
        catalogue.peer_named("etdc")
    ended = CliRunner().invoke(app, ["peers", "--only", "etdc"])
    assert ended.exit_code == 2
    assert "etdc" in ended.output


def test_each_peer_has_a_name_of_its_own_that_fits_the_table() -> None:
    """Names are keys, and with the longest load they are as wide as the column."""
    assert all(found.name == name for name, found in catalogue.PEERS.items())
    assert max(len(f"{name}: {SEQUENTIAL}") for name in catalogue.PEERS) <= 36
    assert [found.name for found in catalogue.PEERS.values() if not found.is_durable] == ["nats"]


def test_turns_change() -> None:
    """Everybody takes part in each round, another one first each time, and nobody follows the same one always."""
    turns = ["".join(in_turn("abc", number)) for number in range(4)]
    assert turns == ["abc", "acb", "cab", "cba"]


# --- the load ---------------------------------------------------------------------------------------------------------


class _Resources:
    """A peer without a server: resources in memory, one claimant for all workers. It answers as it is told to."""

    is_told = False

    def __init__(self, answer: Callable[[bool], bool]) -> None:
        self.held: set[str] = set()
        self.asked: list[str] = []
        self._answer = answer

    @asynccontextmanager
    async def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AsyncGenerator[_Resources]:  # noqa: ARG002
        yield self

    async def claim(self, worker: int, resource_id: str) -> bool:  # noqa: ARG002
        is_free = resource_id not in self.held
        self.held.add(resource_id)
        self.asked.append(resource_id)
        return self._answer(is_free)


TASK = Task(peer="resources", address="", prefix="0", sequential=20, in_flight=4, operations=40)


async def test_each_load_has_all_its_claims() -> None:
    """What was measured is as many claims as asked for, each of a fresh resource but for the refused ones."""
    resources = _Resources(lambda is_free: is_free)
    taken = await Loads(TASK, resources).run()
    assert {load: len(found.each_ns) for load, found in taken.items()} == {SEQUENTIAL: 20, IN_FLIGHT: 40, REJECTED: 40}
    assert all(found.elapsed_ns > 0 for found in taken.values())
    held = [resource_id for resource_id in resources.asked if resource_id.startswith("held")]
    free = [resource_id for resource_id in resources.asked if resource_id.startswith("free")]
    assert len(set(held)) == 1
    assert len(held) == 1 + 4 + 40  # the holder's, to warm up, measured
    assert len(set(free)) == len(free) == 2 + 20 + 4 + 40


@pytest.mark.parametrize("answer", [True, False])
async def test_a_wrong_answer_is_no_figure(*, answer: bool) -> None:
    """A peer that grants a held resource, or refuses a free one, ends the round."""
    with pytest.raises((ProcessFailedError, ExceptionGroup)) as raised:
        await Loads(TASK, _Resources(lambda _: answer)).run()
    assert raised.group_contains(ProcessFailedError) or raised.errisinstance(ProcessFailedError)


# --- servers ----------------------------------------------------------------------------------------------------------

_SERVER = "import pathlib, signal; pathlib.Path('up').touch(); signal.sigwait({signal.SIGINT})"


def test_a_server_runs_until_the_block_is_left(tmp_path: Path) -> None:
    """It is waited for until it answers, and ended as it wants to be; its output is in a file beside its directory."""
    directory = tmp_path / "server"
    directory.mkdir()
    program = f"{_SERVER}; print('ended'); pathlib.Path('up').unlink()"
    with running([sys.executable, "-c", program], directory, (directory / "up").exists, end=signal.SIGINT):
        assert (directory / "up").exists()
    assert not (directory / "up").exists()
    assert (tmp_path / "server.log").read_text() == "ended\n"


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """Its last words are in the error."""
    directory = tmp_path / "server"
    directory.mkdir()
    command = [sys.executable, "-c", "import sys; sys.exit('no room')"]
    with pytest.raises(ProcessFailedError, match="ended with exit code 1; it said: no room"):  # noqa: SIM117
        with running(command, directory, lambda: False):
            pytest.fail("it never answered")
