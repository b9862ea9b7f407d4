"""How the broker's costs grow: with the number of sessions that send heartbeats, and with that of registrations.

Sessions: the processor time that so many sessions at rest cost, and how soon their heartbeats are answered.
Registrations: the latency of a claim beside so many, the memory each takes, how long the broker takes to start with
them, and what it uses at rest. There is one broker for each number, filled through the protocol, and claims take turns
on all of them, round by round, so that their ratios are those of one time on one machine.
"""

from __future__ import annotations

import asyncio
import os
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
from bench.latencies import Latencies, Summary
from bench.loops import closed_loop
from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, finish
from bench.place import Transport, temporary_place
from bench.processes import ProcessFailedError, Serving
from bench.report import Curve, Report, Target
from bench.talking import Talking
from bench.usage import cpu_s, rss_bytes, stored_bytes
from bench.wire import PER_SESSION, fill
from tenure.broker.descriptors import raise_file_limit
from tenure.contract.limits import LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN

SESSIONS: Final = (1_000, 2_500, 5_000, 10_000)
LEASES_MS: Final = (LEASE_MS_DEFAULT, 30_000)
REGISTRATIONS: Final = (10_000, 100_000, 1_000_000)

CLAIM_RATIO: Final = 1.5
"""How many times as long the p99 of a claim may be beside the most registrations as beside the fewest."""
BYTES_A_REGISTRATION: Final = 1_000.0
LOADED_WITH: Final = 100_000
LOADED_S: Final = 1.5
"""How long a broker with so many registrations may take from its start until it takes requests."""
SESSIONS_AT_REST: Final = 10_000
REST_CPU_PERCENT: Final = 25.0
"""How much of a core so many sessions may cost at rest."""

_IN_FLIGHT: Final = (1, 64)
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


class AtRest(Struct, frozen=True, kw_only=True):
    """What so many sessions came to."""

    sessions: int
    lease_ms: int
    opened: int
    """How many there were: fewer if the broker fell so far behind that it took no more."""
    cpu_percent: float
    """Of one core."""
    sent_a_second: float
    answered_a_second: float
    unconfirmed: int
    """Heartbeats whose answer did not confirm the role: its session was lost, by a broker that fell behind."""
    p50_ms: float
    p99_ms: float
    max_ms: float


class Filled(Struct, frozen=True, kw_only=True):
    """What so many registrations came to; bytes are each registration's."""

    registrations: int
    memory_bytes: float
    """After they were registered."""
    loaded_bytes: float
    """After a start that read them from the store."""
    stored_bytes: float
    fill_a_second: float
    start_s: float
    rest_cpu_percent: float
    claims: Sequence[Summary] = ()


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    cores = choose_cores(os.sched_getaffinity(0), pin=True)
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
    pin: Annotated[bool, typer.Option(help="Give broker and load a core each, if there are two.")] = True,
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
        cores=choose_cores(os.sched_getaffinity(0), pin=pin),
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
    return report(plan, machine, at_rest, _fill_all(plan, directory))


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
        unconfirmed=int(unconfirmed),
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
            brokers.append((broker, {workers: Latencies(load_name(workers, registrations)) for workers in _IN_FLIGHT}))
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


# --- the report -------------------------------------------------------------------------------------------------------


def load_name(workers: int, registrations: int) -> str:
    """How claims beside so many registrations are called."""
    load = "one after the other" if workers == 1 else f"{workers} in flight"
    return f"{load}, {registrations:,} there"


def report(plan: Plan, machine: Machine, at_rest: Sequence[AtRest], filled: Sequence[Filled]) -> Report:
    """What all of it came to."""
    return Report(
        bench="scale",
        title="how costs grow with sessions and registrations",
        machine=machine,
        settings={
            "sessions": "one registration each, many connections on each socket",
            "registrations": f"active ones, {PER_SESSION:,} in a session",
            "cores": str(plan.cores),
            "rounds": str(plan.rounds),
        },
        measured=[claims for one in filled for claims in one.claims],
        curves=[*_session_curves(at_rest), *_registration_curves(filled)],
        ratios=_ratios(at_rest),
        targets=targets(at_rest, filled),
    )


def targets(at_rest: Sequence[AtRest], filled: Sequence[Filled]) -> list[Target]:
    """Where the costs must get to, of those that were measured."""
    found = [
        Target(name=f"{_name(one)}, at rest", value=one.cpu_percent, bound=REST_CPU_PERCENT, unit="% of a core")
        for one in at_rest
        if one.sessions == SESSIONS_AT_REST
    ]
    if len(filled) > 1:
        fewest, most = filled[0], filled[-1]
        found += [
            Target(
                name=f"p99 of {many.name} / p99 of {few.name}",
                value=many.p99_ms / few.p99_ms,
                bound=CLAIM_RATIO,
                unit="",
            )
            for few, many in zip(fewest.claims, most.claims, strict=True)
        ]
    for one in filled:
        if one.registrations >= LOADED_WITH:  # beside fewer, the broker's own memory moves more than theirs
            found.append(
                Target(
                    name=f"memory of each of {one.registrations:,} registrations",
                    value=max(one.memory_bytes, one.loaded_bytes),
                    bound=BYTES_A_REGISTRATION,
                    unit="bytes",
                )
            )
        if one.registrations == LOADED_WITH:
            found.append(
                Target(
                    name=f"start of a broker with {one.registrations:,} registrations",
                    value=one.start_s,
                    bound=LOADED_S,
                    unit="s",
                )
            )
    return found


def _name(one: AtRest) -> str:
    return f"{one.sessions:,} sessions, a lease of {one.lease_ms:,} ms"


def _ratios(at_rest: Sequence[AtRest]) -> dict[str, float]:
    ratios: dict[str, float] = {}
    for one in at_rest:
        if one.opened < one.sessions:
            ratios[f"{_name(one)}: taken before the broker fell behind"] = one.opened
        ratios[f"{_name(one)}: heartbeats sent a second"] = round(one.sent_a_second)
        ratios[f"{_name(one)}: heartbeats answered a second"] = round(one.answered_a_second)
        ratios[f"{_name(one)}: answers that did not confirm the role"] = one.unconfirmed
    return ratios


def _session_curves(at_rest: Sequence[AtRest]) -> list[Curve]:
    x = "sessions at rest"
    curves: list[Curve] = []
    for lease_ms in dict.fromkeys(one.lease_ms for one in at_rest):
        of_lease = [one for one in at_rest if one.lease_ms == lease_ms]
        for name, y, values in (
            ("the broker", "% of one core", [one.cpu_percent for one in of_lease]),
            ("p50", "a heartbeat's answer, ms", [one.p50_ms for one in of_lease]),
            ("p99", "a heartbeat's answer, ms", [one.p99_ms for one in of_lease]),
        ):
            points = [(one.sessions, round(value, 3)) for one, value in zip(of_lease, values, strict=True)]
            curves.append(Curve(name=f"{name}, lease {lease_ms:,} ms", x=x, y=y, points=points))
    return curves


def _registration_curves(filled: Sequence[Filled]) -> list[Curve]:
    x = "registrations"
    curves = [
        Curve(
            name=f"p99, {'one after the other' if workers == 1 else f'{workers} in flight'}",
            x=x,
            y="a claim, ms",
            points=[(one.registrations, one.claims[index].p99_ms) for one in filled],
        )
        for index, workers in enumerate(_IN_FLIGHT)
    ]
    for name, y, values in (
        ("in memory, registered", "bytes a registration", [one.memory_bytes for one in filled]),
        ("in memory, loaded", "bytes a registration", [one.loaded_bytes for one in filled]),
        ("on disk, with events", "bytes a registration", [one.stored_bytes for one in filled]),
        ("start", "seconds", [one.start_s for one in filled]),
        ("registered, 1,000 a request", "a second", [one.fill_a_second for one in filled]),
        ("the broker at rest", "% of one core", [one.rest_cpu_percent for one in filled]),
    ):
        points = [(one.registrations, round(value, 3)) for one, value in zip(filled, values, strict=True)]
        curves.append(Curve(name=name, x=x, y=y, points=points))
    return curves if filled else []
