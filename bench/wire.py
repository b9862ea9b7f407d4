"""A client with nothing in it but the protocol: for loads that an SDK client per session would be too heavy for.

It keeps no role by section 7 of docs/protocol.md and gives none up: whoever uses it measures the broker, and works for
nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import batched
from types import TracebackType
from typing import Final, Self

import zmq

from tenure.contract import codec
from tenure.contract.errors import refusal_from
from tenure.contract.limits import BATCH_ITEMS_MAX, GIVEN_UP_MAX, LEASE_MS_MAX, PROTOCOL_VERSION
from tenure.contract.messages import BrokerMessage, ErrorReply, Hello, Register, RegisteredMany, RegisterMany, Welcome
from tenure.contract.vocabulary import Channel, ServiceRole

PER_SESSION: Final = GIVEN_UP_MAX
"""Registrations that a session may hold."""
_TIMEOUT_MS: Final = 60_000


def hello(session_id: str, lease_ms: int) -> Hello:
    """Open a session of which no process's exit is proof, on one channel for everything."""
    return Hello(
        version=PROTOCOL_VERSION, session_id=session_id, channel=Channel.CONTROL, lease_ms=lease_ms, client="bench"
    )


def accept[T: BrokerMessage](answer: BrokerMessage, wanted: type[T]) -> T:
    """The answer that was wanted.

    Raises:
        TenureError: The broker refused.
        TypeError: It said something else.
    """
    if isinstance(answer, ErrorReply):
        raise refusal_from(answer.error)
    if not isinstance(answer, wanted):
        raise TypeError(f"the broker answered {type(answer).__name__}, not {wanted.__name__}")
    return answer


class Wire:
    """One connection that waits for each answer."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, _TIMEOUT_MS)
        self._socket.connect(endpoint)

    def __enter__(self) -> Self:
        """It connects by itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave without a word: the session stays until its lease has run out."""
        self._socket.close()
        self._context.term()

    def ask[T: BrokerMessage](self, message: Hello | RegisterMany, wanted: type[T]) -> T:
        """Send a request and wait for its answer.

        Raises:
            TenureError: The broker refused.
            zmq.Again: It did not answer.
        """
        self._socket.send_multipart((b"\1", codec.encode(message)))
        while True:
            request_id, body = self._socket.recv_multipart()
            if request_id:  # else a push
                return accept(codec.decode_broker(body), wanted)


def fill(endpoint: str, numbers: Sequence[int]) -> None:
    """Register an active instance for each of these, in sessions of the longest lease, as many as it takes.

    Raises:
        TenureError: The broker refused.
        zmq.Again: It did not answer.
    """
    for of_session in batched(numbers, PER_SESSION, strict=False):
        with Wire(endpoint) as wire:
            wire.ask(hello(secrets.token_hex(16), LEASE_MS_MAX), Welcome)
            for of_batch in batched(of_session, BATCH_ITEMS_MAX, strict=False):
                answer = wire.ask(RegisterMany(items=tuple(map(active_registration, of_batch))), RegisteredMany)
                for result in answer.results:
                    if result.error is not None:
                        raise refusal_from(result.error)


def active_registration(number: int) -> Register:
    """One with names as long as they are in practice."""
    return Register(
        service_name="order-gateway",
        instance_id=f"gateway-{number % PER_SESSION}",
        resource_id=f"account-{number:08}",
        role=ServiceRole.ACTIVE,
    )
