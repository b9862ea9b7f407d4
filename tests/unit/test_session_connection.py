"""A session's connections: made anew when they are of no use, always with a hello, and the session stays the same."""

from __future__ import annotations

import pytest

from tenure.contract.errors import (
    ErrorCode,
    ForbiddenError,
    LimitExceededError,
    SessionExpiredError,
    StoreRolledBackError,
    UnsupportedVersionError,
)
from tenure.contract.messages import Closing, Farewell
from tenure.contract.vocabulary import Channel, ServiceStatus
from tenure.sdk.session import Phase
from tests.unit.session_stage import ACTIVE, HISTORY, INTERVAL_MS, LEASE_MS, SESSION, SESSION_ID, VALID_MS, Stage


def test_a_session_opens_with_a_hello_and_is_connected_with_the_first_answer() -> None:
    """It asks for a connection once, introduces itself, and counts as connected when a heartbeat was answered."""
    stage = Stage()
    hello = stage.connects()
    assert not stage.core.take_connect(stage.now)
    assert (hello.session_id, hello.channel, hello.connection) == (SESSION_ID, Channel.CONTROL, 1)
    assert (hello.resume, hello.history_id, hello.lease_ms) == (False, None, LEASE_MS)
    assert stage.is_silent()

    stage.welcome()
    assert (stage.core.phase, stage.core.is_connected) == (Phase.OPEN, False)
    assert stage.core.next_wake_ms(stage.now) == 0

    heartbeat = stage.sends()
    assert (heartbeat.sequence, heartbeat.status) == (1, ServiceStatus.HEALTHY)
    stage.answer(heartbeat)
    assert stage.core.is_connected


def test_heartbeats_go_out_each_interval_and_carry_the_status() -> None:
    """Five times per lease, not sooner, and with what the application reports of itself."""
    stage = Stage()
    stage.open()
    stage.core.status = ServiceStatus.DEGRADED
    stage.wait(INTERVAL_MS - 1)
    assert stage.is_silent()
    assert stage.core.next_wake_ms(stage.now) == 1

    stage.wait(1)

    heartbeat = stage.sends()
    assert (heartbeat.sequence, heartbeat.status) == (2, ServiceStatus.DEGRADED)


def test_two_heartbeats_without_an_answer_ask_for_a_new_connection() -> None:
    """★ The second has had its interval too: the connection is given up, and the next hello is the same session's."""
    stage = Stage()
    held = stage.active()
    for _ in range(2):
        stage.wait(INTERVAL_MS)
        stage.sends()
    assert not stage.core.take_connect(stage.now)
    stage.wait(INTERVAL_MS)

    assert stage.is_silent()
    assert not stage.core.is_connected
    hello = stage.connects()

    assert (hello.connection, hello.session_id, hello.resume) == (2, SESSION_ID, True)
    assert (hello.history_id, hello.last_revision) == (HISTORY, 10)
    assert stage.holds(held)


def test_a_broker_that_is_away_for_less_than_the_lease_costs_nothing() -> None:
    """★ Silence, a new connection, an answer: the role goes on under the same epoch, without a gap."""
    stage = Stage()
    held = stage.active()
    for _ in range(3):
        stage.wait(INTERVAL_MS)
        stage.core.advance(stage.now)
        assert stage.holds(held)
    stage.connects()
    stage.wait(300)
    stage.welcome()
    heartbeat, sent = stage.sends(), stage.now
    assert heartbeat.given_up == ()

    stage.answer(heartbeat, 10)

    assert stage.holds(held)
    assert held.standing.epoch == 10
    assert held.standing.valid_until == sent.later(VALID_MS)
    assert stage.core.is_connected


def test_a_welcome_alone_does_not_connect_again() -> None:
    """After a reconnection a heartbeat has to be answered before the session counts as connected."""
    stage = Stage()
    stage.open()
    stage.core.lose_connection()
    stage.connects()
    stage.welcome()
    assert not stage.core.is_connected

    stage.answer(stage.sends())

    assert stage.core.is_connected


def test_a_connection_that_is_not_welcomed_is_tried_again() -> None:
    """Nothing answers: another connection is asked for after the interval, again and again."""
    stage = Stage()
    stage.connects()
    for number in (2, 3):
        stage.wait(INTERVAL_MS - 1)
        assert stage.is_silent()
        assert not stage.core.take_connect(stage.now)
        assert stage.core.next_wake_ms(stage.now) == INTERVAL_MS  # at the latest
        stage.wait(1)
        assert stage.is_silent()
        assert stage.connects().connection == number


@pytest.mark.parametrize(("lease_ms", "patience_ms"), [(200, 100), (600_000, 1_000)])
def test_patience_with_a_connection_is_bounded(lease_ms: int, patience_ms: int) -> None:
    """Neither does a short lease make connections flap nor a long one wait for minutes."""
    stage = Stage(lease_ms=lease_ms)
    stage.connects()
    stage.wait(patience_ms - 1)
    stage.core.advance(stage.now)
    assert not stage.core.take_connect(stage.now)

    stage.wait(1)
    stage.core.advance(stage.now)

    assert stage.core.take_connect(stage.now)


def test_nothing_is_tried_before_it_was_asked_for() -> None:
    """Time passes before the shell has made the first connection: the wish for one stays."""
    stage = Stage()
    stage.wait(10_000)
    assert stage.is_silent()

    assert stage.connects().connection == 1


def test_hello_required_is_answered_with_a_hello_of_a_higher_number() -> None:
    """★ The broker has forgotten the connection: hello is said on it again, and no other one is made."""
    stage = Stage()
    held = stage.active()
    stage.wait(INTERVAL_MS)
    stage.sends()

    hello = stage.refuse(ErrorCode.HELLO_REQUIRED)

    assert hello is not None
    assert (hello.connection, hello.resume) == (2, True)
    assert not stage.core.take_connect(stage.now)
    assert stage.is_silent()
    stage.welcome()
    stage.answer(stage.sends(), 10)
    assert stage.holds(held)

    assert stage.refuse(ErrorCode.HELLO_REQUIRED) is not None
    stage.wait(INTERVAL_MS)
    stage.core.advance(stage.now)
    assert stage.connects().connection == 4


def test_a_broker_that_leaves_is_looked_for_again() -> None:
    """`closing` gives the connection up at once; tenures stay valid until their time is up."""
    stage = Stage()
    held = stage.active()

    stage.hears(Closing())

    assert stage.connects().connection == 2
    assert stage.holds(held)


def test_another_history_ends_the_session() -> None:
    """★ The store was replaced: what its numbers mean is another matter, so every role is over."""
    stage = Stage()
    held = stage.active()
    stage.core.lose_connection()
    stage.connects()

    stage.welcome(history_id="history-2")

    assert stage.core.phase is Phase.ENDED
    assert isinstance(stage.core.error, SessionExpiredError)
    assert not stage.holds(held)
    assert held.standing.is_ended
    assert stage.given_up() == {10}


def test_session_expired_ends_everything() -> None:
    """★ The broker has ended the session: no role is held, and the error says why."""
    stage = Stage()
    held = stage.active()

    stage.refuse(ErrorCode.SESSION_EXPIRED)

    assert stage.core.phase is Phase.ENDED
    assert isinstance(stage.core.error, SessionExpiredError)
    assert not stage.holds(held)
    assert held.standing.why == "the broker has ended its session"
    stage.welcome()
    assert stage.core.phase is Phase.ENDED


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.FORBIDDEN, ForbiddenError),
        (ErrorCode.UNSUPPORTED_VERSION, UnsupportedVersionError),
        (ErrorCode.LIMIT_EXCEEDED, LimitExceededError),
        (ErrorCode.STORE_ROLLED_BACK, StoreRolledBackError),
    ],
)
def test_a_refused_first_hello_ends_the_session_with_the_reason(code: ErrorCode, kind: type[Exception]) -> None:
    """A session that was never open has failed to open."""
    stage = Stage()
    stage.connects()

    stage.refuse(code)

    assert stage.core.phase is Phase.ENDED
    assert isinstance(stage.core.error, kind)


@pytest.mark.parametrize(
    "code", [ErrorCode.FORBIDDEN, ErrorCode.LIMIT_EXCEEDED, ErrorCode.STORE_ROLLED_BACK, ErrorCode.OVERLOADED]
)
def test_a_refusal_later_on_leaves_the_lease_to_decide(code: ErrorCode) -> None:
    """A session that is open keeps its roles and tries on until its lease ends."""
    stage = Stage()
    held = stage.active()
    stage.core.lose_connection()
    stage.connects()

    stage.refuse(code)

    assert stage.core.phase is Phase.OPEN
    assert stage.holds(held)
    stage.wait(INTERVAL_MS)
    stage.core.advance(stage.now)
    assert stage.connects().connection == 3


def test_a_broker_too_busy_for_the_first_hello_is_asked_again() -> None:
    """What will do better later does not end a session that is opening."""
    stage = Stage()
    stage.connects()

    stage.refuse(ErrorCode.OVERLOADED)

    assert stage.core.phase is Phase.OPENING
    stage.wait(INTERVAL_MS)
    stage.core.advance(stage.now)
    assert stage.core.take_connect(stage.now)


def test_messages_that_answer_nothing_asked_here_are_passed_over() -> None:
    """What a newer broker might send on this channel changes nothing."""
    stage = Stage()
    held = stage.active()

    assert stage.hears(Farewell()) is None

    assert stage.holds(held)
    assert stage.core.phase is Phase.OPEN


def test_heartbeats_after_a_long_pause_go_out_one_at_a_time() -> None:
    """A thread that could not run for a while sends one heartbeat, not all it has missed."""
    stage = Stage()
    stage.open()
    stage.adopts(10, ACTIVE, epoch=10)
    stage.wait(4 * INTERVAL_MS)

    assert stage.sends().sequence == 2
    assert stage.is_silent()
    assert stage.core.session == SESSION
