"""A tenure that was left is never entered again, and statements about roles are taken in by their revision."""

from __future__ import annotations

from tenure.contract.messages import RoleStatements
from tenure.sdk.session import Phase
from tests.unit.session_stage import ACTIVE, INTERVAL_MS, STANDBY, VALID_MS, Stage, statement


def test_a_resignation_is_marked_before_it_is_sent() -> None:
    """★ From the step down on it is not active, and the epoch is what the request has to name."""
    stage = Stage()
    held = stage.active()

    epoch = stage.core.step_down(held, "it resigned", declined=True)

    assert epoch == 10
    assert not stage.holds(held)
    assert held.standing.why == "it resigned"
    stage.wait(INTERVAL_MS)
    assert [(one.epoch, one.declined) for one in stage.sends().given_up] == [(10, True)]


def test_a_tenure_that_is_left_without_a_request_is_told_of_at_once() -> None:
    """Nothing but a heartbeat tells the broker: it does not wait for its turn, which with a long lease is far away."""
    stage = Stage()
    held = stage.active()
    assert stage.is_silent()

    stage.core.step_down(held, "its work was stopped", declined=False)

    assert stage.core.next_wake_ms(stage.now) == 0
    assert [(one.epoch, one.declined) for one in stage.sends().given_up] == [(10, False)]
    assert stage.is_silent()


def test_a_standby_has_nothing_to_step_down_from() -> None:
    """Stepping down without a tenure changes nothing and names no epoch."""
    stage = Stage()
    stage.open()
    held = stage.adopts(10, STANDBY)

    assert stage.core.step_down(held, "it resigned", declined=True) == 0
    assert stage.given_up() == set()


def test_a_tenure_that_was_left_is_not_entered_again_by_a_late_grant() -> None:
    """★ It stepped down; the broker's word that it is active, sent before it knew, comes with a newer revision."""
    stage = Stage()
    held = stage.active()
    stage.core.step_down(held, "it resigned", declined=True)

    stage.state(10, ACTIVE, revision=11, epoch=10)

    assert not stage.holds(held)
    assert held.standing.role is STANDBY
    assert stage.given_up() == {10}


def test_a_tenure_that_was_left_is_not_entered_again_by_a_confirmation() -> None:
    """★ It stepped down while a heartbeat was under way, whose answer still confirms the epoch."""
    stage = Stage()
    held = stage.active()
    stage.wait(INTERVAL_MS)
    heartbeat = stage.sends()
    stage.core.step_down(held, "it resigned", declined=True)

    stage.answer(heartbeat, 10)

    assert not stage.holds(held)


def test_a_tenure_that_ran_out_is_not_entered_again_by_asking_again() -> None:
    """★ It registers again, and the broker, which does not know yet that the lease ran out, says active as before."""
    stage = Stage()
    held = stage.active()
    stage.wait(VALID_MS)
    stage.core.advance(stage.now)

    again = stage.adopts(10, ACTIVE, epoch=10)

    assert again is held
    assert not stage.holds(held)


def test_what_was_left_while_no_heartbeat_could_go_out_is_told_with_how_long_ago() -> None:
    """★ Work was stopped without a broker: the time is noted when it is told next, not when a heartbeat goes out."""
    stage = Stage()
    held = stage.active()
    stage.core.lose_connection()
    stage.core.step_down(held, "its work was stopped", declined=False)
    assert stage.is_silent()
    stage.wait(20_000)
    stage.connects()
    stage.welcome()

    assert [(one.epoch, one.ago_ms) for one in stage.sends().given_up] == [(10, 20_000)]


def test_a_later_tenure_of_the_same_registration_is_entered() -> None:
    """The same instance may win again, under a new epoch; with that the old one is known to be over."""
    stage = Stage()
    held = stage.active()
    stage.core.step_down(held, "its lease ran out", declined=False)

    stage.state(10, ACTIVE, revision=15, epoch=15)

    assert stage.holds(held)
    assert held.standing.epoch == 15
    assert stage.given_up() == set()


def test_the_word_that_it_stands_by_ends_the_naming_of_what_it_gave_up() -> None:
    """The answer to a resignation is as good as that to a heartbeat: the epoch need not be named any more."""
    stage = Stage()
    held = stage.active()
    stage.core.step_down(held, "it resigned", declined=True)

    stage.core.apply(statement(10, STANDBY, 11), stage.now)

    assert stage.given_up() == set()
    assert held.standing.why == "it resigned"


def test_a_tenure_that_the_broker_ended_is_not_entered_again() -> None:
    """★ The broker says standby, and an older grant of the same epoch under a newer number does not bring it back."""
    stage = Stage()
    held = stage.active()

    stage.state(10, STANDBY, revision=12)
    assert not stage.holds(held)
    assert held.standing.why == "the broker has ended its tenure"

    stage.state(10, ACTIVE, revision=13, epoch=10)
    assert not stage.holds(held)


def test_a_registration_that_ended_is_not_brought_back_by_a_late_reply() -> None:
    """★ It deregistered while an earlier request for the same registration was under way, which was answered first."""
    stage = Stage()
    held = stage.active()
    assert stage.core.end_registration(held, "it was deregistered") == 10

    late = stage.adopts(10, ACTIVE, epoch=10)

    assert late is held
    assert not stage.holds(late)
    assert late.standing.is_ended
    assert stage.given_up() == {10}


def test_a_registration_that_ended_is_forgotten_with_the_brokers_answer() -> None:
    """Once the broker has answered, neither the registration nor its epoch is kept; statements on it are harmless."""
    stage = Stage()
    held = stage.active()
    stage.core.end_registration(held, "it was deregistered")

    stage.core.forget(held)

    assert stage.core.registrations == {}
    assert stage.given_up() == set()
    stage.state(10, ACTIVE, revision=12, epoch=12)
    assert held.standing.is_ended


def test_the_end_of_a_standby_names_no_epoch() -> None:
    """A standby that leaves gives up nothing, and says why it is over."""
    stage = Stage()
    stage.open()
    held = stage.adopts(10, STANDBY)

    assert stage.core.end_registration(held, "it was deregistered") == 0

    assert held.standing.is_ended
    assert held.standing.why == "it was deregistered"
    assert stage.given_up() == set()


def test_a_registration_that_the_broker_ended_stays_ended() -> None:
    """★ The broker says that it is gone; what it said of it before comes later and changes nothing."""
    stage = Stage()
    held = stage.active()

    stage.state(10, None, revision=14)
    assert held.standing.is_ended
    assert not stage.holds(held)

    stage.state(10, ACTIVE, revision=15, epoch=15)
    late = stage.adopts(10, ACTIVE, epoch=10)
    assert late.standing.is_ended
    assert not stage.holds(late)


def test_a_reply_that_comes_after_the_end_of_the_session_makes_nothing_active() -> None:
    """★ It said goodbye while a registration was under way: the late answer belongs to a session that is over."""
    stage = Stage()
    stage.open()
    stage.core.end("its client was closed")

    late = stage.adopts(10, ACTIVE, epoch=10)

    assert late.standing.is_ended
    assert not stage.holds(late)
    assert stage.core.registrations == {}


def test_the_end_of_a_session_ends_every_role_and_happens_once() -> None:
    """Every registration is over; the first reason stays."""
    stage = Stage()
    held, standby = stage.active(10), stage.adopts(11, STANDBY)
    left = stage.adopts(12, STANDBY)
    stage.core.end_registration(left, "it was deregistered")

    stage.core.end("its client was closed")
    stage.core.end("something else")

    assert stage.core.phase is Phase.ENDED
    assert not stage.holds(held)
    assert (held.standing.why, standby.standing.why) == ("its client was closed", "its client was closed")
    assert left.standing.why == "it was deregistered"
    assert held.standing.is_ended
    assert standby.standing.is_ended
    assert stage.is_silent()
    assert not stage.core.take_connect(stage.now)
    assert stage.core.next_wake_ms(stage.now) > 0
    stage.state(10, ACTIVE, revision=20, epoch=20)
    assert not stage.holds(held)


# --- statements -------------------------------------------------------------------------------------------------------


def test_a_statement_that_is_not_newer_is_ignored() -> None:
    """★ Two channels reorder: of two statements the one with the greater revision stays, whichever comes last."""
    stage = Stage()
    held = stage.active()
    stage.state(10, STANDBY, revision=12)

    stage.state(10, ACTIVE, revision=11, epoch=11)
    stage.state(10, ACTIVE, revision=12, epoch=12)

    assert not stage.holds(held)
    assert held.standing.revision == 12


def test_a_statement_that_overtakes_the_reply_is_kept_for_it() -> None:
    """★ The promotion comes on the control channel before the answer to the registration on the other."""
    stage = Stage()
    stage.open()

    stage.state(10, ACTIVE, revision=12, epoch=12)
    held = stage.adopts(10, STANDBY)

    assert stage.holds(held)
    assert held.standing.epoch == 12


def test_of_statements_that_overtake_the_reply_the_newest_is_kept() -> None:
    """★ Promoted and demoted before the answer came, and told in the wrong order: it stands by."""
    stage = Stage()
    stage.open()

    stage.hears(RoleStatements(statements=(statement(10, STANDBY, 13), statement(10, ACTIVE, 12, epoch=12))))
    held = stage.adopts(10, STANDBY)

    assert held.standing.role is STANDBY
    assert held.standing.revision == 13


def test_a_reply_that_is_newer_than_what_overtook_it_counts() -> None:
    """The registration was asked for again, and that answer knows more than the statement that was kept."""
    stage = Stage()
    stage.open()
    stage.state(10, ACTIVE, revision=12, epoch=12)

    held = stage.adopts(10, STANDBY, revision=14)

    assert held.standing.role is STANDBY
    assert held.standing.revision == 14


def test_what_is_kept_for_replies_is_bounded() -> None:
    """Statements about registrations that never come are forgotten, the oldest first."""
    stage = Stage()
    stage.open()
    many = 10_000

    stage.hears(RoleStatements(statements=tuple(statement(n, ACTIVE, n + 1, epoch=n + 1) for n in range(many + 1))))

    assert not stage.holds(stage.adopts(0, STANDBY, revision=0))
    assert stage.holds(stage.adopts(many, STANDBY, revision=1))


def test_heartbeats_say_how_far_statements_were_applied() -> None:
    """What an answer brought is not asked for again; what a push brought may be told twice."""
    stage = Stage()
    stage.open()
    stage.adopts(10, STANDBY)
    stage.state(10, ACTIVE, revision=12, epoch=12)
    stage.wait(INTERVAL_MS)

    heartbeat = stage.sends()
    assert (heartbeat.applied_revision, heartbeat.last_revision) == (7, 12)

    stage.answer(heartbeat, 12, revision=12)
    stage.wait(INTERVAL_MS)
    assert stage.sends().applied_revision == 12
