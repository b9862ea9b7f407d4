"""How a resource looks as one row of `tenure top`: columns that are aligned, names that are shortened in the middle.

A column for names grows as longer ones come into sight, up to its share of the width, and never shrinks: rows that
jump sideways while one scrolls are hard to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from tenure.cli.looks import STATUS_STYLES, ago, shortened
from tenure.contract.views import ResourceView, ServiceInstance
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk.succession import why_not_eligible

_GAP: Final = 2
_STATUS: Final = len("(unhealthy)")
_SINCE: Final = len("59 min")
_RESOURCE_SHARE: Final = 36  # of a hundred columns that are for names
_ACTIVE_SHARE: Final = 32
_NEXT_LEAST: Final = 12


class Columns:
    """How wide each column is."""

    def __init__(self) -> None:
        self._longest_resource = len("RESOURCE")
        self._longest_active = len("ACTIVE")
        self._epoch = len("EPOCH")
        self._resource = self._active = self._next = 0

    def fit(self, views: Sequence[ResourceView], width: int) -> None:
        """Make room for these resources in so many columns."""
        for view in views:
            self._longest_resource = max(self._longest_resource, Text(view.resource_id).cell_len)
            if view.active is not None:
                self._longest_active = max(self._longest_active, Text(_name(view.active)).cell_len)
                self._epoch = max(self._epoch, len(str(view.active.epoch)))
        rest = max(3, width - self._epoch - _STATUS - _SINCE - 5 * _GAP)
        self._active = min(self._longest_active, rest * _ACTIVE_SHARE // 100)
        self._resource = min(self._longest_resource, rest * (_RESOURCE_SHARE + _ACTIVE_SHARE) // 100 - self._active)
        self._next = max(_NEXT_LEAST, rest - self._resource - self._active)

    def headings(self) -> Text:
        """What the columns are."""
        return Text(
            (" " * _GAP).join(
                [
                    shortened("RESOURCE", self._resource).ljust(self._resource),
                    shortened("ACTIVE", self._active).ljust(self._active),
                    "STATUS".ljust(_STATUS),
                    "EPOCH".rjust(self._epoch),
                    "SINCE".rjust(_SINCE),
                    "NEXT IN LINE",
                ]
            ),
            style="bold",
        )

    def row(self, view: ResourceView, as_of_ms: int | None = None) -> Text:
        """A resource as it is, or as it was at some time (unix milliseconds): then its status stands in brackets."""
        active = view.active
        if active is None:
            holder, status = Text("nobody", style="bold red"), Text("")
            epoch = since = ""
        else:
            holder = Text(shortened(_name(active), self._active))
            status = _status(active) if as_of_ms is None else Text(f"({active.status})")
            epoch, since = str(active.epoch), ago(active.since_ms, as_of_ms)
        return Text(" " * _GAP).join(
            [
                _padded(Text(shortened(view.resource_id, self._resource)), self._resource),
                _padded(holder, self._active),
                _padded(status, _STATUS),
                Text(epoch.rjust(self._epoch)),
                Text(since.rjust(_SINCE)),
                next_in_line(view, self._next),
            ]
        )


def next_in_line(view: ResourceView, columns: int) -> Text:
    """Who could be promoted, as many in order as there is room for, and how many more stand by; after any pause."""
    if view.pause is None:
        return _line(view, columns)
    return Text("paused ", style="yellow").append_text(_line(view, columns - len("paused ")))


def _line(view: ResourceView, columns: int) -> Text:
    able = [standby for standby in view.standbys if not why_not_eligible(standby, view.last_epoch)]
    if not able:
        return Text(f"none ready of {view.standby_count}" if view.standby_count else "none", style="bold yellow")
    service_name = "" if view.active is None else view.active.service_name
    names = [one.instance_id if one.service_name == service_name else _name(one) for one in able]
    line = Text()
    for shown, name in enumerate(names, 1):
        more = view.standby_count - shown
        rest = Text(f" +{more}" if more else "", style="dim")
        joined = Text(", " if line else "").append(name)
        room = columns - line.cell_len - rest.cell_len
        if joined.cell_len > room:
            if line:
                return line.append_text(Text(f" +{view.standby_count - shown + 1}", style="dim"))
            return Text(shortened(name, room)).append_text(rest)
        line.append_text(joined)
    more = view.standby_count - len(names)
    return line.append_text(Text(f" +{more}", style="dim")) if more else line


def _name(instance: ServiceInstance) -> str:
    return f"{instance.service_name}/{instance.instance_id}"


def _status(active: ServiceInstance) -> Text:
    if not active.is_at_risk:
        return Text(active.status, style=STATUS_STYLES[active.status])
    return Text("late" if active.status is ServiceStatus.LATE else "AT RISK", style="bold red")


def _padded(text: Text, columns: int) -> Text:
    text.truncate(columns, overflow="ellipsis", pad=True)
    return text
