"""The pure core of a client's session: how a role is held, without sockets, threads or clocks.

The machine has three phases:

    opening ──welcome──▶ open ──┬── session_expired, another history, a refused hello ──▶ ended
       ▲                   │    └── goodbye ─────────────────────────────────────────────▶ ended
       └── (each new connection says hello again; the session stays the same) ┘

What is heard about roles goes to `tenure.sdk.tenures`, when to connect and to send comes from `tenure.sdk.heartbeats`.

Rules this file keeps, each of which was a broken guarantee once:
 - sending extends nothing; only an answered heartbeat does, from when it was sent;
 - an answer counts once, on the connection it was asked over, and for the session it names;
 - an application whose event loop stands still (`stall_limit_ms`) is not kept alive by the thread that sends for it.
"""

from __future__ import annotations

from enum import StrEnum

from tenure.contract.errors import (
    ErrorCode,
    ErrorInfo,
    RequestRefusedError,
    SessionExpiredError,
    TenureError,
    refusal_from,
)
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    Closing,
    ErrorReply,
    Heartbeat,
    HeartbeatAck,
    Hello,
    ProcessIdentity,
    RoleStatements,
    StepDown,
    Welcome,
)
from tenure.contract.vocabulary import Channel, ServiceStatus
from tenure.sdk.heartbeats import ConnectionState, Heartbeats
from tenure.sdk.loop_watch import LoopWatch
from tenure.sdk.standing import Reading
from tenure.sdk.tenures import Held, Tenures
from tenure.sdk.witness import Witness, Witnesses

__all__ = ["Held", "Phase", "SessionCore"]


class Phase(StrEnum):
    """Where a session is in its life."""

    OPENING = "opening"
    OPEN = "open"
    ENDED = "ended"


class SessionCore(Tenures):
    """One session, from its first hello to its end. Every method takes the time and none waits."""

    def __init__(
        self,
        session_id: str,
        lease_ms: int,
        *,
        process: ProcessIdentity | None = None,
        client: str = "",
        witness: Witness | None = None,
        stall_limit_ms: float | None = None,
        entry_margin_ms: float = 0.0,
    ) -> None:
        """Prepare a session.

        Args:
            session_id: Its secret.
            lease_ms: The lease to ask for.
            process: What to tell the broker of this process.
            client: What to tell the broker of this program, for people.
            witness: Is told of every validity before the application can see it, and of each end.
            stall_limit_ms: How long the application's event loop may stand still before heartbeats are held back.
            entry_margin_ms: A new tenure is not entered with less time left than this, but after the next answer.
        """
        super().__init__(Heartbeats(lease_ms), witness or Witnesses(), entry_margin_ms)
        self.session_id = session_id
        self.phase = Phase.OPENING
        self.error: TenureError | None = None
        """Why it ended, if it did not end on purpose."""
        self.status = ServiceStatus.HEALTHY
        self.session = 0
        """The public number that the broker gave it."""
        self.history_id: str | None = None
        self._process = process
        self._client = client
        self._loop = LoopWatch(stall_limit_ms)
        self._applied_revision = 0

    @property
    def lease_ms(self) -> int:
        """The lease in force; until the broker's welcome the one that is asked for."""
        return self._beats.lease_ms

    # --- the control channel ------------------------------------------------------------------------------------------

    def advance(self, now: Reading) -> Heartbeat | None:
        """Let time pass: tenures that ran out are given up; returns the heartbeat to send, if one is due."""
        self._let_pass(now)
        self._date_given_up(now)
        if self.phase is Phase.ENDED:
            return None
        sequence = self._beats.take_due(now, is_held_back=self._loop.has_stalled(now))
        if sequence is None:
            return None
        return Heartbeat(
            sequence=sequence,
            status=self.status,
            applied_revision=self._applied_revision,
            last_revision=self.last_revision,
            given_up=self._list_given_up(now),
            entered=self._list_entered(sequence, now),
            loop_lag_ms=self._loop.take_lag_ms(now),
            margin_ms=self._beats.take_margin_ms(now),
        )

    def take_connect(self, now: Reading) -> bool:
        """Whether a new connection is to be made now, in place of the old one; says so once for each."""
        return self.phase is not Phase.ENDED and self._beats.take_connect(now)

    def hello(self) -> Hello:
        """What to say first on a connection, also on one that the broker has forgotten."""
        return Hello(
            version=PROTOCOL_VERSION,
            session_id=self.session_id,
            resume=self.session != 0,
            channel=Channel.CONTROL,
            connection=self._beats.next_connection(),
            lease_ms=self.lease_ms,
            history_id=self.history_id,
            last_revision=self.last_revision,
            process=self._process,
            client=self._client,
        )

    def lose_connection(self) -> None:
        """The connection is of no use any more: ask for another. Tenures stay valid until their time is up."""
        self._beats.lose_connection()

    def receive(self, message: BrokerMessage, now: Reading) -> Hello | None:
        """Take in what came over the control channel; returns a hello if one has to be said again."""
        self._let_pass(now)
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
                self._ask(message, now)
                self._let_pass(now)
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
            return self._beats.interval_ms
        wait_ms = self._beats.wake_in_ms(now, is_held_back=self._loop.has_stalled(now))
        return max(0.0, min(wait_ms, now.until_ms(self._no_lapse_before), self._drains.over_in_ms(now)))

    @property
    def is_connected(self) -> bool:
        """Whether the broker has answered a heartbeat on the present connection."""
        return self._beats.is_answered and self.phase is Phase.OPEN

    def connection_state(self, now: Reading) -> ConnectionState:
        """How it stands with its broker."""
        return ConnectionState.LOST if self.phase is Phase.ENDED else self._beats.state(now)

    # --- the application's event loop ---------------------------------------------------------------------------------

    @property
    def loop_period_ms(self) -> float:
        """How often the event loop is to say that it turns."""
        return self._loop.period_ms(self._beats.interval_ms)

    def loop_turned(self, now: Reading) -> bool:
        """The event loop has turned, and is to say so again in `loop_period_ms`; returns whether it had stalled."""
        return self._loop.turned(now, self.loop_period_ms)

    def loop_has_stalled(self, now: Reading) -> bool:
        """Whether heartbeats are held back because the event loop does not turn."""
        return self._loop.has_stalled(now)

    def end(self, why: str, error: TenureError | None = None) -> None:
        """End the session: nothing is active any more. Safe to repeat; the first reason stays.

        Without an error it ends on purpose.
        """
        if self.phase is Phase.ENDED:
            return
        self.phase = Phase.ENDED
        self.error = error
        self._beats.stop()
        self._close(why, is_lost=error is not None)

    # --- inside -----------------------------------------------------------------------------------------------------

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
        self.phase = Phase.OPEN
        self._beats.welcome(welcome.lease_ms, welcome.heartbeat_interval_ms)

    def _acknowledged(self, ack: HeartbeatAck, now: Reading) -> None:
        if ack.session != self.session or not self._beats.answered(ack.sequence, now):
            return
        self.last_revision = max(self.last_revision, ack.revision)
        self._applied_revision = max(self._applied_revision, ack.revision)
        self._take_in(ack, now)

    def _refused(self, error: ErrorInfo, now: Reading) -> Hello | None:
        match error.code:
            case ErrorCode.SESSION_EXPIRED:
                self.end("the broker has ended its session", refusal_from(error))
            case ErrorCode.HELLO_REQUIRED:
                self._beats.begin_again(now)
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
