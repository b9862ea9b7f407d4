"""Who would be next: eligibility and order, as pure functions of a resource and its sessions.

A standby may be promoted while its session is alive and heard from, not late, and healthy or degraded; a plain standby
fills only the vacancy of an active that was there, a candidate any; nobody the vacancy of a tenure it resigned from.
Among those: healthy before degraded, then the higher priority, then whoever has stood by longest.
"""

from __future__ import annotations

from tenure.contract.vocabulary import LOST, ChangeReason, ServiceStatus
from tenure.domain.records import Registration
from tenure.domain.state import Resource, State, Switchover


def may_succeed(registration: Registration, resource: Resource, status: ServiceStatus) -> bool:
    """Whether a standby in this status may fill the vacancy, or would if there were one."""
    if not status.may_be_promoted:
        return False
    if not resource.last_epoch:
        return registration.candidate
    return registration.declined_epoch != resource.last_epoch


def successor(state: State, resource: Resource, now_ms: float) -> Registration | None:
    """The standby to promote now, if any may be."""
    best: Registration | None = None
    best_rank: tuple[bool, int, int] | None = None
    for number in resource.standbys:
        registration = state.registrations[number]
        status = state.sessions[registration.session].status(now_ms)
        if may_succeed(registration, resource, status):
            rank = _rank(registration, status)
            if best_rank is None or rank < best_rank:
                best, best_rank = registration, rank
    return best


def planned_successor(state: State, resource: Resource, switchover: Switchover, now_ms: float) -> Registration | None:
    """The standby that a switchover is to promote, if it may be promoted; None also if the switchover names none."""
    registration = state.registrations.get(switchover.to_registration_id)
    if registration is None or registration.registration_id not in resource.standbys:
        return None
    status = state.sessions[registration.session].status(now_ms)
    return registration if may_succeed(registration, resource, status) else None


def succession(state: State, resource: Resource, now_ms: float) -> list[Registration]:
    """All standbys in the order in which they would succeed; those that may not at present come last."""

    def order(registration: Registration) -> tuple[bool, bool, int, int]:
        status = state.sessions[registration.session].status(now_ms)
        return (not may_succeed(registration, resource, status), *_rank(registration, status))

    return sorted((state.registrations[number] for number in resource.standbys), key=order)


def why_promoted(resource: Resource, planned: Switchover | None) -> ChangeReason:
    """Why the vacancy is filled; `planned` is the switchover under way when its tenure ended, if there was one."""
    if resource.tenure is not None and resource.tenure.end_reason in LOST:
        return ChangeReason.FAILOVER
    return ChangeReason.SUCCESSION if planned is None else ChangeReason.SWITCHOVER


def is_acknowledged(resource: Resource, planned: Switchover | None) -> bool:
    """Whether the vacancy is what a switchover had asked for: its holder has left, and was neither lost nor revoked."""
    reason = None if resource.tenure is None else resource.tenure.end_reason
    return planned is not None and reason not in LOST and reason is not ChangeReason.REVOKED


def _rank(registration: Registration, status: ServiceStatus) -> tuple[bool, int, int]:
    return (status is not ServiceStatus.HEALTHY, -registration.priority, registration.role_revision)
