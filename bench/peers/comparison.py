"""`python -m bench peers`: every peer that is installed does the same work as Tenure, by turns, in one run.

All servers run throughout, on the broker's core; one round of one peer follows that of another, in an order that
changes, from a load process on the other core. All load processes run on uvloop. The machine's floor is
measured in every round too. Who is not installed is left out, and the report says why.
"""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from msgspec import Struct

from bench import processes
from bench.claim import Floor
from bench.cores import Cores, choose_cores, on_core
from bench.latencies import Latencies
from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.peers.catalogue import PEERS, TENURE, peer_named
from bench.peers.load import LOADS, Measured, Round, Task
from bench.peers.outcome import Figures, ratios, targets
from bench.peers.peer import Peer
from bench.place import Place, Transport, temporary_place
from bench.processes import ProcessFailedError
from bench.report import Report

_ROUND_S: Final = 300.0  # one round of one peer; beyond this something hangs
_FLOOR_PART: Final = 8


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    peers: tuple[str, ...]
    """By name; Tenure takes part in any case."""
    rounds: int
    sequential: int
    in_flight: int
    operations: int
    cores: Cores


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(
        peers=tuple(PEERS),
        rounds=1 if is_quick else 5,
        sequential=20 if is_quick else 500,
        in_flight=4 if is_quick else 64,
        operations=100 if is_quick else 3_000,
        cores=choose_cores(pin=True),
    )


def peers(
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Who takes part beside Tenure, one each; by default all: {', '.join(PEERS)}."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often they take turns.")] = 5,
    sequential: Annotated[int, typer.Option(min=10, help="Claims of a round, one after the other.")] = 500,
    in_flight: Annotated[int, typer.Option(min=1, max=256, help="Claims in flight at a time.")] = 64,
    operations: Annotated[int, typer.Option(min=10, max=8_000, help="Claims of a round, in flight.")] = 3_000,
    pin: Pin = True,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """The same durable work with Tenure, etcd, ZooKeeper, Redis, PostgreSQL and NATS, by turns."""
    try:
        wanted = tuple(peer_named(name).name for name in only or PEERS)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    chosen = Plan(
        peers=wanted,
        rounds=rounds,
        sequential=sequential,
        in_flight=in_flight,
        operations=operations,
        cores=choose_cores(pin=pin),
    )
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A server did not start, or a load failed.
        ValueError: There is no peer of a name.
        OSError: The directory cannot be written.
    """
    wanted = [peer_named(name) for name in dict.fromkeys((TENURE, *plan.peers))]
    skipped = {peer.name: reason for peer in wanted if (reason := peer.missing()) is not None}
    taking_part = [peer for peer in wanted if peer.name not in skipped]
    with temporary_place(directory, Transport.IPC) as place, ExitStack() as servers:
        machine = describe_machine(place.data)
        with on_core(plan.cores.broker):
            addresses = {peer.name: servers.enter_context(peer.serve(place)) for peer in taking_part}
            echo_endpoint = servers.enter_context(processes.echo(place))
        with on_core(plan.cores.load):
            rounds = _Rounds(plan, place, addresses, echo_endpoint)
            for number in range(plan.rounds):
                rounds.measure(number, in_turn(taking_part, number))
        return rounds.report(machine, taking_part, skipped)


def in_turn[T](taking_part: Sequence[T], number: int) -> list[T]:
    """The order of a round: another one begins each time, and everybody follows now this one, now that one."""
    first = number % len(taking_part)
    turns = [*taking_part[first:], *taking_part[:first]]
    return turns if number % 2 == 0 else turns[::-1]


class _Rounds:
    """The rounds of a run, and what they have measured so far."""

    def __init__(self, plan: Plan, place: Place, addresses: dict[str, str], echo_endpoint: str) -> None:
        self._plan = plan
        self._addresses = addresses
        self._load_average = os.getloadavg()[0]
        self._measured: dict[tuple[str, str], Latencies] = {}
        self._floor = Floor(place, echo_endpoint, max(1, plan.operations // _FLOOR_PART))

    def measure(self, number: int, turns: Sequence[Peer]) -> None:
        """One round: the floor, then each peer."""
        self._floor.measure()
        for peer in turns:
            for load, taken in self._measure_peer(peer, number).items():
                latencies = self._measured.setdefault((peer.name, load), Latencies(f"{peer.name}: {load}"))
                latencies.add_round(array("q", taken.each_ns), taken.elapsed_ns)

    def _measure_peer(self, peer: Peer, number: int) -> Round:
        task = Task(
            peer=peer.name,
            address=self._addresses[peer.name],
            prefix=str(number),
            sequential=self._plan.sequential,
            in_flight=self._plan.in_flight,
            operations=self._plan.operations,
        )
        command = [sys.executable, "-m", "bench.peers.load", msgspec.json.encode(task).decode()]
        try:
            ended = subprocess.run(command, stdout=subprocess.PIPE, timeout=_ROUND_S, check=False)
        except subprocess.TimeoutExpired as expired:
            raise ProcessFailedError(f"a round of {peer.name} was not over after {_ROUND_S:g} s") from expired
        if ended.returncode:
            raise ProcessFailedError(f"a round of {peer.name} failed; its messages say why")
        return msgspec.json.decode(ended.stdout, type=dict[str, Measured])

    def report(self, machine: Machine, taking_part: Sequence[Peer], skipped: dict[str, str]) -> Report:
        """What all rounds come to."""
        plan = self._plan
        figures = [self._figures(peer) for peer in taking_part]
        tenure, *others = sorted(figures, key=lambda found: found.peer != TENURE)
        return Report(
            bench="peers",
            title="the same durable work with each peer",
            machine=machine,
            settings={
                "cores": f"{plan.cores} (a server of a peer is where the broker is)",
                "load": "a process of its own, on uvloop, for each peer and round; its listener another one beside it",
                "in flight": str(plan.in_flight),
                "rounds": f"{plan.rounds}, by turns",
                "beside": f"a load average of {self._load_average:.1f} before the run",
                **{
                    peer.name: f"{peer.version()}, client {peer.client} {version(peer.client)}; {peer.settings}"
                    for peer in taking_part
                },
                **{f"{name}, left out": reason for name, reason in skipped.items()},
            },
            measured=[found.loads[load] for load in LOADS for found in figures if load in found.loads],
            floor=self._floor.summaries(),
            ratios=ratios(tenure, others),
            targets=targets(tenure, others),
        )

    def _figures(self, peer: Peer) -> Figures:
        return Figures(
            peer=peer.name,
            is_durable=peer.is_durable,
            is_told=peer.is_told,
            loads={load: found.summary() for (name, load), found in self._measured.items() if name == peer.name},
        )
