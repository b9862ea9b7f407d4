"""`python -m bench.peers.listener PEER ADDRESS`: follows a peer's claims until it is ended.

It says `ready` once it follows; then, of each resource whose name begins with `TIMED`, its name and when it heard of
it, on the clock that all processes of a machine share. Of all others it says nothing, so that following them costs what
following costs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import suppress
from time import monotonic_ns
from typing import Final

import structlog
import uvloop

from bench.peers.catalogue import peer_named

READY: Final = "ready"
TIMED: Final = "timed"


async def _follow(peer_name: str, address: str) -> None:
    def heard(resource_id: str) -> None:
        at_ns = monotonic_ns()
        if resource_id.startswith(TIMED):
            print(resource_id, at_ns, flush=True)

    following = asyncio.ensure_future(peer_named(peer_name).listen(address, lambda: print(READY, flush=True), heard))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, following.cancel)
    with suppress(asyncio.CancelledError):
        await following


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(_follow(*sys.argv[1:]))
