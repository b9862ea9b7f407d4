"""The live table: all rows, then what changes, once for everybody, computed only while somebody watches."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tenure.admin import table
from tenure.contract.interventions import CancelSwitchover, PauseResource, ResumeResource, Switchover
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.admin_stage import SceneSource, application, watching
from tests.unit.live_page import Page, live_page, tenure_of, who
from tests.unit.scene import Scene


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
async def page(source: SceneSource) -> AsyncIterator[Page]:
    """A page that has all rows."""
    async with live_page(source) as page:
        yield page


async def test_all_rows_come_first(source: SceneSource) -> None:
    """In messages of a bounded size, then word that these were all."""
    scene = source.scene
    a = scene.client("a")
    held = a.claim("r")
    scene.client("b").stand_by("r", priority=2)
    scene.client("sick", status=ServiceStatus.UNHEALTHY).stand_by("r")
    scene.client("c").stand_by("q")
    source.follow()

    async with watching(application(source), "/resources") as watcher:
        page = Page(watcher)
        await page.until_live()

    assert page.told == ["snapshot", "live"]
    assert page.rows["r"] == {
        "resource_id": "r",
        "service_names": ["svc"],
        "epoch": held.epoch,
        "active": {
            "instance_id": "a",
            "service_name": "svc",
            "status": "healthy",
            "since_ms": scene.now.unix_ms,
            "at_risk": False,
        },
        "standbys": [
            {"instance_id": "b", "service_name": "svc", "status": "healthy", "at_risk": False, "may_succeed": True},
            {
                "instance_id": "sick",
                "service_name": "svc",
                "status": "unhealthy",
                "at_risk": False,
                "may_succeed": False,
            },
        ],
        "standby_count": 2,
        "vacant_since_ms": None,
        "lost": None,
        "pause": None,
        "switchover": False,
    }
    assert who(page.rows["q"]) == "- | c"


async def test_rows_come_in_messages_of_a_bounded_size(source: SceneSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots and changes both; of many standbys the first ten."""
    monkeypatch.setattr(table, "CHUNK_ROWS", 2)
    a = source.scene.client("a")
    for number in range(5):
        a.stand_by(f"r{number}")
    for number in range(12):
        a.stand_by("r0", instance_id=f"i{number}")
    source.follow()
    async with watching(application(source), "/resources") as watcher:
        page = Page(watcher)
        await page.until_live()
        assert page.told == ["snapshot", "snapshot", "snapshot", "live"]
        assert (len(page.rows["r0"]["standbys"]), page.rows["r0"]["standby_count"]) == (10, 13)
        a.goodbye()
        source.follow()
        await page.until(lambda rows: not rows)
        assert page.told[4:] == ["gone", "gone", "gone"]


async def test_what_changes_comes(source: SceneSource, page: Page) -> None:
    """Instances come and go, roles move, statuses change; what does not change is not sent again."""
    scene = source.scene
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    a.stand_by("q")
    source.follow()
    await page.until(lambda rows: set(rows) == {"r", "q"} and who(rows["r"]) == "a | b")

    b.beat(ServiceStatus.DEGRADED)
    source.follow()
    await page.until(lambda rows: rows["r"]["standbys"][0]["status"] == "degraded")
    a.resign(held)
    source.follow()
    await page.until(lambda rows: who(rows["r"]) == "b | a")
    assert page.rows["r"]["epoch"] == scene.resource("r").last_epoch
    b.goodbye()
    source.follow()
    await page.until(lambda rows: who(rows["r"]) == "a |")
    a.resign(tenure_of(scene, a))
    source.follow()
    await page.until(lambda rows: who(rows["r"]) == "- | a")
    assert page.rows["r"]["vacant_since_ms"] == scene.now.unix_ms
    a.goodbye()
    source.follow()
    await page.until(lambda rows: not rows)
    assert page.told.count("live") == 1


async def test_lateness_and_risk_come_without_an_event(source: SceneSource, page: Page) -> None:
    """They are looked at while somebody watches."""
    a = source.scene.client("a")
    a.claim("r")
    source.follow()
    await page.until(lambda rows: "r" in rows)
    a.beat(margin_ms=100)
    await page.until(lambda rows: rows["r"]["active"]["at_risk"] is True)
    source.scene.now_ms += 1_500
    await page.until(lambda rows: rows["r"]["active"]["status"] == "late")
    a.beat(margin_ms=1_900)
    await page.until(lambda rows: rows["r"]["active"] | {"status": "healthy", "at_risk": False} == rows["r"]["active"])


async def test_a_switchover_under_way_is_shown(source: SceneSource, page: Page) -> None:
    """Once it is known; until the tenure ends, or it turns out to have been called off."""
    scene = source.scene
    a = scene.client("a")
    held = a.claim("r")
    scene.client("b").stand_by("r")
    source.follow()
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, drain_ms=1_000))
    await source.look_at("r")
    await page.until(lambda rows: "r" in rows and rows["r"]["switchover"])
    scene.ask(CancelSwitchover(resource_id="r", epoch=held.epoch))
    await page.until(lambda rows: not rows["r"]["switchover"])
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, drain_ms=1_000))
    await source.look_at("r")
    await page.until(lambda rows: rows["r"]["switchover"])
    a.resign(held)
    source.follow()
    await page.until(lambda rows: who(rows["r"]) == "b | a" and not rows["r"]["switchover"])


async def test_a_pause_is_shown(source: SceneSource, page: Page) -> None:
    """With who, why and until when; until it is over."""
    source.scene.client("a").claim("r")
    source.scene.ask(PauseResource(resource_id="r", why="new cable", by="ops"))
    source.follow()
    await page.until(lambda rows: "r" in rows and rows["r"]["pause"] is not None)
    assert (page.rows["r"]["pause"]["by"], page.rows["r"]["pause"]["why"]) == ("ops", "new cable")
    source.scene.ask(ResumeResource(resource_id="r"))
    source.follow()
    await page.until(lambda rows: rows["r"]["pause"] is None)


async def test_a_broker_that_goes_and_comes_is_said(source: SceneSource, page: Page) -> None:
    """What is shown stays, marked as what was known; whoever comes meanwhile gets it with the mark too."""
    a = source.scene.client("a")
    a.claim("r")
    source.follow()
    await page.until(lambda rows: "r" in rows)
    source.is_away = True
    await page.until_state("away")
    async with watching(application(source), "/resources") as watcher:
        late = Page(watcher)
        await late.until_state("away")
        assert late.told == ["away"], "before anything that could be taken for live"
        await late.until(lambda rows: "r" in rows)
        assert (late.state, late.told) == ("away", ["away", "snapshot", "live"])
    source.is_away = False
    await page.until_state("live")
    assert set(page.rows) == {"r"}


async def test_a_broker_that_was_never_heard(source: SceneSource) -> None:
    """There is nothing to show yet, and that is said; rows come when it is there."""
    known = source.replica
    source.replica = type(known)()
    source.is_away = True
    async with watching(application(source), "/resources") as watcher:
        page = Page(watcher)
        await page.until_state("away")
        assert page.told == ["away"]
        source.scene.client("a").claim("r")
        source.is_away = False
        source.begin()
        await page.until(lambda rows: "r" in rows)
        await page.until_live()


async def test_another_replica_is_what_differs_from_the_one_before(source: SceneSource, page: Page) -> None:
    """After a restart of the stream: what is gone is said to be, what is new comes, and the rest is not sent again."""
    a = source.scene.client("a")
    for name in ("same", "gone"):
        a.claim(name)
    source.follow()
    await page.until(lambda rows: set(rows) == {"same", "gone"})
    other = Scene()
    source.scene = other
    b = other.client("a")
    for name in ("same", "new"):
        b.claim(name)
    source.begin("another-history")
    await page.until(lambda rows: set(rows) == {"same", "new"})
