"""Admins for tests: in the test's own process, beside a broker that is there, and as commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx

from tenure.admin.main import Options, run_admin
from tests.integration.brokers import PATIENCE_S
from tests.integration.serving import Command, endpoint_in

READY = "admin.ready"


async def base_url(admin: Command) -> str:
    """Where an admin answers; it says so when it does."""
    line: dict[str, Any] = json.loads(await admin.line(READY))
    url: str = line["url"]
    return url.removesuffix("/")


def alone(directory: Path) -> tuple[str, ...]:
    """How an admin is started that keeps its token in a directory and follows the broker there, if there is one."""
    return ("--bind", "127.0.0.1:0", "--state", str(directory), "--endpoint", endpoint_in(directory))


def browser_of(url: str) -> httpx.AsyncClient:
    """Somebody who asks and is patient."""
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_S)


@contextlib.asynccontextmanager
async def admin_of(endpoint: str, state: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """An admin in this process that follows the broker at an endpoint, and somebody who asks it."""
    options = Options(bind="127.0.0.1:0", endpoints=(endpoint,), state=state)
    told = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    admin = asyncio.ensure_future(run_admin(options, told=told, on_ready=ready.set_result))
    try:
        async with asyncio.timeout(PATIENCE_S):
            url = await ready
        async with browser_of(url.removesuffix("/")) as browser:
            yield browser
    finally:
        told.set()
        await admin
