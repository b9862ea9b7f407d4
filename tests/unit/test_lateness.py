"""A loop that wakes late holds the lease clock back by as much, and how late it was is measured."""

from __future__ import annotations

import pytest
import structlog
from msgspec import structs
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

from tenure.broker import lateness
from tenure.broker.clock import LeaseClock
from tenure.broker.connections import Route
from tenure.broker.lateness import Lateness
from tenure.broker.measurements import Buckets
from tenure.broker.peers import NOBODY
from tenure.contract import codec
from tenure.contract.messages import Heartbeat
from tenure.contract.vocabulary import Channel
from tests.unit.core_stage import CoreStage, hello_of

LATE_MS = 20


class Stage:
    """A loop whose time is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        monkeypatch.setattr(lateness, "monotonic", lambda: self.now_ns / 1e9)
        log: FilteringBoundLogger = structlog.get_logger("tenure.broker").bind()
        self.clock = LeaseClock(lambda: self.now_ns, lambda: self.now_ns, lambda: self.now_ns)
        self.lags = Buckets((1_000, 20_000, 1_000_000))
        self.lateness = Lateness(self.clock, LATE_MS, self.lags, log)

    def pass_ms(self, ms: float) -> None:
        """Let time go by."""
        self.now_ns += round(ms * 1e6)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A loop at its start."""
    return Stage(monkeypatch)


@pytest.mark.parametrize("late_ms", [-0.5, 0, 10])
def test_a_loop_that_is_hardly_late_changes_nothing(stage: Stage, late_ms: float) -> None:
    """It is measured, and early counts as in time: a sum that falls would look like a restart."""
    stage.lateness.plan(100)
    stage.pass_ms(100 + late_ms)
    stage.lateness.note(is_planned=True)
    assert stage.clock.now_ms() == 100 + late_ms
    assert (sum(stage.lags.histogram().counts), stage.lags.histogram().total) == (1, max(0, late_ms) * 1_000)


@pytest.mark.parametrize(("late_ms", "level"), [(100, "debug"), (300, "warning")])
def test_a_stall_is_nobodys_silence(stage: Stage, late_ms: float, level: str) -> None:
    """The clock stands still for as long, once, whoever notices it first; a long one is worth a warning."""
    stage.lateness.plan(100)
    stage.pass_ms(100 + late_ms)
    with capture_logs() as logs:
        stage.lateness.note()
        stage.lateness.note(is_planned=True)
    assert stage.clock.now_ms() == 100
    assert [(line["event"], line["log_level"], line["late_ms"]) for line in logs] == [("loop.late", level, late_ms)]
    assert (stage.lags.histogram().counts, stage.lags.histogram().total) == ((1, 0, 1, 0), late_ms * 1_000)


def test_a_message_before_its_time_is_not_measured(stage: Stage) -> None:
    """Only what was planned can be late."""
    stage.lateness.plan(100)
    stage.pass_ms(50)
    stage.lateness.note()
    assert sum(stage.lags.histogram().counts) == 0


def test_what_is_read_after_a_stall_may_have_come_when_it_began(stage: Stage) -> None:
    """★ For as long as the stall lasted, and at most half a second; a short one soon after it hides nothing."""
    assert stage.lateness.waited_ms == 0
    stage.lateness.plan(100)
    stage.pass_ms(4_100)
    stage.lateness.note()
    assert stage.lateness.waited_ms == 4_000
    stage.lateness.plan(10)
    stage.pass_ms(110)
    stage.lateness.note()
    assert stage.lateness.waited_ms == 4_110
    stage.pass_ms(390)
    assert stage.lateness.waited_ms == 0


def test_what_came_in_a_short_stall_is_soon_read(stage: Stage) -> None:
    """A machine that is busy, and late now and then, makes nobody's word doubtful for long."""
    stage.pass_ms(30)
    stage.lateness.note()
    stage.pass_ms(29)
    assert stage.lateness.waited_ms == 59
    stage.pass_ms(1)
    assert stage.lateness.waited_ms == 0


@pytest.mark.parametrize(("hello_s", "waited_ms"), [(1.0, 4_000), (5.5, 500)])
def test_nothing_waited_for_longer_than_its_connection_is_known(hello_s: float, waited_ms: int) -> None:
    """★ Over one that was made after a stall comes news; over an older one may come what was sent when that began."""
    stage, route = CoreStage(), Route(0, b"a")
    hello = codec.encode(hello_of("a", Channel.CONTROL))
    stage.core.receive(route, [b"1", hello], NOBODY, stage.now, hello_s)
    stage.commit()
    now = structs.replace(stage.now, waited_ms=4_000)

    stage.core.receive(route, [b"2", codec.encode(Heartbeat(sequence=1))], NOBODY, now, 6.0)

    (presence,) = stage.core.registry.state.sessions.values()
    assert now.unix_ms - presence.heard_unix_ms == waited_ms
