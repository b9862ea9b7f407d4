"""`python -m bench.peers.load TASK`: one round of every load on one peer's server, from a process of its own.

TASK is a `Task` as JSON, and so is what it prints, a `Round`. All loads are closed loops: a worker claims again as soon
as it is answered. Every claim is of a fresh resource and has to be granted, and every claim of the held one refused;
anything else ends the round with an error. What is said before a load has warmed up is not recorded.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from time import monotonic_ns
from typing import Final

import msgspec
import structlog
import uvloop
from msgspec import Struct

from bench.loops import Operation, closed_loop
from bench.peers.catalogue import peer_named
from bench.peers.listener import READY, TIMED
from bench.peers.peer import Claimable, Claimant
from bench.processes import ProcessFailedError

SEQUENTIAL: Final = "one after the other"
IN_FLIGHT: Final = "in flight"
FOLLOWED: Final = "in flight, followed"
REJECTED: Final = "refused"
TOLD: Final = "claim to listener"
LOADS: Final = (SEQUENTIAL, IN_FLIGHT, FOLLOWED, REJECTED, TOLD)

_WARM_UP_PART: Final = 10
_HEAR_S: Final = 30.0  # how long an event may take before it counts as lost
_END_S: Final = 10.0


class Task(Struct, frozen=True, kw_only=True):
    """What one round measures."""

    peer: str
    address: str
    prefix: str
    """Of the names of this round's resources, so that all are fresh."""
    sequential: int
    """Claims one after the other, and as many that a listener is timed for."""
    in_flight: int
    operations: int
    """Claims of each load with many in flight."""


class Measured(Struct, frozen=True, kw_only=True):
    """What one load measured."""

    each_ns: list[int]
    elapsed_ns: int


type Round = dict[str, Measured]
"""By load."""


class Loads:
    """The loads of one round."""

    def __init__(self, task: Task, peer: Claimable) -> None:
        self._task = task
        self._peer = peer
        self._numbers = count()

    async def run(self) -> Round:
        """All of them, one after the other; each with clients of its own.

        Raises:
            ProcessFailedError: A claim was answered wrongly, or a listener did not hear.
        """
        task = self._task
        taken = {
            SEQUENTIAL: await self._measure(1, task.sequential),
            IN_FLIGHT: await self._measure(task.in_flight, task.operations),
            REJECTED: await self._measure_refusals(),
        }
        if self._peer.is_told:
            taken[FOLLOWED] = await self._measure_followed()
            taken[TOLD] = await self._measure_told()
        return taken

    async def _measure(self, workers: int, operations: int) -> Measured:
        idle = list(range(workers))
        async with self._peer.claimant(self._task.address, workers, may_block=workers == 1) as claimant:

            async def claim() -> None:
                worker = idle.pop()
                await self._claim(claimant, worker, self._fresh("free"))
                idle.append(worker)

            return await _warm_up_and_measure(claim, workers, operations)

    async def _measure_refusals(self) -> Measured:
        """Each that asks is a client of its own, as those that stand by for one resource are."""
        task, held = self._task, self._fresh("held")
        async with AsyncExitStack() as stack:

            async def one_more() -> Claimant:
                return await stack.enter_async_context(self._peer.claimant(task.address, 1, may_block=False))

            await self._claim(await one_more(), 0, held)
            idle = [await one_more() for _ in range(task.in_flight)]

            async def claim() -> None:
                claimant = idle.pop()
                if await claimant.claim(0, held):
                    raise ProcessFailedError(f"{task.peer} granted {held} to a second one")
                idle.append(claimant)

            return await _warm_up_and_measure(claim, task.in_flight, task.operations)

    async def _measure_followed(self) -> Measured:
        """With a listener beside, which has to hear of the last one in the end: so it has followed all the way."""
        task = self._task
        async with listener(task.peer, task.address) as heard:
            taken = await self._measure(task.in_flight, task.operations)
            async with self._peer.claimant(task.address, 1, may_block=True) as claimant:
                last = self._fresh(TIMED)
                await self._claim(claimant, 0, last)
                await heard(last)
        return taken

    async def _measure_told(self) -> Measured:
        """One at a time, the next once the listener has heard: how long it takes when nobody waits in line."""
        task = self._task
        each_ns = array("q")
        warm_up = max(1, task.sequential // _WARM_UP_PART)
        async with (
            listener(task.peer, task.address) as heard,
            self._peer.claimant(task.address, 1, may_block=True) as claimant,
        ):
            for number in range(warm_up + task.sequential):
                resource_id = self._fresh(TIMED)
                sent_ns = monotonic_ns()
                await self._claim(claimant, 0, resource_id)
                heard_ns = await heard(resource_id)
                if number >= warm_up:
                    each_ns.append(heard_ns - sent_ns)
        return Measured(each_ns=each_ns.tolist(), elapsed_ns=sum(each_ns))

    async def _claim(self, claimant: Claimant, worker: int, resource_id: str) -> None:
        if not await claimant.claim(worker, resource_id):
            raise ProcessFailedError(f"{self._task.peer} refused {resource_id}, which nobody holds")

    def _fresh(self, kind: str) -> str:
        return f"{kind}-{self._task.prefix}-{next(self._numbers)}"


async def _warm_up_and_measure(claim: Operation, workers: int, operations: int) -> Measured:
    await closed_loop(claim, workers, max(workers, operations // _WARM_UP_PART))
    taken = await closed_loop(claim, workers, operations)
    return Measured(each_ns=taken.latencies_ns.tolist(), elapsed_ns=taken.elapsed_ns)


@asynccontextmanager
async def listener(peer: str, address: str) -> AsyncGenerator[Callable[[str], Awaitable[int]]]:
    """A listener in a process of its own; when it heard of a resource is what the block can wait for.

    Raises:
        ProcessFailedError: It does not follow.
    """
    command = (sys.executable, "-m", "bench.peers.listener", peer, address)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None, "its output was asked for"
    output = process.stdout

    async def line() -> list[str]:
        async with asyncio.timeout(_HEAR_S):
            return (await output.readline()).decode().split()

    before = ""

    async def heard(resource_id: str) -> int:
        nonlocal before
        while True:
            match await line():
                case [name, at_ns] if name == resource_id:
                    before = name
                    return int(at_ns)
                case [name, _] if name == before:
                    continue  # told again: NATS does that when it makes a watch anew, and it counts once
                case words:
                    raise ProcessFailedError(f"the listener of {peer} was to hear of {resource_id}, not {words}")

    try:
        if await line() != [READY]:
            raise ProcessFailedError(f"the listener of {peer} does not follow; its messages say why")
        yield heard
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_END_S):
                    await process.wait()
            except TimeoutError:
                process.kill()


async def measure(task: Task) -> Round:
    """One round on one peer.

    Raises:
        ProcessFailedError: A claim was answered wrongly, or a listener did not hear.
    """
    return await Loads(task, peer_named(task.peer)).run()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    measured = uvloop.run(measure(msgspec.json.decode(sys.argv[1], type=Task)))
    sys.stdout.buffer.write(msgspec.json.encode(measured))
