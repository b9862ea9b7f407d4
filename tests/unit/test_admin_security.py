"""Who may ask the admin, and who may change something."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar.types import HTTPReceiveMessage, Message, Receive, Scope, Send

from tenure.admin.security import Gate, Security
from tenure.admin.token import TokenUnusableError, default_state, make_token, read_token, token_path
from tests.unit.admin_stage import TOKEN, SceneSource, application, asking, assert_problem, watching

CHANGES = (
    ("POST", "/resources/r/switchover"),
    ("POST", "/resources/r/pause"),
    ("POST", "/resources/r/resume"),
    ("POST", "/roles"),
    ("DELETE", "/resources/r/switchover"),
    ("DELETE", "/services/svc/instances/a?confirm_dead=true"),
)


@pytest.fixture
def source() -> SceneSource:
    """Somebody is active, and somebody stands by."""
    source = SceneSource()
    source.scene.client("a").claim("r")
    source.scene.client("b").stand_by("r")
    return source


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who asks, without a token."""
    async with asking(source) as client:
        yield client


async def change(browser: httpx.AsyncClient, method: str, path: str, **headers: str) -> httpx.Response:
    """Ask for a change, with a body where one belongs."""
    given: dict[str, Any] = {"json": {"epoch": 1} if path.endswith("switchover") else {}} if method == "POST" else {}
    return await browser.request(method, path, headers=headers, **given)


def assert_nothing_was_done(source: SceneSource) -> None:
    """The broker was not even asked."""
    assert source.asked == []


# --- who may read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "localhost.evil.example",
        "",
        "evil@localhost",
        "@localhost",
        "localhost@evil.example",
        "localhost,evil",
    ],
)
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


async def test_an_allowed_name_may_be_asked_by(source: SceneSource) -> None:
    """A proxy on this machine may have a name that the operator knows."""
    async with asking(source, "http://ops.example", allowed_hosts=("ops.example",)) as browser:
        assert (await browser.get("/services")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/services", "/resources", "/events", "/health/ready", "/schema", "/nowhere", "/health/live/"]
)
async def test_an_open_address_needs_the_token_for_everything(source: SceneSource, path: str) -> None:
    """Where other machines ask, by whatever name, nothing is said without the token; not even what there is."""
    async with asking(source, "http://broker.internal:7480", is_local_only=False) as browser:
        answer = await browser.get(path)
        assert "this needs" in assert_problem(answer, 401, "forbidden")["detail"]
        assert answer.headers["www-authenticate"] == "Bearer"
        answer = await browser.get(path, headers={"authorization": "Bearer wrong"})
        assert "is not the token" in assert_problem(answer, 401, "forbidden")["detail"]
        answer = await browser.get(path, headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code != HTTPStatus.UNAUTHORIZED


async def test_whether_it_lives_may_be_asked_by_anybody(source: SceneSource) -> None:
    """A probe of another machine has no token, and learns nothing else."""
    async with asking(source, "http://broker.internal:7480", is_local_only=False) as browser:
        answer = await browser.get("/health/live")
        assert (answer.status_code, answer.json()) == (200, {"status": "live"})


@pytest.mark.parametrize("path", ["/", "/services", "/resources/r", "/health/live", "/nowhere", "/services?limit=0"])
async def test_head_is_get_without_the_body(browser: httpx.AsyncClient, path: str) -> None:
    """The same status and headers, whoever probes it so."""
    whole, head = await browser.get(path), await browser.head(path)
    assert (head.status_code, head.headers["content-type"]) == (whole.status_code, whole.headers["content-type"])
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert head.content == b""


async def test_the_head_of_a_stream_ends_by_itself(source: SceneSource) -> None:
    """Nobody would read what comes after it."""
    async with watching(application(source), "/events", method="HEAD") as watcher:
        assert (watcher.status, watcher.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert await watcher.rest() == b""
    assert source.streams.count == 0


async def test_nothing_follows_on_a_head_that_was_sent() -> None:
    """★ Its end is said with it: what the application goes on to say is for nobody, and no server would take it."""
    sent: list[Message] = []

    async def wordy(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b", "more_body": False})

    async def nothing() -> HTTPReceiveMessage:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def note(message: Message) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "HEAD", "path": "/", "raw_path": b"/", "headers": [(b"host", b"localhost")]}
    await Gate(wordy, Security(token=TOKEN, is_local_only=True))(cast("Scope", asked), nothing, note)

    assert [(one["type"], one.get("body")) for one in sent] == [
        ("http.response.start", None),
        ("http.response.body", b""),
    ]


async def test_head_changes_nothing(browser: httpx.AsyncClient) -> None:
    """A route that only changes something has none."""
    assert (await browser.head("/roles")).status_code == 405


# --- who may change ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \xfc"])
async def test_a_change_needs_the_token(
    source: SceneSource, browser: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    """On the loopback too; a wrong token is as good as none, and the answer says where the right one is."""
    headers = [(b"content-type", b"application/json")]
    if authorization is not None:
        headers.append((b"authorization", authorization.encode("latin-1")))
    answer = await browser.request(method, path, headers=headers, content=b"{}")

    body = assert_problem(answer, 401, "forbidden")
    assert "tenure admin token" in body["detail"]
    assert ("is not the token" in body["detail"]) == (authorization is not None), "missing is not wrong"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert_nothing_was_done(source)


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[", "127.0.0.1:7480"]
)
async def test_a_page_of_another_site_changes_nothing(source: SceneSource, method: str, path: str, origin: str) -> None:
    """A browser that has the token is not made to use it: its page has to come from here."""
    async with asking(source, token=TOKEN) as browser:
        assert_problem(await change(browser, method, path, origin=origin), 403, "forbidden")
    assert_nothing_was_done(source)


@pytest.mark.parametrize("origin", ["http://127.0.0.1:7480", "https://127.0.0.1:7480"])
async def test_its_own_page_may_change_something(source: SceneSource, origin: str) -> None:
    """Served from here, also through something that added TLS."""
    async with asking(source, token=TOKEN) as browser:
        answer = await change(browser, "DELETE", "/resources/r/switchover", origin=origin)
        assert_problem(answer, 404, "not_found")  # it came to the broker, and none is under way


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_change_has_to_name_this_machine(source: SceneSource, method: str, path: str) -> None:
    """Elsewhere than on the loopback too: names may be made to point anywhere."""
    async with asking(source, is_local_only=False, token=TOKEN) as browser:
        body = assert_problem(await change(browser, method, path, host="evil.example"), 421, "invalid_request")
        assert "--allow-host" in body["detail"]
    assert_nothing_was_done(source)


async def test_an_open_address_may_be_changed_by_the_names_it_has(
    source: SceneSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that a request came to, this machine's name, its loopback, and what the operator allows."""
    monkeypatch.setattr("socket.gethostname", lambda: "Here")
    hosts = ("ops.example",)
    async with asking(source, "http://10.0.0.1", is_local_only=False, allowed_hosts=hosts, token=TOKEN) as browser:
        for name in ("10.0.0.1", "10.0.0.1:7480", "localhost:7480", "HERE:7480", "ops.example"):
            answer = await change(browser, "DELETE", "/resources/r/switchover", host=name)
            assert_problem(answer, 404, "not_found")  # it came to the broker, and none is under way


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_body_has_to_be_json_and_say_so(source: SceneSource, method: str, path: str, kind: str) -> None:
    """A form of another site cannot send this type without being asked first."""
    async with asking(source, token=TOKEN) as browser:
        headers = {"content-type": kind} if kind else {}
        answer = await browser.request(method, path, content=b"{}", headers=headers)
        assert_problem(answer, 415, "invalid_request")
    assert_nothing_was_done(source)


# --- the token --------------------------------------------------------------------------------------------------------


def test_the_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The second start finds the first one's; nobody else can read it, and nothing is left beside it."""
    state = tmp_path / "a" / "state"

    made = make_token(state)

    assert (make_token(state), read_token(state)) == (made, made)
    assert len(made) >= 32
    assert [path.name for path in state.iterdir()] == ["admin.token"]
    assert token_path(state).stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


def test_of_two_who_make_it_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second takes the other's, whole as it is."""
    link = os.link

    def link_second(draft: Path, path: Path) -> None:
        path.write_text("the-first\n")
        path.chmod(0o600)
        link(draft, path)

    monkeypatch.setattr(os, "link", link_second)

    assert make_token(tmp_path) == "the-first"
    assert [path.name for path in tmp_path.iterdir()] == ["admin.token"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_token_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever could read it may have: it is not used, and the message says how to mend that."""
    make_token(tmp_path)
    token_path(tmp_path).chmod(mode)
    with pytest.raises(TokenUnusableError, match="chmod 600"):
        make_token(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", b"\x00\x01\n", b"x" * 2_000])
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty one would let everybody in."""
    make_token(tmp_path)
    token_path(tmp_path).write_bytes(content)
    with pytest.raises(TokenUnusableError, match="holds no token"):
        read_token(tmp_path)


def test_a_place_where_there_is_none_is_named(tmp_path: Path) -> None:
    """Shown, not made: somebody who looks in the wrong directory must not get a token that works nowhere."""
    with pytest.raises(TokenUnusableError, match="--state"):
        read_token(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_none_can_be_made_is_named(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "state").write_text("")
    with pytest.raises(TokenUnusableError, match="cannot be made"):
        make_token(tmp_path / "state")
    with pytest.raises(TokenUnusableError, match="cannot be read"):
        read_token(tmp_path / "state")


def test_it_is_where_the_broker_has_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, as for `tenure serve`."""
    monkeypatch.setenv("HOME", "/home/x")
    assert default_state({"XDG_STATE_HOME": "/s"}) == Path("/s/tenure")
    assert default_state({"XDG_STATE_HOME": "relative"}) == Path("/home/x/.local/state/tenure")
    assert default_state({}) == Path("/home/x/.local/state/tenure")
