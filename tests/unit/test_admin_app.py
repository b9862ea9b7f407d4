"""The admin's answers, without a broker and without a socket: pages, problems, and who may ask."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from tenure.admin.app import create_app
from tenure.admin.problems import BrokerAwayError, ProblemCode
from tenure.admin.views import InstancePage, Picture, RolePage
from tenure.contract.errors import ErrorCode
from tenure.contract.limits import STANDBYS_LISTED_MAX
from tenure.contract.messages import ListPresence, ListServices, PresencePage, Register
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk.replica import Replica
from tests.unit.scene import HISTORY, Scene

AS_OF_MS = 1_700_000_000_000
HEARD_MS = 1_600_000_000_000


class SceneSource:
    """Pictures of a scene, as a follower would give them."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.is_away = False
        self.heard_ms: int | None = HEARD_MS
        self.defect: Exception | None = None

    async def picture(self, *, allow_stale: bool) -> Picture:
        """What there is now, or was when the broker was heard last."""
        if self.defect is not None:
            raise self.defect
        replica = Replica()
        replica.begin(HISTORY, self.scene.registry.revision)
        after: int | None = 0
        while after is not None:
            page = self.scene.page(ListServices(after=after))
            replica.load(page)
            after = page.next_after
        if not self.is_away:
            presence = self.scene.ask(ListPresence())
            assert isinstance(presence, PresencePage)
            observed = {one.session: one for one in presence.presence}
            return Picture(replica=replica, presence=observed, is_connected=True, as_of_ms=AS_OF_MS)
        if not allow_stale or self.heard_ms is None:
            raise BrokerAwayError(self.heard_ms)
        return Picture(replica=replica, presence={}, is_connected=False, as_of_ms=self.heard_ms)


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who asks."""
    async with asking(source, "http://127.0.0.1:7480") as client:
        yield client


def asking(source: SceneSource, base_url: str, *, is_local_only: bool = True) -> httpx.AsyncClient:
    """Somebody who asks the application by a name."""
    app: Any = create_app(source, is_local_only=is_local_only)  # Litestar's and httpx's types of the same thing differ
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=base_url)


async def ask(browser: httpx.AsyncClient, path: str, **parameters: str | int) -> dict[str, Any]:
    """An answer that has to be one."""
    answer = await browser.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    return body


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, and says so in every way there is."""
    body: dict[str, Any] = answer.json()
    assert answer.status_code == body["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["code"] == code
    assert body["title"]
    assert body["detail"]
    return body


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
        ("/services?role=active", "role"),
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


@pytest.mark.parametrize("path", ["/", "/nowhere", "/services/svc", "/services//roles", "/services/a/b/roles", "/%"])
async def test_what_is_not_served_is_not_found(browser: httpx.AsyncClient, path: str) -> None:
    """There is no page but those two, and the answer says where they are described."""
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


# --- who may ask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example", ""])
async def test_a_page_of_another_site_learns_nothing(browser: httpx.AsyncClient, host: str) -> None:
    """A name that was made to point here (DNS rebinding) is still another name, and is refused."""
    answer = await browser.get("/services", headers={"host": host})

    assert_problem(answer, 421, "invalid_request")
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.2:7480", "[::1]:7480", "[::1]"])
async def test_this_machine_may_ask_by_any_of_its_names(browser: httpx.AsyncClient, host: str) -> None:
    """Through a tunnel it may be another port."""
    assert (await browser.get("/services", headers={"host": host})).status_code == 200


async def test_an_open_address_may_be_asked_by_any_name(source: SceneSource) -> None:
    """Whoever insists on an address that others reach is reached by names nobody knows beforehand."""
    async with asking(source, "http://broker.internal:7480", is_local_only=False) as browser:
        assert (await browser.get("/services")).status_code == 200


# --- the description --------------------------------------------------------------------------------------------------


async def test_the_description_is_openapi_and_complete(browser: httpx.AsyncClient) -> None:
    """Both routes with their parameters and every answer they give, and no reference that leads nowhere."""
    answer = await browser.get("/schema/openapi.json")
    described: dict[str, Any] = answer.json()

    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    assert described["openapi"].startswith("3.1")
    assert (await browser.get("/schema")).json() == described
    assert set(described["paths"]) == {"/services", "/services/{service_name}/roles"}
    answers = {path: set(item["get"]["responses"]) for path, item in described["paths"].items()}
    assert answers == {
        "/services": {"200", "422", "503"},
        "/services/{service_name}/roles": {"200", "404", "422", "503"},
    }
    names = {path: [one["name"] for one in item["get"]["parameters"]] for path, item in described["paths"].items()}
    assert {name: sorted(parameters) for name, parameters in names.items()} == {
        "/services": ["after", "limit", "stale"],
        "/services/{service_name}/roles": ["after", "limit", "service_name", "stale"],
    }
    for reference in references(described):
        assert resolve(described, reference)


@pytest.mark.parametrize("path", ["/services", "/services/svc/roles", "/services/nobody/roles", "/services?limit=0"])
async def test_answers_are_as_described(source: SceneSource, browser: httpx.AsyncClient, path: str) -> None:
    """Every member of an answer is in the description, with its type, and none that has to be there is missing."""
    described: dict[str, Any] = (await browser.get("/schema")).json()
    source.scene.client("a").claim("r")
    source.scene.client("b").stand_by("r")
    template = "/services/{service_name}/roles" if path.endswith("/roles") else "/services"

    answer = await browser.get(path)

    content = described["paths"][template]["get"]["responses"][str(answer.status_code)]["content"]
    check(described, content[answer.headers["content-type"]]["schema"], answer.json())


type Json = dict[str, Json] | list[Json] | str | float | bool | None


def references(node: Json) -> list[str]:
    """All references below a node."""
    if isinstance(node, dict):
        here = node.get("$ref")
        return [here] if isinstance(here, str) else [one for value in node.values() for one in references(value)]
    return [one for value in node for one in references(value)] if isinstance(node, list) else []


def resolve(described: dict[str, Any], reference: str) -> dict[str, Any]:
    """What a reference leads to."""
    node: Any = described
    for name in reference.removeprefix("#/").split("/"):
        node = node[name]
    found: dict[str, Any] = node
    return found


TYPES: dict[str, type] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": type(None),
    "object": dict,
    "string": str,
}


def check(described: dict[str, Any], schema: dict[str, Any], value: Json) -> None:
    """The value is what the schema says; only what this description uses is known."""
    if "$ref" in schema:
        check(described, resolve(described, schema["$ref"]), value)
        return
    if "oneOf" in schema:
        fitting = [one for one in schema["oneOf"] if (value is None) == (one.get("type") == "null")]
        assert len(fitting) == 1, schema
        check(described, fitting[0], value)
        return
    assert isinstance(value, TYPES[schema["type"]]), (schema, value)
    assert value in schema.get("enum", [value])
    if isinstance(value, list):
        for item in value:
            check(described, schema["items"], item)
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"])
        for name, member in value.items():
            check(described, schema["properties"][name], member)


def test_the_examples_of_the_docs_have_every_field_of_an_answer() -> None:
    """In the order of the answers, and none besides: whoever writes a client against the page misses nothing."""
    page = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()
    examples = [block.split("```")[0] for block in page.split("```json\n")[1:]]
    for example, kind in zip(examples, (InstancePage, RolePage), strict=False):
        answer = msgspec.json.encode(msgspec.json.decode(example, type=kind))
        assert json.dumps(json.loads(example)) == json.dumps(json.loads(answer))
