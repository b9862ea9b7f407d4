"""For minutes on end, claims at a fixed rate, each given up again: does anything grow that should not?

Each operation claims the role of a fresh resource and ends the registration; a listener in another process follows. The
broker keeps few events and remembers few resources, so that taking away the oldest is part of it. Memory, files and
latencies are noted every few seconds; memory is flat if its median over the last fifth is hardly more than over the
second fifth, by when caches are full and limits reached.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from array import array
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import typer
from msgspec import Struct

from bench import processes
from bench.cores import Cores, choose_cores, on_core
from bench.latencies import Latencies, Summary
from bench.loops import open_loop
from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.place import Transport, temporary_place
from bench.processes import Serving
from bench.report import Curve, Report, Target
from bench.talking import Talking
from bench.usage import cpu_s, rss_bytes, stored_bytes
from tenure.sdk import ServiceClient

GROWTH_MAX: Final = 1.05
"""How many times as much memory the broker may have at the end as after its first fifth."""
_LIMITS: Final = {"events_kept": 20_000, "abandoned_resources_max": 10_000}  # reached within half a minute
_SERVICE: Final = "bench"


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    seconds: float
    per_second: int
    """Resources claimed, and given up."""
    sample_s: float
    cores: Cores


class Sample(Struct, frozen=True, kw_only=True):
    """How it stood at one time."""

    at_s: float
    """Since the beginning."""
    broker_bytes: int
    client_bytes: int
    files_bytes: int
    cpu_percent: float
    p99_ms: float
    """Of the operations since the sample before."""


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(
        seconds=2.0 if is_quick else 600.0,
        per_second=50 if is_quick else 500,
        sample_s=0.2 if is_quick else 5.0,
        cores=choose_cores(pin=True),
    )


def soak(
    *,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long.")] = 10.0,
    rate: Annotated[int, typer.Option(min=1, help="Resources claimed and given up, a second.")] = 500,
    sample_s: Annotated[float, typer.Option(min=0.05, help="How often it is looked at.")] = 5.0,
    pin: Pin = True,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """The same load for minutes: memory, files and latencies over time."""
    cores = choose_cores(pin=pin)
    chosen = Plan(seconds=minutes * 60, per_second=rate, sample_s=sample_s, cores=cores)
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A process did not start or end.
        ExceptionGroup: A request failed.
        OSError: The directory cannot be written.
    """
    with temporary_place(directory, Transport.IPC) as place:
        machine = describe_machine(place.data)
        with (
            on_core(plan.cores.broker),
            processes.serving(place, limits=_LIMITS) as broker,
            on_core(plan.cores.load),
            Talking([sys.executable, "-m", "bench.hearer", broker.endpoint, "nobody"]) as listener,
        ):
            listener.words("ready")
            samples, latencies = asyncio.run(_measure(plan, broker))
    return report(plan, machine, samples, latencies.summary())


async def _measure(plan: Plan, broker: Serving) -> tuple[list[Sample], Latencies]:
    numbers = count()
    samples: list[Sample] = []
    latencies = Latencies(f"claimed and given up, {plan.per_second:,} a second")
    async with ServiceClient(broker.endpoint) as client:

        async def claim_and_leave() -> None:
            resource_id = f"resource-{next(numbers)}"
            registration = await client.register(_SERVICE, instance_id="soak", resource_id=resource_id, role="active")
            await registration.deregister()

        began_s = time.monotonic()
        operations = max(1, round(plan.per_second * plan.sample_s))
        while time.monotonic() - began_s < plan.seconds:
            before_s, before_cpu_s = time.monotonic(), cpu_s(broker.pid)
            taken = await open_loop(claim_and_leave, plan.per_second, operations)
            latencies.add_round(taken.latencies_ns, taken.elapsed_ns)
            samples.append(_sample(broker, taken.latencies_ns, began_s, before_s, before_cpu_s))
    return samples, latencies


def _sample(broker: Serving, latencies_ns: array[int], began_s: float, before_s: float, before_cpu_s: float) -> Sample:
    now_s = time.monotonic()
    in_order = sorted(latencies_ns)
    return Sample(
        at_s=round(now_s - began_s, 2),
        broker_bytes=rss_bytes(broker.pid),
        client_bytes=rss_bytes(os.getpid()),
        files_bytes=stored_bytes(broker.data),
        cpu_percent=round(100 * (cpu_s(broker.pid) - before_cpu_s) / (now_s - before_s), 1),
        p99_ms=in_order[int(0.99 * (len(in_order) - 1))] / 1e6,
    )


def report(plan: Plan, machine: Machine, samples: Sequence[Sample], summary: Summary) -> Report:
    """What it came to."""
    return Report(
        bench="soak",
        title="the same load for minutes",
        machine=machine,
        settings={
            "time": f"{samples[-1].at_s:,.0f} s, looked at {len(samples):,} times",
            **{name: f"{limit:,}" for name, limit in _LIMITS.items()},
            "cores": str(plan.cores),
        },
        measured=(summary,),
        curves=[
            Curve(name=name, x="seconds", y=y, points=[(one.at_s, round(value, 3)) for one, value in values])
            for name, y, values in (
                ("the broker", "memory, MB", [(one, one.broker_bytes / 1e6) for one in samples]),
                ("the client, with its records", "memory, MB", [(one, one.client_bytes / 1e6) for one in samples]),
                ("the store's files", "on disk, MB", [(one, one.files_bytes / 1e6) for one in samples]),
                ("p99 of each interval", "claimed and given up, ms", [(one, one.p99_ms) for one in samples]),
                ("the broker", "% of one core", [(one, one.cpu_percent) for one in samples]),
            )
        ],
        targets=targets([one.broker_bytes for one in samples]),
    )


def targets(broker_bytes: Sequence[int]) -> list[Target]:
    """Whether the memory stayed flat; nothing is said of so few samples that they have no fifths."""
    fifth = len(broker_bytes) // 5
    if not fifth:
        return []
    growth = median(broker_bytes[-fifth:]) / median(broker_bytes[fifth : 2 * fifth])
    name = "memory of the broker, last fifth / second fifth"
    return [Target(name=name, value=round(growth, 4), bound=GROWTH_MAX, unit="")]
