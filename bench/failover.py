"""How long a role is without an active instance: from the end of one to the moment `wait_active()` returns in the next.

Real processes contend for one role of a real broker, and the active one is ended again and again: killed where the
kernel tells the broker (ipc), killed where it cannot (tcp), stopped, cut off from the broker, killed together with it,
made to resign, or asked to step down. All times are those of CLOCK_BOOTTIME, noted just before the end by whoever
brings it about, and by the next one when it is active. Where the broker has only silence to go by, the next one must
not have begun before the old one's own deadline. Beside that the broker alone is killed and started again.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import select
import signal
import subprocess
import sys
import time
from array import array
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer
from msgspec import Struct

from bench import processes
from bench.contender import RESOURCE, Belief, now_ns
from bench.floor import sync_ns
from bench.latencies import Latencies
from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, finish
from bench.outages import Outages
from bench.place import Place, Transport, temporary_place
from bench.processes import Serving
from bench.report import Report, Target
from bench.talking import Talking
from tenure.cli.descendants import pidfd_open
from tenure.contract.limits import LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN
from tenure.sdk import queries
from tenure.sdk.reader import Reader
from tenure.sdk.switchover import switchover

LOCAL_LIMIT_MS: Final = 20.0
"""What the 99th percentile has to stay below where the kernel tells the broker of the death."""
SILENCE_LIMIT_MS: Final = 50.0
"""How much longer than the lease the role may be vacant, at most, where the broker has silence to go by."""
_FLOOR_OPERATIONS: Final = 50
_DRAIN_MS: Final = 1_000  # far longer than it takes who has nothing to finish
_RANDOM: Final = random.Random(1)  # noqa: S311  (when in a heartbeat's interval the end comes: it is no secret)


class Ending(StrEnum):
    """How the active one is ended."""

    LOCAL_KILL = "local-kill"
    REMOTE_KILL = "remote-kill"
    STOP = "stop"
    PARTITION = "partition"
    RESIGN = "resign"
    SWITCHOVER = "switchover"
    KILL_WITH_BROKER = "kill-with-broker"

    @property
    def is_silent(self) -> bool:
        """Whether the broker has nothing but silence to go by."""
        return self in {Ending.REMOTE_KILL, Ending.STOP, Ending.PARTITION, Ending.KILL_WITH_BROKER}

    @property
    def transport(self) -> Transport:
        """How the contenders reach the broker: over tcp it learns nothing from the kernel."""
        return Transport.TCP if self in {Ending.REMOTE_KILL, Ending.PARTITION} else Transport.IPC


class Takeover(NamedTuple):
    """One end and what followed it, in nanoseconds of CLOCK_BOOTTIME."""

    ended_ns: int
    """Just before the end."""
    active_ns: int
    """When the next one was active."""
    believed_until_ns: int
    """Until when the old one might have believed in its role, by its own account."""
    believed_at_ns: int
    """When it believed in it last."""

    @property
    def vacant_ns(self) -> int:
        """How long it took."""
        return self.active_ns - self.ended_ns


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    endings: tuple[Ending, ...]
    kills: int
    silences: int
    restarts: int
    """How often the broker alone is killed and started again."""
    lease_ms: int

    def count(self, ending: Ending) -> int:
        """How often the active one is ended so."""
        return self.silences if ending.is_silent else self.kills

    def bound_ms(self, ending: Ending) -> float:
        """How long the role may be vacant at most where the lease has to end first."""
        if ending is Ending.KILL_WITH_BROKER:  # a broker that comes back gives every session a full lease
            return 2 * self.lease_ms
        return self.lease_ms + SILENCE_LIMIT_MS


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    if is_quick:
        return Plan(endings=(Ending.LOCAL_KILL, Ending.SWITCHOVER), kills=1, silences=1, restarts=1, lease_ms=2_000)
    return Plan(endings=tuple(Ending), kills=100, silences=50, restarts=50, lease_ms=LEASE_MS_DEFAULT)


def failover(
    *,
    kind: Annotated[list[Ending] | None, typer.Option(help="How the active one is ended; by default each way.")] = None,
    directory: Directory = A_DISK,
    kills: Annotated[int, typer.Option(min=1, help="How often where the broker learns of it at once.")] = 100,
    silences: Annotated[int, typer.Option(min=1, help="How often where the lease has to end first.")] = 50,
    restarts: Annotated[int, typer.Option(min=0, help="How often the broker alone is killed and started again.")] = 50,
    lease_ms: Annotated[
        int, typer.Option(min=LEASE_MS_MIN, max=LEASE_MS_MAX, help="The contenders' lease.")
    ] = LEASE_MS_DEFAULT,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """From the end of the active instance to the moment the next one is active."""
    endings = tuple(kind or Ending)
    chosen = Plan(endings=endings, kills=kills, silences=silences, restarts=restarts, lease_ms=lease_ms)
    finish(run(chosen, directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report.

    Raises:
        ProcessFailedError: A process did not start, or nobody took over.
        OSError: The directory cannot be written.
    """
    taken: dict[Ending, list[Takeover]] = {}
    for ending in plan.endings:
        with (
            temporary_place(directory, ending.transport) as place,
            processes.serving(place) as broker,
            _Succession(place, broker, ending, plan.lease_ms) as succession,
        ):
            taken[ending] = [succession.end_active() for _ in range(plan.count(ending))]
    outages = Outages(plan.lease_ms)
    if plan.restarts:
        with temporary_place(directory, Transport.IPC) as place:
            outages.measure(place, plan.restarts)
    with temporary_place(directory, Transport.IPC) as place:
        machine = describe_machine(place.data)
        told_ns = array("q", (_told_ns() for _ in range(_FLOOR_OPERATIONS)))
        floor = (
            _latencies("kill -9 until the kernel says so", told_ns),
            _latencies(
                "fdatasync, 4 KiB, file preallocated", sync_ns(place.data, _FLOOR_OPERATIONS, preallocated=True)
            ),
        )
    return report(plan, machine, taken, floor, outages)


def report(
    plan: Plan,
    machine: Machine,
    taken: dict[Ending, list[Takeover]],
    floor: tuple[Latencies, ...],
    outages: Outages,
) -> Report:
    """What all takeovers come to."""
    measured = {
        ending: _latencies(ending, array("q", (one.vacant_ns for one in takeovers))).summary()
        for ending, takeovers in taken.items()
    }
    targets = [
        Target(name=f"p99 of {ending}", value=summary.p99_ms, bound=LOCAL_LIMIT_MS)
        for ending, summary in measured.items()
        if ending is Ending.LOCAL_KILL
    ]
    targets += [
        Target(name=f"max of {ending}", value=summary.max_ms, bound=plan.bound_ms(ending))
        for ending, summary in measured.items()
        if ending.is_silent
    ]
    return Report(
        bench="failover",
        title="from the end of the active one to the next one's wait_active()",
        machine=machine,
        settings={"lease": f"{plan.lease_ms} ms"},
        measured=(*measured.values(), *outages.summaries()),
        floor=tuple(latencies.summary() for latencies in floor),
        ratios={
            f"{ending}: the earliest began so many ms after the old one's own deadline": earliest_ms(takeovers)
            for ending, takeovers in taken.items()
            if ending.is_silent
        }
        | outages.ratios,
        targets=tuple(targets),
        violations=(
            *itertools.chain(*(overlaps(ending, takeovers) for ending, takeovers in taken.items())),
            *outages.violations,
        ),
    )


def overlaps(ending: Ending, takeovers: list[Takeover]) -> list[str]:
    """Every takeover in which the next one began too soon: by what the old one did, or could have, believed."""
    found: list[str] = []
    for number, one in enumerate(takeovers, 1):
        if one.active_ns < one.believed_at_ns:
            early_ms = (one.believed_at_ns - one.active_ns) / 1e6
            found.append(f"{ending} {number}: TWO were active, for at least {early_ms:.3f} ms")
        elif ending.is_silent and one.active_ns < one.believed_until_ns:
            early_ms = (one.believed_until_ns - one.active_ns) / 1e6
            found.append(f"{ending} {number}: the next one began {early_ms:.3f} ms before the old one's own deadline")
    return found


def earliest_ms(takeovers: list[Takeover]) -> float:
    """The shortest time between an old one's own deadline and the beginning of the next one, in milliseconds."""
    return round(min(one.active_ns - one.believed_until_ns for one in takeovers) / 1e6, 3)


class _Contender(NamedTuple):
    process: Talking
    belief: Path
    relay: Talking | None


class _Succession:
    """Contenders for one role, two at a time: whoever is ended is replaced."""

    def __init__(self, place: Place, broker: Serving, ending: Ending, lease_ms: int) -> None:
        self._place = place
        self._broker = broker
        self._ending = ending
        self._lease_ms = lease_ms
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self._active = self._contender()
        self._active.process.words("active")
        self._standby = self._contender()

    def __enter__(self) -> _Succession:
        """They run already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes that are left."""
        self._stack.close()

    def end_active(self) -> Takeover:
        """End the active one, wait for the next one to be active, and have another stand by.

        On a busy machine it may have lost the role by itself a moment before: that is another story, and not told.
        """
        while True:
            takeover = self._end_active()
            if takeover.vacant_ns > 0:
                return takeover

    def _end_active(self) -> Takeover:
        old, self._active = self._active, self._standby
        time.sleep(_RANDOM.uniform(0.1, 0.1 + self._lease_ms / 1_000 / 5))
        ended_ns = self._end(old)
        active_ns = int(self._active.process.words("active")[0])
        if self._ending is Ending.STOP:
            old.process.send(signal.SIGCONT)  # what does it believe when it goes on?
        if self._ending in {Ending.STOP, Ending.PARTITION}:
            old.process.words("over")
        until_ns, at_ns = Belief.read(old.belief)
        old.process.close()
        if old.relay is not None:
            old.relay.close()
        self._standby = self._contender()
        return Takeover(ended_ns, active_ns, until_ns, at_ns)

    def _end(self, old: _Contender) -> int:
        """End it; returns when."""
        ended_ns = now_ns()
        match self._ending:
            case Ending.LOCAL_KILL | Ending.REMOTE_KILL:
                old.process.send(signal.SIGKILL)
            case Ending.STOP:
                old.process.send(signal.SIGSTOP)
            case Ending.PARTITION:
                assert old.relay is not None, "it is reached through one"
                old.relay.send(signal.SIGSTOP)
            case Ending.RESIGN:
                old.process.send(signal.SIGUSR1)
                ended_ns = int(old.process.words("resigned")[0])
            case Ending.SWITCHOVER:
                ended_ns = asyncio.run(_move(self._broker.endpoint))
            case Ending.KILL_WITH_BROKER:
                old.process.send(signal.SIGKILL)
                self._broker.kill()
                self._broker.start()
        return ended_ns

    def _contender(self) -> _Contender:
        endpoint, relay = self._broker.endpoint, None
        if self._ending is Ending.PARTITION:
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            relay = self._stack.enter_context(Talking([sys.executable, "-m", "bench.relay", host, port]))
            endpoint = relay.words("listening")[0]
        number = next(self._numbers)
        belief = self._place.data / f"belief-{number}"
        Belief.prepare(belief)
        command = [sys.executable, "-m", "bench.contender", endpoint, f"c-{number}", str(self._lease_ms), str(belief)]
        process = self._stack.enter_context(Talking(command))
        process.words("ready")
        return _Contender(process, belief, relay)


async def _move(endpoint: str) -> int:
    """Ask for a switchover and wait until it is over; when it was asked for."""
    async with Reader(endpoint) as reader:
        await queries.resource(reader, RESOURCE)  # it is connected from here on
        asked_ns = now_ns()
        await switchover(reader, RESOURCE, drain_ms=_DRAIN_MS, by="bench")
        return asked_ns


def _latencies(name: str, taken_ns: array[int]) -> Latencies:
    latencies = Latencies(name)
    latencies.add_round(taken_ns, sum(taken_ns))
    return latencies


def _told_ns() -> int:
    """How long the kernel takes to say that a killed process, which has imported the SDK and does nothing, has ended.

    Most of that is its taking the memory down.
    """
    command = [sys.executable, "-c", "import tenure.sdk, time; print(flush=True); time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None, "its output was asked for"
        idle.stdout.readline()
        descriptor = pidfd_open(idle.pid)
        began_ns = now_ns()
        idle.kill()
        select.select([descriptor], [], [])
        taken_ns = now_ns() - began_ns
        os.close(descriptor)
        return taken_ns
