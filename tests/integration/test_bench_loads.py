"""The benches of loads run as a whole, once and briefly: each counts what it should, however fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 100


def run_bench(tmp_path: Path, name: str, *arguments: str) -> Any:
    """What a bench says as JSON; that it also keeps it, draws it, and leaves nothing else behind."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    command = [sys.executable, "-m", "bench", name, "--directory", str(data), "--out", str(out), "--json", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    read = json.loads(ended.stdout)
    assert json.loads((out / f"{name}.json").read_text()) == read
    assert read["title"].split()[0] in (out / f"{name}.svg").read_text()
    assert list(data.iterdir()) == []
    assert read["violations"] == []
    return read


def test_reject_refuses_every_client(tmp_path: Path) -> None:
    """Each of the clients is told who holds the role; one that were granted it would end the bench."""
    read = run_bench(tmp_path, "reject", "--clients", "3", "--rounds", "2", "--operations", "20", "--no-pin")
    assert [(load["name"], load["count"]) for load in read["measured"]] == [("3 clients", 40)]


def test_event_hears_of_every_claim_in_another_process(tmp_path: Path) -> None:
    """One after the other and several at once: as many events as claims, each after it was asked for."""
    read = run_bench(
        tmp_path, "event", "--in-flight", "1", "--in-flight", "4", "--rounds", "2", "--operations", "20", "--no-pin"
    )
    assert [(load["name"], load["count"]) for load in read["measured"]] == [("1 in flight", 40), ("4 in flight", 40)]
    assert all(load["p50_ms"] > 0 for load in read["measured"])


def test_storm_moves_every_role_each_time(tmp_path: Path) -> None:
    """All roles of the killed process are active in the next one, and then that one is killed."""
    read = run_bench(tmp_path, "storm", "--storms", "2", "--resources", "30", "--no-pin")
    assert [(load["name"], load["count"]) for load in read["measured"]] == [
        ("each role", 60),
        ("the last of 30 roles", 2),
    ]
    assert read["measured"][0]["max_ms"] == read["measured"][1]["max_ms"]
    assert [target["bound"] for target in read["targets"]] == [150.0]
