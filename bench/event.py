"""From a claim to the listener: from just before the call of the SDK to the moment another process is handed the event.

One claim after the other, and many in flight, by one client; a process of its own listens. Each claim is of a fresh
resource, and each has to be heard: one that is not ends the bench.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from array import array
from collections.abc import Mapping, Sequence
from itertools import batched, count
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct

from bench import processes
from bench.contender import now_ns
from bench.cores import Cores, choose_cores, on_core
from bench.latencies import Latencies
from bench.loops import closed_loop
from bench.machine import describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.place import Transport, temporary_place
from bench.processes import ProcessFailedError
from bench.report import Report
from bench.talking import Talking
from tenure.sdk import EventListener, ServiceClient

IN_FLIGHT: Final = (1, 64)
_SERVICE: Final = "bench"
_WARM_UP_PART: Final = 10
_LAST_HEARD_S: Final = 30.0


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    rounds: int
    in_flight: Sequence[int]
    operations: int
    """Claims a round, under each load."""
    transport: Transport
    cores: Cores


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(
        rounds=1 if is_quick else 5,
        in_flight=IN_FLIGHT,
        operations=100 if is_quick else 1_000,
        transport=Transport.IPC,
        cores=choose_cores(pin=True),
    )


def event(
    *,
    in_flight: Annotated[
        list[int] | None, typer.Option(min=1, max=1_000, help="Claims in flight; by default 1 and 64.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often the loads take turns.")] = 5,
    operations: Annotated[int, typer.Option(min=10, max=5_000, help="Claims a round, under each load.")] = 1_000,
    transport: Annotated[Transport, typer.Option(help="How client and listener reach the broker.")] = Transport.IPC,
    pin: Pin = True,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """From a claim to the moment a listener in another process has heard of it."""
    chosen = Plan(
        rounds=rounds,
        in_flight=in_flight or IN_FLIGHT,
        operations=operations,
        transport=transport,
        cores=choose_cores(pin=pin),
    )
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A process did not start or end, or an event was not heard.
        ExceptionGroup: A claim failed.
        OSError: The directory cannot be written.
    """
    loads = {workers: Latencies(f"{workers} in flight") for workers in plan.in_flight}
    with temporary_place(directory, plan.transport) as place:
        machine = describe_machine(place.data)
        with on_core(plan.cores.broker), processes.broker(place) as endpoint, on_core(plan.cores.load):
            for _ in range(plan.rounds):
                for workers, latencies in loads.items():
                    _measure_round(plan, endpoint, workers, latencies)
    return Report(
        bench="event",
        title="from a claim to a listener in another process",
        machine=machine,
        settings={"transport": str(plan.transport), "cores": str(plan.cores), "rounds": str(plan.rounds)},
        measured=tuple(latencies.summary() for latencies in loads.values()),
    )


def _measure_round(plan: Plan, endpoint: str, workers: int, latencies: Latencies) -> None:
    with Talking([sys.executable, "-m", "bench.hearer", endpoint, _SERVICE]) as hearer:
        hearer.words("ready")
        asked, elapsed_ns = asyncio.run(_claim(plan, endpoint, workers))
        hearer.send(signal.SIGTERM)
        told = batched(hearer.words("heard"), 2, strict=True)
    heard = {resource_id: int(at_ns) for resource_id, at_ns in told}
    latencies.add_round(claim_to_listener_ns(asked, heard), elapsed_ns)


def claim_to_listener_ns(asked: Mapping[str, int], heard: Mapping[str, int]) -> array[int]:
    """For each claim how long it took until it was heard of.

    Raises:
        ProcessFailedError: One was not heard.
    """
    missing = next((resource_id for resource_id in asked if resource_id not in heard), None)
    if missing is not None:
        raise ProcessFailedError(f"the listener did not hear of {missing}, which was granted")
    return array("q", (heard[resource_id] - at_ns for resource_id, at_ns in asked.items()))


async def _claim(plan: Plan, endpoint: str, workers: int) -> tuple[dict[str, int], int]:
    """Claim, and wait until everything was published; when each was asked for, and how long all took."""
    asked: dict[str, int] = {}
    numbers = count()
    async with EventListener(endpoint, service_name=_SERVICE) as published, ServiceClient(endpoint) as client:

        async def claim() -> None:
            resource_id = f"resource-{next(numbers)}"
            asked[resource_id] = now_ns()
            await client.register(_SERVICE, instance_id="bench-1", resource_id=resource_id, role="active")

        await closed_loop(claim, workers, max(workers, plan.operations // _WARM_UP_PART))
        asked.clear()
        taken = await closed_loop(claim, workers, plan.operations)
        last = next(reversed(asked))
        async with asyncio.timeout(_LAST_HEARD_S):
            async for one in published:
                if getattr(one, "resource_id", None) == last:
                    break
    return asked, taken.elapsed_ns
