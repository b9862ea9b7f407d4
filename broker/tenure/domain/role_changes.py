"""Many roles changed by one request: all of it is checked, then all of it is begun, so a refusal has done nothing.

What is atomic is the acceptance. A vacant role is granted by it; one that is held moves by a switchover of its own,
when its holder has stepped down.
"""

from __future__ import annotations

from collections import Counter

from msgspec import structs

from tenure.contract.errors import (
    InvalidRequestError,
    NotActiveError,
    NotEligibleError,
    NotFoundError,
    RequestRefusedError,
    RoleConflictError,
)
from tenure.contract.interventions import ChangeRoles, RoleChange, RoleChangeResult, RoleChangesAccepted
from tenure.contract.interventions import Switchover as SwitchoverRequest
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tenure.domain import switchovers
from tenure.domain.claims import holder_view
from tenure.domain.draft import Draft
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Registration
from tenure.domain.state import Switchover
from tenure.domain.validation import check_role_change


class _Plan:
    """What a request wants of one resource."""

    __slots__ = ("index", "is_to_end", "successor", "switchover")

    def __init__(self) -> None:
        self.successor: Registration | None = None
        """Who is to be active."""
        self.is_to_end = False
        """Whether somebody is to stand by who is active."""
        self.index = 0
        """The change that decides how it is to go on."""
        self.switchover: Switchover | None = None
        """The move that it takes, if the role is held by somebody else."""


def change_roles(draft: Draft, request: ChangeRoles, by: str, limits: RegistryLimits) -> RoleChangesAccepted:
    """Accept changes of roles, all or none.

    Raises:
        RequestRefusedError: One of them cannot be accepted; the refusal has its index.
    """
    plans: dict[str, _Plan] = {}
    named: set[int] = set()
    for index, change in enumerate(request.changes):
        try:
            _take(draft, plans, named, change, index)
        except RequestRefusedError as refusal:
            refusal.info = structs.replace(refusal.info, index=index)
            raise
    ahead: Counter[int] = Counter()
    for resource_id, plan in plans.items():
        try:
            _prepare(draft, resource_id, plan, request, by, limits, ahead)
        except RequestRefusedError as refusal:
            refusal.info = structs.replace(refusal.info, index=plan.index)
            raise
    for plan in plans.values():
        if plan.switchover is not None:
            switchovers.begin(draft, plan.switchover, request.drain_ms)
        elif plan.successor is not None and plan.successor.role is ServiceRole.STANDBY:
            draft.promote(plan.successor, ChangeReason.SWITCHOVER, by)
    return RoleChangesAccepted(results=tuple(_result(draft, plans, change) for change in request.changes))


def _take(draft: Draft, plans: dict[str, _Plan], named: set[int], change: RoleChange, index: int) -> None:
    """Check one change against what is and against those before it, and note what it wants.

    Raises:
        RequestRefusedError: It cannot be accepted.
    """
    check_role_change(change)
    registration = draft.state.registrations.get(change.registration_id)
    if registration is None:
        raise NotFoundError(f"there is no registration {change.registration_id} (any longer)")
    if change.registration_id in named:
        raise InvalidRequestError(f"registration {change.registration_id} is to have a role twice; name it once")
    named.add(change.registration_id)
    plan = plans.setdefault(registration.resource_id, _Plan())
    if change.role is ServiceRole.ACTIVE:
        if plan.successor is not None:
            raise InvalidRequestError(
                f"both {plan.successor.instance_id} and {registration.instance_id} are to be active for "
                f"{registration.resource_id!r}; one is"
            )
        plan.successor, plan.index = registration, index
    if change.role is registration.role:
        return
    if change.role is ServiceRole.ACTIVE:
        _check_claim(draft, registration, change.epoch)
    elif registration.epoch != change.epoch:
        raise NotActiveError(
            f"{registration.instance_id} is active for {registration.resource_id!r} with epoch {registration.epoch}, "
            f"not {change.epoch}; name the tenure that is to end"
        )
    else:
        plan.is_to_end = True
        if plan.successor is None:
            plan.index = index


def _check_claim(draft: Draft, registration: Registration, epoch: int) -> None:
    """See whether a standby may be made active, at the end of the tenure named or of none."""
    resource_id = registration.resource_id
    resource = draft.state.resources[resource_id]
    holder = None if resource.active is None else draft.state.registrations[resource.active]
    if holder is not None:
        if not epoch:
            raise RoleConflictError.held(resource_id, holder_view(holder))
        return  # whether it is that tenure is seen with the switchover from it
    if epoch:
        raise NotActiveError(f"epoch {epoch} of {resource_id!r} is over: nobody is active")
    status = draft.state.sessions[registration.session].status(draft.now.now_ms)
    if not status.may_be_promoted:
        raise NotEligibleError(f"{registration.instance_id} could not take over at present: it is {status}")
    if resource.last_epoch and registration.declined_epoch == resource.last_epoch:
        raise NotEligibleError(f"{registration.instance_id} has declined the role, and has to ask for it itself")


def _prepare(
    draft: Draft,
    resource_id: str,
    plan: _Plan,
    request: ChangeRoles,
    by: str,
    limits: RegistryLimits,
    ahead: Counter[int],
) -> None:
    """Prepare the switchover that a plan takes, if it takes one; `ahead` counts those of the request by session."""
    resource = draft.state.resources[resource_id]
    successor = plan.successor
    is_wanted = plan.is_to_end or (successor is not None and successor.role is ServiceRole.STANDBY)
    if resource.active is None or not is_wanted:
        return
    move = SwitchoverRequest(
        resource_id=resource_id,
        epoch=request.changes[plan.index].epoch,
        to_registration_id=0 if successor is None else successor.registration_id,
        drain_ms=request.drain_ms,
        even_if_vacant=plan.is_to_end,
    )
    plan.switchover = switchovers.prepare(draft, move, by, limits, ahead)
    if draft.state.switchovers.get(resource_id) is None:
        ahead[plan.switchover.presence.record.number] += 1


def _result(draft: Draft, plans: dict[str, _Plan], change: RoleChange) -> RoleChangeResult:
    registration = draft.state.registrations[change.registration_id]
    awaited_epoch = 0
    if registration.role is not change.role:
        switchover = plans[registration.resource_id].switchover
        assert switchover is not None, "what is not as it was asked for is on its way"
        awaited_epoch = switchover.epoch
    return RoleChangeResult(
        registration_id=registration.registration_id, epoch=registration.epoch, awaited_epoch=awaited_epoch
    )
