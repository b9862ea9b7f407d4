"""The client an application uses: a session with the broker, its registrations, and questions about others'.

The lease is kept by a thread of its own; requests are answered on the application's event loop. What ends a tenure
marks it as left before anything is sent, so a lost answer never leaves a role believed that the broker has given away.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from tenure.contract.errors import DuplicateInstanceError, RequestRefusedError, refusal_from
from tenure.contract.limits import LEASE_MS_DEFAULT
from tenure.contract.messages import Register
from tenure.contract.vocabulary import OnConflict, ServiceRole, ServiceStatus
from tenure.sdk.active import ActiveScope, run_as_active
from tenure.sdk.endpoints import resolve_endpoints
from tenure.sdk.fence import FenceName, fence_margin_ms
from tenure.sdk.options import Options
from tenure.sdk.process import own_process
from tenure.sdk.queries import Asks
from tenure.sdk.questions import Questions
from tenure.sdk.registering import OnBrokerLossName, OnConflictName, RoleName, registration_request
from tenure.sdk.registration import Registration, Work
from tenure.sdk.session_owner import SessionOwner, StatusName

TIMEOUT_MS_DEFAULT: Final = 10_000
"""How long a request is repeated before it fails."""
_GHOST_RETRY_MS: Final = 50
_GHOST_RETRY_MS_MAX: Final = 1_000  # a proof may end it long before its hold limit does
_GHOST_MARGIN_MS: Final = 500  # what an expiry may take beyond the lease that `retry_after_ms` counted

_candidate: Final = partial(registration_request, role=ServiceRole.ACTIVE, on_conflict=OnConflict.STANDBY)


class ServiceClient(SessionOwner, Questions):
    """A session with a Tenure broker.

    ```python
    async with ServiceClient() as client:
        gateway = await client.register("order-gateway", resource_id="account-42", role="active")
        gateway.ensure_active()
    ```

    Without endpoints it uses `TENURE_ENDPOINT` (several: comma separated), else the default ones of this machine; they
    are tried in turn. Leaving the block says goodbye: its registrations end, and others are promoted at once.
    """

    def __init__(
        self,
        *endpoints: str,
        lease_ms: int = LEASE_MS_DEFAULT,
        timeout_ms: float = TIMEOUT_MS_DEFAULT,
        status: StatusName = ServiceStatus.HEALTHY,
        exit_is_proof: bool = True,
        fence: FenceName = "none",
        stall_limit_ms: int | None = None,
        interval_log: str | Path | None = None,
    ) -> None:
        """Prepare a client; nothing is connected yet.

        Args:
            endpoints: Where the broker takes requests, such as `tcp://host:7400` or `ipc:///run/tenure/broker.ipc`.
            lease_ms: How long the broker waits for a heartbeat before it gives this client's roles away: 200 to
                600,000 milliseconds, fixed for the session.
            timeout_ms: How long a request is repeated before it fails, in milliseconds.
            status: What to report with heartbeats until `set_status`.
            exit_is_proof: Whether this process's exit proves that its work has stopped, so that a broker on the same
                machine may promote another at once. Set it to False if processes of your own go on with the work.
            fence: `exit` ends the process shortly before the end of a lease under which it is still active, whatever
                its threads are doing; see `tenure.sdk.fence`.
            stall_limit_ms: How long the event loop may stand still, in milliseconds, before no heartbeat goes out
                until it turns again; by default heartbeats do not depend on it.
            interval_log: A directory on a local disk in which each session writes down when it believed to be active,
                for `tenure verify`; by default `TENURE_INTERVAL_LOG`, and none if that is not set.

        Raises:
            InvalidEndpointError: An endpoint is not of a form that can be connected to.
            ValueError: The fence is not one of those there are, or the stall limit not greater than 0.
        """
        if fence not in {"none", "exit"}:
            raise ValueError(f"fence is {fence!r}; it is 'none' or 'exit'")
        if stall_limit_ms is not None and stall_limit_ms <= 0:
            raise ValueError(f"stall_limit_ms is {stall_limit_ms}; give a time greater than 0, or leave it out")
        place = interval_log or os.environ.get("TENURE_INTERVAL_LOG")

        def options() -> Options:
            return Options(
                lease_ms=lease_ms,
                timeout_ms=timeout_ms,
                process=own_process() if exit_is_proof else None,
                is_fenced=fence == "exit",
                stall_limit_ms=stall_limit_ms,
                interval_log=Path(place) if place else None,
            )

        super().__init__(resolve_endpoints(endpoints, os.environ, os.getuid()), ServiceStatus(status), options)
        self._lease_ms = lease_ms
        self._is_fenced = fence == "exit"

    # --- registrations ------------------------------------------------------------------------------------------------

    async def register(  # noqa: PLR0913 (a keyword each)
        self,
        service_name: str,
        *,
        instance_id: str | None = None,
        resource_id: str | None = None,
        role: RoleName = ServiceRole.STANDBY,
        on_conflict: OnConflictName = OnConflict.REJECT,
        priority: int = 0,
        metadata: Mapping[str, str] | None = None,
        on_broker_loss: OnBrokerLossName = "step-down",
        hold_limit_ms: int | None = None,
        wait_for_ghost: bool = True,
    ) -> Registration:
        """Declare an instance and its role for a resource.

        Args:
            service_name: The name of what runs, 1 to 255 bytes and neither `.` nor `..`, as all names.
            instance_id: The name of this process of it; by default host name and process id.
            resource_id: What exactly one instance may be active for; by default the service's name.
            role: `active` claims the role; `standby` waits to be promoted when an active is lost.
            on_conflict: What a claim becomes when somebody else is active: `reject` raises, `standby` makes this
                instance a candidate, which fills any vacancy.
            priority: The higher is promoted first.
            metadata: Up to 32 entries that readers see.
            on_broker_loss: What becomes of the role when the broker does not answer: `step-down` gives it up with the
                lease, `hold` with the hold limit. While a holder is silent nobody else is promoted before that either.
            hold_limit_ms: How long it is held, longer than the lease; by default 30,000 milliseconds.
            wait_for_ghost: Whether to wait for a previous run of the same instance to end, by its lease or hold limit.

        Raises:
            RoleConflictError: Somebody else is active; `holder` says who. Nothing was registered.
            DuplicateInstanceError: Another living session has this instance.
            InvalidRequestError: A name or value is not allowed.
            LimitExceededError: A limit of the broker is reached.
            SessionExpiredError: The broker has ended the session; `open` begins another one.
            BrokerUnavailableError: No broker could be reached in time; nothing was sent.
            RequestTimeoutError: No answer came in time. If it was registered after all, that is undone.
            asyncio.CancelledError: If it was registered after all, that is undone.
            ValueError: A choice is not one of those there are, or a hold limit goes with nothing that holds.
        """
        item = registration_request(
            service_name,
            instance_id=instance_id,
            resource_id=resource_id,
            role=role,
            on_conflict=on_conflict,
            priority=priority,
            metadata=metadata,
            on_broker_loss=on_broker_loss,
            hold_limit_ms=hold_limit_ms,
        )
        return await self.register_item(item, wait_for_ghost=wait_for_ghost)

    async def register_item(self, item: Register, *, wait_for_ghost: bool = True) -> Registration:
        """Register what `registration_request` made, as `register`.

        Raises:
            TenureError: As `register`.
        """
        try:
            return await self._living().register(item)
        except DuplicateInstanceError as duplicate:
            if not wait_for_ghost:
                raise
            patience_ms = duplicate.retry_after_ms + _GHOST_MARGIN_MS
        return await self._outwait_ghost(item, patience_ms)

    async def _outwait_ghost(self, item: Register, patience_ms: float) -> Registration:
        """Register again until the other session has ended, or turns out to live beyond when it was to end."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + patience_ms / 1_000
        while True:
            try:
                return await self._living().register(item)
            except DuplicateInstanceError as duplicate:
                left_ms = (ends_at - loop.time()) * 1_000
                if duplicate.retry_after_ms >= left_ms:
                    raise
                pause_ms = min(max(_GHOST_RETRY_MS, duplicate.retry_after_ms), _GHOST_RETRY_MS_MAX)
                await asyncio.sleep(pause_ms / 1_000)

    async def register_many(self, items: Iterable[Register]) -> list[Registration | RequestRefusedError]:
        """Register up to 1,000 instances in one commit; a registration or the refusal for each, in order.

        Build the items with `registration_request`, which takes what `register` takes.

        Raises:
            InvalidRequestError: There are none.
            LimitExceededError: There are more than 1,000.
            TenureError: As `register`, for the request as a whole.
        """
        outcomes: list[Registration | RequestRefusedError] = []
        for registration, result in await self._living().register_many(tuple(items)):
            if registration is not None:
                outcomes.append(registration)
            elif result.error is not None:
                outcomes.append(refusal_from(result.error))
        return outcomes

    def active(
        self,
        service_name: str,
        *,
        instance_id: str | None = None,
        resource_id: str | None = None,
        priority: int = 0,
        metadata: Mapping[str, str] | None = None,
        on_broker_loss: OnBrokerLossName = "step-down",
        hold_limit_ms: int | None = None,
        stop_budget_ms: float | None = None,
    ) -> ActiveScope:
        """A block that runs while this instance is active: `async with client.active("gateway") as tenure: ...`.

        Entering waits for the role, as a candidate. The block is cancelled `stop_budget_ms` (a quarter of the lease by
        default) before its time is up (with a fence: before the process is ended), or when somebody asks for its end
        and the drain is over, and then raises `RoleLostError`; leaving it ends the registration.

        Raises:
            TenureError: On entering, as `register`; `RoleLostError` on leaving if the role was lost.
            ValueError: As `register`; or the stop budget is less than 0.
        """
        claim = _candidate(
            service_name,
            instance_id=instance_id,
            resource_id=resource_id,
            priority=priority,
            metadata=metadata,
            on_broker_loss=on_broker_loss,
            hold_limit_ms=hold_limit_ms,
        )
        return ActiveScope(self, claim, self._stop_budget_ms(stop_budget_ms))

    async def run_as_active[T](  # noqa: PLR0913 (a keyword each)
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
        """Run `work(tenure)` while this instance is active; returns what it returns without having been asked to end.

        Stands by as a candidate until the role comes. When the role is lost the work is cancelled `stop_budget_ms` (a
        quarter of the lease by default) before its time is up (with a fence: before the process is ended), and the
        instance stands by again; a broker that is away or has forgotten the session is waited for. When somebody asks
        for the tenure's end, the work goes on for as long as the drain lasts (`tenure.is_asked_to_end`,
        `tenure.drain_left_ms`) unless it returns sooner; then the instance resigns and stands by again. When the work
        returns otherwise, or raises, the registration ends.

        Raises:
            TenureError: The broker refused the registration for a reason that waiting does not mend.
            ValueError: As `register`; or the stop budget is less than 0.
            asyncio.CancelledError: The work was cancelled and waited for first.
        """
        claim = _candidate(
            service_name,
            instance_id=instance_id,
            resource_id=resource_id,
            priority=priority,
            metadata=metadata,
            on_broker_loss=on_broker_loss,
            hold_limit_ms=hold_limit_ms,
        )
        return await run_as_active(self, claim, work, self._stop_budget_ms(stop_budget_ms))

    def step_down(self, registration: Registration, why: str) -> None:
        """Leave the tenure at once, without a request: a heartbeat tells the broker. Does nothing without the role."""
        self._living().step_down(registration, why, declined=False)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _asks(self) -> Asks:
        return self._living()

    def _stop_budget_ms(self, chosen_ms: float | None) -> float:
        """How long before the end of its time work is stopped: a fence ends the process sooner than that."""
        budget_ms = self._lease_ms / 4 if chosen_ms is None else chosen_ms
        if not budget_ms >= 0:  # not a number, too
            raise ValueError(f"stop_budget_ms is {budget_ms}; give how long the work takes to stop, or leave it out")
        return budget_ms + fence_margin_ms(self._lease_ms) if self._is_fenced else budget_ms
