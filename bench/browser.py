"""What somebody at the page waits for, in a real Chromium: until it is there, and until it says what is new."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, cast

from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import Error as BrowserError

from bench.processes import ProcessFailedError

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The Chromium of this system; None if there is none."""
FLAGS: Final = (
    "--no-sandbox",  # it may be run as root, and shows nobody else's pages
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_IS_THERE: Final = """text =>
    document.getElementById("connection").textContent.trim() === "Live"
    && document.getElementById("count").textContent === text
    && performance.now()"""
_NOTE_CHANGES: Final = """() => {
    window.changes = {};
    const body = document.querySelector("#resources tbody");
    const note = () => {
        const name = body.querySelector("tr td")?.textContent.split("/").pop().trim();
        if (name) window.changes[name] ??= performance.timeOrigin + performance.now();
    };
    new MutationObserver(note).observe(body, { childList: true, subtree: true, characterData: true });
}"""
_CHANGED: Final = "name => window.changes[name]"
_FORGET: Final = "name => { delete window.changes[name]; }"
_NS_PER_MS: Final = 1_000_000


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """The Chromium of this system, without a window.

    Raises:
        ProcessFailedError: There is none, or the page in it never came to what the block waited for.
    """
    if CHROMIUM is None:
        raise ProcessFailedError("no Chromium is installed, which the page is looked at with: apt install chromium")
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            yield browser
            await browser.close()
    except BrowserError as error:
        raise ProcessFailedError(f"the page did not come to what was waited for: {error}") from error


async def load_ns(browser: Browser, url: str, resources: int) -> int:
    """Open the page with nothing kept of it: nanoseconds from the navigation until it is live and counts them all."""
    context = await browser.new_context()
    page = await context.new_page()
    taken_ms = await _open(page, url, resources)
    await context.close()
    return round(taken_ms * _NS_PER_MS)


class Watch:
    """A page that shows one resource alone, and when it came to say whom it is held by."""

    def __init__(self, page: Page) -> None:
        self._page = page

    @classmethod
    async def open(cls, browser: Browser, url: str, resources: int, resource_id: str) -> Watch:
        """Open the page, search for the resource, and note from now on what its row says."""
        page = await browser.new_page()
        await _open(page, url, resources)
        await page.get_by_label("Search").fill(resource_id)
        await page.wait_for_function("document.querySelectorAll('#resources tbody tr').length === 1")
        await page.evaluate(_NOTE_CHANGES)
        return cls(page)

    async def expect(self, instance_id: str) -> None:
        """Forget that the row has named this instance before."""
        await self._page.evaluate(_FORGET, instance_id)

    async def named_ns(self, instance_id: str) -> int:
        """Wait until the row names this instance: when it first did so, in nanoseconds of CLOCK_REALTIME."""
        await self._page.wait_for_function(_CHANGED, arg=instance_id)
        at_ms = cast("float", await self._page.evaluate(_CHANGED, instance_id))
        return round(at_ms * _NS_PER_MS)


async def _open(page: Page, url: str, resources: int) -> float:
    await page.goto(url)
    there = await page.wait_for_function(_IS_THERE, arg=f"{resources:,} resources")
    return cast("float", await there.json_value())
