"""Lines on standard error are written in one piece: programs that share a pipe with `tenure run` never split them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.integration.serving import PATIENCE_S, endpoint_in, serving

CLAIM: Final = ("--service", "gw", "--resource", "acct", "--instance", "a")
WITHOUT_EXTRA: Final = "import sys; sys.modules['typer'] = None; from tenure.cli import main; main()"
WITH_WARNING: Final = "from tenure.cli.app import quietly, structlog as s; quietly(); s.get_logger().warning('late')"


@pytest.fixture(autouse=True, params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without Python's own buffering, which hides that a line is written in two pieces."""
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


def pieces_of(*arguments: str, output: int = subprocess.DEVNULL) -> list[str]:
    """What a Python program writes to standard error: the pipe is in packet mode, so that every write is one piece."""
    read, write = os.pipe2(os.O_DIRECT)
    pieces: list[str] = []
    with (
        open(read, "rb", buffering=0) as pipe,
        subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=write
        ) as process,
    ):
        os.close(write)
        while piece := pipe.read(65_536):
            pieces.append(piece.decode())
        process.wait(PATIENCE_S)
    return pieces


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "tenure.cli", "status", "--endpoint", "nowhere"), "tenure: endpoint 'nowhere': "),
        (("-c", WITHOUT_EXTRA), "pip install '.[cli]'"),
        (("-c", WITH_WARNING), "late"),
    ],
    ids=["error", "missing extra", "warning"],
)
def test_whatever_is_said_is_one_write(arguments: tuple[str, ...], said: str) -> None:
    """Errors, the extra to install, and the SDK's warnings."""
    (piece,) = pieces_of(*arguments)
    assert said in piece
    assert piece.endswith("\n")


def test_output_that_cannot_be_written_is_told_in_one_write() -> None:
    """The line that stands for what could not be written."""
    with open("/dev/full", "wb") as full:
        (piece,) = pieces_of("-m", "tenure.cli", "version", output=full.fileno())
    assert piece == "tenure: cannot write to standard output: No space left on device\n"


async def test_run_writes_each_line_in_one_piece(socket_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `tenure run` says stays whole beside what its program writes to the same pipe."""
    monkeypatch.setenv("TENURE_ENDPOINT", endpoint_in(socket_directory))
    run = ("-m", "tenure.cli", "run", *CLAIM, "--", "sh", "-c", "echo started >&2")
    async with serving(socket_directory):
        pieces = await asyncio.to_thread(pieces_of, *run)
    assert sorted(pieces) == [
        "started\n",
        "tenure: a is active for acct, epoch 3\n",
        "tenure: a stands by for acct\n",
    ]
