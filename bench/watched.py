"""People look on: how soon the page is there and says what is new, and whether the broker is any slower for it.

5,000 resources with three instances each. The same load is put on the broker in turns: with no admin, with an admin
that nobody asks, and with ten pages and a scraper on it. Chromium, which belongs on other machines, runs only while the
page itself is measured; the ten pages are what a server knows of them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from enum import StrEnum
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from msgspec import Struct

from bench import processes
from bench.cores import Cores, choose_cores, on_core
from bench.latencies import Latencies
from bench.loops import open_loop
from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.place import Place, Transport, temporary_place
from bench.processes import ProcessFailedError
from bench.report import Report, Target
from bench.talking import Talking
from bench.usage import rss_bytes
from tenure.sdk import Registration, ServiceClient

UPDATE_LIMIT_MS: Final = 500.0
"""What may pass until a page that is open shows that a role has moved."""
SLOWER_MAX: Final = 1.25
"""How many times as long a request may take at the 99th percentile while people look on: more is no noise."""
_INSTANCES: Final = 3
_WATCHED: Final = "watched"
_SERVICE: Final = "bench"
_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.05


class Looking(StrEnum):
    """Who looks on while the broker has its load."""

    NOBODY = "no admin"
    ADMIN = "an admin that nobody asks"
    PEOPLE = "pages and a scraper"


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    resources: int
    pages: int
    loads: int
    """How often the page is opened."""
    moves: int
    """How often a role moves before somebody's eyes."""
    rounds: int
    per_second: int
    """Resources claimed and given up."""
    seconds: float
    """How long the load lasts, in each turn."""
    cores: Cores


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(
        resources=50 if is_quick else 5_000,
        pages=2 if is_quick else 10,
        loads=1 if is_quick else 20,
        moves=2 if is_quick else 100,
        rounds=1 if is_quick else 5,
        per_second=50 if is_quick else 500,
        seconds=0.5 if is_quick else 10.0,
        cores=choose_cores(pin=True),
    )


def watched(
    *,
    resources: Annotated[int, typer.Option(min=1, max=10_000, help="Each has three instances.")] = 5_000,
    pages: Annotated[int, typer.Option(min=1, max=100, help="How many are open beside the load.")] = 10,
    loads: Annotated[int, typer.Option(min=1, help="How often the page is opened in Chromium.")] = 20,
    moves: Annotated[int, typer.Option(min=1, help="How often a role moves before its eyes.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="How often the loads take turns.")] = 5,
    rate: Annotated[int, typer.Option(min=1, help="Resources claimed and given up, a second.")] = 500,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long, each turn.")] = 10.0,
    pin: Pin = True,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """The page with 5,000 resources of three instances each, and the broker with and without people at it."""
    chosen = Plan(
        resources=resources,
        pages=pages,
        loads=loads,
        moves=moves,
        rounds=rounds,
        per_second=rate,
        seconds=seconds,
        cores=choose_cores(pin=pin),
    )
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


class Found(Struct):
    """What was measured."""

    loads: Latencies
    updates: Latencies
    requests: dict[Looking, Latencies]
    admin_bytes: dict[Looking, int]
    """The admin's memory, at most."""


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A process did not start or end, or there is no Chromium.
        ExceptionGroup: A request failed.
        OSError: The directory cannot be written.
    """
    found = Found(
        loads=Latencies("the page is there"),
        updates=Latencies("a move is seen on it"),
        requests={looking: Latencies(looking) for looking in Looking},
        admin_bytes={},
    )
    with temporary_place(directory, Transport.IPC) as place, ExitStack() as crowds:
        machine = describe_machine(place.data)
        with (
            on_core(plan.cores.broker),
            processes.serving(place) as broker,
            on_core(plan.cores.load),
        ):
            for number in range(_INSTANCES):
                command = [sys.executable, "-m", "bench.crowd", broker.endpoint, f"instance-{number}"]
                crowd = crowds.enter_context(Talking([*command, str(plan.resources - 1)]))
                crowd.words("ready", _PATIENCE_S)
            with _admin(place, broker.endpoint) as (_, url):
                asyncio.run(_look(plan, broker.endpoint, url, found))
            for number in range(plan.rounds * len(Looking)):
                looking = list(Looking)[number % len(Looking)]
                _take_turn(plan, place, broker.endpoint, looking, found)
    return report(plan, machine, found)


def _take_turn(plan: Plan, place: Place, endpoint: str, looking: Looking, found: Found) -> None:
    """Put the load on the broker once, with these people looking on."""
    with ExitStack() as people:
        admin: Talking | None = None
        if looking is not Looking.NOBODY:
            admin, url = people.enter_context(_admin(place, endpoint))
            if looking is Looking.PEOPLE:
                command = [sys.executable, "-m", "bench.audience", url, str(plan.pages)]
                people.enter_context(Talking(command)).words("ready", _PATIENCE_S)
        taken = asyncio.run(_load(plan, endpoint))
        found.requests[looking].add_round(*taken)
        if admin is not None:
            found.admin_bytes[looking] = max(found.admin_bytes.get(looking, 0), rss_bytes(admin.pid))


async def _look(plan: Plan, endpoint: str, url: str, found: Found) -> None:
    """Open the page again and again, and watch one role on it move."""
    from bench import browser  # noqa: PLC0415  (it is large, and the collector would walk through it in every bench)

    async with _contenders(endpoint) as contenders, browser.chromium() as chromium:
        for _ in range(plan.loads):
            taken_ns = await browser.load_ns(chromium, url, plan.resources)
            found.loads.add_round(array("q", [taken_ns]), taken_ns)
        watch = await browser.Watch.open(chromium, url, plan.resources, _WATCHED)
        for number in range(plan.moves):
            leaving, coming = contenders[number % _INSTANCES], contenders[(number + 1) % _INSTANCES]
            await watch.expect(coming.instance_id)
            began_ns = time.time_ns()
            await leaving.resign()
            taken_ns = await watch.named_ns(coming.instance_id) - began_ns
            found.updates.add_round(array("q", [taken_ns]), taken_ns)


@asynccontextmanager
async def _contenders(endpoint: str) -> AsyncGenerator[list[Registration]]:
    """Three instances of the resource that is watched, the first of them active, the others next in their order."""
    async with AsyncExitStack() as clients:
        yield [
            await (await clients.enter_async_context(ServiceClient(endpoint))).register(
                _SERVICE, instance_id=f"watched-{number}", resource_id=_WATCHED, role="active", on_conflict="standby"
            )
            for number in range(_INSTANCES)
        ]


async def _load(plan: Plan, endpoint: str) -> tuple[array[int], int]:
    """Claims of fresh resources, each given up again, at a fixed rate; how long each took, and all of them."""
    numbers = count()
    async with ServiceClient(endpoint) as client:

        async def claim_and_leave() -> None:
            resource_id = f"resource-{next(numbers)}"
            registration = await client.register(_SERVICE, instance_id="load", resource_id=resource_id, role="active")
            await registration.deregister()

        await open_loop(claim_and_leave, plan.per_second, plan.per_second)  # until it is warm, which is not counted
        return await open_loop(claim_and_leave, plan.per_second, round(plan.per_second * plan.seconds))


@contextmanager
def _admin(place: Place, endpoint: str) -> Generator[tuple[Talking, str]]:
    """An admin that follows the broker, and where it answers."""
    state = place.data / "admin"
    state.mkdir(exist_ok=True)
    with Talking([sys.executable, "-m", "bench.admin", endpoint, str(state)]) as admin:
        (url,) = admin.words("ready")
        ends_at_s = time.monotonic() + _PATIENCE_S
        while httpx.get(f"{url}health/ready").status_code != HTTPStatus.OK:
            if time.monotonic() > ends_at_s:
                raise ProcessFailedError("the admin does not hear the broker")
            time.sleep(_LOOK_S)
        yield admin, url


def report(plan: Plan, machine: Machine, found: Found) -> Report:
    """What it came to."""
    loads, updates = found.loads.summary(), found.updates.summary()
    requests = {looking: latencies.summary() for looking, latencies in found.requests.items()}
    slower = requests[Looking.PEOPLE].p99_ms / requests[Looking.NOBODY].p99_ms
    return Report(
        bench="watched",
        title="the page, and the broker while people look on",
        machine=machine,
        settings={
            "resources": f"{plan.resources:,}, with {_INSTANCES} instances each",
            "load": f"{plan.per_second:,} resources a second are claimed and given up",
            "pages": f"{plan.pages}, and a scrape a second",
            "cores": str(plan.cores),
        },
        measured=(loads, updates, *requests.values()),
        ratios={f"memory of {looking}, MB": value / 1e6 for looking, value in found.admin_bytes.items()},
        targets=(
            Target(name=f"max of {updates.name}", value=updates.max_ms, bound=UPDATE_LIMIT_MS),
            Target(name=f"p99 with {Looking.PEOPLE} / with {Looking.NOBODY}", value=slower, bound=SLOWER_MAX, unit=""),
        ),
    )
