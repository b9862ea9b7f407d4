"""The broker without its sockets, clock and disk: frames and time go in, and what is to be done comes out in order.

Decisions gather in memory while one batch is being committed. Nothing computed from a state leaves before that state is
committed, but for heartbeat acknowledgements, which are computed from what is: `take_batch` hands out what to store,
`committed` what may be sent and then published. This class is where that order is kept, and there is no other way out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from tenure.broker.batches import Batches
from tenure.broker.connections import Connection, Connections, Route
from tenure.broker.core_limits import CoreLimits
from tenure.broker.measurements import Asked, BrokerMeasurements
from tenure.broker.outgoing import Intervention, Outgoing, Release
from tenure.broker.pages import EventsRead, StoreRead, TenuresRead, events_page, store_read, tenures_page
from tenure.broker.peers import Peer
from tenure.contract import codec
from tenure.contract.errors import (
    ErrorCode,
    ErrorInfo,
    HelloRequiredError,
    InvalidRequestError,
    OverloadedError,
    ProtocolError,
    RequestRefusedError,
    ShuttingDownError,
)
from tenure.contract.events import AnyEvent, SessionClosedEvent
from tenure.contract.history import ListTenures, Progress, ReadEvents
from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    Switchover,
)
from tenure.contract.limits import REQUEST_ID_BYTES_MAX
from tenure.contract.measurements import GetMeasurements
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    Closing,
    ErrorReply,
    Goodbye,
    Heartbeat,
    Hello,
    Register,
    RegisteredMany,
    RegisterMany,
    RoleStatements,
    Welcome,
)
from tenure.contract.vocabulary import ChangeReason, Channel
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Batch, Instant, KeptTenure, StoredState
from tenure.domain.registry import Decision, Origin, Registry

_RETRY_AFTER_MS = 100
_FRAMES: Final = (2, 3)  # request id, body, and perhaps a trace, which is the shell's affair
_INTERVENTIONS: Final = (Switchover, CancelSwitchover, ExpireSession, PauseResource, ResumeResource, ChangeRoles)


class BrokerCore:
    """One broker's decisions, from its start to its end."""

    def __init__(
        self,
        stored: StoredState,
        now: Instant,
        *,
        registry_limits: RegistryLimits | None = None,
        limits: CoreLimits | None = None,
        events_endpoints: tuple[str, ...] = (),
        broker: str = "",
    ) -> None:
        self.limits = limits or CoreLimits()
        self.registry = Registry(stored, now, registry_limits)
        self.connections = Connections(self.limits.readers_max)
        self.outgoing: list[Outgoing] = []
        """What may be sent now; the caller takes it."""
        self.store_reads: list[StoreRead] = []
        """What the store has to answer; the caller takes it and comes back with a page or `refuse_read`."""
        self.conflicts: list[tuple[Register, ErrorInfo]] = []
        """Refused claims, for the log; the caller takes them."""
        self.interventions: list[Intervention] = []
        """What people asked for and what was decided on it, for the log; the caller takes them."""
        self.is_closing = False
        self.measurements = BrokerMeasurements(stored, now.unix_ms)
        self._events_endpoints = events_endpoints
        self._broker = broker
        self._batches = Batches(self.limits.batch_max)

    # --- what comes in ------------------------------------------------------------------------------------------------

    def receive(
        self, route: Route, frames: list[bytes], peer: Peer, now: Instant, received_s: float = 0.0
    ) -> ClientMessage | None:
        """Take in one message; returns it if it was not refused at once, for the shell's own book-keeping.

        `received_s` is when it had come, by the clock that says when its answer leaves.
        """
        if len(frames) not in _FRAMES or not 1 <= len(frames[0]) <= REQUEST_ID_BYTES_MAX:
            return None
        request_id, body = frames[:2]
        connection = self.connections.get(route)
        if connection is not None and connection.is_superseded:
            return None
        try:
            request = codec.decode_client(body)
        except ProtocolError as error:
            self._refuse_unknown(route, request_id, InvalidRequestError(str(error)))
            return None
        asked = Asked(request_id, type(request), received_s)
        try:
            self._check_load(connection, request)
            if isinstance(request, Hello):
                self._hello(route, asked, request, peer, now)
                return request
            if connection is None:
                raise HelloRequiredError("say hello first: this broker does not know you")
            if isinstance(request, Heartbeat):
                if connection.channel is not Channel.CONTROL:
                    raise InvalidRequestError("heartbeats belong on the control channel")
                self._note_margin(connection.session, now)
            elif isinstance(request, (ReadEvents, ListTenures, GetMeasurements)):
                self._read(request, connection, asked)
                return request
        except RequestRefusedError as refusal:
            self._refuse_unknown(route, request_id, refusal)
            return None
        decision = self.registry.apply(request, connection.origin, connection.as_of(now, received_s))
        self._record(decision, connection, asked, request)
        return request

    def tick(self, now: Instant) -> None:
        """End what has expired by now, a bounded number at a time."""
        if self.registry.is_due(now):
            self._record(self.registry.expire(now, self.limits.expiries_max))

    def end_session(self, session: int, reason: ChangeReason, now: Instant) -> None:
        """End a session on proof that it does no more work."""
        self._record(self.registry.end_session(session, reason, now))

    # --- the store ----------------------------------------------------------------------------------------------------

    @property
    def has_batch(self) -> bool:
        """Whether decisions wait to be stored."""
        return self._batches.has_next

    @property
    def has_work(self) -> bool:
        """Whether anything decided is not yet stored and answered."""
        return self._batches.has_any

    def take_batch(self) -> Batch | None:
        """What to store next; None while there is nothing, or while a batch is under way."""
        return self._batches.take()

    def committed(self, unix_ms: int = 0) -> Release:
        """The batch under way is durable, since `unix_ms` (0: nobody knows): what may be sent, and then published."""
        pending = self._batches.committed()
        self.registry.committed(pending.events, unix_ms)
        self.measurements.committed(pending.events, unix_ms)
        outgoing: list[Outgoing] = []
        for connection, asked, body in pending.replies:
            connection.in_flight -= 1
            outgoing.append(Outgoing(connection.route, asked.request_id, body, asked))
        for session, statements in pending.statements.items():
            control = self.connections.current(session, Channel.CONTROL)
            if control is not None:
                push = RoleStatements(statements=tuple(statements))
                outgoing.append(Outgoing(control.route, b"", codec.encode(push)))
        for event in pending.events:
            if isinstance(event, SessionClosedEvent):
                self.connections.forget_session(event.session)
        published = pending.published(self.registry.history_id)
        return Release(outgoing=outgoing, published=published, events=tuple(pending.events))

    def start_again(self, stored: StoredState, now: Instant, code: ErrorCode, why: str) -> None:
        """The batch under way was not stored: drop it and every decision made since, and go on from what the store has.

        Everyone who waits is told that the outcome of his request is unknown. Connections of sessions that were not
        stored say hello again, because the numbers that the dropped decisions gave out will be given out again. Leases
        run on. After a defect no memory is trusted: every connection says hello again, and every lease begins anew.
        Sessions whose end was decided are ended again at once, since whoever is dead stays so, and vacancies that had
        been filled are filled.
        """
        info = ErrorInfo(code=code, message=f"{why}; the outcome is unknown, repeat the request")
        body = codec.encode(ErrorReply(error=info))
        ends: list[SessionClosedEvent] = []
        for pending in self._batches.drop():
            ends += self._ends_that_stay_true(pending.events, code)
            for connection, asked, _ in pending.replies:
                connection.in_flight -= 1
                self.measurements.refused(code)
                self.outgoing.append(Outgoing(connection.route, asked.request_id, body, asked))
        before, self.registry = self.registry, Registry(stored, now, self.registry.limits)
        self.registry.rolled_back_revision = before.rolled_back_revision
        if code is ErrorCode.STORAGE_UNAVAILABLE:
            self.registry.keep_times(before)
            self.connections.forget_others(self.registry.state.sessions)
        else:
            self.connections.forget_all()
        for end in sorted(
            ends, key=self._size_of
        ):  # what needs the least room first: a larger one may be refused again
            self._record(self.registry.end_session(end.session, end.reason, now, end.by))
        self._record(self.registry.fill_vacancies(now))

    # --- answers of the shell's own -----------------------------------------------------------------------------------

    def events_page(self, read: EventsRead, events: tuple[AnyEvent, ...]) -> Outgoing:
        """The answer to a read of events."""
        registry = self.registry
        return _answer_read(read, events_page(read, events, registry.history_id, registry.committed_revision))

    def tenures_page(self, read: TenuresRead, tenures: tuple[KeptTenure, ...]) -> Outgoing:
        """The answer to a read of tenures."""
        registry = self.registry
        return _answer_read(read, tenures_page(read, tenures, registry.history_id, registry.committed_revision))

    def refuse_read(self, read: StoreRead, refusal: RequestRefusedError) -> Outgoing:
        """The answer to a read of the store that cannot be had."""
        self.measurements.refused(refusal.code)
        return _answer_read(read, ErrorReply(error=refusal.info))

    def progress(self) -> bytes:
        """How far the stream has come."""
        return codec.encode(Progress(history_id=self.registry.history_id, revision=self.registry.committed_revision))

    def close(self) -> list[Outgoing]:
        """Take no more requests; what to tell every session."""
        self.is_closing = True
        body = codec.encode(Closing())
        return [Outgoing(connection.route, b"", body) for connection in self.connections.controls()]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _ends_that_stay_true(self, events: Iterable[AnyEvent], code: ErrorCode) -> list[SessionClosedEvent]:
        """The ends of sessions in what is not stored. A silence is what a memory says, and after a defect no reason.

        The word of the kernel, of the session itself and of a person came from outside, and was on its way already.
        """
        return [
            event
            for event in events
            if isinstance(event, SessionClosedEvent)
            and (event.reason is not ChangeReason.EXPIRED or code is ErrorCode.STORAGE_UNAVAILABLE)
        ]

    def _size_of(self, end: SessionClosedEvent) -> int:
        presence = self.registry.state.sessions.get(end.session)
        return 0 if presence is None else len(presence.registrations)

    def _read(self, request: ReadEvents | ListTenures | GetMeasurements, connection: Connection, asked: Asked) -> None:
        """Have the store asked for what it alone knows, or tell what is measured, which waits for nothing."""
        registry = self.registry
        if not isinstance(request, GetMeasurements):
            self.store_reads.append(store_read(request, connection, asked, registry.committed_revision))
            connection.in_flight += 1
            return
        told = self.measurements.told(
            registry.history_id,
            registry.committed_revision,
            sessions=len(registry.state.sessions),
            connections=len(self.connections),
        )
        self.outgoing.append(Outgoing(connection.route, asked.request_id, codec.encode(told), asked))

    def _hello(self, route: Route, asked: Asked, hello: Hello, peer: Peer, now: Instant) -> None:
        if hello.session_id is not None:
            session = self.registry.state.session_numbers.get(hello.session_id)
            if session is not None and self.connections.is_outdated(route, session, hello):
                return
        decision = self.registry.apply(hello, Origin(identity=peer.identity), now)
        reply = decision.reply
        if not isinstance(reply, Welcome):
            assert isinstance(reply, ErrorReply), "a hello is answered with welcome or error"
            connection = Connection(route, 0, hello.channel, hello.connection, peer)
            self._record(decision, connection, asked, hello)
            return
        welcome = msgspec.structs.replace(reply, events_endpoints=self._events_endpoints, broker=self._broker)
        connection = self.connections.admit(route, reply.session, hello, peer)
        connection.since_s = asked.received_s
        self._record(msgspec.structs.replace(decision, reply=welcome), connection, asked, hello)

    def _check_load(self, connection: Connection | None, request: ClientMessage) -> None:
        """Refuse what is too much. What no queue holds is turned away from a connection's own flood alone."""
        if connection is not None and connection.in_flight >= self.limits.requests_in_flight_max:
            raise OverloadedError(
                f"{connection.in_flight} requests of this connection are unanswered; wait for answers first",
                retry_after_ms=_RETRY_AFTER_MS,
            )
        if isinstance(request, (Heartbeat, Goodbye, GetMeasurements)):  # the last is what an overload is seen by
            return
        if self.is_closing:
            raise _shutting_down()
        if self._batches.unanswered >= self.limits.queue_max:
            raise OverloadedError(
                f"{self._batches.unanswered} requests wait for the store; try again later",
                retry_after_ms=_RETRY_AFTER_MS,
            )

    def _record(
        self,
        decision: Decision,
        connection: Connection | None = None,
        asked: Asked | None = None,
        request: ClientMessage | None = None,
    ) -> None:
        """File a decision: its changes for the next batch, its reply behind all it was computed from."""
        for session, step_down in decision.step_downs:
            control = self.connections.current(session, Channel.CONTROL)
            if control is not None:
                self.outgoing.append(Outgoing(control.route, b"", codec.encode(step_down)))
        if decision.events:
            self._batches.add(decision)
        reply = decision.reply
        if connection is None or asked is None or reply is None:
            return
        body = codec.encode(reply)
        if not decision.is_immediate:
            self._note_outcome(connection, request, reply)
            if self._batches.answer_later(connection, asked, body):
                connection.in_flight += 1
                return
        self.outgoing.append(Outgoing(connection.route, asked.request_id, body, asked))

    def _note_outcome(self, connection: Connection, request: ClientMessage | None, reply: BrokerMessage) -> None:
        """Count what was refused, and keep for the log what belongs there."""
        refusal = reply.error if isinstance(reply, ErrorReply) else None
        if refusal is not None:
            self.measurements.refused(refusal.code)
        if isinstance(request, Register):
            if refusal is not None:
                self._note_conflict(request, refusal)
        elif isinstance(request, _INTERVENTIONS):
            self.interventions.append(Intervention(request, connection.peer.identity, refusal))
        elif isinstance(request, RegisterMany) and isinstance(reply, RegisteredMany):
            for item, result in zip(request.items, reply.results, strict=True):
                if result.error is not None:
                    self.measurements.refused(result.error.code)
                    self._note_conflict(item, result.error)

    def _note_conflict(self, request: Register, error: ErrorInfo) -> None:
        if error.code is ErrorCode.ROLE_CONFLICT:
            self.conflicts.append((request, error))

    def _note_margin(self, session: int, now: Instant) -> None:
        """Measure how much of a lease is left now that a heartbeat has come."""
        presence = self.registry.state.sessions.get(session)
        if presence is not None:
            left_ms = 0.0 if presence.has_lapsed else max(0.0, presence.expires_at_ms - now.now_ms)
            self.measurements.lease_margins.note(1_000 * left_ms / presence.record.lease_ms)

    def _refuse_unknown(self, route: Route, request_id: bytes, refusal: RequestRefusedError) -> None:
        """Refuse what was not even looked up in the registry, at once."""
        self.measurements.refused(refusal.code)
        self.outgoing.append(Outgoing(route, request_id, codec.encode(ErrorReply(error=refusal.info))))


def _answer_read(read: StoreRead, reply: BrokerMessage) -> Outgoing:
    read.connection.in_flight -= 1
    return Outgoing(read.connection.route, read.asked.request_id, codec.encode(reply), read.asked)


def _shutting_down() -> ShuttingDownError:
    return ShuttingDownError("the broker is shutting down; nothing was done, try again in a moment")
