"""What `tenure top` shows, line by line, and what its keys do. Pure: no terminal, no broker, only what is known of one.

Only what is visible is looked at. What may be out of date is said to be: in words, on every screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Final

from rich.text import Text

from tenure.cli.following import Following
from tenure.cli.headlines import counts_line, filled, state_line
from tenure.cli.looks import clock, shortened
from tenure.cli.telling import Part
from tenure.cli.top_rows import Columns

_NEWS_LINES_MAX: Final = 8
_NAME_SHARE: Final = 3  # an event's resource takes at most a third of its line
_FRAME_LINES: Final = 5  # two of state, one of headings, one above the events, one of keys
_KEYS: Final = "q quit   / filter   ↑↓ move   enter explain"
_KEYS_EXPLAINED: Final = "q quit   esc back   ↑↓ scroll"


class TopScreen:
    """The state of the screen: what is filtered, selected and explained."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._columns = Columns()
        self.is_over = False
        """Whether it is to end."""
        self.explained_id: str | None = None
        """The resource that is explained instead of all being shown."""
        self.explanation: Sequence[str] | None = None
        """How it is explained; None until that is known."""
        self._filter = ""
        self._is_typing = False
        self._selected: str | None = None  # None: the first ones are shown, whichever they are
        self._index = 0
        self._first = 0  # of the lines that are shown
        self._rows_max = 1

    # --- keys ---------------------------------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Do what a key stands for."""
        if self._is_typing:
            self._type(key)
        elif key == "q":
            self.is_over = True
        elif self.explained_id is not None:
            self._scroll(key)
        else:
            self._choose(key)

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self._is_typing = False
            case "escape":
                self._is_typing, self._filter = False, ""
            case "backspace":
                self._filter = self._filter[:-1]
            case _ if len(key) == 1:
                self._filter += key
            case _:
                self._is_typing = False
                self._choose(key)

    def _scroll(self, key: str) -> None:
        if key in {"escape", "enter", "backspace"}:
            self.explained_id = self.explanation = None
            self._first = 0
            return
        moved = self._moved(key, self._first)
        if moved is not None:
            self._first = max(0, moved)

    def _choose(self, key: str) -> None:
        ids = self._following.board.ids(self._filter)
        match key:
            case "/":
                self._is_typing = True
            case "escape":
                self._filter, self._selected = "", None
            case "enter" if self._selected is not None:
                self.explained_id, self.explanation, self._first = self._selected, None, 0
            case _:
                moved = self._moved("down" if key == "enter" else key, -1 if self._selected is None else self._index)
                if moved is not None and ids:
                    self._index = min(max(0, moved), len(ids) - 1)
                    self._selected = ids[self._index]

    def _moved(self, key: str, position: int) -> int | None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._rows_max, "page down": self._rows_max}
        if key in steps:
            return position + steps[key]
        return {"home": 0, "g": 0, "end": 2**31, "G": 2**31}.get(key)

    # --- lines --------------------------------------------------------------------------------------------------------

    def lines(self, width: int, height: int) -> list[Text]:
        """All lines of the screen, for one of this size."""
        self._following.board.refresh()
        if not self._following.is_open:
            return [Text("Asking the broker what is the case …")]
        if self.explained_id is not None:
            return self._explained(width, height)
        head = [state_line(self._following, width), counts_line(self._following)]
        ids = self._following.board.ids(self._filter)
        news_least = min(_NEWS_LINES_MAX, height // 4) if height >= 2 * _FRAME_LINES else 0
        self._rows_max = max(1, height - _FRAME_LINES - news_least)
        self._keep_in_sight(ids)
        rows = self._rows(ids[self._first : self._first + self._rows_max], width)
        news_lines = max(0, height - _FRAME_LINES - (len(rows) - 1))
        return [*head, *rows, *self._news(width, news_lines), self._keys()][:height]

    def _rows(self, ids: Sequence[str], width: int) -> list[Text]:
        """The headings, and a row for each resource."""
        board = self._following.board
        views = [view for resource_id in ids if (view := board.view(resource_id)) is not None]
        if not views:
            nobody = "no name contains this" if self._filter else "nobody is registered"
            return [Text("RESOURCE", style="bold"), Text(nobody, style="dim")]
        self._columns.fit(views, width)
        is_live = self._following.is_live
        rows = [self._columns.headings()]
        for view in views:
            row = self._columns.row(view, None if is_live else self._following.heard_ms)
            if view.resource_id == self._selected:
                row = filled(row, width)
                row.stylize("reverse")
            elif not is_live:
                row.stylize("dim")
            rows.append(row)
        return rows

    def _news(self, width: int, count: int) -> list[Text]:
        """The newest events about what is not filtered out, the newest at the bottom."""
        letters = self._filter.lower()
        newest = [news for news in self._following.news if news.is_about(letters)][-count:] if count else []
        title = filled(Text("EVENTS", style="bold"), width)
        told = [Text.assemble((f"{clock(news.at_ms)}  ", "dim"), *_fitting(news.told, width)) for news in newest]
        return [*([Text("")] * (count - len(told))), title, *told]

    def _keys(self) -> Text:
        if self._is_typing:
            return Text.assemble(("filter: ", "bold"), self._filter, (" ", "reverse"))
        if self._filter:
            shown = len(self._following.board.ids(self._filter))
            return Text.assemble((f"filter: {self._filter}", "bold"), f"  {shown:,} shown   esc all", style="dim")
        return Text(_KEYS, style="dim")

    def _explained(self, width: int, height: int) -> list[Text]:
        told = ["…"] if self.explanation is None else self.explanation
        style = "" if self._following.is_live else "dim"
        body = [
            Text(part, style=style) for line in told for part in wrap(line, width, subsequent_indent=" " * 6) or [""]
        ]
        self._rows_max = max(1, height - 3)
        self._first = max(0, min(self._first, len(body) - self._rows_max))
        shown = body[self._first : self._first + self._rows_max]
        shown += [Text("")] * (self._rows_max - len(shown))
        return [state_line(self._following, width), Text(""), *shown, Text(_KEYS_EXPLAINED, style="dim")][:height]

    def _keep_in_sight(self, ids: Sequence[str]) -> None:
        """Find the selected resource again, wherever it is now, or whoever is in its place if it is gone."""
        if self._selected is None or not ids:
            self._first = 0
            return
        if self._index >= len(ids) or ids[self._index] != self._selected:
            self._index = ids.index(self._selected) if self._selected in ids else min(self._index, len(ids) - 1)
            self._selected = ids[self._index]
        self._first = min(self._first, self._index, max(0, len(ids) - self._rows_max))
        self._first = max(self._first, self._index - self._rows_max + 1)


def _fitting(told: Sequence[Part], width: int) -> list[Part]:
    """An event's words, in which the resource does not take the room of all the others."""
    (resource_id, style), *others = told
    return [(shortened(resource_id, width // _NAME_SHARE) if others else resource_id, style), *others]
