"""The registry: one pure state machine that decides who is active, and nothing else does.

`apply` takes a request, who sent it and the time, and answers with a `Decision`: work to do in order. The caller makes
the changes durable, THEN sends the reply and the statements, THEN publishes the events. Decisions run ahead of the
store; `committed_revision`, set by the caller, says how far the store has come, and a heartbeat confirms a tenure only
if it is active both as committed and as decided: grants count from commit, revocations from decision.

A refusal is an `error` reply, and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct, structs

from tenure.contract.errors import (
    ForbiddenError,
    HelloRequiredError,
    InvalidRequestError,
    LimitExceededError,
    RequestRefusedError,
    SessionExpiredError,
    SessionLapsedError,
    StoreRolledBackError,
)
from tenure.contract.events import AnyEvent, RoleChangedEvent, SessionClosedEvent
from tenure.contract.history import ListTenures, ReadEvents
from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    Switchover,
)
from tenure.contract.limits import PROTOCOL_VERSION, heartbeat_interval_ms
from tenure.contract.measurements import GetMeasurements
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    Deregister,
    ErrorReply,
    Farewell,
    GetResource,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    Hello,
    ListPresence,
    ListRoles,
    ListServices,
    Register,
    RegisteredMany,
    RegisterMany,
    RegisterResult,
    Resign,
    RoleStatement,
    StepDown,
    Welcome,
)
from tenure.contract.vocabulary import ChangeReason
from tenure.domain import claims, heartbeats, interventions, moves, pauses, reads, switchovers
from tenure.domain.draft import Draft
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Change, Instant, StoredState
from tenure.domain.state import Presence, State, leases_of
from tenure.domain.validation import (
    check_batch,
    check_heartbeat,
    check_hello,
    check_names,
)


class Origin(Struct, frozen=True, kw_only=True):
    """Who sends a request: the session its connection belongs to (0: none), and whom the transport vouches for."""

    session: int = 0
    identity: str = ""


class Decision(Struct, frozen=True, kw_only=True):
    """Work to do, in this order: store the changes and events, send the reply and statements, publish the events."""

    reply: BrokerMessage | None
    changes: tuple[Change, ...] = ()
    events: tuple[AnyEvent, ...] = ()
    statements: tuple[tuple[int, RoleStatement], ...] = ()
    """For sessions that did not ask: public number and statement."""
    step_downs: tuple[tuple[int, StepDown], ...] = ()
    """Requests to resign, for the sessions that hold what is meant: they change nothing and wait for nothing."""

    @property
    def is_immediate(self) -> bool:
        """Whether the reply waits for no commit: heartbeats are answered from what is committed."""
        return type(self.reply) is HeartbeatAck


class Registry:
    """All sessions, registrations and tenures of one history."""

    def __init__(self, stored: StoredState, now: Instant, limits: RegistryLimits | None = None) -> None:
        """Take in what the store kept; every session gets a full lease from `now`."""
        self.limits = limits or RegistryLimits()
        self.history_id = stored.history_id
        self.revision = stored.revision
        """The newest revision decided."""
        self.committed_revision = stored.revision
        """The newest revision the store has made durable; the caller moves it."""
        self.rolled_back_revision = 0
        """If not 0: a client saw this revision, which the store does not have. Nothing is granted any more."""
        self.state = State()
        self.state.load(stored)
        for presence in self.state.sessions.values():
            presence.heard_from(now.now_ms, 0)
        self._leases = leases_of(self.state.sessions)
        for pause in self.state.pauses.by_resource.values():
            self.state.pauses.watch(pause, now)

    def keep_times(self, before: Registry) -> None:
        """Count leases from what the registry before this one had heard: that stays true, whatever was not stored.

        Would every lease begin anew, then a store that refuses again and again would keep the roles of the silent. How
        long pauses have lasted stays true as well.
        """
        heard = before.state.ended | before.state.sessions
        for number, presence in self.state.sessions.items():
            known = heard.get(number)
            if known is not None:
                presence.goes_on_from(known)
        self.state.pauses.go_on_from(before.state.pauses)
        self._leases = leases_of(self.state.sessions)

    def apply(self, request: ClientMessage, origin: Origin, now: Instant) -> Decision:
        """Decide on a client's request. A refusal is a decision too, and changes nothing."""
        if isinstance(request, Heartbeat):
            ack = self._renew_at_rest(request, origin, now)
            if ack is not None:
                return Decision(reply=ack)
        draft = self._draft(now)
        try:
            reply = self._decide(draft, request, origin)
        except RequestRefusedError as refusal:
            reply = ErrorReply(error=refusal.info)
        return self._conclude(draft, reply)

    def fill_vacancies(self, now: Instant) -> Decision:
        """Fill every vacancy that somebody may fill: after decisions that were not stored, nothing else might do so.

        What filled them was that a session became fit, and for what `keep_times` keeps it has been so for long.
        """
        draft = self._draft(now)
        for resource_id, resource in self.state.resources.items():
            if resource.active is None and resource.standbys:
                draft.fill(resource_id)
        return self._conclude(draft, None)

    def expire(self, now: Instant, registrations_max: int) -> Decision:
        """End what has run out, until `registrations_max` registrations have been looked at or nothing is left.

        That is sessions by their lease, tenures that are held beyond it by their own limit, and those of switchovers;
        and pauses.
        """
        draft = self._draft(now)
        switchovers.take_due_steps(draft)
        seen = pauses.end_due(draft, registrations_max)
        while seen < registrations_max and (presence := self._leases.pop_due(now.now_ms)):
            seen += 1 + len(presence.registrations)
            if draft.lapse(presence):
                self._leases.add(presence.record.number)
        return self._conclude(draft, None)

    def committed(self, events: Sequence[AnyEvent], unix_ms: int) -> None:
        """The store has made these events durable, the newest decided so far that it has."""
        self.committed_revision = events[-1].revision
        for event in events:
            if isinstance(event, SessionClosedEvent):
                del self.state.ended[event.session]
            elif isinstance(event, RoleChangedEvent) and event.previous_holder is not None:
                resource = self.state.resources.get(event.resource_id)
                if resource is not None:
                    moves.note_committed(resource, event.epoch, unix_ms)

    def end_session(self, session: int, reason: ChangeReason, now: Instant, by: str = "") -> Decision:
        """End a session on proof that it does no more work. Does nothing if it is gone."""
        draft = self._draft(now)
        presence = self.state.sessions.get(session)
        if presence is not None:
            draft.close_session(presence, reason, by)
        return self._conclude(draft, None)

    def is_due(self, now: Instant) -> bool:
        """Whether `expire` may have something to do."""
        next_expiry_ms = self.next_expiry_ms
        return (next_expiry_ms is not None and next_expiry_ms <= now.now_ms) or self.state.pauses.is_due(now)

    @property
    def next_expiry_ms(self) -> float | None:
        """The earliest time at which `expire` may have something to do but for pauses, which end by two clocks.

        None if there is no session.
        """
        next_end_ms = self._leases.next_ms()
        next_step_ms = self.state.switchovers.next_due_ms()
        if next_end_ms is None or next_step_ms is None:
            return next_end_ms
        return min(next_end_ms, next_step_ms)

    def _draft(self, now: Instant) -> Draft:
        return Draft(
            self.state,
            self.revision,
            now,
            abandoned_max=self.limits.abandoned_resources_max,
            may_promote=not self.rolled_back_revision,
        )

    def _conclude(self, draft: Draft, reply: BrokerMessage | None) -> Decision:
        if not draft.events:  # a refusal, a read, or a switchover that nobody knows of but this memory
            return Decision(reply=reply, step_downs=tuple(draft.step_downs))
        draft.close_bereft()
        self.revision = draft.revision
        return Decision(
            reply=reply,
            changes=tuple(draft.changes),
            events=tuple(draft.events),
            statements=tuple(draft.statements),
            step_downs=tuple(draft.step_downs),
        )

    def _decide(self, draft: Draft, request: ClientMessage, origin: Origin) -> BrokerMessage:
        now_ms = draft.now.now_ms
        match request:
            case Heartbeat() | Register() | RegisterMany() | Resign() | Deregister() | Goodbye():
                return self._decide_for_session(draft, self._presence(origin), request)
            case Hello():
                return self._hello(draft, request, origin)
            case ListServices():
                check_names(service_name=request.service_name, resource_id=request.resource_id)
                return reads.list_services(self.state, request, self.history_id, self.revision, now_ms)
            case ListRoles():
                check_names(service_name=request.service_name)
                return reads.list_roles(self.state, request, self.revision, now_ms)
            case GetResource():
                check_names(resource_id=request.resource_id)
                return reads.get_resource(self.state, request, self.revision, now_ms)
            case ListPresence():
                return reads.list_presence(self.state, request, now_ms)
            case ReadEvents() | ListTenures() | GetMeasurements():
                raise InvalidRequestError("old events, old tenures and measurements are not the registry's to tell")
            case Switchover() | PauseResource() | ResumeResource() | ChangeRoles():
                self._check_history(None, 0)
                return interventions.decide(draft, request, origin.identity, self.limits)
            case CancelSwitchover() | ExpireSession():
                return interventions.decide(draft, request, origin.identity, self.limits)
            case _:
                assert_never(request)

    def _decide_for_session(
        self,
        draft: Draft,
        presence: Presence,
        request: Heartbeat | Register | RegisterMany | Resign | Deregister | Goodbye,
    ) -> BrokerMessage:
        match request:
            case Heartbeat():
                check_heartbeat(request)
                self._check_history(self.history_id, request.last_revision)
                return self._renew(draft, presence, request)
            case Register():
                self._check_history(None, 0)
                _check_lease(presence)
                return claims.register(draft, presence, request, self.limits)
            case RegisterMany():
                self._check_history(None, 0)
                _check_lease(presence)
                check_batch(request)
                return RegisteredMany(results=tuple(self._result(draft, presence, item) for item in request.items))
            case Resign():
                return claims.resign(draft, presence, request)
            case Deregister():
                return claims.deregister(draft, presence, request)
            case Goodbye():
                draft.close_session(presence, ChangeReason.GOODBYE)
                return Farewell()
            case _:
                assert_never(request)

    def _presence(self, origin: Origin) -> Presence:
        if origin.session == 0:
            raise HelloRequiredError("this request needs a session: say hello with a session_id first")
        presence = self.state.sessions.get(origin.session)
        if presence is None:
            raise SessionExpiredError("the session has ended: its lease ran out or it said goodbye; begin a new one")
        return presence

    def _check_history(self, history_id: str | None, last_revision: int) -> None:
        """Refuse everything that could grant once a client has seen a revision that this store lacks."""
        if history_id == self.history_id and last_revision > self.committed_revision:
            self.rolled_back_revision = max(self.rolled_back_revision, last_revision)
        if self.rolled_back_revision:
            raise StoreRolledBackError(
                f"a client has seen revision {self.rolled_back_revision} of this history, but the store ends at "
                f"{self.committed_revision}: it is an old copy. Nothing is granted; put the right data back",
                revision=self.committed_revision,
            )

    def _hello(self, draft: Draft, hello: Hello, origin: Origin) -> Welcome:
        check_hello(hello)
        if hello.session_id is None:
            return self._welcome(None)
        self._check_history(hello.history_id, hello.last_revision)
        number = self.state.session_numbers.get(hello.session_id)
        if number is not None:
            presence = self.state.sessions[number]
            if presence.record.identity != origin.identity:
                raise ForbiddenError("this session belongs to another user")
            return self._welcome(presence)
        if hello.resume:
            raise SessionExpiredError("the broker does not know this session (any longer); begin a new one")
        if len(self.state.sessions) >= self.limits.sessions_max:
            raise LimitExceededError(
                f"the broker has {len(self.state.sessions)} sessions, which is its limit (sessions_max)",
                limit=self.limits.sessions_max,
            )
        presence = draft.open_session(hello.session_id, origin.identity, hello.lease_ms, hello.client)
        self._leases.add(presence.record.number)
        return self._welcome(presence)

    def _welcome(self, presence: Presence | None) -> Welcome:
        welcome = Welcome(version=PROTOCOL_VERSION, history_id=self.history_id, revision=self.committed_revision)
        if presence is None:
            return welcome
        lease_ms = presence.record.lease_ms
        return structs.replace(
            welcome,
            session=presence.record.number,
            lease_ms=lease_ms,
            heartbeat_interval_ms=heartbeat_interval_ms(lease_ms),
        )

    def _renew_at_rest(self, heartbeat: Heartbeat, origin: Origin, now: Instant) -> HeartbeatAck | None:
        """Answer a heartbeat that changes nothing but the lease; None if it may be refused or do more."""
        presence = self.state.sessions.get(origin.session)
        committed = self.committed_revision
        if presence is None or self.rolled_back_revision or heartbeat.last_revision > committed:
            return None
        try:
            check_heartbeat(heartbeat)
        except RequestRefusedError:
            return None
        return heartbeats.renew_at_rest(presence, heartbeat, now, committed)

    def _renew(self, draft: Draft, presence: Presence, heartbeat: Heartbeat) -> HeartbeatAck:
        had_lapsed = presence.has_lapsed
        ack = heartbeats.renew(draft, presence, heartbeat, self.committed_revision)
        if had_lapsed:  # it is watched for the end of what it held, which may be later than that of its lease
            self._leases.add(presence.record.number)
        return ack

    def _result(self, draft: Draft, presence: Presence, request: Register) -> RegisterResult:
        try:
            return RegisterResult(registered=claims.register(draft, presence, request, self.limits))
        except RequestRefusedError as refusal:
            return RegisterResult(error=refusal.info)


def _check_lease(presence: Presence) -> None:
    """Refuse what could grant while a session lives on for the sake of held tenures alone: only heartbeats renew."""
    if presence.has_lapsed:
        raise SessionLapsedError(
            "the session's lease ran out, and only what it holds beyond it goes on: register again once a heartbeat "
            "has been answered"
        )
