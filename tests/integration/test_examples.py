"""The examples run as they say, as processes against a broker that is alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from tenure.sdk import ServiceClient
from tests.integration.live import LEASE_MS, LiveBroker, live_broker
from tests.integration.serving import PATIENCE_S, Command

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[LiveBroker]:
    """A broker with an empty store."""
    async with live_broker(tmp_path) as live:
        yield live


@contextlib.asynccontextmanager
async def example(broker: LiveBroker, name: str, *arguments: str) -> AsyncGenerator[Command]:
    """An example as a process; it is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(EXAMPLES / name), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TENURE_ENDPOINT": broker.endpoint},
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(PATIENCE_S):
            await process.communicate()


async def test_follow_roles_tells_of_each_change(broker: LiveBroker) -> None:
    """It says who is active at the start, and then each time that changes, with the reason."""
    async with (
        ServiceClient(broker.endpoint, lease_ms=LEASE_MS) as client,
        example(broker, "follow_roles.py", "r") as follower,
    ):
        assert await follower.line() == "nobody is active (when this began)"
        first = await client.register("svc", instance_id="a", resource_id="r", role="active")
        assert await follower.line() == f"svc/a is active, epoch {first.epoch} (registered)"
        await client.register("svc", instance_id="other", resource_id="another", role="active")
        second = await client.register("svc", instance_id="b", resource_id="r")
        await first.resign()
        await second.wait_active()
        assert await follower.line() == "nobody is active (resigned)"
        assert await follower.line() == f"svc/b is active, epoch {second.epoch} (succession)"


async def test_the_spare_gateway_goes_on_when_the_first_is_killed(broker: LiveBroker) -> None:
    """One sends orders, the other stands by; after SIGKILL the other sends, under a greater epoch."""
    async with example(broker, "order_gateway.py", "gw-1", "account") as first:
        epoch = int((await first.line("active for account, epoch ")).rpartition(" ")[2])
        await first.line("sent order 2 under epoch ")
        async with example(broker, "order_gateway.py", "gw-2", "account") as second:
            assert await second.line() == "gw-2 stands by for account"
            first.send(signal.SIGKILL)

            next_epoch = int((await second.line("active for account, epoch ")).rpartition(" ")[2])
            assert next_epoch > epoch
            await second.line("sent order 2 under epoch ")

            second.send(signal.SIGTERM)
            await second.line("gw-2 has handed over")
            assert await second.exit_code() == 0


async def test_the_spare_worker_without_asyncio_goes_on_when_the_first_is_killed(broker: LiveBroker) -> None:
    """One books, the other stands by; after SIGKILL the other books, under a greater epoch, and SIGTERM hands over."""
    async with example(broker, "blocking_worker.py", "worker-1", "ledger") as first:
        epoch = int((await first.line("active for ledger, epoch ")).rpartition(" ")[2])
        await first.line("booked 2 under epoch ")
        async with example(broker, "blocking_worker.py", "worker-2", "ledger") as second:
            assert await second.line() == "worker-2 stands by for ledger"
            first.send(signal.SIGKILL)

            next_epoch = int((await second.line("active for ledger, epoch ")).rpartition(" ")[2])
            assert next_epoch > epoch
            await second.line("booked 2 under epoch ")

            second.send(signal.SIGTERM)
            await second.line("worker-2 has handed over")
            assert await second.exit_code() == 0
