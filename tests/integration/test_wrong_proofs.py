"""What looks like proof of death and is none: real processes are killed, and the role waits for the lease all the same.

Beside them the one thing that is proof, so that the difference shows. A pid that was used again, and another pid
namespace, are in tests/unit/test_proof.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from signal import SIGKILL
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import NamedTuple

import pytest

from tenure.contract.events import RoleChangedEvent
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tenure.sdk import Registration, ServiceClient, queries
from tenure.sdk.reader import Reader
from tests.chaos.proxy import open_proxy
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere
from tests.integration.claimants import LEASE_MS, RESOURCE
from tests.integration.serving import tenure


class Claimant(NamedTuple):
    """A process that was active when it said so, and until when it was to be at least."""

    process: asyncio.subprocess.Process
    epoch: int
    deadline_ns: int
    child: list[str]
    """What its child said, if it was to have one: its pid, whether it is active, and why not."""

    @property
    def child_pid(self) -> int:
        """The child's."""
        return int(self.child[0])


@contextlib.asynccontextmanager
async def claimant(endpoint: str, how: str) -> AsyncGenerator[Claimant]:
    """A process that is active; it and its child end with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.claimants", endpoint, how),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    try:
        said: dict[str, list[str]] = {"child": []}
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(2 if how.endswith("-fork") else 1):
                kind, *words = (await process.stdout.readline()).decode().split(maxsplit=3)
                said[kind] = words
        yield Claimant(process, int(said["active"][0]), int(said["active"][1]), said["child"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        async with asyncio.timeout(PATIENCE_S):
            await process.communicate()  # ends its standard input, which the child waits for


@contextlib.asynccontextmanager
async def standby(broker: BrokerHere) -> AsyncGenerator[Registration]:
    """Somebody who stands by, in this process."""
    async with ServiceClient(broker.tcp, lease_ms=LONG_LEASE_MS) as client:
        yield await client.register("gw", instance_id="second", resource_id=RESOURCE)


async def succession(broker: BrokerHere, second: Registration, epoch: int) -> tuple[ChangeReason, int]:
    """Why the tenure with an epoch ended, and when the standby found itself active."""
    async with asyncio.timeout(PATIENCE_S):
        assert (await second.wait_active()).epoch > epoch
    active_ns = clock_gettime_ns(CLOCK_BOOTTIME)
    async with Reader(broker.tcp) as reader:
        events, _ = await queries.events(reader, 0)
    reasons = [
        event.reason
        for event in events
        if isinstance(event, RoleChangedEvent) and event.epoch == epoch and event.old_role is ServiceRole.ACTIVE
    ]
    assert len(reasons) == 1, events
    return reasons[0], active_ns


@pytest.mark.parametrize("how", ["proof", "proof-fork"])
async def test_the_exit_of_the_process_that_holds_the_role_is_proof(broker: BrokerHere, how: str) -> None:
    """Also if a child lives on that holds a copy of its socket: that child is not active, and cannot think so."""
    async with claimant(broker.ipc, how) as first, standby(broker) as second:
        first.process.kill()
        assert (await succession(broker, second, first.epoch))[0] is ChangeReason.DIED
        if first.child:
            os.kill(first.child_pid, 0)
            assert (first.child[1], "fork" in first.child[2]) == ("False", True), first.child


@pytest.mark.parametrize("how", ["no-proof", "no-proof-fork"])
async def test_an_exit_that_is_no_proof_leaves_it_to_the_lease(broker: BrokerHere, how: str) -> None:
    """★ `exit_is_proof=False`: its children may go on with the work, which they do until the lease has run out."""
    async with claimant(broker.ipc, how) as first, standby(broker) as second:
        first.process.kill()
        reason, active_ns = await succession(broker, second, first.epoch)
        assert reason is ChangeReason.EXPIRED
        assert active_ns >= first.deadline_ns
        if first.child:
            os.kill(first.child_pid, 0)
            assert (first.child[1], "fork" in first.child[2]) == ("False", True), first.child


async def test_a_process_behind_a_proxy_gives_no_proof(broker: BrokerHere, socket_directory: Path) -> None:
    """★ The kernel names the proxy, not the process that was declared: whose exit would it be?"""
    async with (
        open_proxy(broker.ipc, socket_directory) as proxy,
        claimant(proxy.endpoint, "proof") as first,
        standby(broker) as second,
    ):
        assert broker.count("watched_processes") == 0
        first.process.kill()
        reason, active_ns = await succession(broker, second, first.epoch)
        assert reason is ChangeReason.EXPIRED
        assert active_ns >= first.deadline_ns


async def test_a_connection_that_ends_gives_no_proof(broker: BrokerHere, socket_directory: Path) -> None:
    """★ The proxy in between is gone for good: that is silence, whose process goes on until the lease has run out."""
    async with (
        open_proxy(broker.ipc, socket_directory) as proxy,
        claimant(proxy.endpoint, "proof") as first,
        standby(broker) as second,
    ):
        for direction in proxy.directions:
            direction.drop()  # also of connections to come
        proxy.cut()
        reason, active_ns = await succession(broker, second, first.epoch)
        assert reason is ChangeReason.EXPIRED
        assert active_ns >= first.deadline_ns
        assert first.process.returncode is None


async def test_a_supervisor_that_is_killed_gives_no_proof_of_the_end_of_its_program(broker: BrokerHere) -> None:
    """★ `tenure run` dies: its keeper ends the program, but nobody can vouch for that, so the lease decides."""
    arguments = ("run", "--endpoint", broker.ipc, "--service", "gw", "--resource", RESOURCE, "--instance", "first")
    program = ("sh", "-c", "echo epoch $TENURE_EPOCH; exec sleep 600")
    async with (
        tenure(*arguments, "--lease-ms", str(LEASE_MS), "--", *program) as run,
        standby(broker) as second,
    ):
        epoch = int((await run.line("epoch ")).split()[-1])
        assert broker.count("watched_processes") == 0
        run.send(SIGKILL)
        assert (await succession(broker, second, epoch))[0] is ChangeReason.EXPIRED
