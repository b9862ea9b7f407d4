"""A request channel's core on a stage: the test tells it the time, and is the broker at the other end."""

from __future__ import annotations

from tenure.contract import codec
from tenure.contract.errors import ErrorCode, ErrorInfo, TenureError
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import BrokerMessage, ClientMessage, ErrorReply, Goodbye, Hello, Welcome
from tenure.sdk.requests import RequestsCore

HELLO = b"hello"
TIMEOUT_MS = 10_000.0
WELCOME = Welcome(version=PROTOCOL_VERSION, history_id="h", revision=1)
ENDPOINTS = ("ipc:///a", "tcp://b:1")


class Line:
    """A request channel's core, the time, and the test as the broker at the other end."""

    def __init__(self, endpoints: tuple[str, ...] = ENDPOINTS) -> None:
        self.core = RequestsCore(self._hello, endpoints)
        self.now_ms = 1_000.0
        self.history_id: str | None = None
        self._connection = 0

    def _hello(self) -> Hello:
        self._connection += 1
        return Hello(version=PROTOCOL_VERSION, connection=self._connection, history_id=self.history_id)

    def submit(self, message: ClientMessage | None = None, timeout_ms: float = TIMEOUT_MS) -> bytes:
        """Ask for something."""
        return self.core.submit(message or Goodbye(), self.now_ms, timeout_ms)

    def connects(self) -> bool:
        """Whether it asks for a new connection now."""
        return self.core.advance(self.now_ms)

    def sent(self) -> list[tuple[bytes, ClientMessage]]:
        """What it sends now."""
        return [(request_id, codec.decode_client(body)) for request_id, body, _ in self.core.sendable(self.now_ms)]

    def ids(self) -> list[bytes]:
        """The requests it sends now."""
        return [request_id for request_id, _ in self.sent()]

    def answer(self, request_id: bytes, message: BrokerMessage) -> None:
        """The broker answers."""
        self.core.receive(request_id, message, self.now_ms)

    def refuse(self, request_id: bytes, code: ErrorCode, retry_after_ms: int | None = None) -> None:
        """The broker refuses."""
        info = ErrorInfo(code=code, message="because", retry_after_ms=retry_after_ms)
        self.answer(request_id, ErrorReply(error=info))

    def outcomes(self) -> list[tuple[bytes, BrokerMessage | TenureError]]:
        """What requests have come to since the last time."""
        outcomes, self.core.outcomes = self.core.outcomes, []
        return outcomes

    def outcome(self, request_id: bytes) -> BrokerMessage | TenureError:
        """What a request has come to, no other having come to anything."""
        ((concluded, outcome),) = self.outcomes()
        assert concluded == request_id
        return outcome

    def welcome(self) -> None:
        """The connection is made and welcomed."""
        assert self.connects()
        ((request_id, hello),) = self.sent()
        assert request_id == HELLO
        assert isinstance(hello, Hello)
        self.answer(HELLO, WELCOME)
