"""Messages by which people steer resources: pauses, and changes of many roles at once. They need no session."""

from __future__ import annotations

from msgspec import Struct

from tenure.contract.limits import PAUSE_MS_DEFAULT
from tenure.contract.message import Message
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ServiceRole


class PauseResource(Message, frozen=True, kw_only=True, omit_defaults=True, tag="pause"):
    """Let nobody be promoted for this resource by the broker on its own. Answer: `paused`. Safe to repeat.

    Whoever is active stays so, by the same lease; what is asked for goes on: claims, switchovers and `change_roles`.
    Pausing a paused resource says anew who, why and until when.
    """

    resource_id: str
    why: str
    """For people: it stands in the resource and in the events."""
    for_ms: int = PAUSE_MS_DEFAULT
    """How long, from now on."""
    by: str = ""
    """Who asks for it, for people."""


class ResumeResource(Message, frozen=True, kw_only=True, omit_defaults=True, tag="resume"):
    """End a pause: a vacancy is filled in the same commit. Answer: `resumed`; `not_found` if it is not paused."""

    resource_id: str
    by: str = ""
    """Who asks for it, for people."""


class RoleChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which role a registration is to have. One that has it already is left as it is."""

    registration_id: int
    role: ServiceRole
    epoch: int = 0
    """The tenure that is to end for it; 0: none is, because the role is vacant."""


class ChangeRoles(Message, frozen=True, kw_only=True, omit_defaults=True, tag="change_roles"):
    """Give registrations other roles: all of these changes are accepted, or none. Answer: `role_changes_accepted`.

    A vacant role is granted in that commit. One that is held moves as with `switchover`, when its holder has stepped
    down: each for itself, and never two at once.
    """

    changes: tuple[RoleChange, ...]
    drain_ms: int = 0
    """How long holders may take to finish their work, from now on."""
    by: str = ""
    """Who asks for it, for people."""


class Paused(Message, frozen=True, kw_only=True, omit_defaults=True, tag="paused"):
    """The resource is paused."""

    pause: Pause


class Resumed(Message, frozen=True, kw_only=True, omit_defaults=True, tag="resumed"):
    """The resource is paused no more."""

    pause: Pause
    """What has ended."""


class RoleChangeResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one change has come with the answer."""

    registration_id: int
    epoch: int = 0
    """The registration's tenure at present; 0: it stands by."""
    awaited_epoch: int = 0
    """The tenure whose holder has been asked to step down first; 0: the role is as it was asked for."""


class RoleChangesAccepted(Message, frozen=True, kw_only=True, omit_defaults=True, tag="role_changes_accepted"):
    """All changes are accepted; how those go that wait for a holder shows in the resources and in the events."""

    results: tuple[RoleChangeResult, ...]
    """One for each change, in order."""
