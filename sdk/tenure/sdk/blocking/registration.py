"""What a program without asyncio holds: a registration, and a tenure of it.

Whether the role is held is read from the same immutable value as in `tenure.sdk.registration`, in the calling thread.
Nothing can be cancelled in a thread: work has to ask, and `Tenure.wait_ending` is what it sleeps on.
"""

from __future__ import annotations

import threading

from tenure.contract.errors import RoleLostError
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.blocking.facade import Facade
from tenure.sdk.blocking.portal import Portal, within
from tenure.sdk.registration import Registration as AsyncRegistration
from tenure.sdk.registration import Tenure as AsyncTenure
from tenure.sdk.standing import Standing


class Registration(Facade[AsyncRegistration]):
    """One instance's registration for one resource, as `ServiceClient.register` returns it."""

    def __init__(self, of: AsyncRegistration, portal: Portal) -> None:
        super().__init__(of, portal)
        self.service_name = of.service_name
        self.instance_id = of.instance_id
        self.resource_id = of.resource_id

    def __repr__(self) -> str:
        return repr(self._of)

    @property
    def registration_id(self) -> int:
        """Its number, unique in the broker's history."""
        return self._of.registration_id

    @property
    def standing(self) -> Standing:
        """All that is known of its role, as one immutable value."""
        return self._of.standing

    @property
    def role(self) -> ServiceRole:
        """`active` while the role is held at this moment, else `standby`."""
        return self._of.role

    @property
    def epoch(self) -> int:
        """The fencing token of the tenure held at this moment, else 0."""
        return self._of.epoch

    @property
    def is_active(self) -> bool:
        """Whether the role is held at this moment."""
        return self._of.is_active

    @property
    def is_ended(self) -> bool:
        """Whether the registration is over: it was deregistered, or its session has ended."""
        return self._of.is_ended

    @property
    def remaining_ms(self) -> float:
        """How long the role is held if no further heartbeat is answered, in milliseconds; 0 if it is not held."""
        return self._of.remaining_ms

    def ensure_active(self) -> int:
        """Return the epoch if the role is held at this moment; call it before each action that needs the role.

        Raises:
            RoleLostError: It is not held; do nothing that needs it.
        """
        return self._of.ensure_active()

    def role_lost(self, epoch: int = 0) -> RoleLostError:
        """The error that says why the role (or the tenure with this epoch) is not held."""
        return self._of.role_lost(epoch)

    def wait_active(self, timeout_ms: float | None = None) -> Tenure:
        """Wait until the role is held.

        Raises:
            RoleLostError: It cannot come any more: the registration was ended.
            SessionExpiredError: It cannot come any more: the broker has ended the session.
            ClientClosedError: The client is closed.
            TimeoutError: It did not come in time; the registration stands by all the same.
        """
        portal, of = self.here()
        return Tenure(portal.call(within(of.wait_active, timeout_ms)), portal)

    def wait_changed(self, timeout_ms: float | None = None) -> None:
        """Wait until anything about its role changes.

        Raises:
            ClientClosedError: The client is closed.
            TimeoutError: Nothing changed in time.
        """
        self._wait_for(lambda of: within(of.wait_changed, timeout_ms))

    def resign(self) -> None:
        """Give the role up and stand by; somebody else may be promoted. Does nothing if the role is not held.

        From the call on the role is not held, whatever comes of the request; this instance is not promoted into the
        vacancy it leaves until it registers again.

        Raises:
            RequestTimeoutError: The broker did not answer; heartbeats go on telling it.
        """
        if not self.is_ended:  # else there may be nobody left to ask, which is no failure
            self._wait_for(AsyncRegistration.resign)

    def deregister(self) -> None:
        """End the registration, and the tenure it may be in; somebody else may be promoted. Safe to repeat.

        Raises:
            RequestTimeoutError: The broker did not answer; a tenure is over all the same.
        """
        if not self.is_ended:
            self._wait_for(AsyncRegistration.deregister)


class Tenure(Facade[AsyncTenure]):
    """One unbroken period of being active: what `work` gets from `run_as_active`, and `active()` from its block."""

    def __init__(self, of: AsyncTenure, portal: Portal, told: threading.Event | None = None) -> None:
        """`told` is set when the scope that the tenure belongs to wants its body to end."""
        super().__init__(of, portal)
        self.registration = Registration(of.registration, portal)
        self.epoch = of.epoch
        """The fencing token: greater than that of every tenure before it."""
        self._told = told

    def __repr__(self) -> str:
        return repr(self._of)

    @property
    def resource_id(self) -> str:
        """What it is a tenure of."""
        return self._of.resource_id

    @property
    def is_active(self) -> bool:
        """Whether this very tenure is held at this moment."""
        return self._of.is_active

    @property
    def remaining_ms(self) -> float:
        """How long it is held if no further heartbeat is answered, in milliseconds; 0 if it is over."""
        return self._of.remaining_ms

    def ensure_active(self) -> int:
        """Return the epoch if this tenure is held at this moment; call it before each action that needs the role.

        Raises:
            RoleLostError: It is over; do nothing that needs the role.
        """
        return self._of.ensure_active()

    @property
    def is_asked_to_end(self) -> bool:
        """Whether somebody has asked for this tenure to end, and has not withdrawn it."""
        return self._of.is_asked_to_end

    @property
    def drain_left_ms(self) -> float | None:
        """How long its work may go on since somebody asked for its end, in milliseconds; None if nobody has."""
        return self._of.drain_left_ms

    def wait_asked_to_end(self, timeout_ms: float | None = None) -> None:
        """Wait until somebody asks for this tenure to end: finish what has begun, begin nothing new.

        Raises:
            RoleLostError: It is over before that.
            ClientClosedError: The client is closed.
            TimeoutError: Nobody has asked in time.
        """
        self._wait_for(lambda of: within(of.wait_asked_to_end, timeout_ms))

    @property
    def is_ending(self) -> bool:
        """Whether work under this tenure is to stop: it is over, or so near its end that a task would be cancelled.

        In a scope that is the stop budget before the end of the lease or hold limit, or when somebody has asked for its
        end and the drain is over. A tenure of `wait_active` has no stop budget.
        """
        told = self.drain_left_ms == 0.0 if self._told is None else self._told.is_set()
        return told or not self.is_active

    def wait_ending(self, margin_ms: float | None = None, timeout_ms: float | None = None) -> bool:
        """Sleep until work under this tenure is to stop, and return whether it is.

        Sleep on this instead of `time.sleep`: `while not tenure.wait_ending(timeout_ms=100): ...`

        Args:
            margin_ms: Wait until the tenure will be over in so many milliseconds unless a heartbeat is answered before,
                or until somebody has asked for its end and the drain is over; by default until `is_ending`.
            timeout_ms: How long to wait; None waits for as long as it takes.

        Raises:
            ClientClosedError: The client is closed, and there is a margin to wait for.
        """
        if not self.is_active:
            return True
        if margin_ms is None and self._told is not None:
            self._told.wait(None if timeout_ms is None else timeout_ms / 1_000)
            return self.is_ending
        try:
            self._wait_for(lambda of: within(lambda: of.wait_ending(margin_ms or 0), timeout_ms))
        except TimeoutError:
            return False
        return True
