"""The admin's application on a stage: a registry in place of a broker, and somebody who asks, without a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import httpx
from msgspec import structs

from tenure.admin.app import create_app
from tenure.admin.events import Events
from tenure.admin.figures import Figures, count
from tenure.admin.problems import BrokerAwayError
from tenure.admin.questions import Answer, OldEvents
from tenure.admin.ring import EventRing
from tenure.admin.security import Security
from tenure.admin.sse import Streams
from tenure.admin.table import LiveTable
from tenure.admin.views import Picture
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    GetResource,
    ListPresence,
    ListServices,
    PresencePage,
    Resource,
)
from tenure.contract.views import Presence
from tenure.sdk.replica import Replica
from tests.contract.example_views import MEASUREMENTS_FULL
from tests.unit.scene import HISTORY, Scene

AS_OF_MS: Final = 1_700_000_000_000
HEARD_MS: Final = 1_600_000_000_000
TOKEN: Final = "the-token-of-the-stage"  # noqa: S105 (nobody else's)
PATIENCE_S: Final = 30.0
"""How long a test waits for what has to come. Nothing is as slow as this, not even on a busy machine."""


class SceneSource:
    """A scene as a follower would give it: the replica is brought up to date when somebody looks, or `follow` says."""

    def __init__(self, *, ring_kept: int = 10_000) -> None:
        self.scene = Scene()
        self.is_away = False
        self.heard_ms: int | None = HEARD_MS
        self.defect: Exception | None = None
        self.asked: list[ClientMessage] = []
        """What the broker was asked."""
        self.replica = Replica()
        self.ring = EventRing(ring_kept)
        self.table = LiveTable(self, presence_ms=1, coalesce_ms=1)
        self.streams = Streams((self.ring.bell, self.table.bell))
        self.events = Events(self.ring, OldEvents(self, pause_ms=0), self.streams)
        self.begin()

    def begin(self, history_id: str = HISTORY) -> None:
        """Take a snapshot of the scene as it is, as if of a history."""
        replica = Replica()
        replica.begin(history_id, self.scene.registry.revision)
        after: int | None = 0
        while after is not None:
            page = self.scene.page(ListServices(after=after))
            replica.load(structs.replace(page, history_id=history_id))
            after = page.next_after
        self.replica = replica
        self.ring.begin(history_id, replica.revision)
        self.table.begin()

    def follow(self) -> None:
        """Take in what has happened since."""
        for event in self.scene.events:
            if event.revision > self.replica.revision:
                self.replica.apply(event)
                self.ring.append(event)
                self.table.observe(event)

    @property
    def is_ready(self) -> bool:
        """Whether it is there."""
        return not self.is_away

    async def picture(self, *, allow_stale: bool) -> Picture:
        """What there is now, or was when the broker was heard last."""
        if self.defect is not None:
            raise self.defect
        self.follow()
        lost = self.table.lost
        if not self.is_away:
            presence, as_of_ms = await self.presence()
            return Picture(replica=self.replica, lost=lost, presence=presence, is_connected=True, as_of_ms=as_of_ms)
        if not allow_stale or self.heard_ms is None:
            raise BrokerAwayError(self.heard_ms, is_known=self.heard_ms is not None)
        return Picture(replica=self.replica, lost=lost, presence={}, is_connected=False, as_of_ms=self.heard_ms)

    async def presence(self) -> tuple[Mapping[int, Presence], int]:
        """How the sessions are doing."""
        if self.is_away:
            raise BrokerAwayError(self.heard_ms)
        reply = self.scene.ask(ListPresence())
        assert isinstance(reply, PresencePage)
        return {one.session: one for one in reply.presence}, AS_OF_MS

    async def resource(self, resource_id: str) -> Answer:
        """What the registry says of a resource."""
        found = await self.request(GetResource(resource_id=resource_id), Resource)
        return Answer(found=found, as_of_ms=AS_OF_MS)

    async def figures(self) -> Figures:
        """What there is to count, beside what some broker measured."""
        if self.defect is not None:
            raise self.defect
        if self.is_away:
            raise BrokerAwayError(self.heard_ms)
        self.follow()
        return await count(self.replica, self.table.lost.tenures, MEASUREMENTS_FULL)

    async def look_at(self, resource_id: str) -> None:
        """Whether a switchover is under way goes into the table."""
        under_way = (await self.resource(resource_id)).found.resource.switchover
        self.table.note_switchover(resource_id, 0 if under_way is None else under_way.epoch)

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Ask the registry, or have it change something."""
        if self.is_away:
            raise BrokerAwayError(self.heard_ms)
        self.asked.append(message)
        if isinstance(message, ReadEvents):
            events = tuple(event for event in self.scene.events if event.revision > message.since)
            reply: BrokerMessage = EventPage(
                history_id=self.replica.history_id,
                events=events[: message.limit],
                revision=self.scene.registry.revision,
            )
        else:
            reply = self.scene.ask(message)
            self.follow()
        assert isinstance(reply, answer)
        return reply

    def changed(self, resource_id: str) -> None:
        """Nothing is remembered here."""

    def moving(self, registration_id: int, epoch: int) -> None:
        """It is shown in the row."""
        if epoch:
            self.table.note_switchover(self.replica.rows[registration_id].resource_id, epoch)


def application(source: SceneSource, *, is_local_only: bool = True, allowed_hosts: tuple[str, ...] = ()) -> Any:
    """The application; Litestar's and httpx's types of the same thing differ."""
    security = Security(token=TOKEN, is_local_only=is_local_only, allowed_hosts=frozenset(allowed_hosts))
    return create_app(source, security)


def asking(
    source: SceneSource,
    base_url: str = "http://127.0.0.1:7480",
    *,
    is_local_only: bool = True,
    allowed_hosts: tuple[str, ...] = (),
    token: str | None = None,
) -> httpx.AsyncClient:
    """Somebody who asks the application by a name, with a token or without."""
    app = application(source, is_local_only=is_local_only, allowed_hosts=allowed_hosts)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers)


async def ask(browser: httpx.AsyncClient, path: str, **parameters: Any) -> dict[str, Any]:
    """An answer that has to be one."""
    answer = await browser.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    return body


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, and says so in every way there is."""
    body: dict[str, Any] = answer.json()
    assert answer.status_code == body["status"] == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["code"] == code
    assert body["title"]
    assert body["detail"]
    return body


class Watching:
    """Somebody who reads a stream as it comes, message by message."""

    def __init__(self, sent: asyncio.Queue[bytes]) -> None:
        self._sent = sent
        self._rest = b""
        self.ended = asyncio.Event()
        """Set when the answer is whole: a stream has ended by itself, or this has hung up."""
        self.status = 0
        self.headers: dict[str, str] = {}

    async def block(self) -> dict[str, str]:
        """The next message, its fields by name; a comment is one too."""
        async with asyncio.timeout(PATIENCE_S):
            while b"\n\n" not in self._rest:
                self._rest += await self._sent.get()
        block, _, self._rest = self._rest.partition(b"\n\n")
        return dict(line.split(": ", 1) for line in block.decode().split("\n") if line.strip(": "))

    async def rest(self) -> bytes:
        """All that is still sent, until the answer is whole."""
        async with asyncio.timeout(PATIENCE_S):
            await self.ended.wait()
        while not self._sent.empty():
            self._rest += self._sent.get_nowait()
        return self._rest

    async def until(self, event: str) -> list[dict[str, str]]:
        """The messages up to the next one of a kind, which is the last of them."""
        found = [await self.block()]
        while found[-1].get("event", "") != event:
            found.append(await self.block())
        return found


@contextlib.asynccontextmanager
async def watching(
    app: Any, path: str, query: str = "", *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> AsyncGenerator[Watching]:
    """Somebody who opens a stream and hangs up in the end."""
    sent: asyncio.Queue[bytes] = asyncio.Queue()
    watcher = Watching(sent)
    hung_up = watcher.ended
    begun = asyncio.Event()
    given = {"host": "127.0.0.1", "accept": "text/event-stream", **(headers or {})}

    async def receive() -> dict[str, Any]:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            watcher.status = message["status"]
            watcher.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            begun.set()
        else:
            sent.put_nowait(message.get("body", b""))
            if not message.get("more_body", False):
                hung_up.set()  # as servers have it: after a whole answer there is nobody there

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 7480),
        "root_path": "",
        "state": {},
        "extensions": {},
    }
    answering = asyncio.create_task(app(scope, receive, send))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await begun.wait()
        yield watcher
    finally:
        hung_up.set()
        async with asyncio.timeout(PATIENCE_S):
            await answering
