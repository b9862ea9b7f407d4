"""Why each standby of a resource is or is not next, and who is at risk, in words. Pure: all of it is in the view.

The order is the broker's, which the view carries; nothing here decides it. What is said must never contradict it: the
first one called next is whom the broker would promote at that moment, which a test holds the two to.
"""

from __future__ import annotations

from msgspec import Struct

from tenure.contract.views import ResourceView, ServiceInstance
from tenure.contract.vocabulary import ServiceStatus


class Place(Struct, frozen=True, kw_only=True):
    """One standby's place in the line of succession."""

    service_name: str
    instance_id: str
    is_eligible: bool
    """Whether it could be promoted at that moment."""
    why: str
    """Why it is next, why it comes after the one before it, or why it may not be promoted."""


def places(view: ResourceView) -> list[Place]:
    """The standbys in the order in which they would succeed, each with the reason for its place."""
    found: list[Place] = []
    ahead: ServiceInstance | None = None
    for standby in view.standbys:
        why_not = why_not_eligible(standby, view.last_epoch)
        if why_not:
            why = why_not
        elif ahead is None:
            when = "next" if view.pause is None else "waits for the end of the pause, then next"
            why = f"{when}: it is {standby.status}, priority {standby.priority}"
        else:
            why = f"after {ahead.instance_id}: {_why_after(standby, ahead)}"
        found.append(
            Place(
                service_name=standby.service_name,
                instance_id=standby.instance_id,
                is_eligible=not why_not,
                why=why,
            )
        )
        if not why_not:
            ahead = standby
    return found


def why_not_eligible(standby: ServiceInstance, last_epoch: int) -> str:
    """Why a standby may not be promoted at present; empty if it may. `last_epoch` is its resource's newest tenure."""
    if not standby.status.may_be_promoted:
        return f"not eligible: {_unfit(standby)}"
    if last_epoch == 0:
        if standby.candidate:
            return ""
        return "not eligible: a plain standby fills the place of a lost active only, and there never was one"
    if standby.declined_epoch == last_epoch:
        return f"not eligible: it resigned from epoch {last_epoch} and has not asked again"
    return ""


def why_at_risk(instance: ServiceInstance) -> str:
    """Why an instance may soon lose the role; empty if nothing says so."""
    if not instance.is_at_risk:
        return ""
    if instance.status is ServiceStatus.LATE:
        return f"late: {_silence(instance)}"
    half_ms = instance.lease_ms / 2
    whys: list[str] = []
    if instance.margin_ms is not None and instance.margin_ms < half_ms:
        whys.append(f"renewed with {instance.margin_ms:,} of {instance.lease_ms:,} ms left")
    if instance.loop_lag_ms is not None and instance.loop_lag_ms > half_ms:
        whys.append(f"its event loop was {instance.loop_lag_ms:,} ms late")
    return "; ".join(whys)


def _unfit(standby: ServiceInstance) -> str:
    match standby.status:
        case ServiceStatus.LATE:
            return f"late, {_silence(standby)}"
        case ServiceStatus.STARTING if standby.reported_status is not ServiceStatus.STARTING:
            return "no heartbeat of it has come since the broker started"
        case ServiceStatus.STARTING:
            return "starting, it has not said yet that it is healthy"
        case _:
            return f"it says that it is {standby.status}"


def _silence(instance: ServiceInstance) -> str:
    # One that is late has less than half of its lease left, unless it goes on for the sake of what it holds.
    limit_ms = instance.lease_ms
    if instance.lease_left_ms > instance.lease_ms / 2:
        limit_ms = max(instance.lease_ms, instance.hold_limit_ms)
    return f"not heard for at least {max(instance.lease_ms // 2, limit_ms - instance.lease_left_ms):,} ms"


def _why_after(standby: ServiceInstance, ahead: ServiceInstance) -> str:
    if standby.status is not ServiceStatus.HEALTHY and ahead.status is ServiceStatus.HEALTHY:
        return f"it is {standby.status}"
    if standby.priority != ahead.priority:
        return f"its priority is {standby.priority}, not {ahead.priority}"
    return "of the same rank, it has stood by for less long"
