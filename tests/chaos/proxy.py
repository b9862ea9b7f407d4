"""A link that can go bad: connections are passed on to a broker, and each direction can be delayed, held or lossy.

A stream that has lost bytes is of no use to anybody, so when a direction stops dropping, connections that lost some are
cut; what was held arrives late, but whole. The broker may come and go: each new connection tries it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 1 << 16

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Direction:
    """One direction of all connections."""

    def __init__(self) -> None:
        self.delay_ms: float = 0.0
        """How long each piece is kept before it is passed on, in order."""
        self.is_dropping = False
        self.passed_bytes = 0
        self.lost_bytes = 0
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Keep everything from here on, and pass it on once healed."""
        self._open.clear()

    def drop(self) -> None:
        """Lose everything from here on; connections stay open."""
        self.is_dropping = True
        self._open.set()

    def heal(self) -> None:
        """Pass on again, what was held first."""
        self.delay_ms = 0.0
        self.is_dropping = False
        self._open.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection's bytes on until it ends, or until it is healed after it lost some."""
        has_lost = False
        while data := await reader.read(_PIECE_BYTES):
            if self.delay_ms:
                await asyncio.sleep(self.delay_ms / 1_000)  # the fault itself: nothing waits for this in a test
            await self._open.wait()
            if self.is_dropping:
                has_lost = True
                self.lost_bytes += len(data)
            elif has_lost:
                return
            else:
                self.passed_bytes += len(data)
                writer.write(data)
                await writer.drain()


class Proxy:
    """Listens in place of a broker; made by `open_proxy`."""

    def __init__(self, target: str) -> None:
        self.target = target
        """The broker's endpoint, tcp or ipc."""
        self.endpoint = ""
        """Where it listens, on the same transport."""
        self.to_broker = Direction()
        self.from_broker = Direction()
        self.cuts = 0
        self._links: set[asyncio.Task[None]] = set()

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Both."""
        return self.to_broker, self.from_broker

    def heal(self) -> None:
        """Let everything pass again."""
        for direction in self.directions:
            direction.heal()

    def cut(self) -> None:
        """End every connection; new ones may come."""
        self.cuts += 1
        for link in self._links:
            link.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        try:
            await asyncio.wait([link])
        finally:
            self._links.discard(link)
            writer.transport.abort()
        if not link.cancelled() and not isinstance(link.exception(), OSError | None):
            await link

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connecting = asyncio.create_task(_connect(self.target))
        try:
            far_reader, far_writer = await asyncio.shield(connecting)
        except asyncio.CancelledError:  # cut at this very moment: what is connected by now is let go
            with contextlib.suppress(OSError):
                (await connecting)[1].transport.abort()
            raise
        pumps = (
            asyncio.create_task(self.to_broker.pump(reader, far_writer)),
            asyncio.create_task(self.from_broker.pump(far_reader, writer)),
        )
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            far_writer.transport.abort()  # before anything is waited for, as it may be cut meanwhile
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_proxy(target: str, directory: Path, name: str = "p") -> AsyncGenerator[Proxy]:
    """A proxy for a broker's endpoint; over ipc it listens at a name in a directory."""
    proxy = Proxy(target)
    if target.startswith("ipc://"):
        server = await asyncio.start_unix_server(proxy.serve, directory / name)
        proxy.endpoint = f"ipc://{directory / name}"
    else:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.endpoint = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        server.abort_clients()
        await server.wait_closed()


async def _connect(endpoint: str) -> Streams:
    """Connect to the broker.

    Raises:
        OSError: It is away.
    """
    transport, _, address = endpoint.partition("://")
    if transport == "ipc":
        return await asyncio.open_unix_connection(address)
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))
