"""What the admin says of a resource that everybody has left since its newest tenure was lost: that nobody is active."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tenure.contract.interventions import PauseResource
from tenure.contract.messages import Register
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import lost
from tests.unit.admin_stage import SceneSource, application, ask, asking, assert_problem, watching
from tests.unit.live_page import Page, live_page, who


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who asks."""
    async with asking(source) as client:
        yield client


def lose(source: SceneSource, resource_id: str, service_name: str = "svc") -> int:
    """Somebody comes, is active alone, and dies; the epoch."""
    client = source.scene.client("gone")
    registered = client.register(
        Register(service_name=service_name, instance_id="gone", resource_id=resource_id, role=ServiceRole.ACTIVE)
    )
    source.scene.end_session(client)
    source.follow()
    return registered.epoch


async def test_it_is_listed_as_vacant_in_its_place(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """With who was lost and how, until somebody registers; filters that ask for more than its service leave it out."""
    alive = source.scene.client("alive")
    alive.claim("a")
    alive.claim("c")
    epoch = lose(source, "b", "gw")
    at_ms = source.scene.now.unix_ms

    everything = (await ask(browser, "/resources"))["resources"]
    assert [one["resource_id"] for one in everything] == ["a", "b", "c"]
    assert [one["lost"] for one in everything] == [
        None,
        {"service_name": "gw", "instance_id": "gone", "epoch": epoch, "ended_ms": at_ms, "reason": "died"},
        None,
    ]
    assert [(await ask(browser, "/resources", limit=1, after=after))["next_after"] for after in ("", "a", "b")] == [
        "a",
        "b",
        None,
    ]

    async def found(**wanted: str) -> list[str]:
        return [one["resource_id"] for one in (await ask(browser, "/resources", **wanted))["resources"]]

    assert await found(vacant="true") == ["b"]
    assert await found(vacant="false") == ["a", "c"]
    assert await found(service_name="gw") == await found(resource_id="b", service_name="gw") == ["b"]
    assert await found(resource_id="b", vacant="true") == ["b"]
    assert await found(service_name="gw", role="active") == await found(service_name="svc", vacant="true") == []
    assert await found(resource_id="never") == []
    alive.claim("b")
    assert await found(vacant="true") == []
    assert (await ask(browser, "/resources", resource_id="b"))["resources"][0]["lost"] is None


async def test_it_can_be_looked_at(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """With how its role was lost, also while it is paused or the broker is away; left in good order it is not found."""
    epoch = lose(source, "r")
    body = await ask(browser, "/resources/r")
    assert body["connected"]
    assert (body["resource"]["active"], body["resource"]["last_epoch"]) == (None, epoch)
    assert body["resource"]["lost"]["instance_id"] == "gone"
    assert [(move["old_epoch"], move["new_epoch"]) for move in body["moves"]] == [(epoch, 0)]
    source.is_away = True
    body = await ask(browser, "/resources/r", stale="true")
    assert (body["connected"], body["resource"]["lost"]["epoch"]) == (False, epoch)
    source.is_away = False
    back = source.scene.client("back")
    back.claim("r")
    assert (await ask(browser, "/resources/r"))["resource"]["lost"] is None
    back.goodbye()
    source.follow()
    assert_problem(await browser.get("/resources/r"), 404, "not_found")


async def test_it_is_counted_as_vacant(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """By the service of whom was lost; and as paused if it is."""
    lose(source, "r", "gw")
    client = source.scene.client("a")
    client.claim("p")
    source.scene.ask(PauseResource(resource_id="p", why="a test", for_ms=60_000))
    source.scene.end_session(client)
    text = (await browser.get("/metrics")).text
    assert 'tenure_resources_vacant{paused="false"} 1.0' in text
    assert 'tenure_resources_vacant{paused="true"} 1.0' in text
    assert 'tenure_service_resources_vacant{service_name="gw"} 1.0' in text
    assert "tenure_resources_active 0.0" in text
    assert (await ask(browser, "/resources/p"))["resource"]["lost"]["instance_id"] == "a"


async def test_its_row_stays_live(source: SceneSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """For who watches and for who comes later, until somebody registers; and no longer than it is remembered."""
    monkeypatch.setattr(lost, "LOST_KEPT", 1)
    source.scene.client("a").claim("a")
    async with live_page(source) as page:
        at_ms = source.scene.now.unix_ms
        epoch = lose(source, "r")
        await page.until(lambda rows: "r" in rows and rows["r"]["lost"] is not None)
        row = page.rows["r"]
        assert (who(row), row["epoch"], row["service_names"]) == ("- |", epoch, ["svc"])
        assert row["vacant_since_ms"] == row["lost"]["ended_ms"] == at_ms
        async with watching(application(source), "/resources") as watcher:
            other = Page(watcher)
            await other.until_live()
            assert other.rows["r"] == row
        lose(source, "s")
        await page.until(lambda rows: "r" not in rows and "s" in rows)
        source.scene.client("b").claim("s")
        source.follow()
        await page.until(lambda rows: who(rows["s"]) == "b |")
        assert page.rows["s"]["lost"] is None
