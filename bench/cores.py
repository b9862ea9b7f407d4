"""A core for the broker and one for the load, where there are two: what is measured is then the same each time.

Threads and processes inherit the core of whoever starts them, so everything is started inside `on_core`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Set
from contextlib import contextmanager
from typing import NamedTuple


class Cores(NamedTuple):
    """Which core each side has; None if it may use all."""

    broker: int | None
    load: int | None

    def __str__(self) -> str:
        """For people."""
        if self.broker is None:
            return "not pinned"
        return f"broker on core {self.broker}, load on core {self.load}"


def choose_cores(usable: Set[int] | None = None, *, pin: bool) -> Cores:
    """One core each of those that may be used, if pinning is wanted and there are two."""
    usable = os.sched_getaffinity(0) if usable is None else usable
    if not pin or len(usable) < 2:
        return Cores(None, None)
    broker, load, *_ = sorted(usable)
    return Cores(broker, load)


@contextmanager
def on_core(core: int | None) -> Generator[None]:
    """Run this thread, and what it starts, on a core; None changes nothing."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
