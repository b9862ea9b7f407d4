"""`python -m bench all`: every bench, one after the other, and in the end which targets are met.

A bench that fails is told and does not keep the others from running. `--quick` runs each so briefly that its figures
mean nothing, to see that all of them work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final, Protocol

import typer

from bench import claim, ensure, event, failover, reject, scale, soak, storm, switchover, watched
from bench.options import A_DISK, Directory, keep
from bench.peers import comparison
from bench.processes import ProcessFailedError
from bench.report import Report, to_text
from tenure.contract.errors import TenureError

EXIT_FAILED: Final = 70
"""EX_SOFTWARE: something could not be measured."""

type Bench = Callable[[bool, Path], Report]


class _Planned[P](Protocol):
    def __call__(self, *, is_quick: bool = False) -> P: ...


def _bench[P](plan: _Planned[P], run: Callable[[P, Path], Report]) -> Bench:
    return lambda is_quick, directory: run(plan(is_quick=is_quick), directory)


BENCHES: Final[Mapping[str, Bench]] = {
    "claim": _bench(claim.plan, claim.run),
    "reject": _bench(reject.plan, reject.run),
    "event": _bench(event.plan, event.run),
    "ensure": _bench(ensure.plan, ensure.run),
    "failover": _bench(failover.plan, failover.run),
    "switchover": _bench(switchover.plan, switchover.run),
    "storm": _bench(storm.plan, storm.run),
    "scale": _bench(scale.plan, scale.run),
    "soak": _bench(soak.plan, soak.run),
    "watched": _bench(watched.plan, watched.run),
    "peers": _bench(comparison.plan, comparison.run),
}


def everything(
    *,
    only: Annotated[list[str] | None, typer.Option(help="Run these alone; by default all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Each so briefly that its figures mean nothing.")] = False,
    out: Annotated[Path, typer.Option(help="Where NAME.json and NAME.svg of each go.")] = Path("bench-results"),
    directory: Directory = A_DISK,
    check: Annotated[bool, typer.Option("--check", help="Exit with code 1 if a target is not met.")] = False,
) -> None:
    """Every bench in one run, with JSON and a picture for each, and which targets are met."""
    unknown = [name for name in only or () if name not in BENCHES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(BENCHES)}", param_hint="--only")
    reports: list[Report] = []
    failed: list[str] = []
    for name in only or BENCHES:
        began_s = time.monotonic()
        try:
            reports.append(BENCHES[name](quick, directory))
        except (ProcessFailedError, TenureError, OSError, ExceptionGroup) as error:
            failed.append(f"{name} failed: {error}")
            print(f"bench: {failed[-1]}", file=sys.stderr, flush=True)
            continue
        keep(reports[-1], out)
        print(to_text(reports[-1]), f"  ({name} took {time.monotonic() - began_s:,.0f} s)\n", sep="\n", flush=True)
    print(verdicts(reports))
    if failed:
        sys.exit(EXIT_FAILED)
    if check and any(report.faults for report in reports):
        sys.exit(1)


def verdicts(reports: list[Report]) -> str:
    """Every target of every bench in a line of its own, and what must not have happened."""
    lines = [f"{report.bench}: {target}" for report in reports for target in report.targets]
    lines += [f"{report.bench}: {violation}" for report in reports for violation in report.violations]
    met = sum(target.is_met for report in reports for target in report.targets)
    targets = sum(len(report.targets) for report in reports)
    return "\n".join([f"{met} of {targets} targets are met", *lines])
