"""A connection that only reads: no session, no lease, nothing that the broker has to store."""

from __future__ import annotations

import os
from importlib.metadata import version
from types import TracebackType
from typing import Self

import zmq

from tenure.contract.errors import ClientClosedError, ProtocolError
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import BrokerMessage, ClientMessage, Hello, Welcome
from tenure.sdk.channel import RequestChannel
from tenure.sdk.endpoints import events_endpoint, resolve_endpoints
from tenure.sdk.sockets import Context


class Reader:
    """Asks a broker questions; see `tenure.sdk.queries` for those there are."""

    def __init__(self, *endpoints: str, timeout_ms: float = 5_000) -> None:
        """Prepare a reader; endpoints as for `ServiceClient`, and how long a question is repeated before it fails.

        Raises:
            InvalidEndpointError: An endpoint is not of a form that can be connected to.
        """
        self.endpoints = resolve_endpoints(endpoints, os.environ, os.getuid())
        self.context: Context = zmq.Context()
        """Shared with sockets that belong to this reader, such as a listener's."""
        self._timeout_ms = timeout_ms
        self._channel: RequestChannel | None = None

    async def __aenter__(self) -> Self:
        """Nothing is connected before the first question."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the connection."""
        self.close()

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Send a question and wait for its answer.

        Raises:
            BrokerUnavailableError: No broker could be reached in time.
            RequestTimeoutError: No answer came in time.
            RequestRefusedError: The broker refused it.
            ProtocolError: The answer is not the one that belongs to the question.
        """
        if self._channel is None:
            self._channel = RequestChannel(self.context, self.endpoints, _hello)
        reply = await self._channel.request(message, self._timeout_ms)
        if not isinstance(reply, answer):
            raise ProtocolError(f"{type(message).__name__} was answered with {type(reply).__name__}")
        return reply

    @property
    def welcome(self) -> Welcome | None:
        """What the broker said on the newest connection; None before the first answer."""
        return None if self._channel is None else self._channel.welcome

    @property
    def events_endpoint(self) -> str | None:
        """Where the broker that was reached publishes its stream; None before the first answer, or if nowhere."""
        if self._channel is None or self._channel.welcome is None:
            return None
        return events_endpoint(self._channel.endpoint, self._channel.welcome.events_endpoints)

    def close(self) -> None:
        """Let go of the connection. Safe to repeat; sockets that share the context have to be closed before."""
        if self._channel is not None:
            self._channel.close(ClientClosedError("the reader was closed while this question waited"))
            self._channel = None
        self.context.term()


def _hello() -> Hello:
    return Hello(version=PROTOCOL_VERSION, client=f"tenure-python {version('tenure')}")
