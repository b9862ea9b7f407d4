"""A process that holds many roles is killed: how long until the last of them has its next active instance.

Another process stands by for all of them; the time runs from just before the signal until `wait_active()` has returned
there for the last one. The next storm takes that one away.
"""

from __future__ import annotations

import signal
import sys
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct

from bench import processes
from bench.contender import now_ns
from bench.cores import Cores, choose_cores, on_core
from bench.latencies import Latencies
from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.place import Transport, temporary_place
from bench.processes import ProcessFailedError
from bench.report import Report, Target
from bench.talking import Talking

LIMIT_MS: Final = 150.0
"""What the last of 1,000 roles may take, in the slowest storm."""
_RESOURCES: Final = 1_000


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    storms: int
    resources: int
    cores: Cores


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(
        storms=1 if is_quick else 20,
        resources=20 if is_quick else _RESOURCES,
        cores=choose_cores(pin=True),
    )


def storm(
    *,
    storms: Annotated[int, typer.Option(min=1, help="How often the holder is killed.")] = 20,
    resources: Annotated[int, typer.Option(min=1, max=10_000, help="How many roles it holds.")] = _RESOURCES,
    pin: Pin = True,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """One process that is active for 1,000 resources dies, and another takes them all over."""
    chosen = Plan(storms=storms, resources=resources, cores=choose_cores(pin=pin))
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A process did not start, or roles were not taken over.
        OSError: The directory cannot be written.
    """
    taken: list[Sequence[int]] = []
    with temporary_place(directory, Transport.IPC) as place, ExitStack() as crowds:
        machine = describe_machine(place.data)
        with on_core(plan.cores.broker), processes.broker(place) as endpoint, on_core(plan.cores.load):

            def crowd(number: int) -> Talking:
                command = [sys.executable, "-m", "bench.crowd", endpoint, f"crowd-{number}", str(plan.resources)]
                process = crowds.enter_context(Talking(command))
                process.words("ready")
                return process

            holder = crowd(0)
            holder.words("all")
            for number in range(1, plan.storms + 1):
                standby = crowd(number)
                killed_ns = now_ns()
                holder.send(signal.SIGKILL)
                active_ns = [int(at_ns) for at_ns in standby.words("all")]
                holder.close()
                holder = standby
                if len(active_ns) != plan.resources or min(active_ns) <= killed_ns:
                    raise ProcessFailedError("a role was taken over before its holder was killed, or not at all")
                taken.append([at_ns - killed_ns for at_ns in active_ns])
            holder.close()
    return report(plan, machine, taken)


def report(plan: Plan, machine: Machine, taken: Sequence[Sequence[int]]) -> Report:
    """What the storms came to: for each, how long each role took in nanoseconds."""
    each, last = Latencies("each role"), Latencies(f"the last of {plan.resources:,} roles")
    for of_storm in taken:
        each.add_round(array("q", of_storm), max(of_storm))
    slowest = array("q", map(max, taken))
    last.add_round(slowest, sum(slowest))
    summary = last.summary()
    return Report(
        bench="storm",
        title="a process that holds many roles is killed: until each has its next active instance",
        machine=machine,
        settings={"storms": str(plan.storms), "roles": f"{plan.resources:,}", "cores": str(plan.cores)},
        measured=(each.summary(), summary),
        targets=(Target(name=f"max of {summary.name}", value=summary.max_ms, bound=LIMIT_MS),),
    )
