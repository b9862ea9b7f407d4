"""The pure core of a request channel: which request waits for what, without sockets, loops or clocks.

Requests go out once the connection's hello is answered. One that is not answered in time drops the connection and is
repeated over the next with the SAME request id, because repeats are safe and an old copy is then no longer heard. A
refusal that promises a better outcome later (overloaded, a lapsed session, shutting down, storage unavailable) is
repeated too, until the request's own time is up. No more go out at once than a broker takes from one connection; the
others wait here.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import islice
from typing import Final

from tenure.contract import codec
from tenure.contract.errors import (
    BrokerUnavailableError,
    ErrorCode,
    ErrorInfo,
    InvalidRequestError,
    LimitExceededError,
    RequestTimeoutError,
    SessionExpiredError,
    TenureError,
    refusal_from,
)
from tenure.contract.limits import FRAME_BYTES_MAX
from tenure.contract.messages import BrokerMessage, ClientMessage, ErrorReply, Hello, Welcome

ATTEMPT_MS: Final = 1_000
"""How long a request may stay unanswered on one connection before another is tried."""
CONNECT_MS: Final = 250
"""How long a connection may take to be welcomed before another is tried."""
TICK_MS: Final = 20
"""How often to let the core look at the time while requests wait."""
IN_FLIGHT_MAX: Final = 500
"""How many requests go out before answers come: half of what a broker takes, and a socket holds, by default."""
_RETRY_MS: Final = 50
_HELLO_ID: Final = b"hello"
_REPEATED: Final = frozenset(
    {
        ErrorCode.OVERLOADED,
        ErrorCode.SESSION_LAPSED,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.STORAGE_UNAVAILABLE,
    }
)

type Outcome = BrokerMessage | TenureError


class _Waiting:
    """One request that has not had its outcome."""

    __slots__ = (
        "body",
        "ends_at_ms",
        "is_deferred",
        "name",
        "refusal",
        "sent_at_ms",
        "started_ms",
        "trace",
        "unanswered",
    )

    def __init__(self, name: str, body: bytes, trace: bytes, now_ms: float, timeout_ms: float) -> None:
        self.name = name
        self.body = body
        self.trace = trace
        self.started_ms = now_ms
        self.ends_at_ms = now_ms + timeout_ms
        self.is_deferred = False
        """Whether it waits for its time, because a refusal asked to try again later."""
        self.sent_at_ms: float | None = None
        """When it went out on the present connection; None if it did not, or was refused there."""
        self.unanswered = 0
        """How often it went out without an answer, on any connection: if never, it was certainly not carried out."""
        self.refusal: ErrorInfo | None = None
        """The newest refusal that was worth repeating after."""


class RequestsCore:
    """The requests of one channel. Times are milliseconds of any clock that never jumps."""

    def __init__(self, hello: Callable[[], Hello], endpoints: tuple[str, ...]) -> None:
        """`hello` composes what to say first on each new connection."""
        self.outcomes: list[tuple[bytes, Outcome]] = []
        """What requests have come to; the shell takes them."""
        self.welcome: Welcome | None = None
        """The newest welcome; None before the first."""
        self._compose_hello = hello
        self._endpoints = endpoints
        self._waiting: dict[bytes, _Waiting] = {}
        self._unsent: dict[bytes, None] = {}
        """What may go out on the present connection, in the order in which it was submitted."""
        self._deferred: list[tuple[float, bytes]] = []
        """When refused requests go out again; a heap."""
        self._in_flight = 0
        """How many that are still waited for went out on the present connection."""
        self._number = 0
        self._is_welcome = False
        self._said_hello = False
        self._history_id: str | None = None
        """The history that the hello on the present connection named."""
        self._connected_ms: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request waits for an outcome, so that `advance` need not be called."""
        return not self._waiting

    @property
    def waits_to_be_sent(self) -> int:
        """How many requests have not gone out."""
        return len(self._unsent)

    def submit(self, message: ClientMessage, now_ms: float, timeout_ms: float, trace: bytes = b"") -> bytes:
        """Take in a request, and the span it belongs to, if any; returns the id under which its outcome will come.

        Raises:
            InvalidRequestError: A value cannot be written down: a number beyond 64 bits, text that is no Unicode.
            LimitExceededError: It is longer than a broker reads; sent, it would only cost the connection.
        """
        body = _encode(message)
        self._number += 1
        request_id = self._number.to_bytes(8)
        self._waiting[request_id] = _Waiting(type(message).__name__, body, trace, now_ms, timeout_ms)
        self._unsent[request_id] = None
        return request_id

    def withdraw(self, request_id: bytes) -> None:
        """Nobody waits for this request any more; it may have been carried out."""
        self._take_out(request_id)

    def advance(self, now_ms: float) -> bool:
        """Let time pass; returns whether a new connection is to be made now, in place of the old one.

        To be called every `TICK_MS` while requests wait, and after the first of them was submitted.
        """
        is_stuck = False
        for request_id, waiting in list(self._waiting.items()):
            if now_ms >= waiting.ends_at_ms:
                self._conclude(request_id, self._time_is_up(waiting, now_ms))
            elif waiting.sent_at_ms is not None and now_ms - waiting.sent_at_ms >= ATTEMPT_MS:
                is_stuck = True
        if not self._waiting:
            return False
        if self._connected_ms is not None:
            is_late = now_ms - self._connected_ms >= CONNECT_MS
            if not (is_stuck or (is_late and not self._is_welcome)):
                return False
        self._connected_ms = now_ms
        self._start_over()
        return True

    def sendable(self, now_ms: float) -> list[tuple[bytes, bytes, bytes]]:
        """What may be sent now, as frames (request id, body, trace or none): a hello, or the requests that are due."""
        if self._connected_ms is None:
            return []
        if not self._is_welcome:
            if self._said_hello:
                return []
            self._said_hello = True
            hello = self._compose_hello()
            self._history_id = hello.history_id
            return [(_HELLO_ID, codec.encode(hello), b"")]
        while self._deferred and self._deferred[0][0] <= now_ms:
            _, request_id = heapq.heappop(self._deferred)
            if request_id in self._waiting:
                self._waiting[request_id].is_deferred = False
                self._unsent[request_id] = None
        due: list[tuple[bytes, bytes, bytes]] = []
        for request_id in islice(self._unsent, max(0, IN_FLIGHT_MAX - self._in_flight)):
            waiting = self._waiting[request_id]
            waiting.sent_at_ms = now_ms
            waiting.unanswered += 1
            due.append((request_id, waiting.body, waiting.trace))
        for request_id, _, _ in due:
            del self._unsent[request_id]
        self._in_flight += len(due)
        return due

    def unsent(self, request_id: bytes) -> None:
        """What `sendable` returned could not be handed to the socket yet: offer it again."""
        if request_id == _HELLO_ID:
            self._said_hello = False
        elif request_id in self._waiting:
            self._was_answered(self._waiting[request_id])
            self._unsent[request_id] = None

    def receive(self, request_id: bytes, message: BrokerMessage, now_ms: float) -> None:
        """Take in an answer."""
        if request_id == _HELLO_ID:
            self._hello_answered(message)
            return
        waiting = self._waiting.get(request_id)
        if waiting is None:
            return
        if not isinstance(message, ErrorReply):
            self._conclude(request_id, message)
        elif message.error.code is ErrorCode.HELLO_REQUIRED:
            self._was_answered(waiting)
            if self._is_welcome:  # else it was sent before the hello that is on its way already
                self._connected_ms = now_ms
                self._start_over()
        elif message.error.code in _REPEATED:
            waiting.refusal = message.error
            self._was_answered(waiting)
            if message.error.code is ErrorCode.STORAGE_UNAVAILABLE:
                waiting.unanswered += 1  # its outcome stays as open as if nothing had come
            waiting.is_deferred = True
            heapq.heappush(self._deferred, (now_ms + (message.error.retry_after_ms or _RETRY_MS), request_id))
            if message.error.code is ErrorCode.SHUTTING_DOWN:
                self._connected_ms = None
        else:
            self._conclude(request_id, refusal_from(message.error))

    def fail_all(self, error: TenureError) -> None:
        """Conclude every request with an error."""
        for request_id in list(self._waiting):
            self._conclude(request_id, error)

    def _start_over(self) -> None:
        """Say hello again, and send everything again after it."""
        self._is_welcome = False
        self._said_hello = False
        self._in_flight = 0
        self._unsent.clear()
        for request_id, waiting in self._waiting.items():
            waiting.sent_at_ms = None
            if not waiting.is_deferred:
                self._unsent[request_id] = None

    def _was_answered(self, waiting: _Waiting) -> None:
        """It was not carried out where it went last, so that it may go out again."""
        waiting.unanswered -= 1
        if waiting.sent_at_ms is not None:
            waiting.sent_at_ms = None
            self._in_flight -= 1

    def _hello_answered(self, message: BrokerMessage) -> None:
        match message:
            case Welcome(history_id=history_id) if self._history_id not in {None, history_id}:
                # What is answered here means nothing to a session of another history, though its name is known here.
                self.fail_all(SessionExpiredError("the broker has another history now: its store was replaced"))
                self._connected_ms = None
            case Welcome():
                self.welcome = message
                self._is_welcome = True
            case ErrorReply(error=error) if error.code in _REPEATED or self._is_elsewhere(error):
                for waiting in self._waiting.values():
                    waiting.refusal = error
            case ErrorReply(error=error):
                self.fail_all(refusal_from(error))
                self._connected_ms = None
            case _:
                pass

    def _is_elsewhere(self, error: ErrorInfo) -> bool:
        """Whether the session may be ours at another endpoint: it belongs to whom the transport vouched for."""
        return error.code is ErrorCode.FORBIDDEN and len(self._endpoints) > 1

    def _time_is_up(self, waiting: _Waiting, now_ms: float) -> TenureError:
        waited_ms = round(now_ms - waiting.started_ms)
        refusal = waiting.refusal
        if waiting.unanswered and (refusal is None or refusal.code is not ErrorCode.STORAGE_UNAVAILABLE):
            return RequestTimeoutError(waiting.name, waited_ms)
        if refusal is not None:  # the newest is told; that of a store leaves the outcome open as well
            return refusal_from(refusal)
        return BrokerUnavailableError(self._endpoints, waited_ms)

    def _conclude(self, request_id: bytes, outcome: Outcome) -> None:
        self._take_out(request_id)
        self.outcomes.append((request_id, outcome))

    def _take_out(self, request_id: bytes) -> None:
        waiting = self._waiting.pop(request_id, None)
        self._unsent.pop(request_id, None)
        if waiting is not None and waiting.sent_at_ms is not None:
            self._in_flight -= 1


def _encode(message: ClientMessage) -> bytes:
    try:
        body = codec.encode(message)
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidRequestError(f"{type(message).__name__} has a value that cannot be sent: {error}") from error
    if len(body) > FRAME_BYTES_MAX:
        raise LimitExceededError(
            f"{type(message).__name__} has {len(body)} bytes; a broker reads {FRAME_BYTES_MAX} at most: shorten it "
            "or split it",
            limit=FRAME_BYTES_MAX,
        )
    return body
