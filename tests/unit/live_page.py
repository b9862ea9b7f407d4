"""A page that shows the live table, as the admin's own does it, for tests of what it is sent."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from tests.unit.admin_stage import HEARD_MS, PATIENCE_S, SceneSource, Watching, application, watching
from tests.unit.scene import Scene


class Page:
    """What a page makes of the stream, as the admin's own does it."""

    def __init__(self, watcher: Watching) -> None:
        self._watcher = watcher
        self._fresh: dict[str, Any] = {}
        self.rows: dict[str, Any] = {}
        self.state = "connecting"
        self.told: list[str] = []
        """The kinds of messages that came."""

    async def read(self) -> None:
        """Take in one message."""
        block = await self._watcher.block()
        event = block.get("event", "")
        self.told.append(event)
        data = json.loads(block.get("data", "{}"))
        match event:
            case "snapshot":
                self._fresh |= {row["resource_id"]: row for row in data["rows"]}
            case "live":
                self.rows, self._fresh = self._fresh, {}
                self.state = "away" if self.state == "away" else "live"
            case "rows":
                self.rows |= {row["resource_id"]: row for row in data["rows"]}
            case "gone":
                for resource_id in data["resource_ids"]:
                    del self.rows[resource_id]
            case "away":
                assert data["heard_ms"] == HEARD_MS
                self.state = "away"
            case "back":
                self.state = "live"
            case _:
                assert not block, "a comment has no fields"

    async def until(self, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Read until the rows are as wanted."""
        while not fits(self.rows):
            await self.read()

    async def until_state(self, state: str) -> None:
        """Read until the rows may be taken for live, or may not."""
        while self.state != state:
            await self.read()

    async def until_live(self) -> None:
        """Read until all rows are there."""
        await self.until_state("live")


def who(row: Mapping[str, Any]) -> str:
    """A row in a word: `a | b c`."""
    standbys = " ".join(standby["instance_id"] for standby in row["standbys"])
    return f"{'-' if row['active'] is None else row['active']['instance_id']} | {standbys}".rstrip()


@contextlib.asynccontextmanager
async def live_page(source: SceneSource) -> AsyncGenerator[Page]:
    """A page that has all rows."""
    async with watching(application(source), "/resources") as watcher:
        page = Page(watcher)
        await page.until_live()
        yield page


async def settled(source: SceneSource, condition: Callable[[], bool]) -> None:
    """Wait until the table has come so far; its bell rings with each step."""
    while not condition():
        assert await source.table.bell.wait(PATIENCE_S), "waited in vain"


def tenure_of(scene: Scene, client: Any) -> Any:
    """The tenure that somebody was given by succession."""
    active = scene.resource("r").active
    assert active is not None
    assert active.instance_id == client.name
    return active
