"""The load of `tests.integration.kill_broker`: clients in a process of their own, registering without a pause.

Run as `python -m tests.integration.kill_broker_load ENDPOINT NAME CLIENTS LEASE_MS`. Standard output says, after the
broker has acknowledged it and never before, what has to be there from then on (`kept`) and what has to be gone
(`ended`). Standard input takes `steady` (answered once every client has most of its lease left) and `check` (answered
with a `lost` line for each role that a client no longer holds); its end is the end of the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import structlog

from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import Registration, ServiceClient

KEPT_MAX = 100
"""Roles one client keeps; from then on it only comes and goes."""
STEADY_SHARE = 0.75
TIMEOUT_MS = 60_000
LOOK_AGAIN_MS = 20


class Load:
    """Clients that each do one thing after the other."""

    def __init__(self, endpoint: str, name: str, clients: int, lease_ms: int) -> None:
        self._name = name
        self._lease_ms = lease_ms
        self._clients = [ServiceClient(endpoint, lease_ms=lease_ms, timeout_ms=TIMEOUT_MS) for _ in range(clients)]
        self._kept: list[tuple[Registration, int]] = []
        self._first: list[Registration] = []
        """One role of each client: all its roles have the same lease."""
        self._all_hold = asyncio.Event()

    async def run(self) -> None:
        """Register until standard input ends."""
        async with AsyncExitStack() as stack:
            await asyncio.gather(*(stack.enter_async_context(client) for client in self._clients))
            async with asyncio.TaskGroup() as group:
                works = [group.create_task(self._work(client, number)) for number, client in enumerate(self._clients)]
                async for command in commands():
                    if command == "steady":
                        await self._until_steady()
                    else:
                        self._tell_lost()
                    say("done")
                for work in works:
                    work.cancel()

    async def _work(self, client: ServiceClient, number: int) -> None:
        """Keep a role in a resource of its own, and in between win and leave one: the first is to last."""
        for turn in range(sys.maxsize):
            me = f"{self._name}-{number}-{turn}"
            role = await client.register("load", instance_id=me, resource_id=me, role=ServiceRole.ACTIVE)
            epoch = role.standing.epoch
            if turn == 0:
                self._first.append(role)
                if len(self._first) == len(self._clients):
                    self._all_hold.set()
            if turn % 4 == 0 and turn < 4 * KEPT_MAX:
                self._kept.append((role, epoch))
                say(f"kept {me} {role.registration_id} {epoch}")
            else:
                await role.deregister()
                say(f"ended {me} {role.registration_id} {epoch}")

    async def _until_steady(self) -> None:
        await self._all_hold.wait()
        least_ms = self._lease_ms * STEADY_SHARE
        while late := [role for role in self._first if role.remaining_ms < least_ms]:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_MS / 1_000):
                    await late[0].wait_changed()

    def _tell_lost(self) -> None:
        for role, epoch in self._kept:
            if role.epoch != epoch:
                say(f"lost {role.instance_id} {role.registration_id} {epoch}")


def say(line: str) -> None:
    """Tell whoever started this process."""
    print(line, flush=True)


async def commands() -> AsyncIterator[str]:
    """The lines of standard input."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            yield line.decode().strip()
    finally:
        transport.close()


if __name__ == "__main__":
    # Standard output is for what was acknowledged.
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    asyncio.run(Load(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])).run())
