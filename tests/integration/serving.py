"""Real processes for tests: a broker from `tenure serve`, and other commands, all of them ended with the test.

Waiting is for lines and exits, never for time; every wait has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 30.0


class Command:
    """One running `tenure` command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def line(self, containing: str = "") -> str:
        """The next line of its standard output that contains a text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                raw = await self.process.stdout.readline()
                if not raw:
                    raise EOFError(f"the command ended without a line containing {containing!r}")
                if containing in raw.decode():
                    return raw.decode().rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        """Wait for its end."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def tenure(*arguments: str, environ: dict[str, str] | None = None) -> AsyncGenerator[Command]:
    """A `tenure` command with standard output and error in one pipe; it is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tenure.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environ or {})},
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE_S / 3):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await process.communicate()


async def output_of(*arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a `tenure` command to its end: exit code, and standard output and error together.

    One that does not end is made to say where it is.
    """
    async with tenure(*arguments, environ={**(environ or {}), "PYTHONFAULTHANDLER": "1"}) as command:
        ending = asyncio.ensure_future(command.process.communicate())
        done, _ = await asyncio.wait([ending], timeout=PATIENCE_S)
        if not done:
            command.send(signal.SIGABRT)
        out, _ = await ending
        assert done, f"tenure {' '.join(arguments)} did not end: {out.decode()}"
        return await command.exit_code(), out.decode()


def endpoint_in(directory: Path) -> str:
    """Where the broker of a test directory takes requests."""
    return f"ipc://{directory}/b"


@contextlib.asynccontextmanager
async def serving(directory: Path, *flags: str) -> AsyncGenerator[Command]:
    """A broker with its data and its sockets in a directory; it takes requests from here on."""
    arguments = ["serve", "--data", str(directory / "data"), "--no-admin", "--log-format", "json"]
    arguments += ["--bind", endpoint_in(directory), "--events-bind", f"ipc://{directory}/e", *flags]
    async with tenure(*arguments) as broker:
        await broker.line("takes requests")
        yield broker
