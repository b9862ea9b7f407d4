"""The live table: all rows, then what changes, once for everybody, computed only while somebody watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tenure.admin import table
from tenure.admin.problems import BrokerAwayError
from tenure.contract.interventions import CancelSwitchover, PauseResource, ResumeResource, Switchover
from tenure.contract.views import Presence
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.admin_stage import (
    HEARD_MS,
    PATIENCE_S,
    SceneSource,
    Watching,
    application,
    asking,
    assert_problem,
    watching,
)
from tests.unit.scene import Scene


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
async def page(source: SceneSource) -> AsyncIterator[Page]:
    """A page that has all rows."""
    async with watching(application(source), "/resources") as watcher:
        page = Page(watcher)
        await page.until_live()
        yield page


class Page:
    """What a page makes of the stream, as the admin's own does it."""

    def __init__(self, watcher: Watching) -> None:
        self._watcher = watcher
        self._fresh: dict[str, Any] = {}
        self.rows: dict[str, Any] = {}
        self.state = "connecting"
        self.told: list[str] = []
        """The kinds of messages that came."""

    async def read(self) -> None:
        """Take in one message."""
        block = await self._watcher.block()
        event = block.get("event", "")
        self.told.append(event)
        data = json.loads(block.get("data", "{}"))
        match event:
            case "snapshot":
                self._fresh |= {row["resource_id"]: row for row in data["rows"]}
            case "live":
                self.rows, self._fresh, self.state = self._fresh, {}, "live"
            case "rows":
                self.rows |= {row["resource_id"]: row for row in data["rows"]}
            case "gone":
                for resource_id in data["resource_ids"]:
                    del self.rows[resource_id]
            case "away":
                assert data["heard_ms"] == HEARD_MS
                self.state = "away"
            case "back":
                self.state = "live"
            case _:
                assert not block, "a comment has no fields"

    async def until(self, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Read until the rows are as wanted."""
        while not fits(self.rows):
            await self.read()

    async def until_state(self, state: str) -> None:
        """Read until the rows may be taken for live, or may not."""
        while self.state != state:
            await self.read()

    async def until_live(self) -> None:
        """Read until all rows are there."""
        await self.until_state("live")


def who(row: Mapping[str, Any]) -> str:
    """A row in a word: `a | b c`."""
    standbys = " ".join(standby["instance_id"] for standby in row["standbys"])
    return f"{'-' if row['active'] is None else row['active']['instance_id']} | {standbys}".rstrip()


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
    a.resign(_tenure(scene, a))
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
        assert late.told == ["snapshot", "live", "away"]
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
        held = other.claim("r") if scene.resource("r").active is None else _tenure(scene, other)
        source.follow()
    await until(lambda: not source.table.statistics()["is_waiting"])

    chunk = await anext(stream)
    assert chunk.count(b'"resource_id"') == 1
    assert who(json.loads(chunk.split(b"data: ")[1])["rows"][0]) == scene.who("r")
    await stream.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until a condition holds that something else brings about, and tells nobody of."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (there is no event: what changes are plain values)
            await asyncio.sleep(0.001)


def _tenure(scene: Scene, client: Any) -> Any:
    """The tenure that somebody was given by succession."""
    active = scene.resource("r").active
    assert active is not None
    assert active.instance_id == client.name
    return active


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
    await until(lambda: source.table.statistics()["rows"] == 1)
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
            await until(lambda: not source.streams.count)
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
