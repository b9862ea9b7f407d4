"""A session's interval log as a witness: what is believed is written down before the application can believe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tenure.sdk.clocks import read_clocks
from tenure.sdk.intervals import IntervalLog
from tenure.sdk.standing import Reading


class Identity(NamedTuple):
    """Which session it is; known once the broker has welcomed it."""

    history_id: str
    session: int
    lease_ms: int


class BeliefLog:
    """Writes one session's log into a directory; the file is made with the first tenure."""

    def __init__(self, directory: Path, identity: Callable[[], Identity]) -> None:
        """`identity` is asked for with the first tenure."""
        self._directory = directory
        self._identity = identity
        self._log: IntervalLog | None = None

    def extending(self, epochs: Sequence[int], now: Reading, until: Reading, revision: int) -> None:
        """Write that these tenures are about to be valid until then."""
        if self._log is None:
            self._log = IntervalLog(self._directory, *self._identity())
        self._log.extending(epochs, now.boottime_ms, until.boottime_ms, revision)

    def left(self, epoch: int, why: str, *, is_lost: bool) -> None:  # noqa: ARG002
        """Write that a tenure is not believed any more."""
        if self._log is not None:
            self._log.left(epoch, read_clocks().boottime_ms, why)

    def close(self) -> None:
        """Let go of the file. Safe to repeat."""
        if self._log is not None:
            self._log.close()
