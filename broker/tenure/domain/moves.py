"""How a role went from one tenure to the next, for people who ask why. Kept in memory; nothing is decided by it.

A move begins with the end of a tenure and is completed by what follows: the promotion, its commit, and the new holder's
own word on when it was first active. A resource keeps the newest few.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from tenure.contract.events import PreviousHolder
from tenure.contract.views import Move
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.records import Instant, Registration, Tenure
from tenure.domain.state import Presence, Resource, Switchover

TOLD: Final = frozenset({
    ChangeReason.RESIGNED, ChangeReason.SWITCHOVER, ChangeReason.DEREGISTERED, ChangeReason.GOODBYE,
})  # fmt: skip
"""Ends that a holder tells itself: at once where it can, else with how long ago, or late."""
_DATED_MS: Final = 100  # what lay unread for longer, while the broker stood still, is not taken for news
_MOVES_MAX: Final = 8  # of a resource: what an operator asks about is the last one or two


def begin_move(
    resource: Resource,
    old: Registration,
    presence: Presence,
    reason: ChangeReason,
    now: Instant,
    switchover: Switchover | None,
    ago_ms: int | None,
) -> int | None:
    """A tenure has ended; returns for how long nothing has been known of its holder, None if not since the start.

    `ago_ms` is how long ago it had stopped, if it says so itself. By the time of day, which goes on when leases do not:
    a holder that is late by it may have stopped while no broker listened, and what lay unread says nothing of when.
    """
    unix_ms = now.unix_ms
    silent_ms = max(0, unix_ms - presence.heard_unix_ms) if presence.heard_unix_ms else None
    is_dated = now.waited_ms <= _DATED_MS
    is_in_time = is_dated and silent_ms is not None and not presence.is_overdue(silent_ms)
    if ago_ms is not None and is_dated:
        silent_ms = max(0, min(ago_ms, unix_ms - old.since_ms))
    elif reason in TOLD:
        silent_ms = 0 if is_in_time else None
    elif reason is ChangeReason.GIVEN_UP:
        silent_ms = None
    elif reason is ChangeReason.DIED and is_in_time:
        silent_ms = 0  # the kernel sees an exit when it happens
    move = Move(
        old_epoch=old.epoch,
        old_instance_id=old.instance_id,
        end_reason=reason,
        lease_ms=presence.record.lease_ms,
        hold_limit_ms=old.hold_limit_ms,
        last_heard_ms=0 if silent_ms is None else unix_ms - silent_ms,
        asked_ms=0 if switchover is None else switchover.asked.unix_ms,
        ended_ms=unix_ms,
    )
    resource.moves = (*resource.moves[1 - _MOVES_MAX :], move)
    return silent_ms


def previous_holder(tenure: Tenure | None) -> PreviousHolder | None:
    """Whose tenure was the last before one that begins."""
    if tenure is None:
        return None
    return PreviousHolder(service_name=tenure.service_name, instance_id=tenure.instance_id, epoch=tenure.epoch)


def complete_move(resource: Resource, new: Registration, unix_ms: int) -> None:
    """A tenure has begun; the first one of a resource is no move."""
    if resource.moves and not resource.moves[-1].new_epoch:
        move = structs.replace(
            resource.moves[-1], new_epoch=new.epoch, new_instance_id=new.instance_id, promoted_ms=unix_ms
        )
        resource.moves = (*resource.moves[:-1], move)


def previous_epoch(resource: Resource, epoch: int) -> int:
    """The tenure that this one follows; 0 if it is the first that is remembered."""
    for move in resource.moves:
        if move.new_epoch == epoch:
            return move.old_epoch
    return 0


def note_committed(resource: Resource, epoch: int, unix_ms: int) -> None:
    """The beginning of a tenure is durable."""
    resource.moves = tuple(
        structs.replace(move, committed_ms=unix_ms) if move.new_epoch == epoch else move for move in resource.moves
    )


def note_entered(resource: Resource, epoch: int, unix_ms: int) -> None:
    """A holder was first active in its tenure at this time, by the broker's clock. The first word on it counts.

    It cannot have been before the tenure was granted, and that durably: who says so entered as early as can be.
    """
    resource.moves = tuple(
        structs.replace(move, entered_ms=max(unix_ms, move.promoted_ms, move.committed_ms))
        if move.new_epoch == epoch and not move.entered_ms
        else move
        for move in resource.moves
    )
