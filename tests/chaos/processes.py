"""The processes of a scenario: a broker that can be killed and started again, and others that take commands.

Each is tethered to this process, is ended by its own pid, and counts what was done to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from tests.chaos.ledger import now_ns

ROOT: Final = Path(__file__).parents[2]
PATIENCE_S: Final = 60.0
"""How long is waited for what has to come; only a failure takes as long."""
_LOG_TAIL_BYTES: Final = 3_000


class Child:
    """One process; `start` it."""

    def __init__(self, name: str, log: Path, counts: Counter[str]) -> None:
        self.name = name
        self.is_stopped = False
        self.is_expected_to_end = False
        self._log = log
        self._counts = counts
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process; it has to have been started."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended, stopped or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def tail(self) -> str:
        """The end of what it wrote to its log."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return text[-_LOG_TAIL_BYTES:]

    async def start(self, module: str, *arguments: str) -> None:
        """Run a module."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.tethered", module, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "TENURE_LOG_FORMAT": "json"},
            )
        self.is_stopped = self.is_expected_to_end = False

    async def hear(self, containing: str = "") -> str:
        """The next line it says that contains a text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                raw = await self.process.stdout.readline()
                if not raw:
                    raise AssertionError(f"{self.name} ended without a word of {containing!r}; its log:\n{self.tail}")
                if containing in raw.decode():
                    return raw.decode().rstrip("\n")

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def leave(self) -> None:
        """End its standard input and wait until it has ended in good order."""
        self._counts["leaves"] += 1
        self.is_expected_to_end = True
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
        assert code == 0, f"{self.name} left with exit code {code}; its log:\n{self.tail}"

    async def kill(self) -> int:
        """SIGKILL, also while it is stopped; returns when that was."""
        self._counts[f"{self.name.rstrip('0123456789')} kills"] += 1
        return await self._kill()

    async def stop(self) -> int:
        """SIGSTOP; returns a time at which it was certainly stopped."""
        self._counts[f"{self.name.rstrip('0123456789')} stops"] += 1
        self.is_stopped = True
        self.process.send_signal(signal.SIGSTOP)
        # Or until it has ended, which the next look at it finds: this leaves its exit code to be taken.
        await asyncio.to_thread(os.waitid, os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return now_ns()

    def go_on(self) -> int:
        """SIGCONT; returns a time at which it was certainly still stopped."""
        at_ns = now_ns()
        self.is_stopped = False
        self.process.send_signal(signal.SIGCONT)
        return at_ns

    async def terminate(self) -> int:
        """SIGTERM; its exit code."""
        self.is_expected_to_end = True
        self.process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def end(self) -> None:
        """Make sure that it is gone, however. Safe to repeat."""
        if self._process is not None:
            await self._kill()

    async def _kill(self) -> int:
        self.is_expected_to_end = True
        at_ns = now_ns()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        async with asyncio.timeout(PATIENCE_S):
            await self.process.communicate()
        return at_ns


class Broker(Child):
    """`tenure serve`, over ipc and tcp, always at the same endpoints."""

    def __init__(self, directory: Path, counts: Counter[str]) -> None:
        super().__init__("broker", directory / "broker.log", counts)
        self.data = directory / "data"
        self.ipc = f"ipc://{directory}/b"
        self.tcp = "tcp://127.0.0.1:*"
        self._events = f"ipc://{directory}/e"

    async def serve(self) -> None:
        """Start it, for the first time or again; it takes requests from here on."""
        arguments = ("serve", "--data", str(self.data), "--no-admin", "--bind", self.ipc, "--bind", self.tcp)
        await self.start("tenure.cli", *arguments, "--events-bind", self._events)
        self.tcp = (await self.hear("takes requests")).split()[-1]
