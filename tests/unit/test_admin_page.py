"""The page's files as they are served: complete, from here alone, and open to who has no token yet."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest

from tests.unit.admin_stage import SceneSource, asking, assert_problem

FILES = sorted(file.name for file in (files("tenure.admin") / "page").iterdir())


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine."""
    async with asking(SceneSource()) as client:
        yield client


async def test_the_page_is_at_the_root(browser: httpx.AsyncClient) -> None:
    """With a policy by which it can load from here and ask here, and nothing else."""
    answer = await browser.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_all_that_the_page_names_is_served(browser: httpx.AsyncClient) -> None:
    """Every file that the page, or one of its modules, refers to is there, and there is none that nobody refers to."""
    named = {"index.html"}
    for name in FILES:
        body = (await browser.get(f"/page/{name}")).text
        named |= set(re.findall(r'(?:page/|from "\./)([a-z]+\.[a-z]+)"', body))
    assert sorted(named) == FILES


async def test_what_a_browser_has_is_not_sent_again(browser: httpx.AsyncClient) -> None:
    """It asks each time, so that an upgrade is seen at once."""
    first = await browser.get("/page/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await browser.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/nothing.js", "/page/..%2Fapp.py", "/page/%2e%2e%2fapp.py"])
async def test_nothing_else_is_served(browser: httpx.AsyncClient, path: str) -> None:
    """A name that is none of the page's is not found, wherever it points."""
    assert_problem(await browser.get(path), 404, "not_found")


async def test_the_page_needs_no_token_where_everything_else_does() -> None:
    """It has to be there to ask for one."""
    async with asking(SceneSource(), is_local_only=False) as stranger:
        assert (await stranger.get("/")).status_code == 200
        assert (await stranger.get("/page/app.js")).status_code == 200
        assert (await stranger.get("/resources")).status_code == 401
