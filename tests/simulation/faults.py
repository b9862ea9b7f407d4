"""What goes wrong, and what applications do meanwhile: at random moments, each kind in some of the runs only.

A run draws which kinds it has, so that some runs are full of one thing and free of another. Whatever begins ends by
itself after a time that lies around a lease, because that is where things break.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from tenure.contract import codec
from tenure.contract.interventions import ExpireSession, Switchover
from tenure.contract.messages import BrokerMessage
from tenure.contract.vocabulary import Channel, ServiceStatus
from tenure.sdk.session import Phase
from tenure.sdk.stream import RestartReason
from tests.simulation.client import Client
from tests.simulation.disk import Disk
from tests.simulation.host import STORE_MS, BrokerHost, CrashPoint
from tests.simulation.interventions import Interventions
from tests.simulation.network import Link, Weather
from tests.simulation.violation import Violation
from tests.simulation.world import World

_WARM_LEASES: Final = 0.7
_GAP_LEASES: Final = 0.12
"""How long on average until something else happens, in leases."""
_SET_BACK_LEASES: Final = 30
"""How far the time of day is set back, for good, when the broker's clock is slewed: well beyond any pause."""
_STATUSES: Final = (ServiceStatus.HEALTHY, ServiceStatus.HEALTHY, ServiceStatus.DEGRADED, ServiceStatus.UNHEALTHY)


class Faults:
    """The faults of one run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        people = Interventions(world)
        kinds: dict[str, Callable[[], None]] = {
            "network": self._network_is_bad,
            "partition": self._partition,
            "cut": self._cut,
            "pause": self._pause,
            "clocks": self._clocks,
            "death": self._death,
            "crash": self._crash,
            "disk": self._disk,
            "store": self._store,
            "register": self._register,
            "resign": self._resign,
            "overtake": self._overtake,
            "leave": self._leave,
            "switchover": people.switchover,
            "hasty switchover": self._hasty_switchover,
            "changes of roles": people.change_roles,
            "pauses of resources": people.pause_or_resume,
            "status": self._status,
            "listener": self._listener,
        }
        self.kinds = [kind for kind in kinds.values() if self.chance.random() < 0.55] or [self._crash]
        self._is_over = False
        self._is_old_copy = False

    def run(self, leases: float) -> None:
        """Warm up, then let faults happen for so many leases, then let all of them end."""
        world = self.world
        world.run_until(_WARM_LEASES * self.chance.random() * world.lease_ms_max)
        until_ms = world.timeline.now_ms + leases * world.lease_ms_max
        while world.timeline.now_ms < until_ms:
            self.chance.choice(self.kinds)()
            gap_ms = self.chance.expovariate(1 / (_GAP_LEASES * world.lease_ms_max))
            world.run_until(min(until_ms, world.timeline.now_ms + gap_ms))
        self._is_over = True
        if self._is_old_copy:
            self._put_back()
        world.heal()

    # --- parts --------------------------------------------------------------------------------------------------------

    def _for_a_while(self, undo: Callable[[], None]) -> None:
        """Undo something later: after a moment, around a lease, or well after it."""
        leases = self.chance.choice(((0, 0.3), (0.3, 1.1), (1, 2.5)))
        ms = self.chance.uniform(*leases) * self.world.lease_ms_max
        self.world.timeline.after(ms, partial(self._unless_over, undo))

    def _unless_over(self, undo: Callable[[], None]) -> None:
        if not self._is_over:
            undo()

    def _client(self) -> Client:
        return self.chance.choice(self.world.clients)

    def _holder(self) -> Client:
        """Somebody who is active if anybody is: that is where faults matter most."""
        holders = [client for client in self.world.clients if any(client.beliefs())]
        return self.chance.choice(holders) if holders and self.chance.random() < 0.7 else self._client()

    def _directions(self) -> list[Weather]:
        """A client's network: one direction or both, of one channel or both."""
        client = self._holder()
        channels = self.chance.choice((list(Channel), [Channel.CONTROL], [Channel.REQUESTS]))
        ways = self.chance.choice(((0,), (1,), (0, 1)))
        return [client.weathers[channel][way] for channel in channels for way in ways]

    # --- the network --------------------------------------------------------------------------------------------------

    def _network_is_bad(self) -> None:
        self.world.count("fault: bad network")
        for weather in self._directions():
            weather.slow_ms = self.chance.choice((0.0, 0.02, 0.2, 0.6, 1.5)) * self.world.lease_ms_max
            weather.loss = self.chance.choice((0.0, 0.0, 0.1, 0.5))
            weather.copies = self.chance.choice((0.0, 0.2, 0.5))
            weather.is_unordered = self.chance.random() < 0.7
            self._for_a_while(weather.clear)

    def _partition(self) -> None:
        directions = self._directions()
        self.world.count("fault: partition" if len(directions) > 2 else "fault: one-way partition")
        keeps = self.chance.random() < 0.6
        for weather in directions:
            weather.is_blocked, weather.keeps = True, keeps
        self._for_a_while(partial(self._heal, directions))

    def _heal(self, directions: list[Weather]) -> None:
        for weather in directions:
            weather.clear()
        self.world.network.release()

    def _cut(self) -> None:
        links = [link for link in self.world.network.links if link.route is not None]
        if links:
            self.world.count("fault: connection broken")
            loses = self.chance.choice(((True, True), (False, True), (True, False), (False, False)))
            self.world.network.cut(self.chance.choice(links), loses_sent=loses[0], loses_answers=loses[1])

    # --- processes and clocks -----------------------------------------------------------------------------------------

    def _pause(self) -> None:
        process = self.world.host if self.chance.random() < 0.3 else self._holder()
        is_broker = process is self.world.host
        if not process.is_paused and not (is_broker and self._is_old_copy):
            self.world.count("fault: broker paused" if is_broker else "fault: client paused")
            process.pause()
            self._for_a_while(process.resume)

    def _clocks(self) -> None:
        process = self.world.host if self.chance.random() < 0.5 else self._holder()
        is_broker = process is self.world.host
        whose = "broker" if is_broker else "client"
        if process.is_paused or (is_broker and self._is_old_copy):
            return
        if self.chance.random() < 0.5:
            self.world.count(f"fault: {whose} slewed")
            process.machine.deceive(self.chance.choice((0.2, 0.9, 1.1, 6.0)))
            self._for_a_while(process.machine.deceive)
            if is_broker:
                self.world.host.set_back_ms += _SET_BACK_LEASES * self.world.lease_ms_max
        else:
            self.world.count(f"fault: {whose} suspended")
            process.machine.deceive(0.0)
            process.pause()
            self._for_a_while(partial(self._wake_up, process))

    @staticmethod
    def _wake_up(process: BrokerHost | Client) -> None:
        process.machine.deceive()
        process.resume()

    def _death(self) -> None:
        client = self._holder()
        if client.is_running:
            self.world.count("fault: client died")
            history_id, session = client.core.history_id, client.core.session
            pid = client.die()
            if self.chance.random() < 0.3:
                self.world.timeline.after(self._away_ms(), partial(self._vouch, history_id, session))
            if client.is_local:
                self.world.timeline.after(1.0, partial(self.world.host.process_exited, pid))
            self._for_a_while(client.start)

    def _vouch(self, history_id: str | None, session: int) -> None:
        """Somebody has seen that the process of a session is dead, and says so."""
        client = self._client()
        is_same = history_id == client.core.history_id == self.world.host.disk.history_id
        if session and is_same and client.is_running and not client.is_paused:
            self.world.count("deaths vouched for")
            client.operate(ExpireSession(session=session))

    # --- the broker and its store -------------------------------------------------------------------------------------

    def _crash(self) -> None:
        host = self.world.host
        if host.core is None or self._is_old_copy:
            return
        if self.chance.random() < 0.7:
            host.crash_at = self.chance.choice(list(CrashPoint))
        else:
            self.world.count("fault: broker killed")
            host.crash()
        self.world.timeline.after(self._away_ms(), self._start_broker)

    def _away_ms(self) -> float:
        return self.chance.choice((5.0, 0.3, 1.4)) * self.chance.random() * self.world.lease_ms_max

    def _start_broker(self) -> None:
        if self.world.host.core is None and not self._is_over:
            self.world.host.start()

    def _disk(self) -> None:
        host = self.world.host
        kind = self.chance.random()
        if kind < 0.35:
            host.refuses_next = True
        elif kind < 0.6:
            self.world.count("fault: full disk")
            host.is_full = True
            self._for_a_while(self._disk_has_room)
        else:
            self.world.count("fault: slow disk")
            host.store_ms = self.chance.uniform(0.1, 0.8) * self.world.lease_ms_max
            self._for_a_while(self._disk_recovers)

    def _disk_has_room(self) -> None:
        self.world.host.is_full = False

    def _disk_recovers(self) -> None:
        self.world.host.store_ms = STORE_MS

    def _store(self) -> None:
        if self._is_old_copy or self.chance.random() < 0.6:
            return
        self.chance.choice((self._empty_store, self._restore, self._old_copy))()

    def _empty_store(self) -> None:
        """Somebody removes the data under live actives: another history begins."""
        self.world.count("fault: store emptied")
        self.world.host.crash()
        self._replace(Disk(self.world.new_history()))

    def _restore(self) -> None:
        """Somebody restores an old copy under live actives: another history begins, with sessions that clients know."""
        world = self.world
        world.count("fault: store restored")
        world.host.crash()
        copy = world.host.disk.old_copy(self.chance.randint(0, 12))
        self._replace(copy.restored(world.new_history(), world.host.disk.revision + 1_000))

    def _replace(self, disk: Disk) -> None:
        world = self.world
        world.checks.replaced_ms[world.host.disk.history_id] = world.timeline.now_ms
        world.checks.restarts_allowed.add(RestartReason.OTHER_HISTORY)
        world.checks.logs[disk.history_id] = world.host.disk = disk
        world.timeline.after(self._away_ms(), self._start_broker)

    def _old_copy(self) -> None:
        """Somebody puts an old copy in place, of the same history, and the first who reports has seen more.

        Before that report nothing tells the copy from the truth, and nothing is promised. From it on nothing may be
        granted, until the right data is put back: here before any lease of the copy could have run out.
        """
        world = self.world
        truth = world.host.disk
        witnesses = [
            client
            for client in world.clients
            if client.core.phase is Phase.OPEN and client.core.history_id == truth.history_id and not client.is_paused
        ]
        seen = max((client.core.last_revision for client in witnesses), default=0)
        world.host.crash()
        copy = truth.old_copy(self.chance.randint(1, 8))
        if not copy.revision < seen <= truth.revision or not witnesses or copy.paused:
            self._start_broker()
            return
        world.count("fault: old copy")
        self._is_old_copy = True
        self._truth, self._copied = truth, copy.revision
        world.checks.restarts_allowed.add(RestartReason.ROLLED_BACK)
        world.host.disk = copy
        if world.host.is_paused:
            world.host.resume()
        world.host.start()
        witness = max(witnesses, key=lambda client: client.core.last_revision)
        hello = witness.reconnect()
        route = world.network.connect(witness.weathers[Channel.CONTROL], _nobody_reads, in_order=False).route
        assert route is not None, "the broker is there"
        world.host.deliver((route, b"c", codec.encode(hello)))
        ms = self.chance.random() * 0.9 * min(client.core.lease_ms for client in world.clients)
        world.timeline.after(ms, partial(self._unless_over, self._put_back))

    def _put_back(self) -> None:
        """The right data is put back: the copy, on which nothing was granted, has added nothing to the history."""
        world, truth = self.world, self._truth
        if world.host.disk.revision != self._copied:
            raise Violation("old copy", f"it has gone on from revision {self._copied} to {world.host.disk.revision}")
        world.host.crash()
        world.host.disk = truth
        self._is_old_copy = False
        world.host.start()

    # --- applications -------------------------------------------------------------------------------------------------

    def _resource(self) -> str:
        return self.chance.choice(self.world.resource_ids)

    def _register(self) -> None:
        client, resource_id = self._client(), self._resource()
        client.wishes[resource_id] = self.world.any_wish()
        if not client.is_paused:
            client.register(resource_id)

    def _resign(self) -> None:
        client = self._holder()
        active_for = [resource_id for resource_id, _ in client.beliefs()]
        resource_id = self.chance.choice(active_for) if active_for else self._resource()
        if client.is_running and not client.is_paused:
            if self.chance.random() < 0.4:
                client.deregister(resource_id)
            else:
                client.resign(resource_id)
                client.later(self._away_ms(), partial(client.register, resource_id))

    def _overtake(self) -> None:
        """Answers to requests are slow: what is said of the same role over the control channel overtakes them."""
        client, resource_id = self._holder(), self._resource()
        if client.is_running and not client.is_paused:
            answers = client.weathers[Channel.REQUESTS][1]
            answers.slow_ms = self.chance.uniform(0.2, 0.8) * self.world.lease_ms_max
            self._for_a_while(answers.clear)
            client.resign(resource_id)
            client.later(self.chance.uniform(1, 30), partial(client.register, resource_id))

    def _leave(self) -> None:
        client = self._holder()
        if client.is_running and not client.is_paused and client.core.phase is Phase.OPEN:
            self.world.count("goodbyes")
            client.leave()

    def _hasty_switchover(self) -> None:
        """A role is to move on before whoever has just been promoted has heard of it."""
        resource_id = self._resource()
        standbys = [
            one for one in self.world.clients if not any(believed == resource_id for believed, _ in one.beliefs())
        ]
        if not standbys:
            return
        for one in standbys:
            way = one.weathers[Channel.CONTROL][1]
            way.loss, way.is_unordered = 0.5, True
            self._for_a_while(way.clear)
        holder = self._holder()
        if holder.is_running and not holder.is_paused:
            holder.resign(resource_id)
            holder.later(self.chance.uniform(5, 60), partial(self._move_on, holder, resource_id))

    def _move_on(self, client: Client, resource_id: str) -> None:
        active = self.world.host.disk.active.get(resource_id)
        if active is not None:
            self.world.count("switchovers asked for")
            client.operate(Switchover(resource_id=resource_id, epoch=active.epoch, even_if_vacant=True))

    def _status(self) -> None:
        self._client().set_status(self.chance.choice(_STATUSES))

    # --- listeners ----------------------------------------------------------------------------------------------------

    def _listener(self) -> None:
        listener = self.world.listener
        which = self.chance.random()
        if which < 0.4:
            listener.stream_weather.loss = self.chance.choice((0.3, 1.0))
            listener.stream_weather.slow_ms = self.chance.choice((0.0, 300.0))
            self._for_a_while(listener.stream_weather.clear)
        elif which < 0.7 and not listener.is_paused:
            listener.pause()
            self._for_a_while(listener.resume)
        elif which < 0.85:
            self.world.counts["logs compacted"] += 1
            self.world.checks.restarts_allowed.add(RestartReason.COMPACTED)
            self.world.host.disk.compact(self.chance.randint(0, 20))
        else:
            for weather in listener.weathers:
                weather.is_blocked = True
                self._for_a_while(partial(self._heal, [weather]))


def _nobody_reads(link: Link, request_id: bytes, message: BrokerMessage) -> None:
    """What an answer to a message comes to that was sent for its effect alone."""
