"""The admin as its users meet it: a process of its own, asked over HTTP, beside a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tenure.admin.__main__ import main
from tenure.admin.main import NICENESS, Options, run_admin
from tenure.admin.questions import PRESENCE_INTERVAL_MS
from tenure.contract.messages import BrokerMessage, ClientMessage, ListPresence
from tenure.sdk import ServiceClient
from tenure.sdk.reader import Reader
from tests.integration.admins import admin_of, alone, base_url, browser_of
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere
from tests.integration.serving import Command, endpoint_in, output_of, tenure


@pytest.fixture
async def browser(broker: BrokerHere, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who asks an admin that follows the broker."""
    async with admin_of(broker.ipc, tmp_path) as client:
        yield client


async def until(
    browser: httpx.AsyncClient, path: str, fits: Callable[[httpx.Response], bool], what: str
) -> httpx.Response:
    """Ask until an answer fits; each question waits for its answer."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await browser.get(path)
                if fits(answer):
                    return answer
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}") from None


async def until_revision(browser: httpx.AsyncClient, path: str, revision: int) -> dict[str, Any]:
    """Ask until the replica has come so far."""
    answer = await until(
        browser, path, lambda one: one.is_success and one.json()["revision"] >= revision, f"revision {revision}"
    )
    body: dict[str, Any] = answer.json()
    return body


async def until_told(browser: httpx.AsyncClient, logs: list[EventDict], *events: str) -> None:
    """Ask until the log has said these things of the broker, and no more."""

    def is_told(_: httpx.Response) -> bool:
        return [one["event"] for one in logs if one["event"].startswith("broker.")] == list(events)

    await until(browser, "/health/live", is_told, ", ".join(events))


# --- beside a broker --------------------------------------------------------------------------------------------------


async def test_services_goes_with_what_happens(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """Instances appear with their lease and status, change their roles, and are gone when they leave."""
    assert (await browser.get("/services")).json()["instances"] == [], "the first answer waits for the first snapshot"
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        held = await client.register("gw", instance_id="a", resource_id="acct", role="active", metadata={"host": "h"})
        await client.register("gw", instance_id="b", resource_id="acct")
        body = await until_revision(browser, "/services", broker.count("committed_revision"))
        active, standby = body["instances"]
        assert (active["instance_id"], active["role"], active["epoch"]) == ("a", "active", held.epoch)
        assert (active["resource_id"], active["status"], active["metadata"]) == ("acct", "healthy", {"host": "h"})
        assert (standby["instance_id"], standby["role"], standby["epoch"]) == ("b", "standby", 0)

        await held.resign()
        body = await until_revision(browser, "/services", broker.count("committed_revision"))
        assert [(one["instance_id"], one["role"]) for one in body["instances"]] == [("a", "standby"), ("b", "active")]
    body = await until_revision(browser, "/services", broker.count("committed_revision"))
    assert body["instances"] == []


async def test_what_is_left_of_a_lease_is_what_the_broker_says(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """It is asked for when somebody asks, and says when it was."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        await client.register("gw", instance_id="a")
        answer = await until(
            browser,
            "/services",
            lambda one: bool(one.json()["instances"]) and one.json()["instances"][0]["lease_left_ms"] is not None,
            "a lease that is known",
        )
        body = answer.json()
        assert 0 < body["instances"][0]["lease_left_ms"] <= LONG_LEASE_MS
        assert body["as_of_ms"] == int(answer.headers["tenure-as-of-ms"]) > body["instances"][0]["since_ms"] - 60_000


async def test_roles_goes_with_what_happens(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """The standbys come in the order in which they would succeed, and the one who does shows."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        held = await client.register("gw", instance_id="a", resource_id="acct", role="active")
        await client.register("gw", instance_id="low", resource_id="acct")
        await client.register("gw", instance_id="high", resource_id="acct", priority=5)
        body = await until_revision(browser, "/services/gw/roles", broker.count("committed_revision"))
        (resource,) = body["resources"]
        assert resource["active"]["instance_id"] == "a"
        assert [standby["instance_id"] for standby in resource["standbys"]] == ["high", "low"]

        await held.deregister()
        body = await until_revision(browser, "/services/gw/roles", broker.count("committed_revision"))
        (resource,) = body["resources"]
        assert (resource["active"]["instance_id"], resource["last_epoch"]) == ("high", resource["active"]["epoch"])
        assert resource["last_epoch"] > held.epoch


async def test_what_cannot_be_answered_is_a_problem(browser: httpx.AsyncClient) -> None:
    """Over a real connection too: unknown names, methods, parameters and hosts."""
    for answer, status in (
        (await browser.get("/services/nobody/roles"), 404),
        (await browser.get("/nowhere"), 404),
        (await browser.post("/services", json={"name": "x"}), 405),
        (await browser.get("/services?limit=0"), 422),
        (await browser.get("/services", headers={"host": "evil.example"}), 421),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
    assert (await browser.get("/schema/openapi.json")).json()["openapi"].startswith("3.1")
    assert (await browser.get("/services")).status_code == 200


async def test_a_service_with_a_slash_in_its_name_is_found(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """The server hands over the path as it was sent."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        await client.register("plant/line 3", instance_id="a", role="active")
        body = await until_revision(browser, "/services/plant%2Fline%203/roles", broker.count("committed_revision"))
        assert body["service_name"] == "plant/line 3"


async def test_a_broker_that_leaves_and_comes_back(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """Away: 503, and what was known only for those who ask for it. Back: live answers, with all that has happened."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        await client.register("gw", instance_id="a", role="active")
        known = await until_revision(browser, "/services", broker.count("committed_revision"))
        await broker.stop()

        answer = await until(browser, "/services", lambda one: one.status_code == 503, "the broker to be missed")
        problem = answer.json()
        assert problem["code"] == "broker_unavailable"
        assert problem["heard_ms"] >= known["as_of_ms"] - PATIENCE_S * 1_000
        stale = (await browser.get("/services?stale=true")).json()
        assert (stale["connected"], stale["revision"]) == (False, known["revision"])
        assert [one["instance_id"] for one in stale["instances"]] == ["a"]
        assert [one["lease_left_ms"] for one in stale["instances"]] == [None]

        await broker.start()
        await client.register("gw", instance_id="b")
        live = await until_revision(browser, "/services", known["revision"] + 1)
        assert (live["connected"], [one["instance_id"] for one in live["instances"]]) == (True, ["a", "b"])


async def test_it_starts_without_a_broker_and_finds_it_later(broker: BrokerHere, tmp_path: Path) -> None:
    """Nobody has to start them in an order: it says 503 until there is a broker."""
    await broker.stop()
    async with admin_of(broker.ipc, tmp_path) as browser:
        answer = await browser.get("/services?stale=true")
        assert (answer.status_code, "heard_ms" in answer.json()) == (503, False)
        await broker.start()
        await until(browser, "/services", lambda one: one.status_code == 200, "the broker to be found")


async def test_the_log_says_when_the_broker_goes_and_comes(broker: BrokerHere, tmp_path: Path) -> None:
    """Each time once, however long it lasts, and not at the start alone."""
    with capture_logs() as logs:
        async with admin_of(broker.ipc, tmp_path) as browser:
            await until_told(browser, logs, "broker.followed")
            await broker.stop()
            await until_told(browser, logs, "broker.followed", "broker.unreachable")
            await broker.start()
            await until_told(browser, logs, "broker.followed", "broker.unreachable", "broker.followed")
    gone = next(one for one in logs if one["event"] == "broker.unreachable")
    assert (gone["log_level"], gone["reason"]) == ("warning", "it has fallen silent")
    assert gone["heard_ms"] > 0


async def test_many_readers_cost_the_broker_no_more_than_one(
    broker: BrokerHere, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of questions reach the broker as at most one about presence each 500 ms, and change nothing."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        held = await client.register("gw", instance_id="a", role="active")
        revision = broker.count("committed_revision")
        await until_revision(browser, "/services", revision)
        asked: list[type[ClientMessage]] = []
        ask = Reader.request

        async def ask_and_note(reader: Reader, message: ClientMessage, answer: type[BrokerMessage]) -> BrokerMessage:
            asked.append(type(message))
            return await ask(reader, message, answer)

        monkeypatch.setattr(Reader, "request", ask_and_note)

        async def read() -> None:
            for _ in range(20):
                assert (await browser.get("/services")).status_code == 200
                assert (await browser.get("/services/gw/roles")).status_code == 200

        began = monotonic()
        await asyncio.gather(*(read() for _ in range(10)))
        lasted_ms = (monotonic() - began) * 1_000

        assert set(asked) <= {ListPresence}
        assert len(asked) <= lasted_ms / PRESENCE_INTERVAL_MS + 1
        assert (held.is_active, broker.count("committed_revision")) == (True, revision)


async def lines_of(answer: httpx.Response, until: Callable[[str], bool]) -> list[str]:
    """The lines of a stream up to one that fits."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        async for line in answer.aiter_lines():
            found.append(line)
            if until(line):
                return found
    raise AssertionError("the stream ended before")


async def test_a_failover_is_streamed(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """Events and rows come over a real connection as things happen, and a reader goes on where he was."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        held = await client.register("gw", instance_id="a", resource_id="acct", role="active")
        await client.register("gw", instance_id="b", resource_id="acct")
        await until_revision(browser, "/services", broker.count("committed_revision"))
        accept = {"accept": "text/event-stream"}
        async with (
            browser.stream("GET", "/events", headers=accept) as events,
            browser.stream("GET", "/resources", headers=accept) as rows,
        ):
            await lines_of(rows, lambda line: line == "event: live")
            begin = (await lines_of(events, lambda line: line.startswith("id: ")))[-1].removeprefix("id: ")
        await held.resign()
        async with browser.stream("GET", "/resources", headers=accept) as rows:
            shown = await lines_of(rows, lambda line: '"active":{"instance_id":"b"' in line)
            assert len(shown) > 0
        async with browser.stream("GET", "/events", headers={**accept, "last-event-id": begin}) as events:
            told = await lines_of(events, lambda line: '"new_role":"active"' in line)
            assert '"instance_id":"b"' in told[-1]


async def test_an_open_address_is_warned_of(socket_directory: Path) -> None:
    """Whoever insists gets it, with a warning at each start."""
    told = asyncio.Event()
    told.set()
    with capture_logs() as logs:
        options = Options(
            bind="0.0.0.0:0", endpoints=(endpoint_in(socket_directory),), insecure_bind=True, state=socket_directory
        )
        await run_admin(options, told=told)

    assert [(log["log_level"], log["bind"]) for log in logs if log["event"] == "bind.insecure"] == [
        ("warning", "0.0.0.0:0")
    ]


# --- as a process -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_when_it_is_told_to(socket_directory: Path, number: signal.Signals) -> None:
    """One line when it is ready, and it gives way to the broker; a signal ends it with 0, connections or not."""
    async with (
        tenure("admin", *alone(socket_directory)) as admin,
        browser_of(await base_url(admin)) as browser,
    ):
        assert (await browser.get("/health/live")).status_code == 200
        assert os.getpriority(os.PRIO_PROCESS, admin.pid) == min(19, os.nice(0) + NICENESS)
        admin.send(number)
        assert await admin.exit_code() == 0


async def test_serve_runs_one_beside_the_broker(socket_directory: Path) -> None:
    """`tenure serve` starts it in a process of its own and ends it with itself."""
    arguments = ["serve", "--data", str(socket_directory / "data"), "--admin-bind", "127.0.0.1:0"]
    arguments += ["--bind", endpoint_in(socket_directory), "--events-bind", f"ipc://{socket_directory}/e"]
    async with tenure(*arguments, "--log-format", "json") as broker, browser_of(await base_url(broker)) as browser:
        assert (await browser.get("/services")).json()["instances"] == []
        code, token = await output_of("admin", "token", "--state", str(socket_directory / "data"))
        assert code == 0
        answer = await browser.delete("/resources/r/switchover", headers={"authorization": f"Bearer {token.strip()}"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        broker.send(signal.SIGTERM)
        assert await broker.exit_code() == 0
        with pytest.raises(httpx.ConnectError):
            await browser.get("/services")


async def test_serve_goes_on_where_the_admin_cannot_listen(socket_directory: Path) -> None:
    """It says which flag is meant, promises no page, and serves: roles are worth more than a page."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["serve", "--data", str(socket_directory / "data"), "--admin-bind", address]
        arguments += ["--bind", endpoint_in(socket_directory), "--events-bind", f"ipc://{socket_directory}/e"]
        async with tenure(*arguments, "--log-format", "json") as broker:
            ended = json.loads(await broker.line("admin.ended"))
            assert ended["reason"].startswith(f"cannot listen at {address}: Address already in use")
            assert "--admin-bind" in ended["hint"]
            said = [await broker.line() for _ in range(4)]
            assert "keeps its data" in said[2]
            assert said[3].startswith("Try it:"), "and nothing of a page before"
            assert (await output_of("ping", "--endpoint", endpoint_in(socket_directory)))[0] == 0


async def test_serve_says_where_the_page_is(socket_directory: Path) -> None:
    """Also if the system chose the port."""
    arguments = ["serve", "--data", str(socket_directory / "data"), "--admin-bind", "localhost:0"]
    arguments += ["--bind", endpoint_in(socket_directory), "--events-bind", f"ipc://{socket_directory}/e"]
    async with tenure(*arguments, "--log-format", "json") as broker:
        url = (await broker.line("admin page soon at")).split()[-1]
        assert url.startswith("http://localhost:")
        async with browser_of(url.removesuffix("/")) as browser:
            assert (await browser.get("/health/live")).status_code == 200, "who comes early waits"


_PARENT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-m", "tenure.admin", *sys.argv[1:], "--parent-pid", str(os.getpid())])
sys.stdin.read()
"""


async def test_it_ends_with_its_parent(socket_directory: Path) -> None:
    """A parent that is killed without a word takes it along: nothing is left that holds the address."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _PARENT, *alone(socket_directory)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        url = await base_url(Command(parent))
        async with browser_of(url) as browser:
            assert (await browser.get("/schema")).status_code == 200
        parent.kill()
        assert parent.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            await parent.stdout.read()  # its end comes when the last one who could write is gone
        async with browser_of(url) as browser:
            with pytest.raises(httpx.ConnectError):
                await browser.get("/schema")
    finally:
        if parent.returncode is None:
            parent.kill()
        await parent.communicate()


async def test_it_does_not_begin_for_a_parent_that_is_gone(socket_directory: Path) -> None:
    """If the one that started it is not there any more it ends at once."""
    code, _ = await output_of(
        "admin",
        *alone(socket_directory),
        *("--parent-pid", str(os.getppid())),  # somebody who lives, but did not start it
    )
    assert code == 0


@pytest.mark.parametrize(("bind", "says"), [("0.0.0.0:0", "--insecure-bind"), ("nonsense", "host:port")])
def test_an_address_that_cannot_be_served_is_one_line(bind: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is refused is a line that says what to do, and exit code 64."""
    assert main(["--bind", bind]) == 64
    lines = capsys.readouterr().err.splitlines()
    assert (says in lines[0], len(lines)) == (True, 1)


def test_a_taken_address_is_no_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """78, as for the broker: another time the same line may be right."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--bind", f"127.0.0.1:{taken.getsockname()[1]}", "--state", str(tmp_path)]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert ("choose another address with --bind" in lines[0], len(lines)) == (True, 1)


async def test_the_command_line_says_it_too(tmp_path: Path) -> None:
    """`tenure admin` ends the same way."""
    code, out = await output_of("admin", "--bind", "nonsense")
    assert (code, "host:port" in out, len(out.splitlines())) == (64, True, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out = await output_of("admin", "--bind", bind, "--state", str(tmp_path))
    assert (code, "choose another address with --bind" in out, len(out.splitlines())) == (78, True, 1)
