"""What an application holds: a registration, and a tenure of it.

Whether the role is held is read from one immutable value and two clocks, without a lock or a message, so that it may be
asked before every order. The answer is only true now: pass the epoch on to whatever you write to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from typing import Protocol

from msgspec import structs

from tenure.contract.errors import RoleLostError, TenureError
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.clocks import read_clocks
from tenure.sdk.session import Held
from tenure.sdk.standing import NEVER, Ask, Standing


class _Owner(Protocol):
    """What a registration needs of its client."""

    async def resign(self, registration: Registration) -> None: ...

    async def deregister(self, registration: Registration) -> None: ...

    def work_began(self, epoch: int) -> None: ...

    def work_stopped(self, epoch: int) -> None: ...

    @property
    def error(self) -> TenureError | None: ...


class Registration:
    """One instance's registration for one resource, as `ServiceClient.register` returns it."""

    def __init__(self, owner: _Owner, held: Held, service_name: str, instance_id: str, resource_id: str) -> None:
        self.service_name = service_name
        self.instance_id = instance_id
        self.resource_id = resource_id
        self._owner = owner
        self._held = held
        self._changed: asyncio.Event | None = None
        """Made for the first who waits: a client may hold thousands of registrations that nobody waits for."""

    def __repr__(self) -> str:
        return (
            f"<Registration {self.service_name}/{self.instance_id} for {self.resource_id!r}: "
            f"{self.role}, epoch {self.epoch}>"
        )

    @property
    def registration_id(self) -> int:
        """Its number, unique in the broker's history."""
        return self._held.registration_id

    @property
    def held(self) -> Held:
        """The session core's record of it; for the SDK itself."""
        return self._held

    @property
    def standing(self) -> Standing:
        """All that is known of its role, as one immutable value."""
        return self._held.standing

    @property
    def role(self) -> ServiceRole:
        """`active` while the role is held at this moment, else `standby`."""
        return ServiceRole.ACTIVE if self.is_active else ServiceRole.STANDBY

    @property
    def epoch(self) -> int:
        """The fencing token of the tenure held at this moment, else 0."""
        standing = self._held.standing
        return standing.epoch if standing.is_active(read_clocks()) else 0

    @property
    def is_active(self) -> bool:
        """Whether the role is held at this moment."""
        return self._held.standing.is_active(read_clocks())

    @property
    def is_ended(self) -> bool:
        """Whether the registration is over: it was deregistered, or its session has ended."""
        return self._held.standing.is_ended

    @property
    def remaining_ms(self) -> float:
        """How long the role is held if no further heartbeat is answered, in milliseconds; 0 if it is not held."""
        return max(0.0, read_clocks().until_ms(self._held.standing.valid_until))

    def ensure_active(self) -> int:
        """Return the epoch if the role is held at this moment; call it before each action that needs the role.

        Raises:
            RoleLostError: It is not held; do nothing that needs it.
        """
        standing = self._held.standing
        if standing.is_active(read_clocks()):
            return standing.epoch
        raise self.role_lost()

    def role_lost(self, epoch: int = 0) -> RoleLostError:
        """The error that says why the role (or the tenure with this epoch) is not held."""
        standing, ask = self._held.standing, self._held.ask
        why = standing.why or "its lease ran out before a heartbeat was answered"
        left = epoch or standing.epoch or self._held.left_epoch
        if ask is not None and ask.epoch == left and standing.epoch == left:
            why = "it was asked to step down, and its drain is over"
        return RoleLostError(self.resource_id, self.instance_id, left, why)

    async def wait_active(self) -> Tenure:
        """Wait until the role is held.

        Raises:
            RoleLostError: It cannot come any more: the registration was ended.
            SessionExpiredError: It cannot come any more: the broker has ended the session.
        """
        while True:
            changed = self._watch()
            standing = self._held.standing
            if standing.is_active(read_clocks()):
                return Tenure(self, standing.epoch)
            if standing.is_ended:
                raise self._owner.error or self.role_lost()
            await changed.wait()

    async def wait_changed(self) -> None:
        """Wait until anything about its role changes."""
        await self._watch().wait()

    async def resign(self) -> None:
        """Give the role up and stand by; somebody else may be promoted. Does nothing if the role is not held.

        From the call on the role is not held, whatever comes of the request; this instance is not promoted into the
        vacancy it leaves until it registers again.

        Raises:
            RequestTimeoutError: The broker did not answer; heartbeats go on telling it.
        """
        await self._owner.resign(self)

    async def deregister(self) -> None:
        """End the registration, and the tenure it may be in; somebody else may be promoted. Safe to repeat.

        Raises:
            RequestTimeoutError: The broker did not answer; a tenure is over all the same.
        """
        await self._owner.deregister(self)

    @contextlib.contextmanager
    def working(self, epoch: int) -> Generator[None]:
        """While this block runs there is work under the tenure: a fence stays although the tenure is lost."""
        self._owner.work_began(epoch)
        try:
            yield
        finally:
            self._owner.work_stopped(epoch)

    def _watch(self) -> asyncio.Event:
        """What is set at the next change."""
        if self._changed is None:
            self._changed = asyncio.Event()
        self._changed.clear()
        return self._changed

    def notify(self) -> None:
        """Wake whoever waits for a change; called on the event loop by the client."""
        if self._changed is not None:
            self._changed.set()

    def disown(self) -> None:
        """Let nothing be active any more; called in the child of a fork."""
        self._held.standing = structs.replace(
            self._held.standing, valid_until=NEVER, why="this process is a fork", is_ended=True
        )


class Tenure:
    """One unbroken period of being active: what `work` gets from `run_as_active`, and `active()` from its block."""

    __slots__ = ("epoch", "registration")

    def __init__(self, registration: Registration, epoch: int) -> None:
        self.registration = registration
        self.epoch = epoch
        """The fencing token: greater than that of every tenure before it."""

    def __repr__(self) -> str:
        return f"<Tenure of {self.registration.resource_id!r}, epoch {self.epoch}>"

    @property
    def resource_id(self) -> str:
        """What it is a tenure of."""
        return self.registration.resource_id

    @property
    def is_active(self) -> bool:
        """Whether this very tenure is held at this moment."""
        standing = self.registration.standing
        return standing.epoch == self.epoch and standing.is_active(read_clocks())

    @property
    def remaining_ms(self) -> float:
        """How long it is held if no further heartbeat is answered, in milliseconds; 0 if it is over."""
        standing = self.registration.standing
        if standing.epoch != self.epoch:
            return 0.0
        return max(0.0, read_clocks().until_ms(standing.valid_until))

    def ensure_active(self) -> int:
        """Return the epoch if this tenure is held at this moment; call it before each action that needs the role.

        Raises:
            RoleLostError: It is over; do nothing that needs the role.
        """
        if not self.is_active:
            raise self.registration.role_lost(self.epoch)
        return self.epoch

    @property
    def is_asked_to_end(self) -> bool:
        """Whether somebody has asked for this tenure to end, and has not withdrawn it."""
        return self._ask is not None

    @property
    def drain_left_ms(self) -> float | None:
        """How long its work may go on since somebody asked for its end, in milliseconds; None if nobody has."""
        ask = self._ask
        return None if ask is None else max(0.0, read_clocks().until_ms(ask.until))

    async def wait_asked_to_end(self) -> None:
        """Wait until somebody asks for this tenure to end: finish what has begun, begin nothing new.

        Raises:
            RoleLostError: It is over before that.
        """
        while not self.is_asked_to_end:
            self.ensure_active()
            await self._wait_changed(self.remaining_ms)

    async def wait_ending(self, margin_ms: float) -> None:
        """Wait until the work is to end.

        That is when the tenure is over or will be in `margin_ms` unless a heartbeat is answered before, or when
        somebody has asked for its end and the drain is over.
        """
        while (left_ms := self._work_left_ms(margin_ms)) > 0:
            await self._wait_changed(left_ms)

    async def wait_over(self) -> None:
        """Wait until the tenure is over."""
        while (left_ms := self.remaining_ms) > 0:
            await self._wait_changed(left_ms)

    @property
    def _ask(self) -> Ask | None:
        ask = self.registration.held.ask
        return ask if ask is not None and ask.epoch == self.epoch else None

    def _work_left_ms(self, margin_ms: float) -> float:
        left_ms, drain_left_ms = self.remaining_ms - margin_ms, self.drain_left_ms
        return left_ms if drain_left_ms is None else min(left_ms, drain_left_ms)

    async def _wait_changed(self, at_most_ms: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_ms / 1_000):
                await self.registration.wait_changed()


type Work[T] = Callable[[Tenure], Awaitable[T]]
