"""Planned moves: a tenure is asked to end, its holder acknowledges by resigning, the next is promoted in that commit.

A switchover passes through: *draining* (the holder may finish its work) ──▶ *revoking* (its tenure is renewed no more,
and ends when it can no longer be believed) ──▶ gone. Any end of the tenure ends it, whatever the reason; so does
cancelling. Nobody is asked to step down unless somebody could take over. The intent is not durable, only the move is.
While the resource is paused only an acknowledgement moves the role: a tenure that was lost or revoked leaves a vacancy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tenure.contract.errors import (
    LimitExceededError,
    NotActiveError,
    NotEligibleError,
    NotFoundError,
    SwitchoverUnderWayError,
)
from tenure.contract.interventions import CancelSwitchover, SwitchoverCancelled, SwitchoverStarted
from tenure.contract.interventions import Switchover as SwitchoverRequest
from tenure.contract.messages import StepDown
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.draft import Draft
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Registration
from tenure.domain.state import Presence, Resource, Switchover
from tenure.domain.succession import may_succeed, planned_successor, successor

_NOTHING_AHEAD: Final[Mapping[int, int]] = {}


def start(draft: Draft, request: SwitchoverRequest, by: str, limits: RegistryLimits) -> SwitchoverStarted:
    """Ask the holder of a tenure to step down for somebody else, or strengthen what is asked of it already.

    Raises:
        NotFoundError: Nobody is registered for the resource, or the successor named is not.
        NotActiveError: The tenure named is over.
        NotEligibleError: The successor named, or anybody at all, could not be promoted at present.
        SwitchoverUnderWayError: Another one is, and not to the successor named.
        LimitExceededError: Too many are under way, in all or of the holder's session.
    """
    return begin(draft, prepare(draft, request, by, limits, _NOTHING_AHEAD), request.drain_ms)


def prepare(
    draft: Draft, request: SwitchoverRequest, by: str, limits: RegistryLimits, ahead: Mapping[int, int]
) -> Switchover:
    """Check that a switchover may begin, or strengthen the one that is under way; returns what was asked for.

    `ahead` says how many others the same decision is to begin, by the holder's session.

    Raises:
        RequestRefusedError: As `start`.
    """
    resource, holder = _held(draft, request.resource_id, request.epoch)
    presence = draft.state.sessions[holder.session]
    switchover = Switchover(holder, presence, draft.now, request.drain_ms)
    switchover.to_registration_id = request.to_registration_id
    switchover.even_if_vacant = request.even_if_vacant
    switchover.is_revoking = request.drain_ms == 0
    switchover.by = by
    under_way = draft.state.switchovers.get(request.resource_id)
    if under_way is None:
        _check_room(draft, presence, limits, ahead)
        _check_successor(draft, resource, switchover)
    elif request.to_registration_id not in {0, under_way.to_registration_id}:
        raise SwitchoverUnderWayError(
            f"a switchover of {request.resource_id!r} to somebody else is under way already (asked for by "
            f"{under_way.by or 'nobody'}); wait for its end or cancel it"
        )
    return switchover


def begin(draft: Draft, switchover: Switchover, drain_ms: int) -> SwitchoverStarted:
    """Begin what was prepared, or let the one that is under way already be at least as strong."""
    holder = draft.state.registrations[switchover.registration_id]
    under_way = draft.state.switchovers.get(switchover.resource_id)
    if under_way is None:
        draft.state.switchovers.begin(switchover)
        _ask(draft, holder, drain_ms)
    else:
        _strengthen(draft, under_way, switchover, holder, drain_ms)
    return SwitchoverStarted(registration_id=holder.registration_id, epoch=holder.epoch)


def cancel(draft: Draft, request: CancelSwitchover) -> SwitchoverCancelled:
    """Call a switchover off: the tenure is renewed again.

    Raises:
        NotFoundError: Nobody is registered for the resource, or no switchover of it is under way.
        NotActiveError: The tenure named is over.
    """
    _, holder = _held(draft, request.resource_id, request.epoch)
    if draft.state.switchovers.get(request.resource_id) is None:
        raise NotFoundError(f"no switchover of {request.resource_id!r} is under way; nothing was changed")
    _withdraw(draft, holder)
    return SwitchoverCancelled(epoch=holder.epoch)


def leave_tenure(draft: Draft, holder: Registration, reason: ChangeReason, ago_ms: int | None = None) -> Registration:
    """The holder has left its tenure: let it stand by, and somebody else be promoted. Returns it as it was demoted.

    `ago_ms` is how long ago it had, by its own word, where it could not say so at once.
    Where a switchover had asked for this, and nobody is left who could take over, the holder itself begins another
    tenure rather than leaving a vacancy. One that found its tenure confirmed no more has not acknowledged anything.
    """
    switchover = draft.state.switchovers.get(holder.resource_id)
    is_wanted = reason is ChangeReason.RESIGNED
    if switchover is not None and switchover.is_revoking and not is_wanted:
        return _swap(draft, holder, ChangeReason.REVOKED, switchover, ago_ms)
    if switchover is None or not is_wanted:
        demoted = draft.demote(holder, reason, declined=is_wanted, ago_ms=ago_ms)
        draft.fill(holder.resource_id)
        return demoted
    return _swap(draft, holder, ChangeReason.SWITCHOVER, switchover, ago_ms)


def take_due_steps(draft: Draft) -> None:
    """Stop renewing the tenures whose drain is over, and end those that nobody can believe in any more."""
    for switchover in draft.state.switchovers.take_due(draft.now.now_ms):
        holder = draft.state.registrations[switchover.registration_id]
        if switchover.is_revoking:
            _swap(draft, holder, ChangeReason.REVOKED, switchover)
        elif _has_successor(draft, draft.state.resources[switchover.resource_id], switchover):
            switchover.is_revoking = True
            draft.state.switchovers.watch(switchover)
        else:
            _withdraw(draft, holder)


def asks_of(presence: Presence, now_ms: float) -> tuple[StepDown, ...]:
    """Which tenures of a session have been asked to end."""
    return tuple(
        StepDown(
            registration_id=switchover.registration_id,
            epoch=switchover.epoch,
            drain_ms=switchover.drain_left_ms(now_ms),
        )
        for switchover in presence.asked.values()
    )


def _swap(
    draft: Draft, holder: Registration, reason: ChangeReason, switchover: Switchover, ago_ms: int | None = None
) -> Registration:
    """End the tenure and promote whoever was planned, else the next, else the holder again; it as it was demoted.

    One that was revoked while its resource is paused is followed by nobody, and least of all by the holder itself: that
    waits with the others, as if it had been lost, since it has declined nothing.
    """
    is_lost = reason is ChangeReason.REVOKED and holder.resource_id in draft.state.pauses
    declined = not is_lost or switchover.even_if_vacant
    demoted = draft.demote(holder, reason, declined=declined, by=switchover.by, ago_ms=ago_ms)
    draft.fill(holder.resource_id)
    status = draft.state.sessions[holder.session].status(draft.now.now_ms)
    is_left = draft.state.resources[holder.resource_id].active is None and not is_lost
    if is_left and draft.may_promote and not switchover.even_if_vacant and status.may_be_promoted:
        draft.promote(demoted, ChangeReason.SWITCHOVER)
    return demoted


def _strengthen(draft: Draft, under_way: Switchover, wanted: Switchover, holder: Registration, drain_ms: int) -> None:
    """Let the stronger of two wishes hold: the shorter drain, and an end that waits for nobody to follow."""
    if wanted.even_if_vacant and not under_way.even_if_vacant:
        under_way.even_if_vacant = True
        under_way.by = wanted.by  # should the role be vacant then, that is his doing
    if not under_way.is_revoking and wanted.drain_ends_ms < under_way.drain_ends_ms:
        under_way.drain_ends_ms = wanted.drain_ends_ms
        draft.state.switchovers.watch(under_way)
        _ask(draft, holder, drain_ms)


def _held(draft: Draft, resource_id: str, epoch: int) -> tuple[Resource, Registration]:
    resource = draft.state.resources.get(resource_id)
    if resource is None or resource.is_abandoned:
        raise NotFoundError(f"nobody is registered for resource {resource_id!r}")
    if resource.active is None:
        raise NotActiveError(f"nobody is active for resource {resource_id!r}; nothing was asked of anybody")
    holder = draft.state.registrations[resource.active]
    if holder.epoch != epoch:
        raise NotActiveError(
            f"epoch {epoch} of {resource_id!r} is over: {holder.instance_id} is active with epoch {holder.epoch}; "
            "nothing was changed"
        )
    return resource, holder


def _check_room(draft: Draft, presence: Presence, limits: RegistryLimits, ahead: Mapping[int, int]) -> None:
    under_way = len(draft.state.switchovers) + sum(ahead.values())
    if under_way >= limits.switchovers_max:
        raise LimitExceededError(
            f"{under_way} switchovers are under way, which is the limit (switchovers_max); wait for some to end",
            limit=limits.switchovers_max,
        )
    asked = len(presence.asked) + ahead.get(presence.record.number, 0)
    if asked >= limits.switchovers_per_session_max:
        raise LimitExceededError(
            f"session {presence.record.number} has been asked for {asked} of its tenures, which is the "
            "limit (switchovers_per_session_max); wait for some to end",
            limit=limits.switchovers_per_session_max,
        )


def _check_successor(draft: Draft, resource: Resource, switchover: Switchover) -> None:
    number = switchover.to_registration_id
    if number == 0:
        if not _has_successor(draft, resource, switchover):
            raise NotEligibleError(
                f"none of {len(resource.standbys)} standbys could take over at present: each is late, unhealthy, "
                "starting or draining; nothing was asked of anybody"
                if resource.standbys
                else "nobody stands by who could take over; nothing was asked of anybody"
            )
        return
    target = draft.state.registrations.get(number)
    if target is not None and number == resource.active:
        raise NotEligibleError(f"{target.instance_id} is active already; nothing was asked of anybody")
    if target is None or number not in resource.standbys:
        raise NotFoundError(f"registration {number} does not stand by for this resource; nothing was asked of anybody")
    status = draft.state.sessions[target.session].status(draft.now.now_ms)
    if not may_succeed(target, resource, status):
        raise NotEligibleError(
            f"{target.instance_id} could not take over at present: it is {status}; nothing was asked of anybody"
        )


def _has_successor(draft: Draft, resource: Resource, switchover: Switchover) -> bool:
    now_ms = draft.now.now_ms
    return (
        switchover.even_if_vacant
        or planned_successor(draft.state, resource, switchover, now_ms) is not None
        or successor(draft.state, resource, now_ms) is not None
    )


def _ask(draft: Draft, holder: Registration, drain_ms: int) -> None:
    _tell(draft, holder, StepDown(registration_id=holder.registration_id, epoch=holder.epoch, drain_ms=drain_ms))


def _withdraw(draft: Draft, holder: Registration) -> None:
    draft.state.switchovers.end(holder.resource_id)
    _tell(draft, holder, StepDown(registration_id=holder.registration_id, epoch=holder.epoch, withdrawn=True))


def _tell(draft: Draft, holder: Registration, step_down: StepDown) -> None:
    draft.step_downs.append((holder.session, step_down))
