"""What goes on until the broker has answered or the session is over, whoever waits for it: registrations that end.

A registration that nobody holds must not be promoted. So one that was left is named to the broker until it has said
that it is over, and one whose answer nobody waited for is looked for, and ended if it exists.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Final, Protocol

from tenure.contract.errors import (
    NotActiveError,
    NotFoundError,
    RequestTimeoutError,
    SessionExpiredError,
    TenureError,
)
from tenure.contract.messages import BrokerMessage, ClientMessage, Deregister, Deregistered, Register, Registered
from tenure.sdk import queries
from tenure.sdk.registration import Registration

_PAUSE_MS: Final = 250  # between two tries of what a broker could not answer

type _Key = tuple[str, str, str]


class _Session(Protocol):
    """What this needs of a session."""

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T: ...

    def adopt(self, registered: Registered, item: Register) -> Registration: ...

    def end_registration(self, registration: Registration) -> int: ...

    def forget(self, registration: Registration) -> None: ...

    @property
    def registrations(self) -> Iterable[Registration]: ...

    @property
    def number(self) -> int: ...

    @property
    def has_ended(self) -> bool: ...


class Departures:
    """All that one session is leaving."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._leaving: dict[_Key, asyncio.Task[None]] = {}
        """Registrations that were left and whose end the broker has not answered yet."""
        self._going_on: set[asyncio.Task[None]] = set()

    def leave(self, registration: Registration) -> asyncio.Task[None]:
        """Leave a registration at once, and go on telling the broker."""
        epoch = self._session.end_registration(registration)
        leaving = self._go_on_with(self._end_at_broker(registration, epoch))
        self._leaving[_key(registration)] = leaving
        return leaving

    async def wait_until_left(self, items: Iterable[Register], timeout_ms: float) -> None:
        """Wait until the broker knows of the end of what is to be registered anew.

        Raises:
            RequestTimeoutError: It did not answer in time.
        """
        if not self._leaving:
            return
        leaving = [self._leaving[_key(item)] for item in items if _key(item) in self._leaving]
        if leaving and (await asyncio.wait(leaving, timeout=timeout_ms / 1_000))[1]:
            raise RequestTimeoutError(Deregister.__name__, round(timeout_ms))

    def abandon(self, items: tuple[Register, ...]) -> None:
        """Nobody waits for these registrations any more, but they may exist: find out, and end those that do."""
        self._go_on_with(self._end_abandoned(items))

    async def stop(self) -> None:
        """Leave off: the session has ended, and with it every registration."""
        for task in self._going_on:
            task.cancel()
        await asyncio.gather(*self._going_on, return_exceptions=True)

    async def _end_at_broker(self, registration: Registration, epoch: int) -> None:
        try:
            await self._until_answered(partial(self._deregister, registration, epoch))
            self._session.forget(registration)
        finally:
            del self._leaving[_key(registration)]

    async def _deregister(self, registration: Registration, epoch: int) -> None:
        """End whatever tenure the broker has it in: it may have promoted it in the meantime."""
        number = registration.registration_id
        with contextlib.suppress(NotFoundError):
            while True:
                try:
                    await self._session.request(Deregister(registration_id=number, epoch=epoch), Deregistered)
                except NotActiveError:
                    active = (await queries.resource(self._session, registration.resource_id)).active
                    epoch = active.epoch if active is not None and active.registration_id == number else 0
                else:
                    return

    async def _end_abandoned(self, items: tuple[Register, ...]) -> None:
        for item in items:
            await self._until_answered(partial(self._find_and_leave, item))

    async def _find_and_leave(self, item: Register) -> None:
        # It was sent before this question, and older connections are not heard any more: it exists now or never.
        service_name, instance_id, resource_id = key = _key(item)
        for instance in await queries.services(self._session, service_name, resource_id):
            if instance.instance_id != instance_id or instance.session != self._session.number:
                continue
            if key in self._leaving or any(_key(held) == key for held in self._session.registrations):
                return  # it existed before, or was asked for again: somebody holds it
            registered = Registered(
                registration_id=instance.registration_id,
                resource_id=resource_id,
                role=instance.role,
                epoch=instance.epoch,
                revision=instance.role_revision,
                hold_limit_ms=instance.hold_limit_ms,
            )
            self.leave(self._session.adopt(registered, item))

    async def _until_answered(self, work: Callable[[], Awaitable[None]]) -> None:
        """Repeat what the broker has to know until it has answered, or the session is over: then there is no need."""
        while not self._session.has_ended:
            try:
                return await work()
            except SessionExpiredError:
                return None
            except TenureError:  # it is away, or cannot do it at present
                await asyncio.sleep(_PAUSE_MS / 1_000)
        return None

    def _go_on_with(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)
        return task


def _key(named: Register | Registration) -> _Key:
    """What no two registrations share: service, instance and resource."""
    resource_id = named.service_name if named.resource_id is None else named.resource_id
    return (named.service_name, named.instance_id, resource_id)
