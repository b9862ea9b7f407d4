"""Everything at once: faults chosen by chance from a seed, one after the other and into one another.

The seed fixes which faults come in which order and for how long; how they meet the processes' own timing is the
machine's. Whatever happens, somebody is always left to work, so that the end can be checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from tests.chaos.ledger import now_ns
from tests.chaos.processes import Child
from tests.chaos.proxy import Proxy
from tests.chaos.stage import LEASE_MS, Stage

_LOCAL: Final = 3
_REMOTE: Final = 2
_PAUSE_MS_MAX: Final = 400
_FAULT_MS_MAX: Final = 2 * LEASE_MS
_AIMED_SHARE: Final = 0.6


async def storm(stage: Stage) -> None:
    """Kills, stops, blocked loops, hogs, bad links and a dying broker, at random, with five workers at work."""
    await _Storm(stage).blow(stage.storm_ms)


class _Storm:
    """One of them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._random = stage.random
        self._links: dict[str, Proxy] = {}
        self._told: list[str] = []

    async def blow(self, for_ms: int) -> None:
        """Do one thing after the other for so long."""
        stage = self._stage
        await stage.open(_LOCAL)
        for _ in range(_REMOTE):
            await self._add_remote()
        faults: dict[Callable[[], Awaitable[None]], int] = {
            self._kill_worker: 4,
            self._stop_worker: 4,
            self._leave: 2,
            self._disturb_worker: 4,
            self._disturb_link: 5,
            self._kill_broker: 2,
            self._stop_broker: 1,
        }
        ends_ns = now_ns() + for_ms * 1_000_000
        while now_ns() < ends_ns:
            (fault,) = self._random.choices([*faults], [*faults.values()])
            await fault()
            await stage.watch(self._random.uniform(0, _PAUSE_MS_MAX))
        stage.notes.append(f"{len(self._told)} faults: {' '.join(self._told)}")

    async def _add_remote(self) -> None:
        link = await self._stage.link()
        worker = await self._stage.add_worker(link)
        self._links[worker.name] = link

    def _tell(self, what: str) -> None:
        self._told.append(what)

    def _some_worker(self) -> Child:
        """The one at work more often than not: that is where it hurts."""
        is_active, which = self._random.random() < _AIMED_SHARE, self._random.random()
        newest = self._stage.ledger.newest
        if is_active and newest is not None and self._stage.worker_of(newest).is_running:
            return self._stage.worker_of(newest)
        return self._stage.workers[int(which * len(self._stage.workers))]

    async def _replace(self, worker: Child) -> None:
        """Have as many as before."""
        if worker.name in self._links:
            await self._add_remote()
        else:
            await self._stage.add_worker()

    async def _kill_worker(self) -> None:
        worker = self._some_worker()
        self._tell(f"kill:{worker.name}")
        await worker.kill()
        await self._replace(worker)

    async def _leave(self) -> None:
        worker = self._some_worker()
        self._tell(f"leave:{worker.name}")
        await worker.leave()
        await self._replace(worker)

    async def _stop_worker(self) -> None:
        worker = self._some_worker()
        for_ms = self._random.uniform(10, _FAULT_MS_MAX)
        self._tell(f"stop:{worker.name}:{for_ms:.0f}")
        await worker.stop()
        await self._stage.watch(for_ms)
        worker.go_on()

    async def _disturb_worker(self) -> None:
        worker = self._some_worker()
        fault, for_ms = self._random.choice(("block", "hog")), self._random.randrange(10, _FAULT_MS_MAX)
        self._tell(f"{fault}:{worker.name}:{for_ms}")
        worker.tell(f"{fault} {for_ms}")

    async def _disturb_link(self) -> None:
        which = self._random.random()
        remote = [worker.name for worker in self._stage.workers if worker.name in self._links]
        name = remote[int(which * len(remote))]
        link = self._links[name]
        direction = self._random.choice(link.directions)
        fault = self._random.choice(("delay", "hold", "drop", "cut", "heal"))
        self._tell(f"{fault}:{name}")
        match fault:
            case "delay":
                direction.delay_ms = self._random.uniform(1, LEASE_MS / 2)
            case "hold":
                direction.hold()
            case "drop":
                direction.drop()
            case "cut":
                link.cut()
            case _:
                link.heal()

    async def _kill_broker(self) -> None:
        for_ms = self._random.uniform(0, LEASE_MS)
        self._tell(f"kill:broker:{for_ms:.0f}")
        await self._stage.broker.kill()
        await self._stage.watch(for_ms)
        await self._stage.broker.serve()

    async def _stop_broker(self) -> None:
        for_ms = self._random.uniform(10, _FAULT_MS_MAX)
        self._tell(f"stop:broker:{for_ms:.0f}")
        await self._stage.broker.stop()
        await self._stage.watch(for_ms)
        self._stage.broker.go_on()
