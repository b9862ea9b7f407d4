"""The simulation's processes are not measured: that takes three times as long, and unit tests reach every line."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have coverage not begin in the processes that are started here."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
