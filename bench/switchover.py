"""Switchovers under load: for how long nobody is active, and whether a queue of work items comes through it unharmed.

Two workers take turns on a queue while other clients keep the broker busy. The worker that is asked to step down
finishes the item it has in hand; the next one goes on with the queue. The gap is told twice: by the broker, in whole
milliseconds, and by the ledger, from the last acknowledgement under one epoch to the first item taken under the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from array import array
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from time import monotonic
from typing import Annotated, Final

import typer
from msgspec import Struct

from bench import processes
from bench.items import Items
from bench.latencies import Latencies, Summary
from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, finish
from bench.place import Place, Transport, temporary_place
from bench.processes import ProcessFailedError
from bench.report import Report
from bench.talking import Talking
from bench.worker import RESOURCE
from tenure.contract.errors import NotFoundError, SwitchoverFailedError
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk import queries
from tenure.sdk.reader import Reader
from tenure.sdk.switchover import SwitchoverResult, switchover

_WORKERS: Final = ("one", "two")
_LEASE_MS: Final = 5_000  # longer than a busy machine's worst pause: what is measured is the planned move alone
_LOOK_AGAIN_S: Final = 0.005
_PATIENCE_S: Final = 30.0
_SETTLE_S: Final = (0.02, 0.1)
_RANDOM: Final = random.Random(1)  # noqa: S311  (when in an item's time the ask comes: it is no secret)


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    count: int
    drain_ms: int
    item_ms: float
    in_flight: int
    transport: Transport


class Outcome(Struct, frozen=True, kw_only=True):
    """What a run came to."""

    items: Items
    results: Sequence[SwitchoverResult]
    failures: Sequence[str]
    """Switchovers that did not move the role, each with why."""
    acknowledged: int
    """How many items were acknowledged, as the workers count."""
    load_steps: int
    """How many commits the load asked for."""


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(count=2 if is_quick else 100, drain_ms=1_000, item_ms=5.0, in_flight=8, transport=Transport.IPC)


def switchovers(
    *,
    count: Annotated[int, typer.Option(min=1, help="How many switchovers.")] = 100,
    drain_ms: Annotated[int, typer.Option(min=0, help="How long a worker may take to finish its item.")] = 1_000,
    item_ms: Annotated[float, typer.Option(min=0, help="How long an item takes.")] = 5.0,
    in_flight: Annotated[int, typer.Option(min=0, help="Requests of other clients in flight meanwhile.")] = 8,
    transport: Annotated[Transport, typer.Option(help="How the workers reach the broker.")] = Transport.IPC,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """Planned moves under load: the gap, and a queue of work items that comes through unharmed."""
    chosen = Plan(count=count, drain_ms=drain_ms, item_ms=item_ms, in_flight=in_flight, transport=transport)
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A process did not start.
        TenureError: The broker did not answer.
        OSError: The directory cannot be written.
    """
    with temporary_place(directory, plan.transport) as place:
        machine = describe_machine(place.data)
        with processes.broker(place) as endpoint:
            outcome = asyncio.run(_measure(plan, place, endpoint))
    return report(plan, machine, outcome)


def report(plan: Plan, machine: Machine, outcome: Outcome) -> Report:
    """What a run came to, with everything that must not happen."""
    by_broker = array("q", (result.gap_ms * 1_000_000 for result in outcome.results if result.gap_ms is not None))
    durations = array("q", (result.duration_ms * 1_000_000 for result in outcome.results))
    measured = (
        ("gap, by the ledger", array("q", outcome.items.gaps_ns())),
        ("gap, by the broker", by_broker),
        ("from the request to its outcome", durations),
    )
    unplanned = sum(result.end_reason is not ChangeReason.SWITCHOVER for result in outcome.results)
    return Report(
        bench="switchover",
        title="switchovers under load",
        machine=machine,
        settings={
            "drain": f"{plan.drain_ms} ms",
            "an item": f"{plan.item_ms:g} ms",
            "load": f"{plan.in_flight} in flight, {outcome.load_steps:,} commits asked for",
            "transport": str(plan.transport),
        },
        measured=tuple(_summary(name, taken_ns) for name, taken_ns in measured if taken_ns),
        ratios={
            "items acknowledged": len(outcome.items.done),
            "items in hand that were handed over": sum(stint.handed_over for stint in outcome.items.stints),
            "tenures that ended otherwise than by stepping down as asked": unplanned,
        },
        violations=tuple(violations(outcome)),
    )


def violations(outcome: Outcome) -> list[str]:
    """Everything that must not happen: two at work, an item done twice, lost, or acknowledged and then forgotten."""
    found = [*outcome.items.violations, *outcome.failures]
    lost = outcome.items.lost()
    if lost:
        found.append(f"{len(lost)} items were taken and never acknowledged, the first of them {lost[0]}")
    in_ledger = len(outcome.items.done)
    if not outcome.acknowledged <= in_ledger <= outcome.acknowledged + len(_WORKERS):  # each may be ended in a question
        found.append(f"the workers count {outcome.acknowledged} items as acknowledged, the ledger {in_ledger}")
    return found


async def _measure(plan: Plan, place: Place, endpoint: str) -> Outcome:
    items = Items()
    queue = place.socket_path()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(await asyncio.start_unix_server(_Counter(items).serve, queue))
        reader = await stack.enter_async_context(Reader(endpoint))
        with ExitStack() as running:
            arguments = [str(plan.item_ms), str(_LEASE_MS)]
            workers = [
                running.enter_context(
                    Talking([sys.executable, "-m", "bench.worker", endpoint, name, queue, *arguments])
                )
                for name in _WORKERS
            ]
            await _until_two_are_ready(reader)
            load = running.enter_context(Talking([sys.executable, "-m", "bench.loader", endpoint, str(plan.in_flight)]))
            await asyncio.to_thread(load.words, "ready")
            results, failures = await _move_often(reader, plan)
            await _until_two_are_ready(reader)
            for process in (*workers, load):
                process.send(signal.SIGTERM)
            acknowledged = sum([int((await asyncio.to_thread(one.words, "acknowledged"))[0]) for one in workers])
            load_steps = int((await asyncio.to_thread(load.words, "made"))[0])
    return Outcome(items=items, results=results, failures=failures, acknowledged=acknowledged, load_steps=load_steps)


async def _move_often(reader: Reader, plan: Plan) -> tuple[list[SwitchoverResult], list[str]]:
    results: list[SwitchoverResult] = []
    failures: list[str] = []
    for number in range(1, plan.count + 1):
        await asyncio.sleep(_RANDOM.uniform(*_SETTLE_S))
        standby = await _until_two_are_ready(reader)
        try:
            results.append(await switchover(reader, RESOURCE, to=standby, drain_ms=plan.drain_ms, by="bench"))
        except SwitchoverFailedError as failed:
            failures.append(f"switchover {number}: {failed}")
    return results, failures


async def _until_two_are_ready(reader: Reader) -> str:
    """Wait until one worker is active and the other could take over; the other's name.

    Raises:
        ProcessFailedError: It was not so for a long time.
    """
    ends_at = monotonic() + _PATIENCE_S
    while monotonic() < ends_at:
        with contextlib.suppress(NotFoundError):
            view = await queries.resource(reader, RESOURCE)
            ready = [
                one for one in view.standbys if one.status.may_be_promoted and one.declined_epoch != view.last_epoch
            ]
            if view.active is not None and ready:
                return ready[0].instance_id
        await asyncio.sleep(_LOOK_AGAIN_S)
    raise ProcessFailedError("the workers were not one active and one standing by in time; their messages say why")


class _Counter:
    """Where workers take items and acknowledge them: one line each way."""

    def __init__(self, items: Items) -> None:
        self._items = items

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one worker, who says its name first, until it leaves."""
        worker = (await reader.readline()).decode().strip()
        while line := (await reader.readline()).decode().split():
            number, *question = line
            writer.write(f"{number} {self._answer(worker, question)}\n".encode())
        writer.close()

    def _answer(self, worker: str, question: list[str]) -> str:
        match question:
            case ["take", epoch, at_ns]:
                return str(self._items.take(worker, int(epoch), int(at_ns)))
            case ["done", epoch, item, at_ns]:
                return "ok" if self._items.acknowledge(worker, int(epoch), int(item), int(at_ns)) else "late"
            case _:
                raise ValueError(f"a worker said {question}")


def _summary(name: str, taken_ns: array[int]) -> Summary:
    latencies = Latencies(name)
    latencies.add_round(taken_ns, max(1, sum(taken_ns)))
    return latencies.summary()
