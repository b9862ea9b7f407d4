"""How the broker's costs grow: with the number of sessions that send heartbeats, and with that of registrations.

Sessions: the processor time that so many sessions at rest cost, and how soon their heartbeats are answered.
Registrations: the latency of a claim beside so many, the memory each takes, how long the broker takes to start with
them, and what it uses at rest. There is one broker for each number, filled through the protocol, and claims take turns
on all of them, round by round, so that their ratios are those of one time on one machine.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec import Struct, structs

from bench import processes
from bench.claim import fresh_claims
from bench.cores import Cores, choose_cores, on_core
from bench.growth import IN_FLIGHT, AtRest, Filled, load_name, report
from bench.latencies import Latencies
from bench.loops import closed_loop
from bench.machine import describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, Pin, finish
from bench.place import Transport, temporary_place
from bench.processes import ProcessFailedError, Serving
from bench.report import Report
from bench.talking import Talking
from bench.usage import cpu_s, rss_bytes, stored_bytes
from bench.wire import PER_SESSION, fill
from tenure.broker.descriptors import raise_file_limit
from tenure.contract.limits import LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN

SESSIONS: Final = (1_000, 2_500, 5_000, 10_000)
LEASES_MS: Final = (LEASE_MS_DEFAULT, 30_000)
REGISTRATIONS: Final = (10_000, 100_000, 1_000_000)

_SEQUENTIAL_PART: Final = 4
_WARM_UP_PART: Final = 10
_SPARE_DESCRIPTORS: Final = 1_000  # of a broker and of a fleet: for everything that is no session
_ROOMY: Final = (sys.executable, "-m", "bench.roomy")
_SETTLE_S: Final = 1.0
_OPENING_S: Final = 300.0


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    sessions: Sequence[int]
    registrations: Sequence[int]
    leases_ms: Sequence[int]
    """Of the sessions at rest, one after the other."""
    rest_s: float
    """How long the broker's processor time is looked at."""
    rounds: int
    claims: int
    """Each round, with many in flight; one after the other it is a part of it."""
    cores: Cores


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    cores = choose_cores(pin=True)
    if is_quick:
        return Plan(
            sessions=(10, 20),
            registrations=(100, 1_000),
            leases_ms=LEASES_MS,
            rest_s=1.0,
            rounds=1,
            claims=100,
            cores=cores,
        )
    return Plan(
        sessions=SESSIONS,
        registrations=REGISTRATIONS,
        leases_ms=LEASES_MS,
        rest_s=10.0,
        rounds=5,
        claims=2_000,
        cores=cores,
    )


def scale(
    *,
    sessions: Annotated[list[int] | None, typer.Option(min=0, help="By default up to 10,000; 0 for none.")] = None,
    registrations: Annotated[
        list[int] | None, typer.Option(min=0, help="By default 10,000 to 1,000,000; 0 for none.")
    ] = None,
    lease_ms: Annotated[
        list[int] | None,
        typer.Option(min=LEASE_MS_MIN, max=LEASE_MS_MAX, help="Of the sessions; by default 2,000 and 30,000."),
    ] = None,
    rest_s: Annotated[float, typer.Option(min=0.1, help="How long processor time is looked at.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often the claims take turns.")] = 5,
    claims: Annotated[int, typer.Option(min=20, max=9_000, help="Claims of a round in flight.")] = 2_000,
    pin: Pin = True,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """How the broker's costs grow with sessions and with registrations."""
    chosen = Plan(
        sessions=SESSIONS if sessions is None else sorted(number for number in sessions if number),
        registrations=REGISTRATIONS if registrations is None else sorted(number for number in registrations if number),
        leases_ms=lease_ms or LEASES_MS,
        rest_s=rest_s,
        rounds=rounds,
        claims=claims,
        cores=choose_cores(pin=pin),
    )
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A process did not start or end, or there are too few descriptors for so many sessions.
        TenureError: The broker refused a registration.
        OSError: The directory cannot be written.
    """
    machine = describe_machine(directory)
    at_rest = [_rest(plan, directory, sessions, lease_ms) for lease_ms in plan.leases_ms for sessions in plan.sessions]
    settings = {
        "sessions": "one registration each, many connections on each socket",
        "registrations": f"active ones, {PER_SESSION:,} in a session",
        "cores": str(plan.cores),
        "rounds": str(plan.rounds),
    }
    return report(settings, machine, at_rest, _fill_all(plan, directory))


# --- sessions ---------------------------------------------------------------------------------------------------------


def _rest(plan: Plan, directory: Path, sessions: int, lease_ms: int) -> AtRest:
    """So many sessions that do nothing but to send heartbeats."""
    file_limit = raise_file_limit()
    if sessions + _SPARE_DESCRIPTORS > file_limit:
        raise ProcessFailedError(
            f"{sessions} sessions need {sessions + _SPARE_DESCRIPTORS} descriptors and the limit is {file_limit}; "
            "raise it (`ulimit -Hn`), or measure fewer with --sessions"
        )
    # A quarter of all connections is kept for ipc.
    limits = {"sessions_max": sessions + 10, "connections_max": (sessions + 100) * 4 // 3}
    with (
        temporary_place(directory, Transport.TCP) as place,
        on_core(plan.cores.broker),
        processes.serving(place, limits=limits, serve=_ROOMY) as broker,
        on_core(plan.cores.load),
        Talking([sys.executable, "-m", "bench.fleet", broker.endpoint, str(sessions), str(lease_ms)]) as fleet,
    ):
        opened = int(fleet.words("ready", _OPENING_S)[0])
        time.sleep(_SETTLE_S)
        fleet.send(signal.SIGUSR1)
        fleet.words("window")
        began_s = time.monotonic()
        cpu_percent = _cpu_percent(broker.pid, plan.rest_s)
        spent_s = time.monotonic() - began_s
        fleet.send(signal.SIGUSR1)
        sent, answered, unconfirmed, p50_ms, p99_ms, max_ms = fleet.words("window")
    return AtRest(
        sessions=sessions,
        lease_ms=lease_ms,
        opened=opened,
        cpu_percent=cpu_percent,
        sent_a_second=int(sent) / spent_s,
        answered_a_second=int(answered) / spent_s,
        unconfirmed_a_second=int(unconfirmed) / spent_s,
        p50_ms=float(p50_ms),
        p99_ms=float(p99_ms),
        max_ms=float(max_ms),
    )


# --- registrations ----------------------------------------------------------------------------------------------------


def _fill_all(plan: Plan, directory: Path) -> list[Filled]:
    """A broker for each number of registrations; all of them run while claims take turns."""
    with ExitStack() as stack:
        filled: list[Filled] = []
        brokers: list[tuple[Serving, dict[int, Latencies]]] = []
        for registrations in plan.registrations:
            place = stack.enter_context(temporary_place(directory, Transport.IPC))
            with on_core(plan.cores.broker):
                broker = stack.enter_context(processes.serving(place))
            filled.append(_fill(plan, broker, registrations))
            brokers.append((broker, {workers: Latencies(load_name(workers, registrations)) for workers in IN_FLIGHT}))
        with on_core(plan.cores.load):
            for _ in range(plan.rounds):
                for broker, loads in brokers:
                    asyncio.run(_claim(plan, broker.endpoint, loads))
        return [
            structs.replace(one, claims=[latencies.summary() for latencies in loads.values()])
            for one, (_, loads) in zip(filled, brokers, strict=True)
        ]


def _fill(plan: Plan, broker: Serving, registrations: int) -> Filled:
    """Fill a broker, start it again, and look at it at rest."""
    empty_bytes = rss_bytes(broker.pid)
    began_s = time.monotonic()
    with on_core(plan.cores.load):
        fill(broker.endpoint, range(registrations))
    filling_s = time.monotonic() - began_s
    full_bytes = rss_bytes(broker.pid)
    broker.stop()
    on_disk_bytes = stored_bytes(broker.data)
    with on_core(plan.cores.broker):
        start_s = broker.start()
    loaded_bytes = rss_bytes(broker.pid)
    time.sleep(_SETTLE_S)
    return Filled(
        registrations=registrations,
        memory_bytes=(full_bytes - empty_bytes) / registrations,
        loaded_bytes=(loaded_bytes - empty_bytes) / registrations,
        stored_bytes=on_disk_bytes / registrations,
        fill_a_second=registrations / filling_s,
        start_s=start_s,
        rest_cpu_percent=_cpu_percent(broker.pid, plan.rest_s),
    )


async def _claim(plan: Plan, endpoint: str, loads: Mapping[int, Latencies]) -> None:
    """One round of claims, under each load."""
    for workers, latencies in loads.items():
        operations = plan.claims if workers > 1 else max(1, plan.claims // _SEQUENTIAL_PART)
        warm_up = max(workers, operations // _WARM_UP_PART)
        async with fresh_claims(endpoint, operations + warm_up) as one_claim:
            await closed_loop(one_claim, workers, warm_up)
            taken = await closed_loop(one_claim, workers, operations)
        latencies.add_round(taken.latencies_ns, taken.elapsed_ns)


def _cpu_percent(pid: int, seconds: float) -> float:
    """How much of one core a process uses, over the next seconds."""
    began_s, began_cpu_s = time.monotonic(), cpu_s(pid)
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - began_cpu_s) / (time.monotonic() - began_s)
