"""What a client can be asked about the registry, and can ask of others: it touches no role of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from tenure.contract.history import TenurePage
from tenure.contract.interventions import RoleChange, RoleChangeResult
from tenure.contract.limits import PAGE_ITEMS_MAX, PAUSE_MS_DEFAULT
from tenure.contract.views import Pause, ResourceView, ServiceInstance
from tenure.sdk import interventions, queries, switchover
from tenure.sdk.queries import Asks
from tenure.sdk.switchover import SwitchoverResult


class Questions:
    """A part of `ServiceClient`, which says what to ask with."""

    @abstractmethod
    def _asks(self) -> Asks:
        """What to ask with.

        Raises:
            ClientClosedError: There is none.
        """

    async def services(self, service_name: str | None = None) -> list[ServiceInstance]:
        """Every registered instance, or those of one service, oldest first.

        Raises:
            TenureError: No answer came, or the session is over.
        """
        return await queries.services(self._asks(), service_name)

    async def roles(self, service_name: str) -> list[ResourceView]:
        """The resources a service has instances for: who is active, and who would succeed in which order.

        Raises:
            NotFoundError: The service has no instances.
            TenureError: No answer came, or the session is over.
        """
        return await queries.roles(self._asks(), service_name)

    async def resource(self, resource_id: str) -> ResourceView:
        """Who is active for a resource, and who would succeed in which order.

        Raises:
            NotFoundError: Nobody is registered for it.
            TenureError: No answer came, or the session is over.
        """
        return await queries.resource(self._asks(), resource_id)

    async def tenures(self, resource_id: str, before: int = 0, limit: int = PAGE_ITEMS_MAX) -> TenurePage:
        """Who was active for a resource from when to when, the newest first, as far as the store keeps it.

        A page at a time: ask again with `before` = `next_before` until that is None. Where a holder did not tell its
        end itself, and in time, that is when the broker decided it: it was active for certain until
        `certain_until_ms`, when it was heard last, and at most until `possible_until_ms`.

        Raises:
            InvalidRequestError: The limit is not 1 to 1,000.
            TenureError: No answer came, or the session is over.
        """
        return await queries.tenures(self._asks(), resource_id, before, limit)

    async def pauses(self) -> list[Pause]:
        """Every pause, by resource.

        Raises:
            TenureError: No answer came, or the session is over.
        """
        return await queries.pauses(self._asks())

    async def switchover(
        self,
        resource_id: str,
        *,
        to: str | None = None,
        to_service: str | None = None,
        drain_ms: int = 0,
        epoch: int = 0,
        even_if_vacant: bool = False,
        by: str | None = None,
        timeout_ms: float | None = None,
    ) -> SwitchoverResult:
        """Move a role as planned, and wait until it has moved; see `tenure.sdk.switchover.switchover`.

        Raises:
            NotActiveError: Nobody is active, or not in the tenure named.
            NotEligibleError: Nobody could take over, or not the instance named.
            SwitchoverUnderWayError: Another switchover of the resource is under way.
            SwitchoverFailedError: It had begun, and the role has not moved; `why` says what is known.
            TenureError: The broker refused it or did not answer.
        """
        return await switchover.switchover(
            self._asks(),
            resource_id,
            to=to,
            to_service=to_service,
            drain_ms=drain_ms,
            epoch=epoch,
            even_if_vacant=even_if_vacant,
            by=by,
            timeout_ms=timeout_ms,
        )

    async def cancel_switchover(self, resource_id: str, *, by: str | None = None) -> None:
        """Call off the switchover of a resource; a holder that has stopped its work already resigns all the same.

        Raises:
            NotFoundError: None is under way.
            TenureError: The broker refused it or did not answer.
        """
        await switchover.cancel_switchover(self._asks(), resource_id, by=by)

    async def pause(
        self, resource_id: str, *, why: str, for_ms: int = PAUSE_MS_DEFAULT, by: str | None = None
    ) -> Pause:
        """Let the broker promote nobody for a resource on its own; see `tenure.sdk.interventions.pause`.

        Raises:
            NotFoundError: Nobody is registered for the resource, and it is not paused.
            LimitExceededError: Too many resources are paused.
            TenureError: The broker refused it or did not answer.
        """
        return await interventions.pause(self._asks(), resource_id, why=why, for_ms=for_ms, by=by)

    async def resume(self, resource_id: str, *, by: str | None = None) -> Pause:
        """End the pause of a resource, and return what has ended; if its role is vacant the next one gets it at once.

        Raises:
            NotFoundError: It is not paused (any longer).
            TenureError: The broker refused it or did not answer.
        """
        return await interventions.resume(self._asks(), resource_id, by=by)

    async def change_roles(
        self, changes: Iterable[RoleChange], *, drain_ms: int = 0, by: str | None = None
    ) -> tuple[RoleChangeResult, ...]:
        """Change the roles of many registrations, all or none; see `tenure.sdk.interventions.change_roles`.

        Raises:
            RequestRefusedError: Nothing was changed; `info.index` says which change was at fault.
            TenureError: The broker did not answer.
        """
        return await interventions.change_roles(self._asks(), changes, drain_ms=drain_ms, by=by)
