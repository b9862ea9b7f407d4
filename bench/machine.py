"""What a figure was measured on: without it no two of them can be compared."""

from __future__ import annotations

import os
import platform
import sqlite3
import sysconfig
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import zmq
from msgspec import Struct

from tenure.storage.place import file_system

_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})


class Machine(Struct, frozen=True, kw_only=True):
    """The machine, its software, and the place of the data."""

    date: str
    cores: int
    """That this process may use."""
    processor: str
    kernel: str
    python: str
    sqlite: str
    libzmq: str
    tenure: str
    file_system: str
    """Of the directory that holds the data; empty if the system does not tell."""
    is_durable: bool
    """Whether that survives a loss of power; a sync costs nothing where it does not."""


def describe_machine(directory: Path) -> Machine:
    """This machine, measured in a directory."""
    kind = _file_system(directory)
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=_python(),
        sqlite=sqlite3.sqlite_version,
        libzmq=zmq.zmq_version(),
        tenure=version("tenure"),
        file_system=kind,
        is_durable=is_durable(kind),
    )


def is_durable(kind: str) -> bool:
    """Whether a type of file system keeps what was synced over a loss of power, as far as its name tells."""
    return kind not in _VOLATILE


def _file_system(directory: Path) -> str:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return file_system(os.path.realpath(directory), mounts) or ""


def _python() -> str:
    """Its version, and whether it was built without profile-guided optimization, which costs a quarter or more."""
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return platform.python_version() + ("" if optimized else " (built without profile-guided optimization)")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
