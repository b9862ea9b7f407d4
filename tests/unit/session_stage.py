"""A session's core on a stage: tests speak the broker's part and tell the time, so that they read as transcripts.

The two clocks show different times from the start, so that no test passes by comparing the wrong ones. Nothing here
decides anything.
"""

from __future__ import annotations

from msgspec import structs

from tenure.contract.errors import ErrorCode, ErrorInfo
from tenure.contract.limits import CLOCK_DRIFT_PPM, PROTOCOL_VERSION, heartbeat_interval_ms
from tenure.contract.messages import (
    BrokerMessage,
    ErrorReply,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Registered,
    RoleStatement,
    RoleStatements,
    StepDown,
    Welcome,
)
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.session import Held, SessionCore
from tenure.sdk.standing import Reading
from tenure.sdk.witness import Witness

SESSION_ID = "0123456789abcdef0123456789abcdef"
HISTORY = "history-1"
SESSION = 7
LEASE_MS = 2_000
INTERVAL_MS = heartbeat_interval_ms(LEASE_MS)
VALID_MS = LEASE_MS * (1 - CLOCK_DRIFT_PPM / 1_000_000)
"""How long a tenure is valid from the send time of the heartbeat that renewed it."""

ACTIVE, STANDBY = ServiceRole.ACTIVE, ServiceRole.STANDBY


class Stage:
    """A session's core, and the time."""

    def __init__(
        self,
        lease_ms: int = LEASE_MS,
        *,
        witness: Witness | None = None,
        stall_limit_ms: float | None = None,
        entry_margin_ms: float = 0.0,
    ) -> None:
        self.core = SessionCore(
            SESSION_ID,
            lease_ms,
            client="test",
            witness=witness,
            stall_limit_ms=stall_limit_ms,
            entry_margin_ms=entry_margin_ms,
        )
        self.now = Reading(boottime_ms=90_000.0, raw_ms=50_000.0)

    # --- time ---------------------------------------------------------------------------------------------------------

    def wait(self, ms: float) -> None:
        """Let time pass on both clocks."""
        self.now = self.now.later(ms)

    def suspend(self, ms: float) -> None:
        """Let time pass on the clock alone that goes on while the machine is suspended."""
        self.now = structs.replace(self.now, boottime_ms=self.now.boottime_ms + ms)

    def slew(self, ms: float) -> None:
        """Let the raw clock run ahead of the one that time synchronisation may slow down."""
        self.now = structs.replace(self.now, raw_ms=self.now.raw_ms + ms)

    # --- what the session does ----------------------------------------------------------------------------------------

    def connects(self) -> Hello:
        """It asks for a connection, which it gets, and says hello."""
        assert self.core.take_connect(self.now), "it asks for a connection"
        return self.core.hello()

    def sends(self) -> Heartbeat:
        """The heartbeat it sends now."""
        heartbeat = self.core.advance(self.now)
        assert heartbeat is not None, "a heartbeat is due"
        return heartbeat

    def is_silent(self) -> bool:
        """Whether it sends nothing now."""
        return self.core.advance(self.now) is None

    # --- what the broker says -----------------------------------------------------------------------------------------

    def hears(self, message: BrokerMessage) -> Hello | None:
        """A message comes on the control channel."""
        return self.core.receive(message, self.now)

    def welcome(self, *, history_id: str = HISTORY, session: int = SESSION, lease_ms: int = 0) -> None:
        """The broker accepts the connection."""
        lease_ms = lease_ms or self.core.lease_ms
        self.hears(
            Welcome(
                version=PROTOCOL_VERSION,
                history_id=history_id,
                revision=SESSION,
                session=session,
                lease_ms=lease_ms,
                heartbeat_interval_ms=heartbeat_interval_ms(lease_ms),
            )
        )

    def answer(
        self,
        heartbeat: Heartbeat,
        *confirmed: int,
        given_up: tuple[int, ...] = (),
        statements: tuple[RoleStatement, ...] = (),
        revision: int = SESSION,
        asked: tuple[StepDown, ...] = (),
    ) -> None:
        """The broker answers a heartbeat and confirms these epochs."""
        self.hears(
            HeartbeatAck(
                session=SESSION,
                sequence=heartbeat.sequence,
                revision=revision,
                confirmed=confirmed,
                given_up=given_up,
                statements=statements,
                asked=asked,
            )
        )

    def state(self, number: int, role: ServiceRole | None, revision: int, epoch: int = 0) -> None:
        """The broker says what role a registration has."""
        self.hears(RoleStatements(statements=(statement(number, role, revision, epoch),)))

    def ask_to_resign(self, number: int, epoch: int, drain_ms: int = 0) -> None:
        """Somebody asks for the end of a tenure."""
        self.hears(StepDown(registration_id=number, epoch=epoch, drain_ms=drain_ms))

    def refuse(self, code: ErrorCode) -> Hello | None:
        """The broker refuses what came last on the control channel."""
        return self.hears(ErrorReply(error=ErrorInfo(code=code, message="because")))

    # --- scenes that many tests begin with ----------------------------------------------------------------------------

    def open(self) -> None:
        """The session is open, and its first heartbeat was answered at once."""
        self.connects()
        self.welcome()
        self.answer(self.sends())

    def adopts(
        self,
        number: int,
        role: ServiceRole,
        epoch: int = 0,
        revision: int = 0,
        hold_limit_ms: int = 0,
        previous_epoch: int = 1,
    ) -> Held:
        """The answer to a registration comes on the request channel."""
        registered = Registered(
            registration_id=number,
            resource_id="r",
            role=role,
            epoch=epoch,
            revision=revision or epoch or number,
            hold_limit_ms=hold_limit_ms,
            previous_epoch=previous_epoch if epoch else 0,
        )
        return self.core.adopt(registered, self.now)

    def active(self, number: int = 10, hold_limit_ms: int = 0) -> Held:
        """The session is open, and active under an epoch that is its registration's number; the broker was told so."""
        self.open()
        held = self.adopts(number, ACTIVE, epoch=number, hold_limit_ms=hold_limit_ms)
        assert self.holds(held)
        self.answer(self.sends(), number)
        return held

    def holds(self, held: Held) -> bool:
        """Whether the application would be told now that it is active."""
        return held.standing.is_active(self.now)

    def given_up(self) -> set[int]:
        """The epochs it would name in a heartbeat now."""
        return set(self.core.given_up)


def statement(number: int, role: ServiceRole | None, revision: int, epoch: int = 0) -> RoleStatement:
    """What the broker says of a registration."""
    return RoleStatement(registration_id=number, role=role, epoch=epoch, revision=revision)
