"""`tenure explain`: how a role moved the last times, and why each standby is or is not next."""

from __future__ import annotations

import shlex
import sys
import time
from typing import Annotated

import typer
from msgspec import Struct

from tenure.cli.completion import resource_ids
from tenure.cli.exits import run_async
from tenure.cli.history import newest_tenures
from tenure.cli.options import READ_TIMEOUT_MS, AsJson, Endpoints
from tenure.cli.pause import paused_until
from tenure.cli.progress import under_way
from tenure.contract.codec import to_json
from tenure.contract.errors import NotFoundError
from tenure.contract.messages import GetResource, Resource
from tenure.contract.views import ResourceView
from tenure.sdk import queries
from tenure.sdk.queries import Asks
from tenure.sdk.reader import Reader
from tenure.sdk.succession import Place, places, why_at_risk
from tenure.sdk.timeline import Story, StoryEvent, how_it_ended, how_long_nobody, stories


class Explanation(Struct, frozen=True, kw_only=True):
    """All that is explained of a resource."""

    resource: ResourceView
    at_risk: str
    """Why the active instance may soon lose the role; empty if nothing says so."""
    moves: list[Story]
    succession: list[Place]


def explain(
    resource: Annotated[str, typer.Argument(autocompletion=resource_ids, help="The resource to explain.")],
    moves: Annotated[int, typer.Option(min=1, max=100, help="How many of the newest moves to tell.")] = 3,
    endpoint: Endpoints = None,
    as_json: AsJson = False,
) -> None:
    """Tell how a role moved: when the old active was heard last, suspected and over, and when the next one was active.

    Then who would be next, and for each standby why it is or is not. What happened before the broker was started, or
    before the resource's last instance left, is told as far as the events say it, which know of no commit and no first
    activity.

    Exit code 1 if nobody is registered for the resource, with how its last tenure ended; 69 if no broker answers.
    """
    explanation = run_async(_read(tuple(endpoint or ()), resource, moves))
    sys.stdout.write(to_json(explanation) + "\n" if as_json else "".join(f"{line}\n" for line in lines_of(explanation)))


async def _read(endpoints: tuple[str, ...], resource_id: str, count: int) -> Explanation:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        try:
            return await Explainer(reader, resource_id, count).read()
        except NotFoundError as unknown:
            raise (await _left(reader, resource_id) or unknown) from None


async def _left(asks: Asks, resource_id: str) -> NotFoundError | None:
    """How the newest tenure of a resource ended that nobody is registered for; None if none is kept."""
    tenures = (await queries.tenures(asks, resource_id, limit=1)).tenures
    if not tenures or tenures[0].ended_ms is None or tenures[0].end_reason is None:
        return None
    last, when = tenures[0], _clock(tenures[0].ended_ms)
    return NotFoundError(
        f"nobody is registered for {resource_id!r} any longer; {last.service_name}/{last.instance_id} was the last to "
        f"be active, with epoch {last.epoch} until {when}: {how_it_ended(tenures[0].end_reason, last.by)}; "
        f"all its tenures: tenure history {shlex.quote(resource_id)}"
    )


class Explainer:
    """Explains a resource as often as it is asked to; the store is read again only when the role has moved."""

    def __init__(self, asks: Asks, resource_id: str, count: int) -> None:
        self._asks = asks
        self._resource_id = resource_id
        self._count = count
        self._events: list[StoryEvent] = []
        self._events_of: tuple[int, int] | None = None

    async def read(self) -> Explanation:
        """The resource as it is, and its newest moves.

        Raises:
            NotFoundError: Nobody is registered for it.
            TenureError: No answer came.
        """
        found = await self._asks.request(GetResource(resource_id=self._resource_id), Resource)
        view = found.resource
        tenure = (view.last_epoch, 0 if view.active is None else view.active.epoch)
        if tenure != self._events_of:
            newest = found.revision if view.active is None else view.active.epoch
            self._events = await newest_tenures(self._asks, self._resource_id, newest, self._count)
            self._events_of = tenure
        return Explanation(
            resource=view,
            at_risk="" if view.active is None else why_at_risk(view.active),
            moves=stories(found.moves, self._events, self._count),
            succession=places(view),
        )


def lines_of(explanation: Explanation) -> list[str]:
    """An explanation in words, line by line."""
    view = explanation.resource
    lines = [_headline(view)]
    if explanation.at_risk:
        lines.append(f"  AT RISK: {explanation.at_risk}")
    if view.switchover is not None:
        lines.append(f"  {under_way(view.switchover)}")
    if view.pause is not None:
        lines.append(f"  {paused_until(view.pause)}")
    lines.append("")
    if not explanation.moves:
        lines.append("Its role has not moved, as far as the broker and the events that are kept can tell.")
    for story in explanation.moves:
        lines.extend([*_told(story), ""])
    if explanation.moves:
        lines.extend([f"Who was active before, and for how long: tenure history {shlex.quote(view.resource_id)}", ""])
    lines.append("Who is next" if explanation.succession else "Nobody stands by.")
    lines.extend(_placed(number, place) for number, place in enumerate(explanation.succession, 1))
    if view.standby_count > len(view.standbys):
        lines.append(f"  … and {view.standby_count - len(view.standbys)} more")
    return lines


def _headline(view: ResourceView) -> str:
    if view.active is None:
        return f"{view.resource_id}: nobody is active" + (f" since epoch {view.last_epoch}" if view.last_epoch else "")
    active = view.active
    since = _clock(active.since_ms)
    who = f"{active.service_name}/{active.instance_id}"
    return f"{view.resource_id}: {who} is active with epoch {active.epoch} since {since}, and {active.status}"


def _told(story: Story) -> list[str]:
    after = f"{story.new_instance_id} (epoch {story.new_epoch})" if story.new_epoch else "nobody"
    lines = [f"{story.old_instance_id} (epoch {story.old_epoch}) → {after}: {story.why}"]
    for number, step in enumerate(story.steps):
        moment = f"+{step.after_ms:,} ms" if number else _clock(story.began_ms)
        lines.append(f"  {moment:>25}  {step.what}")
    if story.gap_ms is not None:
        lines.append(f"  {how_long_nobody(story.gap_ms, story.gap_max_ms, is_about=story.is_gap_about)}")
    elif not story.new_epoch:
        lines.append("  nobody has been active since")
    return lines


def _placed(number: int, place: Place) -> str:
    return f"  {number if place.is_eligible else '-':>3}  {place.service_name}/{place.instance_id}  {place.why}"


def _clock(unix_ms: int) -> str:
    day_and_time = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ms / 1_000))
    return f"{day_and_time}.{unix_ms % 1_000:03}"
