"""`tenure history`, `pause` and `resume` beside a real broker and instances: what they print, change and return."""

from __future__ import annotations

import json

import pytest

from tenure.cli.pause import duration_ms
from tenure.sdk import (
    ServiceClient,
    queries,
)
from tests.integration.cli_stage import Stage
from tests.integration.serving import output_of


async def test_the_history_of_a_role_is_told_from_the_store(stage: Stage) -> None:
    """The newest tenure first, with why each older one ended; `--json` has the same for programs."""
    async with stage.instances("a", "b"):
        before = await stage.until(lambda view: view.standby_count == 1)
        assert before.active is not None
        code, out = await stage.run("switchover", "acct")
        assert code == 0, out
        after = await stage.view()
        assert after.active is not None

        code, out = await stage.run("history", "acct")

        newest, older = out.splitlines()
        assert (code, newest.split()[0], older.split()[0]) == (0, str(after.active.epoch), str(before.active.epoch))
        assert newest.endswith("gw/b  is active still")
        assert "gw/a  for " in older
        assert " ms: it stepped down for a switchover, as " in older
        assert not older.endswith("as somebody had asked")
        code, out = await stage.run("history", "acct", "--tenures", "1", "--before", str(after.active.epoch), "--json")
        (told,) = json.loads(out)
        assert (code, told["epoch"], told["instance_id"]) == (0, before.active.epoch, "a")
        assert told["end_reason"] == "switchover"


async def test_a_resource_without_a_history_is_named(stage: Stage) -> None:
    """Nobody was active: exit code 1, one line."""
    code, out = await stage.run("history", "nobody's")
    assert (code, out) == (1, 'tenure: nobody has been active for "nobody\'s", as far as the store knows\n')


async def test_a_resource_that_everybody_has_left_is_told_as_such(stage: Stage) -> None:
    """`explain` says who was the last to be active and how that ended, and `status` not that nobody ever was."""
    async with stage.instances("a"):
        active = (await stage.until(lambda view: view.active is not None)).active
        assert active is not None
    code, out = await stage.run("explain", "acct")
    assert code == 1
    assert (
        f"registered for 'acct' any longer; gw/a was the last to be active, with epoch {active.epoch} until 20" in out
    )
    assert "; all its tenures: tenure history acct" in out
    code, out = await stage.run("explain", "never")
    assert (code, "history" in out) == (1, False)
    code, out = await stage.run("status")
    assert (code, out.startswith("Nobody is registered. To stand by")) == (0, True), out


async def test_a_paused_resource_stays_without_an_active_until_it_is_resumed(stage: Stage) -> None:
    """`status`, `explain` and `events` say who has paused it, why and until when; `resume` says who is active then."""
    async with stage.instances("b"):
        await stage.until(lambda view: view.active is not None)
        async with ServiceClient(stage.endpoint, lease_ms=60_000) as other:
            await other.register("gw", instance_id="a", resource_id="acct", priority=1)

            code, out = await stage.run("pause", "acct", "--why", "the exchange is closed", "--for", "90min")

            assert (code, "acct: paused until 20" in out, "tenure resume acct" in out) == (0, True, True), out
            view = await stage.view()
            assert view.pause is not None
            assert view.pause.until_ms - view.pause.paused_ms == 90 * 60_000
            code, out = await stage.run("resign", "acct", "--wait-ms", "30000")
            assert code == 0, out  # somebody asks for it, so that the next one takes over
            moved = await stage.until(lambda view: view.active is not None and view.active.instance_id == "a")
            assert moved.pause == view.pause
        vacant = await stage.until(lambda view: view.active is None and view.standby_count == 1)
        assert vacant.standbys[0].instance_id == "b"
        for command in (("status",), ("explain", "acct"), ("events",)):
            code, out = await stage.run(*command)
            assert (code, "paused until 20" in out, ": the exchange is closed" in out) == (0, True, True), out

        code, out = await stage.run("resume", "acct")

        assert (code, "acct is paused no more (it was paused until" in out) == (0, True), out
        assert "; b is active, epoch " in out
        assert (await stage.view()).pause is None
        code, out = await stage.run("resume", "acct")
        assert (code, "is not paused; nothing was changed" in out) == (1, True), out


async def test_a_pause_is_shown_while_nobody_is_registered(stage: Stage) -> None:
    """It keeps its resource known to `status` and `explain`."""
    async with stage.instances("a"):
        await stage.until(lambda view: view.active is not None)
        assert (await stage.run("pause", "acct", "--why", "moving house"))[0] == 0
    for command in (("status",), ("explain", "acct")):
        code, out = await stage.run(*command)
        assert (code, "acct" in out, "moving house" in out, "nobody" in out) == (0, True, True, True), out
    assert [pause.resource_id for pause in await queries.pauses(stage.reader)] == ["acct"]
    code, out = await stage.run("resume", "acct")
    assert (code, out.endswith("; nobody is active\n")) == (0, True), out
    assert await queries.resources(stage.reader) == []


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("90s", 90_000), ("1500ms", 1_500), ("30min", 1_800_000), ("2m", 120_000), ("1h", 3_600_000),
        ("7d", 7 * 86_400_000),
        ("", None), ("1", None), ("h", None), ("1.5h", None), ("-1h", None), ("1h30min", None),
    ],
)  # fmt: skip
def test_times_in_words(text: str, expected_ms: int | None) -> None:
    """A number and a unit, and nothing else."""
    assert duration_ms(text) == expected_ms


@pytest.mark.parametrize("time", ["1.5h", "8d"])
async def test_a_time_that_cannot_be_is_refused_before_anything_is_asked(time: str) -> None:
    """Exit code 64, without a broker."""
    code, out = await output_of("pause", "acct", "--why", "work", f"--for={time}", environ={})
    assert (code, "is not a time from 1s to 7d" in out) == (64, True), out


@pytest.mark.parametrize("command", [("pause", "x", "--why", "w"), ("resume", "x"), ("history", "x")])
async def test_without_a_broker_it_is_said_where_it_was_looked_for(command: tuple[str, ...]) -> None:
    """One line, and the exit code for that."""
    code, out = await output_of(*command, environ={"TENURE_ENDPOINT": "ipc:///nowhere/b"})
    assert (code, len(out.splitlines())) == (69, 1), out
    code, out = await output_of(command[0], "--help")
    assert (code, "Exit code" in out) == (0, True), out
