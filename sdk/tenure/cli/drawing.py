"""Draws what is followed as it changes, on a terminal that it takes as a whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from rich.text import Text

from tenure.cli.following import Following
from tenure.cli.screen import TERMINATED, Screen

_FRAME_MS: Final = 50
"""However fast things change, no eye sees more."""
_IDLE_MS: Final = 500
"""How often it is drawn although nothing has come: ages grow, and silence is noticed."""


async def drawn(
    following: Following,
    press: Callable[[str], None],
    lines: Callable[[int, int], Sequence[Text]],
    is_over: Callable[[], bool],
) -> int:
    """Draw until it is over; the exit code.

    Args:
        following: What is shown; it is followed beside this.
        press: Takes a key that was pressed.
        lines: What is to be shown, for a width and a height.
        is_over: Whether it is to end, asked after each change.
    """

    def pressed(key: str) -> None:
        press(key)
        following.has_changed.set()

    with Screen(pressed, following.has_changed.set) as screen:
        while True:
            following.has_changed.clear()
            screen.draw(lines(screen.width, screen.height))
            await asyncio.sleep(_FRAME_MS / 1_000)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_MS / 1_000):
                    await following.has_changed.wait()
            if screen.is_terminated:
                return TERMINATED
            if is_over():
                return 0
