"""The pauses in the registry's memory. They end by the time of day, which people gave them in."""

from __future__ import annotations

from tenure.contract.views import Pause
from tenure.domain.deadlines import Deadlines


class Pauses:
    """The resources that are paused, and whose pause ends next; times are unix milliseconds."""

    def __init__(self) -> None:
        self.by_resource: dict[str, Pause] = {}
        self._deadlines = Deadlines(self.by_resource, lambda pause: pause.until_ms)

    def __len__(self) -> int:
        return len(self.by_resource)

    def __contains__(self, resource_id: str) -> bool:
        return resource_id in self.by_resource

    def get(self, resource_id: str) -> Pause | None:
        """The pause of a resource."""
        return self.by_resource.get(resource_id)

    def put(self, pause: Pause) -> None:
        """A resource is paused, or its pause has changed."""
        self.by_resource[pause.resource_id] = pause
        self._deadlines.add(pause.resource_id)

    def drop(self, resource_id: str) -> None:
        """A resource is paused no more."""
        del self.by_resource[resource_id]

    def next_until_ms(self) -> float | None:
        """The earliest time at which one may be over; None if there is none."""
        return self._deadlines.next_ms()

    def pop_due(self, unix_ms: int) -> Pause | None:
        """One whose time is over, which is then no longer watched; None if there is none."""
        return self._deadlines.pop_due(unix_ms)
