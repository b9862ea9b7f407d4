"""A request channel on the application's own event loop: no thread hop between a request and its answer.

The shell of `tenure.sdk.requests`: it watches the socket's descriptor, which is edge-triggered, so it reads until
nothing is left and looks again after each send. Endpoints are tried in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle
from time import monotonic
from typing import Final

import zmq

from tenure.contract.errors import TenureError
from tenure.contract.messages import BrokerMessage, ClientMessage, Hello, Welcome
from tenure.sdk import tracing
from tenure.sdk.requests import TICK_MS, RequestsCore
from tenure.sdk.sockets import Context, Socket, connect_dealer, is_readable, receive_waiting, try_send

_SENT_TOGETHER: Final = 8
"""Requests of one turn of the loop that go out in one go: each go wakes libzmq's thread, and the broker may begin."""


class RequestChannel:
    """Sends requests and returns answers; one per client and event loop."""

    def __init__(self, context: Context, endpoints: tuple[str, ...], hello: Callable[[], Hello]) -> None:
        self.endpoint = endpoints[0]
        """The endpoint in use, or tried last."""
        self._context = context
        self._turns = cycle(endpoints)
        self._core = RequestsCore(hello, endpoints)
        self._futures: dict[bytes, asyncio.Future[BrokerMessage]] = {}
        self._loop = asyncio.get_running_loop()
        self._socket: Socket | None = None
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None
        self._is_traced = tracing.is_on()  # asking for each request would cost more than sending it
        self._looks_soon = False
        """Whether to send what is due, and to look for answers, is planned already."""

    @property
    def welcome(self) -> Welcome | None:
        """What the broker said on the newest connection; None before the first request was answered."""
        return self._core.welcome

    async def request(self, message: ClientMessage, timeout_ms: float) -> BrokerMessage:
        """Send a request and wait for its answer, over as many connections as that takes.

        Raises:
            RequestRefusedError: The broker refused it.
            RequestTimeoutError: It was sent and not answered in time; whether it was carried out is unknown.
            BrokerUnavailableError: It was never sent; it was certainly not carried out.
            asyncio.CancelledError: As for a time-out, the outcome is unknown unless it was never sent.
        """
        if not self._is_traced:
            return await self._request(message, timeout_ms)
        with tracing.requesting(message) as trace:
            return await self._request(message, timeout_ms, trace)

    async def _request(self, message: ClientMessage, timeout_ms: float, trace: bytes = b"") -> BrokerMessage:
        request_id = self._core.submit(message, _now_ms(), timeout_ms, trace)
        future: asyncio.Future[BrokerMessage] = self._loop.create_future()
        self._futures[request_id] = future
        try:
            if self._timer is None:
                self._tick()
            elif self._core.waits_to_be_sent >= _SENT_TOGETHER:
                self._send()
            else:
                self._look_soon()
            return await future
        finally:
            del self._futures[request_id]
            self._core.withdraw(request_id)

    def close(self, error: TenureError) -> None:
        """Let go of the connection; whoever still waits gets `error`. Safe to repeat."""
        self._core.fail_all(error)
        self._disconnect()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._loop.is_closed():  # else whoever waited there waits for ever, and cannot be woken
            self._deliver()

    def _tick(self) -> None:
        """Let the core look at the time, and come back while requests wait."""
        self._timer = None
        if self._core.advance(_now_ms()):
            self._reconnect()
        self._exchange()
        if not self._core.is_idle:
            self._timer = self._loop.call_later(TICK_MS / 1_000, self._tick)

    def _exchange(self) -> None:
        """Take in what has come, send what may be sent, and hand out the outcomes."""
        if self._socket is not None:
            now_ms = _now_ms()
            for request_id, message in receive_waiting(self._socket):
                self._core.receive(request_id, message, now_ms)
            self._send()
        self._deliver()

    def _send(self) -> None:
        if self._send_due():  # which consumes the descriptor's edge
            self._look_soon()

    def _send_due(self) -> bool:
        """Send what is due; whether anything was sent."""
        socket = self._socket
        if socket is None:
            return False
        has_sent = False
        for frames in self._core.sendable(_now_ms()):
            if try_send(socket, *frames):
                has_sent = True
            else:  # offered again with the next tick: there is no connection, or no room
                self._core.unsent(frames[0])
        return has_sent

    def _look_soon(self) -> None:
        """Send and receive once for all that is asked for in one turn of the loop: each send alone wakes a thread."""
        if not self._looks_soon:
            self._looks_soon = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looks_soon = False
        self._send_due()
        if self._socket is not None and is_readable(self._socket):
            self._exchange()

    def _deliver(self) -> None:
        outcomes, self._core.outcomes = self._core.outcomes, []
        for request_id, outcome in outcomes:
            future = self._futures.get(request_id)
            if future is None or future.done():
                continue
            if isinstance(outcome, TenureError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _reconnect(self) -> None:
        self._disconnect()
        self.endpoint = next(self._turns)
        self._socket = connect_dealer(self._context, self.endpoint)
        self._fd = int(self._socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._fd, self._exchange)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._fd)
            self._socket.close(0)
            self._socket = None


def _now_ms() -> float:
    return monotonic() * 1_000
