"""What an event means, in one sentence: who, what, and why. Pure; the colours are those of `tenure.cli.looks`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from tenure.cli.looks import STATUS_STYLES
from tenure.contract.events import (
    AnyEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    SessionOpenedEvent,
    StatusChangedEvent,
)
from tenure.contract.views import ServiceInstance
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tenure.sdk.timeline import how_it_ended, paused_or_resumed

type Part = tuple[str, str]
"""Some words and their style; empty for none."""

_BEGINNINGS: Final = {
    ChangeReason.REGISTERED: "it registered",
    ChangeReason.CLAIMED: "it claimed the vacant role",
    ChangeReason.FAILOVER: "promoted because the active was lost",
    ChangeReason.SUCCESSION: "promoted to fill a vacancy",
    ChangeReason.SWITCHOVER: "promoted for a switchover",
}
_LOSSES: Final = {ChangeReason.EXPIRED, ChangeReason.DIED, ChangeReason.CONFIRMED_DEAD, ChangeReason.REVOKED}
_SAY_WHO: Final = {ChangeReason.CONFIRMED_DEAD, ChangeReason.SWITCHOVER, ChangeReason.REVOKED}


class Sessions:
    """Whose sessions they are: people know instances by their names, and the events of a session have its number."""

    def __init__(self, living: Iterable[ServiceInstance]) -> None:
        self._names: dict[int, str] = {}
        for instance in living:
            self._names.setdefault(instance.session, f"{instance.service_name}/{instance.instance_id}")
        self._is_over = 0
        """The session that the newest event has ended: it has a name for that event only."""

    def foresee(self, events: Iterable[AnyEvent]) -> None:
        """Take names from events that are yet to be told: a session opens before any instance of it registers."""
        for event in events:
            if isinstance(event, RegisteredEvent):
                self._names.setdefault(event.session, f"{event.service_name}/{event.instance_id}")

    def learn(self, event: AnyEvent) -> None:
        """Take in an event, before it is told."""
        self._names.pop(self._is_over, None)
        match event:
            case RegisteredEvent():
                self.foresee([event])
            case SessionClosedEvent():
                self._is_over = event.session
            case _:
                pass

    def told(self, session: int) -> str:
        """A session, with the first of its instances if it is known."""
        name = self.name(session)
        return f"session {session} of {name}" if name else f"session {session}"

    def name(self, session: int) -> str:
        """The first of a session's instances; empty if it is not known."""
        return self._names.get(session, "")


def names_in(event: AnyEvent, sessions: Sessions) -> list[str]:
    """Which resource and which instance an event is about, as far as it is about one."""
    match event:
        case RoleChangedEvent() | RegistrationUpdatedEvent():
            return [event.resource_id, f"{event.service_name}/{event.instance_id}"]
        case ResourcePausedEvent() | ResourceResumedEvent():
            return [event.resource_id]
        case SessionOpenedEvent():
            return [sessions.name(event.revision)]
        case SessionClosedEvent() | StatusChangedEvent():
            return [sessions.name(event.session)]


def sentence(event: AnyEvent, sessions: Sessions) -> list[Part]:
    """An event in words."""
    match event:
        case RoleChangedEvent():
            return _role_changed(event)
        case RegistrationUpdatedEvent():
            who = f"{event.service_name}/{event.instance_id}"
            kind = "candidate" if event.candidate else "plain standby"
            return [
                (event.resource_id, "bold"),
                (f": {who} asked again ", ""),
                (f"(priority {event.priority}, {kind})", "dim"),
            ]
        case SessionOpenedEvent():
            who = sessions.told(event.revision)
            return [(f"{who} opened by {event.client or 'a client'}, lease {event.lease_ms:,} ms", "dim")]
        case SessionClosedEvent():
            style = "red" if event.reason in _LOSSES else "dim"
            why = how_it_ended(event.reason, event.by)
            return [
                (f"{sessions.told(event.session)} ended: ", "dim"),
                (why, style),
                (
                    _bracketed(event.reason, why, "" if event.reason in _SAY_WHO or not event.by else f"by {event.by}"),
                    "dim",
                ),
            ]
        case StatusChangedEvent():
            return [
                (f"{sessions.told(event.session)} is ", ""),
                (event.new_status, STATUS_STYLES[event.new_status]),
                (f" (was {event.old_status})", "dim"),
            ]
        case ResourcePausedEvent():
            until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.until_ms / 1_000))
            by = f" (by {event.by})" if event.by else ""
            return [
                (event.resource_id, "bold"),
                (": ", ""),
                (f"paused until {until}", "yellow"),
                (f": {event.why}{by}", ""),
            ]
        case ResourceResumedEvent():
            return [(event.resource_id, "bold"), (f": {paused_or_resumed(event)}", "")]


def _role_changed(event: RoleChangedEvent) -> list[Part]:
    begins = event.new_role is ServiceRole.ACTIVE
    old, new = str(event.old_role or "new"), str(event.new_role or "gone")
    if begins:
        new += f" with epoch {event.epoch}"
    elif event.epoch:
        old += f" with epoch {event.epoch}"
    if begins or event.old_role is None:
        why = _BEGINNINGS.get(event.reason, f"of a change called {event.reason}")
        by = f"by {event.by}" if event.by else ""
    else:
        why = how_it_ended(event.reason, event.by)
        by = _by(event.reason, event.by)
    facts: list[str] = []
    if event.previous_holder is not None:
        facts.append(f"after {event.previous_holder.instance_id} (epoch {event.previous_holder.epoch})")
    if event.silent_ms and event.reason in _LOSSES:
        facts.append(f"silent for {event.silent_ms:,} ms")
    elif event.silent_ms is not None and event.reason is ChangeReason.GIVEN_UP:
        facts.append(f"it had stopped {event.silent_ms:,} ms before")
    return [
        (event.resource_id, "bold"),
        (f": {event.service_name}/{event.instance_id} {old} → ", ""),
        (new, _style(event)),
        (f": {why}", ""),
        (_bracketed(event.reason, why, *facts, by), "dim"),
    ]


def _style(event: RoleChangedEvent) -> str:
    if event.new_role is ServiceRole.ACTIVE:
        return "bold green"
    if event.old_role is ServiceRole.ACTIVE:
        return "bold red" if event.reason in _LOSSES else "yellow"
    return ""


def _bracketed(reason: ChangeReason, why: str, *facts: str) -> str:
    """What else is known, in brackets, after the reason's own name where the words do not have it."""
    known = [fact for fact in ("" if reason in why else str(reason), *facts) if fact]
    return f" ({', '.join(known)})" if known else ""


def _by(reason: ChangeReason, who: str) -> str:
    """Who did it, unless the words for the end say so already."""
    return f"by {who}" if who and reason not in _SAY_WHO else ""
