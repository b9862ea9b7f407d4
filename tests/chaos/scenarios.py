"""All scenarios by name, and how one is played.

A scenario is a coroutine on a `Stage` that says what has to follow from its fault; what has to hold after any fault is
checked by `Stage.conclude`. To add one, write it beside its like and put it into the list below. Machines may be slow:
a role that is lost without the scenario's doing is a failover more, never a fault, unless the lease was a long one.
"""

from __future__ import annotations

import tempfile
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, Protocol

from tests.chaos import crowds, deaths, disks, links, storm
from tests.chaos.ledger import overlaps
from tests.chaos.stage import SkippedError, Stage


class Script(Protocol):
    """A scenario."""

    __name__: str

    async def __call__(self, stage: Stage, /) -> None: ...


_ALL: Final[tuple[Script, ...]] = (
    deaths.killed_active,
    deaths.killed_remote_active,
    deaths.stopped_active,
    deaths.blocked_event_loop,
    deaths.gil_hog,
    deaths.fenced_gil_hog,
    deaths.left_active,
    deaths.switchovers,
    deaths.killed_standby,
    deaths.stopped_standby,
    deaths.killed_broker,
    deaths.killed_broker_while_held,
    deaths.killed_broker_and_active,
    deaths.stopped_broker,
    links.slow_link,
    links.held_link,
    links.deaf_link,
    links.mute_link,
    links.cut_link,
    disks.full_disk,
    disks.repeated_refusals,
    crowds.crowd,
    crowds.slow_listener,
    storm.storm,
)
STORM_MS: Final = 10_000
SCENARIOS: Final[dict[str, Script]] = {script.__name__: script for script in _ALL}


class Outcome(NamedTuple):
    """What came of one scenario, played once."""

    faults: list[str]
    failovers: int
    counts: Counter[str]
    worst_gap_ms: float
    notes: list[str]
    skipped: str = ""


async def play(name: str, seed: int, storm_ms: int = STORM_MS) -> Outcome:
    """Play a scenario once, in a directory of its own; the seed is for what it leaves to chance."""
    # Short, for sockets are in it; and ended processes may still be letting go of files in it.
    random = Random(f"{name}-{seed}")  # noqa: S311 (nothing is secret)
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as directory:
        async with Stage(Path(directory), random, storm_ms) as stage:
            skipped = ""
            try:
                await SCENARIOS[name](stage)
                await stage.conclude()
            except SkippedError as reason:
                skipped = str(reason)
            except Exception:
                stage.faults += [traceback.format_exc(), *overlaps(stage.ledger)]
            gaps_ms = stage.ledger.gaps_ms()
            if stage.ledger.fenced:
                stage.notes.append(f"{stage.ledger.fenced} lines written late, for the epoch to fence")
            return Outcome(
                faults=stage.faults,
                failovers=len(gaps_ms),
                counts=stage.counts,
                worst_gap_ms=max(gaps_ms, default=0.0),
                notes=stage.notes,
                skipped=skipped,
            )
