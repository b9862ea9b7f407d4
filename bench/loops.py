"""Two ways to ask: a closed loop, in which whoever was answered asks again, and an open one at a fixed rate.

In an open loop each operation has a time at which it is meant to begin, whatever became of those before it, and its
latency counts from there: a broker, or a client, that falls behind is seen to, instead of being asked less.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic_ns
from typing import Final, NamedTuple

IN_FLIGHT_MAX: Final = 512
"""Operations of an open loop under way at a time, below what a broker takes from one connection: the rest waits here,
and its waiting counts."""
_NS_PER_S: Final = 1_000_000_000

type Operation = Callable[[], Awaitable[object]]


class Taken(NamedTuple):
    """What a loop measured."""

    latencies_ns: array[int]
    elapsed_ns: int


async def closed_loop(operation: Operation, workers: int, operations: int) -> Taken:
    """So many operations by so many workers, each one after the other.

    Raises:
        ExceptionGroup: An operation failed.
    """
    latencies_ns = array("q")
    left = iter(range(operations))

    async def work() -> None:
        for _ in left:
            asked_ns = monotonic_ns()
            await operation()
            latencies_ns.append(monotonic_ns() - asked_ns)

    began_ns = monotonic_ns()
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    return Taken(latencies_ns, monotonic_ns() - began_ns)


async def open_loop(operation: Operation, per_second: int, operations: int) -> Taken:
    """So many operations, each begun when its time has come; latencies count from that time.

    Raises:
        ExceptionGroup: An operation failed.
    """
    latencies_ns = array("q")
    interval_ns = _NS_PER_S // per_second
    async with _due_times(interval_ns, operations) as due:

        async def work() -> None:
            while True:
                intended_ns = await due.get()
                if intended_ns is None:
                    return
                await operation()
                latencies_ns.append(monotonic_ns() - intended_ns)

        began_ns = monotonic_ns()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT_MAX, operations)):
                group.create_task(work())
        return Taken(latencies_ns, monotonic_ns() - began_ns)


@asynccontextmanager
async def _due_times(interval_ns: int, operations: int) -> AsyncGenerator[asyncio.Queue[int | None]]:
    """A queue into which each operation's time is put as it comes, and then an end for each worker.

    A timer of the kernel wakes the loop: its own are a millisecond apart at best, which would be part of each latency.
    """
    due: asyncio.Queue[int | None] = asyncio.Queue()
    times_ns = iter(range(0, operations * interval_ns, interval_ns))
    timer = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)
    loop = asyncio.get_running_loop()
    began_ns = monotonic_ns() + interval_ns

    def tick() -> None:
        for _ in range(int.from_bytes(os.read(timer, 8), sys.byteorder)):
            offset_ns = next(times_ns, None)
            if offset_ns is None:
                loop.remove_reader(timer)
                for _ in range(IN_FLIGHT_MAX):
                    due.put_nowait(None)
                return
            due.put_nowait(began_ns + offset_ns)

    try:
        os.timerfd_settime_ns(timer, flags=os.TFD_TIMER_ABSTIME, initial=began_ns, interval=interval_ns)
        loop.add_reader(timer, tick)
        yield due
    finally:
        loop.remove_reader(timer)
        os.close(timer)
