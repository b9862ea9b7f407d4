"""The broker is killed and started again: how long until it answers, and what that costs whoever is active.

One process holds a role all the while; a client asks for something the moment the broker is gone, and goes on asking as
the SDK does. A broker that was away for less than what was left of the holder's lease must not have cost it its role.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Final

from bench import processes
from bench.contender import Belief, now_ns
from bench.latencies import Latencies, Summary
from bench.place import Place
from bench.processes import ProcessFailedError, Serving
from bench.talking import Talking
from tenure.contract.limits import CLOCK_DRIFT_PPM, heartbeat_interval_ms
from tenure.sdk import ServiceClient

_CLIENT_LEASE_MS: Final = 600_000  # of the client that asks: its own session is not what is measured
_PATIENCE_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.01
_SETTLE_S: Final = 0.5


class Outages:
    """What the restarts of a broker came to."""

    def __init__(self, lease_ms: int) -> None:
        self._lease_ms = lease_ms
        self._least_left_ms = lease_ms * (1 - CLOCK_DRIFT_PPM / 1e6) - heartbeat_interval_ms(lease_ms)
        """What is left of a holder's lease at any time, as long as its heartbeats are answered."""
        self._taken_ns = array("q")
        self._lost = 0
        self.violations: list[str] = []
        """Roles that were lost in an outage that was too short for it."""

    def measure(self, place: Place, restarts: int) -> None:
        """Kill a broker so many times, and start it again.

        Raises:
            ProcessFailedError: A process did not start, or the holder was not active again in time.
            TenureError: The client was not answered at all.
            OSError: Nothing can be written.
        """
        with processes.serving(place) as broker:
            asyncio.run(self._measure(place, broker, restarts))

    async def _measure(self, place: Place, broker: Serving, restarts: int) -> None:
        numbers = count()
        belief = place.data / "belief"
        async with ServiceClient(broker.endpoint, lease_ms=_CLIENT_LEASE_MS, timeout_ms=_PATIENCE_S * 1_000) as client:
            holder = self._holder(broker, belief)
            try:
                for _ in range(restarts):
                    await asyncio.sleep(_SETTLE_S)
                    killed_ns = now_ns()
                    broker.kill()
                    starting = asyncio.create_task(asyncio.to_thread(broker.start))
                    resource_id = f"probe-{next(numbers)}"
                    await client.register("bench", instance_id="probe", resource_id=resource_id, role="active")
                    answered_ns = now_ns()
                    await starting
                    if not self.note(answered_ns - killed_ns, is_held=await _is_held(belief, answered_ns)):
                        holder.close()
                        holder = self._holder(broker, belief)
            finally:
                holder.close()

    def note(self, taken_ns: int, *, is_held: bool) -> bool:
        """Take in one outage, and whether the role was held through it, which is returned."""
        self._taken_ns.append(taken_ns)
        if not is_held:
            self._lost += 1
            taken_ms = taken_ns / 1e6
            if taken_ms < self._least_left_ms:
                self.violations.append(
                    f"restart {len(self._taken_ns)}: the holder lost its role although the broker was away for "
                    f"{taken_ms:.0f} ms, and it had {self._least_left_ms:.0f} ms left"
                )
        return is_held

    def summaries(self) -> list[Summary]:
        """How long until the broker answered again; nothing if it was never ended."""
        if not self._taken_ns:
            return []
        latencies = Latencies("broker-restart, until it answers")
        latencies.add_round(self._taken_ns, sum(self._taken_ns))
        return [latencies.summary()]

    @property
    def ratios(self) -> dict[str, float]:
        """How many holders lost their role in an outage as long as that; nothing if there was none."""
        if not self._taken_ns:
            return {}
        return {f"roles lost in {len(self._taken_ns)} restarts of the broker": self._lost}

    def _holder(self, broker: Serving, belief: Path) -> Talking:
        Belief.prepare(belief)
        arguments = [broker.endpoint, f"holder-{now_ns()}", str(self._lease_ms), str(belief)]
        holder = Talking([sys.executable, "-m", "bench.contender", *arguments])
        try:
            holder.words("active")
        except ProcessFailedError:
            holder.close()
            raise
        return holder


async def _is_held(belief: Path, since_ns: int) -> bool:
    """Whether the holder believes in its role still; it looks every few milliseconds."""
    ends_at = monotonic() + _PATIENCE_S
    while monotonic() < ends_at:
        until_ns, at_ns = Belief.read(belief)
        if at_ns >= since_ns:
            return True
        if until_ns < now_ns():
            return False
        await asyncio.sleep(_LOOK_AGAIN_S)
    raise ProcessFailedError("the holder of the role has stopped looking at it")
