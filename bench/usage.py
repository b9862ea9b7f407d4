"""What a process uses, as the kernel counts it: processor time of all its threads, and memory that is really there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """The processor time a process has used so far, in seconds.

    Raises:
        OSError: There is no such process.
    """
    return read_cpu_s(Path(f"/proc/{pid}/stat").read_text(), _TICKS_A_SECOND)


def rss_bytes(pid: int) -> int:
    """The memory of a process that is in RAM, in bytes.

    Raises:
        OSError: There is no such process.
    """
    return read_rss_bytes(Path(f"/proc/{pid}/status").read_text())


def read_cpu_s(stat: str, ticks_a_second: int) -> float:
    """User and system time in a line of /proc/PID/stat, whatever the process calls itself."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks_a_second


def read_rss_bytes(status: str) -> int:
    """The resident set in /proc/PID/status."""
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1_024


def stored_bytes(directory: Path) -> int:
    """What the files of a directory take on the disk, in bytes."""
    return sum(path.stat().st_blocks * 512 for path in directory.iterdir() if path.is_file())
