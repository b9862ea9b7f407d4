"""What a verification comes to: for each guarantee a verdict, and where it is broken the revisions that break it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct

_FINDINGS_MAX: Final = 20  # the earliest ones: what comes after them is seldom of a kind of its own


class Guarantee(StrEnum):
    """Those of docs/guarantees.md that a history can show."""

    G1 = "G1"
    G2 = "G2"
    G3 = "G3"
    G4 = "G4"
    G5 = "G5"


class Finding(NamedTuple):
    """One way in which a guarantee is broken."""

    revision: int
    """The revision that breaks it."""
    what: str


class State(StrEnum):
    """How a guarantee fares."""

    PROVEN = "proven"
    BROKEN = "broken"
    NOT_CHECKED = "not_checked"


class Verdict(Struct, frozen=True, kw_only=True):
    """What was found of one guarantee."""

    guarantee: Guarantee
    state: State
    revision: int | None
    """The earliest revision that breaks it; None if none was found."""
    says: str
    """What was proven and how far, what is broken, or why it was not checked."""
    findings: tuple[Finding, ...]
    """The earliest ones; `findings_count` says how many there are."""
    findings_count: int


class Report(Struct, frozen=True, kw_only=True):
    """What a verification has read, and its verdicts."""

    history_id: str
    first_revision: int
    """The oldest event that is kept; the store's next revision if there is none."""
    last_revision: int
    """The newest revision, 0 in a new history."""
    events: int
    tenures: int
    """How many begin in the events."""
    intervals: int
    verdicts: tuple[Verdict, ...]

    @property
    def is_broken(self) -> bool:
        """Whether a guarantee does not hold."""
        return any(verdict.state is State.BROKEN for verdict in self.verdicts)


class Findings:
    """What was found of one guarantee so far."""

    def __init__(self) -> None:
        self.count = 0
        self.earliest: list[Finding] = []

    def add(self, revision: int, what: str) -> None:
        """Take note of a revision that breaks the guarantee."""
        self.count += 1
        insort(self.earliest, Finding(revision, what))
        del self.earliest[_FINDINGS_MAX:]

    def compare(self, revision: int, what: str, values: Iterable[tuple[str, object, object]]) -> None:
        """Hold what the events say against a row; None is what they do not say."""
        for name, by_events, by_table in values:
            if by_events is not None and by_events != by_table:
                self.add(revision, f"{what}: {name} {by_events!s} by its event, {by_table!s} by the table")

    def verdict(self, guarantee: Guarantee, proven: str, *, unchecked: str = "") -> Verdict:
        """The verdict: broken if anything was found, else not checked if there is a reason, else proven."""
        says, state = (unchecked, State.NOT_CHECKED) if unchecked else (proven, State.PROVEN)
        if self.earliest:
            says, state = f"revision {self.earliest[0].revision}: {self.earliest[0].what}", State.BROKEN
        return Verdict(
            guarantee=guarantee,
            state=state,
            revision=self.earliest[0].revision if self.earliest else None,
            says=says,
            findings=tuple(self.earliest),
            findings_count=self.count,
        )
