"""How long a registration with a role takes, from the call of the SDK to the answer that it is durable.

The loads take turns, round by round, on one broker and one file: closed loops with one registration after the other and
with many in flight, and open loops at fixed rates. Every registration claims the active role of a fresh resource. Each
round has clients of its own, whose goodbye ends what they registered; what is said before a load has warmed up is not
recorded. The machine's floor is measured in every round too.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct

from bench import processes
from bench.cores import Cores, choose_cores, on_core
from bench.floor import echo_ns, sync_ns
from bench.latencies import Latencies, Summary
from bench.loops import Operation, Taken, closed_loop, open_loop
from bench.machine import describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.place import Place, Transport, temporary_place
from bench.report import Report, Target
from bench.wire import PER_SESSION
from tenure.sdk import ServiceClient

P99_LIMIT_MS: Final = 5.0
"""What the 99th percentile of a registration with a role may be with up to 64 in flight."""
_IN_FLIGHT_LIMITED: Final = 64
FLOOR_P50_RATIO: Final = 1.6
"""How many times as long as the machine's floor one claim after the other may take, at the median."""
FLOOR_P99_RATIO: Final = 2.5
"""The same at the 99th percentile."""

IN_FLIGHT: Final = (1, 8, 64, 256)
RATES: Final = (1_000, 2_000, 5_000, 10_000, 20_000)

_SEQUENTIAL_PART: Final = 5  # one registration after the other takes this many times longer than many in flight
_WARM_UP_PART: Final = 10
_FLOOR_PART: Final = 8


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    rounds: int
    in_flight: Sequence[int]
    operations: int
    """Registrations a round with many in flight; the other closed loops have a part of it."""
    rates: Sequence[int]
    """Registrations a second, of the open loops."""
    seconds: float
    """How long an open loop lasts in each round."""
    transport: Transport
    cores: Cores


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    cores = choose_cores(pin=True)
    if is_quick:
        return Plan(
            rounds=1,
            in_flight=(1, 8),
            operations=100,
            rates=(200,),
            seconds=0.2,
            transport=Transport.IPC,
            cores=cores,
        )
    return Plan(
        rounds=5,
        in_flight=IN_FLIGHT,
        operations=4_000,
        rates=RATES,
        seconds=1.0,
        transport=Transport.IPC,
        cores=cores,
    )


def claim(
    *,
    transport: Annotated[Transport, typer.Option(help="How the client reaches the broker.")] = Transport.IPC,
    directory: Directory = A_DISK,
    rounds: Annotated[int, typer.Option(min=1, help="How often the loads take turns.")] = 5,
    in_flight: Annotated[
        list[int] | None, typer.Option(min=1, max=1_000, help="A closed loop; by default 1, 8, 64 and 256.")
    ] = None,
    operations: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="Registrations of a round in flight.")
    ] = 4_000,
    rate: Annotated[
        list[int] | None,
        typer.Option(min=0, help="An open loop, a second; by default 1,000 to 20,000, and none with 0."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long an open loop lasts, each round.")] = 1.0,
    pin: Pin = True,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """Registrations with a role: one after the other, many in flight, and at fixed rates."""
    chosen = Plan(
        rounds=rounds,
        in_flight=in_flight or IN_FLIGHT,
        operations=operations,
        rates=RATES if rate is None else [one for one in rate if one],
        seconds=seconds,
        transport=transport,
        cores=choose_cores(pin=pin),
    )
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: The broker did not start or end.
        ExceptionGroup: A registration failed.
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
            floor = Floor(place, echo_endpoint, max(1, plan.operations // _FLOOR_PART))
            loads = _Loads(plan, endpoint)
            for _ in range(plan.rounds):
                floor.measure()
                asyncio.run(loads.measure())
    measured = loads.summaries()
    return Report(
        bench="claim",
        title="a registration with a role",
        machine=machine,
        settings={"transport": str(plan.transport), "cores": str(plan.cores), "rounds": str(plan.rounds)},
        measured=measured,
        floor=floor.summaries(),
        targets=targets(measured, floor.summaries()),
    )


def targets(measured: Sequence[Summary], floor: Sequence[Summary]) -> list[Target]:
    """Where the loads must get to; the floor is the echo and the sync into a preallocated file, in this order first."""
    by_name = {load.name: load for load in measured}
    found = [
        Target(name=f"p99 of a registration with a role, {name}", value=load.p99_ms, bound=P99_LIMIT_MS)
        for name in (_closed(1), _closed(_IN_FLIGHT_LIMITED))
        if (load := by_name.get(name)) is not None
    ]
    alone = by_name.get(_closed(1))
    if alone is not None:
        echo, sync, *_ = floor
        found += [
            Target(
                name="p50 one after the other / (p50 of echo + p50 of fdatasync preallocated)",
                value=floor_ratio(alone.p50_ms, echo.p50_ms, sync.p50_ms),
                bound=FLOOR_P50_RATIO,
                unit="",
            ),
            Target(
                name="p99 one after the other / (p99 of echo + p99 of fdatasync preallocated)",
                value=floor_ratio(alone.p99_ms, echo.p99_ms, sync.p99_ms),
                bound=FLOOR_P99_RATIO,
                unit="",
            ),
        ]
    return found


def floor_ratio(load_ms: float, echo_ms: float, sync_ms: float) -> float:
    """How many times as long the load takes as the round trip and the sync it cannot do without."""
    return round(load_ms / (echo_ms + sync_ms), 3)


class Floor:
    """What the machine takes for what no claim can do without, measured in each round."""

    def __init__(self, place: Place, echo_endpoint: str, operations: int) -> None:
        self._place = place
        self._echo_endpoint = echo_endpoint
        self._operations = operations
        self._echo = Latencies("echo, bare ROUTER and DEALER")
        self._sync = Latencies("fdatasync, 4 KiB, file preallocated")
        self._growing = Latencies("fdatasync, 4 KiB, file growing")

    def measure(self) -> None:
        """One round."""
        operations = self._operations
        _add(self._echo, echo_ns(self._echo_endpoint, operations, operations // _WARM_UP_PART))
        _add(self._sync, sync_ns(self._place.data, operations, preallocated=True))
        _add(self._growing, sync_ns(self._place.data, operations, preallocated=False))

    def summaries(self) -> tuple[Summary, Summary, Summary]:
        """The echo, the sync into a file that is there, and into one that grows."""
        return self._echo.summary(), self._sync.summary(), self._growing.summary()


class _Loads:
    """The loads of a run, and what they have measured so far."""

    def __init__(self, plan: Plan, endpoint: str) -> None:
        self._plan = plan
        self._endpoint = endpoint
        self._closed = {workers: Latencies(_closed(workers)) for workers in plan.in_flight}
        self._open = {rate: Latencies(f"open loop, {rate:,} a second") for rate in plan.rates}

    async def measure(self) -> None:
        """One round of each load."""
        for workers, latencies in self._closed.items():
            operations = self._plan.operations if workers > 1 else max(1, self._plan.operations // _SEQUENTIAL_PART)
            warm_up = max(workers, operations // _WARM_UP_PART)
            async with fresh_claims(self._endpoint, operations + warm_up) as one_claim:
                await closed_loop(one_claim, workers, warm_up)
                _take(latencies, await closed_loop(one_claim, workers, operations))
        for rate, latencies in self._open.items():
            operations = max(1, round(rate * self._plan.seconds))
            warm_up = max(1, operations // _WARM_UP_PART)
            async with fresh_claims(self._endpoint, operations + warm_up) as one_claim:
                await open_loop(one_claim, rate, warm_up)
                _take(latencies, await open_loop(one_claim, rate, operations))

    def summaries(self) -> list[Summary]:
        """What all rounds come to."""
        return [latencies.summary() for latencies in (*self._closed.values(), *self._open.values())]


@asynccontextmanager
async def fresh_claims(endpoint: str, operations: int, tag: str = "resource") -> AsyncGenerator[Operation]:
    """An operation that claims the role of a resource nobody else has claimed, for so many times.

    One client does that, and as many in turn as it takes if there are more than a session may hold.

    Raises:
        TenureError: A client could not be opened.
    """
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(ServiceClient(endpoint)) for _ in range(-(-operations // PER_SESSION))
        ]
        numbers = count()
        run_tag = f"{tag}-{os.urandom(6).hex()}"

        async def one_claim() -> None:
            number = next(numbers)
            await clients[number // PER_SESSION].register(
                "bench", instance_id="bench-1", resource_id=f"{run_tag}-{number}", role="active"
            )

        yield one_claim


def _closed(workers: int) -> str:
    return "one after the other" if workers == 1 else f"{workers} in flight"


def _take(latencies: Latencies, taken: Taken) -> None:
    latencies.add_round(taken.latencies_ns, taken.elapsed_ns)


def _add(latencies: Latencies, taken_ns: array[int]) -> None:
    latencies.add_round(taken_ns, sum(taken_ns))
