"""CMD under its keeper, on real processes: how it is run and stopped, and that nothing of it outlives the lease."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tenure.cli import keeper, supervisor
from tenure.cli.descendants import descendants, is_child_subreaper, signal_descendant
from tenure.cli.startable import CommandStartError
from tenure.cli.supervisor import (
    Deadline,
    KeeperLostError,
    LeaseTooShortError,
    Outcome,
    StopCause,
    Supervisor,
)
from tests.integration.keeper_rig import LONG_MS, Ear, Life, listening, start, strings_of


@pytest.fixture
def ear(tmp_path: Path) -> Generator[Ear]:
    """What hears the programs; at the end, none of them may be left."""
    with listening(tmp_path) as ear:
        yield ear


# How CMD is run, and how its end is passed on.


@pytest.mark.parametrize(("script", "exit_code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
async def test_the_exit_status_of_the_command_is_passed_on(script: str, exit_code: int) -> None:
    """The outcome is CMD's exit code, or 128 + the signal that ended it, as a shell would have it."""
    async with Supervisor(["sh", "-c", script]) as work:
        await start(work)
        assert await work.wait() == Outcome(exit_code, StopCause.EXITED)
        assert work.is_gone


async def test_the_command_gets_its_arguments_and_exactly_the_environment_given(ear: Ear) -> None:
    """Nothing of the keeper gets into CMD: arguments and variables arrive byte for byte, also long and odd ones."""
    odd = os.fsdecode(b"\xff not UTF-8") + "\n '\"$HOME"
    env = {f"NAME_{number}": str(number) for number in range(1_000)}
    env |= {"LONG": "x" * 120_000, "ODD": odd, "EMPTY": "", "EQUALS": "a=b=c", "PYTHONPATH": "/nowhere"}
    command = [*ear.program("idle"), odd, "", "y" * 120_000]
    async with Supervisor(command, stop_grace_ms=0) as work:
        await start(work, env=env)
        facts = await ear.hear("ready")
        assert facts["cwd"] == os.getcwd()
        assert strings_of(work.pid, "cmdline") == list(map(os.fsencode, command))
        assert strings_of(work.pid, "environ") == [os.fsencode(f"{name}={value}") for name, value in env.items()]


async def test_the_command_inherits_no_descriptor_but_the_standard_three(ear: Ear) -> None:
    """CMD has 0, 1 and 2, whatever `tenure run` has open: were the socket among it, nobody would see it close."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        async with Supervisor(ear.program("idle"), stop_grace_ms=0) as work:
            await start(work)
            facts = await ear.hear("ready")
            assert sorted(facts["fds"]) == ["0", "1", "2", "3"], "the fourth is the one that lists them"
    finally:
        os.close(read)
        os.close(write)


async def test_the_command_has_a_process_group_of_its_own_and_leads_no_session(ear: Ear) -> None:
    """What is sent to the group of `tenure run` does not meet CMD, and no serial port becomes CMD's terminal."""
    async with Supervisor(ear.program("idle"), stop_grace_ms=0) as work:
        await start(work)
        facts = await ear.hear("ready")
        assert facts["group"] == work.pid != os.getpgrp()
        assert facts["session"] == facts["parent"] != os.getsid(0), "the session is the keeper's"


async def test_the_command_has_default_signals_but_for_what_nohup_ignores(ear: Ear, tmp_path: Path) -> None:
    """The keeper's handlers and Python's do not reach CMD; a SIGHUP that was ignored before stays ignored."""
    script = f"grep -E '^Sig(Blk|Ign)' /proc/self/status > {tmp_path}/signals"
    settings = json.dumps({"command": ["sh", "-c", script], "lease_ms": LONG_MS})
    nohup = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *ear.program("driver", settings)]
    process = await asyncio.create_subprocess_exec(*nohup)
    assert await process.wait() == 0
    await ear.hear("outcome")
    lines = dict(line.split(":\t") for line in (tmp_path / "signals").read_text().splitlines())
    # The C library has two signals for itself, which nobody can set, and what `make` starts inherits them ignored.
    settable = sum(1 << (number - 1) for number in signal.valid_signals())
    signals = {name: int(mask, 16) & settable for name, mask in lines.items()}
    assert signals == {"SigBlk": 0, "SigIgn": 1 << (signal.SIGHUP - 1)}


@pytest.mark.parametrize(
    ("name", "mode", "exit_code"),
    [("missing", None, 127), ("not-executable", 0o644, 126), ("no-program", 0o755, 126), ("directory", None, 126)],
)
async def test_a_wrong_command_is_a_clear_error(tmp_path: Path, name: str, mode: int | None, exit_code: int) -> None:
    """The error names the command, with the exit code a shell would give: 127 not found, 126 not executable."""
    path = tmp_path / name
    if mode is not None:
        path.write_bytes(b"\0")
        path.chmod(mode)
    elif name == "directory":
        path.mkdir()
    async with Supervisor([str(path)]) as work:
        with pytest.raises(CommandStartError, match=f"cannot run '{path}'") as error:
            await start(work)
    assert error.value.exit_code == exit_code


async def test_a_command_is_found_on_the_path_of_its_own_environment(tmp_path: Path) -> None:
    """PATH is looked up in the environment given, and a name that is on none of it is 127."""
    (tmp_path / "tool").symlink_to("/bin/true")
    async with Supervisor(["tool"]) as work:
        await start(work, env={"PATH": str(tmp_path)})
        assert (await work.wait()).exit_code == 0
    async with Supervisor(["tool"]) as work:
        with pytest.raises(CommandStartError) as error:
            await start(work, env={"PATH": "/usr/bin"})
    assert error.value.exit_code == 127


async def test_what_no_command_may_hold_is_refused_before_anything_runs() -> None:
    """Empty commands, NUL bytes and strings longer than the kernel takes are errors of the caller."""
    with pytest.raises(ValueError, match="no command"):
        Supervisor([])
    with pytest.raises(ValueError, match="margin"):
        Supervisor(["true"], grace_ms=10, margin_ms=20)
    async with Supervisor(["true", "a\0b"]) as work:
        with pytest.raises(ValueError, match="NUL"):
            await start(work)
    async with Supervisor(["true", "x" * 200_000]) as work:
        with pytest.raises(CommandStartError, match="too long") as error:
            await start(work)
    assert error.value.exit_code == 126


async def test_nothing_is_started_at_the_end_of_a_lease(ear: Ear) -> None:
    """With no more left than the grace, CMD would be stopped at once, so it is not run at all."""
    async with Supervisor(ear.program("idle"), grace_ms=1_000) as work:
        for lease_ms in (1_000, float("-inf")):
            with pytest.raises(LeaseTooShortError, match="1000 ms"):
                await start(work, lease_ms)


async def test_the_keeper_starts_nothing_at_the_end_of_a_lease(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for itself, for START may have waited: here, for a `tenure run` whose clocks stand still."""

    def until_ms(_boottime_ms: float, _raw_ms: float) -> float:
        return LONG_MS

    async with Supervisor(ear.program("idle"), grace_ms=1_000) as work:
        deadline = Deadline.after_ms(0)
        monkeypatch.setattr(keeper, "until_ms", until_ms)
        with pytest.raises(LeaseTooShortError):
            await work.start(deadline)


async def test_nothing_leaks_from_one_supervisor_to_the_next() -> None:
    """After the end there is no descriptor, no child, and no adoption of orphans left."""
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        async with Supervisor(["true"]) as work:
            assert is_child_subreaper()
            await start(work)
            await work.wait()
    async with Supervisor(["true"]):
        pass  # one that was never needed
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert not is_child_subreaper()


# Stopping, and what CMD leaves behind.


async def test_what_the_command_leaves_behind_is_gone_before_the_end_is_reported(ear: Ear) -> None:
    """After CMD's exit the rest is asked, then killed: also a daemon with a session of its own that ignores SIGTERM."""
    async with Supervisor(ear.program("leaving"), stop_grace_ms=1_500) as work:
        await start(work)
        await ear.hear("ready")
        assert await work.wait() == Outcome(3, StopCause.EXITED)
        assert ear.survivors() == []
        child, daemon, asked = [await ear.hear(event) for event in ("child", "daemon", "child asked")]
        assert asked["pid"] == child["pid"]
        for facts in (child, daemon):
            with pytest.raises(ProcessLookupError):  # not even a zombie is left
                os.kill(facts["pid"], 0)


async def test_stop_asks_and_then_kills_everything(ear: Ear) -> None:
    """A CMD that ignores SIGTERM is killed after the grace, with its daemon, and the cause says that it was stopped."""
    async with Supervisor(ear.program("defiant"), stop_grace_ms=LONG_MS) as work:
        await start(work)
        await ear.hear("ready")
        work.stop()
        work.stop(grace_ms=100)  # a later call can shorten the grace
        assert await work.wait() == Outcome(137, StopCause.STOPPED)
        assert ear.survivors() == []


async def test_stop_reaches_a_command_that_is_stopped(ear: Ear) -> None:
    """SIGTERM is followed by SIGCONT, for a process under SIGSTOP acts on nothing but SIGKILL."""
    async with Supervisor(ear.program("idle"), stop_grace_ms=LONG_MS) as work:
        await start(work)
        await ear.hear("ready")
        os.kill(work.pid, signal.SIGSTOP)
        work.stop()
        assert await work.wait() == Outcome(143, StopCause.STOPPED)


async def test_leaving_the_context_stops_the_command(ear: Ear) -> None:
    """Whoever is cancelled inside the context leaves it only when all is gone."""

    async def work_until_cancelled() -> None:
        async with Supervisor(ear.program("defiant"), stop_grace_ms=0) as work:
            await start(work)
            await work.wait()

    task = asyncio.create_task(work_until_cancelled())
    await ear.hear("ready")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ear.survivors() == []


@pytest.mark.parametrize(("role", "argument"), [("many", "100"), ("chain", ""), ("hydra", "4")])
async def test_everything_is_killed_however_it_forks(ear: Ear, role: str, argument: str) -> None:
    """A hundred processes, a chain that forks on for ever, and children that are replaced when they die all end."""
    async with Supervisor(ear.program(role, *filter(None, [argument]))) as work:
        await start(work)
        await ear.hear("ready")
        work.stop(grace_ms=0)
        assert await work.wait() == Outcome(137, StopCause.STOPPED)
        assert ear.survivors() == []


# The lease.


@pytest.mark.parametrize("ending", ["boottime_ms", "raw_ms"])
async def test_the_first_clock_to_reach_its_deadline_ends_the_work(ear: Ear, ending: str) -> None:
    """Work is allowed only while both clocks are before their deadlines."""
    async with Supervisor(ear.program("idle"), grace_ms=3_000) as work:
        await start(work)
        await ear.hear("ready")
        near, far = Deadline.after_ms(3_500), Deadline.after_ms(LONG_MS)
        work.extend(far._replace(**{ending: getattr(near, ending)}))
        assert await work.wait() == Outcome(143, StopCause.LEASE_ENDED)


async def test_an_extended_deadline_keeps_the_command_going(ear: Ear) -> None:
    """CMD is asked to stop the grace before the last deadline given, never before, and is dead before that deadline."""
    async with Supervisor(ear.program("listening", "SIGTERM"), grace_ms=2_000, margin_ms=1_500) as work:
        first = await start(work, lease_ms=4_000)
        cmd = Life(await ear.hear("ready"))
        deadline = Deadline(first.boottime_ms + 1_000, first.raw_ms + 1_000)
        work.extend(deadline)
        asked = await ear.hear("signal")
        assert asked["name"] == "SIGTERM"
        assert asked["boottime_ms"] >= deadline.boottime_ms - 2_000
        await cmd.end()
        assert keeper.until_ms(*deadline) > 0
        assert await work.wait() == Outcome(137, StopCause.LEASE_ENDED)


async def test_a_deadline_that_has_passed_ends_the_work_at_once(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever learns late that the role is gone says so with a deadline in the past: there is no more time to ask."""
    monkeypatch.setattr(supervisor, "_PROMPT_MS", LONG_MS)
    async with Supervisor(ear.program("idle")) as work:
        await start(work)
        await ear.hear("ready")
        work.extend(Deadline(float("-inf"), float("-inf")))
        assert await work.wait() == Outcome(137, StopCause.LEASE_ENDED)


async def test_extending_never_blocks_and_the_newest_deadline_wins(ear: Ear) -> None:
    """Ten thousand deadlines for a keeper that reads none: the newest is what it acts on when it reads again."""
    async with Supervisor(ear.program("idle"), grace_ms=200_000) as work:
        await start(work)
        facts = await ear.hear("ready")
        os.kill(facts["parent"], signal.SIGSTOP)
        for _ in range(10_000):
            work.extend(Deadline.after_ms(LONG_MS))
        work.extend(Deadline.after_ms(190_000))  # less than the grace: CMD has to go
        os.kill(facts["parent"], signal.SIGCONT)
        assert await work.wait() == Outcome(143, StopCause.LEASE_ENDED)


async def test_a_signal_without_a_command_reaches_nobody(ear: Ear) -> None:
    """Before CMD runs there is nobody to forward to, least of all the keeper's own group."""
    async with Supervisor(ear.program("idle"), stop_grace_ms=0) as work:
        work.send_signal(signal.SIGINT)
        work.send_signal(signal.SIGKILL)
        await start(work)
        await ear.hear("ready")
        work.stop()
        assert (await work.wait()).cause is StopCause.STOPPED
        work.send_signal(signal.SIGKILL)


# The keeper itself.


def test_the_keeper_imports_nothing_slow() -> None:
    """It starts before every takeover and every health check, so what it imports is watched."""
    script = "import sys; sys.path.append(sys.argv[1]); import tenure.cli.keeper; print(*sys.modules)"
    folder = str(Path(keeper.__file__).parents[2])
    run = subprocess.run([sys.executable, "-I", "-S", "-c", script, folder], stdout=subprocess.PIPE, check=True)
    slow = {"asyncio", "dataclasses", "inspect", "json", "msgspec", "re", "socket", "subprocess", "typing", "typer"}
    assert slow.isdisjoint(run.stdout.decode().split())


@pytest.mark.parametrize(
    ("code", "why"), [("import os, sys; os.write(int(sys.argv[2]), b'Uno prctl')", "no prctl"), ("pass", "at once")]
)
async def test_a_keeper_that_cannot_work_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, code: str, why: str) -> None:
    """Where the kernel refuses what the keeper needs, nothing is run unguarded."""
    monkeypatch.setattr(supervisor, "_KEEPER", code)
    with pytest.raises(KeeperLostError, match=why):
        async with Supervisor(["true"]):
            pass
    assert not is_child_subreaper()


def test_a_keeper_says_why_it_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reports what the kernel refuses before it takes any command."""

    def refuse(*, is_subreaper: bool) -> None:
        raise PermissionError(f"adoption {is_subreaper} is not permitted")

    monkeypatch.setattr(keeper, "set_child_subreaper", refuse)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        keeper.main(theirs.fileno())
        assert ours.recv(1_000) == b"Uadoption True is not permitted"


async def test_a_walk_through_proc_finds_the_same_descendants(ear: Ear) -> None:
    """Kernels that do not list children are searched the long way, with the same result; the spared are left out."""
    async with Supervisor(ear.program("many", "10"), stop_grace_ms=0) as work:
        await start(work)
        await ear.hear("ready")
        mine = set(ear.survivors())
        listed = {pid: parent for pid, parent in descendants().items() if pid in mine}
        scanned = {pid: parent for pid, parent in descendants(kernel_lists_children=False).items() if pid in mine}
        assert len(listed) == 11
        assert listed == scanned
        assert mine.isdisjoint(descendants(frozenset({work.pid})))


async def test_a_stranger_is_never_signalled(ear: Ear) -> None:
    """A pid whose parent is not the one that was seen belongs to somebody else by now, and is left alone."""
    async with Supervisor(ear.program("idle"), stop_grace_ms=LONG_MS) as work:
        await start(work)
        facts = await ear.hear("ready")
        assert not signal_descendant(work.pid, 1, signal.SIGKILL)
        assert signal_descendant(work.pid, facts["parent"], signal.SIGKILL, but_not_group=work.pid)
        assert signal_descendant(work.pid, facts["parent"], signal.SIGTERM)
        assert await work.wait() == Outcome(143, StopCause.EXITED), "by the third: the first two were not sent"
        assert signal_descendant(work.pid, facts["parent"], signal.SIGKILL), "nothing is owed to what is gone"
