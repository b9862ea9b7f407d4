"""`python -m bench.contender ENDPOINT INSTANCE LEASE_MS BELIEF`: stands by, and says when it is active.

It says `ready` when it stands by, `active <ns> <epoch>` when `wait_active()` has returned, and `over` when it finds
that it is not active any more; SIGUSR1 makes it resign, and say `resigned <ns>` with the time just before; when it is
asked to step down it resigns at once. All times are those of CLOCK_BOOTTIME. While it is active it keeps its own
deadline, and the newest moment at which it believed in its role, in the file BELIEF, where they outlive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import signal
import struct
import sys
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import Final, NamedTuple

import structlog

from tenure.sdk import RoleLostError, ServiceClient, Tenure

RESOURCE: Final = "role"
_LOOK_AGAIN_MS: Final = 2
_BELIEF: Final = struct.Struct("<qq")


class Belief(NamedTuple):
    """Until when a holder believes in its role at most, and when it last did; 0 if it never was active."""

    until_ns: int
    at_ns: int

    @classmethod
    def read(cls, path: Path) -> Belief:
        """What a process, dead or alive, has written last."""
        return cls(*_BELIEF.unpack(path.read_bytes()))

    @staticmethod
    def prepare(path: Path) -> None:
        """Make the file before its writer starts."""
        path.write_bytes(_BELIEF.pack(0, 0))


def now_ns() -> int:
    """The clock that all processes of a machine share, and that a lease is counted on."""
    return clock_gettime_ns(CLOCK_BOOTTIME)


async def _contend(endpoint: str, instance_id: str, lease_ms: int, belief: mmap.mmap) -> None:
    async with ServiceClient(endpoint, lease_ms=lease_ms) as client:
        registration = await client.register(
            "bench", instance_id=instance_id, resource_id=RESOURCE, role="active", on_conflict="standby"
        )
        print("ready", flush=True)
        tenure = await registration.wait_active()
        print(f"active {now_ns()} {tenure.epoch}", flush=True)
        to_resign = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, to_resign.set)
        resigning = asyncio.create_task(_resign_when(to_resign, tenure))
        stepping_down = asyncio.create_task(_step_down_when_asked(tenure))
        await _believe(tenure, belief)
        print("over", flush=True)
        await asyncio.gather(resigning, stepping_down)  # or until this process is killed


async def _resign_when(to_resign: asyncio.Event, tenure: Tenure) -> None:
    await to_resign.wait()
    began_ns = now_ns()
    await tenure.registration.resign()
    print(f"resigned {began_ns}", flush=True)


async def _step_down_when_asked(tenure: Tenure) -> None:
    with contextlib.suppress(RoleLostError):
        await tenure.wait_asked_to_end()
        await tenure.registration.resign()


async def _believe(tenure: Tenure, belief: mmap.mmap) -> None:
    while True:
        boottime_ms = tenure.registration.standing.valid_until.boottime_ms
        at_ns = now_ns()
        if not tenure.is_active:
            return
        belief[:] = _BELIEF.pack(int(boottime_ms * 1e6), at_ns)
        await asyncio.sleep(_LOOK_AGAIN_MS / 1_000)


def main() -> None:
    """Contend until killed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    endpoint, instance_id, lease_ms, path = sys.argv[1:]
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), _BELIEF.size) as belief:
        asyncio.run(_contend(endpoint, instance_id, int(lease_ms), belief))


if __name__ == "__main__":
    main()
