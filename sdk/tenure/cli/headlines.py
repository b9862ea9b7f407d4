"""The first two lines of every live screen: whether it is live, and how much is wrong."""

from __future__ import annotations

import time
from typing import Final

from rich.text import Text

from tenure.cli.board import Trouble
from tenure.cli.following import Following
from tenure.cli.looks import ago, clock, shortened

_COUNTED: Final = {
    Trouble.NOBODY_ACTIVE: ("nobody active", "bold red"),
    Trouble.AT_RISK: ("at risk", "bold red"),
    Trouble.PAUSED: ("paused", "yellow"),
    Trouble.UNWELL: ("not healthy", "yellow"),
    Trouble.NO_STANDBY: ("no standby ready", "yellow"),
}
_GAP: Final = 2


def state_line(following: Following, width: int) -> Text:
    """Whether what is shown is the case now, and where it comes from."""
    if not following.is_live:
        since = f"{clock(following.heard_ms, is_exact=False)} ({ago(following.heard_ms)})"
        words = f" THE BROKER IS NOT HEARD since {since}: what stands here was so then"
        return filled(Text(words, style="bold white on red"), width)
    now = f"revision {following.board.replica.revision:,}   {time.strftime('%H:%M:%S')}"
    line = Text.assemble(("● live", "bold green"), "   ")
    room = width - line.cell_len - len(now) - _GAP
    line.append(shortened(following.reader.endpoints[0], room), style="dim")
    line.append(" " * max(_GAP, width - line.cell_len - len(now)))
    return line.append(now)


def counts_line(following: Following) -> Text:
    """How many resources there are, and how many have which trouble."""
    board = following.board
    counts = board.counts()
    parts = [
        Text(f"{counts[trouble]:,} {words}", style=style)
        for trouble, (words, style) in _COUNTED.items()
        if counts[trouble]
    ]
    all_of_them = "1 resource" if len(board) == 1 else f"{len(board):,} resources"
    was = "" if following.is_live else "last known: "
    if not len(board):
        return Text(f"{was}nobody is registered")
    return Text(f"{was}{all_of_them}: ").append_text(
        Text(", ").join(parts) if parts else Text("all is well", style="green")
    )


def filled(line: Text, width: int) -> Text:
    """A line as wide as this, for those whose background is seen."""
    line.truncate(width, overflow="ellipsis", pad=True)
    return line
