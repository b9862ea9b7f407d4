"""Being active as a scope, for work that runs in the caller's thread.

`tenure.sdk.active` decides when the work begins and when it has to stop. It runs a stand-in on the event loop, which is
cancelled as asyncio work would be: it tells the thread, and ends only when the work there has. So work that does not
stop is waited for and reported, and a role is never given back under it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from tenure.contract.errors import ClientClosedError, RoleLostError
from tenure.sdk.active import ActiveScope as AsyncScope
from tenure.sdk.blocking.portal import Pending, Portal
from tenure.sdk.blocking.registration import Tenure
from tenure.sdk.registration import Tenure as AsyncTenure

type Work[T] = Callable[[Tenure], T]


class Body[T]:
    """What a thread does under one tenure."""

    def __init__(self, of: AsyncTenure, portal: Portal) -> None:
        self._of = of
        self._portal = portal
        self._told = threading.Event()
        self._left = asyncio.Event()
        self._values: list[T] = []
        self._error: Exception | None = None
        self.tenure = Tenure(of, portal, self._told)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def run(self, work: Work[T]) -> Exception | None:
        """Do the work; what it returns or raises goes to the stand-in, but for what ends programs: that is raised.

        Returns what it raised.
        """
        try:
            self._values.append(work(self.tenure))
        except Exception as error:
            self._error = error
        self.leave()
        return self._error

    def leave(self) -> None:
        """Let the stand-in end: the work has."""
        self._portal.tell(self._left.set)

    # --- on the event loop --------------------------------------------------------------------------------------------

    async def stand_in(self) -> list[T]:
        """Be what is cancelled in place of the work; returns what that returned, if it runs by `run`.

        Raises:
            RoleLostError: The role was lost, and the thread has found out first.
            asyncio.CancelledError: It was cancelled, and the work has stopped.
            Exception: Whatever the work raised.
        """
        cancelled = await self._until_left()
        if self._error is not None and not (cancelled and isinstance(self._error, RoleLostError)):
            raise self._error
        if cancelled is not None:
            raise cancelled
        if not self._of.is_active:
            raise self._of.registration.role_lost(self._of.epoch)
        return self._values

    async def _until_left(self) -> asyncio.CancelledError | None:
        """Wait until the thread has left, and tell it when to; the first cancellation, if there was one."""
        cancelled: asyncio.CancelledError | None = None
        while not self._left.is_set() and not (cancelled and self._portal.is_over):
            try:
                await self._left.wait()
            except asyncio.CancelledError as again:
                cancelled = cancelled or again
                self._told.set()
        self._told.set()  # other threads may wait for the end of this tenure too
        return cancelled


class Relay[T]:
    """Hands the tenures of a coroutine, which has to run `stand_in` as its work, over to the thread that made it."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._bodies: SimpleQueue[Body[T] | None] = SimpleQueue()
        self._newest: Body[T] | None = None
        self._pending: Pending[Any] | None = None

    async def stand_in(self, tenure: AsyncTenure) -> list[T]:
        """The work of the coroutine: have the thread do it."""
        self._newest = body = Body[T](tenure, self._portal)
        self._bodies.put(body)
        return await body.stand_in()

    def start[R](self, coroutine: Coroutine[Any, Any, R]) -> Pending[R]:
        """Begin with the coroutine.

        Raises:
            ClientClosedError: The client is closed.
        """
        self._pending = pending = self._portal.start(coroutine)
        pending.when_done(lambda: self._bodies.put(None))
        return pending

    def next_body(self) -> Body[T] | None:
        """Wait for the role, or None: the coroutine has ended.

        Raises:
            ClientClosedError: This process is the child of a fork, which nobody will tell.
        """
        self._portal.check_here()
        return self._bodies.get()

    def abandon(self) -> None:
        """Have the coroutine cancelled as its thread does nothing more for it, and wait for its end."""
        if self._pending is not None and self._portal.is_here:
            self._pending.cancel()
            self._portal.tell(self._leave)
            self._pending.wait()

    def _leave(self) -> None:
        if self._newest is not None:
            self._newest.leave()


def run_as_active[T](relay: Relay[T], coroutine: Coroutine[Any, Any, list[T]], work: Work[T]) -> T:
    """Do the work in this thread whenever the coroutine has the role for it; see `ServiceClient.run_as_active`."""
    pending = relay.start(coroutine)
    raised: Exception | None = None
    try:
        while (body := relay.next_body()) is not None:
            raised = body.run(work)
    except BaseException:
        relay.abandon()
        raise
    try:
        (value,) = pending.result()
    except RuntimeError as error:
        if raised is not None and error.__cause__ is raised:  # StopIteration, which no coroutine hands on as it is
            raise raised from None
        raise
    return value


class ActiveScope:
    """The block of `with client.active(...) as tenure`. It can be entered once."""

    def __init__(self, scope: AsyncScope, here: Callable[[], Portal]) -> None:
        self._scope = scope
        self._here = here
        self._relay: Relay[None] | None = None
        self._pending: Pending[None] | None = None
        self._body: Body[None] | None = None

    def __enter__(self) -> Tenure:
        """Wait for the role.

        Raises:
            ClientClosedError: The client is not open.
            TenureError: As `ServiceClient.register`.
        """
        relay = self._relay = Relay[None](self._here())
        pending = self._pending = relay.start(self._hold(relay))
        try:
            body = self._body = relay.next_body()
            if body is None:
                pending.result()
        except BaseException:
            relay.abandon()
            raise
        assert body is not None, "the scope ends only after its block, or raises"
        return body.tenure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the registration.

        Raises:
            RoleLostError: The role was lost while the block ran.
            ClientClosedError: The client was closed while the block ran.
        """
        assert self._body is not None
        assert self._pending is not None
        self._body.leave()
        try:
            self._pending.result()
        except (RoleLostError, ClientClosedError):
            if error is None:
                raise

    async def _hold(self, relay: Relay[None]) -> None:
        async with self._scope as tenure:
            await relay.stand_in(tenure)
