"""What people ask for beside switchovers: pauses, and changes of many roles at once. They need no session."""

from __future__ import annotations

from collections.abc import Iterable

from tenure.contract.interventions import (
    ChangeRoles,
    Paused,
    PauseResource,
    Resumed,
    ResumeResource,
    RoleChange,
    RoleChangeResult,
    RoleChangesAccepted,
)
from tenure.contract.limits import PAUSE_MS_DEFAULT
from tenure.contract.views import Pause
from tenure.sdk.queries import Asks
from tenure.sdk.switchover import this_person


async def pause(
    asks: Asks, resource_id: str, *, why: str, for_ms: int = PAUSE_MS_DEFAULT, by: str | None = None
) -> Pause:
    """Let the broker promote nobody for a resource on its own, until `resume` or the end of `for_ms`.

    Whoever is active stays so by the same lease. Only what is asked for gives the role: a claim that insists
    (`on_conflict="reject"`), `change_roles`, a switchover that the holder acknowledges; a candidate that registers
    waits. On a paused resource it says anew who, why and until when.

    Args:
        asks: What to ask with: a `ServiceClient`'s session or a `Reader`.
        resource_id: Which resource.
        why: The reason, for people.
        for_ms: How long, from now on: a second to seven days.
        by: Who asks for it, for people; by default this user on this machine.

    Raises:
        NotFoundError: Nobody is registered for the resource, and it is not paused.
        InvalidRequestError: A value is not allowed.
        LimitExceededError: Too many resources are paused.
        TenureError: The broker refused it or did not answer.
    """
    request = PauseResource(resource_id=resource_id, why=why, for_ms=for_ms, by=this_person() if by is None else by)
    return (await asks.request(request, Paused)).pause


async def resume(asks: Asks, resource_id: str, *, by: str | None = None) -> Pause:
    """End the pause of a resource, and return what has ended; if its role is vacant the next one gets it at once.

    Raises:
        NotFoundError: It is not paused (any longer).
        TenureError: The broker refused it or did not answer.
    """
    request = ResumeResource(resource_id=resource_id, by=this_person() if by is None else by)
    return (await asks.request(request, Resumed)).pause


async def change_roles(
    asks: Asks, changes: Iterable[RoleChange], *, drain_ms: int = 0, by: str | None = None
) -> tuple[RoleChangeResult, ...]:
    """Give up to 1,000 registrations other roles: all of these changes are accepted, or none. One result for each.

    What is atomic is the acceptance. Vacant roles are granted with it. Each role that is held moves for itself, when
    its holder has stepped down, and never is anybody else active before; results say what is waited for.

    Args:
        asks: What to ask with: a `ServiceClient`'s session or a `Reader`.
        changes: Which registration is to have which role, and which tenure is to end for that.
        drain_ms: How long holders may go on with their work; then their tenures are renewed no more.
        by: Who asks for it, for people; by default this user on this machine.

    Raises:
        RequestRefusedError: Nothing was changed; `info.index` says which change was at fault. `RoleConflictError`:
            the role is held, and no tenure was named that is to end; `NotActiveError`: the tenure named is over;
            `NotFoundError`: there is no such registration; `NotEligibleError`: it could not be promoted at present;
            `SwitchoverUnderWayError`: another one is; `LimitExceededError`: too many are, or there are too many
            changes; `InvalidRequestError`: changes contradict each other, or there is none.
        TenureError: The broker did not answer.
    """
    request = ChangeRoles(changes=tuple(changes), drain_ms=drain_ms, by=this_person() if by is None else by)
    return (await asks.request(request, RoleChangesAccepted)).results
