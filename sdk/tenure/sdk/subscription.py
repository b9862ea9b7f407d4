"""One subscription to a broker's stream, read only while somebody waits for it.

The socket's descriptor is watched only during a wait: in between, what arrives stays in bounded queues, and what these
cannot take is lost here and read from the store instead. It never blocks and never polls.
"""

from __future__ import annotations

import asyncio
import contextlib

import zmq

from tenure.contract import codec
from tenure.contract.errors import ProtocolError
from tenure.contract.messages import StreamMessage
from tenure.sdk.sockets import Context, connect_subscriber


class Subscription:
    """The whole stream of the broker that publishes at an endpoint."""

    def __init__(self, context: Context, endpoint: str) -> None:
        """Connect; nothing is heard before libzmq has."""
        self.endpoint = endpoint
        """Where the stream comes from."""
        self._socket = connect_subscriber(context, endpoint)
        self._fd = int(self._socket.getsockopt(zmq.FD))
        self._loop = asyncio.get_running_loop()

    async def receive(self, silence_ms: float) -> StreamMessage | None:
        """The next message; None after `silence_ms` without one. A cancelled wait loses nothing."""
        await asyncio.sleep(0)  # a stream that never pauses must not keep everything else on this loop waiting
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(silence_ms / 1_000):
                while True:
                    message = self.next_waiting()
                    if message is not None:
                        return message
                    await self._wait_readable()
        return None

    def next_waiting(self) -> StreamMessage | None:
        """What has arrived; None if nothing has. A malformed message is passed over; if it had events, a gap shows."""
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            if len(frames) == 1:
                with contextlib.suppress(ProtocolError):
                    return codec.decode_stream(frames[0])

    def close(self) -> None:
        """Let go of the connection. Safe to repeat."""
        self._socket.close(0)

    async def _wait_readable(self) -> None:
        """Wait until libzmq has something to tell, which need not be a message.

        The descriptor stays readable until the socket is read, so that it is watched for one report at a time.
        """
        readable: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._fd, _tell, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(self._fd)


def _tell(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
