"""How long a session may believe in its roles: a lease from the send time of an answered heartbeat, on both clocks."""

from __future__ import annotations

import pytest

from tenure.contract.messages import HeartbeatAck
from tests.unit.session_stage import ACTIVE, INTERVAL_MS, LEASE_MS, SESSION, STANDBY, VALID_MS, Stage, statement


def test_a_role_is_valid_for_a_lease_from_the_send_time_of_the_answered_heartbeat() -> None:
    """★ The answer took 300 ms; the lease runs from when the heartbeat was sent, less what clocks may drift."""
    stage = Stage()
    stage.connects()
    stage.welcome()
    heartbeat = stage.sends()
    sent = stage.now
    stage.wait(300)
    stage.answer(heartbeat)

    held = stage.adopts(10, ACTIVE, epoch=10)

    assert held.standing.valid_until == sent.later(VALID_MS)
    assert VALID_MS == LEASE_MS * 0.999
    stage.wait(VALID_MS - 300 - 0.1)
    assert stage.holds(held)
    stage.wait(0.1)
    assert not stage.holds(held)


def test_sending_extends_nothing() -> None:
    """★ Heartbeats leave for a whole lease and are never answered: the role ends when the answered one's lease does."""
    stage = Stage()
    held = stage.active()
    until = held.standing.valid_until

    for _ in range(2):
        stage.wait(INTERVAL_MS)
        stage.sends()
        assert held.standing.valid_until == until
    stage.wait(VALID_MS - 2 * INTERVAL_MS)

    assert not stage.holds(held)


def test_an_answer_extends_from_its_own_heartbeat_and_not_from_a_later_one() -> None:
    """★ Two heartbeats are under way; the first one's answer counts from the first one's send time."""
    stage = Stage()
    held = stage.active()
    stage.wait(INTERVAL_MS)
    first, first_sent = stage.sends(), stage.now
    stage.wait(INTERVAL_MS)
    stage.sends()
    stage.wait(10)

    stage.answer(first, 10)

    assert held.standing.valid_until == first_sent.later(VALID_MS)


def test_answers_that_come_in_the_wrong_order_shorten_nothing() -> None:
    """The second heartbeat's answer overtakes the first one's, which is then ignored."""
    stage = Stage()
    held = stage.active()
    stage.wait(INTERVAL_MS)
    first = stage.sends()
    stage.wait(INTERVAL_MS)
    second, second_sent = stage.sends(), stage.now

    stage.answer(second, 10)
    stage.answer(first, 10)

    assert held.standing.valid_until == second_sent.later(VALID_MS)


def test_an_answer_that_comes_twice_counts_once() -> None:
    """A duplicate of an answer changes nothing, however late it comes."""
    stage = Stage()
    held = stage.active()
    stage.wait(INTERVAL_MS)
    heartbeat = stage.sends()
    stage.answer(heartbeat, 10)
    until = held.standing.valid_until
    stage.wait(100)

    stage.answer(heartbeat, 10)

    assert held.standing.valid_until == until


def test_an_answer_to_a_heartbeat_of_an_earlier_connection_extends_nothing() -> None:
    """What was under way on a connection that was given up is as good as lost."""
    stage = Stage()
    held = stage.active()
    until = held.standing.valid_until
    stage.wait(INTERVAL_MS)
    heartbeat = stage.sends()
    stage.core.lose_connection()

    stage.answer(heartbeat, 10)

    assert held.standing.valid_until == until


def test_an_answer_for_another_session_extends_nothing() -> None:
    """An acknowledgement has to name this session."""
    stage = Stage()
    held = stage.active()
    until = held.standing.valid_until
    stage.wait(INTERVAL_MS)
    heartbeat = stage.sends()

    stage.hears(HeartbeatAck(session=SESSION + 1, sequence=heartbeat.sequence, revision=7, confirmed=(10,)))

    assert held.standing.valid_until == until


def test_an_answer_that_does_not_name_the_epoch_extends_nothing() -> None:
    """★ Only tenures that the broker confirms go on; another one of the same session ends."""
    stage = Stage()
    kept = stage.active(10)
    lost = stage.adopts(11, ACTIVE, epoch=11)
    until = lost.standing.valid_until
    stage.wait(INTERVAL_MS)
    sent = stage.now

    stage.answer(stage.sends(), 10)

    assert kept.standing.valid_until == sent.later(VALID_MS)
    assert lost.standing.valid_until == until


def test_an_epoch_confirmed_for_a_standby_makes_it_nothing() -> None:
    """A confirmation is no statement: a registration that stands by goes on standing by."""
    stage = Stage()
    stage.open()
    held = stage.adopts(10, STANDBY)
    stage.wait(INTERVAL_MS)

    stage.answer(stage.sends(), 10)

    assert not stage.holds(held)
    assert held.standing.role is STANDBY


def test_a_new_tenure_begins_with_the_newest_answered_heartbeat() -> None:
    """A session whose heartbeats are answered is active as soon as it hears of its role, and for what is left."""
    stage = Stage()
    stage.open()
    sent = stage.now
    stage.wait(150)

    held = stage.adopts(10, ACTIVE, epoch=10)

    assert stage.holds(held)
    assert held.standing.valid_until == sent.later(VALID_MS)
    assert held.standing.why == ""


def test_a_new_tenure_waits_for_the_first_answered_heartbeat() -> None:
    """Without an answered heartbeat a role is not entered, only then."""
    stage = Stage()
    stage.connects()
    stage.welcome()
    heartbeat = stage.sends()
    held = stage.adopts(10, ACTIVE, epoch=10)
    assert not stage.holds(held)
    assert held.standing.why == "no heartbeat has confirmed the role yet"
    stage.core.changed.clear()

    stage.answer(heartbeat, 10)

    assert stage.holds(held)
    assert stage.core.changed == [held]


def test_a_grant_that_comes_after_the_lease_is_not_entered_until_it_is_confirmed() -> None:
    """The newest answered heartbeat is more than a lease ago when the grant comes: the broker may have moved on."""
    stage = Stage()
    stage.open()
    stage.wait(VALID_MS)

    held = stage.adopts(10, ACTIVE, epoch=10)

    assert not stage.holds(held)
    assert stage.given_up() == set()
    stage.answer(stage.sends(), 10)
    assert stage.holds(held)


@pytest.mark.parametrize("passes", ["suspend", "slew"])
def test_either_clock_alone_ends_a_role(passes: str) -> None:
    """★ A machine that was suspended, or a clock that was slowed down: whichever shows that the lease is over."""
    stage = Stage()
    held = stage.active()

    getattr(stage, passes)(VALID_MS)

    assert not stage.holds(held)
    stage.core.advance(stage.now)
    assert stage.given_up() == {10}
    assert held.standing.role is STANDBY


def test_a_role_that_ran_out_is_given_up_and_named_until_that_is_acknowledged() -> None:
    """★ Time ran out: the epoch is in every heartbeat until an answer says that its end is durable."""
    stage = Stage()
    held = stage.active()
    stage.wait(VALID_MS)
    heartbeat = stage.sends()

    assert held.standing.why == "its lease ran out before a heartbeat was answered"
    assert [(one.epoch, one.declined) for one in heartbeat.given_up] == [(10, False)]

    stage.answer(heartbeat, given_up=())
    stage.wait(INTERVAL_MS)
    heartbeat = stage.sends()
    assert [one.epoch for one in heartbeat.given_up] == [10]

    stage.answer(heartbeat, given_up=(10,))
    stage.wait(INTERVAL_MS)
    assert stage.sends().given_up == ()


@pytest.mark.parametrize("passes", ["wait", "suspend", "slew"])
def test_how_long_ago_a_role_ran_out_is_told_with_it(passes: str) -> None:
    """★ By the clock that went on, from the end of its validity on, however late that is noticed, as often as told."""
    stage = Stage()
    stage.active()
    getattr(stage, passes)(VALID_MS + 39_000)
    stage.wait(INTERVAL_MS)
    first = stage.sends()
    stage.wait(INTERVAL_MS)
    again = stage.sends()

    given_up = (*first.given_up, *again.given_up)
    assert [one.ago_ms for one in given_up] == [39_000 + INTERVAL_MS, 39_000 + 2 * INTERVAL_MS]


def test_an_answer_that_comes_after_the_end_revives_nothing() -> None:
    """★ The answer that would have renewed the role comes too late, confirms it, and the role stays left."""
    stage = Stage()
    held = stage.active()
    stage.wait(INTERVAL_MS)
    heartbeat = stage.sends()
    stage.wait(VALID_MS - INTERVAL_MS)

    stage.answer(heartbeat, 10)

    assert not stage.holds(held)
    assert stage.given_up() == {10}


def test_what_runs_out_is_noticed_by_itself_in_time() -> None:
    """The core asks to be woken no later than at the end of the first tenure that may run out."""
    stage = Stage()
    first = stage.active(10)
    stage.adopts(11, STANDBY)
    stage.wait(INTERVAL_MS)
    heartbeat = stage.sends()
    stage.answer(heartbeat, 10)
    stage.wait(INTERVAL_MS - 1)
    assert stage.core.next_wake_ms(stage.now) == 1

    stage.core.lose_connection()
    stage.wait(VALID_MS - 2 * INTERVAL_MS)
    assert stage.core.next_wake_ms(stage.now) == pytest.approx(1)
    stage.wait(1)
    stage.core.advance(stage.now)  # where the tenure once would have ended, and does not any more
    assert stage.holds(first)
    assert 0 < stage.core.next_wake_ms(stage.now) <= INTERVAL_MS
    stage.wait(INTERVAL_MS)
    stage.core.advance(stage.now)
    assert first.standing.role is STANDBY


def test_tenures_that_go_on_survive_the_end_of_one_that_does_not() -> None:
    """One tenure runs out unconfirmed while another was renewed: only the first is given up."""
    stage = Stage()
    kept = stage.active(10)
    lost = stage.adopts(11, ACTIVE, epoch=11)
    stage.wait(INTERVAL_MS)
    stage.answer(stage.sends(), 10)
    stage.wait(VALID_MS - INTERVAL_MS)

    stage.core.advance(stage.now)

    assert stage.holds(kept)
    assert lost.standing.role is STANDBY
    assert stage.given_up() == {11}


def test_the_lease_in_force_is_the_one_that_the_broker_says() -> None:
    """A session that goes on has the lease of its first hello, whatever this connection asked for."""
    stage = Stage(lease_ms=10_000)
    stage.connects()
    stage.welcome(lease_ms=1_000)
    sent = stage.now
    stage.answer(stage.sends())

    held = stage.adopts(10, ACTIVE, epoch=10)

    assert held.standing.valid_until == sent.later(999)
    stage.answer(stage.sends(), 10)
    stage.wait(199)
    assert stage.is_silent()
    stage.wait(1)
    stage.sends()


def test_statements_in_an_answer_are_applied_before_it_confirms() -> None:
    """A grant and its confirmation in one answer make the role active from that heartbeat."""
    stage = Stage()
    stage.open()
    held = stage.adopts(10, STANDBY)
    stage.wait(INTERVAL_MS)
    heartbeat, sent = stage.sends(), stage.now

    stage.answer(heartbeat, 12, statements=(statement(10, ACTIVE, 12, epoch=12),), revision=12)

    assert stage.holds(held)
    assert held.standing.valid_until == sent.later(VALID_MS)
    stage.wait(INTERVAL_MS)
    assert stage.sends().applied_revision == 12
