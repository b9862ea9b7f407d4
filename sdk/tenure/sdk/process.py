"""Which process this is, beyond its pid, for brokers on the same machine that may take its exit as proof of death."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tenure.contract.messages import ProcessIdentity

_START_TICKS: Final = 19  # field 22 of /proc/<pid>/stat, counted from the one behind the bracketed name


def own_process() -> ProcessIdentity | None:
    """This process's identity; None where /proc does not tell, so that only the lease decides."""
    try:
        stat = Path("/proc/self/stat").read_text()
        return ProcessIdentity(
            pid=os.getpid(),
            start_ticks=int(stat[stat.rindex(")") + 1 :].split()[_START_TICKS]),
            pid_namespace=Path("/proc/self/ns/pid").stat().st_ino,
        )
    except (OSError, ValueError, IndexError):
        return None
