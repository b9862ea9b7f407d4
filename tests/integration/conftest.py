"""What integration tests share: a directory for sockets, and a broker in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tenure.sdk.reader import Reader
from tests.integration.brokers import BrokerHere, broker_here
from tests.integration.cli_stage import Stage
from tests.integration.live import LiveBroker, live_broker
from tests.integration.serving import endpoint_in, serving


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """A directory with a name short enough for sockets, which pytest's own are not."""
    with TemporaryDirectory(prefix="tenure-") as directory:
        yield Path(directory)


@pytest.fixture
async def broker(socket_directory: Path) -> AsyncIterator[BrokerHere]:
    """A running broker in this process, whose store is in memory."""
    async with broker_here(socket_directory) as here:
        yield here


@pytest.fixture
async def live(socket_directory: Path) -> AsyncIterator[LiveBroker]:
    """A broker in this process that may be stopped and started again, and whose events may be lost."""
    async with live_broker(socket_directory) as broker:
        yield broker


@pytest.fixture
async def stage(socket_directory: Path) -> AsyncIterator[Stage]:
    """A broker that serves in a process of its own, and commands beside it."""
    async with serving(socket_directory), Reader(endpoint_in(socket_directory)) as reader:
        yield Stage(endpoint_in(socket_directory), reader)
