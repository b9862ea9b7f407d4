"""The admin's filters, its lists of resources, a service in numbers, and all that is known of one resource."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec import structs

from tenure.admin import pages
from tenure.contract.interventions import Switchover
from tenure.contract.messages import GetResource, Register
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tests.turns import turns
from tests.unit.admin_stage import AS_OF_MS, HEARD_MS, SceneSource, ask, asking, assert_problem


@pytest.fixture
def source() -> SceneSource:
    """Three services' instances for four resources, one of which nobody holds."""
    source = SceneSource()
    scene = source.scene
    a, b, c = scene.client("a"), scene.client("b", status=ServiceStatus.DEGRADED), scene.client("c")
    gw = {"zone": "x", "rack": "1"}
    a.register(Register(service_name="gw", instance_id="a", resource_id="r1", role=ServiceRole.ACTIVE, metadata=gw))
    b.register(Register(service_name="gw", instance_id="b", resource_id="r1", metadata={"zone": "y", "rack": "1"}))
    b.register(Register(service_name="gw", instance_id="b", resource_id="r2", role=ServiceRole.ACTIVE))
    c.register(Register(service_name="feed", instance_id="c", resource_id="r3", metadata={"note": "k=v"}))
    c.register(Register(service_name="ref", instance_id="c", resource_id="r4", role=ServiceRole.ACTIVE))
    c.beat(loop_lag_ms=1_500)
    return source


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who asks."""
    async with asking(source) as client:
        yield client


def instances(body: dict[str, Any]) -> list[str]:
    """What is shown, as `instance:resource`."""
    return [f"{one['instance_id']}:{one['resource_id']}" for one in body["instances"]]


def resources(body: dict[str, Any]) -> list[str]:
    """What is shown, by id."""
    return [one["resource_id"] for one in body["resources"]]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["a:r1", "b:r1", "b:r2", "c:r3", "c:r4"]),
    ({"service_name": "gw"}, ["a:r1", "b:r1", "b:r2"]),
    ({"service_name": "nobody"}, []),
    ({"resource_id": "r1"}, ["a:r1", "b:r1"]),
    ({"resource_id": "nothing"}, []),
    ({"role": "active"}, ["a:r1", "b:r2", "c:r4"]),
    ({"role": "standby", "service_name": "gw"}, ["b:r1"]),
    ({"status": "degraded"}, ["b:r1", "b:r2"]),
    ({"status": "late"}, []),
    ({"metadata": "zone=x"}, ["a:r1"]),
    ({"metadata": ["zone=y", "rack=1"]}, ["b:r1"]),
    ({"metadata": ["zone=x", "rack=2"]}, []),
    ({"metadata": "note=k=v"}, ["c:r3"]),
    ({"metadata": "zone="}, []),
    ({"at_risk": "true"}, ["c:r3", "c:r4"]),
    ({"at_risk": "false"}, ["a:r1", "b:r1", "b:r2"]),
]


@pytest.mark.parametrize(("given", "expected"), FILTERS)
async def test_instances_are_those_that_fit(
    browser: httpx.AsyncClient, given: dict[str, Any], expected: list[str]
) -> None:
    """All filters that are given have to fit."""
    assert instances(await ask(browser, "/services", **given)) == expected


@pytest.mark.parametrize(("given", "expected"), FILTERS)
async def test_resources_are_those_of_which_an_instance_fits(
    browser: httpx.AsyncClient, given: dict[str, Any], expected: list[str]
) -> None:
    """The same instances choose the resources, which are shown whole."""
    body = await ask(browser, "/resources", **given)

    assert resources(body) == sorted({one.split(":")[1] for one in expected})
    if "r1" in resources(body):
        (shown,) = [one for one in body["resources"] if one["resource_id"] == "r1"]
        assert (shown["active"]["instance_id"], shown["standbys"][0]["instance_id"]) == ("a", "b")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"vacant": "true"}, ["r3"]),
        ({"vacant": "false"}, ["r1", "r2", "r4"]),
        ({"vacant": "true", "service_name": "feed"}, ["r3"]),
        ({"vacant": "true", "service_name": "gw"}, []),
        ({"vacant": "false", "at_risk": "true"}, ["r4"]),
        ({"vacant": "true", "resource_id": "r1"}, []),
    ],
)
async def test_resources_may_be_those_that_nobody_holds(
    browser: httpx.AsyncClient, given: dict[str, Any], expected: list[str]
) -> None:
    """Vacancies, or what is held, together with the other filters."""
    assert resources(await ask(browser, "/resources", **given)) == expected


async def test_lateness_is_filtered_for_as_the_broker_observes_it(
    source: SceneSource, browser: httpx.AsyncClient
) -> None:
    """It is no event, and what the instance reported does not count any more."""
    a, *_ = [source.scene.client("d")]
    a.register(Register(service_name="new", instance_id="d", resource_id="r5"))
    source.scene.now_ms += 1_500
    a.beat()

    assert instances(await ask(browser, "/services", status="healthy")) == ["d:r5"]
    assert instances(await ask(browser, "/services", status="late", at_risk="true")) == [
        "a:r1",
        "b:r1",
        "b:r2",
        "c:r3",
        "c:r4",
    ]


@pytest.mark.parametrize("path", ["/services", "/resources"])
@pytest.mark.parametrize("parameters", [{}, {"at_risk": "false"}, {"metadata": "rack=1"}, {"status": "healthy"}])
async def test_filtered_lists_are_read_a_page_at_a_time(
    browser: httpx.AsyncClient, path: str, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Following `next_after` shows the same as one page does, also if a page may look through no more than two."""
    shown = instances if path == "/services" else resources
    whole = shown(await ask(browser, path, **parameters))

    for examined in (2, 20_000):
        monkeypatch.setattr(pages, "EXAMINED_MAX", examined)
        for limit in (1, 2, 5):
            seen: list[str] = []
            after: dict[str, Any] = {}
            while after != {"after": None}:
                body = await ask(browser, path, limit=limit, **parameters, **after)
                assert len(shown(body)) <= limit
                seen += shown(body)
                after = {"after": body["next_after"]}
            assert seen == whole


async def test_a_service_in_numbers(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Registrations by role and status, resources, and those that nobody holds."""
    source.scene.client("e").register(Register(service_name="gw", instance_id="a", resource_id="r3"))

    body = await ask(browser, "/services/gw")

    assert {name: value for name, value in body.items() if name not in {"history_id", "revision"}} == {
        "connected": True,
        "as_of_ms": AS_OF_MS,
        "service_name": "gw",
        "instance_count": 2,
        "registration_count": 4,
        "role_counts": {"active": 2, "standby": 2},
        "status_counts": {"healthy": 2, "degraded": 2},
        "at_risk_count": 0,
        "resource_count": 3,
        "vacant_count": 1,
    }
    assert_problem(await browser.get("/services/nobody"), 404, "not_found")
    source.is_away = True
    assert_problem(await browser.get("/services/gw"), 503, "broker_unavailable")
    assert (await ask(browser, "/services/gw", stale="true"))["connected"] is False


async def test_a_large_service_is_counted_a_part_at_a_time(
    source: SceneSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turn meanwhile, and what leaves while it is counted is counted as it was at its revision."""
    monkeypatch.setattr(pages, "_COUNTED_AT_ONCE", 1)
    leaving = source.scene.client("leaving")
    registered = [
        leaving.register(Register(service_name="big", instance_id="a", resource_id=f"b{n}")) for n in range(3)
    ]
    picture = structs.replace(await source.picture(allow_stale=False), presence={})
    counting = asyncio.ensure_future(pages.service_summary(picture, "big"))
    await turns()
    leaving.goodbye()
    source.follow()
    assert not picture.replica.registrations_of("big")

    summary = await counting

    assert summary is not None
    assert (summary.revision, summary.registration_count) == (registered[-1].revision, 3)
    assert (summary.role_counts, summary.status_counts) == ({ServiceRole.STANDBY: 3}, {ServiceStatus.HEALTHY: 3})


async def test_all_that_is_known_of_a_resource(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Who is active and why at risk, who is next and why, the switchover under way, and how the role moved."""
    scene = source.scene
    d = scene.client("d")
    d.register(Register(service_name="ref", instance_id="d", resource_id="r4"))
    epoch = scene.resource("r4").last_epoch
    scene.ask(Switchover(resource_id="r4", epoch=epoch, drain_ms=500, by="ops"))

    body = await ask(browser, "/resources/r4")

    assert (body["connected"], body["as_of_ms"]) == (True, AS_OF_MS)
    assert body["resource"]["active"]["instance_id"] == "c"
    assert body["resource"]["active"]["at_risk"] is True
    assert "event loop" in body["at_risk"]
    assert (body["resource"]["switchover"]["by"], body["resource"]["switchover"]["drain_left_ms"]) == ("ops", 500)
    assert [(one["instance_id"], one["is_eligible"]) for one in body["succession"]] == [("d", True)]
    assert body["moves"] == []
    assert source.asked == [GetResource(resource_id="r4")]


async def test_the_moves_of_a_role_are_told_with_who_asked_for_them(
    source: SceneSource, browser: httpx.AsyncClient
) -> None:
    """The broker remembers when what happened, and the events on whose word."""
    scene = source.scene
    d, e = scene.client("d"), scene.client("e")
    held = d.claim("r9")
    e.stand_by("r9")
    source.follow()
    scene.ask(Switchover(resource_id="r9", epoch=held.epoch, by="ops"))
    d.resign(held)
    source.follow()

    (move,) = (await ask(browser, "/resources/r9"))["moves"]

    assert (move["old_instance_id"], move["new_instance_id"]) == ("d", "e")
    assert "ops" in move["why"]


async def test_a_resource_of_a_broker_that_is_away(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """503, or what the replica has of it: nothing that only the broker knows."""
    source.is_away = True

    assert assert_problem(await browser.get("/resources/r1"), 503, "broker_unavailable")["heard_ms"] == HEARD_MS
    body = await ask(browser, "/resources/r1", stale="true")
    assert (body["connected"], body["as_of_ms"], body["resource"]["switchover"]) == (False, HEARD_MS, None)
    assert body["resource"]["active"]["lease_left_ms"] is None
    assert_problem(await browser.get("/resources/nothing?stale=true"), 404, "not_found")


async def test_health(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """It lives whether or not the broker does, and is ready only with it."""
    assert await ask(browser, "/health/live") == {"status": "live"}
    assert await ask(browser, "/health/ready") == {"status": "ready"}
    source.is_away = True
    assert await ask(browser, "/health/live") == {"status": "live"}
    assert assert_problem(await browser.get("/health/ready"), 503, "broker_unavailable")["heard_ms"] == HEARD_MS


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/services?role=leader", "role"),
        ("/services?status=fine", "status"),
        ("/services?metadata=zone", "metadata"),
        ("/services?at_risk=perhaps", "at_risk"),
        ("/services?vacant=true", "vacant"),
        ("/services/gw?limit=1", "limit"),
        ("/services/%ff", "service_name"),
        ("/resources?limit=0", "limit"),
        ("/resources?vacant=perhaps", "vacant has to be true or false"),
        ("/resources?vacant=null", "vacant is null"),
        ("/services?at_risk=NULL", "at_risk is null"),
        ("/services?role=null", "role is null"),
        ("/events?since=null", "since is null"),
        ("/resources?metadata=%3Dx&metadata=y", "metadata"),
        ("/resources?resource=r1", "resource"),
        ("/resources/%ff", "resource_id"),
        ("/resources/r1?limit=1", "limit"),
        ("/metrics?x=1", "x"),
        ("/health/live?x=1", "x"),
        ("/health/ready?x=1", "x"),
    ],
)
async def test_a_wrong_parameter_is_named(browser: httpx.AsyncClient, path: str, named: str) -> None:
    """What is none of the words there are, is not `key=value`, or does nothing there is 422 and says which."""
    detail = assert_problem(await browser.get(path), 422, "invalid_request")["detail"]
    assert named in detail
    assert "or null" not in detail, "nobody can write that into an address"
