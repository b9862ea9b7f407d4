"""The interval log: what a session believed about its tenures and when, as lines that `tenure verify` reads.

Each call writes its lines with one write(2), so that they are there in whole even if the process is killed right after
it; nothing is synced, so the loss of power may cost the end. A place that takes no log is refused before a client has a
session; a log that fails later says so once, as a warning, and stops: it never costs a role. It is written on the
lease's own thread, so its directory belongs on a local disk.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Final

import msgspec
import structlog

from tenure.contract.errors import TenureError
from tenure.contract.intervals import (
    INTERVAL_FORMAT,
    AnyIntervalRecord,
    EnteredRecord,
    ExtendedRecord,
    LeftRecord,
    SessionRecord,
    StoppedRecord,
)

LOG_SUFFIX: Final = ".intervals.jsonl"
_BYTES_MAX: Final = 1024 * 1024 * 1024  # with a few tenures and the default lease over a month; a disk has that much
_LINE_BYTES_MAX: Final = 1024 * 1024  # a session's 10,000 tenures take a fifth of it
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TIME_NAMESPACE: Final = Path("/proc/self/ns/time")

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder[AnyIntervalRecord](AnyIntervalRecord)


class IntervalLogError(TenureError):
    """An interval log cannot be read: the file and line, and why."""

    def __init__(self, place: str, line: int, why: str) -> None:
        self.place = place
        self.line = line
        where = f"{place}, line {line}" if line else place
        super().__init__(f"{where}: not an interval log that can be read: {why}")


class IntervalLogUnwritableError(TenureError):
    """There can be no interval log in a directory: which, and why."""

    def __init__(self, place: str, why: str) -> None:
        self.place = place
        super().__init__(
            f"no interval log can be written into {place}: {why}; name another directory (interval_log or "
            "TENURE_INTERVAL_LOG), or go without"
        )


class IntervalLog:
    """One session's log: a file of its own in a directory, made when the first tenure is entered.

    Any thread may call it. The caller keeps the order that makes the lines worth reading: `extending` BEFORE the
    application can see the new validity, `left` after the application cannot see the old one and before the broker is
    told.
    """

    def __init__(
        self, directory: Path, history_id: str, session: int, lease_ms: int, *, bytes_max: int = _BYTES_MAX
    ) -> None:
        """Nothing is opened or made yet. `bytes_max`: where the log stops, so that it cannot fill a disk for ever."""
        self._directory = directory
        self._history_id = history_id
        self._session = session
        self._lease_ms = lease_ms
        self._bytes_max = bytes_max
        self._bytes_written = 0
        self._lock = Lock()
        self._entered: set[int] = set()
        self._descriptor = -1
        self._has_stopped = False
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.sdk")

    def extending(self, epochs: Iterable[int], at_ms: float, until_ms: float, revision: int) -> None:
        """These tenures are about to be valid until then, some of them for the first time.

        Args:
            epochs: The tenures of a heartbeat's answer, or the one of a statement.
            at_ms: The boot-time clock, read before they are.
            until_ms: The boot-time clock at which they end unless they are extended again.
            revision: The newest committed revision that the broker has named.
        """
        with self._lock:
            known: list[int] = []
            records: list[AnyIntervalRecord] = []
            for epoch in epochs:
                if epoch in self._entered:
                    known.append(epoch)
                    continue
                self._entered.add(epoch)
                unix_ms = time.time_ns() // 1_000_000
                records.append(EnteredRecord(epoch=epoch, at_ms=at_ms, until_ms=until_ms, unix_ms=unix_ms))
            if known:
                extended = ExtendedRecord(epochs=tuple(known), at_ms=at_ms, until_ms=until_ms, revision=revision)
                records.append(extended)
            self._write(records)

    def left(self, epoch: int, at_ms: float, why: str) -> None:
        """A tenure is not believed any more; does nothing if it never was.

        Args:
            epoch: The tenure.
            at_ms: The boot-time clock, read after the application could see it for the last time.
            why: For people.
        """
        with self._lock:
            if epoch in self._entered:
                self._entered.discard(epoch)
                self._write([LeftRecord(epoch=epoch, at_ms=at_ms, why=why)])

    def close(self) -> None:
        """Let go of the file. Safe to repeat; what is written afterwards is lost."""
        with self._lock:
            self._has_stopped = True
            self._close()

    def _write(self, records: list[AnyIntervalRecord]) -> None:
        if self._has_stopped or not records:
            return
        try:
            if self._descriptor < 0:
                self._descriptor = self._open()
                records.insert(0, self._introduction())
            lines = _encoder.encode_lines(records)
            if self._bytes_written + len(lines) > self._bytes_max:
                self._stop("it has reached its size limit")
            elif os.write(self._descriptor, lines) < len(lines):
                os.ftruncate(self._descriptor, self._bytes_written)
                self._stop("the disk is full")
            self._bytes_written += len(lines)
        except OSError as error:
            self._stop(str(error))

    def _open(self) -> int:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns() // 1_000_000}-{os.getpid()}-session-{self._session}{LOG_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._directory / name, flags, 0o600)

    def _introduction(self) -> SessionRecord:
        boot_id, time_namespace = own_boot()
        return SessionRecord(
            format=INTERVAL_FORMAT,
            history_id=self._history_id,
            session=self._session,
            boot_id=boot_id,
            time_namespace=time_namespace,
            pid=os.getpid(),
            lease_ms=self._lease_ms,
        )

    def _stop(self, why: str) -> None:
        self._has_stopped = True
        self._log.warning(
            "interval_log.stopped", session=self._session, place=str(self._directory), why=why,
            hint="roles are kept as before, but what comes now cannot be verified",
        )  # fmt: skip
        if self._descriptor >= 0:
            stopped = StoppedRecord(at_ms=time.clock_gettime(time.CLOCK_BOOTTIME) * 1_000, why=why)
            with contextlib.suppress(OSError):  # the reader then finds a log that ends, as if the process was killed
                os.write(self._descriptor, _encoder.encode_lines([stopped]))
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def check_writable(directory: Path) -> None:
    """See that logs can be made in a directory, which is made if it is not there; leaves no file behind.

    Raises:
        IntervalLogUnwritableError: They cannot.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise IntervalLogUnwritableError(str(directory), error.strerror or str(error)) from error


def own_boot() -> tuple[str, int]:
    """This machine's boot id and this process's time namespace: where both are the same, boot-time clocks compare."""
    try:
        boot_id = _BOOT_ID.read_text().strip()
    except OSError:
        return "", 0
    try:
        return boot_id, _TIME_NAMESPACE.stat().st_ino
    except OSError:
        return boot_id, 0


def interval_logs(place: Path) -> list[Path]:
    """The logs of a directory, or the one log that is named.

    Raises:
        IntervalLogError: There is none.
    """
    if not place.is_dir():
        return [place]
    found = sorted(place.glob(f"*{LOG_SUFFIX}"))
    if not found:
        raise IntervalLogError(str(place), 0, f"the directory has no file *{LOG_SUFFIX}")
    return found


def read_interval_log(path: Path) -> Iterator[AnyIntervalRecord]:
    """The records of a log, the session's own first; nothing if the writer was ended before its first line.

    A last line that was not written to its end is left out: nobody believed in it yet.

    Raises:
        IntervalLogError: The file cannot be read, or a line is not what the format says.
    """
    number = 0
    try:
        with path.open("rb") as file:
            while (line := file.readline(_LINE_BYTES_MAX)).endswith(b"\n"):
                number += 1
                record = _decoder.decode(line)
                if isinstance(record, SessionRecord) is not (number == 1):
                    raise IntervalLogError(str(path), number, "the session's record is its first line, and only that")
                if isinstance(record, SessionRecord) and record.format != INTERVAL_FORMAT:
                    raise IntervalLogError(str(path), number, f"format {record.format} is that of a newer Tenure")
                yield record
            if len(line) == _LINE_BYTES_MAX:
                raise IntervalLogError(str(path), number + 1, "the line is longer than any that is written")
    except OSError as error:
        raise IntervalLogError(str(path), 0, str(error.strerror)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntervalLogError(str(path), number, str(error)) from error
