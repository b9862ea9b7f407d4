"""What integration tests share: a directory for sockets, and a broker in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.brokers import BrokerHere, broker_here


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
