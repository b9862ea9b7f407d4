"""What a broker has counted and measured of itself since it started, for whoever watches it.

All numbers are integers with their unit in the name, and all rise but for the few that say how many there are. The set
of what is told apart (`of`) is closed, so that the answer stays small however much is registered.
"""

from __future__ import annotations

from msgspec import Struct

from tenure.contract.message import Message


class Count(Struct, frozen=True, kw_only=True):
    """How often something of one kind has happened."""

    of: str
    """Which kind: a reason or an error code."""
    count: int


class Histogram(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How large the values of one kind were."""

    of: str = ""
    """Which kind: a reason or the type of a request; empty where there is one kind alone."""
    bounds: tuple[int, ...]
    """Rising; a value belongs to the first bound that is not less than it."""
    counts: tuple[int, ...]
    """How many values belong to each bound, and last how many are beyond all of them."""
    total: int
    """The sum of all values, rounded down."""


class GetMeasurements(Message, frozen=True, kw_only=True, omit_defaults=True, tag="get_measurements"):
    """What the broker has counted and measured. Answer: `measurements`, which waits for nothing. Needs no session."""


class Measurements(Message, frozen=True, kw_only=True, omit_defaults=True, tag="measurements"):
    """What the broker has counted and measured since it started."""

    history_id: str
    revision: int
    """The newest committed revision."""
    started_ms: int
    """Unix milliseconds at which it started, and all counts with it."""
    sessions: int
    """How many live."""
    connections: int
    """How many have said hello and are not forgotten."""
    sessions_opened: int
    sessions_ended: tuple[Count, ...] = ()
    """By reason."""
    switchovers: tuple[Count, ...] = ()
    """Planned moves of a role, by the reason why the tenure before ended."""
    refusals: tuple[Count, ...] = ()
    """Requests, and items of `register_many`, by the code of their error."""
    commits_refused: int = 0
    """Batches that the store did not take."""
    requests_us: tuple[Histogram, ...] = ()
    """From the receipt of a request until its answer was handed to the socket, by the request's type."""
    commits_us: Histogram
    """How long the store took to make a batch durable."""
    batch_events: Histogram
    """How many events a batch had."""
    loop_lag_us: Histogram
    """How much later than planned the broker's event loop turned."""
    lease_margins_permille: Histogram
    """How much of the lease was left when a heartbeat came, in thousandths of it."""
    failovers_ms: tuple[Histogram, ...] = ()
    """Unplanned moves of a role: from the decided end of a tenure to the commit of the next, by why it ended."""
    vacancies_ms: tuple[Histogram, ...] = ()
    """The same of all tenures that followed on another, however they came to be."""
