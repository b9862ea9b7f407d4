"""What a session asks for its registrations: to register, to resign, to leave.

Each function checks everything first and then takes its steps on the draft, so that a refusal has changed nothing.
A repeat of a request that was carried out finds its result and changes nothing.
"""

from __future__ import annotations

from math import ceil

from msgspec import structs

from tenure.contract.errors import (
    DuplicateInstanceError,
    InvalidRequestError,
    LimitExceededError,
    NotActiveError,
    NotFoundError,
    RoleConflictError,
)
from tenure.contract.messages import (
    Deregister,
    Deregistered,
    Register,
    Registered,
    Resign,
    Resigned,
    RoleStatement,
)
from tenure.contract.views import Holder
from tenure.contract.vocabulary import ChangeReason, OnConflict, ServiceRole
from tenure.domain.draft import Draft
from tenure.domain.limits import RegistryLimits
from tenure.domain.moves import previous_epoch
from tenure.domain.reads import statement_of
from tenure.domain.records import Registration
from tenure.domain.state import Presence, Resource
from tenure.domain.switchovers import leave_tenure
from tenure.domain.validation import check_register


def register(draft: Draft, presence: Presence, request: Register, limits: RegistryLimits) -> Registered:
    """Register an instance, or let it ask again; a vacancy it may fill is filled.

    Raises:
        RoleConflictError: It claims a role that somebody else holds.
        DuplicateInstanceError: Another living session has this instance.
        InvalidRequestError: A value is not allowed.
        LimitExceededError: The session, the resource, the broker or the metadata is full.
    """
    check_register(request, presence.record.lease_ms)
    resource_id = request.service_name if request.resource_id is None else request.resource_id
    number = draft.state.keys.get((request.service_name, request.instance_id, resource_id))
    if number is None:
        number = _join(draft, presence, request, resource_id, limits)
    else:
        _ask_again(draft, presence, request, draft.state.registrations[number])
    draft.fill(resource_id)
    registration = draft.state.registrations[number]
    if not registration.epoch:
        return Registered(
            registration_id=number,
            resource_id=resource_id,
            role=registration.role,
            revision=registration.role_revision,
        )
    return Registered(
        registration_id=number,
        resource_id=resource_id,
        role=registration.role,
        epoch=registration.epoch,
        revision=registration.role_revision,
        hold_limit_ms=registration.hold_limit_ms,
        previous_epoch=previous_epoch(draft.state.resources[resource_id], registration.epoch),
    )


def resign(draft: Draft, presence: Presence, request: Resign) -> Resigned:
    """End a tenure and let its holder stand by; somebody else may be promoted.

    Raises:
        NotFoundError: The registration is not this session's.
        NotActiveError: It is not active with the epoch named.
    """
    registration = _own(draft, presence, request.registration_id)
    _check_epoch(registration, request.epoch)
    return Resigned(statement=statement_of(leave_tenure(draft, registration, ChangeReason.RESIGNED)))


def deregister(draft: Draft, presence: Presence, request: Deregister) -> Deregistered:
    """End a registration, and the tenure named with it; somebody else may be promoted.

    Raises:
        NotFoundError: The registration is not this session's.
        NotActiveError: It is in another tenure than the one named.
    """
    registration = _own(draft, presence, request.registration_id)
    if registration.role is ServiceRole.ACTIVE:
        _check_epoch(registration, request.epoch)
    draft.end_registration(registration, ChangeReason.DEREGISTERED)
    statement = RoleStatement(registration_id=registration.registration_id, role=None, revision=draft.revision)
    draft.fill(registration.resource_id)
    return Deregistered(statement=statement)


def _join(draft: Draft, presence: Presence, request: Register, resource_id: str, limits: RegistryLimits) -> int:
    resource = draft.state.resources.get(resource_id)
    _check_room(draft, presence, resource, limits)
    role = ServiceRole.ACTIVE if _is_granted(draft, presence, request, resource_id) else ServiceRole.STANDBY
    candidate = _is_candidate(request)
    return draft.begin_registration(presence, request, resource_id, role, candidate=candidate).registration_id


def _ask_again(draft: Draft, presence: Presence, request: Register, registration: Registration) -> None:
    """The same instance registers again: a repeat changes nothing, a claim or other properties may."""
    if registration.session != presence.record.number:
        other = draft.state.sessions[registration.session]
        raise DuplicateInstanceError.alive(
            registration.service_name,
            registration.instance_id,
            registration.resource_id,
            retry_after_ms=max(0, ceil(draft.state.ends_ms(other) - draft.now.now_ms)),
        )
    is_granted = False
    if registration.role is ServiceRole.ACTIVE and registration.hold_limit_ms != request.hold_limit_ms:
        raise InvalidRequestError(
            f"{registration.instance_id} is active with hold_limit_ms {registration.hold_limit_ms}, fixed for the "
            "tenure: resign first, or ask for the same"
        )
    if registration.role is ServiceRole.STANDBY:
        is_granted = _is_granted(draft, presence, request, registration.resource_id)
    updated = structs.replace(
        registration,
        priority=request.priority,
        candidate=_is_candidate(request),
        hold_limit_ms=request.hold_limit_ms,
        metadata=request.metadata,
        declined_epoch=0,
    )
    if updated != registration:
        updated = draft.update_registration(updated)
    if is_granted:
        draft.promote(updated, ChangeReason.CLAIMED)


def _is_granted(draft: Draft, presence: Presence, request: Register, resource_id: str) -> bool:
    """Whether a claim gets the role at once. One that insists does wherever the role is vacant.

    A candidate has to be fit, and the resource not paused, as for any promotion: it registers again after every hiccup
    of its own, and nobody has asked for that.

    Raises:
        RoleConflictError: Somebody else is active, and the claim insists.
    """
    if request.role is ServiceRole.STANDBY:
        return False
    resource = draft.state.resources.get(resource_id)
    if resource is not None and resource.active is not None:
        if request.on_conflict is OnConflict.REJECT:
            active = draft.state.registrations[resource.active]
            raise RoleConflictError.held(active.resource_id, holder_view(active))
        return False
    if not _is_candidate(request):
        return True
    return resource_id not in draft.state.pauses and presence.status(draft.now.now_ms).may_be_promoted


def _check_room(draft: Draft, presence: Presence, resource: Resource | None, limits: RegistryLimits) -> None:
    if len(presence.registrations) >= limits.registrations_per_session_max:
        raise LimitExceededError(
            f"the session has {len(presence.registrations)} registrations, which is the limit "
            "(registrations_per_session_max); open another client or raise it",
            limit=limits.registrations_per_session_max,
        )
    if resource is not None and resource.registration_count >= limits.registrations_per_resource_max:
        raise LimitExceededError(
            f"the resource has {resource.registration_count} registrations, which is the limit "
            "(registrations_per_resource_max); name another resource or raise it",
            limit=limits.registrations_per_resource_max,
        )
    if len(draft.state.registrations) >= limits.registrations_max:
        raise LimitExceededError(
            f"the broker has {len(draft.state.registrations)} registrations, its limit (registrations_max); raise it",
            limit=limits.registrations_max,
        )


def _own(draft: Draft, presence: Presence, number: int) -> Registration:
    if number not in presence.registrations:
        raise NotFoundError(f"the session has no registration {number} (any longer)")
    return draft.state.registrations[number]


def _check_epoch(registration: Registration, epoch: int) -> None:
    if registration.role is ServiceRole.STANDBY or registration.epoch != epoch:
        now = f"active with epoch {registration.epoch}" if registration.epoch else "standing by"
        raise NotActiveError(
            f"{registration.instance_id} is not active for {registration.resource_id!r} with epoch {epoch}: "
            f"it is {now}; nothing was changed"
        )


def _is_candidate(request: Register) -> bool:
    return request.role is ServiceRole.ACTIVE and request.on_conflict is OnConflict.STANDBY


def holder_view(registration: Registration) -> Holder:
    """An active registration as a refused claim is told of it."""
    return Holder(
        service_name=registration.service_name,
        instance_id=registration.instance_id,
        epoch=registration.epoch,
        since_ms=registration.since_ms,
    )
