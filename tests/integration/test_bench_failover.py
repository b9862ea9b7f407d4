"""The benches of moves run as a whole, once and briefly: they see what they should, and nothing that must not be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")  # other tests reach what runs here
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300


def run_bench(*arguments: str) -> Any:
    """What a bench says as JSON."""
    command = [sys.executable, "-m", "bench", *arguments, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
def test_failovers_of_every_kind_never_overlap(tmp_path: Path) -> None:
    """Killed, stopped, cut off or resigned: the next one is active after the old one's own deadline, or its proof."""
    counts = ("--kills", "2", "--silences", "1", "--restarts", "2", "--lease-ms", "2000")
    read = run_bench("failover", *counts, "--directory", str(tmp_path))
    assert [(load["name"], load["count"]) for load in read["measured"]] == [
        ("local-kill", 2),
        ("remote-kill", 1),
        ("stop", 1),
        ("partition", 1),
        ("resign", 2),
        ("switchover", 2),
        ("kill-with-broker", 1),
        ("broker-restart, until it answers", 2),
    ]
    assert read["violations"] == []
    assert len(read["targets"]) == 5
    later_ms = [value for name, value in read["ratios"].items() if "own deadline" in name]
    assert len(later_ms) == 4
    assert all(later > 0 for later in later_ms)
    assert all(load["count"] == 50 for load in read["floor"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("drain_ms", ["1000", "0"])
def test_switchovers_under_load_lose_no_item(tmp_path: Path, drain_ms: str) -> None:
    """Every item that was acknowledged is done once, also one that was in hand; and each switchover has its gap."""
    arguments = ("--count", "3", "--in-flight", "2", "--drain-ms", drain_ms, "--item-ms", "20")
    read = run_bench("switchover", *arguments, "--directory", str(tmp_path))
    assert [(load["name"], load["count"]) for load in read["measured"]] == [
        ("gap, by the ledger", 3),
        ("gap, by the broker", 3),
        ("from the request to its outcome", 3),
    ]
    assert read["violations"] == []
    assert read["ratios"]["items acknowledged"] > 0
    if drain_ms == "0":  # its work is stopped wherever it is
        assert read["ratios"]["items in hand that were handed over"] > 0
    assert list(tmp_path.iterdir()) == []
