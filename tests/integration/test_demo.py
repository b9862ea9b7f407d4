"""`tenure demo`, as somebody who has just installed Tenure runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.serving import output_of

FAILURES = ("kill -9 of the active", "a clean resignation", "the broker's restart")


@pytest.mark.slow
async def test_the_demo_kills_and_finds_its_ledger_sound(socket_directory: Path) -> None:
    """It exits with 0, says that the ledger is sound and how long each takeover took, and leaves nothing behind."""
    code, out = await output_of("demo", environ={"TMPDIR": str(socket_directory), "COLUMNS": "120"})
    assert code == 0, out
    assert "The ledger is sound" in out
    assert [failure for failure in FAILURES if failure not in out] == []
    assert [*socket_directory.iterdir()] == []
