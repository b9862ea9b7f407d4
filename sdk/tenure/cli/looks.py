"""How things look on a terminal: colours that stand for one thing each, names that fit, and times as people say them.

No colour says what no word says: it may be switched off (`NO_COLOR`), and not everybody sees it.
"""

from __future__ import annotations

import time
from typing import Final

from rich.cells import cell_len

from tenure.contract.vocabulary import ServiceStatus

STATUS_STYLES: Final = {
    ServiceStatus.HEALTHY: "green",
    ServiceStatus.DEGRADED: "yellow",
    ServiceStatus.STARTING: "cyan",
    ServiceStatus.DRAINING: "cyan",
    ServiceStatus.UNHEALTHY: "red",
    ServiceStatus.LATE: "red",
}
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def shortened(name: str, columns: int) -> str:
    """A name in at most so many columns: what is too much is left out in the middle, as both ends tell names apart."""
    if cell_len(name) <= columns:
        return name
    if columns < 1:
        return ""
    left, right = "", ""
    start, end, room = 0, len(name), columns - 1
    while start < end:
        takes_left = cell_len(left) <= cell_len(right)
        letter = name[start] if takes_left else name[end - 1]
        if cell_len(left) + cell_len(right) + cell_len(letter) > room:
            break
        if takes_left:
            left, start = left + letter, start + 1
        else:
            right, end = letter + right, end - 1
    return f"{left}…{right}"


def clock(unix_ms: int, *, is_exact: bool = True) -> str:
    """The time of day, to the millisecond or to the second."""
    seconds = time.strftime("%H:%M:%S", time.localtime(unix_ms / 1_000))
    return f"{seconds}.{unix_ms % 1_000:03}" if is_exact else seconds


def ago(unix_ms: int, now_ms: int | None = None) -> str:
    """How long ago something was, in its largest unit."""
    now_s = time.time() if now_ms is None else now_ms / 1_000
    seconds = max(0, round(now_s - unix_ms / 1_000))
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
