"""`tenure verify` as users run it: a real broker and real clients, killed in the midst, and their files looked at."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tenure.sdk.intervals import IntervalLog, interval_logs
from tests.integration.serving import Command, endpoint_in, output_of, serving, tenure


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a name short enough for sockets."""
    with TemporaryDirectory(prefix="tenure-") as name:
        yield Path(name)


async def verified(directory: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of `tenure verify` on a test's data, and its report."""
    code, out = await output_of("verify", "--data", str(directory / "data"), "--json", *arguments)
    return code, json.loads(out)


def states(report: dict[str, Any]) -> dict[str, str]:
    """Each guarantee's state."""
    return {verdict["guarantee"]: verdict["state"] for verdict in report["verdicts"]}


async def epoch_of(command: Command) -> int:
    """Wait until a program runs; returns the epoch it runs under."""
    return int((await command.line("epoch ")).split()[-1])


async def test_a_history_with_killed_clients_and_a_killed_broker_is_proven(directory: Path) -> None:
    """While the broker runs, when it was killed, and when another has begun where it was: the same history, proven."""
    environ = {"TENURE_ENDPOINT": endpoint_in(directory)}
    run = ("run", "--service", "gw", "--resource", "acct", "--lease-ms", "1000")
    program = ("--", "sh", "-c", "echo epoch $TENURE_EPOCH; exec sleep 1000")
    async with contextlib.AsyncExitStack() as running:
        async with serving(directory) as broker:
            first = await running.enter_async_context(tenure(*run, "--instance", "a", *program, environ=environ))
            epoch = await epoch_of(first)
            second = await running.enter_async_context(tenure(*run, "--instance", "b", *program, environ=environ))
            await second.line("stands by")
            first.send(signal.SIGKILL)
            assert await epoch_of(second) > epoch
            code, report = await verified(directory)
            assert (code, report["tenures"]) == (0, 2), report
            broker.send(signal.SIGKILL)
            await broker.exit_code()
        files = [directory / "data" / name for name in ("tenure.db", "tenure.db-wal")]
        before = [path.read_bytes() for path in files]
        code, after = await verified(directory)
        assert (code, after["history_id"]) == (0, report["history_id"])
        assert after["last_revision"] >= report["last_revision"]
        assert [path.read_bytes() for path in files] == before
        async with serving(directory):
            code, again = await verified(directory)
            assert (code, again["history_id"]) == (0, report["history_id"])
    assert states(again) == {"G1": "proven", "G2": "not_checked", "G3": "proven", "G4": "not_checked", "G5": "proven"}


async def a_tenure(directory: Path) -> tuple[int, int]:
    """Have a broker grant one tenure and end; returns the session it was granted to, and its epoch."""
    environ = {"TENURE_ENDPOINT": endpoint_in(directory)}
    async with serving(directory):
        code, _ = await output_of("run", "--service", "gw", "--instance", "a", "--", "true", environ=environ)
        assert code == 0
        _, out = await output_of("events", "--json", environ=environ)
    events = [json.loads(line) for line in out.splitlines()]
    epoch = next(event["epoch"] for event in events if event.get("new_role") == "active")
    return next(event["session"] for event in events if event["type"] == "registered"), epoch


async def test_interval_logs_are_held_against_the_history(directory: Path) -> None:
    """A log and a directory of logs; what one acknowledges and the store lacks is exit code 1 and its revision."""
    session, epoch = await a_tenure(directory)
    history_id = (await verified(directory))[1]["history_id"]
    log = IntervalLog(directory / "logs", history_id, session, 2_000)
    log.extending([epoch], 1.0, 2_001.0, epoch)
    log.left(epoch, 50.0, "it ended")
    (path,) = interval_logs(directory / "logs")
    for places in (("--interval-log", str(path)), ("--interval-log", str(path.parent), "--interval-log", str(path))):
        code, report = await verified(directory, *places)
        assert (code, report["intervals"], set(states(report).values())) == (0, 1, {"proven"}), report
    log.extending([900], 60.0, 2_060.0, 900)
    log.close()
    code, report = await verified(directory, "--interval-log", str(path))
    assert (code, states(report)["G4"]) == (1, "broken")
    assert report["verdicts"][3]["revision"] == 900


async def test_people_are_shown_a_table(directory: Path) -> None:
    """One line for each guarantee, what breaks it below, and what was read."""
    await a_tenure(directory)
    code, out = await output_of("verify", "--data", str(directory / "data"))
    assert code == 0
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert [(line[0], line[1].split("  ")[0]) for line in lines[1:6]] == [
        ("G1", "proven"),
        ("G2", "not checked"),
        ("G3", "proven"),
        ("G4", "not checked"),
        ("G5", "proven"),
    ]
    assert "1 tenures, 0 intervals" in out

    with closing(sqlite3.connect(directory / "data" / "tenure.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM events WHERE revision = 2")
    code, out = await output_of("verify", "--data", str(directory / "data"))
    assert code == 1
    assert "revision 2: event 2 is missing before 3" in out


async def test_of_a_store_in_which_nothing_has_happened_nothing_is_claimed(directory: Path) -> None:
    """A verdict on nothing is none; and nothing is broken."""
    async with serving(directory):
        pass
    code, out = await output_of("verify", "--data", str(directory / "data"))
    assert code == 0
    assert "proven" not in out
    assert out.count("nothing to check: nothing has happened yet") == 3


async def test_a_backup_and_a_store_are_not_verified_at_once(directory: Path) -> None:
    """Which of both would be meant?"""
    code, out = await output_of("verify", str(directory / "copy"), "--data", str(directory / "data"))
    assert (code, "either a backup or --data" in out) == (2, True)


@pytest.mark.parametrize("which", ["data", "log", "directory"])
async def test_what_cannot_be_read_is_one_line_and_exit_code_78(directory: Path, which: str) -> None:
    """No store, no log, no log in a directory: nothing is claimed."""
    arguments = ["verify", "--data", str(directory / "data")]
    if which != "data":
        await a_tenure(directory)
        arguments += ["--interval-log", str(directory / "absent" if which == "log" else directory)]
    code, out = await output_of(*arguments)
    assert code == 78
    assert len(out.splitlines()) == 1
    assert str(directory) in out
