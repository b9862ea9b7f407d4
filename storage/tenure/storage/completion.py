"""Waiting for work that goes on whether or not somebody waits, such as a statement on the database's thread.

A cancelled `await` does not stop such work; it would only lose its outcome. So the work is waited for to its end first,
and the cancellation takes effect after it.
"""

from __future__ import annotations

import asyncio


async def to_its_end[T](work: asyncio.Future[T]) -> T:
    """The outcome of the work, which is neither cancelled nor abandoned.

    Raises:
        asyncio.CancelledError: The caller was cancelled meanwhile; the work has ended by now.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        work.exception()  # Seen by whoever did the work; the caller asked not to hear of it.
        raise cancelled
    return work.result()
