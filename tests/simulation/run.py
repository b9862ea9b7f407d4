"""One run from one seed, many runs on all cores, and what they came to.

A run depends on its seed and its length alone: the same two give the same steps, in this process and in any other. So a
run that failed is told by the command that repeats it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final, NamedTuple

from tests.simulation.faults import Faults
from tests.simulation.variants import BROKEN, HEALTHY
from tests.simulation.violation import Violation
from tests.simulation.world import Trace, World

LEASES: Final = 6.0
"""For how many leases faults go on in a run."""
_SHOWN_LINES: Final = 40
_CHUNK: Final = 25


class Run(NamedTuple):
    """What a run came to."""

    seed: int
    leases: float
    steps: int
    counts: Counter[str]
    settled: float
    """Which part of the bound it took until all was well."""
    promise: str | None
    """Which promise was broken, if one was."""
    what: str
    variant: str


def run(
    seed: int, *, leases: float = LEASES, variant: str = "", trace: Trace | None = None, judges_by_log: bool = True
) -> Run:
    """One run; `variant` names one that is broken on purpose, `judges_by_log` how strict the checks of beliefs are."""
    world = World(seed, BROKEN[variant] if variant else HEALTHY, trace)
    world.checks.judges_by_log = judges_by_log
    faults = Faults(world)
    settled = 0.0
    promise: str | None = None
    what = ""
    try:
        world.start()
        faults.run(leases)
        settled = world.settle() / world.bound_ms
    except Violation as violation:
        promise, what = violation.promise, str(violation)
    except Exception as defect:  # whatever a core raises is its defect, or that of the simulation
        promise, what = "no defect", f"{type(defect).__name__}: {defect}"
    return Run(seed, leases, world.timeline.steps, world.counts, settled, promise, what, variant)


def run_many(
    seeds: Sequence[int], *, leases: float = LEASES, variant: str = "", jobs: int | None = None
) -> Iterator[Run]:
    """Runs of many seeds in their order, spread over processes; stops with the first that failed."""
    jobs = jobs or len(os.sched_getaffinity(0))
    chunks = [(list(seeds[at : at + _CHUNK]), leases, variant) for at in range(0, len(seeds), _CHUNK)]
    if jobs == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield from _run_chunk(chunk)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            for runs in pool.map(_run_chunk, chunks):
                yield from runs
        finally:  # whoever has seen a failure does not want the rest
            pool.shutdown(cancel_futures=True)


def _run_chunk(chunk: tuple[list[int], float, str]) -> list[Run]:
    seeds, leases, variant = chunk
    return [run(seed, leases=leases, variant=variant) for seed in seeds]


def report(failed: Run) -> str:
    """What broke, what had happened just before, and how to see it again."""
    trace: Trace = []
    again = run(failed.seed, leases=failed.leases, variant=failed.variant, trace=trace)
    arguments = f"--seed {failed.seed}"
    if failed.leases != LEASES:
        arguments += f" --leases {failed.leases:g}"
    if failed.variant:
        arguments += f" --variant '{failed.variant}'"
    lines = [
        f"seed {failed.seed} after {failed.steps} steps: {failed.what}",
        "",
        *trace[-_SHOWN_LINES:],
        "",
        f"replay: .venv/bin/python -m tests.simulation {arguments} --trace",
    ]
    if again.what != failed.what:
        lines.append(f"(it did not do the same again, which is a defect of the simulation: {again.what})")
    return "\n".join(lines)
