"""A process is gone before its lease is, and an application that hangs loses its role, through real sockets."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final

import pytest
from structlog.testing import capture_logs

from tenure.contract.limits import CLOCK_DRIFT_PPM
from tenure.sdk import RoleLostError, ServiceClient
from tenure.sdk.fence import FENCE_EXIT_CODE, FenceName, fence_margin_ms
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere

LEASE_MS: Final = 2_000
_TIMER_EXIT_CODE: Final = 1


@contextmanager
def program(broker: BrokerHere, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """A process that is active and then hangs; it is killed with the block."""
    command = [sys.executable, "-m", "tests.integration.hard_stop_programs", broker.ipc, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def successor(broker: BrokerHere, process: subprocess.Popen[str]) -> int | None:
    """Stand by for what the process is active for; its exit code at the moment when the role has come."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        assert process.stdout is not None
        assert (await asyncio.to_thread(process.stdout.readline)).startswith("active")
        standby = await client.register("gw", instance_id="next", resource_id="acct")
        await asyncio.wait_for(standby.wait_active(), PATIENCE_S)
        return process.poll()


async def test_code_that_keeps_the_interpreter_does_not_outlast_its_lease(broker: BrokerHere) -> None:
    """★ C code holds the global lock for years: the process is gone before the next one is active, stacks and all."""
    with program(broker, "exit") as process:
        assert await successor(broker, process) == _TIMER_EXIT_CODE
        assert process.stderr is not None
        assert "hard_stop_programs.py" in process.stderr.read()


async def test_without_a_fence_it_does(broker: BrokerHere) -> None:
    """The control: the same process is alive and in the middle of its work when the next one is active."""
    with program(broker, "none") as process:
        assert await successor(broker, process) is None


async def test_a_process_that_was_stopped_ends_when_it_goes_on(broker: BrokerHere) -> None:
    """★ SIGSTOP until somebody else is active, then SIGCONT: it ends instead of going on with its work."""
    with program(broker, "exit", "waits") as process:
        assert process.stdout is not None
        assert (await asyncio.to_thread(process.stdout.readline)).startswith("active")
        process.send_signal(signal.SIGSTOP)
        async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
            standby = await client.register("gw", instance_id="next", resource_id="acct")
            await asyncio.wait_for(standby.wait_active(), PATIENCE_S)
        assert process.poll() is None

        process.send_signal(signal.SIGCONT)

        assert process.wait(PATIENCE_S) in {_TIMER_EXIT_CODE, FENCE_EXIT_CODE}


@pytest.mark.parametrize("fence", ["sometimes", ""])
def test_a_fence_that_is_none_is_refused(fence: str) -> None:
    """There are two kinds, and a stall limit is a time."""
    with pytest.raises(ValueError, match="fence"):
        ServiceClient(fence=fence)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="stall_limit_ms"):
        ServiceClient(stall_limit_ms=0)


async def test_work_has_all_of_its_stop_budget_before_a_fence_ends_the_process(broker: BrokerHere) -> None:
    """★ However short the budget, the work is cancelled first: it counts from when the process would be ended."""
    margin_ms = fence_margin_ms(LONG_LEASE_MS)
    budget_ms = LONG_LEASE_MS * (1 - CLOCK_DRIFT_PPM / 1_000_000) - margin_ms - 100  # the fence's, 100 ms from now
    with capture_logs() as logs:
        async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS, fence="exit") as client:
            with pytest.raises(RoleLostError):
                async with asyncio.timeout(PATIENCE_S), client.active("gw", stop_budget_ms=budget_ms):
                    await asyncio.Event().wait()

    (ending,) = [log for log in logs if log["event"] == "role.ending"]
    assert ending["left_ms"] > budget_ms + margin_ms / 2


@pytest.mark.parametrize("fence", ["none", "exit"])
@pytest.mark.parametrize("budget_ms", [-1, float("nan")])
async def test_a_stop_budget_is_a_time(broker: BrokerHere, fence: FenceName, budget_ms: float) -> None:
    """Less than nothing would mean that the work is never cancelled: it is refused."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS, fence=fence) as client:
        with pytest.raises(ValueError, match="stop_budget_ms"):
            client.active("gw", stop_budget_ms=budget_ms)


# --- an event loop that stands still ----------------------------------------------------------------------------------


class StandsStill:
    """A client on an event loop of its own, in a thread, that is blocked by code which lets other threads run."""

    def __init__(self, broker: BrokerHere, stall_limit_ms: int | None) -> None:
        self._client = ServiceClient(broker.ipc, lease_ms=LEASE_MS, stall_limit_ms=stall_limit_ms)
        self.is_blocked = threading.Event()
        self._may_go_on = threading.Event()
        self.was_active: bool | None = None

    async def run(self, until_then: Callable[[], Awaitable[None]]) -> None:
        """Be active and stand still until that is over."""
        thread = asyncio.create_task(asyncio.to_thread(asyncio.run, self._stand_still()))
        try:
            await asyncio.to_thread(self.is_blocked.wait, PATIENCE_S)
            await until_then()
        finally:
            self._may_go_on.set()
            await thread

    async def _stand_still(self) -> None:
        async with self._client:
            registration = await self._client.register("gw", instance_id="still", resource_id="acct", role="active")
            registration.ensure_active()
            self.is_blocked.set()
            self._may_go_on.wait(PATIENCE_S)
            self.was_active = registration.is_active


async def test_a_loop_that_stands_still_loses_its_role(broker: BrokerHere) -> None:
    """★ The lease thread could go on, and holds the heartbeats back: the role moves, and it is said once why."""
    still = StandsStill(broker, stall_limit_ms=LEASE_MS // 4)
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        standby = await client.register("gw", instance_id="next", resource_id="acct")

        async def promoted() -> None:
            await asyncio.wait_for(standby.wait_active(), PATIENCE_S)

        with capture_logs() as logs:
            await still.run(promoted)

    assert still.was_active is False
    assert [log["event"] for log in logs].count("loop.stalled") == 1


async def test_without_a_limit_it_keeps_its_role_and_shows_that_it_is_at_risk(broker: BrokerHere) -> None:
    """The lease thread goes on, and each heartbeat says how late the event loop is: seen before anything is lost."""
    still = StandsStill(broker, stall_limit_ms=None)
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:

        async def at_risk() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    (one,) = await client.services("gw")
                    if one.loop_lag_ms is not None and one.loop_lag_ms > LEASE_MS:
                        break
            assert (one.is_at_risk, one.is_active) == (True, True)
            assert one.margin_ms is not None
            assert one.margin_ms > LEASE_MS / 4

        await still.run(at_risk)

    assert still.was_active is True
