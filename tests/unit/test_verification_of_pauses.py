"""`verify` on histories with pauses: what nobody may do while one lasts, and what table and events say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenure.contract.interventions import PauseResource, ResumeResource
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.verdicts import Guarantee
from tests.unit.histories import broken_by, change_event, damage, keep, report_of, verdict_of
from tests.unit.scene import Scene


def paused_scene() -> Scene:
    """`r` was paused (revision 5) and is no more (6); `s` is paused (7) still, and has lost its active since (8, 9).

    Then `b` insists on it (13).
    """
    scene = Scene()
    a = scene.client("a")
    a.stand_by("r")
    a.compete("s")
    scene.ask(PauseResource(resource_id="r", why="work"))
    scene.ask(ResumeResource(resource_id="r"))
    scene.ask(PauseResource(resource_id="s", why="more work", by="ada"))
    a.goodbye()
    scene.client("b").claim("s")
    assert scene.registry.revision == 13
    return scene


async def test_a_history_with_pauses_is_proven(tmp_path: Path) -> None:
    """Those that are over and those that last, and a claim meanwhile."""
    assert broken_by(report_of(await keep(paused_scene(), tmp_path))) == {}


@pytest.mark.parametrize("reason", [ChangeReason.FAILOVER, ChangeReason.SUCCESSION])
async def test_a_promotion_that_nobody_asked_for_is_named(tmp_path: Path, reason: ChangeReason) -> None:
    """While a resource is paused the broker promotes nobody on its own."""
    await keep(paused_scene(), tmp_path)
    change_event(tmp_path, 13, reason=reason)
    assert broken_by(report_of(tmp_path)) == {"G1": 13}


async def test_a_candidate_that_is_granted_a_paused_role_is_named(tmp_path: Path) -> None:
    """Its claim waits for the end of the pause, whether it is new or asks again; one that insists does not."""
    await keep(paused_scene(), tmp_path / "new")
    change_event(tmp_path / "new", 13, candidate=True)
    assert findings_of(tmp_path / "new") == ["registration 13 is promoted while 's' is paused"]

    scene = Scene()
    a = scene.client("a")
    a.stand_by("r")
    scene.ask(PauseResource(resource_id="r", why="work"))
    a.claim("r", priority=1)
    assert scene.registry.revision == 6
    assert broken_by(report_of(await keep(scene, tmp_path / "again"))) == {}
    change_event(tmp_path / "again", 5, candidate=True)
    assert findings_of(tmp_path / "again") == ["registration 3 is promoted while 'r' is paused"]


def findings_of(directory: Path) -> list[str]:
    """What is found of promotions in a pause."""
    findings = verdict_of(report_of(directory), Guarantee.G1).findings
    return [finding.what for finding in findings if "is promoted" in finding.what]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM pauses",
        "UPDATE pauses SET why = 'none'",
        "UPDATE pauses SET until_ms = until_ms + 1",
        "INSERT INTO pauses VALUES ('t', 'w', 1, 2, 'b')",
    ],
)
async def test_a_table_of_pauses_that_is_not_what_its_events_come_to_is_named(tmp_path: Path, statement: str) -> None:
    """The pauses that a broker would load are those that its history tells."""
    await keep(paused_scene(), tmp_path)
    damage(tmp_path, statement)
    assert broken_by(report_of(tmp_path)) == {"G1": 13}


async def test_the_end_of_a_pause_that_never_began_is_named(tmp_path: Path) -> None:
    """What is ended has to have been."""
    await keep(paused_scene(), tmp_path)
    change_event(tmp_path, 6, resource_id="elsewhere")
    assert broken_by(report_of(tmp_path))["G1"] == 6


async def test_a_pause_whose_events_are_no_longer_kept_is_not_compared(tmp_path: Path) -> None:
    """It may have begun before the events that are left, and so may one that ends in them."""
    scene = paused_scene()
    scene.ask(ResumeResource(resource_id="s"))
    scene.ask(PauseResource(resource_id="s", why="still"))
    client = scene.client("c")
    for number in range(20):
        client.deregister(client.stand_by(f"r-{number}"))
    assert broken_by(report_of(await keep(scene, tmp_path / "later", events_kept=5))) == {}
    assert broken_by(report_of(await keep(paused_scene(), tmp_path / "now", events_kept=3))) == {}
