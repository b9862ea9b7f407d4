"""One session as it runs: its pure core, the thread that keeps its lease, and its request channel, held together.

Everything here is called on the application's event loop but for what the thread reports, which is handed over to it.
The core is shared with the thread under one lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
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
    Deregistered,
    Goodbye,
    Hello,
    ProcessIdentity,
    Register,
    Registered,
    RegisteredMany,
    RegisterMany,
    RegisterResult,
    Resign,
    Resigned,
)
from tenure.contract.vocabulary import Channel, ServiceStatus
from tenure.sdk import queries
from tenure.sdk.channel import RequestChannel
from tenure.sdk.clocks import read_clocks
from tenure.sdk.lease_thread import LeaseThread
from tenure.sdk.registration import Registration
from tenure.sdk.session import Held, Phase, SessionCore
from tenure.sdk.sockets import Context

_CLIENT: Final = f"tenure-python {version('tenure')}"
_GOODBYE_MS: Final = 1_000
_PAUSE_MS: Final = 250  # between two tries of what a broker could not answer
_OUTCOME_OPEN: Final = (RequestTimeoutError, StorageUnavailableError, InternalError, ProtocolError)

type _Key = tuple[str, str, str]


class SessionConnection:
    """A session with a broker, from its first hello to its end; it is never opened twice."""

    def __init__(
        self,
        context: Context,
        endpoints: tuple[str, ...],
        *,
        lease_ms: int,
        status: ServiceStatus,
        process: ProcessIdentity | None,
        timeout_ms: float,
    ) -> None:
        self._endpoints = endpoints
        self._timeout_ms = timeout_ms
        self._core = SessionCore(secrets.token_hex(16), lease_ms, process=process, client=_CLIENT)
        self._core.status = status
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._state_changed = asyncio.Event()
        self._connection = 0
        self._registrations: dict[int, Registration] = {}
        self._leaving: dict[_Key, asyncio.Task[None]] = {}
        """Registrations that were left and whose end the broker has not answered yet."""
        self._going_on: set[asyncio.Task[None]] = set()
        self._thread = LeaseThread(self._core, self._lock, context, endpoints, self._hand_over)
        self._channel = RequestChannel(context, endpoints, self._hello)

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
        """Whether the session is over."""
        return self._core.phase is Phase.ENDED

    @property
    def lease_ms(self) -> int:
        """The lease in force."""
        return self._core.lease_ms

    async def open(self, timeout_ms: float) -> None:
        """Connect and wait for the first answered heartbeat.

        Raises:
            BrokerUnavailableError: No broker answered in time.
            RequestRefusedError: The broker refused the session.
        """
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
            await self._wait_until_left((item,))
            try:
                registered = await self.request(item, Registered)
            except (*_OUTCOME_OPEN, asyncio.CancelledError):
                self._abandon((item,))
                raise
            registration = self._adopt(registered, item)
            if self.has_ended or not registration.is_ended:
                return registration  # else it was deregistered while this was under way: what is asked for is a new one

    async def register_many(self, items: tuple[Register, ...]) -> list[tuple[Registration | None, RegisterResult]]:
        """Register up to 1,000 instances in one commit; one result for each, in order.

        Raises:
            TenureError: As `request`.
        """
        await self._wait_until_left(items)
        try:
            reply = await self.request(RegisterMany(items=items), RegisteredMany)
        except (*_OUTCOME_OPEN, asyncio.CancelledError):
            self._abandon(items)
            raise
        return [
            (None if result.registered is None else self._adopt(result.registered, item), result)
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
        leaving = self._leave(registration)
        try:
            async with asyncio.timeout(self._timeout_ms / 1_000):
                await asyncio.shield(leaving)
        except TimeoutError:
            raise RequestTimeoutError(Deregister.__name__, round(self._timeout_ms)) from None

    def step_down(self, registration: Registration, why: str, *, declined: bool) -> int:
        """Leave the tenure at once, before anything is sent; returns its epoch, 0 if there was none.

        `declined`: it does not want the vacancy it leaves either, until it registers again.
        """
        with self._lock:
            epoch = self._core.step_down(registration.held, why, declined=declined)
        self._notify_changed()
        return epoch

    def _adopt(self, registered: Registered, item: Register) -> Registration:
        """The registration that an answer is about; the same object for the same registration."""
        with self._lock:
            held = self._core.adopt(registered, read_clocks())
        registration = self._registrations.get(held.registration_id)
        if registration is None:
            registration = Registration(self, held, item.service_name, item.instance_id, registered.resource_id)
            if not held.standing.is_ended:
                self._registrations[held.registration_id] = registration
        self._notify_changed()
        return registration

    # --- what goes on until it is done or the session is over, whoever waits for it -----------------------------------

    def _leave(self, registration: Registration) -> asyncio.Task[None]:
        """Leave a registration at once, and go on telling the broker: one that nobody holds must not be promoted."""
        with self._lock:
            epoch = self._core.end_registration(registration.held, "it was deregistered")
        self._notify_changed()
        leaving = self._go_on_with(self._end_at_broker(registration, epoch))
        self._leaving[_key(registration)] = leaving
        return leaving

    async def _end_at_broker(self, registration: Registration, epoch: int) -> None:
        try:
            await self._until_answered(partial(self._deregister, registration, epoch))
            with self._lock:
                self._core.forget(registration.held)
        finally:
            del self._leaving[_key(registration)]

    async def _deregister(self, registration: Registration, epoch: int) -> None:
        """End whatever tenure the broker has it in: it may have promoted it in the meantime."""
        number = registration.registration_id
        with contextlib.suppress(NotFoundError):
            while True:
                try:
                    await self.request(Deregister(registration_id=number, epoch=epoch), Deregistered)
                except NotActiveError:
                    active = (await queries.resource(self, registration.resource_id)).active
                    epoch = active.epoch if active is not None and active.registration_id == number else 0
                else:
                    return

    async def _wait_until_left(self, items: Iterable[Register]) -> None:
        """Wait until the broker knows of the end of what is to be registered anew.

        Raises:
            RequestTimeoutError: It did not answer in time.
        """
        if not self._leaving:
            return
        leaving = [self._leaving[_key(item)] for item in items if _key(item) in self._leaving]
        if leaving and (await asyncio.wait(leaving, timeout=self._timeout_ms / 1_000))[1]:
            raise RequestTimeoutError(Deregister.__name__, round(self._timeout_ms))

    def _abandon(self, items: tuple[Register, ...]) -> None:
        """Nobody waits for these registrations any more, but they may exist: find out, and end those that do."""
        self._go_on_with(self._end_abandoned(items))

    async def _end_abandoned(self, items: tuple[Register, ...]) -> None:
        for item in items:
            await self._until_answered(partial(self._find_and_leave, item))

    async def _find_and_leave(self, item: Register) -> None:
        # It was sent before this question, and older connections are not heard any more: it exists now or never.
        service_name, instance_id, resource_id = key = _key(item)
        for instance in await queries.services(self, service_name, resource_id):
            if instance.instance_id != instance_id or instance.session != self._core.session:
                continue
            if key in self._leaving or any(_key(held) == key for held in self._registrations.values()):
                return  # it existed before, or was asked for again: somebody holds it
            self._leave(
                self._adopt(
                    Registered(
                        registration_id=instance.registration_id,
                        resource_id=resource_id,
                        role=instance.role,
                        epoch=instance.epoch,
                        revision=instance.role_revision,
                    ),
                    item,
                )
            )

    async def _until_answered(self, work: Callable[[], Awaitable[None]]) -> None:
        """Repeat what the broker has to know until it has answered, or the session is over: then there is no need."""
        while not self.has_ended:
            try:
                return await work()
            except SessionExpiredError:
                return None
            except TenureError:  # it is away, or cannot do it at present
                await asyncio.sleep(_PAUSE_MS / 1_000)
        return None

    def _go_on_with(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)
        return task

    # --- the end ------------------------------------------------------------------------------------------------------

    def set_status(self, status: ServiceStatus) -> None:
        """Report this status with every heartbeat from the next one on."""
        self._core.status = status

    async def close(self) -> None:
        """End the session: first nothing is active any more, then the broker is told, then all is let go.

        Raises:
            asyncio.CancelledError: All was let go, but the broker may have to find out by itself.
        """
        was_connected = self._core.is_connected
        with self._lock:
            self._core.end("its client was closed")
        self._notify_changed()
        self._thread.stop()
        try:
            for task in self._going_on:
                task.cancel()
            await asyncio.gather(*self._going_on, return_exceptions=True)
            if was_connected:
                with contextlib.suppress(TenureError):
                    await self._channel.request(Goodbye(), _GOODBYE_MS)
        finally:
            closed = ClientClosedError("the client was closed while this request waited")
            self._channel.close(self._core.error or closed)

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

    def _hand_over(self, changed: list[Held]) -> None:
        """Called from the lease thread: let the event loop tell the application."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._notify, changed)

    def _notify_changed(self) -> None:
        with self._lock:
            changed, self._core.changed = self._core.changed, []
        self._notify(changed)

    def _notify(self, changed: list[Held]) -> None:
        self._state_changed.set()
        for held in changed:
            registration = self._registrations.get(held.registration_id)
            if registration is not None:
                registration.notify()
                if held.standing.is_ended:
                    del self._registrations[held.registration_id]


def _key(named: Register | Registration) -> _Key:
    """What no two registrations share: service, instance and resource."""
    resource_id = named.service_name if named.resource_id is None else named.resource_id
    return (named.service_name, named.instance_id, resource_id)
