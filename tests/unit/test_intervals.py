"""The interval log: what a session writes about its tenures, whatever happens to the file, and how it is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tenure.contract.intervals import (
    AnyIntervalRecord,
    EnteredRecord,
    ExtendedRecord,
    LeftRecord,
    SessionRecord,
    StoppedRecord,
)
from tenure.sdk.intervals import IntervalLog, IntervalLogError, interval_logs, own_boot, read_interval_log

SESSION = (
    b'{"record":"session","format":1,"history_id":"h","session":6,"boot_id":"b","time_namespace":0,"pid":9,'
    b'"lease_ms":2000}\n'
)


def log_in(directory: Path, **options: Any) -> IntervalLog:
    """A log of session 6 of history `h`."""
    return IntervalLog(directory, "h", 6, 2_000, **options)


def written(directory: Path) -> list[AnyIntervalRecord]:
    """What is in the one log of a directory, but for the session's record."""
    (path,) = interval_logs(directory)
    first, *records = read_interval_log(path)
    assert isinstance(first, SessionRecord)
    return records


def test_a_tenure_is_written_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """Entered, extended by each heartbeat, left: and the session says whose clock it was."""
    log = log_in(tmp_path / "made")
    log.extending([42], 1.0, 2_001.0, 42)
    log.extending([42, 43], 400.5, 2_400.5, 44)
    log.left(42, 500.0, "it resigned")
    log.close()
    (path,) = interval_logs(tmp_path / "made")
    session, entered, *rest = read_interval_log(path)
    boot_id, time_namespace = own_boot()
    assert boot_id
    assert session == SessionRecord(
        format=1,
        history_id="h",
        session=6,
        boot_id=boot_id,
        time_namespace=time_namespace,
        pid=os.getpid(),
        lease_ms=2_000,
    )
    assert isinstance(entered, EnteredRecord)
    assert (entered.epoch, entered.at_ms, entered.until_ms) == (42, 1.0, 2_001.0)
    second, *rest = rest
    assert isinstance(second, EnteredRecord)
    assert (second.epoch, second.until_ms) == (43, 2_400.5)
    assert rest == [
        ExtendedRecord(epochs=(42,), at_ms=400.5, until_ms=2_400.5, revision=44),
        LeftRecord(epoch=42, at_ms=500.0, why="it resigned"),
    ]


def test_a_session_that_is_never_active_leaves_no_file(tmp_path: Path) -> None:
    """The file is made with the first tenure: standbys cost nothing, and to leave what was not entered is nothing."""
    log = log_in(tmp_path)
    log.extending([], 1.0, 2.0, 3)
    log.left(42, 1.0, "it never was")
    log.close()
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """The file and the directory made for it are private."""
    log_in(tmp_path / "made").extending([42], 1.0, 2.0, 42)
    (path,) = interval_logs(tmp_path / "made")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_was_written_survives_sigkill(tmp_path: Path) -> None:
    """A process that kills itself right after the call has written every line of it."""
    program = (
        "import os, signal, sys; from pathlib import Path; from tenure.sdk.intervals import IntervalLog\n"
        "log = IntervalLog(Path(sys.argv[1]), 'h', 6, 2000)\n"
        "log.extending(range(1, 10001), 1.0, 2001.0, 1)\n"
        "log.extending(range(1, 10001), 401.0, 2401.0, 1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, stdin=subprocess.DEVNULL)
    assert ended.returncode == -signal.SIGKILL
    records = written(tmp_path)
    assert len(records) == 10_001
    assert isinstance(records[-1], ExtendedRecord)
    assert len(records[-1].epochs) == 10_000


def test_a_full_log_stops_with_one_warning_and_says_so_itself(tmp_path: Path) -> None:
    """At its size limit the log ends with `stopped`; what comes later raises nothing and warns no more."""
    log = log_in(tmp_path, bytes_max=600)
    with capture_logs() as warnings:
        for number in range(10):
            log.extending([42], number, 2_000.0 + number, 42)
        log.left(42, 11.0, "it resigned")
    assert [(entry["event"], entry["log_level"]) for entry in warnings] == [("interval_log.stopped", "warning")]
    *records, last = written(tmp_path)
    assert isinstance(last, StoppedRecord)
    assert "size limit" in last.why
    assert 1 < len(records) < 10


def test_a_directory_that_cannot_be_made_costs_a_warning_and_no_role(tmp_path: Path) -> None:
    """Nothing is raised to the lease's thread, whatever the place is."""
    (tmp_path / "file").write_text("")
    log = log_in(tmp_path / "file" / "logs")
    with capture_logs() as warnings:
        log.extending([42], 1.0, 2.0, 42)
        log.extending([42], 2.0, 3.0, 42)
    assert [entry["event"] for entry in warnings] == ["interval_log.stopped"]
    assert "Not a directory" in warnings[0]["why"]


def test_a_disk_that_fills_up_leaves_whole_lines_and_costs_a_warning(tmp_path: Path) -> None:
    """A write that is cut short is taken back; all that may be torn is the word that the log has stopped."""
    program = (
        "import resource, sys; from pathlib import Path; from tenure.sdk.intervals import IntervalLog\n"
        "for limit in range(1000, 1080, 10):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    log = IntervalLog(Path(sys.argv[1], str(limit)), 'h', 6, 2000)\n"
        "    for number in range(20): log.extending([42, 43], number, 2000.0 + number, 43)\n"
        "    log.left(42, 30.0, 'it resigned')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert ended.stdout.decode().count("interval_log.stopped") == 8
    for directory in tmp_path.iterdir():
        assert 2 < len(written(directory)) < 22
        torn = interval_logs(directory)[0].read_bytes().rpartition(b"\n")[2]
        assert b'{"record":"stopped"'.startswith(torn[:19])


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        (b"no JSON\n", 1, "malformed"),
        (SESSION + b'{"record":"left","epoch":42}\n', 2, "at_ms"),
        (SESSION + b'{"record":"renamed","epoch":42}\n', 2, "renamed"),
        (SESSION + SESSION, 2, "first line"),
        (b'{"record":"left","epoch":42,"at_ms":1.0,"why":""}\n', 1, "first line"),
        (SESSION.replace(b'"format":1', b'"format":2'), 1, "newer Tenure"),
        (SESSION + b"\xff\n", 2, "malformed"),
        (SESSION + b" " * 2**20 + b"\n", 2, "longer"),
    ],
)
def test_what_is_no_log_is_named_with_its_line(tmp_path: Path, content: bytes, line: int, why: str) -> None:
    """Whatever a file has in it, the reader says where it stopped and why."""
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(IntervalLogError, match=why) as caught:
        list(read_interval_log(tmp_path / "log"))
    assert caught.value.line == line
    assert f"line {line}" in str(caught.value)


def test_a_line_that_was_torn_off_is_left_out(tmp_path: Path) -> None:
    """The end that a crash of the machine may leave costs that line alone; an empty file is a log without records."""
    (tmp_path / "log").write_bytes(SESSION + b'{"record":"left","ep')
    assert len(list(read_interval_log(tmp_path / "log"))) == 1
    (tmp_path / "log").write_bytes(b"")
    assert list(read_interval_log(tmp_path / "log")) == []


def test_a_place_without_logs_is_named(tmp_path: Path) -> None:
    """A misspelt path does not pass for a log without faults."""
    with pytest.raises(IntervalLogError, match="no file"):
        interval_logs(tmp_path)
    with pytest.raises(IntervalLogError, match="No such file"):
        list(read_interval_log(tmp_path / "absent"))
