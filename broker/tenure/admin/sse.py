"""Server-sent events: how a message looks, who waits for news, and how many streams there may be.

A stream is a generator of bytes that is pulled only as its reader's socket drains, so that whoever reads slowly costs
itself alone: nothing is queued for it here. What all streams say is encoded once, by whoever has it to say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final, override

from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

MEDIA_TYPE: Final = "text/event-stream"
KEEP_ALIVE_S: Final = 15.0
"""How long a stream says nothing: a proxy in between would take it for dead."""
KEEP_ALIVE: Final = b": \n\n"
STREAMS_MAX: Final = 100  # pages and programs that watch at once; each costs a connection and what its socket holds


def message(data: bytes, *, event: str = "", identity: str = "") -> bytes:
    """A message as it travels; `data` is JSON, which has no line breaks of its own."""
    head = (f"id: {identity}\n" if identity else "") + (f"event: {event}\n" if event else "")
    return b"%sdata: %s\n\n" % (head.encode(), data)


def is_wanted(accept: str) -> bool:
    """Whether a request's Accept names a stream."""
    return any(one.split(";")[0].strip().lower() == MEDIA_TYPE for one in accept.split(","))


class Bell:
    """Wakes everybody who waits for news. Look at what there is first, then wait: nothing is missed in between."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """There is something new."""
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until it rings; False if it has not by then. May be cancelled."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        return True


class TooManyStreamsError(Exception):
    """As many streams as there may be are open."""

    def __init__(self) -> None:
        super().__init__(f"{STREAMS_MAX} streams are open already, which is as many as there may be")


class Streams:
    """All streams that are open."""

    def __init__(self, bells: Iterable[Bell] = ()) -> None:
        """Prepare for streams that wait at some bells."""
        self._bells = tuple(bells)
        self.count = 0
        """How many are open."""
        self.is_closing = False
        """Whether they are to end."""

    def respond(self, chunks: AsyncGenerator[bytes]) -> Stream:
        """The answer that sends what a generator yields, until it ends or the reader is gone.

        Raises:
            TooManyStreamsError: There are too many already.
        """
        if self.count >= STREAMS_MAX:
            raise TooManyStreamsError
        return _EventStream(self, chunks)

    def close(self) -> None:
        """Have all of them end; whoever waits is woken for it."""
        self.is_closing = True
        for bell in self._bells:
            bell.ring()

    @contextlib.asynccontextmanager
    async def opened(self, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[None]:
        """Count a stream for as long as it is sent; its generator is closed in any case."""
        self.count += 1
        try:
            async with contextlib.aclosing(chunks):
                yield
        finally:
            self.count -= 1


class _EventStream(Stream):
    """An answer that is a stream of events."""

    def __init__(self, streams: Streams, chunks: AsyncGenerator[bytes]) -> None:
        super().__init__(chunks, media_type=MEDIA_TYPE)
        self._streams = streams
        self._chunks = chunks

    @override
    def to_asgi_response(self, *args: Any, **options: Any) -> ASGIResponse:
        return _Sending(self._streams, self._chunks)


class _Sending(ASGIStreamingResponse):
    """Sends a stream, and is counted meanwhile."""

    def __init__(self, streams: Streams, chunks: AsyncGenerator[bytes]) -> None:
        # A proxy that collects what it passes on would keep everybody waiting.
        super().__init__(iterator=chunks, media_type=MEDIA_TYPE, headers={"x-accel-buffering": "no"})
        self._streams = streams
        self._chunks = chunks

    @override
    async def send_body(self, send: Send, receive: Receive) -> None:
        async with self._streams.opened(self._chunks):
            await super().send_body(send, receive)
