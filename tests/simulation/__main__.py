"""`python -m tests.simulation`: run seeds, or one again; the exit code is 0 only if every promise held."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from time import monotonic

from tests.simulation.run import LEASES, report, run, run_many
from tests.simulation.variants import BROKEN
from tests.simulation.world import Trace


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to run (1,000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--leases", type=float, default=LEASES, help=f"how long faults go on, in leases ({LEASES:g})")
    parser.add_argument("--variant", default="", choices=["", *BROKEN], help="break one rule on purpose")
    parser.add_argument("--jobs", type=int, help="how many processes (one per core)")
    parser.add_argument("--trace", action="store_true", help="show every message and fault of the run")
    parser.add_argument("--counts", action="store_true", help="show how often each thing happened")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _run_one(arguments)
    return _run_all(arguments)


def _run_one(arguments: argparse.Namespace) -> int:
    trace: Trace = []
    outcome = run(arguments.seed, leases=arguments.leases, variant=arguments.variant, trace=trace)
    if arguments.trace:
        print(*trace, sep="\n")
    print(f"seed {outcome.seed}: {outcome.steps} steps: {outcome.what or 'every promise held'}")
    return 1 if outcome.promise else 0


def _run_all(arguments: argparse.Namespace) -> int:
    began = monotonic()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    counts: Counter[str] = Counter()
    slowest = 0.0
    steps = 0
    for outcome in run_many(seeds, leases=arguments.leases, variant=arguments.variant, jobs=arguments.jobs):
        if outcome.promise:
            print(report(outcome))
            return 1
        counts += outcome.counts
        steps += outcome.steps
        slowest = max(slowest, outcome.settled)
    took_s = monotonic() - began
    print(f"{len(seeds)} seeds, {steps} steps, {took_s:.1f} s: every promise held")
    print(f"after the faults all was well within {slowest:.0%} of the bound")
    if arguments.counts:
        for what, count in sorted(counts.items()):
            print(f"{count:10}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
