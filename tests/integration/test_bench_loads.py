"""The benches of loads run as a whole, once and briefly: each counts what it should, however fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.browser import CHROMIUM
from bench.everything import BENCHES

pytestmark = pytest.mark.usefixtures("unmeasured")  # other tests reach what runs here
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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium")
def test_watched_sees_every_move_and_all_who_look_on(tmp_path: Path) -> None:
    """The page is opened, each move appears on it, and the load is the same with nobody, an admin and people there."""
    sizes = ("--resources", "20", "--pages", "2", "--loads", "1", "--moves", "3", "--rounds", "1")
    read = run_bench(tmp_path, "watched", *sizes, "--rate", "20", "--seconds", "0.5", "--no-pin")
    assert [(load["name"], load["count"]) for load in read["measured"]] == [
        ("the page is there", 1),
        ("a move is seen on it", 3),
        ("no admin", 10),
        ("an admin that nobody asks", 10),
        ("pages and a scraper", 10),
    ]
    assert all(megabytes > 1 for megabytes in read["ratios"].values())


def test_storm_moves_every_role_each_time(tmp_path: Path) -> None:
    """All roles of the killed process are active in the next one, and then that one is killed."""
    read = run_bench(tmp_path, "storm", "--storms", "2", "--resources", "30", "--no-pin")
    assert [(load["name"], load["count"]) for load in read["measured"]] == [
        ("each role", 60),
        ("the last of 30 roles", 2),
    ]
    assert read["measured"][0]["max_ms"] == read["measured"][1]["max_ms"]
    assert [target["bound"] for target in read["targets"]] == [150.0]


@pytest.mark.slow
def test_scale_measures_every_size(tmp_path: Path) -> None:
    """Sessions whose heartbeats are all confirmed, and brokers that were filled, started again and claimed from."""
    of_sessions = ("--sessions", "3", "--sessions", "300", "--lease-ms", "5000", "--rest-s", "2.5", "--no-pin")
    of_registrations = ("--registrations", "50", "--registrations", "1500", "--rounds", "1", "--claims", "40")
    read = run_bench(tmp_path, "scale", *of_sessions, *of_registrations)
    assert [(load["name"], load["count"]) for load in read["measured"]] == [
        ("one after the other, 50 there", 10),
        ("64 in flight, 50 there", 40),
        ("one after the other, 1,500 there", 10),
        ("64 in flight, 1,500 there", 40),
    ]
    curves = {(curve["name"], curve["y"]): curve["points"] for curve in read["curves"]}
    assert [sessions for sessions, _ in curves["the broker, lease 5,000 ms", "% of one core"]] == [3, 300]
    for cost in (
        ("in memory, registered", "bytes a registration"),
        ("in memory, loaded", "bytes a registration"),
        ("on disk, with events", "bytes a registration"),
        ("start", "seconds"),
        ("the broker at rest", "% of one core"),
    ):
        assert [registrations for registrations, _ in curves[cost]] == [50, 1500]
    assert all(value > 0 for _, value in curves["start", "seconds"])
    confirmed = [value for name, value in read["ratios"].items() if "without the role" in name]
    assert confirmed == [0, 0]
    assert read["ratios"]["300 sessions, a lease of 5,000 ms: heartbeats answered a second"] > 0


def test_soak_samples_until_it_is_over(tmp_path: Path) -> None:
    """Each interval has its latencies, and memory, files and processor time are looked at after each."""
    read = run_bench(tmp_path, "soak", "--minutes", "0.02", "--rate", "40", "--sample-s", "0.1", "--no-pin")
    (load,) = read["measured"]
    samples = len(load["p99_by_round_ms"])
    assert samples >= 2
    assert load["count"] == 4 * samples
    assert [len(curve["points"]) for curve in read["curves"]] == [samples] * 5
    assert all(value > 0 for curve in read["curves"][:4] for _, value in curve["points"])


@pytest.mark.slow
@pytest.mark.timeout(5 * PATIENCE_S)
def test_all_runs_several_benches(tmp_path: Path) -> None:
    """One command, a JSON and a picture of bounded size for each, and the targets of all in the end.

    Of three, as all of them take minutes; each has a test of its own.
    """
    data, out, some = tmp_path / "data", tmp_path / "out", ("claim", "event", "storm")
    data.mkdir()
    assert set(some) < set(BENCHES)
    command = [sys.executable, "-m", "bench", "all", "--quick", "--directory", str(data), "--out", str(out)]
    command += [word for name in some for word in ("--only", name)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=4 * PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    for name in some:
        assert json.loads((out / f"{name}.json").read_text())["bench"] == name
        assert 1_000 < (out / f"{name}.svg").stat().st_size < 100_000
    assert "targets are met\nclaim: " in ended.stdout
    assert list(data.iterdir()) == []


def test_all_goes_on_after_a_bench_that_fails(tmp_path: Path) -> None:
    """What failed is told, the others run, and the exit code says that something was not measured."""
    command = [sys.executable, "-m", "bench", "all", "--quick", "--only", "claim", "--only", "ensure"]
    command += ["--directory", "/proc", "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 70
    assert ended.stderr.startswith("bench: claim failed: ")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".json"] == ["ensure.json"]
