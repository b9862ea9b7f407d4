"""The registry: one pure state machine that decides who is active, and nothing else does.

`apply` takes a request, who sent it and the time, and answers with a `Decision`: work to do in order. The caller makes
the changes durable, THEN sends the reply and the statements, THEN publishes the events. Decisions run ahead of the
store; `committed_revision`, set by the caller, says how far the store has come, and a heartbeat confirms a tenure only
if it is active both as committed and as decided: grants count from commit, revocations from decision.

A refusal is an `error` reply, and nothing has changed.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct, structs

from tenure.contract.errors import (
    ForbiddenError,
    HelloRequiredError,
    InvalidRequestError,
    LimitExceededError,
    RequestRefusedError,
    SessionExpiredError,
    StoreRolledBackError,
)
from tenure.contract.events import AnyEvent
from tenure.contract.limits import PROTOCOL_VERSION, heartbeat_interval_ms
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
    ReadEvents,
    Register,
    RegisteredMany,
    RegisterMany,
    RegisterResult,
    RequestResignation,
    Resign,
    RoleStatement,
    StepDown,
    Welcome,
)
from tenure.contract.vocabulary import ChangeReason, ServiceStatus
from tenure.domain import claims, reads
from tenure.domain.draft import Draft, statement_of
from tenure.domain.leases import Leases
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Change, Instant, StoredState
from tenure.domain.state import Presence, State
from tenure.domain.succession import may_succeed
from tenure.domain.validation import check_batch, check_heartbeat, check_hello, check_names


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
            presence.last_heard_ms = now.now_ms
            presence.expires_at_ms = now.now_ms + presence.record.lease_ms
        self._leases = Leases(self.state.sessions)

    def apply(self, request: ClientMessage, origin: Origin, now: Instant) -> Decision:
        """Decide on a client's request. A refusal is a decision too, and changes nothing."""
        draft = self._draft(now)
        try:
            reply = self._decide(draft, request, origin)
        except RequestRefusedError as refusal:
            reply = ErrorReply(error=refusal.info)
        return self._conclude(draft, reply)

    def expire(self, now: Instant, registrations_max: int) -> Decision:
        """End sessions whose lease has run out, until `registrations_max` registrations have ended or none is left."""
        draft = self._draft(now)
        ended = 0
        while ended < registrations_max and (presence := self._leases.pop_ended(now.now_ms)):
            ended += 1 + len(presence.registrations)
            draft.close_session(presence, ChangeReason.EXPIRED)
        return self._conclude(draft, None)

    def end_session(self, session: int, reason: ChangeReason, now: Instant) -> Decision:
        """End a session on proof that it does no more work. Does nothing if it is gone."""
        draft = self._draft(now)
        presence = self.state.sessions.get(session)
        if presence is not None:
            draft.close_session(presence, reason)
        return self._conclude(draft, None)

    @property
    def next_expiry_ms(self) -> float | None:
        """The earliest time at which `expire` may have something to do; None if there is no session."""
        return self._leases.next_end_ms()

    def _draft(self, now: Instant) -> Draft:
        return Draft(
            self.state,
            self.revision,
            now,
            abandoned_max=self.limits.abandoned_resources_max,
            may_promote=not self.rolled_back_revision,
        )

    def _conclude(self, draft: Draft, reply: BrokerMessage | None) -> Decision:
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
            case RequestResignation():
                return claims.request_resignation(draft, request)
            case ReadEvents():
                raise InvalidRequestError("events are read from the store, not from the registry")
            case _:
                return self._decide_for_session(draft, self._presence(origin), request)

    def _decide_for_session(
        self,
        draft: Draft,
        presence: Presence,
        request: Heartbeat | Register | RegisterMany | Resign | Deregister | Goodbye,
    ) -> BrokerMessage:
        match request:
            case Goodbye():
                draft.close_session(presence, ChangeReason.GOODBYE)
                return Farewell()
            case Resign():
                return claims.resign(draft, presence, request)
            case Deregister():
                return claims.deregister(draft, presence, request)
            case Heartbeat():
                check_heartbeat(request)
                self._check_history(self.history_id, request.last_revision)
                return self._heartbeat(draft, presence, request)
            case Register():
                self._check_history(None, 0)
                return claims.register(draft, presence, request, self.limits)
            case RegisterMany():
                self._check_history(None, 0)
                check_batch(request)
                return RegisteredMany(results=tuple(self._result(draft, presence, item) for item in request.items))
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
        self._leases.add(presence)
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

    def _heartbeat(self, draft: Draft, presence: Presence, heartbeat: Heartbeat) -> HeartbeatAck:
        now_ms = draft.now.now_ms
        might_be_promoted = presence.status(now_ms).may_be_promoted
        presence.last_heard_ms = now_ms
        presence.expires_at_ms = now_ms + presence.record.lease_ms
        presence.heard = True
        if heartbeat.status is not presence.record.status:
            draft.change_status(presence, heartbeat.status)
        for given_up in heartbeat.given_up:
            number = presence.tenures.get(given_up.epoch)
            if number is not None:
                registration = self.state.registrations[number]
                reason = ChangeReason.RESIGNED if given_up.declined else ChangeReason.GIVEN_UP
                draft.demote(registration, reason, declined=given_up.declined)
                draft.fill(registration.resource_id)
        if heartbeat.status.may_be_promoted and not might_be_promoted:
            self._fill_with(draft, presence, heartbeat.status)
        return self._acknowledge(presence, heartbeat)

    def _fill_with(self, draft: Draft, presence: Presence, status: ServiceStatus) -> None:
        """Fill the vacancies that waited for this session to become fit.

        Whoever else was fit has filled his already, so that only resources which one of its own standbys may succeed to
        are looked at more closely: a session with many standbys costs no more than their number.
        """
        for number in presence.registrations:
            registration = self.state.registrations[number]
            resource = self.state.resources[registration.resource_id]
            if resource.active is None and may_succeed(registration, resource, status):
                draft.fill(registration.resource_id)

    def _acknowledge(self, presence: Presence, heartbeat: Heartbeat) -> HeartbeatAck:
        """What is true as committed and as decided. An epoch is the revision of its grant, so one comparison tells."""
        committed = self.committed_revision
        ended: tuple[int, ...] = ()
        if heartbeat.given_up and presence.changed_revision <= committed:
            ended = tuple(given_up.epoch for given_up in heartbeat.given_up)
        statements: tuple[RoleStatement, ...] = ()
        if presence.changed_revision > heartbeat.applied_revision:
            registrations = (self.state.registrations[number] for number in presence.registrations)
            statements = tuple(
                statement_of(registration)
                for registration in registrations
                if heartbeat.applied_revision < registration.role_revision <= committed
            )
        return HeartbeatAck(
            session=presence.record.number,
            sequence=heartbeat.sequence,
            revision=committed,
            confirmed=tuple(epoch for epoch in presence.tenures if epoch <= committed),
            given_up=ended,
            statements=statements,
        )

    def _result(self, draft: Draft, presence: Presence, request: Register) -> RegisterResult:
        try:
            return RegisterResult(registered=claims.register(draft, presence, request, self.limits))
        except RequestRefusedError as refusal:
            return RegisterResult(error=refusal.info)
