"""The health check of `tenure run --check`: its result goes with the heartbeats and decides who may be promoted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tenure.cli.exits import complain
from tenure.cli.startable import CommandStartError
from tenure.cli.supervisor import Deadline, KeeperLostError, StopCause, Supervisor
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk import ServiceClient

_TIMEOUT_MS_MIN: Final = 1_000


class Check(NamedTuple):
    """What to run, how often, and how many failures in a row count."""

    command: str
    interval_ms: int
    failures_max: int


class Health:
    """Runs the check over and over and reports what it says."""

    def __init__(self, check: Check, client: ServiceClient) -> None:
        self._check = check
        self._client = client
        self._failures = 0
        self._is_fit = asyncio.Event()

    @property
    def has_failed(self) -> bool:
        """Whether the check has failed so often in a row that an active ought to hand over."""
        return self._failures >= self._check.failures_max

    async def wait_fit(self) -> None:
        """Wait until the newest check has succeeded."""
        await self._is_fit.wait()

    async def watch(self) -> None:
        """Check until cancelled."""
        timeout_ms = max(_TIMEOUT_MS_MIN, self._check.interval_ms)
        while True:
            try:
                is_healthy = await run_check(["sh", "-c", self._check.command], timeout_ms=timeout_ms)
            except (CommandStartError, KeeperLostError) as error:
                complain(f"the health check could not run: {error}")
                is_healthy = False
            self._note(is_healthy=is_healthy)
            await asyncio.sleep(self._check.interval_ms / 1_000)

    def _note(self, *, is_healthy: bool) -> None:
        if is_healthy:
            self._failures = 0
            self._is_fit.set()
            self._client.set_status(ServiceStatus.HEALTHY)
            return
        self._failures += 1
        self._is_fit.clear()
        self._client.set_status(ServiceStatus.UNHEALTHY)
        if self._failures == self._check.failures_max:
            complain(f"the health check has failed {self._failures} times in a row")


async def run_check(command: Sequence[str], env: Mapping[str, str] | None = None, *, timeout_ms: float) -> bool:
    """Whether a health check exits with 0 within `timeout_ms`; whatever is left of it then is killed.

    It has a keeper of its own, so nothing of it outlives `tenure run` either. Its standard error is shown.

    Raises:
        CommandStartError: There is no such command, or it cannot be executed.
        KeeperLostError: Its keeper was killed.
    """
    margin_ms = max(200.0, timeout_ms / 4)
    async with Supervisor(command, grace_ms=margin_ms, margin_ms=margin_ms, stop_grace_ms=0.0, is_quiet=True) as work:
        await work.start(Deadline.after_ms(timeout_ms + margin_ms), env)
        return await work.wait() == (0, StopCause.EXITED)
