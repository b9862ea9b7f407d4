"""`tenure serve` under a service manager: ready, alive, stopping, as a real datagram socket hears it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.serving import PATIENCE_S, endpoint_in, output_of, serving, tenure


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a name short enough for sockets."""
    with TemporaryDirectory(prefix="tenure-") as name:
        yield Path(name)


class Manager:
    """What a service manager hears."""

    def __init__(self, directory: Path, *, is_abstract: bool) -> None:
        self.name = f"@tenure-{secrets.token_hex(8)}" if is_abstract else str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name.replace("@", "\0", 1))
        self.socket.setblocking(False)

    async def until(self, line: str) -> dict[str, str]:
        """Wait for a line; the values that came with it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                heard = (await asyncio.get_running_loop().sock_recv(self.socket, 4_096)).decode().splitlines()
                if line in heard:
                    return dict(each.split("=", 1) for each in heard)


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_ready_alive_and_stopping(directory: Path, is_abstract: bool) -> None:
    """Ready once it takes requests, alive again and again, and stopping when it is told to."""
    manager = Manager(directory, is_abstract=is_abstract)
    endpoint = endpoint_in(directory)
    arguments = ("serve", "--data", str(directory / "data"), "--no-admin", "--bind", endpoint)
    environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000"}
    with contextlib.closing(manager.socket):
        async with tenure(*arguments, "--events-bind", f"ipc://{directory}/e", environ=environ) as broker:
            ready = await manager.until("READY=1")
            assert ready["STATUS"] == f"Takes requests at {endpoint}"
            assert (await output_of("status", "--endpoint", endpoint))[0] == 0
            for _ in range(3):
                await manager.until("WATCHDOG=1")
            broker.process.terminate()
            await manager.until("STOPPING=1")
            assert await broker.exit_code() == 0


async def test_a_wait_after_a_restore_is_told_and_not_taken_for_readiness(directory: Path) -> None:
    """The start may take longer than the manager allows: it is asked for more time, and told why."""
    data = ("--data", str(directory / "data"))
    async with serving(directory):
        assert (await output_of("backup", str(directory / "copy"), *data))[0] == 0
    assert (await output_of("restore", str(directory / "copy"), *data, "--quiet-ms", "3600000"))[0] == 0
    manager = Manager(directory, is_abstract=False)
    with contextlib.closing(manager.socket):
        async with tenure("serve", *data, "--no-admin", environ={"NOTIFY_SOCKET": manager.name}) as broker:
            await broker.line("broker.waits")
            heard = await manager.until("STATUS=Waits 3600 s after a restore")
            assert int(heard["EXTEND_TIMEOUT_USEC"]) > 1_000_000
            assert "READY" not in heard
