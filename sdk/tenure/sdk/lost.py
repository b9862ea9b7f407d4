"""Resources that everybody has left since their newest tenure was lost: nobody is active, and nobody there to say so.

A replica forgets a resource with its last registration, just when a resource that one instance alone held is down.
Here such resources are remembered until somebody registers for them again. It is told every event after the replica has
taken it in, and knows nothing of what happened before the first. Pure: without I/O or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tenure.contract.events import AnyEvent, DeregisteredEvent, RegisteredEvent, RoleChangedEvent
from tenure.contract.views import Presence, ResourceView
from tenure.contract.vocabulary import LOST, ChangeReason, ServiceRole
from tenure.sdk.replica import Replica

LOST_KEPT: Final = 1_000
"""Resources that are remembered, those that were left last: beyond these nobody looks at each."""


class LostTenure(Struct, frozen=True, kw_only=True):
    """The tenure that was the last of a resource, and was lost."""

    service_name: str
    instance_id: str
    epoch: int
    ended_ms: int
    """Unix milliseconds at which its end was decided."""
    reason: ChangeReason
    """How it was lost."""


class LostResources:
    """The resources of one history that everybody has left, and whose newest tenures were lost."""

    def __init__(self) -> None:
        """Nothing has been lost yet."""
        self._history_id = ""
        self._vacant: dict[str, LostTenure] = {}
        """Where somebody is registered still, and may take over."""
        self._left: dict[str, LostTenure] = {}

    @property
    def tenures(self) -> Mapping[str, LostTenure]:
        """The tenures that were lost by resource, that of the one that was left first to begin with."""
        return self._left

    def begin(self, replica: Replica) -> None:
        """There is another replica, and events may have been missed: what does not fit it any longer is forgotten."""
        known = {**self._left, **self._vacant} if replica.history_id == self._history_id else {}
        self._history_id, self._vacant, self._left = replica.history_id, {}, {}
        for resource_id, tenure in known.items():
            view = replica.resource(resource_id)
            if view is None:
                self._leave(resource_id, tenure)
            elif view.active is None and view.last_epoch == tenure.epoch:
                self._vacant[resource_id] = tenure

    def observe(self, event: AnyEvent, replica: Replica) -> str | None:
        """Take in an event that the replica has taken in; the resource that is forgotten to make room, if one is."""
        if not isinstance(event, RoleChangedEvent):
            return None
        resource_id = event.resource_id
        if isinstance(event, RegisteredEvent) and resource_id in self._left:
            self._vacant[resource_id] = self._left.pop(resource_id)
        if ServiceRole.ACTIVE in {event.old_role, event.new_role}:
            self._vacant.pop(resource_id, None)
            if event.new_role is not ServiceRole.ACTIVE and event.reason in LOST:
                self._vacant[resource_id] = LostTenure(
                    service_name=event.service_name,
                    instance_id=event.instance_id,
                    epoch=event.epoch,
                    ended_ms=event.at_ms,
                    reason=event.reason,
                )
        is_left = isinstance(event, DeregisteredEvent) and resource_id not in replica.resource_ids
        tenure = self._vacant.pop(resource_id, None) if is_left else None
        return None if tenure is None else self._leave(resource_id, tenure)

    def view(self, resource_id: str, replica: Replica, presence: Mapping[int, Presence]) -> ResourceView | None:
        """A resource as the replica has it, or vacant if it is one of these; None if it is neither."""
        view = replica.resource(resource_id, presence)
        tenure = self._left.get(resource_id)
        if view is not None or tenure is None:
            return view
        pause = replica.pauses.get(resource_id)
        return ResourceView(
            resource_id=resource_id, last_epoch=tenure.epoch, active=None, standbys=(), standby_count=0, pause=pause
        )

    def _leave(self, resource_id: str, tenure: LostTenure) -> str | None:
        self._left[resource_id] = tenure
        if len(self._left) <= LOST_KEPT:
            return None
        oldest = next(iter(self._left))
        del self._left[oldest]
        return oldest
