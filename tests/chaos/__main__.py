"""Play chaos scenarios on real processes: `python -m tests.chaos --rounds N --seed S [--only NAME]`.

Exit code 0 only if everything held; what did not hold comes with the command that plays it again.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter
from time import monotonic
from typing import Final

import structlog
from rich.console import Console
from rich.table import Table

from tests.chaos.scenarios import SCENARIOS, Outcome, play

_ROUNDS: Final = 3
_SHOWN_FAULTS: Final = 10


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"how often each is played (default: {_ROUNDS})")
    parser.add_argument("--seed", type=int, default=1, help="for what scenarios leave to chance (default: 1)")
    parser.add_argument("--only", choices=sorted(SCENARIOS), action="append", help="this scenario; may be repeated")
    options = parser.parse_args()
    names: list[str] = options.only or list(SCENARIOS)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # faults are expected
    return asyncio.run(_run(names, options.rounds, options.seed))


async def _run(names: list[str], rounds: int, seed: int) -> int:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("scenario", "rounds", "failovers", "worst gap, ms", "s", "result"):
        table.add_column(column, justify="left" if column in {"scenario", "result"} else "right")
    counts: Counter[str] = Counter()
    failovers = broken = 0
    for name in names:
        began = monotonic()
        outcomes = [await _one(console, name, seed + number) for number in range(rounds)]
        is_broken = any(outcome.faults for outcome in outcomes)
        broken += is_broken
        skipped = next((outcome.skipped for outcome in outcomes if outcome.skipped), "")
        result = "BROKEN" if is_broken else f"skipped: {skipped}" if skipped else "held"
        failovers += sum(outcome.failovers for outcome in outcomes)
        for outcome in outcomes:
            counts.update(outcome.counts)
        table.add_row(
            name,
            str(rounds),
            str(sum(outcome.failovers for outcome in outcomes)),
            f"{max(outcome.worst_gap_ms for outcome in outcomes):.0f}",
            f"{monotonic() - began:.1f}",
            result,
        )
    console.print(table)
    done = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    console.print(f"{len(names)} scenarios, {len(names) * rounds} rounds, {failovers} failovers; {done}")
    console.print(f"{broken} scenarios are BROKEN" if broken else "everything held")
    return 1 if broken else 0


async def _one(console: Console, name: str, seed: int) -> Outcome:
    outcome = await play(name, seed)
    for note in outcome.notes:
        console.print(f"{name}: {note}")
    for fault in outcome.faults[:_SHOWN_FAULTS]:
        console.print(f"{name}: {fault}", markup=False)
    if outcome.faults:
        console.print(f"{name}: again with  .venv/bin/python -m tests.chaos --only {name} --rounds 1 --seed {seed}")
    return outcome


if __name__ == "__main__":
    sys.exit(main())
