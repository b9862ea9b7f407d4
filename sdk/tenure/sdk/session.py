"""The pure core of a client's session: how a role is held, without sockets, threads or clocks.

The machine has three phases:

    opening ──welcome──▶ open ──┬── session_expired, another history, a refused hello ──▶ ended
       ▲                   │    └── goodbye ─────────────────────────────────────────────▶ ended
       └── (each new connection says hello again; the session stays the same) ┘

While it is open it sends a heartbeat each interval; two without an answer, and it asks for a new connection. A tenure
is valid until the SEND time of the newest heartbeat whose ANSWER named it, plus the lease, less what clocks may drift.
A new one starts from the newest answered heartbeat of the session: the broker ends a session's tenures no earlier than
a lease after it received that heartbeat, and a session that ended grants nothing.

Rules this file keeps, each of which was a broken guarantee once:
 - sending extends nothing; only an answered heartbeat does, from when it was sent;
 - a tenure that was left is never entered again: one that ran out, was resigned or whose outcome is unknown is given
   up, and named in each heartbeat until the broker has said, by whichever way, that it is over;
 - a statement that is not newer than the one applied to its registration is ignored, whichever way it came.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from tenure.contract.errors import (
    ErrorCode,
    ErrorInfo,
    RequestRefusedError,
    SessionExpiredError,
    TenureError,
    refusal_from,
)
from tenure.contract.limits import CLOCK_DRIFT_PPM, PROTOCOL_VERSION, heartbeat_interval_ms
from tenure.contract.messages import (
    BrokerMessage,
    Closing,
    ErrorReply,
    GivenUp,
    Heartbeat,
    HeartbeatAck,
    Hello,
    ProcessIdentity,
    Registered,
    RoleStatement,
    RoleStatements,
    StepDown,
    Welcome,
)
from tenure.contract.vocabulary import Channel, ServiceRole, ServiceStatus
from tenure.sdk.standing import FOREVER, NEVER, Reading, Standing

_UNANSWERED_MAX: Final = 2
_EARLY_MAX: Final = 10_000  # statements kept for registrations whose reply is still on its way
_CONNECT_MS_MIN: Final = 100
_CONNECT_MS_MAX: Final = 1_000


class Phase(StrEnum):
    """Where a session is in its life."""

    OPENING = "opening"
    OPEN = "open"
    ENDED = "ended"


class Held:
    """One registration of this session; `standing` is replaced, never changed, so that any thread may read it."""

    __slots__ = ("asked_epoch", "entered", "is_scoped", "left_epoch", "registration_id", "standing")

    def __init__(self, registration_id: int) -> None:
        self.registration_id = registration_id
        self.standing = Standing(ServiceRole.STANDBY, 0, NEVER, 0, "it stands by")
        self.entered = False
        """Whether the tenure of `standing` has been valid at some time."""
        self.left_epoch = 0
        """The newest tenure left: neither it nor one before it is entered again."""
        self.asked_epoch = 0
        """The newest tenure that somebody asked it to leave."""
        self.is_scoped = False
        """Whether its work runs in a scope, which stops it before it resigns; else it resigns once it is asked."""


class SessionCore:
    """One session, from its first hello to its end. Every method takes the time and none waits."""

    def __init__(
        self, session_id: str, lease_ms: int, *, process: ProcessIdentity | None = None, client: str = ""
    ) -> None:
        self.session_id = session_id
        self.lease_ms = lease_ms
        self.phase = Phase.OPENING
        self.error: TenureError | None = None
        """Why it ended, if it did not end on purpose."""
        self.status = ServiceStatus.HEALTHY
        self.session = 0
        """The public number that the broker gave it."""
        self.history_id: str | None = None
        self.last_revision = 0
        self.registrations: dict[int, Held] = {}
        """By number; one that was left stays until the broker's answer, so that no earlier one brings it back."""
        self.given_up: dict[int, GivenUp] = {}
        self.changed: list[Held] = []
        """Registrations whose standing changed; the shell takes them."""
        self._process = process
        self._client = client
        self._connection = 0
        self._is_welcome = False
        self._wants_connection = True
        self._connecting_since: Reading | None = None
        self._interval_ms = heartbeat_interval_ms(lease_ms)
        self._sequence = 0
        self._applied_revision = 0
        self._unanswered: dict[int, Reading] = {}
        self._is_answered = False
        """Whether a heartbeat was answered on the present connection."""
        self._last_sent: Reading | None = None
        self._confirmed_from: Reading | None = None
        """The send time of the newest answered heartbeat."""
        self._early: dict[int, RoleStatement] = {}
        self._no_lapse_before = FOREVER
        """No tenure ends earlier than this; heartbeats only move ends further away."""

    # --- the control channel ------------------------------------------------------------------------------------------

    def advance(self, now: Reading) -> Heartbeat | None:
        """Let time pass: tenures that ran out are given up; returns the heartbeat to send, if one is due."""
        self._lapse(now)
        if self.phase is Phase.ENDED:
            return None
        if not self._is_welcome:
            if self._connecting_since is not None and now.raw_ms - self._connecting_since.raw_ms >= self._patience_ms:
                self._wants_connection = True
            return None
        if self._last_sent is not None and now.raw_ms - self._last_sent.raw_ms < self._interval_ms:
            return None
        if len(self._unanswered) >= _UNANSWERED_MAX:
            self.lose_connection()
            return None
        self._sequence += 1
        self._unanswered[self._sequence] = self._last_sent = now
        return Heartbeat(
            sequence=self._sequence,
            status=self.status,
            applied_revision=self._applied_revision,
            last_revision=self.last_revision,
            given_up=tuple(self.given_up.values()),
        )

    def take_connect(self, now: Reading) -> bool:
        """Whether a new connection is to be made now, in place of the old one; says so once for each."""
        if not self._wants_connection or self.phase is Phase.ENDED:
            return False
        self._wants_connection = False
        self._connecting_since = now
        return True

    def hello(self) -> Hello:
        """What to say first on a connection, also on one that the broker has forgotten."""
        self._connection += 1
        return Hello(
            version=PROTOCOL_VERSION,
            session_id=self.session_id,
            resume=self.session != 0,
            channel=Channel.CONTROL,
            connection=self._connection,
            lease_ms=self.lease_ms,
            history_id=self.history_id,
            last_revision=self.last_revision,
            process=self._process,
            client=self._client,
        )

    def lose_connection(self) -> None:
        """The connection is of no use any more: ask for another. Tenures stay valid until their time is up."""
        self._is_welcome = self._is_answered = False
        self._wants_connection = True
        self._unanswered.clear()
        self._last_sent = None

    def receive(self, message: BrokerMessage, now: Reading) -> Hello | None:
        """Take in what came over the control channel; returns a hello if one has to be said again."""
        self._lapse(now)
        if self.phase is Phase.ENDED:
            return None
        match message:
            case Welcome():
                self._welcome(message)
            case HeartbeatAck():
                self._acknowledged(message, now)
            case RoleStatements(statements=statements):
                for statement in statements:
                    self.apply(statement, now)
            case StepDown():
                self._asked_to_resign(message)
            case Closing():
                self.lose_connection()
            case ErrorReply(error=error):
                return self._refused(error, now)
            case _:  # an answer to something this channel never asks
                pass
        return None

    def next_wake_ms(self, now: Reading) -> float:
        """How long `advance` has nothing to do if nothing comes in; at least 0."""
        if self.phase is Phase.ENDED:
            return self._interval_ms
        wait_ms = self._patience_ms
        if self._is_welcome and self._last_sent is not None:
            wait_ms = self._interval_ms - (now.raw_ms - self._last_sent.raw_ms)
        elif self._is_welcome:
            wait_ms = 0.0
        return max(0.0, min(wait_ms, now.until_ms(self._no_lapse_before)))

    @property
    def is_connected(self) -> bool:
        """Whether the broker has answered a heartbeat on the present connection."""
        return self._is_answered and self.phase is Phase.OPEN

    # --- registrations ------------------------------------------------------------------------------------------------

    def adopt(self, registered: Registered, now: Reading) -> Held:
        """Take in the answer to a registration, and what has been said about it by other ways since."""
        self._lapse(now)
        if self.phase is Phase.ENDED:  # it said goodbye, or was ended, while the answer was on its way
            late = Held(registered.registration_id)
            self._set(late, late.standing._replace(why="its session has ended", is_ended=True))
            return late
        held = self.registrations.get(registered.registration_id)
        if held is None:
            held = self.registrations[registered.registration_id] = Held(registered.registration_id)
        self._apply_to(
            held,
            RoleStatement(
                registration_id=registered.registration_id,
                role=registered.role,
                epoch=registered.epoch,
                revision=registered.revision,
            ),
            now,
        )
        early = self._early.pop(registered.registration_id, None)
        if early is not None:
            self._apply_to(held, early, now)
        return held

    def apply(self, statement: RoleStatement, now: Reading) -> None:
        """Take in a statement about a role, unless it is not newer than what was applied."""
        held = self.registrations.get(statement.registration_id)
        if held is not None:
            self._apply_to(held, statement, now)
            return
        known = self._early.get(statement.registration_id)
        if known is None or statement.revision > known.revision:
            self._early[statement.registration_id] = statement
        if len(self._early) > _EARLY_MAX:
            del self._early[next(iter(self._early))]

    def step_down(self, held: Held, why: str, *, declined: bool) -> int:
        """Leave the tenure BEFORE anything is sent about it; returns its epoch, 0 if there was none."""
        epoch = held.standing.epoch
        if held.standing.role is not ServiceRole.ACTIVE:
            return 0
        held.left_epoch = max(held.left_epoch, epoch)
        self.given_up[epoch] = GivenUp(epoch=epoch, declined=declined)
        self._set(held, held.standing._replace(role=ServiceRole.STANDBY, epoch=0, valid_until=NEVER, why=why))
        return epoch

    def end_registration(self, held: Held, why: str) -> int:
        """Leave the registration BEFORE anything is sent about it; returns the epoch it was in, else 0.

        To be followed by `forget`, once the broker has said that it is over.
        """
        epoch = self.step_down(held, why, declined=True)
        self._set(held, held.standing._replace(why=why, is_ended=True))
        return epoch

    def forget(self, held: Held) -> None:
        """The broker has answered that a registration which was left is over: nothing earlier can still come."""
        assert held.standing.is_ended, "only what has ended is forgotten"
        self.registrations.pop(held.registration_id, None)
        self.given_up.pop(held.left_epoch, None)

    def end(self, why: str, error: TenureError | None = None) -> None:
        """End the session: nothing is active any more. Safe to repeat; the first reason stays."""
        if self.phase is Phase.ENDED:
            return
        self.phase = Phase.ENDED
        self.error = error
        self._is_welcome = self._is_answered = False
        for held in self.registrations.values():
            if not held.standing.is_ended:
                self.end_registration(held, why)

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _patience_ms(self) -> float:
        """How long to wait for a connection to become of use before another is tried."""
        return min(max(self._interval_ms, _CONNECT_MS_MIN), _CONNECT_MS_MAX)

    def _welcome(self, welcome: Welcome) -> None:
        if self.history_id is not None and welcome.history_id != self.history_id:
            self.end(
                "the broker's store was replaced",
                SessionExpiredError("the broker has another history now: its store was replaced; begin a new session"),
            )
            return
        self.history_id = welcome.history_id
        self.last_revision = max(self.last_revision, welcome.revision)
        self.session = welcome.session
        self.lease_ms = welcome.lease_ms
        self._interval_ms = welcome.heartbeat_interval_ms
        self.phase = Phase.OPEN
        self._is_welcome = True
        self._last_sent = None

    def _acknowledged(self, ack: HeartbeatAck, now: Reading) -> None:
        sent = self._unanswered.get(ack.sequence)
        if sent is None or ack.session != self.session:
            return
        self._unanswered = {number: at for number, at in self._unanswered.items() if number > ack.sequence}
        self._confirmed_from = sent
        self._is_answered = True
        self.last_revision = max(self.last_revision, ack.revision)
        self._applied_revision = max(self._applied_revision, ack.revision)
        for statement in ack.statements:
            self.apply(statement, now)
        for epoch in ack.given_up:
            self.given_up.pop(epoch, None)
        confirmed = set(ack.confirmed)
        active = [held for held in self.registrations.values() if held.standing.role is ServiceRole.ACTIVE]
        self._extend([held for held in active if held.standing.epoch in confirmed], now)

    def _asked_to_resign(self, request: StepDown) -> None:
        held = self.registrations.get(request.registration_id)
        if held is None or held.standing.epoch != request.epoch:
            return
        held.asked_epoch = request.epoch
        if held.is_scoped:
            self.changed.append(held)
        else:
            self.step_down(held, "it was asked to resign", declined=True)
            if not self._unanswered:  # whoever asked is waiting: the heartbeat that tells of it is due now
                self._last_sent = None

    def _refused(self, error: ErrorInfo, now: Reading) -> Hello | None:
        match error.code:
            case ErrorCode.SESSION_EXPIRED:
                self.end("the broker has ended its session", refusal_from(error))
            case ErrorCode.HELLO_REQUIRED:
                self.lose_connection()
                self._wants_connection = False
                self._connecting_since = now
                return self.hello()
            case ErrorCode.FORBIDDEN | ErrorCode.INVALID_REQUEST | ErrorCode.UNSUPPORTED_VERSION:
                self._end_if_new(refusal_from(error))
            case ErrorCode.LIMIT_EXCEEDED | ErrorCode.STORE_ROLLED_BACK:
                self._end_if_new(refusal_from(error))
            case _:  # the broker may do better later; until then the lease decides
                pass
        return None

    def _end_if_new(self, error: RequestRefusedError) -> None:
        """A session that was never opened has failed to open; one that is open keeps trying while its lease lasts."""
        if self.session == 0:
            self.end("the broker refused the session", error)

    def _apply_to(self, held: Held, statement: RoleStatement, now: Reading) -> None:
        standing = held.standing
        if statement.revision <= standing.revision or standing.is_ended:
            return
        self.last_revision = max(self.last_revision, statement.revision)
        if statement.role is None:
            held.left_epoch = max(held.left_epoch, standing.epoch)
            ended = Standing(ServiceRole.STANDBY, 0, NEVER, statement.revision, "it was deregistered", is_ended=True)
            self._set(held, ended)
        elif statement.role is ServiceRole.STANDBY:
            held.left_epoch = max(held.left_epoch, standing.epoch)
            why = "the broker has ended its tenure" if standing.epoch else (standing.why or "it stands by")
            self._set(held, Standing(ServiceRole.STANDBY, 0, NEVER, statement.revision, why))
            self.given_up.pop(held.left_epoch, None)
        elif statement.epoch > held.left_epoch:
            why = "no heartbeat has confirmed the role yet"
            self._set(held, Standing(ServiceRole.ACTIVE, statement.epoch, NEVER, statement.revision, why))
            self.given_up.pop(held.left_epoch, None)
            self._extend((held,), now)
        else:  # a tenure that was left: the broker will hear so, and it is not entered again
            held.standing = standing._replace(revision=statement.revision)

    def _extend(self, tenures: Iterable[Held], now: Reading) -> None:
        """Let tenures last until the newest answered heartbeat's send time plus the lease, less the drift bound.

        All at once: a session may hold thousands, and the application waits while each heartbeat goes through them.
        """
        if self._confirmed_from is None:
            return
        valid_until = self._confirmed_from.later(self.lease_ms * (1 - CLOCK_DRIFT_PPM / 1_000_000))
        if not now.is_before(valid_until):
            return
        self._no_lapse_before = self._no_lapse_before.earlier(valid_until)
        for held in tenures:
            standing = held.standing
            held.standing = Standing(ServiceRole.ACTIVE, standing.epoch, valid_until, standing.revision, "")
            if not held.entered:
                held.entered = True
                self.changed.append(held)

    def _lapse(self, now: Reading) -> None:
        """Give up every tenure whose time is up."""
        if now.is_before(self._no_lapse_before):
            return
        self._no_lapse_before = FOREVER
        for held in self.registrations.values():
            if held.entered and not held.standing.is_active(now):
                self.step_down(held, "its lease ran out before a heartbeat was answered", declined=False)
            elif held.entered:
                self._no_lapse_before = self._no_lapse_before.earlier(held.standing.valid_until)

    def _set(self, held: Held, standing: Standing) -> None:
        held.standing = standing
        held.entered = False
        self.changed.append(held)
