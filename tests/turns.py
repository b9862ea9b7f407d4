"""Turns of the event loop, for tests in which what has been started is to get as far as it can without anybody else."""

from __future__ import annotations

import asyncio


async def turns(count: int = 1) -> None:
    """Let the event loop go round so many times: in each of them everything that is ready runs once."""
    for _ in range(count):
        await asyncio.sleep(0)
