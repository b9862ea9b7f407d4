"""The write-ahead log as a file: how far it is written, how much of it is there ahead of use, and what can be trusted.

SQLite alone writes frames; this reads their headers (the format is SQLite's, documented and stable), writes zeros
beyond the end, which no reader takes for frames, and before SQLite opens the file writes what is there once more. It
may open and close this file, unlike the database, on which SQLite holds POSIX locks that any close would drop.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

_MAGIC: Final = b"\x37\x7f\x06"  # how a header begins; zeros written ahead of use do not
_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_COMMIT_SIZE: Final = struct.Struct(">4xI")  # in a frame's header: not 0 in the last frame of a transaction
_SALTS: Final = slice(16, 24)  # in the log's header; a frame of this round repeats them
_FRAME_SALTS: Final = slice(8, 16)
_CHUNK_BYTES: Final = 1024 * 1024


class WalFile:
    """The log of an open database, seen from beside SQLite, between two transactions."""

    def __init__(self, path: Path, page_bytes: int) -> None:
        self.frame_bytes: int = _FRAME_HEADER_BYTES + page_bytes
        """A page of the database and what goes before it."""
        self._header = b""
        self._file_bytes = 0
        self.used_frames: int = 0
        """Where SQLite goes on writing: after the last frame of the last transaction of this round."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    @property
    def used_bytes(self) -> int:
        """How much of the file this round has written."""
        return self.used_frames * self.frame_bytes

    def scan(self) -> bool:
        """Follow what SQLite has written since the last call; True if it began a new round, from the file's start.

        Raises:
            OSError: The file cannot be read.
        """
        header = os.pread(self._descriptor, _HEADER_BYTES, 0)
        has_wrapped = header != self._header
        if has_wrapped:
            self._header = header
            self.used_frames = 0
        at = self.used_frames
        while header.startswith(_MAGIC):
            # A header at a time: reading the pages between them as well took twice as long.
            frame = os.pread(self._descriptor, _FRAME_HEADER_BYTES, _HEADER_BYTES + at * self.frame_bytes)
            if len(frame) < _FRAME_HEADER_BYTES or frame[_FRAME_SALTS] != header[_SALTS]:
                break
            at += 1
            if _COMMIT_SIZE.unpack_from(frame)[0]:
                self.used_frames = at
        return has_wrapped

    def reserve(self, frames: int) -> None:
        """See that the file is written out to `frames` beyond what is used.

        Raises:
            OSError: The disk is full, or fails.
        """
        end = _HEADER_BYTES + (self.used_frames + frames) * self.frame_bytes
        if end <= self._file_bytes:
            return
        self._file_bytes = os.fstat(self._descriptor).st_size
        end += -end % _CHUNK_BYTES
        while self._file_bytes < end:
            zeros = bytes(min(_CHUNK_BYTES, end - self._file_bytes))
            self._file_bytes += os.pwrite(self._descriptor, zeros, self._file_bytes)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def write_again(path: Path) -> None:
    """Write what the log of a broker that did not close its store holds once more, and sync it.

    SQLite takes every complete transaction in the log for committed, but does not sync what it finds: it may be in the
    page cache only, and after a failed `fsync` even be there as if it were on the disk. What is granted on its ground
    must not go with the power, so each byte is made to be written, and waited for, before anything is read from it.

    Raises:
        OSError: The file cannot be read or written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        at = 0
        while data := os.pread(descriptor, _CHUNK_BYTES, at):
            at += os.pwrite(descriptor, data, at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable.

    Raises:
        OSError: The directory cannot be read or synced.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
