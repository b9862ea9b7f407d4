"""Those who watch the live table: what they are owed, what they cost, and when their streams end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import pytest
from structlog.testing import capture_logs

from tenure.admin import table
from tenure.admin.problems import BrokerAwayError
from tenure.contract.interventions import CancelSwitchover, Switchover
from tenure.contract.views import Presence
from tests.unit.admin_stage import (
    SceneSource,
    application,
    asking,
    assert_problem,
    watching,
)
from tests.unit.live_page import Page, live_page, settled, tenure_of, who


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
async def page(source: SceneSource) -> AsyncIterator[Page]:
    """A page that has all rows."""
    async with live_page(source) as page:
        yield page


async def test_who_is_slow_is_owed_no_more_than_a_row_for_each_resource(source: SceneSource) -> None:
    """However often it changed since: what he gets is how it is when he reads on."""
    scene = source.scene
    a, b = scene.client("a"), scene.client("b")
    a.stand_by("other")
    source.follow()
    stream = source.table.follow(source.streams)
    said = [await anext(stream), await anext(stream)]
    assert said[1] == b"event: live\ndata: {}\n\n"

    held = a.claim("r")
    b.stand_by("r")
    for active, other in ((a, b), (b, a)) * 10:
        active.resign(held)
        held = other.claim("r") if scene.resource("r").active is None else tenure_of(scene, other)
        source.follow()
    await settled(source, lambda: not source.table.statistics()["is_waiting"])

    chunk = await anext(stream)
    assert chunk.count(b'"resource_id"') == 1
    assert who(json.loads(chunk.split(b"data: ")[1])["rows"][0]) == scene.who("r")
    await stream.aclose()


async def test_who_may_not_have_heard_of_what_is_gone_begins_anew(
    source: SceneSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is not remembered for ever."""
    monkeypatch.setattr(table, "_GONE_KEPT", 2)
    a = source.scene.client("a")
    registered = [a.stand_by(f"r{number}") for number in range(5)]
    source.follow()
    stream = source.table.follow(source.streams)
    said = await anext(stream) + await anext(stream)
    for one in registered[:4]:
        a.deregister(one)
    source.follow()
    await settled(source, lambda: source.table.statistics()["rows"] == 1)
    said = await anext(stream)
    assert said.startswith(b"event: snapshot\n")
    assert said.count(b'"resource_id"') == 1
    await stream.aclose()


async def test_nothing_is_kept_or_asked_while_nobody_watches(source: SceneSource) -> None:
    """The first one who comes starts it, the last one who leaves ends it."""
    source.scene.client("a").claim("r")
    source.follow()
    assert source.table.statistics()["rows"] == 0
    app = application(source)
    for _ in range(2):
        async with watching(app, "/resources") as first, watching(app, "/resources") as second:
            for watcher in (first, second):
                await Page(watcher).until_live()
            assert source.table.statistics()["rows"] == 1
        assert source.table.statistics() | {"rows": 0, "watchers": 0} == source.table.statistics()


async def test_a_defect_ends_the_streams(source: SceneSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would not be kept any more must not be taken for live: the page connects again, and sees how it is then."""
    source.scene.client("a").claim("r")
    source.follow()
    with capture_logs() as logs:
        async with watching(application(source), "/resources") as watcher:
            await Page(watcher).until_live()
            monkeypatch.setattr(source, "presence", _broken)
            await watcher.rest()
    assert [(log["event"], log["log_level"]) for log in logs] == [("table.failed", "error")]
    monkeypatch.undo()
    async with watching(application(source), "/resources") as watcher:
        page = Page(watcher)
        await page.until_live()
        assert set(page.rows) == {"r"}


async def _broken() -> tuple[Mapping[int, Presence], int]:
    raise RuntimeError("a defect")


async def test_a_stream_that_has_nothing_to_say_says_so(source: SceneSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment."""
    monkeypatch.setattr(table, "KEEP_ALIVE_S", 0.001)
    async with watching(application(source), "/resources") as watcher:
        page = Page(watcher)
        await page.until_live()
        await page.read()
        assert page.told[-1] == ""


async def test_a_stream_of_rows_takes_no_parameters(source: SceneSource) -> None:
    """A filter would be taken for one that holds."""
    async with asking(source) as browser:
        answer = await browser.get("/resources?service_name=x", headers={"accept": "text/event-stream"})
        assert_problem(answer, 422, "invalid_request")


async def test_a_question_that_fails_is_no_defect(
    source: SceneSource, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that cannot say how a switchover stands may do so the next time."""
    scene = source.scene
    held = scene.client("a").claim("r")
    scene.client("b").stand_by("r")
    source.follow()
    source.table.note_switchover("r", held.epoch)

    async def mute(_: str) -> None:
        raise BrokerAwayError(None)

    monkeypatch.setattr(source, "look_at", mute)
    await page.until(lambda rows: "r" in rows and rows["r"]["switchover"])
    monkeypatch.undo()
    await page.until(lambda rows: not rows["r"]["switchover"])


async def test_all_switchovers_are_looked_at_in_turn(
    source: SceneSource, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are under way, so that each one that was called off is seen to be."""
    monkeypatch.setattr(table, "_MOVING_LOOKED_AT", 2)
    scene = source.scene
    a, b = scene.client("a"), scene.client("b")
    names = ["r0", "r1", "r2", "r3", "r4"]
    for name in names:
        held = a.claim(name)
        b.stand_by(name)
        scene.ask(Switchover(resource_id=name, epoch=held.epoch, drain_ms=60_000))
        source.table.note_switchover(name, held.epoch)
    source.follow()
    await page.until(lambda rows: all(name in rows and rows[name]["switchover"] for name in names))
    scene.ask(CancelSwitchover(resource_id=names[-1], epoch=scene.resource(names[-1]).last_epoch))
    await page.until(lambda rows: not rows[names[-1]]["switchover"])
    assert all(page.rows[name]["switchover"] for name in names[:-1])
