"""The part of a client that opens its session, closes it, and opens another one when that has ended.

One session at a time, each with sockets of its own; in the child of a fork there is none. What the session is used for
is said in `tenure.sdk.client`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Literal, Self
from weakref import WeakSet

import zmq

from tenure.contract.errors import ClientClosedError, TenureError
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk.connection import SessionConnection
from tenure.sdk.connection_changes import ConnectionChanges
from tenure.sdk.heartbeats import ConnectionState
from tenure.sdk.intervals import check_writable
from tenure.sdk.options import Options
from tenure.sdk.sockets import Context

type StatusName = ServiceStatus | Literal["starting", "healthy", "degraded", "unhealthy", "draining"]


class SessionOwner:
    """A part of `ServiceClient`, which says how its sessions are held."""

    def __init__(self, endpoints: tuple[str, ...], status: ServiceStatus, options: Callable[[], Options]) -> None:
        """`options` is called for each session: the process it runs in may be a fork of the one that made this."""
        self.endpoints = endpoints
        """The endpoints that are tried in turn."""
        self._status = status
        self._options = options
        self._changes = ConnectionChanges()
        self._context: Context | None = None
        self._session: SessionConnection | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False
        self._is_log_checked = False
        _owners.add(self)

    async def __aenter__(self) -> Self:
        """Open a session, as `open`."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye, as `close`."""
        await self.close()

    async def open(self) -> None:
        """Connect, open a session and wait for the first answered heartbeat. Does nothing if one is open.

        Raises:
            BrokerUnavailableError: No broker answered at any endpoint in time.
            RequestRefusedError: The broker refused the session.
            IntervalLogUnwritableError: No interval log can be written. It is looked at before the first session alone,
                as a log must not cost a role that is to come back.
        """
        self._is_closed = False
        async with self._opening:  # several scopes may find at once that the session has ended
            if self._session is None or self._session.has_ended:
                await self._end_session()
                await self._begin_session()

    async def _begin_session(self) -> None:
        """Open a session in place of none; lets go of it again if that fails."""
        options = self._options()
        if options.interval_log is not None and not self._is_log_checked:
            check_writable(options.interval_log)
            self._is_log_checked = True
        self._context = zmq.Context()
        self._session = SessionConnection(self._context, self.endpoints, options, self._status, self._changes.tell)
        try:
            await self._session.open(options.timeout_ms)
        except BaseException:
            await self._end_session()
            raise

    async def close(self) -> None:
        """Stop being active for everything, tell the broker, and let go of the connection. Safe to repeat.

        Call it when the work of all roles has stopped: others are promoted at once.
        """
        self._is_closed = True
        try:
            await self._end_session()
        finally:
            self._changes.end()

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        context, self._context = self._context, None
        try:
            if session is not None:
                await session.close()
        finally:
            if context is not None:
                context.term()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, and not opened again since."""
        return self._is_closed

    @property
    def is_connected(self) -> bool:
        """Whether the broker is answering heartbeats at present."""
        return self._session is not None and self._session.is_connected

    @property
    def connection_state(self) -> ConnectionState:
        """How it stands with the broker: connected, suspended or lost; see `ConnectionState`."""
        return ConnectionState.LOST if self._session is None else self._session.connection_state

    def connection_changes(self) -> AsyncIterator[ConnectionState]:
        """Follow how it stands with the broker: the present state, then each change once, until `close`."""
        return self._changes.follow(self.connection_state)

    @property
    def error(self) -> TenureError | None:
        """Why the session has ended by itself, such as `SessionExpiredError`; None while it lives."""
        return None if self._session is None else self._session.error

    async def wait_connected(self) -> None:
        """Wait until heartbeats are being answered.

        Raises:
            TenureError: The session has ended; the error says why. `open` begins another one.
        """
        await self._living().wait_connected()

    def set_status(self, status: StatusName) -> None:
        """Report this status from the next heartbeat on; only healthy and degraded standbys are promoted.

        Raises:
            ValueError: It is not one of starting, healthy, degraded, unhealthy, draining.
        """
        reported = ServiceStatus(status)
        if reported is ServiceStatus.LATE:
            raise ValueError("'late' is what a broker observes; report one of the other statuses")
        self._status = reported
        if self._session is not None:
            self._session.set_status(reported)

    def disown(self) -> None:
        """Let nothing be active any more; called in the child of a fork, where the client cannot be used."""
        if self._session is not None:
            self._session.disown()
            self._session = None
            self._context = None

    def _living(self) -> SessionConnection:
        if self._session is None:
            raise ClientClosedError(
                "the client has no session in this process: use it in `async with`, or call `open` first"
            )
        return self._session


_owners: WeakSet[SessionOwner] = WeakSet()


def _disown_all() -> None:
    for owner in _owners:
        owner.disown()


os.register_at_fork(after_in_child=_disown_all)
