"""`tenure run` under a switchover: CMD is told at once, and has the drain time to finish before it is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from tenure.sdk import ServiceClient
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere
from tests.integration.serving import tenure

_FINISHES: Final = """
import signal, sys
def finish(*_):
    print("asked", flush=True)
    open(sys.argv[1]).read()
    print("finished", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
print("works", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def may_finish(tmp_path: Path) -> Path:
    """A pipe that the program reads before it ends."""
    pipe = tmp_path / "may-finish"
    os.mkfifo(pipe)
    return pipe


def running(broker: BrokerHere, may_finish: Path, *, lease_ms: int = 5_000, stop_grace_ms: int = 0) -> list[str]:
    """A program under a role, which by default is killed at once when its stop grace is all it has."""
    program = [sys.executable, "-c", _FINISHES, str(may_finish)]
    options = ["--service", "gw", "--resource", "acct", "--instance", "a", "--lease-ms", str(lease_ms)]
    options += ["--stop-grace-ms", str(stop_grace_ms), "--endpoint", broker.ipc]
    return ["run", *options, "--", *program]


async def test_a_program_that_is_asked_to_end_may_finish_during_the_drain(broker: BrokerHere, may_finish: Path) -> None:
    """★ It gets SIGTERM at once, and nobody kills it before the drain is over; then the role moves."""
    async with (
        ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client,
        tenure(*running(broker, may_finish)) as command,
    ):
        await command.line("works")
        await client.register("gw", instance_id="b", resource_id="acct")
        moving = asyncio.create_task(client.switchover("acct", drain_ms=600_000))
        await command.line("asked")
        assert not moving.done()

        await asyncio.to_thread(may_finish.write_text, "now")

        await command.line("finished")
        assert (await asyncio.wait_for(moving, PATIENCE_S)).new_instance_id == "b"


async def test_a_program_that_does_not_finish_is_killed_when_the_drain_is_over(
    broker: BrokerHere, may_finish: Path
) -> None:
    """The drain is the time it has; then the role moves all the same."""
    async with (
        ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client,
        tenure(*running(broker, may_finish)) as command,
    ):
        await command.line("works")
        await client.register("gw", instance_id="b", resource_id="acct")

        assert (await client.switchover("acct", drain_ms=1_000)).new_instance_id == "b"

        await command.line("has stopped its work for acct")


async def test_a_program_may_take_its_stop_grace_when_the_drain_is_shorter(
    broker: BrokerHere, may_finish: Path
) -> None:
    """Without any drain it is asked at once, however long its lease; nobody kills it while both last."""
    flags = running(broker, may_finish, lease_ms=LONG_LEASE_MS, stop_grace_ms=600_000)
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client, tenure(*flags) as command:
        await command.line("works")
        await client.register("gw", instance_id="b", resource_id="acct")
        moving = asyncio.create_task(client.switchover("acct"))
        await command.line("asked")
        under_way = (await client.resource("acct")).switchover
        assert under_way is not None
        assert under_way.drain_left_ms == 0
        assert not moving.done()

        await asyncio.to_thread(may_finish.write_text, "now")

        await command.line("finished")
        assert (await asyncio.wait_for(moving, PATIENCE_S)).end_reason == "switchover"
