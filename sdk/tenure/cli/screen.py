"""A terminal as a whole: lines that fill it, keys as they are pressed, and its size as it is.

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
from rich.live import Live
from rich.text import Text

from tenure.cli.keys import KeyReader

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
        self._live = Live(console=Console(), screen=True, auto_refresh=False)
        self._keys = KeyReader()
        self._flush: asyncio.TimerHandle | None = None
        self._input = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._was: list[Any] = []
        self._loop = asyncio.get_running_loop()
        self.is_terminated = False
        """Whether SIGTERM has come, and it is to end."""

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._loop.add_signal_handler(signal.SIGWINCH, self._wake)
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
        return self._live.console.width

    @property
    def height(self) -> int:
        """In lines."""
        return self._live.console.height

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines, from the top; what does not fit is left out."""
        self._live.update(Text("\n", no_wrap=True, overflow="ellipsis").join(lines), refresh=True)

    def _take(self) -> None:
        if self._input is not None:
            self._was = termios.tcgetattr(self._input)
            tty.setcbreak(self._input)
            self._loop.add_reader(self._input, self._read)
        self._live.start()

    def _give_back(self) -> None:
        if self._input is not None:
            self._loop.remove_reader(self._input)
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._was)
        self._live.stop()

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

    def _stop(self) -> None:
        """Ctrl-Z: the shell has the terminal until this process is continued."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._wake()

    def _terminate(self) -> None:
        self.is_terminated = True
        self._wake()
