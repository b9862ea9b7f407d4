"""How long a registration with a role takes, from the call of the SDK to the answer that it is durable.

Two loads take turns, round by round, on one broker and one file: one registration after the other, and a number of them
in flight (a closed loop: each worker asks again as soon as it is answered). Every registration claims the active role
of a fresh resource. Each round has clients of its own, whose goodbye ends what they registered; what is said before a
load has warmed up is not recorded. The machine's floor is measured in every round too.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import Annotated, Final

import typer
from msgspec import Struct

from bench import processes
from bench.cores import Cores, choose_cores, on_core
from bench.floor import echo_ns, sync_ns
from bench.latencies import Latencies, Summary
from bench.machine import Machine, describe_machine
from bench.place import Place, Transport, temporary_place
from bench.report import Limit, Report, finish
from tenure.sdk import ServiceClient

P99_LIMIT_MS: Final = 5.0
"""What the 99th percentile of a registration with a role has to stay below, under either load."""

_SEQUENTIAL_PART: Final = 5  # one registration after the other takes this many times longer than many in flight
_WARM_UP_PART: Final = 10
_FLOOR_PART: Final = 8


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    rounds: int
    in_flight: int
    operations: int
    """Registrations a round with many in flight; the other loads have a part of it."""
    transport: Transport
    cores: Cores


def latency(
    *,
    transport: Annotated[Transport, typer.Option(help="How the client reaches the broker.")] = Transport.IPC,
    directory: Annotated[
        Path, typer.Option(help="Where the data is kept for the time of the run.", exists=True, file_okay=False)
    ] = Path("/var/tmp"),  # noqa: S108  (a directory of unguessable name is made in it; /tmp is often not on a disk)
    rounds: Annotated[int, typer.Option(min=1, help="How often the loads take turns.")] = 5,
    in_flight: Annotated[int, typer.Option(min=1, help="Registrations in flight at a time.")] = 64,
    operations: Annotated[int, typer.Option(min=100, max=10_000, help="Registrations of a round in flight.")] = 4_000,
    pin: Annotated[bool, typer.Option(help="Give broker and load a core each, if there are two.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help=f"Exit with code 1 if a p99 is {P99_LIMIT_MS:g} ms or more.")
    ] = False,
) -> None:
    """Registrations with a role: one after the other, and many in flight."""
    plan = Plan(
        rounds=rounds,
        in_flight=in_flight,
        operations=operations,
        transport=transport,
        cores=choose_cores(os.sched_getaffinity(0), pin=pin),
    )
    finish(run(plan, directory), as_json=as_json, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: The broker did not start or end.
        TenureError: A registration failed.
        OSError: The directory cannot be written.
    """
    with temporary_place(directory, plan.transport) as place:
        machine = describe_machine(place.data)
        with (
            on_core(plan.cores.broker),
            processes.broker(place) as endpoint,
            processes.echo(place) as echo_endpoint,
            on_core(plan.cores.load),
        ):
            loads = _Loads(plan, place, endpoint, echo_endpoint)
            for _ in range(plan.rounds):
                loads.measure_floor()
                asyncio.run(loads.measure_registrations())
    return loads.report(machine)


class _Loads:
    """The loads of a run, and what they have measured so far."""

    def __init__(self, plan: Plan, place: Place, endpoint: str, echo_endpoint: str) -> None:
        self._plan = plan
        self._place = place
        self._endpoint = endpoint
        self._echo_endpoint = echo_endpoint
        self._numbers = count()
        self._sequential = Latencies("one after the other")
        self._in_flight = Latencies(f"{plan.in_flight} in flight")
        self._echo = Latencies(f"echo over {plan.transport}")
        self._sync = Latencies("fdatasync, 4 KiB, file preallocated")
        self._growing = Latencies("fdatasync, 4 KiB, file growing")

    def measure_floor(self) -> None:
        """One round of the machine's floor."""
        operations = max(1, self._plan.operations // _FLOOR_PART)
        _add(self._echo, echo_ns(self._echo_endpoint, operations, operations // _WARM_UP_PART))
        _add(self._sync, sync_ns(self._place.data, operations, preallocated=True))
        _add(self._growing, sync_ns(self._place.data, operations, preallocated=False))

    async def measure_registrations(self) -> None:
        """One round of both loads."""
        operations = self._plan.operations
        await self._measure(self._sequential, 1, max(1, operations // _SEQUENTIAL_PART))
        await self._measure(self._in_flight, self._plan.in_flight, operations)

    async def _measure(self, latencies: Latencies, workers: int, operations: int) -> None:
        async with ServiceClient(self._endpoint) as client:
            await self._register(client, workers, max(workers, operations // _WARM_UP_PART))
            began_ns = perf_counter_ns()
            taken_ns = await self._register(client, workers, operations)
            latencies.add_round(taken_ns, perf_counter_ns() - began_ns)

    async def _register(self, client: ServiceClient, workers: int, operations: int) -> array[int]:
        taken_ns = array("q")
        left = iter(range(operations))
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(client, left, taken_ns))
        return taken_ns

    async def _work(self, client: ServiceClient, left: Iterator[int], taken_ns: array[int]) -> None:
        for _ in left:
            resource_id = f"resource-{next(self._numbers)}"
            began_ns = perf_counter_ns()
            await client.register("bench", instance_id="bench-1", resource_id=resource_id, role="active")
            taken_ns.append(perf_counter_ns() - began_ns)

    def report(self, machine: Machine) -> Report:
        """What all rounds come to."""
        sequential, in_flight = self._sequential.summary(), self._in_flight.summary()
        echo, sync, growing = self._echo.summary(), self._sync.summary(), self._growing.summary()
        return Report(
            bench="a registration with a role",
            machine=machine,
            settings={
                "transport": str(self._plan.transport),
                "cores": str(self._plan.cores),
                "rounds": str(self._plan.rounds),
            },
            measured=(sequential, in_flight),
            floor=(echo, sync, growing),
            ratios={"p50 one after the other / (echo + fdatasync preallocated)": floor_ratio(sequential, echo, sync)},
            limits=tuple(
                Limit(
                    name=f"p99 of a registration with a role, {load.name},", value_ms=load.p99_ms, limit_ms=P99_LIMIT_MS
                )
                for load in (sequential, in_flight)
            ),
        )


def floor_ratio(load: Summary, echo: Summary, sync: Summary) -> float:
    """How many times as long the load takes, at the median, as the round trip and the sync it cannot do without."""
    return round(load.p50_ms / (echo.p50_ms + sync.p50_ms), 3)


def _add(latencies: Latencies, taken_ns: array[int]) -> None:
    latencies.add_round(taken_ns, sum(taken_ns))
