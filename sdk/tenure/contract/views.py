"""What a reader sees of the registry: instances, resources and more, and the holder a refused claim is shown.

Views carry times as unix milliseconds for people's eyes; nothing is decided by them.
"""

from __future__ import annotations

from msgspec import Struct, field

from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus


class Holder(Struct, frozen=True, kw_only=True):
    """Who is active for a resource, as a refused claim is told it."""

    service_name: str
    instance_id: str
    epoch: int
    since_ms: int
    """Unix milliseconds at which its tenure began."""


class ServiceInstance(Struct, frozen=True, kw_only=True):
    """One instance's registration for one resource."""

    registration_id: int
    """The revision of the event that created it; never used again in this history."""
    service_name: str
    instance_id: str
    resource_id: str
    role: ServiceRole
    epoch: int = 0
    """The fencing token of its tenure; 0 while it stands by."""
    role_revision: int
    """The revision at which it took this role: among standbys of equal rank the lowest has stood by longest."""
    revision: int
    """The revision of the newest event about this registration."""
    since_ms: int
    """Unix milliseconds at which it took this role."""
    priority: int = 0
    candidate: bool = False
    declined_epoch: int = 0
    """The tenure it resigned from: it does not fill the vacancy that this tenure left. 0 for none."""
    last_epoch: int = 0
    """The epoch of its resource's newest tenure, ended or not; 0 if it never had one."""
    metadata: dict[str, str] = field(default_factory=dict)
    session: int
    """The public number of its session (the revision that opened it)."""
    status: ServiceStatus
    """What the broker goes by: what its session reported, or `starting` or `late` while it is not heard."""
    reported_status: ServiceStatus
    """What its session reported last, which is what `status_changed` events move."""
    lease_ms: int
    lease_left_ms: int
    """How long the broker waits for the next heartbeat, at the time of the answer."""
    hold_limit_ms: int = 0
    """How long its tenures last in silence, if longer than the lease."""
    loop_lag_ms: int | None = None
    """How late its event loop has been, as its newest heartbeat said; None if nobody watches it."""
    margin_ms: int | None = None
    """How much of the lease was left when it was last renewed, as its newest heartbeat said; None before that."""

    @property
    def is_active(self) -> bool:
        """Whether the broker had this instance as the active one when it answered."""
        return self.role is ServiceRole.ACTIVE

    @property
    def may_succeed(self) -> bool:
        """Whether it stands by and could fill the vacancy that its resource's newest tenure left, or would leave."""
        if self.is_active or not self.status.may_be_promoted:
            return False
        return self.declined_epoch != self.last_epoch if self.last_epoch else self.candidate

    @property
    def is_at_risk(self) -> bool:
        """Whether it may soon lose the role: it is late, its lease is renewed late, or its event loop hardly turns."""
        return is_at_risk(self.status, self.lease_ms, self.loop_lag_ms, self.margin_ms)


class Switchover(Struct, frozen=True, kw_only=True):
    """A switchover under way."""

    epoch: int
    """The tenure that is to end."""
    asked_ms: int
    """Unix milliseconds at which it was asked for."""
    drain_left_ms: int
    """How long the holder may go on; 0: its tenure is renewed no more."""
    to_registration_id: int = 0
    to_instance_id: str = ""
    """Who is to take over; empty: whoever is next."""
    by: str = ""
    """Who asked for it, and over ipc the user the kernel names."""


class Pause(Struct, frozen=True, kw_only=True, gc=False):
    """A resource for which nobody is promoted unless somebody asks for it."""

    resource_id: str
    why: str
    paused_ms: int
    """Unix milliseconds at which it was paused, or last said anew."""
    until_ms: int
    """Unix milliseconds at which it ends by itself, at the latest."""
    by: str = ""
    """Who asked for it, and over ipc the user the kernel names."""


class TenureView(Struct, frozen=True, kw_only=True):
    """One tenure of a resource, as the store keeps it."""

    epoch: int
    service_name: str
    instance_id: str
    began_ms: int
    """Unix milliseconds."""
    ended_ms: int | None = None
    """Unix milliseconds at which its end was decided; None while it lasts, as is all that follows."""
    end_revision: int | None = None
    """The revision of the event that ended it."""
    end_reason: ChangeReason | None = None
    certain_until_ms: int | None = None
    """Until when it was active for certain; None: that is not known.

    It is its own word or a proof, if it was heard in time or says how long ago it stopped; else its newest heartbeat.
    """
    possible_until_ms: int | None = None
    """From when on it cannot have been active; None also if a restore has left that open.

    If a person confirmed its death, that is so if the word was right.
    """
    by: str = ""
    """Who asked for its end or vouched for it, as far as its event is kept."""

    @property
    def duration_ms(self) -> int | None:
        """How long it lasted at most, by the broker's clock; None while it lasts, or if nobody knows."""
        return None if self.possible_until_ms is None else self.possible_until_ms - self.began_ms

    @property
    def certain_ms(self) -> int | None:
        """How long it lasted at least, by the broker's clock; None while it lasts, or if nobody knows."""
        return None if self.certain_until_ms is None else self.certain_until_ms - self.began_ms


class Move(Struct, frozen=True, kw_only=True, gc=False):
    """How a role went from one tenure to the next; times are unix milliseconds by the broker's clock, 0: not known."""

    old_epoch: int
    old_instance_id: str
    end_reason: ChangeReason
    lease_ms: int
    """The lease of its session: half of it in silence and the broker took it for late."""
    hold_limit_ms: int = 0
    """How long the old tenure lasted in silence, if longer than the lease."""
    last_heard_ms: int
    """When the old holder's newest heartbeat came; or when it had stopped, if it said so or the kernel saw it."""
    asked_ms: int = 0
    """When a switchover asked for its end."""
    ended_ms: int
    """When its end was decided: by its word, a proof or the end of its lease."""
    new_epoch: int = 0
    """0: a vacancy still."""
    new_instance_id: str = ""
    promoted_ms: int = 0
    committed_ms: int = 0
    entered_ms: int = 0
    """When the new holder was first active, as it says itself."""

    @property
    def gap_ms(self) -> int | None:
        """How long nobody was active, at least, as far as the broker can tell; None if it cannot.

        That is while nobody is known to be active yet, if the old holder had given its tenure up and does not say when
        (it had stopped before it could tell), and of a tenure that a backup was restored with.
        """
        match self.end_reason:
            case ChangeReason.RESTORED:
                return None
            case ChangeReason.GIVEN_UP:
                return self._gap_since(self.last_heard_ms)
            case ChangeReason.DIED | ChangeReason.EXPIRED | ChangeReason.REVOKED | ChangeReason.CONFIRMED_DEAD:
                return self._gap_since(self.ended_ms)
            case _:  # its own word, which it may have had to keep until it was heard again
                return self._gap_since(self.last_heard_ms or self.ended_ms)

    @property
    def gap_max_ms(self) -> int | None:
        """How long nobody was active, at most: more than `gap_ms` if the old holder fell silent; None if not known.

        That is also if it was silent since the broker was started, or left late without saying when it stopped.
        """
        return None if self.end_reason is ChangeReason.RESTORED else self._gap_since(self.last_heard_ms)

    def _gap_since(self, over_ms: int) -> int | None:
        return self.entered_ms - over_ms if self.entered_ms and over_ms else None


class ResourceView(Struct, frozen=True, kw_only=True):
    """Who is active for a resource and who would be next."""

    resource_id: str
    last_epoch: int
    """The epoch of its newest tenure, ended or not; 0 if it never had one."""
    active: ServiceInstance | None
    standbys: tuple[ServiceInstance, ...]
    """The first 100 in the order in which they would succeed; those that may not at present come last."""
    standby_count: int
    """How many stand by in all."""
    switchover: Switchover | None = None
    pause: Pause | None = None


class Presence(Struct, frozen=True, kw_only=True, array_like=True):
    """How a living session is doing, by its public number."""

    session: int
    status: ServiceStatus
    lease_left_ms: int
    loop_lag_ms: int | None = None
    margin_ms: int | None = None


def is_at_risk(status: ServiceStatus, lease_ms: int, loop_lag_ms: int | None, margin_ms: int | None) -> bool:
    """Whether a session may soon lose its roles: it is late, or used half of its lease up before it was renewed."""
    if status is ServiceStatus.LATE:
        return True
    return (margin_ms is not None and margin_ms < lease_ms / 2) or (
        loop_lag_ms is not None and loop_lag_ms > lease_ms / 2
    )
