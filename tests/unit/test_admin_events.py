"""Events over HTTP: pages of them, and a stream that goes on where its reader was or says why it cannot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tenure.admin import events, sse
from tenure.admin.questions import OldEvents
from tenure.admin.ring import EventRing, body_of
from tenure.contract.errors import RevisionCompactedError
from tenure.contract.events import SessionOpenedEvent
from tenure.contract.history import ReadEvents
from tests.unit.admin_stage import HEARD_MS, SceneSource, Watching, application, ask, asking, assert_problem, watching
from tests.unit.scene import HISTORY

OTHER = "another-history"


@pytest.fixture
def source() -> SceneSource:
    """Nobody is registered yet."""
    return SceneSource()


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who asks."""
    async with asking(source) as client:
        yield client


def happen(source: SceneSource, count: int) -> None:
    """So many things happen, and are followed."""
    while source.scene.registry.revision < count:
        source.scene.client(f"c{source.scene.registry.revision}", status=None)
    source.follow()
    assert source.replica.revision == count


async def compacted(*_: object) -> None:
    """What the store says of events that it keeps no more."""
    raise RevisionCompactedError("gone", revision=2)


async def revisions(watcher: Watching, count: int) -> list[int]:
    """The next so many events."""
    found: list[int] = []
    while len(found) < count:
        block = await watcher.block()
        if "data" in block:
            assert block["id"] == f"{HISTORY}:{json.loads(block['data'])['revision']}"
            found.append(json.loads(block["data"])["revision"])
    return found


# --- the ring ---------------------------------------------------------------------------------------------------------


def opened(revision: int) -> SessionOpenedEvent:
    """Something that happened."""
    return SessionOpenedEvent(revision=revision, at_ms=revision, lease_ms=1_000)


def kept(ring: EventRing, revision: int, limit: int = 100) -> list[int]:
    """The revisions of what the ring has after one."""
    return [json.loads(body_of(frame))["revision"] for frame in ring.after(revision, limit)]


def test_the_ring_has_the_newest_events() -> None:
    """In order, at most so many, from any point that it still has."""
    ring = EventRing(3)
    ring.begin(HISTORY, 10)
    assert (ring.has_after(9), ring.has_after(10), ring.has_after(11)) == (False, True, False)
    for revision in range(11, 16):
        ring.append(opened(revision))

    assert (ring.oldest, ring.newest) == (13, 15)
    assert [ring.has_after(one) for one in (11, 12, 15, 16)] == [False, True, True, False]
    assert (kept(ring, 12), kept(ring, 13), kept(ring, 15), kept(ring, 12, 2)) == ([13, 14, 15], [14, 15], [], [13, 14])


def test_the_ring_takes_only_what_follows() -> None:
    """What it knows, and what comes after a gap, changes nothing."""
    ring = EventRing()
    ring.begin(HISTORY, 10)
    for revision in (11, 11, 10, 13):
        ring.append(opened(revision))
    assert kept(ring, 10) == [11]


def test_a_new_snapshot_breaks_the_ring_only_if_it_has_to() -> None:
    """A later point leaves a part to the store; an earlier one, or another history, makes void what was said."""
    ring = EventRing()
    ring.begin(HISTORY, 10)
    ring.append(opened(11))
    breaks = ring.breaks

    ring.begin(HISTORY, 11)
    assert (kept(ring, 10), ring.breaks) == ([11], breaks)
    ring.begin(HISTORY, 20)
    assert (ring.has_after(11), ring.has_after(20), ring.breaks) == (False, True, breaks)
    ring.begin(HISTORY, 15)
    assert (ring.breaks, ring.last_break) == (breaks + 1, "rolled_back")
    ring.begin(OTHER, 15)
    assert (ring.breaks, ring.last_break) == (breaks + 2, "other_history")


# --- pages ------------------------------------------------------------------------------------------------------------


async def test_events_are_read_a_page_at_a_time(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """Following `next_since` shows each once, in order, as the protocol has it."""
    happen(source, 7)
    seen: list[int] = []
    since, newest = 0, 1
    while since < newest:
        body = await ask(browser, "/events", since=since, limit=3)
        assert body["events"][0]["type"] == "session_opened"
        seen += [event["revision"] for event in body["events"]]
        since, newest = body["next_since"], body["revision"]
    assert seen == list(range(1, 8))
    assert source.asked == [], "they are in memory"


async def test_without_a_position_it_is_the_newest(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """As many as wanted; what is there is all if there is less."""
    assert (await ask(browser, "/events"))["events"] == []
    happen(source, 7)
    body = await ask(browser, "/events", limit=2)
    assert ([event["revision"] for event in body["events"]], body["next_since"]) == ([6, 7], 7)
    assert len((await ask(browser, "/events"))["events"]) == 7


async def test_older_events_come_from_the_store() -> None:
    """What the ring has let go of."""
    source = SceneSource(ring_kept=2)
    happen(source, 7)
    async with asking(source) as reader:
        body = await ask(reader, "/events", since=1, limit=3, history_id=HISTORY)
        assert [event["revision"] for event in body["events"]] == [2, 3, 4]
        assert (body["next_since"], body["revision"]) == (4, 7)
    assert source.asked == [ReadEvents(since=1, limit=3)]


async def test_a_position_that_is_none_is_a_problem(
    source: SceneSource, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the future, of another history, or no longer kept."""
    happen(source, 3)
    assert "newest" in assert_problem(await browser.get("/events?since=4"), 422, "invalid_request")["detail"]
    gone = assert_problem(await browser.get(f"/events?since=1&history_id={OTHER}"), 410, "revision_compacted")
    assert OTHER in gone["detail"]

    source.ring.begin(HISTORY, 20)
    monkeypatch.setattr(OldEvents, "read", compacted)
    assert assert_problem(await browser.get("/events?since=1"), 410, "revision_compacted")["revision"] == 2


async def test_events_of_a_broker_that_is_away(source: SceneSource, browser: httpx.AsyncClient) -> None:
    """503, or on request what is in memory, marked as what was known."""
    happen(source, 3)
    source.is_away = True
    assert_problem(await browser.get("/events"), 503, "broker_unavailable")
    body = await ask(browser, "/events", stale="true")
    assert (body["connected"], body["as_of_ms"], len(body["events"])) == (False, HEARD_MS, 3)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/events?since=-1", "since"),
        ("/events?since=x", "since"),
        (f"/events?since={2**63}", "since"),
        ("/events?limit=1001", "limit"),
        ("/events?after=1", "after"),
    ],
)
async def test_a_wrong_parameter_is_named(browser: httpx.AsyncClient, path: str, named: str) -> None:
    """No revision, out of its range, or a name that does nothing here."""
    assert named in assert_problem(await browser.get(path), 422, "invalid_request")["detail"]
    answer = await browser.get(path, headers={"accept": "text/event-stream"})
    assert named in assert_problem(answer, 422, "invalid_request")["detail"]


# --- the stream -------------------------------------------------------------------------------------------------------


async def test_events_come_as_they_happen(source: SceneSource) -> None:
    """From now on, each with its position; the first thing said is where the reader is."""
    happen(source, 2)
    async with watching(application(source), "/events") as watcher:
        assert watcher.headers["content-type"].startswith("text/event-stream")
        assert (watcher.headers["cache-control"], "content-length" in watcher.headers) == ("no-store", False)
        assert (await watcher.block())["id"] == f"{HISTORY}:2"
        happen(source, 3)
        assert await revisions(watcher, 1) == [3]
        happen(source, 5)
        assert await revisions(watcher, 2) == [4, 5]


@pytest.mark.parametrize("ring_kept", [2, 10_000])
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("since=1", {}),
        (f"since=1&history_id={HISTORY}", {}),
        ("", {"last-event-id": f"{HISTORY}:1"}),
        ("since=5", {"last-event-id": f"{HISTORY}:1"}),
    ],
)
async def test_a_reader_goes_on_where_he_was(query: str, headers: dict[str, str], ring_kept: int) -> None:
    """Without a gap, from memory and from the store; what a browser sends when it connects again counts most."""
    source = SceneSource(ring_kept=ring_kept)
    happen(source, 7)
    async with watching(application(source), "/events", query, headers=headers) as watcher:
        assert await revisions(watcher, 6) == [2, 3, 4, 5, 6, 7]
        happen(source, 9)
        assert await revisions(watcher, 2) == [8, 9]
    assert bool(source.asked) is (ring_kept == 2)


async def test_a_reader_who_falls_behind_is_served_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring has gone on without him: he lacks nothing, and nobody kept it for him meanwhile."""
    monkeypatch.setattr(events, "_CHUNK_EVENTS", 2)
    source = SceneSource(ring_kept=3)
    stream = source.events.follow(HISTORY, 0)
    said = await anext(stream)
    happen(source, 10)
    async for chunk in stream:
        said += chunk
        if said.count(b"data: ") == 10:
            break
    await stream.aclose()

    assert [json.loads(line[6:])["revision"] for line in said.split(b"\n") if line.startswith(b"data: ")] == [
        *range(1, 11)
    ]
    assert source.asked == [ReadEvents(since=since, limit=2) for since in (0, 2, 4, 6)]


def restarted(block: dict[str, str]) -> dict[str, Any]:
    """What a break says."""
    assert block["event"] == "restarted"
    told: dict[str, Any] = json.loads(block["data"])
    assert block["id"] == f"{told['history_id']}:{told['revision']}"
    return told


async def test_another_history_is_said(source: SceneSource) -> None:
    """To whoever comes with a position of the old one, and to whoever is there when it happens; then it goes on."""
    happen(source, 3)
    app = application(source)
    async with watching(app, "/events", headers={"last-event-id": f"{OTHER}:2"}) as watcher:
        told = restarted((await watcher.until("restarted"))[-1])
        assert told == {
            "reason": "other_history",
            "history_id": HISTORY,
            "revision": 3,
            "last_history_id": OTHER,
            "last_revision": 2,
        }
        happen(source, 4)
        assert await revisions(watcher, 1) == [4]
        source.begin(OTHER)
        told = restarted((await watcher.until("restarted"))[-1])
        assert (told["reason"], told["history_id"], told["last_revision"]) == ("other_history", OTHER, 4)


async def test_a_store_that_was_rolled_back_is_said(source: SceneSource) -> None:
    """To whoever has seen what it lacks, also if it has grown beyond that by the time he looks."""
    happen(source, 3)
    app = application(source)
    async with watching(app, "/events", "since=9") as watcher:
        assert restarted((await watcher.until("restarted"))[-1])["reason"] == "rolled_back"
        source.ring.begin(HISTORY, 1)
        for event in source.scene.events[1:]:
            source.ring.append(event)
        assert restarted((await watcher.until("restarted"))[-1])["reason"] == "rolled_back"


async def test_events_that_are_gone_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store does not keep them any more."""
    source = SceneSource(ring_kept=2)
    happen(source, 7)

    monkeypatch.setattr(OldEvents, "read", compacted)
    async with watching(application(source), "/events", "since=1") as watcher:
        told = restarted((await watcher.until("restarted"))[-1])
        assert (told["reason"], told["revision"], told["last_revision"]) == ("compacted", 7, 1)
        happen(source, 8)
        assert await revisions(watcher, 1) == [8]


async def test_a_store_that_cannot_be_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream stays open meanwhile, and nothing is passed over."""
    monkeypatch.setattr(events, "_RETRY_S", 0.001)
    source = SceneSource(ring_kept=2)
    happen(source, 7)
    source.is_away = True
    async with watching(application(source), "/events", "since=1") as watcher:
        assert (await watcher.block())["id"] == f"{HISTORY}:1"
        source.is_away = False
        assert await revisions(watcher, 6) == [2, 3, 4, 5, 6, 7]


async def test_a_stream_that_has_nothing_to_say_says_so(source: SceneSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment, which no reader takes for an event."""
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.001)
    async with watching(application(source), "/events") as watcher:
        await watcher.block()
        assert await watcher.block() == {}


async def test_there_are_only_so_many_streams(source: SceneSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond them it is 503 until one has ended."""
    monkeypatch.setattr(sse, "STREAMS_MAX", 2)
    app = application(source)
    async with asking(source) as browser, watching(app, "/events"):
        async with watching(app, "/resources"):
            for path in ("/events", "/resources"):
                answer = await browser.get(path, headers={"accept": "text/event-stream"})
                assert_problem(answer, 503, "overloaded")
                assert answer.headers["retry-after"] == "1"
            assert source.streams.count == 2
        assert source.streams.count == 1
    assert source.streams.count == 0


async def test_streams_end_when_they_are_told_to(source: SceneSource) -> None:
    """Whoever waits is woken, so that the server can end at once."""
    app = application(source)
    async with watching(app, "/events"), watching(app, "/resources") as rows:
        await rows.until("live")
        source.streams.close()
    assert source.streams.count == 0


@pytest.mark.parametrize(
    "last", ["", "5", "x:", ":5", f"{HISTORY}:-1", f"{HISTORY}:x", f"{HISTORY}:²", f"{HISTORY}:{2**63}"]
)
async def test_a_last_event_id_that_is_none_is_refused(source: SceneSource, last: str) -> None:
    """Whoever made it up would lack events in silence."""
    async with asking(source) as browser:
        headers = {"accept": "text/event-stream", "last-event-id": last.encode()}
        answer = await browser.get("/events", headers=headers)  # type: ignore[arg-type]
        assert "Last-Event-ID" in assert_problem(answer, 422, "invalid_request")["detail"]


async def test_a_stream_needs_a_history(source: SceneSource) -> None:
    """Before the broker was heard for the first time there is nothing to begin with."""
    source.ring = EventRing()
    async with asking(source) as browser:
        answer = await browser.get("/events", headers={"accept": "text/event-stream"})
        assert_problem(answer, 503, "broker_unavailable")


@pytest.mark.parametrize(
    ("accept", "is_stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream;q=0.9, */*", True),
        ("application/json, text/event-stream", True),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_a_stream_is_what_asks_for_one_by_name(accept: str, is_stream: bool) -> None:
    """Everybody else gets a page."""
    assert sse.is_wanted(accept) is is_stream
