"""What `ensure_active()` costs: it is called before each action that needs the role, so it has to cost next to nothing.

No broker takes part, as in the call itself: it compares one immutable value with two clocks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from timeit import Timer
from typing import Annotated, Any, Final, cast

import msgspec
import typer
from msgspec import Struct

from bench.machine import Machine, describe_machine
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import Registration, Tenure
from tenure.sdk.clocks import read_clocks
from tenure.sdk.session import Held
from tenure.sdk.standing import Standing

LIMIT_US: Final = 2.0
"""What a call may take: beyond this somebody would leave it out before an order."""
_CALLS: Final = 10_000  # per round: long enough that reading the clock around it does not count
_HOUR_MS: Final = 3_600_000


class Call(Struct, frozen=True, kw_only=True):
    """One way to ask, in microseconds per call."""

    name: str
    min_us: float
    p50_us: float
    """Of the rounds."""
    max_us: float


class EnsureReport(Struct, frozen=True, kw_only=True):
    """The outcome of one run."""

    bench: str
    machine: Machine
    rounds: int
    calls_per_round: int
    measured: tuple[Call, ...]
    limit_us: float

    @property
    def is_kept(self) -> bool:
        """Whether each call stays below the limit, in half of the rounds at least."""
        return all(call.p50_us < self.limit_us for call in self.measured)


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
        calls.append(Call(name=name, min_us=min(per_call_us), p50_us=median(per_call_us), max_us=max(per_call_us)))
    return tuple(calls)


def ensure(
    rounds: Annotated[int, typer.Option(min=1, help="How often 10,000 calls are timed.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 unless a call takes less than 2 µs.")] = False,
) -> None:
    """Measure what `ensure_active()` costs."""
    report = EnsureReport(
        bench="ensure_active",
        machine=describe_machine(Path(gettempdir())),
        rounds=rounds,
        calls_per_round=_CALLS,
        measured=measure_calls(rounds),
        limit_us=LIMIT_US,
    )
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        print(f"{report.machine.processor}, Python {report.machine.python}")
        for call in report.measured:
            spread = f"p50 of {rounds} rounds; {call.min_us:.3f} to {call.max_us:.3f}"
            print(f"{call.name:<32}{call.p50_us:>7.3f} µs ({spread})")
    if check and not report.is_kept:
        print(f"bench: a call takes {LIMIT_US:g} µs or more", file=sys.stderr)
        sys.exit(1)
