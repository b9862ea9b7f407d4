"""A client with nothing in it but a socket: it says whatever a test wants said, also what no client should say.

It blocks, so it belongs into processes and tests of its own, never beside a broker on the same event loop.
"""

from __future__ import annotations

import secrets
from types import TracebackType
from typing import Final, Self

import zmq

from tenure.contract import codec
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import BrokerMessage, ClientMessage, Hello, Welcome
from tenure.contract.vocabulary import Channel

PATIENCE_MS: Final = 30_000
"""How long to wait for what has to come. Nothing is as slow as this, not even on a busy machine."""
LONG_LEASE_MS: Final = 600_000


class RawClient:
    """One DEALER socket."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDTIMEO, PATIENCE_MS)
        self.socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        self.socket.connect(endpoint)
        self._requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave without a word."""
        self.socket.close(0)
        self._context.term()

    def say(self, *frames: bytes) -> None:
        """Send any frames."""
        self.socket.send_multipart(frames)

    def ask(self, message: ClientMessage) -> BrokerMessage:
        """Send a message and wait for the answer to it."""
        return self.ask_body(codec.encode(message))

    def ask_body(self, body: bytes) -> BrokerMessage:
        """Send any body under a request id, and wait for the answer to it."""
        self._requests += 1
        request_id = self._requests.to_bytes(8)
        self.say(request_id, body)
        while True:
            answered, answer = self.hear()
            if answered == request_id:
                return answer

    def hear(self) -> tuple[bytes, BrokerMessage]:
        """The next message of the broker, and the request that it answers.

        Raises:
            zmq.Again: None came.
        """
        request_id, body = self.socket.recv_multipart()
        return request_id, codec.decode_broker(body)

    def hello(
        self, *, session_id: str | None = None, channel: Channel = Channel.CONTROL, lease_ms: int = LONG_LEASE_MS
    ) -> Welcome:
        """Open a session of its own, on one channel for everything."""
        answer = self.ask(
            Hello(
                version=PROTOCOL_VERSION,
                session_id=session_id or secrets.token_hex(16),
                channel=channel,
                lease_ms=lease_ms,
            )
        )
        assert isinstance(answer, Welcome), answer
        return answer
