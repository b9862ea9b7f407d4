"""A temporary place for one run: its data in a directory of the user's choice, its sockets where paths are short.

Everything in it is gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path


class Transport(StrEnum):
    """How clients reach a broker on their own machine."""

    IPC = "ipc"
    TCP = "tcp"


class Place:
    """Directories of one run, and endpoints to bind that nobody else has."""

    def __init__(self, data: Path, sockets: Path, transport: Transport) -> None:
        self.data = data
        """On the file system to measure."""
        self._sockets = sockets
        self._transport = transport
        self._numbers = count()

    def socket_path(self) -> str:
        """A path for a socket of the bench's own."""
        return f"{self._sockets}/{next(self._numbers)}"

    def endpoint(self) -> str:
        """An endpoint to bind; over tcp its port is chosen by the system."""
        if self._transport is Transport.TCP:
            return "tcp://127.0.0.1:0"
        return f"ipc://{self.socket_path()}"


@contextmanager
def temporary_place(directory: Path, transport: Transport) -> Generator[Place]:
    """A place for one run, its data in a new directory inside `directory`.

    Raises:
        OSError: Nothing can be written there.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tenure-bench-", dir=directory) as data,
        tempfile.TemporaryDirectory(prefix="tenure-bench-") as sockets,
    ):
        yield Place(Path(data), Path(sockets), transport)
