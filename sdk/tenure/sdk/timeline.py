"""How a role moved, as a timeline in words: from what the broker remembers, and from the events for what came before.

Pure: moves and events in, stories out. The broker's memory says more (commit, first activity) but begins with its
start; the events say for each tenure why it ended, on whose word, and how long its holder had been silent.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final, TypeGuard

from msgspec import Struct, structs

from tenure.contract.events import AnyEvent, ResourcePausedEvent, ResourceResumedEvent, RoleChangedEvent
from tenure.contract.views import Move, TenureView
from tenure.contract.vocabulary import ChangeReason, ResumeReason, ServiceRole

type StoryEvent = RoleChangedEvent | ResourcePausedEvent | ResourceResumedEvent
"""What a story is told from: the beginnings and ends of tenures, and what may have kept a role vacant in between."""

_ENDINGS: Final = {
    ChangeReason.EXPIRED: "it fell silent until its time ran out",
    ChangeReason.DIED: "its process ended, as the kernel reported",
    ChangeReason.CONFIRMED_DEAD: "{who} vouched that its process is dead",
    ChangeReason.SWITCHOVER: "it stepped down for a switchover, as {who} had asked",
    ChangeReason.REVOKED: "{who} asked it to step down and it did not, so that it was renewed no more until it ran out",
    ChangeReason.RESIGNED: "it resigned",
    ChangeReason.GIVEN_UP: "it gave the role up, because it could not confirm its lease",
    ChangeReason.DEREGISTERED: "it ended its registration",
    ChangeReason.GOODBYE: "its client said goodbye",
    ChangeReason.RESTORED: "a backup was restored in which it was active",
}

_UNTOLD: Final = {ChangeReason.EXPIRED, ChangeReason.DIED, ChangeReason.CONFIRMED_DEAD, ChangeReason.REVOKED}
"""Whose end its holder did not tell itself, so that it matters when it was heard last."""


def is_told(event: AnyEvent) -> TypeGuard[StoryEvent]:
    """Whether a story has to know of an event: an active begins or ends, or failover is paused or resumed."""
    if isinstance(event, RoleChangedEvent):
        return ServiceRole.ACTIVE in {event.old_role, event.new_role}
    return isinstance(event, (ResourcePausedEvent, ResourceResumedEvent))


class Step(Struct, frozen=True, kw_only=True):
    """One thing that happened in a move."""

    after_ms: int
    """How long after the first step."""
    what: str


class Story(Struct, frozen=True, kw_only=True):
    """One move of a role, told to people."""

    old_instance_id: str
    old_epoch: int
    new_instance_id: str
    """Empty: nobody has taken over."""
    new_epoch: int
    why: str
    """Why the old tenure ended."""
    began_ms: int
    """Unix milliseconds of the first step."""
    steps: tuple[Step, ...]
    gap_ms: int | None
    """How long nobody was active, at least; None if that is not known."""
    gap_max_ms: int | None
    """How long nobody was active, at most: more than `gap_ms` if the old holder fell silent; None if not known."""
    is_gap_about: bool
    """Whether that is counted until the promotion, since events alone do not tell when the new holder was active."""


def stories(moves: Sequence[Move], events: Sequence[StoryEvent], count: int) -> list[Story]:
    """The newest `count` moves, the newest last; `events` are the resource's own, in order."""
    changes = [event for event in events if isinstance(event, RoleChangedEvent)]
    pauses = [event for event in events if not isinstance(event, RoleChangedEvent)]
    ends = {event.epoch: event for event in changes if _is_end(event)}
    begins = {event.epoch: event for event in changes if event.new_role is ServiceRole.ACTIVE}
    known = {move.old_epoch: move for move in _moves_of(changes)} | {move.old_epoch: move for move in moves}
    newest = [known[epoch] for epoch in sorted(known)][-count:]
    told = [_story(move, ends.get(move.old_epoch), begins.get(move.new_epoch), pauses) for move in newest]
    # While a role is held by somebody who was promoted and is never active, nobody is: how long it was before, too.
    never_active = {move.new_epoch for move in known.values() if move.lease_ms and not move.entered_ms}
    return [structs.replace(one, gap_max_ms=None) if one.old_epoch in never_active else one for one in told]


def how_it_ended(reason: ChangeReason, by: str = "") -> str:
    """In words, why a tenure ended; `by` is who had asked for it or vouched for it."""
    return _ENDINGS.get(reason, f"of a change called {reason}").format(who=by or "somebody")


def paused_or_resumed(event: ResourcePausedEvent | ResourceResumedEvent) -> str:
    """In words, that a resource was paused, or is so no more: who asked, and why it was."""
    if isinstance(event, ResourcePausedEvent):
        return f"failover was paused by {event.by or 'somebody'}: {event.why}"
    ended = "its time was over"
    if event.reason is ResumeReason.ASKED:
        ended = f"{event.by or 'somebody'} asked"
    return f"failover was resumed, as {ended}; {event.paused_by or 'somebody'} had paused it: {event.why}"


def how_long(tenure: TenureView) -> str:
    """In words, for how long a tenure lasted that has ended: what is certain, and what is not known."""
    most_ms, least_ms = tenure.duration_ms, tenure.certain_ms
    if most_ms is None:
        return f"for at least {least_ms or 0:,} ms"
    if least_ms is None:
        return f"for at most {most_ms:,} ms"
    if least_ms == most_ms:
        return f"for {most_ms:,} ms"
    return f"for at most {most_ms:,} ms (heard last after {least_ms:,} ms)"


def how_long_nobody(least_ms: int, most_ms: int | None, *, is_about: bool = False) -> str:
    """In words, for how long nobody was active: what is certain, and what is not known."""
    about = "about " if is_about else ""
    if most_ms is None:
        return f"nobody was active for at least {about}{least_ms:,} ms"
    if least_ms == most_ms:
        return f"nobody was active for {about}{least_ms:,} ms"
    return f"nobody was active for at least {about}{least_ms:,} and at most {about}{most_ms:,} ms"


def _is_end(event: RoleChangedEvent) -> bool:
    return event.old_role is ServiceRole.ACTIVE and event.new_role is not ServiceRole.ACTIVE


def _moves_of(events: Iterable[RoleChangedEvent]) -> list[Move]:
    """The moves as far as events alone tell them: no lease, no commit, no first activity."""
    found: list[Move] = []
    for event in events:
        if _is_end(event):
            move = Move(
                old_epoch=event.epoch,
                old_instance_id=event.instance_id,
                end_reason=event.reason,
                lease_ms=0,
                last_heard_ms=0 if event.silent_ms is None else event.at_ms - event.silent_ms,
                ended_ms=event.at_ms,
            )
            found.append(move)
        elif event.new_role is ServiceRole.ACTIVE and found and not found[-1].new_epoch:
            found[-1] = structs.replace(
                found[-1], new_epoch=event.epoch, new_instance_id=event.instance_id, promoted_ms=event.at_ms
            )
    return found


def _story(
    move: Move,
    end: RoleChangedEvent | None,
    begin: RoleChangedEvent | None,
    pauses: Iterable[ResourcePausedEvent | ResourceResumedEvent],
) -> Story:
    old, new = move.old_instance_id, move.new_instance_id
    happened: list[tuple[int, str]] = []
    is_told_later = move.end_reason not in _UNTOLD and 0 < move.last_heard_ms < move.ended_ms
    if is_told_later or move.end_reason is ChangeReason.GIVEN_UP:
        when = "" if move.last_heard_ms else ": when, its clock knows"
        if move.last_heard_ms:
            happened.append((move.last_heard_ms, f"{old} stopped, as it said itself when it was heard again"))
        happened.append((move.ended_ms, f"{old} was heard again, and said that it had stopped{when}"))
    elif 0 < move.last_heard_ms < move.ended_ms and move.end_reason in _UNTOLD:
        happened.append((move.last_heard_ms, f"{old} was heard for the last time"))
        late_ms = move.last_heard_ms + move.lease_ms // 2
        if move.lease_ms and late_ms < move.ended_ms:
            happened.append((late_ms, f"{old} was suspected: half of its lease of {move.lease_ms:,} ms had passed"))
    if move.asked_ms:
        happened.append((move.asked_ms, f"{old} was asked to step down"))
    happened.append((move.ended_ms, f"the tenure of {old} was over: {_how_over(move)}"))
    began_ms, until_ms = min(at_ms for at_ms, _ in happened), move.promoted_ms or sys.maxsize
    happened.extend((event.at_ms, paused_or_resumed(event)) for event in pauses if began_ms <= event.at_ms <= until_ms)
    if move.promoted_ms:
        why = "" if begin is None else f" ({begin.reason}{_asked_anew(begin, end)})"
        happened.append((move.promoted_ms, f"{new} was promoted under epoch {move.new_epoch}{why}"))
    if move.committed_ms:
        happened.append((move.committed_ms, "that was committed"))
    if move.entered_ms:
        happened.append((move.entered_ms, f"{new} was active for the first time, as it said itself"))
    happened.sort(key=lambda step: step[0])  # a stable sort: what comes at the same time stays in order
    is_from_events = not move.lease_ms
    measured = structs.replace(move, entered_ms=move.promoted_ms) if is_from_events else move
    return Story(
        old_instance_id=old,
        old_epoch=move.old_epoch,
        new_instance_id=new,
        new_epoch=move.new_epoch,
        why=how_it_ended(move.end_reason, "" if end is None else end.by),
        began_ms=began_ms,
        steps=tuple(Step(after_ms=at_ms - began_ms, what=what) for at_ms, what in happened),
        gap_ms=measured.gap_ms,
        gap_max_ms=measured.gap_max_ms,
        is_gap_about=is_from_events and measured.gap_ms is not None,
    )


def _asked_anew(begin: RoleChangedEvent, end: RoleChangedEvent | None) -> str:
    """Who asked for a promotion, unless that is who had asked for the end before it."""
    return f", as {begin.by} had asked" if begin.by and (end is None or begin.by != end.by) else ""


def _how_over(move: Move) -> str:
    match move.end_reason:
        case ChangeReason.EXPIRED if move.hold_limit_ms > move.lease_ms > 0:
            return f"its hold limit of {move.hold_limit_ms:,} ms had passed in silence"
        case ChangeReason.EXPIRED if move.lease_ms:
            return f"its lease of {move.lease_ms:,} ms had passed in silence"
        case ChangeReason.EXPIRED:
            return "its lease had passed in silence"
        case ChangeReason.DIED:
            return "proof of death, by the kernel"
        case ChangeReason.CONFIRMED_DEAD:
            return "proof of death, by a person's word"
        case ChangeReason.REVOKED:
            return "it was renewed no more, and nobody could believe in it any longer"
        case _:
            return f"by its own word ({move.end_reason})"
