"""The bench runs as a whole, once and briefly: every load measures what it should. How fast it was does not matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")  # other tests reach what runs here
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_claim_measures_every_load_and_the_floor(tmp_path: Path, transport: str) -> None:
    """Real processes over a real socket: each load has all its operations, and nothing is left in the directory."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    command = [sys.executable, "-m", "bench", "claim", "--transport", transport, "--directory", str(data)]
    command += ["--rounds", "2", "--in-flight", "1", "--in-flight", "8", "--operations", "100", "--no-pin", "--json"]
    command += ["--rate", "500", "--seconds", "0.1", "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    read = json.loads(ended.stdout)
    assert [(load["name"], load["count"]) for load in read["measured"]] == [
        ("one after the other", 40),
        ("8 in flight", 200),
        ("open loop, 500 a second", 100),
    ]
    assert [load["count"] for load in read["floor"]] == [24, 24, 24]
    assert all(0 < load["p50_ms"] <= load["max_ms"] for load in (*read["measured"], *read["floor"]))
    assert all(len(load["p99_by_round_ms"]) == 2 for load in (*read["measured"], *read["floor"]))
    assert len(read["targets"]) == 3
    assert read["settings"]["transport"] == transport
    assert json.loads((out / "claim.json").read_text()) == read
    assert "open loop, 500 a second" in (out / "claim.svg").read_text()
    assert list(data.iterdir()) == []


def test_a_bench_that_cannot_run_says_why() -> None:
    """Without a place for its data it ends with one line and exit code 70."""
    command = [sys.executable, "-m", "bench", "claim", "--directory", "/proc", "--operations", "100"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 70
    assert ended.stderr.startswith("bench: ")
    assert len(ended.stderr.splitlines()) == 1
