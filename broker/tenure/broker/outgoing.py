"""What leaves the broker's core: answers and pushes, what a commit sets free, and what the log is told."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from tenure.broker.connections import Route
from tenure.broker.measurements import Asked
from tenure.contract.errors import ErrorInfo
from tenure.contract.events import AnyEvent
from tenure.contract.interventions import AnyIntervention


class Outgoing(Struct, frozen=True, gc=False):
    """One message to one peer."""

    route: Route
    request_id: bytes
    """Empty for what answers nothing."""
    body: bytes
    asked: Asked | None = None
    """What it answers, if that is measured."""


class Intervention(NamedTuple):
    """What a person asked for, over ipc as which user, and why it was refused, if it was."""

    request: AnyIntervention
    identity: str
    refusal: ErrorInfo | None


class Release(Struct, frozen=True, kw_only=True):
    """What a commit sets free: send first, then publish."""

    outgoing: list[Outgoing]
    published: list[bytes]
    events: tuple[AnyEvent, ...]
    """What was published, for the log."""
