"""One instance of the demo's service: while it is active it writes to the ledger, each line under its epoch.

The ledger stands for whatever must not be written to by two at once: an exchange, a robot, a file. Each line is
`<monotonic nanoseconds> <instance> <epoch>`, appended in one write. An instance that is asked to step down finishes the
few lines it has in hand first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from time import monotonic_ns

import structlog

from tenure.sdk import ServiceClient, Tenure

_PAUSE_MS = 2
_LINES_IN_HAND = 20
_LEASE_MS = 5_000  # longer than a broker takes to start again, also on a busy machine


async def _serve(endpoint: str, instance_id: str, ledger_path: str) -> None:
    ledger = os.open(ledger_path, os.O_WRONLY | os.O_APPEND)

    async def write(tenure: Tenure) -> None:
        while not tenure.is_asked_to_end:
            for _ in range(_LINES_IN_HAND):
                epoch = tenure.ensure_active()
                os.write(ledger, f"{monotonic_ns()} {instance_id} {epoch}\n".encode())
                await asyncio.sleep(_PAUSE_MS / 1_000)

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with ServiceClient(endpoint, lease_ms=_LEASE_MS) as client:
        await client.run_as_active("ledger-writer", write, instance_id=instance_id, resource_id="ledger")


def main() -> None:
    """Run until SIGTERM: `python -m tenure.cli.demo_worker ENDPOINT INSTANCE LEDGER`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    endpoint, instance_id, ledger_path = sys.argv[1:]
    try:
        asyncio.run(_serve(endpoint, instance_id, ledger_path))
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    main()
