"""The pauses in the registry's memory, and when each ends.

One ends by the time of day, which people gave it in, or when it has lasted by the lease clock for as long as it was
given for, whichever is first: so none lasts longer because the time of day was set back. What is left of one when a
broker takes it in is at most its whole length.
"""

from __future__ import annotations

from typing import NamedTuple

from tenure.contract.views import Pause
from tenure.domain.deadlines import Deadlines
from tenure.domain.records import Instant


class _Watched(NamedTuple):
    pause: Pause
    ends_ms: float
    """By the lease clock."""


class Pauses:
    """The resources that are paused, and whose pause ends next."""

    def __init__(self) -> None:
        self.by_resource: dict[str, Pause] = {}
        self._watched: dict[str, _Watched] = {}
        self._by_day = Deadlines(self._watched, lambda watched: watched.pause.until_ms)
        self._by_lease_clock = Deadlines(self._watched, lambda watched: watched.ends_ms)

    def __len__(self) -> int:
        return len(self.by_resource)

    def __contains__(self, resource_id: str) -> bool:
        return resource_id in self.by_resource

    def get(self, resource_id: str) -> Pause | None:
        """The pause of a resource."""
        return self.by_resource.get(resource_id)

    def put(self, pause: Pause) -> None:
        """A resource is paused, or its pause has changed: until it is watched it does not end by itself."""
        self.by_resource[pause.resource_id] = pause

    def drop(self, resource_id: str) -> None:
        """A resource is paused no more."""
        del self.by_resource[resource_id]
        self._watched.pop(resource_id, None)

    def watch(self, pause: Pause, now: Instant) -> None:
        """Let one that has just begun, or was just loaded, end by itself."""
        left_ms = pause.until_ms - max(now.unix_ms, pause.paused_ms)
        self._watch(pause, now.now_ms + left_ms)

    def go_on_from(self, known: Pauses) -> None:
        """What has passed of the same pauses in another memory has passed, whatever the time of day is by now."""
        for resource_id, watched in known._watched.items():
            if self.by_resource.get(resource_id) == watched.pause:
                self._watch(*watched)

    def is_due(self, now: Instant) -> bool:
        """Whether one may be over."""
        next_unix_ms, next_ms = self._by_day.next_ms(), self._by_lease_clock.next_ms()
        return (next_unix_ms is not None and next_unix_ms <= now.unix_ms) or (
            next_ms is not None and next_ms <= now.now_ms
        )

    def pop_due(self, now: Instant) -> Pause | None:
        """One that is over, which is to be dropped then; None if there is none."""
        watched = self._by_day.pop_due(now.unix_ms) or self._by_lease_clock.pop_due(now.now_ms)
        return None if watched is None else watched.pause

    def _watch(self, pause: Pause, ends_ms: float) -> None:
        self._watched[pause.resource_id] = _Watched(pause, ends_ms)
        self._by_day.add(pause.resource_id)
        self._by_lease_clock.add(pause.resource_id)
