"""The comparison runs as a whole, once and briefly, with Tenure alone: what it needs of others may not be installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")  # other tests reach what runs here
ROOT = Path(__file__).resolve().parents[2]


def test_a_round_of_tenure_alone(tmp_path: Path) -> None:
    """Every load has its claims, also those that a listener in another process hears of; who is missing is told."""
    command = [sys.executable, "-m", "bench", "peers", "--only", "etcd", "--directory", str(tmp_path)]
    command += ["--rounds", "2", "--sequential", "10", "--in-flight", "4", "--operations", "20", "--no-pin", "--json"]
    environment = {**os.environ, "PATH": str(tmp_path)}  # on which there is no etcd
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    read = json.loads(ended.stdout)
    assert {load["name"]: load["count"] for load in read["measured"]} == {
        "tenure: one after the other": 20,
        "tenure: in flight": 40,
        "tenure: in flight, followed": 40,
        "tenure: refused": 40,
        "tenure: claim to listener": 20,
    }
    assert all(0 < load["p50_ms"] <= load["max_ms"] for load in read["measured"])
    assert read["settings"]["etcd, left out"] == "the command etcd is not installed"
    assert list(tmp_path.iterdir()) == []
