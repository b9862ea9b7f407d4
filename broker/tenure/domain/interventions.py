"""What people ask for: each request is checked, and taken to whoever decides about it. None needs a session."""

from __future__ import annotations

from typing import assert_never

from tenure.contract.errors import InstanceAliveError, NotFoundError
from tenure.contract.interventions import (
    AnyIntervention,
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    SessionEnded,
    Switchover,
)
from tenure.contract.messages import BrokerMessage
from tenure.contract.vocabulary import ChangeReason, ServiceStatus
from tenure.domain import pauses, role_changes, switchovers
from tenure.domain.draft import Draft
from tenure.domain.limits import RegistryLimits
from tenure.domain.validation import check_intervention


def decide(draft: Draft, request: AnyIntervention, identity: str, limits: RegistryLimits) -> BrokerMessage:
    """Decide on a person's request; `identity` is whom the transport vouches for.

    Raises:
        RequestRefusedError: It cannot be done; nothing has changed.
    """
    check_intervention(request)
    match request:
        case Switchover():
            return switchovers.start(draft, request, _who(request.by, identity), limits)
        case CancelSwitchover():
            return switchovers.cancel(draft, request)
        case ExpireSession():
            return _expire_session(draft, request, _who(request.by, identity))
        case PauseResource():
            return pauses.start(draft, request, _who(request.by, identity), limits)
        case ResumeResource():
            return pauses.end(draft, request, _who(request.by, identity))
        case ChangeRoles():
            return role_changes.change_roles(draft, request, _who(request.by, identity), limits)
        case _:
            assert_never(request)


def _expire_session(draft: Draft, request: ExpireSession, by: str) -> SessionEnded:
    """End a session on a person's word, unless its own heartbeats say otherwise."""
    presence = draft.state.sessions.get(request.session)
    if presence is None:
        raise NotFoundError(f"session {request.session} has ended already; nothing was changed")
    if presence.status(draft.now.now_ms) is not ServiceStatus.LATE:
        ago_ms = int(draft.now.now_ms - presence.last_heard_ms)
        heard = "was heard" if presence.heard else "has sent no heartbeat since this broker came to know it,"
        raise InstanceAliveError(
            f"session {request.session} {heard} {ago_ms} ms ago; until it was silent for half its lease of "
            f"{presence.record.lease_ms} ms its process counts as alive, and nothing was changed. Move its roles "
            "with a switchover instead, or stop the process and say so again then"
        )
    ended = SessionEnded(session=request.session, registration_count=len(presence.registrations))
    draft.close_session(presence, ChangeReason.CONFIRMED_DEAD, by)
    return ended


def _who(by: str, identity: str) -> str:
    """Who asks, in his own words and the kernel's."""
    return " ".join(filter(None, (by, f"({identity})" if identity else "")))
