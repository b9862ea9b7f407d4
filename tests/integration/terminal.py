"""A command on a terminal of its own, and what stands on that terminal's screen, as a person would see it.

Waiting is for what is shown, never for time; every wait has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pyte

from tests.integration.serving import PATIENCE_S

_READ_BYTES = 65_536


class Terminal:
    """A terminal with a process on it."""

    def __init__(self, ours: int, process: asyncio.subprocess.Process, columns: int, lines: int) -> None:
        self.process = process
        self.written = b""
        """All that was written to it."""
        self._ours = ours
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._has_more = asyncio.Event()
        self._is_over = False
        os.set_blocking(ours, False)
        asyncio.get_running_loop().add_reader(ours, self._read)

    @property
    def lines(self) -> list[str]:
        """What stands on its screen."""
        return [line.rstrip() for line in self._screen.display]

    def line(self, containing: str) -> str:
        """The first line with these words."""
        return next(line for line in self.lines if containing in line)

    def looks_of(self, containing: str) -> Any:
        """How the first letter of the first line with these words looks: fg, bold, reverse."""
        number = next(number for number, line in enumerate(self.lines) if containing in line)
        return self._screen.buffer[number][0]

    async def until(self, is_so: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen is so."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not is_so(self.lines):
                    assert not self._is_over, self.text
                    self._has_more.clear()
                    await self._has_more.wait()
        except TimeoutError:
            raise AssertionError(self.text) from None
        return self.lines

    async def shows(self, *words: str) -> list[str]:
        """Wait until all of these stand on the screen."""
        return await self.until(lambda lines: all(any(one in line for line in lines) for one in words))

    @property
    def text(self) -> str:
        """The screen as one text, for people."""
        return "\n".join(["", *self.lines])

    def press(self, keys: str) -> None:
        """Type something; what a key sends is to be written as it is sent."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give it another size; the kernel tells the process."""
        self._screen.resize(lines, columns)
        _set_size(self._ours, columns, lines)

    @property
    def is_raw(self) -> bool:
        """Whether keys are not echoed."""
        return not termios.tcgetattr(self._ours)[3] & termios.ECHO

    async def exit_code(self) -> int:
        """Wait for the end of the process and of what it has written."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
        self._read()
        return code

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, _READ_BYTES):
                self.written += data
                self._stream.feed(data)
        except BlockingIOError:
            pass
        except OSError:  # nobody has it open any more
            self._is_over = True
            asyncio.get_running_loop().remove_reader(self._ours)
        self._has_more.set()


@contextlib.asynccontextmanager
async def on_terminal(
    *arguments: str, environ: dict[str, str], columns: int = 80, lines: int = 24
) -> AsyncGenerator[Terminal]:
    """A `tenure` command on a terminal of this size, which is its controlling one; it ends with the block."""
    ours, theirs = pty.openpty()
    _set_size(theirs, columns, lines)
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.terminal", "-m", "tenure.cli", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**inherited, "TERM": "xterm-256color", **environ},
        start_new_session=True,
    )
    terminal = Terminal(ours, process, columns, lines)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(theirs)
        os.close(ours)


def _set_size(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


if __name__ == "__main__":  # in the new session: takes the terminal as its own, so that Ctrl-C reaches it
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606
