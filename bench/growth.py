"""What the bench of scale found: how costs grow, as curves, and where they must get to.

Of sessions at rest that the broker could not keep, no cost is told: what it spent says nothing of what they would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from bench.latencies import Summary
from bench.machine import Machine
from bench.report import Curve, Report, Target
from tenure.contract.limits import heartbeat_interval_ms

CLAIM_RATIO: Final = 1.5
"""How many times as long the p99 of a claim may be beside the most registrations as beside the fewest."""
BYTES_A_REGISTRATION: Final = 1_000.0
LOADED_WITH: Final = 100_000
LOADED_S: Final = 1.5
"""How long a broker with so many registrations may take from its start until it takes requests."""
SESSIONS_AT_REST: Final = 10_000
REST_CPU_PERCENT: Final = 25.0
"""How much of a core so many sessions may cost at rest."""

IN_FLIGHT: Final = (1, 64)
"""The loads under which claims are measured."""


class AtRest(Struct, frozen=True, kw_only=True):
    """What so many sessions came to."""

    sessions: int
    lease_ms: int
    opened: int
    """How many there were: fewer if the broker fell so far behind that it took no more."""
    cpu_percent: float
    """Of one core."""
    sent_a_second: float
    answered_a_second: float
    unconfirmed_a_second: float
    """Heartbeats whose answer did not confirm the role: its session was lost, by a broker that fell behind."""
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def confirmed_percent(self) -> float:
        """Of the heartbeats that so many sessions have to send, how many were answered with the role confirmed."""
        wanted_a_second = self.sessions * 1_000 / heartbeat_interval_ms(self.lease_ms)
        return 100 * (self.answered_a_second - self.unconfirmed_a_second) / wanted_a_second

    @property
    def is_carried(self) -> bool:
        """Whether the broker kept them all; else what it spent says nothing of what they cost."""
        return self.opened == self.sessions and not self.unconfirmed_a_second


class Filled(Struct, frozen=True, kw_only=True):
    """What so many registrations came to; bytes are each registration's."""

    registrations: int
    memory_bytes: float
    """After they were registered."""
    loaded_bytes: float
    """After a start that read them from the store."""
    stored_bytes: float
    fill_a_second: float
    start_s: float
    rest_cpu_percent: float
    claims: Sequence[Summary] = ()


def load_name(workers: int, registrations: int) -> str:
    """How claims beside so many registrations are called."""
    load = "one after the other" if workers == 1 else f"{workers} in flight"
    return f"{load}, {registrations:,} there"


def report(
    settings: Mapping[str, str], machine: Machine, at_rest: Sequence[AtRest], filled: Sequence[Filled]
) -> Report:
    """What all of it came to."""
    return Report(
        bench="scale",
        title="how costs grow with sessions and registrations",
        machine=machine,
        settings=settings,
        measured=[claims for one in filled for claims in one.claims],
        curves=[*_session_curves(at_rest), *_registration_curves(filled)],
        ratios=_ratios(at_rest),
        targets=targets(at_rest, filled),
    )


def targets(at_rest: Sequence[AtRest], filled: Sequence[Filled]) -> list[Target]:
    """Where the costs must get to, of those that were measured."""
    found = [
        Target(name=f"{_name(one)}, at rest", value=one.cpu_percent, bound=REST_CPU_PERCENT, unit="% of a core")
        if one.is_carried
        else Target(
            name=f"{_name(one)}: heartbeats answered, the role confirmed",
            value=one.confirmed_percent,
            bound=100.0,
            unit="%",
            at_least=True,
        )
        for one in at_rest
        if one.sessions == SESSIONS_AT_REST
    ]
    if len(filled) > 1:
        fewest, most = filled[0], filled[-1]
        found += [
            Target(
                name=f"p99 of {many.name} / p99 of {few.name}",
                value=many.p99_ms / few.p99_ms,
                bound=CLAIM_RATIO,
                unit="",
            )
            for few, many in zip(fewest.claims, most.claims, strict=True)
        ]
    for one in filled:
        if one.registrations >= LOADED_WITH:  # beside fewer, the broker's own memory moves more than theirs
            found.append(
                Target(
                    name=f"memory of each of {one.registrations:,} registrations",
                    value=max(one.memory_bytes, one.loaded_bytes),
                    bound=BYTES_A_REGISTRATION,
                    unit="bytes",
                )
            )
        if one.registrations == LOADED_WITH:
            found.append(
                Target(
                    name=f"start of a broker with {one.registrations:,} registrations",
                    value=one.start_s,
                    bound=LOADED_S,
                    unit="s",
                )
            )
    return found


def _name(one: AtRest) -> str:
    return f"{one.sessions:,} sessions, a lease of {one.lease_ms:,} ms"


def _ratios(at_rest: Sequence[AtRest]) -> dict[str, float]:
    ratios: dict[str, float] = {}
    for one in at_rest:
        if one.opened < one.sessions:
            ratios[f"{_name(one)}: taken before the broker fell behind"] = one.opened
        ratios[f"{_name(one)}: heartbeats sent a second"] = round(one.sent_a_second)
        ratios[f"{_name(one)}: heartbeats answered a second"] = round(one.answered_a_second)
        ratios[f"{_name(one)}: of them without the role confirmed"] = round(one.unconfirmed_a_second)
    return ratios


def _session_curves(at_rest: Sequence[AtRest]) -> list[Curve]:
    x = "sessions at rest"
    curves: list[Curve] = []
    for lease_ms in dict.fromkeys(one.lease_ms for one in at_rest):
        of_lease = [one for one in at_rest if one.lease_ms == lease_ms and one.is_carried]
        for name, y, values in (
            ("the broker", "% of one core", [one.cpu_percent for one in of_lease]),
            ("p50", "a heartbeat's answer, ms", [one.p50_ms for one in of_lease]),
            ("p99", "a heartbeat's answer, ms", [one.p99_ms for one in of_lease]),
        ):
            if not of_lease:
                continue
            points = [(one.sessions, round(value, 3)) for one, value in zip(of_lease, values, strict=True)]
            curves.append(Curve(name=f"{name}, lease {lease_ms:,} ms", x=x, y=y, points=points))
    return curves


def _registration_curves(filled: Sequence[Filled]) -> list[Curve]:
    x = "registrations"
    curves = [
        Curve(
            name=f"p99, {'one after the other' if workers == 1 else f'{workers} in flight'}",
            x=x,
            y="a claim, ms",
            points=[(one.registrations, one.claims[index].p99_ms) for one in filled],
        )
        for index, workers in enumerate(IN_FLIGHT)
    ]
    for name, y, values in (
        ("in memory, registered", "bytes a registration", [one.memory_bytes for one in filled]),
        ("in memory, loaded", "bytes a registration", [one.loaded_bytes for one in filled]),
        ("on disk, with events", "bytes a registration", [one.stored_bytes for one in filled]),
        ("start", "seconds", [one.start_s for one in filled]),
        ("registered, 1,000 a request", "a second", [one.fill_a_second for one in filled]),
        ("the broker at rest", "% of one core", [one.rest_cpu_percent for one in filled]),
    ):
        points = [(one.registrations, round(value, 3)) for one, value in zip(filled, values, strict=True)]
        curves.append(Curve(name=name, x=x, y=y, points=points))
    return curves if filled else []
