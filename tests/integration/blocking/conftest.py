"""What tests of the blocking SDK run against: a broker in a process of its own, since they block."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.blocking.rig import Logs, logged, no_thread_left
from tests.integration.served import Served, served


@pytest.fixture(scope="module")
def shared_broker() -> Iterator[Served]:
    """One broker for all tests of a module, which keep apart by the names of their resources."""
    with served() as broker:
        yield broker


@pytest.fixture
def broker(shared_broker: Served) -> Iterator[Served]:
    """The broker; a test that leaves a thread behind fails."""
    with no_thread_left():
        yield shared_broker


@pytest.fixture
def logs() -> Iterator[Logs]:
    """What is logged from here on."""
    with logged() as entries:
        yield entries
