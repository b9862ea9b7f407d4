"""The admin's answers, without a broker and without a socket: pages and problems."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest
from structlog.testing import capture_logs

from tenure.admin import pages
from tenure.admin.problems import ProblemCode
from tenure.contract.errors import ErrorCode
from tenure.contract.limits import STANDBYS_LISTED_MAX
from tenure.contract.messages import ListServices, Register
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.admin_stage import AS_OF_MS, HEARD_MS, SceneSource, ask, asking, assert_problem
from tests.unit.scene import HISTORY


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who asks."""
    async with asking(source) as client:
        yield client


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_services_shows_every_instance(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Each instance with its role, resource, epoch, status and what is left of its lease, and how current that is."""
    scene = source.scene
    a, b = scene.client("a"), scene.client("b")
    held = a.register(Register(service_name="svc", instance_id="a", resource_id="r", metadata={"host": "h"}))
    b.claim("s", priority=3)
    scene.now_ms += 300
    b.beat(ServiceStatus.DEGRADED)

    answer = await browser.get("/services")

    body = answer.json()
    assert {name: body[name] for name in ("history_id", "revision", "connected", "as_of_ms", "next_after")} == {
        "history_id": HISTORY,
        "revision": scene.registry.revision,
        "connected": True,
        "as_of_ms": AS_OF_MS,
        "next_after": None,
    }
    first, second = body["instances"]
    assert first == {
        "service_name": "svc",
        "instance_id": "a",
        "resource_id": "r",
        "role": "standby",
        "epoch": 0,
        "since_ms": scene.page(ListServices()).instances[0].since_ms,
        "status": "healthy",
        "at_risk": False,
        "may_succeed": False,
        "lease_left_ms": 1_700,
        "lease_ms": 2_000,
        "hold_limit_ms": 0,
        "loop_lag_ms": None,
        "margin_ms": None,
        "priority": 0,
        "candidate": False,
        "metadata": {"host": "h"},
        "session": a.session,
        "registration_id": held.registration_id,
        "revision": held.revision,
    }
    shown = {name: second[name] for name in ("instance_id", "role", "epoch", "status", "lease_left_ms", "priority")}
    assert shown == {
        "instance_id": "b",
        "role": "active",
        "epoch": second["registration_id"],
        "status": "degraded",
        "lease_left_ms": 2_000,
        "priority": 3,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.headers["tenure-connected"], answer.headers["tenure-as-of-ms"]) == ("true", str(AS_OF_MS))


async def test_services_is_read_a_page_at_a_time(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Following `next_after` shows every instance once; the last page says that it is the last."""
    a = source.scene.client("a")
    for number in range(5):
        a.stand_by(f"r{number}")
    seen: list[str] = []
    pages, after = 0, 0

    while after is not None:
        body = await ask(browser, "/services", limit=2, after=after)
        seen += [one["resource_id"] for one in body["instances"]]
        pages, after = pages + 1, body["next_after"]

    assert (seen, pages) == ([f"r{number}" for number in range(5)], 3)
    assert (await ask(browser, "/services", limit=5))["next_after"] is None


async def test_roles_shows_who_is_active_and_who_is_next(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Per resource of a service: the active one, and the standbys in the order in which they would succeed."""
    scene = source.scene
    active = scene.client("active").claim("r")
    scene.client("low").stand_by("r")
    scene.client("high").stand_by("r", priority=5)
    scene.client("sick", status=ServiceStatus.UNHEALTHY).stand_by("r", priority=9)
    scene.client("alone").compete("q")

    body = await ask(browser, "/services/svc/roles")

    assert (body["service_name"], body["connected"], body["next_after"]) == ("svc", True, None)
    vacant, held = body["resources"]
    assert (held["resource_id"], held["last_epoch"], held["standby_count"]) == ("r", active.epoch, 3)
    assert (held["active"]["instance_id"], held["active"]["epoch"]) == ("active", active.epoch)
    assert [standby["instance_id"] for standby in held["standbys"]] == ["high", "low", "sick"]
    assert (vacant["resource_id"], vacant["active"]["instance_id"], vacant["standbys"]) == ("q", "alone", [])


async def test_a_late_standby_is_said_to_be_late_and_comes_last(
    source: SceneSource, browser: httpx.AsyncClient
) -> None:
    """Lateness is no event: it is what the broker observes, and it decides the order as it would decide the role."""
    scene = source.scene
    scene.client("active").claim("r")
    scene.client("late").stand_by("r", priority=5)
    other = scene.client("other")
    other.stand_by("r")
    scene.now_ms += 1_500
    other.beat()

    (resource,) = (await ask(browser, "/services/svc/roles"))["resources"]

    assert [(one["instance_id"], one["status"]) for one in resource["standbys"]] == [
        ("other", "healthy"),
        ("late", "late"),
    ]


async def test_nobody_is_active(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """A vacancy is null, and its newest epoch is still there."""
    a = source.scene.client("a")
    held = a.claim("r")
    a.resign(held)

    (resource,) = (await ask(browser, "/services/svc/roles"))["resources"]

    assert (resource["active"], resource["last_epoch"], resource["standby_count"]) == (None, held.epoch, 1)


async def test_roles_are_read_a_page_at_a_time(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Following `next_after` shows every resource once, by id."""
    a = source.scene.client("a")
    names = ["b", "a", "é", "a/1", "Z"]
    for name in names:
        a.stand_by(name)
    seen: list[str] = []
    after = ""

    while after is not None:
        body = await ask(browser, "/services/svc/roles", limit=2, after=after)
        assert len(body["resources"]) <= 2
        seen += [one["resource_id"] for one in body["resources"]]
        after = body["next_after"]

    assert seen == sorted(names)


async def test_roles_of_a_large_service_are_looked_for_a_part_at_a_time(
    source: SceneSource, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its resources are too many to be sorted in one go, all of them come all the same, by id and once."""
    monkeypatch.setattr(pages, "EXAMINED_MAX", 4)
    a = source.scene.client("a")
    for number in range(7):
        a.stand_by(f"r{number}")
        a.register(Register(service_name="other", instance_id="a", resource_id=f"q{number}"))
    seen: list[str] = []
    after = ""

    while after is not None:
        body = await ask(browser, "/services/svc/roles", after=after)
        seen += [one["resource_id"] for one in body["resources"]]
        after = body["next_after"]

    assert seen == [f"r{number}" for number in range(7)]


async def test_a_page_of_roles_ends_early_rather_than_grow_without_bounds(
    source: SceneSource, browser: httpx.AsyncClient
) -> None:
    """Resources with many standbys make a page shorter than its limit; what is left comes with the next one."""
    a = source.scene.client("a")
    for resource in range(12):
        for instance in range(STANDBYS_LISTED_MAX):
            a.stand_by(f"r{resource:02}", instance_id=f"i{instance}")

    first = await ask(browser, "/services/svc/roles", limit=1_000)
    rest = await ask(browser, "/services/svc/roles", limit=1_000, after=first["next_after"])

    assert (len(first["resources"]), len(rest["resources"]), rest["next_after"]) == (10, 2, None)


@pytest.mark.parametrize("name", ["plant/line 3", "50%", "a%2Fb", "größe", "a?b=c#d"])
async def test_a_service_may_be_called_anything(source: SceneSource, browser: httpx.AsyncClient, name: str) -> None:
    """A name is one segment of the path, percent-encoded, whatever is in it."""
    source.scene.client("a").register(Register(service_name=name, instance_id="a", resource_id="r"))

    answer = await browser.get(
        httpx.URL("http://127.0.0.1/", raw_path=f"/services/{quote(name, safe='')}/roles".encode())
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["service_name"] == name


# --- problems ---------------------------------------------------------------------------------------------------------


async def test_a_broker_that_is_away_is_never_shown_as_live(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Without the broker it is 503, with since when; there is more only for those who ask for what is stale."""
    source.scene.client("a").claim("r")
    source.is_away = True

    for path in ("/services", "/services/svc/roles", "/services/nobody/roles"):
        answer = await browser.get(path)
        body = assert_problem(answer, 503, "broker_unavailable")
        assert body["heard_ms"] == HEARD_MS
        assert "stale=true" in body["detail"]
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(("path", "where"), [("/services", "instances"), ("/services/svc/roles", "resources")])
async def test_stale_answers_say_that_they_are(
    source: SceneSource, browser: httpx.AsyncClient, path: str, where: str
) -> None:
    """Asked for what was known last, it says as of when, and claims to know nothing about leases."""
    source.scene.client("a").claim("r")
    source.is_away = True

    answer = await browser.get(path, params={"stale": "true"})

    body = answer.json()
    assert (answer.status_code, body["connected"], body["as_of_ms"]) == (200, False, HEARD_MS)
    assert (answer.headers["tenure-connected"], answer.headers["tenure-as-of-ms"]) == ("false", str(HEARD_MS))
    (shown,) = body[where]
    assert (shown.get("active") or shown)["lease_left_ms"] is None


async def test_nothing_stale_is_shown_of_a_broker_that_was_never_heard(
    source: SceneSource, browser: httpx.AsyncClient
) -> None:
    """There is nothing to show, and no time at which it was known."""
    source.is_away, source.heard_ms = True, None

    body = assert_problem(await browser.get("/services?stale=true"), 503, "broker_unavailable")

    assert "heard_ms" not in body
    assert "stale" not in body["detail"]


async def test_stale_changes_nothing_while_the_broker_is_there(browser: httpx.AsyncClient) -> None:
    """Whoever would take a stale answer gets a live one if there is one."""
    assert (await ask(browser, "/services", stale="true"))["connected"] is True


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/services?limit=0", "limit"),
        ("/services?limit=1001", "limit"),
        ("/services?limit=many", "limit"),
        ("/services?after=-1", "after"),
        ("/services?after=x", "after"),
        ("/services?stale=perhaps", "stale"),
        ("/services?rol=active", "rol"),
        ("/services/svc/roles?limit=0", "limit"),
        ("/services/svc/roles?limti=5", "limti"),
        ("/services/%ff/roles", "service_name"),
    ],
)
async def test_a_wrong_parameter_is_named(browser: httpx.AsyncClient, path: str, named: str) -> None:
    """What is out of its range, not a number, or not there at all is 422 and says which."""
    assert named in assert_problem(await browser.get(path), 422, "invalid_request")["detail"]


async def test_a_service_without_instances_is_not_found(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """404 names the service; one that has only just lost its last instance is none either."""
    source.scene.client("a").claim("r")

    body = assert_problem(await browser.get("/services/no%20body/roles"), 404, "not_found")

    assert "'no body'" in body["detail"]


@pytest.mark.parametrize("path", ["/nowhere", "/services//roles", "/services/a/b/roles", "/%"])
async def test_what_is_not_served_is_not_found(browser: httpx.AsyncClient, path: str) -> None:
    """There is nothing else, and the answer says where they are described."""
    answer = await browser.get(httpx.URL("http://127.0.0.1/", raw_path=path.encode()))
    assert "/schema" in assert_problem(answer, 404, "not_found")["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_can_be_changed(browser: httpx.AsyncClient, method: str) -> None:
    """Only GET is served; the answer says so, also to a request with a body."""
    answer = await browser.request(method, "/services", content=b"x" * 100_000)
    assert_problem(answer, 405, "invalid_request")
    assert "GET" in answer.headers["allow"]


async def test_a_defect_is_logged_and_not_shown(source: SceneSource) -> None:
    """500 says that there is a log, and the log has what happened."""
    source.defect = RuntimeError("the secret of the defect")
    async with asking(source, "http://localhost") as browser:
        with capture_logs() as logs:
            answer = await browser.get("/services")

    body = assert_problem(answer, 500, "internal_error")
    assert "secret" not in str(body)
    assert [(log["event"], log["log_level"], log["exc_info"]) for log in logs] == [
        ("request.failed", "error", source.defect)
    ]


def test_codes_mean_what_they_mean_on_the_wire() -> None:
    """All codes but one are the wire's own: a broker that is away cannot send any."""
    assert {code.value for code in ProblemCode} - {code.value for code in ErrorCode} == {"broker_unavailable"}
