"""The pauses of a history while its events are replayed: what they come to, and that nothing was done against them."""

from __future__ import annotations

from typing import Final

from tenure.contract.events import ResourcePausedEvent, ResourceResumedEvent, RoleChangedEvent
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.history import StoredHistory
from tenure.domain.verdicts import Findings

_UNASKED: Final = frozenset({ChangeReason.FAILOVER, ChangeReason.SUCCESSION})
"""Why the broker promotes somebody on its own."""
_CLAIMED: Final = frozenset({ChangeReason.REGISTERED, ChangeReason.CLAIMED})
"""Why whoever registers is active: while a resource is paused, only if he insists."""


class ReplayedPauses:
    """Which resources are paused at a point of the history, as far as the events that are kept tell."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._known: dict[str, Pause] = {}

    def take(self, event: ResourcePausedEvent | ResourceResumedEvent, *, is_complete: bool) -> None:
        """A resource is paused, or no more: with a complete history it has to have been."""
        if isinstance(event, ResourceResumedEvent):
            if self._known.pop(event.resource_id, None) is None and is_complete:
                self._findings.add(event.revision, f"{event.resource_id!r} was not paused before it")
            return
        self._known[event.resource_id] = Pause(
            resource_id=event.resource_id,
            why=event.why,
            paused_ms=event.at_ms,
            until_ms=event.until_ms,
            by=event.by,
        )

    def promoted(self, event: RoleChangedEvent, *, is_candidate: bool) -> None:
        """A tenure begins: while the resource is paused not because the broker or a candidate thought of it."""
        is_unasked = event.reason in _UNASKED or (is_candidate and event.reason in _CLAIMED)
        if is_unasked and event.resource_id in self._known:
            what = f"registration {event.registration_id} is promoted while {event.resource_id!r} is paused"
            self._findings.add(event.revision, what)

    def compare(self, history: StoredHistory, *, is_complete: bool) -> None:
        """What is paused by the table is so by the events, but for pauses whose events are no longer kept."""
        newest = history.next_revision - 1
        for row in history.pauses:
            known = self._known.pop(row.resource_id, None)
            if known != row and (known is not None or is_complete):
                self._findings.add(newest, f"by the table {row}, by the events {known}")
        for resource_id in self._known:
            self._findings.add(newest, f"the table does not have the pause of {resource_id!r}")
