"""`tenure demo` that is interrupted, early or late: it ends without a traceback and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.serving import PATIENCE_S

INTERRUPTED_IMPORT = """
import sys
from tenure.cli import main
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "tenure.cli.demo":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
main()
"""


def still_running(place: Path) -> list[str]:
    """The command lines that name a directory."""
    found: list[str] = []
    for name in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes() if name.isdecimal() else b""
        except OSError:
            continue
        if str(place).encode() in line:
            found.append(line.decode())
    return found


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("start ", signal.SIGINT, 130),  # the broker is being started
        ("new → ", signal.SIGINT, 130),  # the first instance is there, the next ones are being started
        ("kill -9", signal.SIGINT, 130),
        ("new → ", signal.SIGTERM, 143),
        ("new → ", signal.SIGHUP, 129),
    ],
)
async def test_an_interrupted_demo_leaves_nothing_behind(
    socket_directory: Path, moment: str, number: signal.Signals, code: int
) -> None:
    """A terminal sends Ctrl-C to the whole process group; twice, as people do."""
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenure.cli", "demo"),
        env={**os.environ, "TMPDIR": str(socket_directory), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert demo.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while moment not in (line := (await demo.stdout.readline()).decode()):
            assert line, "the demo ended before that"
        os.killpg(demo.pid, number)
        os.killpg(demo.pid, number)
        _, said = await demo.communicate()
    assert (demo.returncode, said.decode()) == (code, "")
    assert still_running(socket_directory) == []
    assert os.listdir(socket_directory) == []


def test_a_command_that_is_interrupted_while_it_starts_says_nothing() -> None:
    """Half a second goes into imports, in which people change their minds as well."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT], stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stderr) == (130, "")
