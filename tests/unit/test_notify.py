"""What a service manager is told, on a real datagram socket, also one of an abstract name."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tenure.broker.notify import ServiceManager

PATIENCE_S = 30.0


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket and what it calls it in the environment."""
    name = f"@tenure-{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1))
        listening.settimeout(PATIENCE_S)
        yield listening, name


def test_values_arrive_in_one_datagram(manager: tuple[socket.socket, str]) -> None:
    """One line for each value."""
    listening, name = manager
    told = ServiceManager({"NOTIFY_SOCKET": name})
    told.tell(READY=1, STATUS="Takes requests at ipc:///run/tenure/broker.ipc")
    assert listening.recv(4_096) == b"READY=1\nSTATUS=Takes requests at ipc:///run/tenure/broker.ipc"
    told.close()
    told.close()


@pytest.mark.parametrize("pid", [None, str(os.getpid())], ids=["anybody", "this process"])
async def test_pings_come_twice_in_the_time_asked_for(manager: tuple[socket.socket, str], pid: str | None) -> None:
    """Again and again, from the event loop, until it is cancelled."""
    listening, name = manager
    listening.setblocking(False)
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"} | ({} if pid is None else {"WATCHDOG_PID": pid})
    told = ServiceManager(environ)
    loop = asyncio.get_running_loop()
    pinging = asyncio.create_task(told.ping_forever())
    began_s = loop.time()
    async with asyncio.timeout(PATIENCE_S):
        assert [await loop.sock_recv(listening, 4_096) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    assert loop.time() - began_s >= 0.029  # three halves of 20 ms
    pinging.cancel()
    await asyncio.gather(pinging, return_exceptions=True)
    told.close()


@pytest.mark.parametrize("environ", [
    {},
    {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},
    {"WATCHDOG_USEC": "soon"},
    {"WATCHDOG_USEC": "0"},
])  # fmt: skip
async def test_without_a_watchdog_nothing_is_pinged(environ: dict[str, str]) -> None:
    """None is wanted, or it is wanted of another process: nothing goes on for ever."""
    async with asyncio.timeout(PATIENCE_S):
        await ServiceManager(environ).ping_forever()


def test_who_cannot_be_told_is_not_told(tmp_path: Path) -> None:
    """A socket that is not there costs one line in the log, and nothing else."""
    told = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "absent")})
    with capture_logs() as logs:
        told.tell(READY=1)
        told.tell(STOPPING=1)
    assert [entry["event"] for entry in logs] == ["manager.unreachable"]


def test_who_does_not_listen_holds_nothing_up(manager: tuple[socket.socket, str]) -> None:
    """A queue that is full loses what does not fit, and the next value is told again once there is room."""
    listening, name = manager
    told = ServiceManager({"NOTIFY_SOCKET": name})
    with capture_logs() as logs:
        for number in range(5_000):
            told.tell(STATUS=number)
    listening.setblocking(False)
    heard = 0
    while True:
        try:
            listening.recv(4_096)
        except BlockingIOError:
            break
        heard += 1
    assert 0 < heard < 5_000
    told.tell(STOPPING=1)
    assert listening.recv(4_096) == b"STOPPING=1"
    assert logs == []
    told.close()


def test_without_a_manager_nobody_is_told() -> None:
    """Started by hand: there is nothing to do, and to close."""
    told = ServiceManager({})
    told.tell(READY=1)
    told.close()
