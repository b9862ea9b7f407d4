"""Commands whose output cannot be written: one clear line, or none if the reader has had enough, never a traceback."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tenure.sdk import ServiceClient
from tests.integration.serving import PATIENCE_S, endpoint_in, serving

WITHOUT_BROKER = [("--help",), ("version",), ("serve", "--sample-config"), ("serve", "--print-config"), ("demo",)]
WITH_BROKER = [("status",), ("status", "--json"), ("events",), ("events", "--follow"), ("explain", "acct")]


@pytest.fixture
def full() -> Generator[int]:
    """What takes nothing."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def unread() -> Generator[int]:
    """A pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def said_by(command: tuple[str, ...], output: int, endpoint: str = "", **environ: str) -> tuple[int, list[str]]:
    """The exit code of a command with this standard output, and its lines on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "tenure.cli", *command],
        env={**os.environ, "TENURE_ENDPOINT": endpoint, **environ},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("command", WITHOUT_BROKER)
def test_output_that_cannot_be_written_is_one_line_and_1(command: tuple[str, ...], full: int, unread: int) -> None:
    """Whatever it is that writes; a reader that has gone is no failure."""
    assert said_by(command, full) == (1, ["tenure: cannot write to standard output: No space left on device"])
    assert said_by(command, unread) == (0, [])
    assert said_by(command, unread, PYTHONUNBUFFERED="1") == (0, [])


@pytest.mark.timeout(300)  # twenty processes, one after the other
async def test_what_is_read_from_a_broker_and_cannot_be_written(socket_directory: Path, full: int, unread: int) -> None:
    """The same for tables, JSON and what goes on for ever."""
    endpoint = endpoint_in(socket_directory)
    async with serving(socket_directory), ServiceClient(endpoint, lease_ms=60_000) as client:
        await client.register("gw", instance_id="a", resource_id="acct", role="active")
        for command in WITH_BROKER:
            code, lines = await asyncio.to_thread(said_by, command, full, endpoint)
            assert (code, lines) == (1, ["tenure: cannot write to standard output: No space left on device"]), command
            assert await asyncio.to_thread(said_by, command, unread, endpoint) == (0, []), command


def test_output_that_was_closed_before_the_start_is_dropped() -> None:
    """As `>&-` has it."""
    shell = f"exec {sys.executable} -m tenure.cli version >&-"
    done = subprocess.run(["sh", "-c", shell], stderr=subprocess.PIPE, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, b"")
