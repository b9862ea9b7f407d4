"""`python -m bench.worker ENDPOINT INSTANCE QUEUE ITEM_MS LEASE_MS`: works on items of a queue while it is active.

When it is asked to step down it finishes the item it has in hand and takes no other. QUEUE is the path of a socket that
answers `take EPOCH NS` with an item, 0 if another tenure has begun, and `done EPOCH ITEM NS` with `ok` or `late`; each
question and its answer begin with a number. At its end it says how many items were acknowledged to it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import sys
from typing import Final

import structlog

from bench.contender import now_ns
from tenure.sdk import ServiceClient, Tenure

RESOURCE: Final = "queue"


async def _serve(endpoint: str, instance_id: str, queue: str, item_ms: float, lease_ms: int) -> None:
    reader, writer = await asyncio.open_unix_connection(queue)
    writer.write(f"{instance_id}\n".encode())

    numbers = itertools.count(1)

    async def ask(*words: object) -> str:
        number = next(numbers)
        writer.write((" ".join(map(str, (number, *words))) + "\n").encode())
        while True:  # an answer that was not waited for, because the work was cancelled, comes before ours
            answered, answer = (await reader.readline()).decode().split()
            if int(answered) == number:
                return answer

    acknowledged = 0

    async def work(tenure: Tenure) -> None:
        nonlocal acknowledged
        while not tenure.is_asked_to_end:
            at_ns = now_ns()  # before the look: at that moment the role was held
            item = await ask("take", tenure.ensure_active(), at_ns)
            await asyncio.sleep(item_ms / 1_000)
            at_ns = now_ns()
            acknowledged += await ask("done", tenure.ensure_active(), item, at_ns) == "ok"

    task = asyncio.current_task()
    assert task is not None, "it is run in one"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with ServiceClient(endpoint, lease_ms=lease_ms) as client:
            await client.run_as_active("bench", work, instance_id=instance_id, resource_id=RESOURCE)
    finally:
        print(f"acknowledged {acknowledged}", flush=True)


def main() -> None:
    """Work until SIGTERM."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    endpoint, instance_id, queue, item_ms, lease_ms = sys.argv[1:]
    try:
        asyncio.run(_serve(endpoint, instance_id, queue, float(item_ms), int(lease_ms)))
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    main()
