"""`verify` on histories with pauses: what nobody may do while one lasts, and what table and events say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenure.contract.interventions import PauseResource, ResumeResource
from tenure.contract.vocabulary import ChangeReason
from tests.unit.histories import broken_by, change_event, damage, keep, report_of
from tests.unit.scene import Scene


def paused_scene() -> Scene:
    """`r` was paused (revision 5) and is no more (6); `s` is paused (7) still, and has lost its active since (8, 9)."""
    scene = Scene()
    a = scene.client("a")
    a.stand_by("r")
    a.compete("s")
    scene.ask(PauseResource(resource_id="r", why="work"))
    scene.ask(ResumeResource(resource_id="r"))
    scene.ask(PauseResource(resource_id="s", why="more work", by="ada"))
    a.goodbye()
    scene.client("b").compete("s")
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
