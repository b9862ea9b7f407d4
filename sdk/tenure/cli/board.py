"""The resources sorted by trouble, kept up to date by looking anew only at those that changed. Pure, without I/O.

What stands in a row is always read from the replica when it is drawn; only the order, the counts and what a filter
looks through are kept here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from tenure.contract.events import (
    AnyEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
    StatusChangedEvent,
)
from tenure.contract.views import Presence, ResourceView, is_at_risk
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk.lost import LostResources
from tenure.sdk.replica import Replica
from tenure.sdk.succession import why_not_eligible


class Trouble(IntEnum):
    """What is wrong with a resource, the worst first."""

    NOBODY_ACTIVE = 0
    AT_RISK = 1
    """The active one may soon lose the role."""
    PAUSED = 2
    """Nobody would be promoted if the active one were lost."""
    UNWELL = 3
    """The active one says itself that it is degraded or unhealthy."""
    NO_STANDBY = 4
    """Nobody stands by who could be promoted."""
    NONE = 5


class _Row(NamedTuple):
    trouble: Trouble
    is_paused: bool
    names: str
    """What a filter looks through, in lower case."""
    sessions: tuple[int, ...]


def trouble_of(view: ResourceView) -> Trouble:
    """The worst that is wrong with a resource."""
    if view.active is None:
        return Trouble.NOBODY_ACTIVE
    if view.active.is_at_risk:
        return Trouble.AT_RISK
    if view.pause is not None:
        return Trouble.PAUSED
    if view.active.status in {ServiceStatus.DEGRADED, ServiceStatus.UNHEALTHY}:
        return Trouble.UNWELL
    if all(why_not_eligible(standby, view.last_epoch) for standby in view.standbys):
        return Trouble.NO_STANDBY
    return Trouble.NONE


class Board:
    """All resources of a replica and those that were lost, or those of one service."""

    def __init__(self, service_name: str | None = None) -> None:
        self._service_name = service_name
        self._lost = LostResources()
        self.begin(Replica())

    def begin(self, replica: Replica) -> None:
        """Forget everything, and show this replica from now on."""
        self.replica = replica
        self._lost.begin(replica)
        self._presence: Mapping[int, Presence] = {}
        self._rows: dict[str, _Row] = {}
        self._resources_of: dict[int, set[str]] = {}
        self._lease_ms: dict[int, int] = {}
        self._changed: set[str] = {*replica.resource_ids, *self._lost.tenures}
        self._sorted: list[str] | None = None

    def apply(self, event: AnyEvent) -> None:
        """Take note of an event that the replica has taken in."""
        forgotten = self._lost.observe(event, self.replica)
        if forgotten is not None:
            self._changed.add(forgotten)
        match event:
            case RoleChangedEvent() | RegistrationUpdatedEvent() | ResourcePausedEvent() | ResourceResumedEvent():
                self._changed.add(event.resource_id)
            case StatusChangedEvent():
                self._changed |= self._resources_of.get(event.session, set())
            case _:
                pass  # it concerns nobody who is registered

    def observe(self, presence: Mapping[int, Presence]) -> None:
        """Take in how the sessions are doing; those that are still as they were change nothing."""
        before, self._presence = self._presence, presence
        for session, one in presence.items():
            lease_ms = self._lease_ms.get(session)
            if lease_ms is not None and _said(one, lease_ms) != _said(before.get(session), lease_ms):
                self._changed |= self._resources_of[session]

    def refresh(self) -> list[str]:
        """Look anew at what changed; the resources that did, also those that are gone."""
        changed, self._changed = sorted(self._changed), set()
        for resource_id in changed:
            self._look_at(resource_id)
        return changed

    # --- what it shows ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many resources there are."""
        return len(self._rows)

    def counts(self) -> Counter[Trouble]:
        """How many resources have which trouble: each counts for the worst of it, and all that are paused as such."""
        counts = Counter(row.trouble for row in self._rows.values())
        counts[Trouble.PAUSED] = sum(row.is_paused for row in self._rows.values())
        return counts

    def ids(self, wanted: str = "") -> list[str]:
        """The resources, the worst trouble first; with `wanted`, those where a name contains it."""
        if self._sorted is None:
            self._sorted = sorted(self._rows, key=lambda resource_id: (self._rows[resource_id].trouble, resource_id))
        if not wanted:
            return self._sorted
        letters = wanted.lower()
        return [resource_id for resource_id in self._sorted if letters in self._rows[resource_id].names]

    def view(self, resource_id: str) -> ResourceView | None:
        """A resource as it is; None if it is gone."""
        return self._lost.view(resource_id, self.replica, self._presence) if resource_id in self._rows else None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _look_at(self, resource_id: str) -> None:
        old = self._rows.pop(resource_id, None)
        view = self._lost.view(resource_id, self.replica, self._presence)
        new = None if view is None else self._row(view)
        if new is not None:
            self._rows[resource_id] = new
        before, after = set(() if old is None else old.sessions), set(() if new is None else new.sessions)
        for session in before - after:
            self._resources_of[session].discard(resource_id)
            if not self._resources_of[session]:
                del self._resources_of[session], self._lease_ms[session]
        for session in after - before:
            self._resources_of.setdefault(session, set()).add(resource_id)
        if (old is None) != (new is None) or (old is not None and new is not None and old.trouble != new.trouble):
            self._sorted = None

    def _row(self, view: ResourceView) -> _Row | None:
        instances = (*(() if view.active is None else (view.active,)), *view.standbys)
        lost = self._lost.tenures.get(view.resource_id)
        people = instances or (() if lost is None else (lost,))
        if self._service_name is not None and all(one.service_name != self._service_name for one in people):
            return None
        for instance in instances:
            self._lease_ms[instance.session] = instance.lease_ms
        names = "\n".join([view.resource_id, *(f"{one.service_name}/{one.instance_id}" for one in people)])
        sessions = tuple(instance.session for instance in instances)
        return _Row(trouble_of(view), view.pause is not None, names.lower(), sessions)


def _said(one: Presence | None, lease_ms: int) -> tuple[ServiceStatus, bool] | None:
    """What of a session's presence is shown in other places than its own row."""
    return None if one is None else (one.status, is_at_risk(one.status, lease_ms, one.loop_lag_ms, one.margin_ms))
