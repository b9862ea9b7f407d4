"""What the admin changes on request: it is carried to the broker as it was asked for, with who asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tenure.contract.events import RoleChangedEvent
from tenure.contract.interventions import CancelSwitchover, ExpireSession, Switchover
from tenure.contract.messages import Register
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.admin_stage import TOKEN, SceneSource, asking, assert_problem
from tests.unit.scene import Client

ROUTES = (
    ("POST", "/resources/r/switchover"),
    ("DELETE", "/resources/r/switchover"),
    ("DELETE", "/services/svc/instances/a?confirm_dead=true"),
)


class Crew:
    """One who is active for a resource, and two who stand by."""

    def __init__(self, source: SceneSource) -> None:
        scene = source.scene
        self.active: Client = scene.client("a")
        self.held = self.active.claim("r")
        self.first = scene.client("b")
        self.first.stand_by("r")
        self.second = scene.client("c")
        self.second_id = self.second.stand_by("r").registration_id


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
def crew(source: SceneSource) -> Crew:
    """Who is registered."""
    return Crew(source)


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who has the token."""
    async with asking(source, token=TOKEN) as client:
        yield client


def epoch_of(source: SceneSource) -> int:
    """The newest tenure of the crew's resource."""
    return source.scene.resource("r").last_epoch


def asked_to_change(source: SceneSource) -> list[Any]:
    """What the broker was asked to change."""
    return [one for one in source.asked if isinstance(one, (Switchover, CancelSwitchover, ExpireSession))]


async def test_a_switchover_is_asked_for_as_it_was_here(
    source: SceneSource, crew: Crew, browser: httpx.AsyncClient
) -> None:
    """To whom, for how long and by whom; the answer says who steps down from what, and the log who asked."""
    with capture_logs() as logs:
        answer = await browser.post(
            "/resources/r/switchover", json={"epoch": crew.held.epoch, "to": "c", "drain_ms": 700, "by": "ops"}
        )

    assert (answer.status_code, answer.json()) == (
        202,
        {"resource_id": "r", "epoch": crew.held.epoch, "instance_id": "a", "to_instance_id": "c", "drain_ms": 700},
    )
    assert asked_to_change(source) == [
        Switchover(resource_id="r", epoch=crew.held.epoch, to_registration_id=crew.second_id, drain_ms=700, by="ops")
    ]
    assert [(log["event"], log["by"]) for log in logs] == [("switchover.asked", "ops")]


async def test_what_moved_says_who_asked(source: SceneSource, crew: Crew, browser: httpx.AsyncClient) -> None:
    """Whoever does not say it himself is named by the address he asks from."""
    assert (await browser.post("/resources/r/switchover", json={"epoch": crew.held.epoch})).json()[
        "to_instance_id"
    ] == ""
    crew.active.resign(crew.held)

    moved = [event for event in source.scene.events if isinstance(event, RoleChangedEvent) and event.by]
    assert {event.by for event in moved} == {"admin API, 127.0.0.1"}
    assert source.scene.who("r") == "b | c a"


async def test_a_switchover_may_be_called_off(source: SceneSource, crew: Crew, browser: httpx.AsyncClient) -> None:
    """Then whoever was asked to step down stays."""
    await browser.post("/resources/r/switchover", json={"epoch": crew.held.epoch, "drain_ms": 1_000})
    with capture_logs() as logs:
        answer = await browser.delete("/resources/r/switchover", params={"by": "ops"})

    assert (answer.status_code, answer.json()) == (200, {"resource_id": "r", "epoch": crew.held.epoch})
    assert source.scene.resource("r").switchover is None
    assert [(log["event"], log["by"]) for log in logs] == [("switchover.cancelled", "ops")]
    assert asked_to_change(source)[-1] == CancelSwitchover(resource_id="r", epoch=crew.held.epoch, by="ops")
    assert_problem(await browser.delete("/resources/r/switchover"), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/resources/nothing/switchover", {}, 404, "not_found"),
        ("/resources/vacant/switchover", {}, 409, "not_active"),
        ("/resources/r/switchover", {"to": "nobody"}, 404, "not_found"),
        ("/resources/r/switchover", {"to": "c", "to_service": "other"}, 404, "not_found"),
        ("/resources/r/switchover", {"epoch": 999}, 409, "not_active"),
        ("/resources/r/switchover", {"to": "a"}, 409, "not_eligible"),
        ("/resources/r/switchover", {"to": "sick"}, 409, "not_eligible"),
    ],
)
@pytest.mark.usefixtures("crew")
async def test_the_brokers_refusals_are_its_own(
    source: SceneSource, browser: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    """With its stable code, and nothing has changed."""
    source.scene.client("d").stand_by("vacant")
    source.scene.client("sick", status=ServiceStatus.UNHEALTHY).stand_by("r")
    assert_problem(await browser.post(path, json={"epoch": epoch_of(source), **body}), status, code)
    assert source.scene.resource("r").switchover is None


@pytest.mark.usefixtures("crew")
async def test_a_second_switchover_is_refused(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """To somebody else, while the first is under way."""
    epoch = epoch_of(source)
    await browser.post("/resources/r/switchover", json={"epoch": epoch, "to": "b", "drain_ms": 1_000})
    answer = await browser.post("/resources/r/switchover", json={"epoch": epoch, "to": "c"})
    assert_problem(answer, 409, "switchover_under_way")


async def test_a_repeat_moves_nothing_again(source: SceneSource, crew: Crew, browser: httpx.AsyncClient) -> None:
    """It names the tenure that it meant: once that is over, the next one is not ended too."""
    body = {"epoch": crew.held.epoch}
    assert (await browser.post("/resources/r/switchover", json=body)).status_code == 202
    crew.active.resign(crew.held)
    assert_problem(await browser.post("/resources/r/switchover", json=body), 409, "not_active")
    assert source.scene.resource("r").switchover is None
    assert source.scene.who("r") == "b | c a"


@pytest.mark.usefixtures("crew")
async def test_a_name_that_several_services_have_needs_the_service(
    source: SceneSource, browser: httpx.AsyncClient
) -> None:
    """It is not guessed who is meant."""
    other = source.scene.client("b2").register(Register(service_name="other", instance_id="b", resource_id="r"))
    body = {"epoch": epoch_of(source), "to": "b"}
    refused = assert_problem(await browser.post("/resources/r/switchover", json=body), 422, "invalid_request")
    assert "to_service" in refused["detail"]

    answer = await browser.post("/resources/r/switchover", json={**body, "to_service": "other"})

    assert answer.status_code == 202
    assert asked_to_change(source)[-1].to_registration_id == other.registration_id


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "body"),
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"to": 5}', "to"),
        (b'{"drain_ms": -1}', "drain_ms"),
        (b'{"drain_ms": 3600001}', "drain_ms"),
        (b'{"drain_ms": "1"}', "drain_ms"),
        (b'{"drain_ms": 1.5}', "drain_ms"),
        (b'{"drain_ms": null}', "drain_ms"),
        (b'{"epoch": -1}', "epoch"),
        (b'{"epoch": 9223372036854775808}', "epoch"),
        (b'{"epoch": true}', "epoch"),
        (b'{"dran_ms": 1}', "dran_ms"),
        (b'{"by": "%s"}' % (b"x" * 256), "by"),
        (b'{"epoch": 1, "by": "%s"}' % ("ü".encode() * 200), "by"),
        (b"{}", "epoch is missing: The tenure to end. GET /resources/{resource_id} has it"),
        (b'{"epoch": 0}', "epoch has to be at least 1"),
        (b'{"epoch": 1, "to_service": "svc"}', "name that too"),
    ],
)
@pytest.mark.usefixtures("crew")
async def test_a_wrong_body_is_named(
    source: SceneSource, browser: httpx.AsyncClient, content: bytes, named: str
) -> None:
    """What cannot be read, is of another type or out of its range, or is not there at all: nothing is changed."""
    answer = await browser.post(
        "/resources/r/switchover", content=content, headers={"content-type": "application/json"}
    )
    assert named in assert_problem(answer, 422, "invalid_request")["detail"]
    assert source.scene.resource("r").switchover is None


async def test_a_body_that_is_too_long_is_not_read(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """No change needs so much."""
    headers = {"content-type": "application/json"}
    answer = await browser.post("/resources/r/switchover", content=b" " * 65_537, headers=headers)
    assert "65,536 bytes" in assert_problem(answer, 413, "invalid_request")["detail"]
    assert source.asked == []


async def test_a_death_is_vouched_for(source: SceneSource, crew: Crew, browser: httpx.AsyncClient) -> None:
    """Only with the word for it, by name; the next one is active, and the events say on whose word."""
    path = "/services/svc/instances/a"
    source.scene.now_ms += 1_500
    body = assert_problem(await browser.delete(path), 422, "invalid_request")
    assert "confirm_dead=true" in body["detail"]
    assert "2,000 ms" in body["detail"]
    assert asked_to_change(source) == []

    for client in (crew.first, crew.second):
        client.beat()
    answer = await browser.delete(path, params={"confirm_dead": "true", "by": "ops"})

    assert (answer.status_code, answer.json()) == (200, {"session": crew.active.session, "registration_count": 1})
    assert source.scene.who("r") == "b | c"
    ended = [event for event in source.scene.events if isinstance(event, RoleChangedEvent) and event.by]
    assert {event.by for event in ended} == {"ops"}
    assert_problem(await browser.delete(path, params={"confirm_dead": "true"}), 404, "not_found")


@pytest.mark.usefixtures("crew")
async def test_who_is_heard_is_not_dead(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Whatever somebody says."""
    answer = await browser.delete("/services/svc/instances/a?confirm_dead=true")
    assert_problem(answer, 409, "instance_alive")
    assert source.scene.who("r") == "a | b c"


@pytest.mark.usefixtures("crew")
async def test_a_standby_may_be_dead_too(browser: httpx.AsyncClient) -> None:
    """What it means is said without a word of two actives."""
    body = assert_problem(await browser.delete("/services/svc/instances/b"), 422, "invalid_request")
    assert "two are active" not in body["detail"]


async def test_which_process_is_meant_is_not_guessed(
    source: SceneSource, crew: Crew, browser: httpx.AsyncClient
) -> None:
    """Two may have an instance of the same name, for different resources."""
    source.scene.client("a2").claim("q", instance_id="a")
    source.scene.now_ms += 1_500
    path = "/services/svc/instances/a?confirm_dead=true"
    assert "resource_id" in assert_problem(await browser.delete(path), 422, "invalid_request")["detail"]

    answer = await browser.delete(f"{path}&resource_id=r")

    assert answer.json()["session"] == crew.active.session


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/resources/%ff/switchover", "resource_id"),
        ("/resources/r/switchover?confirm=true", "confirm"),
        ("/resources/r/switchover?by=" + "x" * 256, "by"),
        ("/services/%ff/instances/a", "service_name"),
        ("/services/svc/instances/%ff", "instance_id"),
        ("/services/svc/instances/a?confirm_dead=perhaps", "confirm_dead"),
        ("/services/svc/instances/a?confirm=true", "confirm"),
        ("/services/svc/instances/a?by=" + "x" * 256, "by"),
    ],
)
async def test_a_wrong_parameter_is_named(
    source: SceneSource, browser: httpx.AsyncClient, path: str, named: str
) -> None:
    """What is no name, out of its range, or does nothing there is 422 and says which."""
    assert named in assert_problem(await browser.delete(path), 422, "invalid_request")["detail"]
    assert asked_to_change(source) == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.usefixtures("crew")
async def test_a_broker_that_is_away_changes_nothing(
    source: SceneSource, browser: httpx.AsyncClient, method: str, path: str
) -> None:
    """503, without the advice to take what is stale."""
    source.is_away = True
    given: dict[str, Any] = {"json": {"epoch": 1}} if method == "POST" else {}
    body = assert_problem(await browser.request(method, path, **given), 503, "broker_unavailable")
    assert "stale" not in body["detail"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/resources/r/switchover"), ("PUT", "/resources/r/switchover"), ("POST", "/events")]
)
async def test_other_methods_are_not_served(browser: httpx.AsyncClient, method: str, path: str) -> None:
    """405 says which are."""
    answer = await browser.request(method, path)
    assert_problem(answer, 405, "invalid_request")
    assert answer.headers["allow"]
