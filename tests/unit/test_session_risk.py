"""What heartbeats say beside keeping the lease: who is at risk, what was entered; and a loop that stands still."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tenure.contract.errors import TenureError
from tenure.sdk.standing import Reading
from tenure.sdk.witness import Witnesses
from tests.unit.session_stage import ACTIVE, INTERVAL_MS, STANDBY, VALID_MS, Stage

STALL_MS = 1_000.0


# --- tenures entered --------------------------------------------------------------------------------------------------


def test_a_tenure_that_was_entered_is_told_at_once_until_that_is_answered() -> None:
    """★ The next heartbeat does not wait for its time; one whose answer is lost is repeated, with how long ago."""
    stage = Stage()
    stage.open()
    stage.adopts(10, ACTIVE, epoch=10)
    assert stage.core.next_wake_ms(stage.now) == 0
    stage.wait(7)

    first = stage.sends()
    assert [(one.epoch, one.ago_ms) for one in first.entered] == [(10, 7)]

    stage.wait(INTERVAL_MS)
    second = stage.sends()
    assert [(one.epoch, one.ago_ms) for one in second.entered] == [(10, 7 + INTERVAL_MS)]
    stage.answer(first, 10)
    stage.wait(INTERVAL_MS)
    assert stage.sends().entered == ()


def test_a_first_tenure_is_no_news_to_the_broker() -> None:
    """★ It follows on nobody, so that there is no gap to tell of: who claims much sends no more heartbeats."""
    stage = Stage()
    stage.open()

    held = stage.adopts(10, ACTIVE, epoch=10, previous_epoch=0)

    assert stage.holds(held)
    assert stage.core.next_wake_ms(stage.now) == INTERVAL_MS
    stage.wait(INTERVAL_MS)
    assert stage.sends().entered == ()


def test_a_promotion_that_overtook_the_answer_is_told_too() -> None:
    """The statement came first, on the other channel: it took the role over, whatever the answer says."""
    stage = Stage()
    stage.open()
    stage.state(10, ACTIVE, 12, epoch=12)

    held = stage.adopts(10, STANDBY)

    assert stage.holds(held)
    assert [one.epoch for one in stage.sends().entered] == [12]


def test_an_answer_acknowledges_only_what_its_heartbeat_told() -> None:
    """★ A second tenure is entered while the heartbeat that told of the first is under way: it is told next."""
    stage = Stage()
    stage.open()
    stage.adopts(10, ACTIVE, epoch=10)
    first = stage.sends()
    stage.adopts(11, ACTIVE, epoch=11)
    assert stage.is_silent()

    stage.answer(first, 10, 11)

    assert [one.epoch for one in stage.sends().entered] == [11]


def test_an_answer_to_a_heartbeat_from_before_acknowledges_nothing() -> None:
    """★ Two are under way, the second tells of a tenure: the answer to the first one does not stand for it."""
    stage = Stage()
    stage.open()
    stage.wait(INTERVAL_MS)
    before = stage.sends()
    stage.adopts(10, ACTIVE, epoch=10)
    stage.wait(INTERVAL_MS)
    assert [one.epoch for one in stage.sends().entered] == [10]

    stage.answer(before, 10)

    stage.wait(INTERVAL_MS)
    assert [one.epoch for one in stage.sends().entered] == [10]


def test_a_tenure_is_entered_with_its_first_validity_and_not_before() -> None:
    """A grant that no answered heartbeat covers yet is told when one does; the clock that counts is the raw one."""
    stage = Stage()
    stage.connects()
    stage.welcome()
    heartbeat = stage.sends()
    stage.adopts(10, ACTIVE, epoch=10)
    stage.wait(50)
    stage.answer(heartbeat, 10)
    stage.slew(3)
    stage.suspend(500)

    assert [(one.epoch, one.ago_ms) for one in stage.sends().entered] == [(10, 3)]


def test_a_tenure_with_too_little_time_left_is_entered_with_the_next_answer() -> None:
    """★ With a hard stop a tenure that begins at the end of a lease would end the process before its first answer."""
    stage = Stage(entry_margin_ms=200)
    stage.open()
    stage.wait(VALID_MS - 200)
    heartbeat, sent = stage.sends(), stage.now
    held = stage.adopts(10, ACTIVE, epoch=10)
    assert not stage.holds(held)

    stage.answer(heartbeat, 10)

    assert held.standing.valid_until == sent.later(VALID_MS)
    stage.answer(stage.sends(), 10)
    stage.wait(INTERVAL_MS)
    late, late_sent = stage.sends(), stage.now
    stage.wait(VALID_MS - INTERVAL_MS - 1)
    stage.answer(late, 10)
    assert held.standing.valid_until == late_sent.later(VALID_MS)  # one that goes on takes what there is


# --- margin and lag ---------------------------------------------------------------------------------------------------


def test_the_margin_is_what_was_left_when_the_answer_came() -> None:
    """The smallest since the last heartbeat; of the first answer there is nothing to tell."""
    stage = Stage()
    stage.connects()
    stage.welcome()
    first = stage.sends()
    assert first.margin_ms is None
    stage.answer(first)
    stage.wait(INTERVAL_MS)
    second = stage.sends()
    assert second.margin_ms == int(VALID_MS - INTERVAL_MS)  # no answer since the last one: what is left now
    stage.wait(100)
    stage.answer(second)
    stage.wait(INTERVAL_MS - 100)

    assert stage.sends().margin_ms == int(VALID_MS - INTERVAL_MS - 100)


def test_of_two_answers_the_smaller_margin_is_told_and_one_that_came_too_late_is_none() -> None:
    """Two heartbeats are answered before the next is sent; later an answer comes after the end of the lease."""
    stage = Stage()
    stage.open()
    stage.wait(INTERVAL_MS)
    first = stage.sends()
    stage.wait(INTERVAL_MS)
    second = stage.sends()
    stage.answer(first)
    stage.answer(second)
    stage.wait(INTERVAL_MS)
    third = stage.sends()
    assert third.margin_ms == int(VALID_MS - 2 * INTERVAL_MS)

    stage.wait(VALID_MS)
    stage.answer(third)

    assert stage.sends().margin_ms == 0


def test_a_loop_that_nobody_watches_has_no_lag() -> None:
    """Without a turn of the event loop there is nothing to tell, and nothing stalls."""
    stage = Stage(stall_limit_ms=STALL_MS)
    stage.open()
    stage.wait(10 * STALL_MS)

    assert stage.sends().loop_lag_ms is None
    assert not stage.core.loop_has_stalled(stage.now)


def test_the_largest_lag_since_the_last_heartbeat_is_told_once() -> None:
    """How late the loop was, or is by now if it has not turned again."""
    stage = Stage()
    stage.open()
    assert stage.core.loop_period_ms == INTERVAL_MS
    stage.core.loop_turned(stage.now)
    stage.wait(INTERVAL_MS + 30)
    stage.core.loop_turned(stage.now)
    stage.wait(10)
    assert not stage.core.loop_turned(stage.now)
    heartbeat = stage.sends()
    assert heartbeat.loop_lag_ms == 30
    stage.answer(heartbeat)

    stage.wait(INTERVAL_MS + 5)
    assert stage.sends().loop_lag_ms == 5
    stage.core.loop_turned(stage.now)
    stage.wait(INTERVAL_MS)
    assert stage.sends().loop_lag_ms == 5  # it had turned late by so much after the last heartbeat


def test_a_loop_that_stands_still_holds_heartbeats_back_until_it_turns() -> None:
    """★ The thread could go on sending: it does not, so that an application that hangs loses its role in time."""
    stage = Stage(stall_limit_ms=STALL_MS)
    held = stage.active()
    assert stage.core.loop_period_ms == 250
    stage.core.loop_turned(stage.now)
    stage.wait(STALL_MS)
    assert not stage.core.loop_has_stalled(stage.now)
    stage.answer(stage.sends(), 10)
    stage.wait(INTERVAL_MS)

    assert stage.core.loop_has_stalled(stage.now)
    assert stage.is_silent()
    assert stage.core.next_wake_ms(stage.now) == INTERVAL_MS  # it does not spin meanwhile
    assert stage.holds(held)
    assert stage.core.loop_turned(stage.now)
    assert stage.core.next_wake_ms(stage.now) == 0
    assert stage.sends().loop_lag_ms == STALL_MS + INTERVAL_MS - 250


def test_a_loop_that_stands_still_loses_the_role_with_its_lease() -> None:
    """Nothing is sent for a lease: the tenure runs out like that of any silent session."""
    stage = Stage(stall_limit_ms=STALL_MS)
    held = stage.active()
    stage.core.loop_turned(stage.now)
    stage.wait(VALID_MS)

    assert stage.is_silent()
    assert not stage.holds(held)
    assert stage.given_up() == {10}


# --- witnesses --------------------------------------------------------------------------------------------------------


class Recorder:
    """A witness that keeps what it is told, and what the application could see at that moment."""

    def __init__(self) -> None:
        self.stage: Stage
        self.told: list[tuple[str, object]] = []

    def extending(self, epochs: Sequence[int], now: Reading, until: Reading, revision: int) -> None:
        """Keep it, with whether the application sees that validity already."""
        seen = any(held.standing.valid_until == until for held in self.stage.core.registrations.values())
        self.told.append(("extending", (tuple(epochs), now.until_ms(until), revision, seen)))

    def left(self, epoch: int, why: str, *, is_lost: bool) -> None:
        """Keep it, with whether the application sees a validity still."""
        seen = any(held.standing.epoch == epoch for held in self.stage.core.registrations.values())
        self.told.append(("left", (epoch, why, is_lost, seen)))


@pytest.fixture
def recorder() -> Recorder:
    """A witness on a stage."""
    recorder = Recorder()
    recorder.stage = Stage(witness=recorder)
    return recorder


def test_a_witness_hears_of_a_validity_before_the_application_and_of_its_end_after_it(recorder: Recorder) -> None:
    """★ Entering, extending, resigning: in this order, and the other way round at the end."""
    stage = recorder.stage
    held = stage.active()
    stage.wait(INTERVAL_MS)
    stage.answer(stage.sends(), 10, revision=12)
    stage.core.step_down(held, "it resigned", declined=True)

    assert recorder.told == [
        ("extending", ((10,), VALID_MS, 10, False)),
        ("extending", ((10,), VALID_MS, 10, True)),  # the answer to the heartbeat of the same moment
        ("extending", ((10,), pytest.approx(VALID_MS), 12, False)),
        ("left", (10, "it resigned", False, False)),
    ]


def test_a_witness_hears_once_of_each_end_and_whether_it_was_meant(recorder: Recorder) -> None:
    """★ Run out, ended by the broker, replaced by a newer one, a session that failed: lost. Asked to, closed: left."""
    stage = recorder.stage
    stage.open()
    for number in (10, 11, 12, 13, 14):
        stage.adopts(number, ACTIVE, epoch=number)
    stage.adopts(15, STANDBY)
    recorder.told.clear()

    stage.state(10, STANDBY, revision=20)
    stage.state(10, STANDBY, revision=21)
    stage.state(11, None, revision=22)
    stage.state(12, ACTIVE, revision=23, epoch=23)
    stage.ask_to_resign(13, epoch=13)
    stage.answer(stage.sends(), 14)
    stage.wait(VALID_MS)
    stage.core.advance(stage.now)

    ends = [about for what, about in recorder.told if what == "left"]
    assert ends == [
        (10, "the broker has ended its tenure", True, False),
        (11, "it was deregistered", True, False),
        (12, "no heartbeat has confirmed the role yet", True, False),
        (13, "it was asked to step down", False, False),
        (23, "its lease ran out before a heartbeat was answered", True, False),
        (14, "its lease ran out before a heartbeat was answered", True, False),
    ]


@pytest.mark.parametrize("error", [None, TenureError("gone")])
def test_a_witness_hears_whether_a_session_was_meant_to_end(recorder: Recorder, error: TenureError | None) -> None:
    """Closed by the application, or ended by the broker."""
    recorder.stage.active()
    recorder.told.clear()

    recorder.stage.core.end("over", error)

    assert recorder.told == [("left", (10, "over", error is not None, False))]


def test_a_tenure_that_was_never_valid_is_nobodys_concern(recorder: Recorder) -> None:
    """Granted, and ended again before a heartbeat was answered: there was nothing to witness."""
    stage = recorder.stage
    stage.connects()
    stage.welcome()
    stage.adopts(10, ACTIVE, epoch=10)

    stage.state(10, STANDBY, revision=11)

    assert recorder.told == []


def test_several_witnesses_hear_of_an_end_in_the_reverse_order_of_a_beginning() -> None:
    """What is armed first is disarmed last."""
    told: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def extending(self, epochs: Sequence[int], now: Reading, until: Reading, revision: int) -> None:
            told.append(f"{self.name} extending {epochs} {now.until_ms(until)} {revision}")

        def left(self, epoch: int, why: str, *, is_lost: bool) -> None:
            told.append(f"{self.name} left {epoch} {why} {is_lost}")

    both = Witnesses(Named("a"), Named("b"))
    both.extending([1], Reading(1, 2), Reading(11, 12), 5)
    both.left(1, "why", is_lost=True)

    assert told == ["a extending [1] 10 5", "b extending [1] 10 5", "b left 1 why True", "a left 1 why True"]
