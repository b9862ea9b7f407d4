"""Readings of two clocks, and what a client may rely on at one moment."""

from __future__ import annotations

import pytest

from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.standing import FOREVER, NEVER, Reading, Standing

NOW = Reading(boottime_ms=1_000.0, raw_ms=500.0)


@pytest.mark.parametrize(
    ("boottime_ms", "raw_ms", "before"),
    [
        (1_000.1, 500.1, True),
        (1_000.0, 500.1, False),
        (1_000.1, 500.0, False),
        (999.0, 9_000.0, False),
        (9_000.0, 499.0, False),
    ],
)
def test_a_deadline_has_passed_once_either_clock_has_reached_it(
    boottime_ms: float, raw_ms: float, *, before: bool
) -> None:
    """Valid only while BOTH clocks are before their deadlines, and not at the deadline itself."""
    deadline = Reading(boottime_ms, raw_ms)
    standing = Standing(ServiceRole.ACTIVE, 4, deadline, 4, "")

    assert NOW.is_before(deadline) is before
    assert standing.is_active(NOW) is before
    assert (NOW.until_ms(deadline) > 0) is before


def test_time_left_is_that_of_the_clock_that_comes_first() -> None:
    """Of two clocks that disagree, the one that leaves less time counts."""
    assert NOW.until_ms(Reading(1_300.0, 600.0)) == 100.0
    assert NOW.until_ms(Reading(1_050.0, 600.0)) == 50.0
    assert NOW.until_ms(NOW.later(70.0)) == 70.0


def test_the_earlier_of_two_readings_is_so_on_each_clock() -> None:
    """Each clock is compared with itself alone."""
    assert Reading(1.0, 9.0).earlier(Reading(2.0, 3.0)) == Reading(1.0, 3.0)


def test_never_has_passed_and_forever_does_not_come() -> None:
    """The two deadlines that are no times."""
    assert not NOW.is_before(NEVER)
    assert NOW.is_before(FOREVER)
