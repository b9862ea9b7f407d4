"""The stores that the contract suite runs on: each of them opened, opened again on the same data, and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.stores import MemoryStores, SqliteStores, Stores


@pytest.fixture(params=["sqlite", "memory"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """The way to one implementation's stores."""
    place: Stores = SqliteStores(tmp_path / "data") if request.param == "sqlite" else MemoryStores()
    yield place
    await place.close()
