"""Lines on standard error, and standard output that cannot be written to: one clear line instead of a traceback.

What is written to standard output goes on being buffered as Python does it. A failed write raises what is no OSError,
so that nobody takes it for a fault of a socket or a file; from then on all output is dropped, so that nothing fails
again on the way out.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Final, override

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_FAILED: Final = 1
_STDOUT: Final = 1


class OutputError(Exception):
    """Standard output took no more; `is_unread` if its reader has had enough, as `head` has."""

    def __init__(self, error: OSError) -> None:
        self.is_unread = isinstance(error, BrokenPipeError)
        super().__init__(f"cannot write to standard output: {error.strerror}")


class _Descriptor(io.FileIO):
    """Standard output's own file descriptor."""

    def __init__(self) -> None:
        super().__init__(_STDOUT, "w", closefd=False)

    @override
    def write(self, data: ReadableBuffer, /) -> int | None:  # type: ignore[override]  # as FileIO itself has it
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, _STDOUT)
            os.close(nowhere)
            raise OutputError(error) from None


def say(text: str) -> None:
    """Write lines to standard error in one piece: whoever writes to the same pipe writes before it or after it."""
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - it was closed before the start
        sys.stderr.write(f"{text}\n")  # print() may write the end of the line by itself
        sys.stderr.flush()


@contextlib.contextmanager
def guarded_output() -> Generator[None]:
    """Have standard output's failures end the block, and the process, with a line on standard error.

    Raises:
        SystemExit: It could not be written: 1, and without a word 0 if its reader has gone.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - it was closed before the start
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    else:
        sys.stdout = _guarded(sys.stdout)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OutputError as error:
        if error.is_unread:
            sys.exit(0)
        say(f"tenure: {error}")
        sys.exit(_FAILED)


def _guarded(stream: object) -> io.TextIOWrapper:
    assert isinstance(stream, io.TextIOWrapper), "this is a process of its own"
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor()),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )
