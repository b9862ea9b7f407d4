"""The admin API as its users meet it: a process of its own, asked over HTTP, beside a real broker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from tenure.sdk import ServiceClient
from tests.integration.serving import endpoint_in, output_of, serving, tenure


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a name short enough for sockets."""
    with TemporaryDirectory(prefix="tenure-") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def asking(directory: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an admin that follows the broker of a directory, whether that is there or not."""
    async with tenure("admin", "--bind", "127.0.0.1:0", "--endpoint", endpoint_in(directory)) as admin:
        url = (await admin.line("http://")).split()[-1].removesuffix("/services")
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            yield client


async def until(client: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
    """Ask until an answer has a status; each question waits for its answer."""
    for _ in range(10_000):
        answer = await client.get(path)
        if answer.status_code == status:
            return answer
    raise AssertionError(f"{path} did not come to {status}")


async def test_services_shows_every_instance_with_its_role(directory: Path) -> None:
    """Role, resource, epoch, status and what is left of the lease, and the filters."""
    async with serving(directory), asking(directory) as client, ServiceClient(endpoint_in(directory)) as sdk:
        first = await sdk.register("gw", instance_id="a", resource_id="acct", role="active", metadata={"host": "h"})
        await sdk.register("gw", instance_id="b", resource_id="acct")
        answer = await _until_listed(client, 2)
        active, standby = answer["instances"]
        assert (active["instance_id"], active["role"], active["epoch"]) == ("a", "active", first.epoch)
        assert (active["resource_id"], active["status"], active["metadata"]) == ("acct", "healthy", {"host": "h"})
        assert 0 < active["lease_left_ms"] <= active["lease_ms"]
        assert (standby["instance_id"], standby["role"], standby["epoch"]) == ("b", "standby", 0)

        only = (await client.get("/services", params={"role": "standby"})).json()["instances"]
        assert [one["instance_id"] for one in only] == ["b"]
        page = (await client.get("/services", params={"limit": 1})).json()
        rest = (await client.get("/services", params={"after": page["next_after"]})).json()
        assert [one["instance_id"] for one in page["instances"] + rest["instances"]] == ["a", "b"]
        assert rest["next_after"] is None
        assert (await client.get("/services", params={"service_name": "other"})).json()["instances"] == []


async def test_roles_shows_who_is_active_and_who_is_next(directory: Path) -> None:
    """The standbys come in the order in which they would succeed, and a failover shows."""
    async with serving(directory), asking(directory) as client, ServiceClient(endpoint_in(directory)) as sdk:
        active = await sdk.register("gw", instance_id="a", resource_id="acct", role="active")
        await sdk.register("gw", instance_id="low", resource_id="acct")
        await sdk.register("gw", instance_id="high", resource_id="acct", priority=5)
        await _until_listed(client, 3)
        (view,) = (await client.get("/services/gw/roles")).json()["resources"]
        assert view["active"]["instance_id"] == "a"
        assert [standby["instance_id"] for standby in view["standbys"]] == ["high", "low"]

        await active.deregister()
        await _until_listed(client, 2)
        (view,) = (await client.get("/services/gw/roles")).json()["resources"]
        assert view["active"]["instance_id"] == "high"
        assert view["active"]["epoch"] > active.epoch


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/services/nobody/roles", 404, "not_found"),
        ("/nowhere", 404, "not_found"),
        ("/services?limit=0", 422, "invalid_request"),
        ("/services?limit=1001", 422, "invalid_request"),
        ("/services?limit=x", 422, "invalid_request"),
        ("/services?after=-1", 422, "invalid_request"),
        ("/services?role=boss", 422, "invalid_request"),
        (f"/services/{'n' * 300}/roles", 422, "invalid_request"),
    ],
)
async def test_what_is_wrong_is_a_problem_with_a_code(
    path: str, status: int, code: str, broker_and_admin: httpx.AsyncClient
) -> None:
    """404 and 422 are application/problem+json, with the stable code and a sentence."""
    answer = await until(broker_and_admin, path, status)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]


async def test_methods_and_names_that_are_not_served(broker_and_admin: httpx.AsyncClient) -> None:
    """POST changes nothing here, and a page that points a name of its own at this address learns nothing."""
    answer = await broker_and_admin.post("/services")
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    answer = await broker_and_admin.get("/services", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")


async def test_the_routes_are_described(broker_and_admin: httpx.AsyncClient) -> None:
    """OpenAPI 3.1 names both routes."""
    description = (await broker_and_admin.get("/schema/openapi.json")).json()
    assert description["openapi"].startswith("3.1")
    assert set(description["paths"]) == {"/services", "/services/{service_name}/roles"}


async def test_a_broker_that_is_away_is_said_to_be(directory: Path) -> None:
    """Nothing stale is shown: 503 without a broker, an answer with one, 503 after it, and an answer when it is back."""
    async with asking(directory) as client:
        problem = (await client.get("/services")).json()
        assert (problem["status"], problem["code"]) == (503, "broker_unavailable")
        async with serving(directory), ServiceClient(endpoint_in(directory), lease_ms=600_000) as sdk:
            await sdk.register("gw", instance_id="a", role="active")
            await _until_listed(client, 1)
        problem = (await until(client, "/services", 503)).json()
        assert problem["heard_ms"] > 0
        async with serving(directory):
            assert (await until(client, "/services", 200)).json()["revision"] > 0


async def test_an_address_that_cannot_be_served_is_one_line() -> None:
    """A bind that other machines reach is refused, and so is one that is none."""
    code, out = await output_of("admin", "--bind", "0.0.0.0:0")
    assert (code, "--insecure-bind" in out, len(out.splitlines())) == (1, True, 1)
    code, out = await output_of("admin", "--bind", "nonsense")
    assert (code, "HOST:PORT" in out) == (1, True)


async def test_serve_runs_one_beside_the_broker(directory: Path) -> None:
    """`tenure serve` starts the admin in a process of its own and ends it with itself."""
    arguments = ["serve", "--data", str(directory / "data"), "--admin-bind", "127.0.0.1:0"]
    arguments += ["--bind", endpoint_in(directory), "--events-bind", f"ipc://{directory}/e"]
    async with tenure(*arguments) as broker:
        url = (await broker.line("http://")).split()[-1]
        async with httpx.AsyncClient(timeout=30) as client:
            assert (await until(client, url, 200)).json()["instances"] == []
            broker.process.terminate()
            assert await broker.exit_code() == 0
            with pytest.raises(httpx.ConnectError):
                await client.get(url)


@pytest.fixture
async def broker_and_admin(directory: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an admin beside a broker with nobody registered."""
    async with serving(directory), asking(directory) as client:
        await until(client, "/services", 200)
        yield client


async def _until_listed(client: httpx.AsyncClient, count: int) -> dict[str, Any]:
    """Ask until so many instances are listed."""
    for _ in range(10_000):
        answer = await client.get("/services")
        if answer.status_code == 200 and len(answer.json()["instances"]) == count:
            listed: dict[str, Any] = answer.json()
            return listed
    raise AssertionError(f"{count} instances were never listed")
