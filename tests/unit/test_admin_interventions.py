"""Pauses, changes of many roles and old tenures over HTTP: carried to the broker as asked, with who asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tenure.admin import reads
from tenure.contract.history import ListTenures, TenurePage
from tenure.contract.interventions import ChangeRoles, PauseResource, ResumeResource, RoleChange
from tenure.contract.views import TenureView
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tests.unit.admin_stage import AS_OF_MS, TOKEN, SceneSource, ask, asking, assert_problem
from tests.unit.scene import HISTORY


@pytest.fixture
def source() -> SceneSource:
    """Somebody is active for `r`, and somebody stands by; nobody is active for `q`."""
    source = SceneSource()
    source.scene.client("a").claim("r")
    b = source.scene.client("b")
    b.stand_by("r")
    b.stand_by("q")
    source.follow()
    return source


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who has the token."""
    async with asking(source, token=TOKEN) as client:
        yield client


async def test_a_resource_is_paused_and_resumed(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Why, for how long and by whom; it is shown with the resource, and the log has who asked."""
    with capture_logs() as logs:
        answer = await browser.post("/resources/r/pause", json={"why": "new cable", "for_ms": 60_000, "by": "ops"})
    assert answer.status_code == 200, answer.text
    pause = answer.json()
    assert (pause["why"], pause["by"], pause["until_ms"] - pause["paused_ms"]) == ("new cable", "ops", 60_000)
    assert PauseResource(resource_id="r", why="new cable", for_ms=60_000, by="ops") in source.asked
    assert [(log["event"], log["by"]) for log in logs] == [("resource.paused", "ops")]
    assert (await ask(browser, "/resources/r"))["resource"]["pause"] == pause
    assert [one["pause"] for one in (await ask(browser, "/resources"))["resources"]] == [None, pause]

    answer = await browser.post("/resources/r/resume", json={})

    assert (answer.status_code, answer.json()) == (200, pause)
    assert ResumeResource(resource_id="r", by="admin API, 127.0.0.1") in source.asked
    assert (await ask(browser, "/resources/r"))["resource"]["pause"] is None
    assert_problem(await browser.post("/resources/r/resume", json={}), 404, "not_found")
    assert_problem(await browser.post("/resources/nothing/pause", json={"why": "x"}), 404, "not_found")


async def test_many_roles_are_changed_at_once(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """A vacant role is granted at once, a held one waits for its holder; the answer says which is which."""
    epoch = source.scene.resource("r").last_epoch
    of = {(one.instance_id, one.resource_id): one.registration_id for one in source.replica.rows.values()}
    changes = [
        {"registration_id": of["b", "r"], "role": "active", "epoch": epoch},
        {"registration_id": of["b", "q"], "role": "active"},
    ]

    answer = await browser.post("/roles", json={"changes": changes, "drain_ms": 500, "by": "ops"})

    assert answer.status_code == 202, answer.text
    first, second = answer.json()["results"]
    assert (first["epoch"], first["awaited_epoch"]) == (0, epoch)
    assert (second["epoch"], second["awaited_epoch"]) == (source.scene.resource("q").last_epoch, 0)
    asked = (
        RoleChange(registration_id=of["b", "r"], role=ServiceRole.ACTIVE, epoch=epoch),
        RoleChange(registration_id=of["b", "q"], role=ServiceRole.ACTIVE),
    )
    assert source.asked[-1] == ChangeRoles(changes=asked, drain_ms=500, by="ops")


async def test_all_changes_are_refused_for_one(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """With the code and the index of the one that could not be, and nothing has changed."""
    of = {(one.instance_id, one.resource_id): one.registration_id for one in source.replica.rows.values()}
    changes = [
        {"registration_id": of["b", "q"], "role": "active"},
        {"registration_id": of["b", "r"], "role": "active", "epoch": 999},
    ]
    body = assert_problem(await browser.post("/roles", json={"changes": changes}), 409, "not_active")
    assert body["index"] == 1
    assert source.scene.resource("q").active is None


async def test_who_was_active_when(
    source: SceneSource, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the store has it, the newest first, a page at a time."""
    asked: list[ListTenures] = []
    tenures = (
        TenureView(epoch=9, service_name="svc", instance_id="b", began_ms=200),
        TenureView(
            epoch=3,
            service_name="svc",
            instance_id="a",
            began_ms=100,
            ended_ms=150,
            end_revision=7,
            end_reason=ChangeReason.EXPIRED,
            certain_until_ms=130,
            possible_until_ms=150,
        ),
    )

    async def stored(message: ListTenures, _: type[TenurePage]) -> TenurePage:
        asked.append(message)
        return TenurePage(history_id=HISTORY, tenures=tenures, next_before=3)

    monkeypatch.setattr(source, "request", stored)

    body = await ask(browser, "/resources/r/history", before=10, limit=2)

    assert asked == [ListTenures(resource_id="r", before=10, limit=2)]
    assert (body["resource_id"], body["as_of_ms"], body["next_before"]) == ("r", AS_OF_MS, 3)
    assert [(one["epoch"], one["ended_ms"], one["duration_ms"], one["reason"]) for one in body["tenures"]] == [
        (9, None, None, None),
        (3, 150, 50, "expired"),
    ]
    assert [(one["certain_until_ms"], one["possible_until_ms"]) for one in body["tenures"]] == [
        (None, None),
        (130, 150),
    ]
    source.is_away = True
    assert_problem(await browser.get("/resources/r/history?before=10&limit=2"), 503, "broker_unavailable")
    assert await ask(browser, "/resources/r/history", before=10, limit=2, stale="true") == body | {"connected": False}
    unknown = assert_problem(await browser.get("/resources/r/history?stale=true"), 503, "broker_unavailable")
    assert "stale" not in unknown["detail"], "nobody has asked for this before"


async def test_the_newest_pages_are_remembered(
    source: SceneSource, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounded number, by when they were answered last: what was asked for again outlasts what was not."""
    found = TenurePage(
        history_id=HISTORY, tenures=(TenureView(epoch=9, service_name="svc", instance_id="b", began_ms=200),)
    )

    async def stored(_: ListTenures, __: type[TenurePage]) -> TenurePage:
        return found

    monkeypatch.setattr(source, "request", stored)
    monkeypatch.setattr(reads, "_HISTORIES_REMEMBERED", 2)
    for limit in (1, 2, 1, 3):
        await ask(browser, "/resources/r/history", limit=limit)
    source.is_away = True

    asked = [await browser.get(f"/resources/r/history?limit={limit}&stale=true") for limit in (1, 2, 3)]

    assert [one.status_code for one in asked] == [200, 503, 200]


async def test_nobody_has_heard_of_it(
    source: SceneSource, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resource that nobody is registered for, and of which no tenure is kept, is none; one without tenures may be."""

    async def nothing(_: ListTenures, __: type[TenurePage]) -> TenurePage:
        return TenurePage(history_id=HISTORY, tenures=(), next_before=None)

    monkeypatch.setattr(source, "request", nothing)
    body = assert_problem(await browser.get("/resources/nothing/history"), 404, "not_found")
    assert "'nothing'" in body["detail"]
    assert (await ask(browser, "/resources/q/history"))["tenures"] == []
    assert (await ask(browser, "/resources/nothing/history", before=5))["tenures"] == []


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/resources/r/pause", {}, "why"),
    ("/resources/r/pause", {"why": ""}, "why"),
    ("/resources/r/pause", {"why": "x" * 1_025}, "why"),
    ("/resources/r/pause", {"why": "x", "for_ms": 999}, "for_ms"),
    ("/resources/r/pause", {"why": "x", "for_ms": 604_800_001}, "for_ms"),
    ("/resources/r/pause", {"why": "x", "for_ms": "1000"}, "for_ms"),
    ("/resources/r/pause", {"why": "x", "until_ms": 1}, "until_ms"),
    ("/resources/r/pause", {"why": "x", "by": "y" * 256}, "by"),
    ("/resources/%ff/pause", {"why": "x"}, "resource_id"),
    ("/resources/r/resume", {"why": "x"}, "why"),
    ("/resources/r/resume", {"by": 5}, "by"),
    ("/resources/%ff/resume", {}, "resource_id"),
    ("/roles", {}, "changes"),
    ("/roles", {"changes": []}, "changes"),
    ("/roles", {"changes": [{}]}, "registration_id"),
    ("/roles", {"changes": [{"registration_id": 1, "role": "leader"}]}, "role"),
    ("/roles", {"changes": [{"registration_id": 0, "role": "active"}]}, "registration_id"),
    ("/roles", {"changes": [{"registration_id": 1, "role": "active", "epoch": -1}]}, "epoch"),
    ("/roles", {"changes": [{"registration_id": 1, "role": "active", "epok": 1}]}, "epok"),
    ("/roles", {"changes": [{"registration_id": "1", "role": "active"}]}, "registration_id"),
    ("/roles", {"changes": [{"registration_id": 1, "role": "active"}] * 1_001}, "changes"),
    ("/roles?dry_run=true", {"changes": [{"registration_id": 1, "role": "active"}]}, "dry_run"),
]


@pytest.mark.parametrize(("path", "body", "named"), WRONG)
async def test_a_wrong_body_is_named(
    source: SceneSource, browser: httpx.AsyncClient, path: str, body: dict[str, Any], named: str
) -> None:
    """What is missing, of another type or out of its range, or not there at all: nothing is asked of the broker."""
    answer = await browser.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert named in assert_problem(answer, 422, "invalid_request")["detail"]
    assert source.asked == []


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/resources/r/history?before=-1", "before"),
        ("/resources/r/history?limit=0", "limit"),
        ("/resources/r/history?after=1", "after"),
        ("/resources/%ff/history", "resource_id"),
    ],
)
async def test_a_wrong_parameter_is_named(browser: httpx.AsyncClient, path: str, named: str) -> None:
    """Out of its range, or a name that does nothing here."""
    assert named in assert_problem(await browser.get(path), 422, "invalid_request")["detail"]
