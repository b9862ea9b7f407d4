"""How long a refusal takes: many clients ask for a role that somebody else has, and are told who has it.

A closed loop in which each client, with a session of its own, asks again as soon as it was refused. A refusal writes
nothing, but it leaves only after the commit of everything it was computed from.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct

from bench import processes
from bench.cores import Cores, choose_cores, on_core
from bench.latencies import Latencies
from bench.loops import closed_loop
from bench.machine import describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.place import Transport, temporary_place
from bench.processes import ProcessFailedError
from bench.report import Report
from tenure.contract.errors import RoleConflictError
from tenure.sdk import ServiceClient

_RESOURCE: Final = "held"
_WARM_UP_PART: Final = 10


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    rounds: int
    clients: int
    operations: int
    """Refusals a round."""
    transport: Transport
    cores: Cores


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(
        rounds=1 if is_quick else 5,
        clients=4 if is_quick else 64,
        operations=100 if is_quick else 10_000,
        transport=Transport.IPC,
        cores=choose_cores(pin=True),
    )


def reject(
    *,
    clients: Annotated[int, typer.Option(min=1, max=1_000, help="Who asks for it, each with a session.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="How often they begin anew.")] = 5,
    operations: Annotated[int, typer.Option(min=10, help="Refusals a round.")] = 10_000,
    transport: Annotated[Transport, typer.Option(help="How the clients reach the broker.")] = Transport.IPC,
    pin: Pin = True,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """Claims of a role that is held: many clients, all refused."""
    chosen = Plan(
        rounds=rounds,
        clients=clients,
        operations=operations,
        transport=transport,
        cores=choose_cores(pin=pin),
    )
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: The broker did not start or end.
        ExceptionGroup: A request failed otherwise than by its refusal.
        OSError: The directory cannot be written.
    """
    latencies = Latencies(f"{plan.clients} clients")
    with temporary_place(directory, plan.transport) as place:
        machine = describe_machine(place.data)
        with (
            on_core(plan.cores.broker),
            processes.serving(place, log_level="error") as broker,
            on_core(plan.cores.load),
        ):
            for _ in range(plan.rounds):
                asyncio.run(_measure(plan, broker.endpoint, latencies))
    return Report(
        bench="reject",
        title="a claim of a role that is held, refused",
        machine=machine,
        settings={
            "transport": str(plan.transport),
            "cores": str(plan.cores),
            "rounds": str(plan.rounds),
            "log": "errors alone: otherwise the broker writes a line about each refusal",
        },
        measured=(latencies.summary(),),
    )


async def _measure(plan: Plan, endpoint: str, latencies: Latencies) -> None:
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(ServiceClient(endpoint))
        await holder.register("bench", instance_id="holder", resource_id=_RESOURCE, role="active")
        clients = [await stack.enter_async_context(ServiceClient(endpoint)) for _ in range(plan.clients)]
        numbers = count()

        async def be_refused() -> None:
            number = next(numbers) % plan.clients
            try:
                await clients[number].register(
                    "bench", instance_id=f"client-{number}", resource_id=_RESOURCE, role="active"
                )
            except RoleConflictError:
                return
            raise ProcessFailedError("a claim of a role that is held was granted")

        await closed_loop(be_refused, plan.clients, max(plan.clients, plan.operations // _WARM_UP_PART))
        taken = await closed_loop(be_refused, plan.clients, plan.operations)
        latencies.add_round(taken.latencies_ns, taken.elapsed_ns)
