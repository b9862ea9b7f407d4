"""Connections to the admin that say nothing: they are hung up on in time, and never keep others out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import httpx
import pytest

from tenure.admin import main
from tenure.admin.connections import Connection
from tenure.sdk import ServiceClient
from tests.integration.admins import admin_of
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere

HURRY_S = 0.05
PLACES = 8


@pytest.fixture
async def browser(broker: BrokerHere, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who asks an admin that follows the broker."""
    async with admin_of(broker.ipc, tmp_path) as client:
        yield client


@contextlib.asynccontextmanager
async def connected(browser: httpx.AsyncClient, said: bytes) -> AsyncGenerator[asyncio.StreamReader]:
    """A connection on which something is said, before the server can have seen it, and then nothing more."""
    port = browser.base_url.port
    assert port is not None
    client = socket.create_connection((browser.base_url.host, port))
    client.sendall(said)
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What is still answered until the other end hangs up."""
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


def _leave_open(_: Connection) -> None:
    """What uvicorn is to do when it has waited for long enough."""


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (b"", b""),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n", b""),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal", b"200 OK"),
        (b"POST /roles HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", b"401 Unauthorized"),
    ],
)
async def test_who_does_not_finish_is_hung_up_on(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, said: bytes, answered: bytes
) -> None:
    """Silent from the start, in the middle of a head, of the next one, or with a body that nobody waits for.

    uvicorn's own limit, which looks at silence alone and is longer, has no part in it.
    """
    monkeypatch.setattr(Connection, "timeout_keep_alive_handler", _leave_open)
    monkeypatch.setattr(Connection, "head_s", HURRY_S)
    async with connected(browser, said) as reader:
        assert answered in await rest_of(reader)


async def test_a_stream_goes_on(
    broker: BrokerHere, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has said what it wants, and may be silent for as long as nothing happens."""
    assert (await browser.get("/services")).status_code == 200, "there are events from here on"
    monkeypatch.setattr(Connection, "head_s", HURRY_S)
    asking = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    async with connected(browser, asking) as events, connected(browser, b"") as silent:
        await rest_of(silent)  # which takes as long as a head may
        async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client, asyncio.timeout(PATIENCE_S):
            await client.register("gw", instance_id="a")
            assert b'"registered"' in await events.readuntil(b'"gw"')


async def test_silent_ones_give_way(broker: BrokerHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, whoever asks is answered; the one that was silent longest goes first."""
    monkeypatch.setattr(main, "_CONNECTIONS_MAX", PLACES)
    async with admin_of(broker.ipc, tmp_path) as browser, contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connected(browser, b"")) for _ in range(3 * PLACES)]
        for _ in range(2):
            assert (await browser.get("/health/live")).status_code == 200
        assert await rest_of(silent[0]) == b""
        assert not silent[-1].at_eof()
