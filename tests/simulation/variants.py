"""Brokers and clients that are broken on purpose, each by one rule, to show that the simulation would see it.

Each is the real class with one method replaced: what the method's rule forbids is what the replacement does. None of
them is known to the code it breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from msgspec import structs

from tenure.broker.clock import LeaseClock
from tenure.broker.core import BrokerCore
from tenure.broker.outgoing import Outgoing
from tenure.contract import codec
from tenure.contract.errors import ErrorCode
from tenure.contract.events import AnyEvent, SessionClosedEvent
from tenure.contract.history import Events
from tenure.contract.limits import CLOCK_DRIFT_PPM, HOLD_LIMIT_MS_MAX
from tenure.contract.messages import Heartbeat, HeartbeatAck, Register, RoleStatement, StreamMessage, Welcome
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.draft import Draft
from tenure.domain.paused import Pauses
from tenure.domain.pauses import end_due
from tenure.domain.records import Batch, Instant, Registration, StoredState
from tenure.domain.registry import Decision, Registry
from tenure.domain.state import Presence, leases_of
from tenure.domain.switchovers import take_due_steps
from tenure.sdk.session import SessionCore
from tenure.sdk.standing import FOREVER, Reading
from tenure.sdk.stream import StreamCore
from tenure.sdk.tenures import Held
from tests.simulation.host import BrokerHost


class Variant(NamedTuple):
    """What a run is made of."""

    core_type: Callable[..., BrokerCore] = BrokerCore
    session_type: Callable[..., SessionCore] = SessionCore
    stream_type: type[StreamCore] = StreamCore
    host_type: type[BrokerHost] = BrokerHost


HEALTHY: Final = Variant()


# --- clients ----------------------------------------------------------------------------------------------------------


class LeaseFromReply(SessionCore):
    """Rule 1: the lease counts from when the heartbeat was sent, not from when its answer came."""

    def _acknowledged(self, ack: HeartbeatAck, now: Reading) -> None:
        unanswered = self._beats._unanswered  # pyright: ignore[reportPrivateUsage]
        if ack.sequence in unanswered:
            unanswered[ack.sequence] = now
        super()._acknowledged(ack, now)


class LeaseFromSending(SessionCore):
    """Rule 1: sending extends nothing."""

    def advance(self, now: Reading) -> Heartbeat | None:
        heartbeat = super().advance(now)
        if heartbeat is not None:
            self._beats.confirmed_from = now
            self._extend([held for held in self.registrations.values() if held.entered], now)
        return heartbeat


class CountsUnnamed(SessionCore):
    """Rule 1: a new tenure does not count from an answer that knew of it and did not name it."""

    def _apply_to(self, held: Held, statement: RoleStatement, now: Reading) -> None:
        self._answered_revision = 0
        super()._apply_to(held, statement, now)


class OneClock(SessionCore):
    """Rule 2: both clocks count. This one goes by the raw one alone, which stands still while the machine sleeps."""

    def _let_last(self, tenures: Sequence[Held], until: Reading, now: Reading) -> None:
        super()._let_last(tenures, Reading(FOREVER.boottime_ms, until.raw_ms), now)


class NoDrift(SessionCore):
    """Rule 1: less what clocks may drift. This one counts the whole lease by its own clocks."""

    def _let_last(self, tenures: Sequence[Held], until: Reading, now: Reading) -> None:
        limit_ms = max(self.lease_ms, *(held.hold_limit_ms for held in tenures), 0)
        super()._let_last(tenures, until.later(limit_ms * CLOCK_DRIFT_PPM / 1_000_000), now)


class EnteredAgain(SessionCore):
    """Rule 3: a tenure that was left is never entered again, also if a heartbeat on its way confirms it once more."""

    def _take_in(self, ack: HeartbeatAck, now: Reading) -> None:
        for held in self.registrations.values():
            if held.left_epoch in ack.confirmed and not held.standing.is_ended:
                again = structs.replace(held.standing, role=ServiceRole.ACTIVE, epoch=held.left_epoch)
                self._set(held, again, is_lost=False)
        super()._take_in(ack, now)


class TellsBeforeItLeaves(SessionCore):
    """Rule 3: not active BEFORE anything is sent about it. This one leaves when the broker confirms it."""

    def step_down(self, held: Held, why: str, *, declined: bool) -> int:
        standing = held.standing
        epoch = super().step_down(held, why, declined=declined)
        if declined:
            held.standing = standing
        return epoch


class IgnoresRevisions(SessionCore):
    """Rule 4: a statement that is not newer than what was applied is ignored."""

    def _apply_to(self, held: Held, statement: RoleStatement, now: Reading) -> None:
        if not held.standing.is_ended:
            held.standing = structs.replace(held.standing, revision=0)
        super()._apply_to(held, statement, now)


class SessionOfAnyHistory(SessionCore):
    """A holder that meets another history steps down. This one goes on, where the broker knows its session."""

    def _welcome(self, welcome: Welcome) -> None:
        self.history_id = welcome.history_id
        super()._welcome(welcome)


class StreamOfAnyHistory(StreamCore):
    """A listener that takes another history's revisions for its own."""

    def check(self, history_id: str, revision: int) -> None:
        del history_id
        super().check(self.history_id, revision)

    def receive(self, message: StreamMessage) -> None:
        super().receive(structs.replace(message, history_id=self.history_id))


# --- the registry -----------------------------------------------------------------------------------------------------


class AnswersFromMemory(Registry):
    """A heartbeat confirms what is committed. This one confirms what was only decided."""

    def _renew(self, draft: Draft, presence: Presence, heartbeat: Heartbeat) -> HeartbeatAck:
        committed, self.committed_revision = self.committed_revision, self.revision
        try:
            return super()._renew(draft, presence, heartbeat)
        finally:
            self.committed_revision = committed


class ShortAfterRestart(Registry):
    """After a restart every session gets a full lease. Here its lease has run out: nothing was heard of it."""

    def begin(self, now: Instant) -> None:
        """What is different at a start."""
        for presence in self.state.sessions.values():
            presence.last_heard_ms = now.now_ms - HOLD_LIMIT_MS_MAX
            presence.expires_at_ms = now.now_ms
        self._leases = leases_of(self.state.sessions)


class ForgetsHolds(Registry):
    """A tenure with a hold limit lasts for that long in silence. This one ends it with the session's lease."""

    def expire(self, now: Instant, registrations_max: int) -> Decision:
        draft = self._draft(now)
        take_due_steps(draft)
        end_due(draft, registrations_max)
        while presence := self._leases.pop_due(now.now_ms):
            draft.close_session(presence, ChangeReason.EXPIRED)
        return self._conclude(draft, None)


class ConfirmsRevoked(Registry):
    """A tenure that a switchover revokes is confirmed no more. This one goes on confirming it until it ends it."""

    def _renew(self, draft: Draft, presence: Presence, heartbeat: Heartbeat) -> HeartbeatAck:
        ack = super()._renew(draft, presence, heartbeat)
        return structs.replace(ack, confirmed=tuple(epoch for epoch in presence.tenures if epoch <= ack.revision))


class FillsWherePaused(Draft):
    """While a resource is paused nobody is promoted whom nobody has asked for. This one fills every vacancy."""

    __slots__ = ()

    def fill(self, resource_id: str) -> None:
        pauses, self.state.pauses = self.state.pauses, Pauses()
        try:
            super().fill(resource_id)
        finally:
            self.state.pauses = pauses


class EndsByDay(Pauses):
    """A pause ends when it has lasted for as long as it was given for. Here only the time of day ends it."""

    def is_due(self, now: Instant) -> bool:
        return super().is_due(Instant(-FOREVER.raw_ms, now.unix_ms))

    def pop_due(self, now: Instant) -> Pause | None:
        return super().pop_due(Instant(-FOREVER.raw_ms, now.unix_ms))


class PausesByDay(Registry):
    """Its pauses are such ones."""

    def _draft(self, now: Instant) -> Draft:
        self.state.pauses.__class__ = EndsByDay
        return super()._draft(now)


class FollowsRevoked(Draft):
    """While a resource is paused a revoked tenure is followed by nobody. Here its switchover goes on all the same."""

    __slots__ = ()

    def fill(self, resource_id: str) -> None:
        pauses, resource = self.state.pauses, self.state.resources.get(resource_id)
        tenure = None if resource is None else resource.tenure
        if resource_id in self.planned and tenure is not None and tenure.end_reason is ChangeReason.REVOKED:
            self.state.pauses = Pauses()
        try:
            super().fill(resource_id)
        finally:
            self.state.pauses = pauses


def drafting(draft_type: type[Draft]) -> type[Registry]:
    """A registry whose drafts are of another type."""

    class Drafting(Registry):
        def _draft(self, now: Instant) -> Draft:
            draft = super()._draft(now)
            draft.__class__ = draft_type
            return draft

    return Drafting


class GrantsWherePaused(Draft):
    """While a resource is paused a candidate that registers waits. Here it is granted what is vacant."""

    __slots__ = ()

    def begin_registration(
        self, presence: Presence, request: Register, resource_id: str, role: ServiceRole, *, candidate: bool
    ) -> Registration:
        resource = self.state.resources.get(resource_id)
        if candidate and resource_id in self.state.pauses and (resource is None or resource.active is None):
            role = ServiceRole.ACTIVE
        return super().begin_registration(presence, request, resource_id, role, candidate=candidate)


class IgnoresHistory(Registry):
    """A client that has seen more proves that the store is an old copy. Here nobody listens."""

    def _check_history(self, history_id: str | None, last_revision: int) -> None:
        pass


# --- the broker's core ------------------------------------------------------------------------------------------------


def core_of(registry_type: type[Registry]) -> type[BrokerCore]:
    """A core whose registry is of another type, also after it has started again."""

    class Core(BrokerCore):
        def __init__(self, stored: StoredState, now: Instant) -> None:
            super().__init__(stored, now)
            self._change_type(now)

        def start_again(self, stored: StoredState, now: Instant, code: ErrorCode, why: str) -> None:
            super().start_again(stored, now, code, why)
            self._change_type(now)

        def _change_type(self, now: Instant) -> None:
            self.registry.__class__ = registry_type
            if isinstance(self.registry, ShortAfterRestart):
                self.registry.begin(now)

    return Core


class PromotesOnSilence(BrokerCore):
    """Silence is never proof. This one does not wait for the lease of whoever is late to end."""

    def tick(self, now: Instant) -> None:
        super().tick(now)
        for number, presence in list(self.registry.state.sessions.items()):
            if presence.status(now.now_ms) is ServiceStatus.LATE:
                self.end_session(number, ChangeReason.EXPIRED, now)


class ForgetsProof(BrokerCore):
    """Proof of death outlasts the commit that was to use it. Here it is dropped with what was not stored."""

    def _ends_that_stay_true(self, events: Iterable[AnyEvent], code: ErrorCode) -> list[SessionClosedEvent]:
        del events, code
        return []


class RepliesBeforeCommit(BrokerCore):
    """Store, then reply. This one replies as soon as the store was given the batch."""

    def take_batch(self) -> Batch | None:
        batch = super().take_batch()
        if batch is not None and self._batches.under_way is not None:
            for connection, asked, body in self._batches.under_way.replies:
                self.outgoing.append(Outgoing(connection.route, asked.request_id, body))
        return batch


# --- the shell --------------------------------------------------------------------------------------------------------


class PublishesBeforeCommit(BrokerHost):
    """Store, then reply, then publish. This one publishes first."""

    def store_begins(self, batch: Batch) -> None:
        self.world.broker_publishes(codec.encode(Events(history_id=self.disk.history_id, events=batch.events)))


class ClockOfOne(BrokerHost):
    """Rule 2: the broker's clock advances by the smaller of two. This one goes by the boot-time clock alone."""

    def make_clock(self) -> LeaseClock:
        return LeaseClock(self.machine.boot_ns, self.machine.boot_ns, self.wall_ns)


BROKEN: Final[dict[str, Variant]] = {
    "lease from the reply": Variant(session_type=LeaseFromReply),
    "lease from sending": Variant(session_type=LeaseFromSending),
    "lease from an answer without it": Variant(session_type=CountsUnnamed),
    "one clock in the client": Variant(session_type=OneClock),
    "one clock in the broker": Variant(host_type=ClockOfOne),
    "drift not subtracted": Variant(session_type=NoDrift),
    "tenure entered again": Variant(session_type=EnteredAgain),
    "told before it is left": Variant(session_type=TellsBeforeItLeaves),
    "revisions not compared": Variant(session_type=IgnoresRevisions),
    "promotion on silence": Variant(core_type=PromotesOnSilence),
    "heartbeats from memory": Variant(core_type=core_of(AnswersFromMemory)),
    "no lease after a restart": Variant(core_type=core_of(ShortAfterRestart)),
    "hold forgotten": Variant(core_type=core_of(ForgetsHolds)),
    "revoked tenure confirmed": Variant(core_type=core_of(ConfirmsRevoked)),
    "pause ignored": Variant(core_type=core_of(drafting(FillsWherePaused))),
    "pause ended by what was revoked": Variant(core_type=core_of(drafting(FollowsRevoked))),
    "pause by the time of day": Variant(core_type=core_of(PausesByDay)),
    "pause ended by a hiccup": Variant(core_type=core_of(drafting(GrantsWherePaused))),
    "proof forgotten": Variant(core_type=ForgetsProof),
    "reply before commit": Variant(core_type=RepliesBeforeCommit),
    "publish before commit": Variant(host_type=PublishesBeforeCommit),
    "history ignored by the broker": Variant(core_type=core_of(IgnoresHistory)),
    "history ignored by holders": Variant(session_type=SessionOfAnyHistory),
    "history ignored by listeners": Variant(stream_type=StreamOfAnyHistory),
}
"""Every variant, by the rule that it breaks."""
