"""A process that does the work of an active: `python -m tests.chaos.worker ENDPOINT INSTANCE LEDGER LEASE_MS …`.

While it is active it calls `ensure_active()` every few milliseconds, and writes to the ledger what came of it; the SDK
keeps its interval log beside that. `…` are options, as the SDK has them: `fenced`, and `hold` with `HOLD_LIMIT_MS`.
Standard input takes faults that it does to itself: `block MS` (its event loop) and `hog MS` (the interpreter's lock);
its end is the end of the work, which leaves in good order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

import structlog

from tenure.contract.errors import RoleLostError
from tenure.sdk import ServiceClient, Tenure
from tests.chaos.faults import block, hold_interpreter
from tests.chaos.ledger import Kind, Line, now_ns
from tests.integration.kill_broker_load import commands

RESOURCE: Final = "ledger"
PAUSE_MS: Final = 4  # between two lines: what the machine has to write and to check stays little
HOLD_LIMIT_MS: Final = 60_000
INTERVALS: Final = "intervals"
FAULTS: Final = {"block": block, "hog": hold_interpreter}


class Worker:
    """One instance and its ledger."""

    def __init__(
        self, endpoint: str, instance_id: str, ledger_path: str, lease_ms: int, options: Collection[str]
    ) -> None:
        self._holds = "hold" in options
        self._client = ServiceClient(
            endpoint,
            lease_ms=lease_ms,
            fence="exit" if "fenced" in options else "none",
            interval_log=Path(ledger_path).parent / INTERVALS,
        )
        self._instance_id = instance_id
        self._ledger = os.open(ledger_path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    async def run(self) -> None:
        """Be active as often as the role comes, until standard input ends."""
        work = asyncio.create_task(
            self._client.run_as_active(
                "chaos",
                self._work,
                instance_id=self._instance_id,
                resource_id=RESOURCE,
                on_broker_loss="hold" if self._holds else "step-down",
                hold_limit_ms=HOLD_LIMIT_MS if self._holds else None,
            )
        )
        ending = asyncio.create_task(self._obey())
        try:
            await asyncio.wait([work, ending], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            await self._client.close()

    async def _obey(self) -> None:
        async for command in commands():
            fault, for_ms = command.split()
            FAULTS[fault](int(for_ms))

    async def _work(self, tenure: Tenure) -> None:
        try:
            while not tenure.is_asked_to_end:
                self._step(tenure)
                await asyncio.sleep(PAUSE_MS / 1_000)
        finally:  # whatever ended the work, what it may still do is written down
            with contextlib.suppress(RoleLostError):
                self._step(tenure)

    def _step(self, tenure: Tenure) -> None:
        """One line. The deadline is read first: heartbeats only move it further away."""
        standing = tenure.registration.standing
        deadline_ms = standing.valid_until.boottime_ms if standing.epoch == tenure.epoch else 0
        deadline_ns = int(max(deadline_ms, 0) * 1e6)
        before_ns = now_ns()
        try:
            tenure.ensure_active()
        except RoleLostError:
            self._write(Line(Kind.REFUSED, tenure.epoch, before_ns, now_ns(), 0, self._instance_id))
            raise
        self._write(Line(Kind.PASSED, tenure.epoch, before_ns, now_ns(), deadline_ns, self._instance_id))

    def _write(self, line: Line) -> None:
        os.write(self._ledger, line.encode())


if __name__ == "__main__":
    structlog.configure(
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    asyncio.run(Worker(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:]).run())
