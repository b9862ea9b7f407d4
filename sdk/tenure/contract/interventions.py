"""Messages by which people steer: planned moves, pauses, changes of many roles, a word on who is dead.

They need no session, and the broker writes into its log who asked for what.
"""

from __future__ import annotations

from msgspec import Struct

from tenure.contract.limits import PAUSE_MS_DEFAULT
from tenure.contract.message import Message
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ServiceRole


class Switchover(Message, frozen=True, kw_only=True, omit_defaults=True, tag="switchover"):
    """Move a role as planned, or strengthen the move under way. Answer: `switchover_started`. Safe to repeat.

    The holder is told with `step_down`, finishes its work and resigns; in the same commit the next one is promoted. If
    it has not resigned when the drain time is over, its tenure is renewed no more, and ends with its lease.
    """

    resource_id: str
    epoch: int
    """The tenure to end: `not_active` if it is over."""
    to_registration_id: int = 0
    """Who is to take over; 0: whoever is next."""
    drain_ms: int = 0
    """How long the holder may take to finish its work, from now on."""
    even_if_vacant: bool = False
    """True: the tenure is to end even if nobody can take over."""
    by: str = ""
    """Who asks for it, for people."""


class CancelSwitchover(Message, frozen=True, kw_only=True, omit_defaults=True, tag="cancel_switchover"):
    """Call off a switchover before the holder has stepped down. Answer: `switchover_cancelled`. Needs no session."""

    resource_id: str
    epoch: int
    """The tenure that was to end."""
    by: str = ""
    """Who calls it off, for people: nothing durable changes, so that it stands in the broker's log."""


class ExpireSession(Message, frozen=True, kw_only=True, omit_defaults=True, tag="expire_session"):
    """A person vouches that a session's process is dead. Answer: `session_ended`. Needs no session of its own.

    It ends at once, with all its registrations. Refused with `instance_alive` while its heartbeats come.
    """

    session: int
    """Its public number."""
    by: str = ""
    """Who vouches for it, for people: it stands in the events."""


class PauseResource(Message, frozen=True, kw_only=True, omit_defaults=True, tag="pause"):
    """Let nobody be promoted for this resource by the broker on its own. Answer: `paused`. Safe to repeat.

    Whoever is active stays so, by the same lease. Only what is asked for gives the role: a claim that insists,
    `change_roles`, and an acknowledged switchover. Pausing a paused resource says anew who, why and until when.
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


type AnyIntervention = Switchover | CancelSwitchover | ExpireSession | PauseResource | ResumeResource | ChangeRoles
"""What people ask for: it needs no session, and the broker writes into its log who asked for it."""


class SwitchoverStarted(Message, frozen=True, kw_only=True, omit_defaults=True, tag="switchover_started"):
    """The holder is asked to step down; how it goes shows in the resource and in the events."""

    registration_id: int
    """Whose tenure it is that is to end."""
    epoch: int
    """That tenure."""


class SwitchoverCancelled(Message, frozen=True, kw_only=True, omit_defaults=True, tag="switchover_cancelled"):
    """The holder need not step down any more; if it does, because it had stopped already, that is a resignation."""

    epoch: int


class SessionEnded(Message, frozen=True, kw_only=True, omit_defaults=True, tag="session_ended"):
    """The session has ended, on a person's word."""

    session: int
    registration_count: int
    """How many registrations ended with it."""


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
