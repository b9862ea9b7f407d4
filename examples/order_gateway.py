"""A gateway of which exactly one may send orders for an account, with a hot spare.

Start it twice, then kill the one that sends with `kill -9`: the other one goes on within milliseconds.

    tenure serve
    python examples/order_gateway.py gw-1 account-42
    python examples/order_gateway.py gw-2 account-42

The exchange is the last line of defence: a process that was paused for long may wake up in the middle of a send, and no
lock can stop that. It remembers the greatest epoch it has seen and refuses orders under a smaller one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from functools import partial
from itertools import count

from tenure.sdk import ServiceClient, Tenure

ORDER_INTERVAL_MS = 100


class Exchange:
    """Where orders go; it fences off whoever came before."""

    def __init__(self) -> None:
        self.epoch = 0

    async def send(self, order: str, epoch: int) -> None:
        """Take an order, unless a newer tenure has been seen.

        Raises:
            PermissionError: The order is of a tenure that is over.
        """
        if epoch < self.epoch:
            raise PermissionError(f"epoch {epoch} is over, {self.epoch} is the newest")
        self.epoch = epoch
        print(f"sent {order} under epoch {epoch}", flush=True)


async def trade(exchange: Exchange, tenure: Tenure) -> None:
    """Send orders; runs only while this instance is active, and is cancelled before its lease would end."""
    print(f"active for {tenure.resource_id}, epoch {tenure.epoch}", flush=True)
    for number in count(1):
        order = f"order {number}"
        await exchange.send(order, tenure.ensure_active())  # RoleLostError, if the role is not held at this moment
        await asyncio.sleep(ORDER_INTERVAL_MS / 1_000)


async def main(instance_id: str, resource_id: str) -> None:
    """Stand by for the account, trade whenever active, and hand over on SIGTERM and Ctrl-C."""
    async with ServiceClient() as client:
        print(f"{instance_id} stands by for {resource_id}", flush=True)
        work = asyncio.ensure_future(
            client.run_as_active(
                "order-gateway", partial(trade, Exchange()), instance_id=instance_id, resource_id=resource_id
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work
    print(f"{instance_id} has handed over", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["gw-1", "account-42"])))
