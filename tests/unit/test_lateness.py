"""A loop that wakes late holds the lease clock back by as much, and how late it was is measured."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

from tenure.broker import lateness
from tenure.broker.clock import LeaseClock
from tenure.broker.lateness import Lateness
from tenure.broker.measurements import Buckets

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
