"""What the tests of the keeper share: an ear for the programs they run, and a process of its own to supervise one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from tenure.cli.supervisor import Deadline, Supervisor

PROGRAMS = Path(__file__).with_name("keeper_programs.py")
PATIENCE_S = 60.0
LONG_MS = 600_000.0


class Ear:
    """Hears what the programs of one test say, and knows which of them are still there."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self._heard: list[dict[str, Any]] = []

    def program(self, role: str, *arguments: str) -> list[str]:
        """The command line of a program."""
        flags = [] if role == "driver" else ["-I", "-S"]
        return [sys.executable, *flags, str(PROGRAMS), role, self.path, *arguments]

    async def hear(self, *events: str) -> dict[str, Any]:
        """The next of these events, whatever else was said before."""
        while True:
            for heard in self._heard:
                if heard["event"] in events:
                    self._heard.remove(heard)
                    return heard
            receiving = asyncio.get_running_loop().sock_recv(self._socket, 65_536)
            self._heard.append(json.loads(await asyncio.wait_for(receiving, PATIENCE_S)))

    def survivors(self) -> list[int]:
        """The programs that still run: the path of this ear is in their command lines."""
        found: list[int] = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdecimal() and self.path.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
        return found

    def close(self) -> list[int]:
        """End what a failed test has left behind, and say what that was."""
        survivors = self.survivors()
        for pid in survivors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._socket.close()
        return survivors


@contextlib.contextmanager
def listening(folder: Path) -> Generator[Ear]:
    """An ear for one test, which leaves no program behind."""
    ear = Ear(folder / "ear")
    survivors: list[int] = []
    try:
        yield ear
    finally:
        survivors = ear.close()
    assert survivors == []


class Life:
    """One process, pinned by a descriptor while it is known to live."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.pid: int = facts["pid"]
        self._pidfd = os.pidfd_open(self.pid)

    async def end(self) -> None:
        """Wait until it has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
        finally:
            loop.remove_reader(self._pidfd)
            os.close(self._pidfd)


class Driver(NamedTuple):
    """A process like `tenure run`, which a test may kill and stop, and the other end of its terminal."""

    process: subprocess.Popen[bytes]
    terminal: int

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    async def stopped(self) -> None:
        """Wait until it has stopped: a SIGCONT that comes before would not wake it."""
        await asyncio.to_thread(os.waitid, os.P_PID, self.process.pid, os.WSTOPPED)

    async def outcome(self, ear: Ear) -> tuple[int, str]:
        """The exit code and the cause it reports; it ends after that, and nothing it has run is left."""
        facts = await ear.hear("outcome")
        assert await asyncio.to_thread(self.process.wait, PATIENCE_S) == 0
        assert ear.survivors() == []
        return facts["exit_code"], facts["cause"]


@contextlib.contextmanager
def driving(ear: Ear, role: str, *arguments: str, **settings: object) -> Generator[Driver]:
    """Let a process of its own supervise a program."""
    given = json.dumps({"command": ear.program(role, *arguments), "lease_ms": LONG_MS} | settings)
    master, slave = pty.openpty()
    stream = slave if settings.get("has_terminal") else subprocess.DEVNULL
    process = subprocess.Popen(ear.program("driver", given), stdin=stream, stdout=stream, start_new_session=True)
    os.close(slave)
    try:
        yield Driver(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


async def start(work: Supervisor, lease_ms: float = LONG_MS, env: dict[str, str] | None = None) -> Deadline:
    """Start the work on a lease of this length."""
    deadline = Deadline.after_ms(lease_ms)
    await work.start(deadline, env)
    return deadline


def strings_of(pid: int, name: str) -> list[bytes]:
    """The arguments (`cmdline`) or the environment (`environ`) of a process, as the kernel has them."""
    return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")[:-1]
