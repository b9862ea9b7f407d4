"""`tenure top` and `tenure status --watch`: a real broker, a real terminal, the screen that a person sees."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tenure.sdk import Registration, ServiceClient
from tenure.storage.memory import MemoryStore
from tests.integration.cli_stage import Stage
from tests.integration.live import LEASE_MS, LiveBroker, keep_history
from tests.integration.serving import output_of, tenure
from tests.integration.terminal import Terminal, on_terminal

LIVE = ("top", "status --watch")

BEATING_LEASE_MS = 20_000
"""A lease with a heartbeat every four seconds: with the long one the next may be two minutes away."""


@pytest.fixture
async def client(live: LiveBroker) -> AsyncIterator[ServiceClient]:
    """A client whose session outlasts the test."""
    async with ServiceClient(live.endpoint, lease_ms=LEASE_MS) as client:
        yield client


def at(live: LiveBroker) -> dict[str, str]:
    """Where commands find the broker."""
    return {"TENURE_ENDPOINT": live.endpoint}


async def claimed(client: ServiceClient, name: str, resource_id: str = "acct") -> Registration:
    """An active instance, or a candidate if somebody else is active."""
    return await client.register("gw", instance_id=name, resource_id=resource_id, role="active", on_conflict="standby")


def row(resource_id: str, *words: str) -> Callable[[list[str]], bool]:
    """Whether a resource's row has these words."""
    return lambda lines: any(
        line.startswith(f"{resource_id} ") and all(word in line for word in words) for line in lines
    )


async def ended(terminal: Terminal) -> int:
    """Wait for the end of the command, and see that the terminal is as it was: echo, cursor, and its own screen."""
    code = await terminal.exit_code()
    assert not terminal.is_raw
    assert b"\x1b[?25h\x1b[?1049l" in terminal.written[-200:]
    return code


@pytest.mark.parametrize("command", LIVE)
async def test_what_changes_is_shown_as_it_happens(live: LiveBroker, client: ServiceClient, command: str) -> None:
    """A resignation moves the role on the screen, without anybody asking again."""
    async with ServiceClient(live.endpoint, lease_ms=LEASE_MS) as other:
        first = await claimed(client, "a")
        await claimed(other, "b")
        async with on_terminal(*command.split(), environ=at(live)) as terminal:
            await terminal.until(row("acct", "gw/a", str(first.epoch)))
            assert terminal.is_raw
            await first.resign()
            await terminal.until(row("acct", "gw/b", "healthy"))
            assert terminal.line("● live").startswith("● live")
            await terminal.shows("1 resource: ")
            terminal.press("q")
            assert await ended(terminal) == 0


@pytest.mark.parametrize("command", LIVE)
async def test_a_broker_that_is_not_heard_is_said_to_be(live: LiveBroker, command: str) -> None:
    """While it is away nothing is shown as live; when it is back all is again, as soon as its heartbeats come."""
    async with (
        ServiceClient(live.endpoint, lease_ms=BEATING_LEASE_MS) as client,
        on_terminal(*command.split(), environ=at(live)) as terminal,
    ):
        await claimed(client, "a")
        await terminal.until(row("acct", "gw/a", "healthy"))
        await live.stop()
        lines = await terminal.shows("THE BROKER IS NOT HEARD since")
        assert any("(healthy)" in line for line in lines), terminal.text
        assert not any("live" in line for line in lines), terminal.text
        assert terminal.looks_of("THE BROKER").bg == "red"
        await live.start()
        await terminal.until(row("acct", "gw/a", " healthy"))
        await terminal.shows("● live")


@pytest.mark.parametrize("command", LIVE)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_however_it_ends_the_terminal_is_as_it_was(
    live: LiveBroker, command: str, number: signal.Signals, code: int
) -> None:
    """Ctrl-C and SIGTERM end it with the codes of all commands."""
    async with on_terminal(*command.split(), environ=at(live)) as terminal:
        await terminal.shows("● live")
        if number is signal.SIGINT:
            terminal.press("\x03")
        else:
            terminal.process.send_signal(number)
        assert await ended(terminal) == code


async def test_while_it_is_stopped_the_shell_has_its_terminal(live: LiveBroker, client: ServiceClient) -> None:
    """Ctrl-Z gives it back; continued, all is drawn anew."""
    await claimed(client, "a")
    async with on_terminal("top", environ=at(live)) as terminal:
        await terminal.until(row("acct", "gw/a"))
        terminal.press("\x1a")
        await asyncio.to_thread(os.waitid, os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not terminal.is_raw
        seen = len(terminal.written)
        terminal.process.send_signal(signal.SIGCONT)
        await terminal.until(lambda _: b"gw/a" in terminal.written[seen:] and b"EVENTS" in terminal.written[seen:])
        assert terminal.is_raw
        terminal.press("q")
        assert await ended(terminal) == 0


async def test_top_shows_trouble_first_filters_moves_and_explains(live: LiveBroker, client: ServiceClient) -> None:
    """What a person does: looks, filters, chooses a resource, reads how its role moved, and goes back."""
    for number in range(40):
        await claimed(client, "a", f"account-{number:02}")
    vacant = await claimed(client, "b", "zzz-vacant")
    async with ServiceClient(live.endpoint, lease_ms=LEASE_MS) as other:
        await claimed(other, "c", "account-07")
        async with on_terminal("top", environ=at(live)) as terminal:
            lines = await terminal.shows("41 resources: 40 no standby ready")
            assert lines[3].startswith("account-00")
            await vacant.resign()
            lines = await terminal.shows("1 nobody active")
            assert lines[3].startswith("zzz-vacant")
            assert (lines[3].split()[1], terminal.looks_of("zzz-vacant").reverse) == ("nobody", False)
            assert any("zzz-vacant: gw/b active with epoch" in line for line in lines[-8:-1]), terminal.text

            terminal.press("/07\r")
            await terminal.shows("filter: 07  1 shown")
            assert [line.split()[0] for line in terminal.lines if line.startswith("account-")][:1] == ["account-07"]
            terminal.press("\x1b[B")
            await terminal.until(lambda _: bool(terminal.looks_of("account-07 ").reverse))
            terminal.press("\r")
            await terminal.shows("account-07: gw/a is active with epoch", "Who is next", "1  gw/c  next: it is healthy")
            terminal.press("\x1b")
            await terminal.shows("filter: 07")
            terminal.press("\x1b")
            await terminal.shows("/ filter")


async def test_a_resource_that_is_gone_is_said_to_be(live: LiveBroker, client: ServiceClient) -> None:
    """While it is explained as well."""
    held = await claimed(client, "a")
    async with on_terminal("top", environ=at(live)) as terminal:
        await terminal.until(row("acct", "gw/a"))
        terminal.press("j\r")
        await terminal.shows("acct: gw/a is active with epoch", "Nobody stands by.")
        await held.deregister()
        await terminal.shows("acct: nobody is registered for it any more")
        terminal.press("\x1b")
        await terminal.shows("nobody is registered")


async def test_another_history_is_shown_from_its_beginning(live: LiveBroker, client: ServiceClient) -> None:
    """A broker that comes back with another store: what was there is gone, and the events say that some are missing."""
    await claimed(client, "a", "of-before")
    async with on_terminal("top", environ=at(live)) as terminal:
        await terminal.until(row("of-before", "gw/a"))
        await live.stop()
        other = MemoryStore()
        await keep_history(other, 3)
        await live.start(other)
        await terminal.until(row("r", "nobody"))
        await terminal.shows("events are missing, all is read anew at revision ", "● live")


async def test_top_fills_whatever_size_the_terminal_has(live: LiveBroker, client: ServiceClient) -> None:
    """When it is resized all is drawn for the new size at once: wider names, more rows."""
    name = "a-resource-whose-name-is-much-longer-than-its-column"
    for number in range(40):
        await claimed(client, "a", f"{name}-{number:02}")
    async with on_terminal("top", environ=at(live)) as terminal:
        lines = await terminal.shows("a-re", "q quit")
        assert not any(f"{name}-00 " in line for line in lines), terminal.text
        assert all(re.match(r"a-res\S*…\S*-\d\d  gw/a +healthy", line) for line in lines[3:10]), terminal.text
        terminal.resize(140, 50)
        lines = await terminal.shows(f"{name}-00 ", f"{name}-35 ")
        assert lines[-1].startswith("q quit")
        terminal.resize(30, 6)
        await terminal.until(lambda lines: lines[-1].startswith("q quit") and len(lines) == 6)


async def test_what_does_not_fit_is_said_to_be_elsewhere(live: LiveBroker, client: ServiceClient) -> None:
    """`status --watch` shows as many resources as fit, and names what shows them all."""
    for number in range(40):
        await claimed(client, "a", f"account-{number:02}")
    async with on_terminal("status", "gw", "--watch", environ=at(live)) as terminal:
        lines = await terminal.shows("there is more than fits here", "account-00", "40 no standby ready")
        assert len([line for line in lines if line.startswith("account-")]) == 19


async def test_without_a_terminal_each_change_is_a_line(stage: Stage) -> None:
    """What is the case first, then what changes, without colours, and for programs another command is named."""
    async with stage.instances("a", "b"), tenure("status", "--watch", environ=stage.environ) as watching:
        before = await stage.until(lambda view: view.standby_count == 1)
        assert before.active is not None
        line = await watching.line("acct: ")
        told = f"acct: gw/a healthy is active with epoch {before.active.epoch}; in line: gw/b healthy"
        assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d\d\d  {told}", line), line
        assert (await stage.run("resign", "acct"))[0] == 0
        assert "gw/b healthy is active" in await watching.line("gw/b healthy is active")
        assert (await stage.run("pause", "acct", "--why", "a drill"))[0] == 0
        line = await watching.line("paused until ")
        assert re.search(r"gw/b healthy is active with epoch \d+; paused until .*: a drill; in line: gw/a", line), line
        watching.send(signal.SIGINT)
        assert await watching.exit_code() == 130


async def test_without_a_terminal_the_loss_of_the_broker_is_a_line_too(live: LiveBroker, client: ServiceClient) -> None:
    """And so is its return."""
    held = await claimed(client, "a")
    async with tenure("status", "gw", "--watch", environ=at(live)) as watching:
        await watching.line("acct: gw/a healthy is active")
        await live.stop()
        await watching.line("the broker is not heard since ")
        await live.start()
        await watching.line("the broker is heard again")
        await held.deregister()
        await watching.line("acct: nobody is registered for it any more")


async def test_where_it_cannot_be_drawn_it_says_what_can(live: LiveBroker) -> None:
    """`top` needs a terminal, and `--watch` is no JSON: exit code 64."""
    code, out = await output_of("top", environ=at(live))
    assert (code, "tenure status --watch" in out) == (64, True), out
    code, out = await output_of("status", "--watch", "--json", environ=at(live))
    assert (code, "tenure events --follow --json" in out) == (64, True), out


@pytest.mark.parametrize("command", LIVE)
async def test_without_a_broker_it_ends_as_all_commands_do(socket_directory: Path, command: str) -> None:
    """Exit code 69 and one line, on the terminal's own screen."""
    environ = {"TENURE_ENDPOINT": f"ipc://{socket_directory}/b"}
    async with on_terminal(*command.split(), environ=environ) as terminal:
        assert await ended(terminal) == 69
        assert b"no broker" in terminal.written.rpartition(b"\x1b[?1049l")[2].lower(), terminal.written


@pytest.mark.parametrize(("environ", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_events_are_coloured_on_a_terminal(
    live: LiveBroker, client: ServiceClient, environ: dict[str, str], is_coloured: bool
) -> None:
    """With the reasons in words; without colours if the user wants none, and without anything in a pipe."""
    await claimed(client, "a")
    async with on_terminal("events", environ={**at(live), **environ}, columns=120) as terminal:
        assert await terminal.exit_code() == 0
        await terminal.shows("acct: gw/a new → active with epoch", ": it registered")
        assert (b"\x1b[1;32m" in terminal.written) == is_coloured
        assert not re.search(rb"\x1b\[[\d;]*\b[34]\d", terminal.written) or is_coloured
    code, out = await output_of("events", environ=at(live))
    assert (code, "\x1b" in out, "acct: gw/a new → active with epoch" in out) == (0, False, True), out
