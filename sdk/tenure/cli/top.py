"""`tenure top`: all resources on one screen, live, the troubled ones first."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Final, Self

from tenure.cli.drawing import drawn
from tenure.cli.exits import USAGE, complain, run_async
from tenure.cli.explain import Explainer, lines_of
from tenure.cli.first import first_of
from tenure.cli.following import Following
from tenure.cli.options import Endpoints
from tenure.cli.screen import can_draw
from tenure.cli.top_screen import TopScreen
from tenure.contract.errors import NotFoundError, TenureError

_EXPLAIN_MS: Final = 500
_MOVES: Final = 5


def top(endpoint: Endpoints = None) -> None:
    """Show all resources on the whole terminal, live: who is active, since when, and who is next, the troubled first.

    First those that nobody is active for, then those whose active instance is at risk to lose the role, those that are
    paused, whose active is not healthy, or that have no standby that could be promoted. The newest events stand at the
    bottom. While the broker is not heard, the first line says so, and everything else is what was known last.

    Keys: q quits; / filters resources and events by any part of a name, esc ends that; arrows, j and k, page up and
    down, g and G move; enter explains the selected resource as `tenure explain` does, esc leads back.

    Exit code 64 if standard input or output is no terminal, 69 if no broker answers.
    """
    if not (can_draw() and sys.stdin.isatty()):
        complain("top needs a terminal to draw on; elsewhere: tenure status --watch")
        sys.exit(USAGE)
    sys.exit(run_async(_top(tuple(endpoint or ()))))


async def _top(endpoints: tuple[str, ...]) -> int:
    following = Following(endpoints)
    shown = TopScreen(following)
    with _Explaining(following, shown) as explaining:

        def press(key: str) -> None:
            shown.press(key)
            explaining.follow()

        code = await first_of(following.run(), drawn(following, press, shown.lines, lambda: shown.is_over))
        return code or 0


class _Explaining:
    """Explains the resource that is to be explained, over and over, so that it stays true."""

    def __init__(self, following: Following, shown: TopScreen) -> None:
        self._following = following
        self._shown = shown
        self._resource_id: str | None = None
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()

    def follow(self) -> None:
        """Explain what is to be explained now, if that is something else."""
        if self._shown.explained_id == self._resource_id:
            return
        self._resource_id = self._shown.explained_id
        if self._task is not None:
            self._task.cancel()
        self._task = None if self._resource_id is None else asyncio.create_task(self._explain(self._resource_id))

    async def _explain(self, resource_id: str) -> None:
        explainer = Explainer(self._following.reader, resource_id, _MOVES)
        while True:
            try:
                self._shown.explanation = lines_of(await explainer.read())
            except NotFoundError:
                self._shown.explanation = [f"{resource_id}: nobody is registered for it any more"]
            except TenureError:
                pass  # the broker is away, which the screen says by itself
            self._following.has_changed.set()
            await asyncio.sleep(_EXPLAIN_MS / 1_000)
