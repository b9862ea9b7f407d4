"""Waiting for work that goes on whether or not somebody waits, such as a statement on the database's thread.

A cancelled `await` does not stop such work; it would only lose its outcome. So the work is waited for to its end first,
and the cancellation takes effect after it.
"""

from __future__ import annotations

import asyncio
from functools import partial


async def to_its_end[T](work: asyncio.Future[T]) -> T:
    """The outcome of the work, which is neither cancelled nor abandoned.

    Raises:
        asyncio.CancelledError: The caller was cancelled meanwhile; the work has ended by now.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        ended = work.get_loop().create_future()
        work.add_done_callback(partial(_tell, ended))
        try:
            await ended
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        work.exception()  # Seen by whoever did the work; the caller asked not to hear of it.
        raise cancelled
    return work.result()


def _tell(ended: asyncio.Future[None], _: object) -> None:
    if not ended.done():
        ended.set_result(None)
