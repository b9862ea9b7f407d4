"""The `tenure` command as users run it: real processes, a real broker, what they print and how they exit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import shlex
import signal
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tenure.cli.app import app
from tenure.cli.descendants import pidfd_open
from tests.integration.serving import Command, endpoint_in, output_of, serving, tenure

SHELL = ("sh", "-c")


@pytest.fixture
def environ(socket_directory: Path) -> dict[str, str]:
    """Where every command of a test finds the test's broker."""
    return {"TENURE_ENDPOINT": endpoint_in(socket_directory)}


async def test_run_starts_the_program_when_active_and_returns_its_exit_code(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """CMD runs with its epoch and names in the environment; its exit code is that of `tenure run`."""
    show = "echo $TENURE_EPOCH $TENURE_RESOURCE_ID $TENURE_SERVICE_NAME $TENURE_INSTANCE_ID; exit 42"
    async with serving(socket_directory):
        code, out = await output_of(
            *("run", "--service", "gw", "--resource", "acct", "--instance", "gw-1", "--", *SHELL, show), environ=environ
        )
    assert code == 42
    lines = [line.split() for line in out.splitlines() if line.endswith("acct gw gw-1")]
    assert len(lines) == 1
    assert int(lines[0][0]) > 0


async def test_a_standby_takes_over_with_a_greater_epoch_when_the_program_ends(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """The end of the active's program releases the role at once: the lease here would outlast the test."""
    async with (
        serving(socket_directory),
        _active_and_standby(environ, "--lease-ms", "600000") as (first, epoch, second),
    ):
        first.send(signal.SIGTERM)
        assert await first.exit_code() == 143
        assert await _epoch_of(second) > epoch


async def test_resign_hands_over_and_status_and_events_tell_it(socket_directory: Path, environ: dict[str, str]) -> None:
    """`resign` stops the active's program first; then `status` and `events` show the new active and why."""
    async with serving(socket_directory), _active_and_standby(environ) as (_, epoch, second):
        code, out = await output_of("resign", "acct", environ=environ)
        assert (code, "a stepped down" in out, "b is active" in out) == (0, True, True), out
        assert await _epoch_of(second) > epoch

        code, out = await output_of("status", "--json", environ=environ)
        view = json.loads(out)[0]
        assert (code, view["resource_id"], view["active"]["instance_id"]) == (0, "acct", "b")
        assert [standby["instance_id"] for standby in view["standbys"]] == ["a"]
        code, out = await output_of("status", environ=environ)
        assert "gw/b" in out
        assert "gw/a" in out

        code, out = await output_of("events", "--json", environ=environ)
        told = [json.loads(line) for line in out.splitlines()]
        assert [event["revision"] for event in told] == list(range(1, len(told) + 1))
        reasons = [event["reason"] for event in told if event["type"] == "role_changed"]
        assert reasons[-2:] == ["switchover", "switchover"]


async def test_a_refused_claim_exits_with_75_and_names_the_holder(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """`run --no-standby` does not wait for a role that somebody else has."""
    async with serving(socket_directory), _running("a", environ) as first:
        await _epoch_of(first)
        code, out = await output_of(
            *("run", "--service", "gw", "--resource", "acct", "--no-standby", "--", "true"), environ=environ
        )
    assert (code, "gw/a" in out) == (75, True), out


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("/no/such/program", 127, "cannot run '/no/such/program': No such file or directory; name a program on PATH"),
        ("no-such-program", 127, "cannot run 'no-such-program': No such file or directory; name a program on PATH"),
        (__file__, 126, "Permission denied; it has to be a file that this user may execute (chmod +x)"),
        ("/usr", 126, "Permission denied; it has to be a file that this user may execute (chmod +x)"),
    ],
)
async def test_a_program_that_is_not_there_is_told_before_a_broker_is_asked(
    environ: dict[str, str], command: str, code: int, said: str
) -> None:
    """With a shell's exit code and what to do about it: a standby does not find out when the role has come."""
    found, out = await output_of("run", "--service", "gw", "--", command, environ=environ)
    assert (found, said in out, len(out.splitlines())) == (code, True, 1), out


async def test_a_program_that_cannot_be_run_exits_like_a_shell_and_releases_the_role(
    socket_directory: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """126 for what may be executed and is no program, and nobody is left active."""
    path = tmp_path / "no-program"
    path.write_bytes(b"\0")
    path.chmod(0o755)
    async with serving(socket_directory):
        code, out = await output_of("run", "--service", "gw", "--", str(path), environ=environ)
        assert (code, "begin with #!" in out) == (126, True), out
        code, out = await output_of("status", "--json", environ=environ)
        assert (code, json.loads(out)) == (0, [])


async def test_what_happens_to_the_role_is_told_in_words_of_its_own(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """A broker that goes away and comes back: each step is a line, and nothing is there that the SDK logs."""
    told: list[str] = []

    async def until(words: str) -> None:
        while not told or words not in told[-1]:
            told.append(await command.line())

    flags = ("--lease-ms", "1000")
    async with contextlib.AsyncExitStack() as stack:
        async with serving(socket_directory):
            command = await stack.enter_async_context(_running("a", environ, *flags))
            await until("pid ")
        await until("waiting for the broker: none answers at ipc://")
        async with serving(socket_directory):
            await until("stands by for acct again")
            await until("pid ")
            command.send(signal.SIGTERM)
            assert await command.exit_code() == 143
    said = [line.removeprefix("tenure: ") for line in told]
    assert "a has stopped its work for acct: its lease was about to end" in said
    assert any(line.startswith("the broker is not heard; ") for line in said)
    assert any(line.startswith("the lease is over: ") for line in said)
    assert [line for line in told if not re.match(r"tenure: |epoch \d|pid \d", line)] == []


@pytest.mark.parametrize(
    "command", [("status",), ("events",), ("resign", "x"), ("run", "--service", "x", "--", "true")]
)
async def test_a_broker_that_is_not_there_is_one_line_and_exit_code_69(
    command: tuple[str, ...], environ: dict[str, str]
) -> None:
    """Every command that needs a broker says where it looked."""
    code, out = await output_of(*command, environ=environ)
    assert code == 69
    assert len(out.splitlines()) == 1
    assert environ["TENURE_ENDPOINT"] in out


async def test_killing_run_itself_leaves_no_orphan_and_moves_the_role(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """With `tenure run` gone its keeper ends the program before the lease ends; then the standby's program starts."""
    async with serving(socket_directory), _active_and_standby(environ, "--lease-ms", "4000") as (first, epoch, second):
        program = int((await first.line("pid")).split()[-1])
        pidfd = pidfd_open(program)
        first.send(signal.SIGKILL)
        assert await _epoch_of(second) > epoch
        readable, _, _ = select.select([pidfd], [], [], 0)
        os.close(pidfd)
    assert readable, "the first program still ran when the second one had started"


async def test_a_failing_health_check_keeps_a_standby_from_being_promoted(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """Of two standbys the one whose check fails is passed over, although it has the higher priority."""
    async with serving(socket_directory), _running("a", environ) as first:
        await _epoch_of(first)  # before the others come, which would fill the first vacancy just as well
        async with (
            _running("sick", environ, "--priority", "9", "--check", "exit 1", "--check-interval-ms", "50") as sick,
            _running("well", environ, "--check", "exit 0", "--check-interval-ms", "50") as well,
        ):
            await sick.line("has failed 3 times")
            await well.line("stands by")
            await _until_healthy(environ, "well")
            code, out = await output_of("resign", "acct", environ=environ)
            assert (code, "well is active" in out) == (0, True), out


async def test_an_unhealthy_active_hands_over_to_a_healthy_standby(
    socket_directory: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """After three failures in a row the active stops its program, resigns, and the standby takes over."""
    sign = tmp_path / "well"
    sign.touch()
    check = ("--check", f"test -e {sign}", "--check-interval-ms", "50")
    async with serving(socket_directory), _active_and_standby(environ, *check) as (_, epoch, second):
        sign.unlink()
        assert await _epoch_of(second) > epoch


async def test_a_second_broker_on_the_same_data_is_refused_with_the_first_ones_pid(socket_directory: Path) -> None:
    """Exit code 78, and one line that says whose it is."""
    async with serving(socket_directory) as broker:
        code, out = await output_of("serve", "--data", str(socket_directory / "data"), "--no-admin")
    assert (code, str(broker.pid) in out) == (78, True), out


async def test_serve_ends_cleanly_on_sigterm(socket_directory: Path) -> None:
    """SIGTERM ends the broker with exit code 0."""
    async with serving(socket_directory) as broker:
        broker.send(signal.SIGTERM)
        assert await broker.exit_code() == 0


@pytest.mark.parametrize("is_default", [True, False])
async def test_what_serve_says_to_try_works(socket_directory: Path, *, is_default: bool) -> None:
    """It names the endpoint only where the command would not find it by itself."""
    (socket_directory / "tenure").mkdir(mode=0o700)
    environ = {"TENURE_ENDPOINT": "", "XDG_RUNTIME_DIR": str(socket_directory)}
    endpoint = f"ipc://{socket_directory}/tenure/{'broker.ipc' if is_default else 'other.ipc'}"
    places = ("--data", f"{socket_directory}/data", "--bind", endpoint, "--events-bind", f"ipc://{socket_directory}/e")
    async with tenure("serve", "--no-admin", *places, environ=environ) as broker:
        line = await broker.line("Try it:  ")
        assert ("--endpoint" in line) is not is_default
        words = shlex.split(line.removeprefix("Try it:  tenure ").replace("sleep 1000", "echo it works"))
        code, out = await output_of(*words, environ=environ)
    assert (code, "it works" in out) == (0, True), out


async def test_a_bind_that_other_machines_reach_is_refused() -> None:
    """Without --insecure-bind only loopback and ipc are served."""
    code, out = await output_of("serve", "--bind", "tcp://0.0.0.0:7400")
    assert (code, "insecure" in out) == (78, True), out


async def test_version_and_help_need_no_broker() -> None:
    """`version` prints a version, and every command explains itself."""
    assert (await output_of("version"))[1].startswith("tenure ")
    for command in ("serve", "run", "status", "top", "events", "resign", "admin", "verify", "demo"):
        code, out = await output_of(command, "--help")
        assert (code, "Usage:" in out) == (0, True), out


def test_every_command_is_in_the_docs() -> None:
    """docs/cli.md has a section for each command of the command line."""
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    names = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    names += [group.name for group in app.registered_groups if group.name]
    assert names
    assert [name for name in names if f"## tenure {name}" not in page] == []


@contextlib.asynccontextmanager
async def _active_and_standby(
    environ: dict[str, str], *flags_of_active: str
) -> AsyncGenerator[tuple[Command, int, Command]]:
    """Instance `a`, active, with its epoch, and instance `b`, standing by."""
    async with _running("a", environ, *flags_of_active) as active:
        epoch = await _epoch_of(active)
        async with _running("b", environ) as standby:
            await standby.line("stands by")
            yield active, epoch, standby


def _running(instance_id: str, environ: dict[str, str], *flags: str) -> AbstractAsyncContextManager[Command]:
    """`tenure run` of a program that shows its epoch and its pid, and then waits for its end."""
    show = "echo epoch $TENURE_EPOCH; echo pid $$; exec sleep 600"
    arguments = ("run", "--service", "gw", "--resource", "acct", "--instance", instance_id, *flags, "--", *SHELL, show)
    return tenure(*arguments, environ=environ)


async def _epoch_of(command: Command) -> int:
    """The epoch under which the program of a `tenure run` was started, once it is."""
    return int((await command.line("epoch ")).split()[-1])


async def _until_healthy(environ: dict[str, str], instance_id: str) -> None:
    """Wait until the broker has an instance as healthy."""
    async with asyncio.timeout(30):
        while True:
            _, out = await output_of("status", "--json", environ=environ)
            standbys = json.loads(out)[0]["standbys"]
            if any((s["instance_id"], s["status"]) == (instance_id, "healthy") for s in standbys):
                return
