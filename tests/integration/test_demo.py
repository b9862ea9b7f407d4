"""`tenure demo`, as somebody who has just installed Tenure runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAILURES = ("kill -9 of the active", "a clean resignation", "a switchover", "the broker's restart")
PATIENCE_S = 100.0


@pytest.mark.slow
def test_the_demo_kills_and_finds_its_ledger_sound(socket_directory: Path) -> None:
    """It exits with 0, says that the ledger is sound and how long each takeover took, and leaves nothing behind."""
    demo = subprocess.run(
        [sys.executable, "-m", "tenure.cli", "demo"],
        env={**os.environ, "TMPDIR": str(socket_directory), "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert demo.returncode == 0, demo.stdout
    assert "The ledger is sound" in demo.stdout
    assert [failure for failure in FAILURES if failure not in demo.stdout] == []
    assert [*socket_directory.iterdir()] == []
