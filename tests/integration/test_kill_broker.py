"""A few rounds of `python -m tests.integration.kill_broker`."""

from __future__ import annotations

import pytest

from tests.integration.kill_broker import kill_broker

ROUNDS = 3


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost_when_the_broker_is_killed_under_load() -> None:
    """★ kill -9 of the broker under load of 64 clients: registrations, epochs and revisions go on, no role is lost."""
    assert await kill_broker(ROUNDS) == []
