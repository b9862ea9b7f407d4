"""Things that are done side by side, until the first of them is done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def first_of[T](*works: Coroutine[None, None, T]) -> T:
    """Do all of them until one is done; what it returned or raised, after the others have been cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
