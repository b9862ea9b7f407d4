"""The client of a program without asyncio: what `tenure.sdk.ServiceClient` does, waited for in the calling thread.

There is no protocol, session or lease in here. Several threads may use one client at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Concatenate, Self

from tenure.contract.errors import ClientClosedError, RequestRefusedError, TenureError
from tenure.sdk.active import ActiveScope as AsyncScope
from tenure.sdk.blocking.facade import OpenedFacade, takes_arguments_of, waiting, waiting_for
from tenure.sdk.blocking.portal import Portal, each, within
from tenure.sdk.blocking.registration import Registration
from tenure.sdk.blocking.scope import ActiveScope, Relay, Work, run_as_active
from tenure.sdk.client import ServiceClient as AsyncClient
from tenure.sdk.heartbeats import ConnectionState
from tenure.sdk.registering import OnBrokerLossName
from tenure.sdk.registration import Registration as AsyncRegistration
from tenure.sdk.session_owner import StatusName


def _each(
    outcomes: list[AsyncRegistration | RequestRefusedError], portal: Portal
) -> list[Registration | RequestRefusedError]:
    return [
        outcome if isinstance(outcome, RequestRefusedError) else Registration(outcome, portal) for outcome in outcomes
    ]


def _scope[**P](
    method: Callable[Concatenate[AsyncClient, P], AsyncScope],
) -> Callable[Concatenate[ServiceClient, P], ActiveScope]:
    """The method that makes a block for a thread, from the one that makes a block for a task."""

    @functools.wraps(method)
    def active(self: ServiceClient, /, *args: P.args, **kwargs: P.kwargs) -> ActiveScope:
        return ActiveScope(method(self.asynchronous, *args, **kwargs), lambda: self.here()[0])

    return active


class ServiceClient(OpenedFacade[AsyncClient]):
    """A session with a Tenure broker, for programs without asyncio.

    ```python
    with ServiceClient() as client:
        gateway = client.register("order-gateway", resource_id="account-42", role="active")
        gateway.ensure_active()
    ```

    It takes what `tenure.sdk.ServiceClient` takes, and its methods do what those of the same name do.
    """

    @takes_arguments_of(AsyncClient)
    def __init__(self, make: Callable[[], AsyncClient]) -> None:
        super().__init__(make())
        self._make = make
        self._status: StatusName | None = None
        self._is_closed = False

    # --- the session --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Open a session, as `open`."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye, as `close`."""
        self.close()

    def open(self) -> None:
        """Connect, open a session and wait for the first answered heartbeat. Does nothing if one is open.

        Raises:
            BrokerUnavailableError: No broker answered at any endpoint in time.
            RequestRefusedError: The broker refused the session.
        """
        self._is_closed = False
        with self._opening() as portal:
            portal.call(self._of.open())

    def close(self) -> None:
        """Stop being active for everything, tell the broker, and let go of the connection. Safe to repeat.

        Call it when the work of all roles has stopped. Calls that wait in other threads end with `ClientClosedError`.
        Work there is told to end, and keeps its role for that for a second at most; if it takes longer, others become
        active while it goes on, which is reported at CRITICAL as `work.outlives_role`.
        """
        self._is_closed = True
        portal = self._portal
        if portal is None or not portal.is_here:
            return
        with self._changing:
            if self._portal is not portal:
                return
            closing, self._of = (
                self._of,
                self._made_anew(),
            )  # an asyncio client belongs to one event loop
            self._portal = None
        portal.close(closing.close)

    def _made_anew(self) -> AsyncClient:
        client = self._make()
        if self._status is not None:
            client.set_status(self._status)
        return client

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoints that are tried in turn."""
        return self._of.endpoints

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, and not opened again since."""
        return self._is_closed

    @property
    def is_connected(self) -> bool:
        """Whether the broker is answering heartbeats at present."""
        return self._ask(lambda client: client.is_connected)

    @property
    def error(self) -> TenureError | None:
        """Why the session has ended by itself, such as `SessionExpiredError`; None while it lives."""
        return self._ask(lambda client: client.error)

    @property
    def connection_state(self) -> ConnectionState:
        """How it stands with the broker: connected, suspended or lost; see `ConnectionState`."""
        return self._ask(lambda client: client.connection_state)

    def connection_changes(self) -> Iterator[ConnectionState]:
        """Follow how it stands with the broker: the present state, then each change once, until `close`.

        Raises:
            ClientClosedError: The client is not open.
        """
        portal, client = self.here()
        return each(portal, portal.call(_at_once(AsyncClient.connection_changes, client)))

    def wait_connected(self, timeout_ms: float | None = None) -> None:
        """Wait until heartbeats are being answered.

        Raises:
            TenureError: The session has ended; the error says why. `open` begins another one.
            TimeoutError: They were not answered in time.
        """
        self._wait_for(lambda client: within(client.wait_connected, timeout_ms))

    def set_status(self, status: StatusName) -> None:
        """Report this status from the next heartbeat on; only healthy and degraded standbys are promoted.

        Raises:
            ValueError: It is not one of starting, healthy, degraded, unhealthy, draining.
        """
        self._ask(lambda client: client.set_status(status))
        self._status = status

    # --- registrations ------------------------------------------------------------------------------------------------

    register = waiting_for(AsyncClient.register, Registration)
    register_item = waiting_for(AsyncClient.register_item, Registration)
    register_many = waiting_for(AsyncClient.register_many, _each)
    active = _scope(AsyncClient.active)

    def run_as_active[T](  # noqa: PLR0913 (a keyword each)
        self,
        service_name: str,
        work: Work[T],
        *,
        instance_id: str | None = None,
        resource_id: str | None = None,
        priority: int = 0,
        metadata: Mapping[str, str] | None = None,
        on_broker_loss: OnBrokerLossName = "step-down",
        hold_limit_ms: int | None = None,
        stop_budget_ms: float | None = None,
    ) -> T:
        """Run `work(tenure)` in this thread while this instance is active, and return what it returns.

        Stands by as a candidate until the role comes. `stop_budget_ms` (a quarter of the lease by default) before its
        time is up (with a fence: before the process is ended), `tenure.is_ending` becomes true and `tenure.wait_ending`
        returns: the work has to look, and to return. Then the instance stands by again, and the work runs again under
        the next tenure. So it does when the work returns sooner after somebody has asked for the tenure's end
        (`tenure.is_asked_to_end`). When it returns otherwise, or raises, the registration ends. Work that goes on when
        its tenure is over is reported at CRITICAL as `work.outlives_role`; with `fence="exit"` the process ends before
        that.

        Raises:
            TenureError: The broker refused the registration for a reason that waiting does not mend.
            ValueError: As `register`; or the stop budget is less than 0.
            ClientClosedError: The client was closed by another thread.
            KeyboardInterrupt: Ctrl-C, while it stood by or in the work. The registration has ended.
        """
        portal, _ = self._begin()
        relay = Relay[T](portal)
        held = self._of.run_as_active(
            service_name,
            relay.stand_in,
            instance_id=instance_id,
            resource_id=resource_id,
            priority=priority,
            metadata=metadata,
            on_broker_loss=on_broker_loss,
            hold_limit_ms=hold_limit_ms,
            stop_budget_ms=stop_budget_ms,
        )
        return run_as_active(relay, held, work)

    def step_down(self, registration: Registration, why: str) -> None:
        """Leave the tenure at once, without a request: a heartbeat tells the broker. Does nothing without the role."""
        self._ask(lambda client: client.step_down(registration.asynchronous, why))

    # --- questions ----------------------------------------------------------------------------------------------------

    services = waiting(AsyncClient.services)
    roles = waiting(AsyncClient.roles)
    resource = waiting(AsyncClient.resource)
    tenures = waiting(AsyncClient.tenures)
    pauses = waiting(AsyncClient.pauses)
    switchover = waiting(AsyncClient.switchover)
    cancel_switchover = waiting(AsyncClient.cancel_switchover)
    pause = waiting(AsyncClient.pause)
    resume = waiting(AsyncClient.resume)
    change_roles = waiting(AsyncClient.change_roles)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _ask[T](self, ask: Callable[[AsyncClient], T]) -> T:
        """Ask the asyncio client what it answers at once: on its event loop, if it has one."""
        try:
            return self._wait_for(partial(_at_once, ask))
        except ClientClosedError:
            return ask(self._of)


async def _at_once[T](ask: Callable[[AsyncClient], T], client: AsyncClient) -> T:
    return ask(client)
