"""A hold limit is a second, longer lease: of one tenure, in the same formula, fixed by what granted it."""

from __future__ import annotations

from tenure.contract.limits import CLOCK_DRIFT_PPM
from tenure.contract.messages import RoleStatement, RoleStatements
from tenure.sdk.heartbeats import ConnectionState
from tests.unit.session_stage import ACTIVE, INTERVAL_MS, STANDBY, VALID_MS, Stage, statement

HOLD_MS = 30_000
HELD_MS = HOLD_MS * (1 - CLOCK_DRIFT_PPM / 1_000_000)


def test_a_tenure_with_a_hold_limit_outlasts_the_lease_by_exactly_that() -> None:
    """★ From the send time of the newest answered heartbeat, less what clocks may drift over that time."""
    stage = Stage()
    held = stage.active(hold_limit_ms=HOLD_MS)
    sent = stage.now

    assert held.standing.valid_until == sent.later(HELD_MS)
    stage.wait(HELD_MS - 0.5)
    stage.core.advance(stage.now)
    assert stage.holds(held)
    stage.wait(0.5)
    assert not stage.holds(held)
    stage.core.advance(stage.now)
    assert stage.given_up() == {10}


def test_the_other_tenures_of_the_session_end_with_the_lease() -> None:
    """Each has a limit of its own; one that is held does not keep another."""
    stage = Stage()
    held = stage.active(10, hold_limit_ms=HOLD_MS)
    plain = stage.adopts(11, ACTIVE, epoch=11)
    stage.answer(stage.sends(), 10, 11)

    stage.wait(VALID_MS)
    stage.core.advance(stage.now)

    assert (stage.holds(held), stage.holds(plain)) == (True, False)
    assert stage.given_up() == {11}


def test_an_answer_in_time_brings_the_session_back_as_it_is() -> None:
    """★ The broker was away for ten leases: the tenure that was held goes on, and what ran out stands by."""
    stage = Stage()
    held = stage.active(10, hold_limit_ms=HOLD_MS)
    plain = stage.adopts(11, ACTIVE, epoch=11)
    stage.wait(10 * VALID_MS)
    stage.core.lose_connection()
    stage.connects()
    stage.welcome()
    heartbeat, sent = stage.sends(), stage.now
    assert [one.epoch for one in heartbeat.given_up] == [11]

    stage.answer(heartbeat, 10, given_up=(11,), statements=(statement(11, STANDBY, 20),), revision=20)

    assert held.standing.valid_until == sent.later(HELD_MS)
    assert not stage.holds(plain)
    assert stage.given_up() == set()


def test_the_limit_is_that_of_the_statement_that_granted_the_tenure() -> None:
    """A promotion says its limit; a shorter one than the lease does not shorten the lease."""
    stage = Stage()
    stage.open()
    first, second = stage.adopts(10, STANDBY), stage.adopts(11, STANDBY)
    sent = stage.now

    stage.hears(
        RoleStatements(
            statements=(
                RoleStatement(registration_id=10, role=ACTIVE, epoch=12, revision=12, hold_limit_ms=HOLD_MS),
                RoleStatement(registration_id=11, role=ACTIVE, epoch=13, revision=13, hold_limit_ms=1),
            )
        )
    )

    assert first.standing.valid_until == sent.later(HELD_MS)
    assert second.standing.valid_until == sent.later(VALID_MS)


def test_a_tenure_that_is_renewed_no_more_is_not_renewed_by_being_said_anew() -> None:
    """★ The broker revokes: answers do not name the epoch. A newer statement about the same tenure extends nothing."""
    stage = Stage()
    held = stage.active()
    until = held.standing.valid_until
    stage.wait(INTERVAL_MS)
    stage.answer(stage.sends(), revision=20)

    stage.state(10, ACTIVE, revision=21, epoch=10)
    again = stage.adopts(10, ACTIVE, epoch=10, revision=22)

    assert again is held
    assert held.standing.valid_until == until
    stage.wait(VALID_MS - INTERVAL_MS)
    stage.core.advance(stage.now)
    assert not stage.holds(held)


def test_a_grant_that_comes_after_an_answer_which_knew_of_it_and_did_not_name_it_is_not_entered() -> None:
    """★ Granted, then revoked, and the answer to the registration comes last: the broker counts from before that."""
    stage = Stage()
    stage.open()
    stage.wait(INTERVAL_MS)
    stage.answer(stage.sends(), revision=12)

    held = stage.adopts(10, ACTIVE, epoch=10)

    assert not stage.holds(held)
    stage.wait(INTERVAL_MS)
    stage.answer(stage.sends(), 10, revision=12)
    assert stage.holds(held)


def test_a_grant_that_comes_after_an_answer_which_named_it_is_entered() -> None:
    """The answer to the registration was overtaken by one to a heartbeat, which has confirmed the tenure already."""
    stage = Stage()
    stage.open()
    stage.wait(INTERVAL_MS)
    sent = stage.now
    stage.answer(stage.sends(), 10, revision=12)

    held = stage.adopts(10, ACTIVE, epoch=10)

    assert held.standing.valid_until == sent.later(VALID_MS)


# --- how it stands with the broker ------------------------------------------------------------------------------------


def test_connected_suspended_and_lost_are_told_apart() -> None:
    """★ Answers, then none on the present connection, then none for a lease, and back; the core wakes for each."""
    stage = Stage()
    assert stage.core.connection_state(stage.now) is ConnectionState.LOST
    held = stage.active(hold_limit_ms=HOLD_MS)
    assert stage.core.connection_state(stage.now) is ConnectionState.CONNECTED

    stage.core.lose_connection()
    assert stage.core.connection_state(stage.now) is ConnectionState.SUSPENDED
    stage.wait(VALID_MS - 1)
    assert stage.core.connection_state(stage.now) is ConnectionState.SUSPENDED
    assert 0 < stage.core.next_wake_ms(stage.now) <= 1.001

    stage.wait(1)
    assert stage.core.connection_state(stage.now) is ConnectionState.LOST
    assert stage.core.next_wake_ms(stage.now) > 1
    assert stage.holds(held)

    stage.connects()
    stage.welcome()
    stage.answer(stage.sends(), 10)
    assert stage.core.connection_state(stage.now) is ConnectionState.CONNECTED
    stage.core.end("its client was closed")
    assert stage.core.connection_state(stage.now) is ConnectionState.LOST
