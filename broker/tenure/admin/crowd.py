"""Whose rows change when a session does: its registrations, and how it was doing when last looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tenure.contract.views import Presence, is_at_risk
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk.replica import Replica


class _Session:
    """A session that has registrations."""

    __slots__ = ("at_risk", "lease_ms", "resource_ids", "status")

    def __init__(self, lease_ms: int) -> None:
        self.lease_ms = lease_ms
        self.resource_ids: dict[int, str] = {}
        self.status: ServiceStatus | None = None
        self.at_risk = False


class Crowd:
    """All sessions that have registrations."""

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}
        self._session_of: dict[int, int] = {}

    def begin(self, replica: Replica) -> None:
        """Take in all registrations of a replica, and forget others."""
        self._sessions.clear()
        self._session_of.clear()
        for number, row in replica.rows.items():
            self.add(number, row.resource_id, row.session, row.lease_ms)

    def add(self, registration_id: int, resource_id: str, session: int, lease_ms: int) -> None:
        """A registration began."""
        known = self._sessions.get(session)
        if known is None:
            known = self._sessions[session] = _Session(lease_ms)
        known.resource_ids[registration_id] = resource_id
        self._session_of[registration_id] = session

    def remove(self, registration_id: int) -> None:
        """A registration ended."""
        number = self._session_of.pop(registration_id, None)
        if number is None:
            return
        session = self._sessions[number]
        del session.resource_ids[registration_id]
        if not session.resource_ids:
            del self._sessions[number]

    def resources_of(self, session: int) -> Iterable[str]:
        """The resources that a session has registrations for."""
        known = self._sessions.get(session)
        return () if known is None else known.resource_ids.values()

    def changed(self, presence: Mapping[int, Presence]) -> set[str]:
        """The resources of those sessions whose status or risk is another one than when last looked at."""
        found: set[str] = set()
        for number, session in self._sessions.items():
            seen = presence.get(number)
            if seen is None:
                continue
            at_risk = is_at_risk(seen.status, session.lease_ms, seen.loop_lag_ms, seen.margin_ms)
            if seen.status is not session.status or at_risk is not session.at_risk:
                session.status, session.at_risk = seen.status, at_risk
                found.update(session.resource_ids.values())
        return found
