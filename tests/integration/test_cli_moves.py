"""The commands that move roles and tell how they moved: a real broker, real processes, what they print and return."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from tenure.contract.messages import GetResource, Heartbeat, HeartbeatAck, Register, Registered, Resource
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.sdk import ServiceClient, queries
from tenure.sdk.reader import Reader
from tests.integration.cli_stage import HOLD_MS, LEASE_MS, Silent, Stage
from tests.integration.raw_client import RawClient
from tests.integration.serving import PATIENCE_S, endpoint_in, output_of, serving, tenure

# --- switchover -------------------------------------------------------------------------------------------------------


async def test_a_switchover_moves_the_role_to_whom_it_names_and_tells_the_gap(stage: Stage) -> None:
    """Not to whoever is next; the timeline then says who asked, and that it was acknowledged."""
    async with stage.instances("a", "b", "c"):
        before = await stage.until(lambda view: view.standby_count == 2)
        assert [standby.instance_id for standby in before.standbys] == ["b", "c"]
        assert before.active is not None

        code, out = await stage.run("switchover", "acct", "--to", "c", "--drain-ms", "30000")

        after = await stage.view()
        assert after.active is not None
        assert (code, after.active.instance_id) == (0, "c"), out
        assert f"a stepped down from epoch {before.active.epoch}" in out
        assert f"c is active for acct now, epoch {after.active.epoch}" in out
        assert "nobody was active for " in out

        code, out = await stage.run("explain", "acct")
        assert code == 0, out
        told = [
            "it stepped down for a switchover, as ",
            "a was asked to step down",
            "c was promoted",
            "that was committed",
        ]
        assert [words for words in (*told, "c was active for the first time") if words not in out] == []
        code, out = await stage.run("explain", "acct", "--json")
        explained = json.loads(out)
        assert [(story["old_epoch"], story["new_epoch"]) for story in explained["moves"]] == [
            (before.active.epoch, after.active.epoch)
        ]
        assert [place["instance_id"] for place in explained["succession"]] == [
            standby.instance_id for standby in (await stage.view()).standbys
        ]


async def test_a_target_that_cannot_take_over_is_refused_before_anything_happens(stage: Stage) -> None:
    """Somebody who is not there, and the active one itself: nobody is asked."""
    async with stage.instances("a", "b"):
        before = await stage.until(lambda view: view.standby_count == 1)
        for target in ("nobody", "a"):
            code, out = await stage.run("switchover", "acct", "--to", target)
            assert (code, "nothing was asked of anybody" in out) == (1, True), out
        after = await stage.view()
        assert before.active is not None
        assert after.active is not None
        assert (after.active.epoch, after.switchover) == (before.active.epoch, None)


async def test_a_switchover_under_way_is_visible_and_can_be_called_off(stage: Stage) -> None:
    """`status` and `explain` show it; `--cancel` ends it, and whoever waits for it is told and exits with 75."""
    stage.may_stop.clear()
    async with stage.instances("a", "b"):
        await stage.until(lambda view: view.standby_count == 1)
        asking = ("switchover", "acct", "--to", "b", "--drain-ms", "600000")
        async with tenure(*asking, environ=stage.environ) as asked:
            before = await stage.until(lambda view: view.switchover is not None)
            for command in (("status",), ("explain", "acct")):
                code, out = await stage.run(*command)
                assert (code, "switchover to b under way, asked for by " in out) == (0, True), out

            code, out = await stage.run("switchover", "acct", "--cancel")

            assert (code, "is called off; a stays active" in out) == (0, True), out
            assert "was called off" in await asked.line("is not done")
            assert await asked.exit_code() == 75
        after = await stage.view()
        assert before.active is not None
        assert after.active is not None
        assert (after.active.epoch, after.switchover) == (before.active.epoch, None)
        code, out = await stage.run("switchover", "acct", "--cancel")
        assert (code, "no switchover of 'acct' is under way" in out) == (1, True), out
        stage.may_stop.set()


async def test_waiting_no_longer_says_what_is_under_way_and_how_to_stop_it(stage: Stage) -> None:
    """A wait that ends without a result exits with 75; the switchover itself goes on."""
    stage.may_stop.clear()
    async with stage.instances("a", "b"):
        await stage.until(lambda view: view.standby_count == 1)

        code, out = await stage.run("switchover", "acct", "--drain-ms", "600000", "--wait-ms", "50")

        assert (code, len(out.splitlines())) == (75, 1), out
        assert "the switchover of acct from a (epoch" in out
        assert "is under way still" in out
        assert "tenure switchover acct --cancel" in out
        stage.may_stop.set()
        after = await stage.until(lambda view: view.active is not None and view.active.instance_id == "b")
        assert after.switchover is None


async def test_interrupting_the_wait_does_not_call_it_off(stage: Stage) -> None:
    """Ctrl-C ends the command with 130, and it says how to call the switchover off."""
    stage.may_stop.clear()
    async with stage.instances("a", "b"):
        await stage.until(lambda view: view.standby_count == 1)
        async with tenure("switchover", "acct", "--drain-ms", "600000", environ=stage.environ) as asked:
            await stage.until(lambda view: view.switchover is not None)
            asked.send(signal.SIGINT)
            assert "tenure switchover acct --cancel" in await asked.line("not waited for any longer")
            assert await asked.exit_code() == 130
        assert (await stage.view()).switchover is not None
        stage.may_stop.set()


async def test_an_active_that_does_not_answer_ends_with_its_lease(stage: Stage) -> None:
    """Its heartbeats come, but it does not step down: it is renewed no more, and the next one has the role then."""
    async with ServiceClient(stage.endpoint, lease_ms=2_000) as deaf:
        held = await deaf.register("gw", instance_id="deaf", resource_id="acct", role="active")
        held.held.is_scoped = True  # its work would have to stop first, and does not
        async with stage.instances("b"):
            epoch = held.ensure_active()
            code, out = await stage.run("switchover", "acct", "--to", "b")
            assert code == 0, out
            assert f"deaf is not active with epoch {epoch} any more: " in out
            assert "b is active for acct now" in out
            assert not held.is_active


async def test_progress_is_shown_on_a_terminal(stage: Stage) -> None:
    """Standard error is one: it says what is waited for, in words; the outcome goes to standard output."""
    stage.may_stop.clear()
    async with stage.instances("a", "b"):
        await stage.until(lambda view: view.standby_count == 1)
        ours, theirs = pty.openpty()
        arguments = ("switchover", "acct", "--drain-ms", "600000")
        async with _on_terminal(theirs, stage.environ, *arguments) as process:
            os.close(theirs)
            await asyncio.to_thread(_read_until, ours, b"may go on with its work for")
            stage.may_stop.set()
            out, _ = await process.communicate()
        os.close(ours)
    assert (process.returncode, b"b is active for acct now" in out) == (0, True), out


async def test_resign_goes_on_if_nobody_can_take_over(stage: Stage) -> None:
    """A switchover is refused then; a resignation leaves a vacancy, and the one who resigned stands by again."""
    async with stage.instances("a"):
        await stage.until(lambda view: view.active is not None)
        code, out = await stage.run("switchover", "acct")
        assert (code, "nothing was asked of anybody" in out) == (1, True), out

        code, out = await stage.run("resign", "acct")

        assert (code, "a stepped down from epoch" in out) == (0, True), out
        assert out.splitlines()[1] == "nobody else has taken over; whether a is active again: tenure explain acct"


@contextlib.asynccontextmanager
async def _on_terminal(
    terminal: int, environ: dict[str, str], *arguments: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A command whose standard error is a terminal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenure.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200", **environ},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _read_until(terminal: int, words: bytes) -> None:
    """Read what is shown until it contains these words."""
    shown = b""
    while words not in shown:
        readable, _, _ = select.select([terminal], [], [], PATIENCE_S)
        assert readable, shown
        shown += os.read(terminal, 65_536)


# --- who is at risk, and the rest -------------------------------------------------------------------------------------


async def test_status_shows_who_is_at_risk_before_anything_is_lost(stage: Stage) -> None:
    """An instance that renews its lease late says so in its heartbeat; one that is well is not marked."""

    def heartbeat(client: RawClient, **facts: Any) -> None:
        assert isinstance(client.ask(Heartbeat(sequence=2, status=ServiceStatus.HEALTHY, **facts)), HeartbeatAck)

    client = await asyncio.to_thread(RawClient, stage.endpoint)
    try:
        await asyncio.to_thread(client.hello, lease_ms=LEASE_MS)
        claim = Register(
            service_name="gw", instance_id="a", resource_id="acct", role=ServiceRole.ACTIVE, hold_limit_ms=HOLD_MS
        )
        assert isinstance(await asyncio.to_thread(client.ask, claim), Registered)
        await asyncio.to_thread(heartbeat, client, margin_ms=59_000, loop_lag_ms=3)
        code, out = await stage.run("status")
        assert (code, "AT RISK" in out, f"held for {HOLD_MS} ms" in out) == (0, False, True), out

        await asyncio.to_thread(heartbeat, client, margin_ms=1_000, loop_lag_ms=45_000)

        code, out = await stage.run("status")
        assert (code, "gw/a is AT RISK: renewed with 1,000 of 60,000 ms left" in out) == (0, True), out
        assert "its event loop was 45,000 ms late" in out
        assert "AT RISK: renewed with" in (await stage.run("explain", "acct"))[1]
    finally:
        await asyncio.to_thread(client.close)


async def test_explain_reaches_back_beyond_the_brokers_start(socket_directory: Path) -> None:
    """A broker that was started again knows no move; the events still tell why and how silent the old one was."""
    async with serving(socket_directory), Reader(endpoint_in(socket_directory)) as reader:
        stage = Stage(endpoint_in(socket_directory), reader)
        async with stage.instances("a", "b"):
            await stage.until(lambda view: view.standby_count == 1)
            code, out = await stage.run("switchover", "acct")
            assert code == 0, out
            moved = await stage.until(lambda view: view.standby_count == 1)
            held = await asyncio.to_thread(Silent, stage.endpoint, "keeps", resource_id="other")
        await asyncio.to_thread(held.client.close)
    async with serving(socket_directory), Reader(endpoint_in(socket_directory)) as reader:
        stage = Stage(endpoint_in(socket_directory), reader)
        async with stage.instances("c"):
            found = await reader.request(GetResource(resource_id="acct"), Resource)
            assert found.moves == ()
            code, out = await stage.run("explain", "acct", "--moves", "9", "--json")
            explained = json.loads(out)
    assert code == 0
    epochs = [(story["old_epoch"], story["new_epoch"]) for story in explained["moves"]]
    assert epochs[0][1] == moved.last_epoch
    assert [story["new_instance_id"] for story in explained["moves"]] == ["b", "a", "c"]  # b left before a did
    assert explained["moves"][0]["why"].startswith("it stepped down for a switchover, as ")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("switchover", "x"), 69),
        (("expire", "x"), 69),
        (("explain", "x"), 69),
        (("switchover", "x", "--cancel", "--to", "y"), 64),
        (("switchover", "x", "--to-service", "y"), 64),
    ],
)
async def test_what_cannot_be_done_is_said_in_one_line(command: tuple[str, ...], code: int) -> None:
    """Without a broker it says where it looked; a wrong argument is refused before it looks."""
    ended, out = await output_of(*command, environ={"TENURE_ENDPOINT": "ipc:///nowhere/b"})
    assert (ended, len(out.splitlines())) == (code, 1), out


@pytest.mark.parametrize("flags", [(), ("--follow",), ("--json", "--follow")])
async def test_events_after_a_revision_that_there_is_not(stage: Stage, flags: tuple[str, ...]) -> None:
    """It is said, with the newest there is, before anything is followed; the newest itself is no error."""
    async with stage.instances("a"):
        await stage.until(lambda view: view.active is not None)
        _, newest = await queries.events(stage.reader, 0)
        code, out = await stage.run("events", "--since", str(newest + 1), *flags)
        assert (code, out) == (
            1,
            f"tenure: revision {newest + 1} is beyond the newest, {newest}; is it another store's?\n",
        )
        assert await stage.run("events", "--since", str(newest)) == (0, "")
    assert (await stage.run("events", "--since", str(2**64), *flags))[0] == 2


async def test_events_of_a_session_name_its_instance(stage: Stage) -> None:
    """Numbers mean nothing to people: whose session it is stands there, from the events or from who is there now."""
    async with stage.instances("a"):
        await stage.until(lambda view: view.active is not None)
        code, out = await stage.run("events")
        assert (code, "of gw/a opened by tenure-python" in out) == (0, True), out
    code, out = await stage.run("events")
    assert (code, "of gw/a ended: its client said goodbye" in out) == (0, True), out
    assert "of gw/a opened by tenure-python" in out


@pytest.mark.parametrize("command", [("switchover", "x"), ("resign", "x"), ("explain", "x")])
async def test_a_resource_that_nobody_is_registered_for(stage: Stage, command: tuple[str, ...]) -> None:
    """It is named, and the exit code is 1."""
    code, out = await stage.run(*command)
    assert (code, "nobody is registered for resource 'x'" in out) == (1, True), out


@pytest.mark.parametrize("command", ["switchover", "expire", "explain"])
async def test_every_command_says_its_exit_codes(command: str) -> None:
    """`--help` needs no broker."""
    code, out = await output_of(command, "--help")
    assert (code, "Exit code" in out) == (0, True), out
