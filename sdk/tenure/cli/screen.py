"""A terminal as a whole: lines that are drawn where they changed, keys as they are pressed, and its size as it is.

It is the terminal's other screen, so that what was there before is there again afterwards, however it ends: also with
SIGTERM, and while it is stopped with Ctrl-Z.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.text import Text

from tenure.cli.keys import KeyReader

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"  # the other screen, without a cursor, empty
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_KEY_BYTES: Final = 1_024
_ESCAPE_MS: Final = 50  # the bytes of one key come together; after this an escape is the escape key

TERMINATED: Final = 143
"""The exit code after SIGTERM."""


def can_draw() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


class Screen:
    """The terminal of this process while the block lasts; used from the event loop's thread."""

    def __init__(self, on_key: Callable[[str], None], wake: Callable[[], None]) -> None:
        """Prepare.

        Args:
            on_key: Gets each key that is pressed, if standard input is a terminal too.
            wake: Called when there is something to do: all is to be drawn anew, or it is to end.
        """
        self._on_key = on_key
        self._wake = wake
        self._console = Console(highlight=False)
        self._keys = KeyReader()
        self._flush: asyncio.TimerHandle | None = None
        self._input = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._was: list[Any] = []
        self._shown: list[str] = []
        self._loop = asyncio.get_running_loop()
        self.is_terminated = False
        """Whether SIGTERM has come, and it is to end."""

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._loop.add_signal_handler(signal.SIGWINCH, self._resized)
        self._loop.add_signal_handler(signal.SIGTSTP, self._stop)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back as it was."""
        for number in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGTERM):
            self._loop.remove_signal_handler(number)
        self._give_back()

    @property
    def width(self) -> int:
        """In columns."""
        return self._console.width

    @property
    def height(self) -> int:
        """In lines."""
        return self._console.height

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines, from the top; what does not fit is left out, and only what changed is written."""
        wanted = self._encoded(lines)
        changed = [
            f"\x1b[{number};1H\x1b[2K{line}"  # erased first: at the right edge it would take the last letter with it
            for number, line in enumerate(wanted, 1)
            if number > len(self._shown) or self._shown[number - 1] != line
        ]
        if len(wanted) < len(self._shown):
            changed.append(f"\x1b[{len(wanted) + 1};1H\x1b[J")
        self._shown = wanted
        if changed:
            self._write("".join(changed))

    def _encoded(self, lines: Sequence[Text]) -> list[str]:
        """The lines with their colours, as the terminal takes them."""
        width = self.width
        with self._console.capture() as capture:
            for line in lines[: self.height]:
                fitting = line.copy()
                fitting.truncate(width, overflow="ellipsis")
                self._console.print(fitting, soft_wrap=True)
        return capture.get().split("\n")[:-1]

    def _take(self) -> None:
        if self._input is not None:
            self._was = termios.tcgetattr(self._input)
            tty.setcbreak(self._input)
            self._loop.add_reader(self._input, self._read)
        self._shown = []
        self._write(_ENTER)

    def _give_back(self) -> None:
        if self._input is not None:
            self._loop.remove_reader(self._input)
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._was)
        self._write(_LEAVE)

    def _read(self) -> None:
        assert self._input is not None
        data = os.read(self._input, _KEY_BYTES)
        if not data:  # the terminal is gone; SIGHUP says so as well
            self._loop.remove_reader(self._input)
            return
        if self._flush is not None:
            self._flush.cancel()
        self._press(self._keys.feed(data))
        if self._keys.is_amid:
            self._flush = self._loop.call_later(_ESCAPE_MS / 1_000, lambda: self._press(self._keys.flush()))

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            self._on_key(key)

    def _resized(self) -> None:
        self._shown = []
        self._write("\x1b[2J")
        self._wake()

    def _stop(self) -> None:
        """Ctrl-Z: the shell has the terminal until this process is continued."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._wake()

    def _terminate(self) -> None:
        self.is_terminated = True
        self._wake()

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
