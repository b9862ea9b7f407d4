"""What `ensure_active()` costs: it is called before each action that needs the role, so it has to cost next to nothing.

No broker takes part, as in the call itself: it compares one immutable value with two clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from timeit import Timer
from typing import Annotated, Any, Final, NamedTuple, cast

import typer
from msgspec import Struct

from bench.machine import Machine, describe_machine
from bench.options import A_DISK, AsJson, Check, Directory, Out, finish
from bench.report import Report, Target
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import Registration, Tenure
from tenure.sdk.clocks import read_clocks
from tenure.sdk.session import Held
from tenure.sdk.standing import Standing

LIMIT_US: Final = 2.0
"""What a call may take: beyond this somebody would leave it out before an order."""
_CALLS: Final = 10_000  # per round: long enough that reading the clock around it does not count
_HOUR_MS: Final = 3_600_000


class Plan(Struct, frozen=True, kw_only=True):
    """What is measured."""

    rounds: int
    """How often 10,000 calls are timed."""


class Call(NamedTuple):
    """One way to ask, in microseconds per call."""

    name: str
    min_us: float
    p50_us: float
    """Of the rounds."""
    max_us: float


def plan(*, is_quick: bool = False) -> Plan:
    """What is measured if nothing else is asked for."""
    return Plan(rounds=1 if is_quick else 50)


def active_tenure() -> Tenure:
    """A tenure that nobody granted, valid for an hour."""
    held = Held(1)
    held.standing = Standing(ServiceRole.ACTIVE, 1, read_clocks().later(_HOUR_MS), 1, "")
    # A registration asks its owner for nothing as long as it is active.
    return Tenure(Registration(cast("Any", None), held, "bench", "bench", "bench"), 1)


def measure_calls(rounds: int) -> tuple[Call, ...]:
    """Both ways to ask."""
    tenure = active_tenure()
    calls: list[Call] = []
    for name, ensure_active in (
        ("tenure.ensure_active()", tenure.ensure_active),
        ("registration.ensure_active()", tenure.registration.ensure_active),
    ):
        per_call_us = [seconds / _CALLS * 1e6 for seconds in Timer(ensure_active).repeat(rounds, _CALLS)]
        calls.append(Call(name, min(per_call_us), median(per_call_us), max(per_call_us)))
    return tuple(calls)


def ensure(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="How often 10,000 calls are timed.")] = 50,
    directory: Directory = A_DISK,
    as_json: AsJson = False,
    out: Out = None,
    check: Check = False,
) -> None:
    """Measure what `ensure_active()` costs."""
    finish(run(Plan(rounds=rounds), directory), as_json=as_json, out=out, check=check)


def run(plan: Plan, directory: Path) -> Report:
    """Measure, and report."""
    return report(plan, describe_machine(directory), measure_calls(plan.rounds))


def report(plan: Plan, machine: Machine, calls: Sequence[Call]) -> Report:
    """What the calls came to: the median of the rounds counts."""
    return Report(
        bench="ensure",
        title="what asking for the role costs",
        machine=machine,
        settings={"calls": f"{plan.rounds} rounds of {_CALLS:,}, nothing is sent"},
        measured=(),
        ratios={
            f"{call.name}, {which}, µs": round(value_us, 3)
            for call in calls
            for which, value_us in (("quickest round", call.min_us), ("p50", call.p50_us), ("slowest", call.max_us))
        },
        targets=[Target(name=f"p50 of {call.name}", value=call.p50_us, bound=LIMIT_US, unit="µs") for call in calls],
    )
