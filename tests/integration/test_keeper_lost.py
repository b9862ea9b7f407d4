"""`tenure run` or its keeper killed or stopped: CMD and all that descends from it end before the lease, all the same.

Here a process of its own stands for `tenure run`, also for what reaches CMD through it: signals and the terminal.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tenure.cli import keeper
from tenure.cli.descendants import parent_and_group
from tenure.cli.supervisor import Deadline
from tests.integration.keeper_rig import Ear, Life, driving, listening


@pytest.fixture
def ear(tmp_path: Path) -> Generator[Ear]:
    """What hears the programs; at the end, none of them may be left."""
    with listening(tmp_path) as ear:
        yield ear


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
        assert await driver.outcome(ear) == (137, "lease_ended")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_the_supervisor_finishes_when_the_keeper_is_killed(ear: Ear, number: int) -> None:
    """CMD dies with its keeper, its daemon is adopted and ended by `tenure run`, and only then is there an outcome."""
    with driving(ear, "defiant") as driver:
        cmd_facts = await ear.hear("ready")
        daemon, cmd = Life(await ear.hear("daemon")), Life(cmd_facts)
        os.kill(cmd_facts["parent"], number)
        assert await driver.outcome(ear) == (137, "keeper_lost")
        for life in (cmd, daemon):
            await life.end()
            with pytest.raises(ProcessLookupError):
                os.kill(life.pid, 0)


async def test_the_supervisor_finishes_when_a_fork_bomb_has_lost_its_keeper(ear: Ear) -> None:
    """A chain of processes that fork and exit does not outrun `tenure run` either."""
    with driving(ear, "chain") as driver:
        facts, _ = await ear.hear("driving"), await ear.hear("ready")
        keeper_pid, _ = parent_and_group(facts["command"])
        os.kill(keeper_pid, signal.SIGKILL)
        assert await driver.outcome(ear) == (137, "keeper_lost")


@pytest.mark.parametrize("lease", [{"lease_ms": 5_000}, {"shortened_to_ms": 5_000}])
async def test_the_supervisor_finishes_before_the_deadline_when_the_keeper_is_stopped(
    ear: Ear, lease: dict[str, int]
) -> None:
    """SIGSTOP for the keeper: half a margin before the deadline `tenure run` kills it and ends what it has left."""
    with driving(ear, "defiant", **lease, times={"grace_ms": 3_000, "margin_ms": 3_000}) as driver:
        cmd_facts = await ear.hear("ready")
        daemon, cmd = Life(await ear.hear("daemon")), Life(cmd_facts)
        deadline = Deadline(*(await ear.hear("driving"))["deadline"])
        os.kill(cmd_facts["parent"], signal.SIGSTOP)
        await cmd.end()
        await daemon.end()
        assert keeper.until_ms(*deadline) > 0
        assert await driver.outcome(ear) == (137, "keeper_lost")


async def test_the_supervisor_stops_the_command_without_a_keeper_that_is_stopped(ear: Ear) -> None:
    """A keeper under SIGSTOP does not answer `stop`: `tenure run` waits a little, and does it by itself."""
    with driving(ear, "defiant") as driver:
        facts, _ = await ear.hear("ready"), await ear.hear("driving")
        os.kill(facts["parent"], signal.SIGSTOP)
        driver.send(signal.SIGTERM)
        assert await driver.outcome(ear) == (137, "keeper_lost")


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
        await driver.stopped()
        for life in lives:
            await life.end()
        driver.send(signal.SIGCONT)
        assert await driver.outcome(ear) == (137, "keeper_lost")


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
        assert await driver.outcome(ear) == (5, "exited")


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
        assert await driver.outcome(ear) == (5, "exited")
        assert b"answer" in os.read(driver.terminal, 1_000)
