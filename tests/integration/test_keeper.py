"""CMD under its keeper, on real processes: nothing of it outlives the lease, whatever is killed, stopped or forked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tenure.cli import keeper, supervisor
from tenure.cli.descendants import descendants, is_child_subreaper, parent_and_group, signal_descendant
from tenure.cli.supervisor import (
    CommandStartError,
    Deadline,
    KeeperLostError,
    LeaseTooShortError,
    Outcome,
    StopCause,
    Supervisor,
    run_check,
)

PROGRAMS = Path(__file__).with_name("keeper_programs.py")
PATIENCE_S = 60.0
LONG_MS = 600_000.0


class Ear:
    """Hears what the programs of one test say, and knows which of them are still there."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self._heard: list[dict[str, Any]] = []

    def program(self, role: str, *arguments: str) -> list[str]:
        """The command line of a program."""
        flags = [] if role == "driver" else ["-I", "-S"]
        return [sys.executable, *flags, str(PROGRAMS), role, self.path, *arguments]

    async def hear(self, *events: str) -> dict[str, Any]:
        """The next of these events, whatever else was said before."""
        while True:
            for heard in self._heard:
                if heard["event"] in events:
                    self._heard.remove(heard)
                    return heard
            receiving = asyncio.get_running_loop().sock_recv(self._socket, 65_536)
            self._heard.append(json.loads(await asyncio.wait_for(receiving, PATIENCE_S)))

    def survivors(self) -> list[int]:
        """The programs that still run: the path of this ear is in their command lines."""
        found: list[int] = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdecimal() and self.path.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
        return found

    def close(self) -> list[int]:
        """End what a failed test has left behind, and say what that was."""
        survivors = self.survivors()
        for pid in survivors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._socket.close()
        return survivors


@pytest.fixture
def ear(tmp_path: Path) -> Generator[Ear]:
    """What hears the programs; at the end, none of them may be left."""
    ear = Ear(tmp_path / "ear")
    yield ear
    assert ear.close() == []


class Life:
    """One process, pinned by a descriptor while it is known to live."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.pid: int = facts["pid"]
        self._pidfd = os.pidfd_open(self.pid)

    async def end(self) -> None:
        """Wait until it has ended."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), PATIENCE_S)
        finally:
            loop.remove_reader(self._pidfd)
            os.close(self._pidfd)


class Driver(NamedTuple):
    """A process like `tenure run`, which a test may kill and stop, and the other end of its terminal."""

    process: subprocess.Popen[bytes]
    terminal: int

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)


@contextlib.contextmanager
def driving(ear: Ear, role: str, *arguments: str, **settings: object) -> Generator[Driver]:
    """Let a process of its own supervise a program."""
    given = json.dumps({"command": ear.program(role, *arguments), "lease_ms": LONG_MS} | settings)
    master, slave = pty.openpty()
    stream = slave if settings.get("has_terminal") else subprocess.DEVNULL
    process = subprocess.Popen(ear.program("driver", given), stdin=stream, stdout=stream, start_new_session=True)
    os.close(slave)
    try:
        yield Driver(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


async def start(work: Supervisor, lease_ms: float = LONG_MS, env: dict[str, str] | None = None) -> Deadline:
    """Start the work on a lease of this length."""
    deadline = Deadline.after_ms(lease_ms)
    await work.start(deadline, env)
    return deadline


def strings_of(pid: int, name: str) -> list[bytes]:
    """The arguments (`cmdline`) or the environment (`environ`) of a process, as the kernel has them."""
    return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")[:-1]


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
    signals = dict(line.split(":\t") for line in (tmp_path / "signals").read_text().splitlines())
    assert signals == {"SigBlk": f"{0:016x}", "SigIgn": f"{1 << (signal.SIGHUP - 1):016x}"}


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
        with pytest.raises(LeaseTooShortError, match="1000 ms"):
            await start(work, lease_ms=1_000)


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


# When `tenure run` or the keeper is killed or stopped.


async def test_the_command_dies_when_its_supervisor_is_killed(ear: Ear) -> None:
    """SIGKILL for `tenure run` and its whole process group: the keeper sees the socket close and ends everything."""
    with driving(ear, "defiant", times={"grace_ms": 100, "margin_ms": 50}) as driver:
        daemon, cmd = Life(await ear.hear("daemon")), Life(await ear.hear("ready"))
        os.killpg(driver.process.pid, signal.SIGKILL)
        await cmd.end()
        await daemon.end()


async def test_the_command_is_asked_first_when_its_supervisor_is_killed(ear: Ear) -> None:
    """The role outlives `tenure run` until the lease ends, so CMD has time to leave in good order."""
    with driving(ear, "listening", "SIGTERM", times={"grace_ms": 1_500}) as driver:
        child, cmd = Life(await ear.hear("child")), Life(await ear.hear("ready"))
        driver.send(signal.SIGKILL)
        assert (await ear.hear("signal"))["name"] == "SIGTERM"
        await cmd.end()
        await child.end()


async def test_the_command_dies_before_the_deadline_when_its_supervisor_is_stopped(ear: Ear) -> None:
    """SIGSTOP for `tenure run`: CMD is asked the grace before the deadline, never before, and is dead in time."""
    with driving(ear, "listening", "SIGTERM", lease_ms=4_000, times={"grace_ms": 2_500, "margin_ms": 2_000}) as driver:
        child, cmd = Life(await ear.hear("child")), Life(await ear.hear("ready"))
        deadline = Deadline(*(await ear.hear("driving"))["deadline"])
        driver.send(signal.SIGSTOP)
        asked = await ear.hear("signal")
        assert asked["boottime_ms"] >= deadline.boottime_ms - 2_500
        await cmd.end()
        await child.end()
        assert keeper.until_ms(*deadline) > 0
        driver.send(signal.SIGCONT)
        outcome = await ear.hear("outcome")
        assert (outcome["exit_code"], outcome["cause"]) == (137, "lease_ended")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_the_supervisor_finishes_when_the_keeper_is_killed(ear: Ear, number: int) -> None:
    """CMD dies with its keeper, its daemon is adopted and ended by `tenure run`, and only then is there an outcome."""
    with driving(ear, "defiant"):
        cmd_facts = await ear.hear("ready")
        daemon, cmd = Life(await ear.hear("daemon")), Life(cmd_facts)
        os.kill(cmd_facts["parent"], number)
        outcome = await ear.hear("outcome")
        assert (outcome["exit_code"], outcome["cause"]) == (137, "keeper_lost")
        for life in (cmd, daemon):
            await life.end()
            with pytest.raises(ProcessLookupError):
                os.kill(life.pid, 0)


async def test_the_supervisor_finishes_when_a_fork_bomb_has_lost_its_keeper(ear: Ear) -> None:
    """A chain of processes that fork and exit does not outrun `tenure run` either."""
    with driving(ear, "chain"):
        facts, _ = await ear.hear("driving"), await ear.hear("ready")
        keeper_pid, _ = parent_and_group(facts["command"])
        os.kill(keeper_pid, signal.SIGKILL)
        assert (await ear.hear("outcome"))["cause"] == "keeper_lost"
        assert [pid for pid in ear.survivors() if pid != facts["pid"]] == []


@pytest.mark.parametrize("lease", [{"lease_ms": 5_000}, {"shortened_to_ms": 5_000}])
async def test_the_supervisor_finishes_before_the_deadline_when_the_keeper_is_stopped(
    ear: Ear, lease: dict[str, int]
) -> None:
    """SIGSTOP for the keeper: half a margin before the deadline `tenure run` kills it and ends what it has left."""
    with driving(ear, "defiant", **lease, times={"grace_ms": 3_000, "margin_ms": 3_000}):
        cmd_facts = await ear.hear("ready")
        daemon, cmd = Life(await ear.hear("daemon")), Life(cmd_facts)
        deadline = Deadline(*(await ear.hear("driving"))["deadline"])
        os.kill(cmd_facts["parent"], signal.SIGSTOP)
        await cmd.end()
        await daemon.end()
        assert keeper.until_ms(*deadline) > 0
        outcome = await ear.hear("outcome")
        assert (outcome["exit_code"], outcome["cause"]) == (137, "keeper_lost")


async def test_the_supervisor_stops_the_command_without_a_keeper_that_is_stopped(ear: Ear) -> None:
    """A keeper under SIGSTOP does not answer `stop`: `tenure run` waits a little, and does it by itself."""
    with driving(ear, "defiant") as driver:
        facts, _ = await ear.hear("ready"), await ear.hear("driving")
        os.kill(facts["parent"], signal.SIGSTOP)
        driver.send(signal.SIGTERM)
        outcome = await ear.hear("outcome")
        assert (outcome["exit_code"], outcome["cause"]) == (137, "keeper_lost")


async def test_the_command_dies_when_supervisor_and_keeper_are_killed_together(ear: Ear) -> None:
    """Even then the kernel kills CMD itself (PR_SET_PDEATHSIG); more cannot be had."""
    with driving(ear, "idle") as driver:
        facts = await ear.hear("ready")
        cmd = Life(facts)
        os.kill(facts["parent"], signal.SIGSTOP)
        driver.send(signal.SIGKILL)
        os.kill(facts["parent"], signal.SIGKILL)
        await cmd.end()


async def test_a_keeper_that_fails_kills_everything_first(ear: Ear) -> None:
    """A defect in the keeper (here: a message nobody sends) ends the work even while `tenure run` is stopped."""
    with driving(ear, "defiant") as driver:
        lives = [Life(await ear.hear("daemon")), Life(await ear.hear("ready"))]
        await ear.hear("driving")
        driver.send(signal.SIGHUP)
        for life in lives:
            await life.end()
        driver.send(signal.SIGCONT)
        outcome = await ear.hear("outcome")
        assert (outcome["exit_code"], outcome["cause"]) == (137, "keeper_lost")


# Signals and the terminal.


async def test_signals_are_forwarded_once(ear: Ear) -> None:
    """CMD alone gets what is meant for a process, its whole group what a terminal would send to it."""
    with driving(ear, "listening", "SIGINT", "SIGUSR1") as driver:
        await ear.hear("ready")
        driver.send(signal.SIGUSR1)
        assert (await ear.hear("signal"))["name"] == "SIGUSR1"
        for _ in range(2):  # the second shows that nothing else was pending behind the first
            driver.send(signal.SIGINT)
            assert (await ear.hear("child signal"))["name"] == "SIGINT", "and no SIGUSR1"
            assert (await ear.hear("signal"))["name"] == "SIGINT"
        driver.send(signal.SIGUSR2)
        assert (await ear.hear("signal"))["name"] == "SIGUSR2", "and nothing twice before it"
        assert (await ear.hear("outcome"))["exit_code"] == 5


async def test_a_command_on_a_terminal_reads_writes_and_gets_ctrl_c_once(ear: Ear) -> None:
    """CMD's input and output are the terminal, and its interrupt key is one SIGINT, forwarded by `tenure run`."""
    with driving(ear, "reading", has_terminal=True) as driver:
        assert (await ear.hear("ready"))["is_terminal"]
        os.write(driver.terminal, b"hello\n")
        assert (await ear.hear("line"))["text"] == "hello\n"
        os.write(driver.terminal, b"\x03")
        assert (await ear.hear("signal"))["name"] == "SIGINT"
        driver.send(signal.SIGUSR2)
        assert (await ear.hear("signal"))["name"] == "SIGUSR2", "and no second SIGINT before it"
        assert (await ear.hear("outcome"))["exit_code"] == 5
        assert b"answer" in os.read(driver.terminal, 1_000)


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


# Health checks.


@pytest.mark.parametrize(("script", "is_healthy"), [("exit 0", True), ("exit 1", False), ("kill -9 $$", False)])
async def test_a_check_is_healthy_when_it_ends_with_0(script: str, *, is_healthy: bool) -> None:
    """Its exit code is all that counts."""
    assert await run_check(["sh", "-c", script], timeout_ms=LONG_MS) is is_healthy


async def test_a_check_that_takes_too_long_is_killed_with_all_it_started(ear: Ear) -> None:
    """In time, or not healthy: whatever it has started is gone when the answer is there."""
    assert not await run_check(ear.program("defiant"), timeout_ms=1_000)
    assert ear.survivors() == []


async def test_a_check_has_the_environment_given_and_only_errors_to_show(capfd: pytest.CaptureFixture[str]) -> None:
    """It knows the role's variables, takes no input away from CMD, and adds nothing to CMD's output."""
    script = 'echo noise; echo why >&2; [ "$TENURE_EPOCH" = 7 ] && [ -z "$(cat)" ]'
    env = {"TENURE_EPOCH": "7", "PATH": "/usr/bin:/bin"}
    read, write = os.pipe()
    os.write(write, b"input of CMD")
    os.close(write)
    saved = os.dup(0)
    os.dup2(read, 0)
    try:
        assert await run_check(["/bin/sh", "-c", script], env, timeout_ms=LONG_MS)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(read)
    assert capfd.readouterr() == ("", "why\n")


async def test_a_check_that_cannot_be_run_is_an_error_not_an_illness() -> None:
    """A misspelt check would otherwise keep an instance from ever being active, without a word."""
    with pytest.raises(CommandStartError, match="no-such-check"):
        await run_check(["no-such-check"], timeout_ms=LONG_MS)
