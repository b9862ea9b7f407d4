"""One session as it runs: its pure core, the thread that keeps its lease, and its request channel, held together.

Everything here is called on the application's event loop but for what the thread reports, which is handed over to it.
The core is shared with the thread under one lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Final

from tenure.contract.errors import (
    BrokerUnavailableError,
    ClientClosedError,
    InternalError,
    NotActiveError,
    NotFoundError,
    ProtocolError,
    RequestTimeoutError,
    SessionExpiredError,
    StorageUnavailableError,
    TenureError,
)
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    Deregister,
    Goodbye,
    Hello,
    Register,
    Registered,
    RegisteredMany,
    RegisterMany,
    RegisterResult,
    Resign,
    Resigned,
)
from tenure.contract.vocabulary import Channel, ServiceStatus
from tenure.sdk.belief_log import BeliefLog, Identity
from tenure.sdk.channel import RequestChannel
from tenure.sdk.clocks import read_clocks
from tenure.sdk.departures import Departures
from tenure.sdk.fence import Fence, fence_margin_ms
from tenure.sdk.heartbeats import ConnectionState
from tenure.sdk.lease_thread import LeaseThread
from tenure.sdk.options import Options
from tenure.sdk.registration import Registration
from tenure.sdk.session import Held, Phase, SessionCore
from tenure.sdk.sockets import Context
from tenure.sdk.witness import Witness, Witnesses

_CLIENT: Final = f"tenure-python {version('tenure')}"
_GOODBYE_MS: Final = 1_000
_OUTCOME_OPEN: Final = (RequestTimeoutError, StorageUnavailableError, InternalError, ProtocolError)


class SessionConnection:
    """A session with a broker, from its first hello to its end; it is never opened twice."""

    def __init__(
        self,
        context: Context,
        endpoints: tuple[str, ...],
        options: Options,
        status: ServiceStatus,
        on_state: Callable[[ConnectionState], None],
    ) -> None:
        """`on_state` is called on the event loop with each change of how it stands with the broker."""
        self._endpoints = endpoints
        self._timeout_ms = options.timeout_ms
        self._fence = Fence(options.lease_ms, self._resource_of) if options.is_fenced else None
        self._log = None if options.interval_log is None else BeliefLog(options.interval_log, self._identity)
        witnesses: list[Witness] = [one for one in (self._fence, self._log) if one is not None]
        self._core = SessionCore(
            secrets.token_hex(16),
            options.lease_ms,
            process=options.process,
            client=_CLIENT,
            witness=Witnesses(*witnesses),
            stall_limit_ms=options.stall_limit_ms,
            entry_margin_ms=2 * fence_margin_ms(options.lease_ms) if options.is_fenced else 0.0,
        )
        self._core.status = status
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._on_state = on_state
        self._state_changed = asyncio.Event()
        self._connection = 0
        self._registrations: dict[int, Registration] = {}
        self._departures = Departures(self)
        self._thread = LeaseThread(self._core, self._lock, context, endpoints, self._hand_over, self._loop.is_closed)
        self._channel = RequestChannel(context, endpoints, self._hello)
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def is_connected(self) -> bool:
        """Whether heartbeats are being answered on the present connection."""
        return self._core.is_connected

    @property
    def error(self) -> TenureError | None:
        """Why the session ended, if it ended otherwise than by `close`."""
        return self._core.error

    @property
    def has_ended(self) -> bool:
        """Whether the session is over, or about to be because the event loop that it belongs to was closed."""
        return self._core.phase is Phase.ENDED or self._loop.is_closed()

    @property
    def connection_state(self) -> ConnectionState:
        """How it stands with the broker at this moment."""
        return self._core.connection_state(read_clocks())

    @property
    def number(self) -> int:
        """The public number that the broker gave it."""
        return self._core.session

    @property
    def registrations(self) -> Iterable[Registration]:
        """Those that have not ended."""
        return self._registrations.values()

    async def open(self, timeout_ms: float) -> None:
        """Connect and wait for the first answered heartbeat.

        Raises:
            BrokerUnavailableError: No broker answered in time.
            RequestRefusedError: The broker refused the session.
        """
        self._tick()
        self._thread.start()
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await self.wait_connected()
        except TimeoutError:
            raise BrokerUnavailableError(self._endpoints, round(timeout_ms)) from None

    async def wait_connected(self) -> None:
        """Wait until heartbeats are being answered.

        Raises:
            TenureError: The session has ended; the error says why.
        """
        while not self.is_connected:
            self.check_open()
            self._state_changed.clear()
            await self._state_changed.wait()

    def check_open(self) -> None:
        """Raise if the session is over.

        Raises:
            TenureError: It is; the error says why.
        """
        if self.has_ended:
            raise self._core.error or ClientClosedError("the client is closed; open another one")

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Send a request for this session and wait for its answer.

        Raises:
            TenureError: As `RequestChannel.request`; or the session is over.
            ProtocolError: The answer is not the one that belongs to the request.
        """
        self.check_open()
        reply = await self._channel.request(message, self._timeout_ms)
        if not isinstance(reply, answer):
            raise ProtocolError(f"{type(message).__name__} was answered with {type(reply).__name__}")
        return reply

    async def register(self, item: Register) -> Registration:
        """Register one instance.

        Raises:
            TenureError: As `request`.
        """
        while True:
            await self._departures.wait_until_left((item,), self._timeout_ms)
            try:
                registered = await self.request(item, Registered)
            except (*_OUTCOME_OPEN, asyncio.CancelledError):
                self._departures.abandon((item,))
                raise
            registration = self.adopt(registered, item)
            if self.has_ended or not registration.is_ended:
                return registration  # else it was deregistered while this was under way: what is asked for is a new one

    async def register_many(self, items: tuple[Register, ...]) -> list[tuple[Registration | None, RegisterResult]]:
        """Register up to 1,000 instances in one commit; one result for each, in order.

        Raises:
            TenureError: As `request`.
        """
        await self._departures.wait_until_left(items, self._timeout_ms)
        try:
            reply = await self.request(RegisterMany(items=items), RegisteredMany)
        except (*_OUTCOME_OPEN, asyncio.CancelledError):
            self._departures.abandon(items)
            raise
        return [
            (None if result.registered is None else self.adopt(result.registered, item), result)
            for item, result in zip(items, reply.results, strict=True)
        ]

    async def resign(self, registration: Registration) -> None:
        """Step down first, then have the broker know.

        Raises:
            TenureError: As `request`, but for what says that it was over already.
        """
        epoch = self.step_down(registration, "it resigned", declined=True)
        if not epoch:
            return
        message = Resign(registration_id=registration.registration_id, epoch=epoch)
        with contextlib.suppress(NotActiveError, NotFoundError, SessionExpiredError):
            resigned = await self.request(message, Resigned)
            with self._lock:
                self._core.apply(resigned.statement, read_clocks())
            self._notify_changed()

    async def deregister(self, registration: Registration) -> None:
        """Leave first, then have the broker know.

        Raises:
            TenureError: As `request`, but for what says that it was over already.
        """
        if registration.is_ended:
            return
        leaving = self._departures.leave(registration)
        try:
            async with asyncio.timeout(self._timeout_ms / 1_000):
                await asyncio.shield(leaving)
        except TimeoutError:
            raise RequestTimeoutError(Deregister.__name__, round(self._timeout_ms)) from None

    def step_down(self, registration: Registration, why: str, *, declined: bool) -> int:
        """Leave the tenure at once, before anything is sent; returns its epoch, 0 if there was none.

        `declined`: it does not want the vacancy it leaves either, which a request is to tell; else a heartbeat does.
        """
        with self._lock:
            epoch = self._core.step_down(registration.held, why, declined=declined)
        self._notify_changed()
        if not declined:
            self._thread.wake()
        return epoch

    def adopt(self, registered: Registered, item: Register) -> Registration:
        """The registration that an answer is about; the same object for the same registration."""
        with self._lock:
            held = self._core.adopt(registered, read_clocks())
        registration = self._registrations.get(held.registration_id)
        if registration is None:
            registration = Registration(self, held, item.service_name, item.instance_id, registered.resource_id)
            if not held.standing.is_ended:
                self._registrations[held.registration_id] = registration
        self._notify_changed()
        if held.entered and held.follows:
            self._thread.wake()  # the broker is to hear of it soon
        return registration

    def end_registration(self, registration: Registration) -> int:
        """Leave a registration at once; returns the epoch it was in, else 0."""
        with self._lock:
            epoch = self._core.end_registration(registration.held, "it was deregistered")
        self._notify_changed()
        return epoch

    def forget(self, registration: Registration) -> None:
        """The broker has answered that a registration which was left is over."""
        with self._lock:
            self._core.forget(registration.held)

    def work_began(self, epoch: int) -> None:
        """Work runs under this tenure in a scope."""
        if self._fence is not None:
            self._fence.work_began(epoch)

    def work_stopped(self, epoch: int) -> None:
        """The work under this tenure has stopped."""
        if self._fence is not None:
            self._fence.work_stopped(epoch)

    def _identity(self) -> Identity:
        core = self._core
        return Identity(core.history_id or "", core.session, core.lease_ms)

    def _resource_of(self, epoch: int) -> str:
        """What an epoch is a tenure of, as far as it is known here."""
        for registration in list(self._registrations.values()):
            if epoch in {registration.standing.epoch, registration.held.left_epoch}:
                return registration.resource_id
        return "a resource"

    # --- the end ------------------------------------------------------------------------------------------------------

    def set_status(self, status: ServiceStatus) -> None:
        """Report this status with every heartbeat from the next one on."""
        self._core.status = status

    async def close(self) -> None:
        """End the session: first nothing is active any more, then the broker is told, then all is let go.

        Raises:
            asyncio.CancelledError: All was let go, but the broker may have to find out by itself.
        """
        says_goodbye = self._core.is_connected
        with self._lock:
            self._core.end("its client was closed")
        if self._loop.is_closed():  # whoever waits there cannot be woken
            self._thread.stop()
            self._let_go()
            return
        self._notify_changed()
        self._thread.stop()
        if self._ticker is not None:
            self._ticker.cancel()
        self._on_state(ConnectionState.LOST)
        try:
            await self._departures.stop()
            if says_goodbye:
                with contextlib.suppress(TenureError):
                    await self._channel.request(Goodbye(), _GOODBYE_MS)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        closed = ClientClosedError("the client was closed while this request waited")
        self._channel.close(self._core.error or closed)
        if self._log is not None:
            self._log.close()

    def disown(self) -> None:
        """This process is the child of a fork: nothing of the session is its own."""
        for registration in self._registrations.values():
            registration.disown()

    def _hello(self) -> Hello:
        self._connection += 1
        core = self._core
        return Hello(
            version=PROTOCOL_VERSION,
            session_id=core.session_id,
            resume=True,
            channel=Channel.REQUESTS,
            connection=self._connection,
            lease_ms=core.lease_ms,
            history_id=core.history_id,
            last_revision=core.last_revision,
        )

    def _tick(self) -> None:
        """Let the core see that the event loop turns."""
        now = read_clocks()
        with self._lock:
            had_stalled = self._core.loop_turned(now)
            period_ms = self._core.loop_period_ms
        if had_stalled:
            self._thread.wake()
        self._ticker = self._loop.call_later(period_ms / 1_000, self._tick)

    def _hand_over(self, changed: list[Held], state: ConnectionState) -> None:
        """Called from the lease thread: let the event loop tell the application."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._notify, changed, state)

    def _notify_changed(self) -> None:
        with self._lock:
            changed, self._core.changed = self._core.changed, []
        self._notify(changed)

    def _notify(self, changed: list[Held], state: ConnectionState | None = None) -> None:
        self._state_changed.set()
        if state is not None:
            self._on_state(state)
        for held in changed:
            registration = self._registrations.get(held.registration_id)
            if registration is not None:
                registration.notify()
                if held.standing.is_ended:
                    del self._registrations[held.registration_id]
