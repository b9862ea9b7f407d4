"""What browser tests share: a real broker and a real admin, and Chromium to look at its page with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from bench.browser import CHROMIUM, FLAGS
from tests.browser.people import Person
from tests.integration.admins import admin_of
from tests.integration.brokers import BrokerHere
from tests.integration.conftest import broker, socket_directory

__all__ = ["broker", "socket_directory"]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """The Chromium of this system, without a window."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def url(broker: BrokerHere, tmp_path: Path) -> AsyncIterator[str]:
    """Where an admin shows the broker's page."""
    async with admin_of(broker.ipc, tmp_path) as client:
        yield str(client.base_url)


@pytest.fixture
async def person(chromium: Browser, url: str, tmp_path: Path) -> AsyncIterator[Person]:
    """Somebody who has opened the page, and whom no error of it escapes."""
    page: Page = await chromium.new_page()
    person = Person(page, url, (tmp_path / "admin.token").read_text().strip())
    await person.open()
    yield person
    assert person.errors == []
