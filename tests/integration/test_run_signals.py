"""What `tenure run` does on signals: a program is asked, killed if it does not listen, and the role is never left held.

A terminal's Ctrl-C is a SIGINT for `tenure run` alone, as CMD has a session and a process group of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.integration.serving import PATIENCE_S, Command, endpoint_in, output_of, serving, tenure

LONG_LEASE = ("--lease-ms", "600000")
DEFIANT = """
trap '' TERM
trap 'echo interrupted' INT
sleep 600 &
echo started $! $$
while true; do wait $!; done
"""
"""Neither the shell nor what it has started ends on SIGTERM, nor on Ctrl-C."""
COUNTING = """
trap 'echo asked; n=1$n; test "$n" = 11 && { kill $!; exit 7; }' TERM
echo started
while true; do sleep 600 & wait $!; done
"""
"""Ends with 7, and leaves nothing running, when it is asked for the second time."""


@pytest.fixture
def environ(socket_directory: Path) -> dict[str, str]:
    """Where every command of a test finds the test's broker."""
    return {"TENURE_ENDPOINT": endpoint_in(socket_directory)}


def running(script: str, *flags: str, instance: str = "a") -> tuple[str, ...]:
    """`tenure run` of a shell script."""
    claim = ("--service", "gw", "--resource", "acct", "--instance", instance)
    return ("run", *claim, *flags, "--", "sh", "-c", script)


@contextlib.contextmanager
def pinned(pids: list[int]) -> Generator[list[int]]:
    """Descriptors of processes, which become readable when these end."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


async def until_active(environ: dict[str, str], instance: str) -> None:
    """Wait until the broker has an instance as the active one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            _, out = await output_of("status", "--json", environ=environ)
            active = json.loads(out)[0]["active"]
            if active is not None and active["instance_id"] == instance:
                return


async def the_rest_of(command: Command) -> str:
    """All that it has still to say, up to its end."""
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await command.process.communicate()
        return out.decode()


async def test_sigterm_kills_what_does_not_listen_and_releases_the_role(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """After the stop grace nothing of CMD is left, the exit code is 143, and a standby need not wait for the lease."""
    flags = (*LONG_LEASE, "--stop-grace-ms", "200")
    async with serving(socket_directory), tenure(*running(DEFIANT, *flags), environ=environ) as first:
        pids = [int(word) for word in (await first.line("started")).split()[1:]]
        async with tenure(*running("echo mine; exit 0", instance="b"), environ=environ) as second:
            await second.line("stands by")
            with pinned(pids) as descriptors:
                first.send(signal.SIGTERM)
                assert await first.exit_code() == 143
                assert len(select.select(descriptors, [], [], 0)[0]) == len(pids)
            await second.line("mine")


async def test_a_program_that_listens_keeps_its_exit_code(socket_directory: Path, environ: dict[str, str]) -> None:
    """It ends in time, so that its own exit code counts; a second SIGTERM is forwarded, and does not kill it."""
    async with serving(socket_directory), tenure(*running(COUNTING, *LONG_LEASE), environ=environ) as command:
        await command.line("started")
        command.send(signal.SIGTERM)
        await command.line("asked")
        command.send(signal.SIGTERM)
        await command.line("asked")
        assert await command.exit_code() == 7


async def test_sigterm_after_the_program_has_ended_does_not_change_its_exit_code(
    socket_directory: Path, environ: dict[str, str]
) -> None:
    """The broker does not answer, so that the role is still being released when the signal comes."""
    script = "trap 'exit 7' USR1; echo started $$; while true; do sleep 600 & wait $!; done"
    async with serving(socket_directory) as broker, tenure(*running(script, *LONG_LEASE), environ=environ) as command:
        (pid,) = [int(word) for word in (await command.line("started")).split()[1:]]
        broker.send(signal.SIGSTOP)
        try:
            with pinned([pid]) as descriptors:
                os.kill(pid, signal.SIGUSR1)
                await asyncio.to_thread(select.select, descriptors, [], [], PATIENCE_S)
            command.send(signal.SIGTERM)
            assert await command.exit_code() == 7
        finally:
            broker.send(signal.SIGCONT)


@pytest.mark.parametrize("grace_ms", ["600000", "0"])
async def test_a_lease_that_is_lost_after_sigterm_is_the_end(
    socket_directory: Path, environ: dict[str, str], grace_ms: str
) -> None:
    """The broker is killed; CMD does not end: when its time is up it is killed, and nothing stands by again."""
    flags = ("--lease-ms", "1000", "--stop-grace-ms", grace_ms)
    async with serving(socket_directory) as broker, tenure(*running(DEFIANT, *flags), environ=environ) as command:
        await command.line("started")
        broker.send(signal.SIGKILL)
        await broker.exit_code()
        command.send(signal.SIGTERM)
        assert "waiting for the broker" not in await the_rest_of(command)
        assert await command.exit_code() == 143


async def test_sigterm_while_standing_by_ends_at_once(socket_directory: Path, environ: dict[str, str]) -> None:
    """Exit code 143, CMD was never run, and it says goodbye: nobody has to wait for its lease, of ten minutes here."""
    async with serving(socket_directory), tenure(*running(DEFIANT), environ=environ) as first:
        await first.line("started")
        script = running("echo ran", *LONG_LEASE, "--check", "exit 0", instance="b")
        async with tenure(*script, environ=environ) as second:
            await second.line("stands by")
            second.send(signal.SIGTERM)
            second.send(signal.SIGTERM)
            assert "ran" not in await the_rest_of(second)
            assert await second.exit_code() == 143
        _, out = await output_of("status", "--json", environ=environ)
        assert json.loads(out)[0]["standbys"] == []
        first.send(signal.SIGKILL)


async def test_the_second_ctrl_c_does_as_sigterm(socket_directory: Path, environ: dict[str, str]) -> None:
    """The first is CMD's own affair; with the second a CMD that does not listen is killed, and the exit code is 130."""
    flags = (*LONG_LEASE, "--stop-grace-ms", "0")
    async with serving(socket_directory), tenure(*running(DEFIANT, *flags), environ=environ) as command:
        await command.line("started")
        command.send(signal.SIGINT)
        await command.line("interrupted")
        await until_active(environ, "a")
        command.send(signal.SIGINT)
        assert await command.exit_code() == 130


async def test_a_broker_that_is_away_costs_no_exit_code(socket_directory: Path, environ: dict[str, str]) -> None:
    """CMD ends by itself while nobody can be told: its exit code is returned all the same."""
    script = "trap 'exit 7' USR1; echo started; while true; do sleep 600 & wait $!; done"
    async with serving(socket_directory) as broker, tenure(*running(script, *LONG_LEASE), environ=environ) as command:
        await command.line("started")
        broker.send(signal.SIGKILL)
        await broker.exit_code()
        command.send(signal.SIGUSR1)
        assert await command.exit_code() == 7
