"""A process of the bench that says what it does, line by line; whoever waits for a line waits for a bounded time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import Final, Self

from bench.processes import ProcessFailedError

_PATIENCE_S: Final = 30.0
_READ_BYTES: Final = 65_536


class Talking:
    """One process, its lines, and its end: leaving the block kills it."""

    def __init__(self, command: Sequence[str]) -> None:
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=surroundings)
        self._command = command
        self._unread = b""

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it, also if it is stopped."""
        self.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def words(self, first: str, patience_s: float = _PATIENCE_S) -> list[str]:
        """The next line that begins with this word, without it; other lines before it are skipped.

        Raises:
            ProcessFailedError: It ended, or said nothing of the kind for a long time.
        """
        assert self._process.stdout is not None, "its output was asked for"
        ends_at = monotonic() + patience_s
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                said = line.decode().split()
                if said[:1] == [first]:
                    return said[1:]
                continue
            readable, _, _ = select.select([self._process.stdout], [], [], max(0.0, ends_at - monotonic()))
            data = os.read(self._process.stdout.fileno(), _READ_BYTES) if readable else b""
            if not data:
                raise ProcessFailedError(f"{' '.join(self._command)} did not say {first!r}; its messages say why")
            self._unread += data

    def close(self) -> None:
        """Kill it and wait. Safe to repeat."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None, "its output was asked for"
        self._process.stdout.close()
