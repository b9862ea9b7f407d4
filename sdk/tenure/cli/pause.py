"""`tenure pause` and `tenure resume`: for a while the broker promotes nobody for a resource on its own."""

from __future__ import annotations

import re
import sys
import time
from typing import Annotated, Final

import typer

from tenure.cli.exits import USAGE, complain, run_async
from tenure.cli.options import READ_TIMEOUT_MS, Endpoints
from tenure.contract.limits import PAUSE_MS_MAX, PAUSE_MS_MIN
from tenure.contract.views import Pause
from tenure.sdk import interventions, queries
from tenure.sdk.reader import Reader

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"(\d{1,12})(ms|s|min|m|h|d)")


def pause(
    resource: Annotated[str, typer.Argument(help="The resource to pause.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, for people.")],
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long, such as 90s, 30min, 1h or 2d; at most 7d.")
    ] = "1h",
    endpoint: Endpoints = None,
) -> None:
    """Let the broker promote nobody for a resource on its own: if its active is lost, the vacancy stays.

    The active goes on as ever, by the same lease. Only what is asked for gives the role: a claim that insists on it, as
    that of `tenure run --no-standby` does, a change of roles, and a `tenure switchover` that the active acknowledges.
    When the pause is over, by `tenure resume` or by its time, the next in line takes over at once. Pausing a paused
    resource says anew why and for how long.

    Exit code 1 if it is refused, 64 if an argument is wrong, 69 if no broker answers.
    """
    for_ms = duration_ms(for_)
    if for_ms is None or not PAUSE_MS_MIN <= for_ms <= PAUSE_MS_MAX:
        complain(f"--for {for_} is not a time from 1s to 7d, such as 90s, 30min, 1h or 2d")
        sys.exit(USAGE)
    paused = run_async(_pause(tuple(endpoint or ()), resource, why, for_ms))
    print(f"{resource}: {paused_until(paused)}")
    print(f"to end it sooner: tenure resume {resource}")


def resume(
    resource: Annotated[str, typer.Argument(help="The resource that is paused.")], endpoint: Endpoints = None
) -> None:
    """End the pause of a resource: if its role is vacant, the next in line takes over at once.

    Exit code 1 if it is not paused, 69 if no broker answers.
    """
    print(run_async(_resume(tuple(endpoint or ()), resource)))


def duration_ms(text: str) -> int | None:
    """A time in words, such as `90s`, `30min`, `1h` or `2d`, in milliseconds; None if it is none."""
    found = _DURATION.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS_MS[found[2]]


def paused_until(pause: Pause) -> str:
    """A pause, in one sentence."""
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(pause.until_ms / 1_000))
    by = f" by {pause.by}" if pause.by else ""
    return f"paused until {until}{by}: {pause.why}"


async def _pause(endpoints: tuple[str, ...], resource_id: str, why: str, for_ms: int) -> Pause:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        return await interventions.pause(reader, resource_id, why=why, for_ms=for_ms)


async def _resume(endpoints: tuple[str, ...], resource_id: str) -> str:
    """What to say of the end of a pause."""
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        ended = await interventions.resume(reader, resource_id)
        registered = await queries.services(reader, resource_id=resource_id)
    active = next((one for one in registered if one.is_active), None)
    now = "nobody is active" if active is None else f"{active.instance_id} is active, epoch {active.epoch}"
    return f"{resource_id} is paused no more (it was {paused_until(ended)}); {now}"
