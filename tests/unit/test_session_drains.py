"""Tenures that somebody asked to end: work goes on during the drain, and what the newest answer lists is asked."""

from __future__ import annotations

import pytest

from tenure.contract.messages import StepDown
from tenure.sdk.session import Held
from tests.unit.session_stage import ACTIVE, INTERVAL_MS, STANDBY, Stage

DRAIN_MS = 5_000


def asked_for(number: int = 10, drain_ms: int = DRAIN_MS) -> StepDown:
    """What an answer lists."""
    return StepDown(registration_id=number, epoch=number, drain_ms=drain_ms)


def beat(stage: Stage, *asked: StepDown, confirmed: tuple[int, ...] = (10,)) -> None:
    """An interval passes, and a heartbeat is answered."""
    stage.wait(INTERVAL_MS)
    stage.answer(stage.sends(), *confirmed, asked=asked)


def test_whoever_is_asked_to_step_down_does_so_and_says_so_at_once() -> None:
    """Without a drain a registration without a scope steps down, and the next heartbeat does not wait for its time."""
    stage = Stage()
    held = stage.active()
    stage.wait(10)
    assert stage.is_silent()

    stage.ask_to_resign(10, epoch=10)

    assert not stage.holds(held)
    assert held.standing.why == "it was asked to step down"
    assert stage.core.next_wake_ms(stage.now) == 0
    assert [(one.epoch, one.declined) for one in stage.sends().given_up] == [(10, True)]


def test_being_asked_while_a_heartbeat_is_under_way_costs_no_connection() -> None:
    """Heartbeats out of turn would look like silence of the broker: the next one waits for the answer."""
    stage = Stage()
    stage.active()
    stage.wait(INTERVAL_MS)
    under_way = stage.sends()

    stage.ask_to_resign(10, epoch=10)

    assert stage.is_silent()
    assert not stage.core.take_connect(stage.now)
    stage.answer(under_way)
    assert stage.core.next_wake_ms(stage.now) == 0
    assert [one.epoch for one in stage.sends().given_up] == [10]


def test_without_a_scope_the_role_goes_on_until_the_drain_is_over() -> None:
    """★ It is told, stays active and renewed, and steps down by itself when the time is up, not before."""
    stage = Stage()
    held = stage.active()
    stage.core.changed.clear()
    stage.ask_to_resign(10, epoch=10, drain_ms=INTERVAL_MS + 100)
    assert stage.core.changed == [held]
    beat(stage, asked_for(drain_ms=100))
    assert stage.holds(held)
    stage.wait(99)
    stage.core.advance(stage.now)
    assert stage.holds(held)
    assert stage.core.next_wake_ms(stage.now) == pytest.approx(1)

    stage.wait(1)

    assert [(one.epoch, one.declined) for one in stage.sends().given_up] == [(10, True)]
    assert not stage.holds(held)


def test_whoever_works_in_a_scope_is_told_and_stays_active_until_the_work_has_stopped() -> None:
    """The application hears of it; the role goes on until it steps down."""
    stage = Stage()
    held = stage.active()
    held.is_scoped = True
    stage.core.changed.clear()

    stage.ask_to_resign(10, epoch=10)

    assert stage.holds(held)
    assert held.ask is not None
    assert (held.ask.epoch, held.ask.until) == (10, stage.now)
    assert stage.core.changed == [held]


def test_one_drain_does_not_hide_another() -> None:
    """Two are asked, one in a scope: each of the others steps down when its own time is up."""
    stage = Stage()
    stage.open()
    early, scoped, late = (stage.adopts(number, ACTIVE, epoch=number) for number in (10, 11, 12))
    scoped.is_scoped = True
    for number, drain_ms in ((10, 100), (11, 50), (12, 300)):
        stage.ask_to_resign(number, epoch=number, drain_ms=drain_ms)

    stage.wait(100)
    stage.core.advance(stage.now)
    assert [stage.holds(held) for held in (early, scoped, late)] == [False, True, True]
    stage.wait(199)
    stage.core.advance(stage.now)
    assert stage.holds(late)
    stage.wait(1)
    stage.core.advance(stage.now)

    assert [stage.holds(held) for held in (early, scoped, late)] == [False, True, False]


def test_a_request_for_another_tenure_is_ignored() -> None:
    """It has to name the epoch that is held, and a registration there is."""
    stage = Stage()
    held = stage.active()
    standby = stage.adopts(12, STANDBY)

    stage.ask_to_resign(10, epoch=9)
    stage.ask_to_resign(11, epoch=10)
    stage.ask_to_resign(12, epoch=0)

    assert stage.holds(held)
    assert held.ask is None
    assert standby.ask is None


def test_a_push_that_was_lost_is_made_up_for_by_the_next_answer() -> None:
    """★ The answer lists what is asked; the drain counts from when it came."""
    stage = Stage()
    held = stage.active()

    beat(stage, asked_for())

    assert held.ask is not None
    assert held.ask.until == stage.now.later(DRAIN_MS)
    assert stage.holds(held)


def test_an_answer_that_does_not_list_an_ask_any_more_withdraws_it() -> None:
    """★ Called off, and the word of it lost: the next answer tells, and the tenure goes on beyond the drain."""
    stage = Stage()
    held = stage.active()
    stage.ask_to_resign(10, epoch=10, drain_ms=INTERVAL_MS + 10)
    stage.core.changed.clear()

    beat(stage)

    assert held.ask is None
    assert stage.core.changed == [held]
    beat(stage)
    assert stage.holds(held)


def test_an_ask_can_be_withdrawn_at_once() -> None:
    """The broker says so without waiting for a heartbeat; a repeat of that is no news."""
    stage = Stage()
    held = stage.active()
    stage.ask_to_resign(10, epoch=10, drain_ms=DRAIN_MS)
    withdrawal = StepDown(registration_id=10, epoch=10, withdrawn=True)
    stage.core.changed.clear()

    stage.hears(withdrawal)
    stage.hears(withdrawal)

    assert held.ask is None
    assert stage.core.changed == [held]


def test_a_repeat_is_no_news_unless_it_ends_sooner() -> None:
    """Whoever waits for the end of the drain is woken for a shorter one, not for each answer that lists it."""
    stage = Stage()
    held = stage.active()
    stage.ask_to_resign(10, epoch=10, drain_ms=DRAIN_MS)
    stage.core.changed.clear()

    beat(stage, asked_for(drain_ms=DRAIN_MS - INTERVAL_MS))
    assert stage.core.changed == []

    beat(stage, asked_for(drain_ms=1_000))
    assert stage.core.changed == [held]


def test_the_next_tenure_of_a_registration_was_not_asked_to_end() -> None:
    """It stepped down as it was asked, and was promoted again, for want of another: that is a tenure of its own."""
    stage = Stage()
    held = stage.active()
    stage.ask_to_resign(10, epoch=10)

    stage.state(10, ACTIVE, revision=15, epoch=15)

    assert stage.holds(held)
    assert _asked_epoch(held) == 10
    stage.ask_to_resign(10, epoch=10)
    assert stage.holds(held)
    stage.ask_to_resign(10, epoch=15, drain_ms=DRAIN_MS)
    assert _asked_epoch(held) == 15


def _asked_epoch(held: Held) -> int:
    return 0 if held.ask is None else held.ask.epoch
