"""One world from one seed: a broker, clients and a listener, each on a machine of its own, and what lies between them.

Everything that decides is the real thing; what is simulated is time, clocks, processes, the network and the disk. A run
warms up, goes through faults, and settles: then every pause ends, and every resource with an eligible standby gets an
active, within a bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

from tenure.broker.core import BrokerCore
from tenure.contract import codec
from tenure.contract.events import AnyEvent, ResourceResumedEvent, RoleChangedEvent
from tenure.contract.limits import PROGRESS_INTERVAL_MS, heartbeat_interval_ms
from tenure.contract.messages import BrokerMessage, HeartbeatAck
from tenure.contract.vocabulary import ChangeReason, Channel, OnConflict, ServiceRole
from tenure.sdk.requests import ATTEMPT_MS, CONNECT_MS
from tenure.sdk.session import SessionCore
from tenure.sdk.stream import StreamCore, StreamRestarted
from tests.simulation.checks import Checks
from tests.simulation.client import Client, Wish
from tests.simulation.disk import Disk
from tests.simulation.host import STORE_MS, BrokerHost
from tests.simulation.listener import Listener
from tests.simulation.machine import DRIFT_PPM_MAX, Machine
from tests.simulation.network import Network, Weather
from tests.simulation.shell import PAUSE_MS, Shell
from tests.simulation.timeline import Timeline
from tests.simulation.variants import HEALTHY, Variant
from tests.simulation.violation import Violation

LEASES_MS: Final = (400, 700, 1_000, 2_000)
CANDIDATE: Final = Wish(ServiceRole.ACTIVE, OnConflict.STANDBY)
CLAIM: Final = Wish(ServiceRole.ACTIVE, OnConflict.REJECT)
STANDBY: Final = Wish(ServiceRole.STANDBY, OnConflict.REJECT)
HOLD_LEASES_MAX: Final = 3
DRAIN_LEASES_MAX: Final = 1
_LOOK_MS: Final = 20.0

type Trace = list[str]


class World:
    """Everything there is in one run."""

    def __init__(self, seed: int, variant: Variant = HEALTHY, trace: Trace | None = None) -> None:
        self.chance = Random(seed)  # noqa: S311  # to be repeated, not to be secret
        self.counts: Counter[str] = Counter()
        self.timeline = Timeline()
        self.core_type: Callable[..., BrokerCore] = variant.core_type
        self.session_type: Callable[..., SessionCore] = variant.session_type
        self.stream_type: type[StreamCore] = variant.stream_type
        self._trace = trace
        self._secrets = 0
        self._histories = 0
        self.network = Network(self.timeline, self.chance, self.counts)
        self._is_adverse = self.chance.random() < 0.4
        """Whether the broker's clock is as fast as it may be, and everybody else's as slow."""
        self.host = variant.host_type(self, self._machine(1), Disk(self.new_history()))
        self.network.deliver = self.host.deliver
        self.checks = Checks(self.host.disk)
        self.resource_ids = ("r", "s")[: self.chance.randint(1, 2)]
        self.lease_ms_max = self.chance.choice(LEASES_MS)
        self.clients = [self._client(name) for name in "abcd"[: self.chance.randint(2, 4)]]
        self.listener = Listener(self, self._machine())

    def _machine(self, adverse: int = -1) -> Machine:
        drift_ppm = (adverse if self._is_adverse else self.chance.uniform(-1, 1)) * DRIFT_PPM_MAX
        return Machine(self.timeline, drift_ppm, is_boot_honest=self.chance.random() < 0.5)

    def _client(self, name: str) -> Client:
        lease_ms = self.lease_ms_max if self.chance.random() < 0.7 else min(LEASES_MS)
        return Client(self, name, self._machine(), lease_ms, {each: self.any_wish() for each in self.resource_ids})

    def any_wish(self) -> Wish:
        """What an application may want to be."""
        wish = self.chance.choices((CANDIDATE, STANDBY, CLAIM), (6, 2, 1))[0]
        hold_leases = self.chance.choice((0, 0, 0, 0, 1.5, HOLD_LEASES_MAX))
        hold_limit_ms = int(hold_leases * self.lease_ms_max)
        return wish._replace(priority=self.chance.choice((0, 0, 0, 1)), hold_limit_ms=hold_limit_ms)

    def new_history(self) -> str:
        """The id of another history."""
        self._histories += 1
        return f"history-{self._histories}"

    def secret(self) -> str:
        """A new session's secret."""
        self._secrets += 1
        return f"secret-{self._secrets:025}"

    # --- time ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everybody starts."""
        self.host.start()
        for client in self.clients:
            client.start()
        self.listener.start()

    def run_until(self, ms: float) -> None:
        """Take every step that is due by a time, and look at what must hold after each."""
        timeline, checks = self.timeline, self.checks
        while timeline.next_ms <= ms:
            timeline.step()
            checks.beliefs(self.clients, timeline.now_ms)
        self.timeline.now_ms = ms
        checks.beliefs(self.clients, ms)

    # --- what the others tell -----------------------------------------------------------------------------------------

    def trace(self, who: str, what: object) -> None:
        """Note what happens, if anybody wants to read it."""
        if self._trace is not None:
            shown = codec.decode_client(what) if isinstance(what, bytes) else what
            text = shown if isinstance(shown, str) else codec.to_json(shown)
            self._trace.append(f"{self.timeline.now_ms:10.2f} ms  {who:10} {text}")

    def count(self, what: str) -> None:
        """Something worth counting happened."""
        self.counts[what] += 1
        self.trace("(world)", what)

    def broker_sends(self, message: BrokerMessage) -> None:
        """Something leaves for a peer."""
        self.trace("broker", message)
        self.checks.answer(self.host.disk, message)

    def broker_publishes(self, body: bytes) -> None:
        """Something leaves for all listeners."""
        message = codec.decode_stream(body)
        self.trace("broker pub", message)
        self.checks.published(self.host.disk, message)
        self.listener.subscription.push(body)

    def broker_crashed(self) -> None:
        """The broker's process has ended."""
        self.count("broker crashed")
        self.network.is_served = False
        for link in list(self.network.links):
            self.network.cut(link, loses_sent=True, loses_answers=self.chance.random() < 0.5)

    def client_heard(self, shell: Shell, ack: HeartbeatAck) -> None:
        """The answer to a heartbeat was taken in."""
        self.checks.confirmed(shell, ack)

    def listener_begins(self, history_id: str, revision: int) -> None:
        """The listener has its first snapshot."""
        self.trace("listener", f"begins at revision {revision} of {history_id}")
        self.checks.listener_begins(history_id, revision)

    def listener_is_told(self, told: AnyEvent | StreamRestarted) -> None:
        """The listener hands something out."""
        self.trace("listener", told)
        self.checks.told(told)
        if isinstance(told, StreamRestarted):
            self.counts[f"listener restarted: {told.reason}"] += 1
        elif isinstance(told, ResourceResumedEvent):
            self.counts[f"pause ended: {told.reason}"] += 1
        elif isinstance(told, RoleChangedEvent) and told.new_role is ServiceRole.ACTIVE:
            self.counts[f"tenure began: {told.reason}"] += 1
        elif isinstance(told, RoleChangedEvent) and told.reason is ChangeReason.EXPIRED:
            self.counts["registrations expired"] += 1

    # --- the end ------------------------------------------------------------------------------------------------------

    def weathers(self) -> list[Weather]:
        """How every direction between everybody and the broker is doing."""
        of_clients = [each for client in self.clients for channel in Channel for each in client.weathers[channel]]
        return [*of_clients, *self.listener.weathers, self.listener.stream_weather]

    def heal(self) -> None:
        """All faults end: everybody runs, and everything arrives."""
        for weather in self.weathers():
            weather.clear()
        self.network.release()
        self.listener.subscription.release()
        self.host.crash_at = None
        self.host.refuses_next = self.host.is_full = False
        self.host.store_ms = STORE_MS
        processes: list[BrokerHost | Client | Listener] = [self.host, *self.clients, self.listener]
        for process in processes:
            process.machine.deceive()
            if process.is_paused:
                process.resume()
        if self.host.core is None:
            self.host.start()
        for client in self.clients:
            if not client.is_running:
                client.start()

    @property
    def bound_ms(self) -> float:
        """Within what time all is well once nothing goes wrong any more.

        A hold limit, because whoever died in silence while he held a role for so long is waited for, from the broker's
        start on; a lease, because whoever wants that one's name has to wait for its session; a drain, because a
        switchover may have been asked for just now. Before that each side has to notice: a client that its connection
        is dead (three heartbeats, and as long as it waits to be welcomed on the next), its application that its request
        was lost (an attempt, and another connection); and before what was refused is asked for again it pauses.
        """
        interval_ms = heartbeat_interval_ms(self.lease_ms_max)
        noticing_ms = 4 * interval_ms + max(interval_ms, 100) + ATTEMPT_MS + CONNECT_MS + 2 * PAUSE_MS
        waiting_ms = (HOLD_LEASES_MAX + 1 + DRAIN_LEASES_MAX) * self.lease_ms_max
        return waiting_ms + noticing_ms + 2 * PROGRESS_INTERVAL_MS

    def settle(self) -> float:
        """Let everything come to rest; how long that took."""
        began_ms = self.timeline.now_ms
        problem: str | None = "it has not begun"
        while problem is not None:
            if self.timeline.now_ms - began_ms > self.bound_ms:
                raise Violation("soon one", f"not settled after {self.bound_ms} ms: {problem}")
            self.run_until(self.timeline.now_ms + _LOOK_MS)
            problem = self._problem()
        return self.timeline.now_ms - began_ms

    def _problem(self) -> str | None:
        """What is still not as it has to be in the end; None if all is well."""
        core, disk = self.host.core, self.host.disk
        assert core is not None
        if core.has_work or core.registry.revision != disk.revision:
            return "the broker has something to store"
        if sorted(core.registry.state.sessions) != sorted(client.core.session for client in self.clients):
            return "somebody has no session, or a session belongs to nobody"
        for client in self.clients:
            for resource_id in self.resource_ids:
                held = client.held.get(resource_id)
                if not client.wishes[resource_id].is_claim and (held is None or held.standing.is_ended):
                    return f"{client.name} is not registered for {resource_id}"
        if core.registry.state.switchovers:
            return "a switchover is under way"
        for resource_id in self.resource_ids:
            problem = self._who_is_active(disk, resource_id)
            if problem is not None:
                return problem
        stream = self.listener.core
        if stream is None or (stream.history_id, stream.revision) != (disk.history_id, disk.revision):
            return "the listener is behind"
        return None

    def _who_is_active(self, disk: Disk, resource_id: str) -> str | None:
        believers = [
            (held.registration_id, held.standing.epoch)
            for client in self.clients
            for believed, held in client.beliefs()
            if believed == resource_id
        ]
        active = disk.active.get(resource_id)
        expected = [] if active is None else [(active.registration_id, active.epoch)]
        if believers != expected:
            return f"{resource_id}: {believers} believe to be active, durable is {expected}"
        if resource_id in disk.paused:
            return f"{resource_id} is paused still"
        if active is None:
            for client in self.clients:
                if self._is_eligible(disk, client, resource_id):
                    return f"{resource_id}: nobody is active, though {client.name} is eligible"
        return None

    def _is_eligible(self, disk: Disk, client: Client, resource_id: str) -> bool:
        held = client.held.get(resource_id)
        if held is None or not client.status.may_be_promoted:
            return False
        registration = disk.registration(held.registration_id)
        last_epoch = disk.last_epoch(resource_id)
        if registration is None or (last_epoch and registration.declined_epoch == last_epoch):
            return False
        return bool(last_epoch) or client.asked_for[resource_id].is_candidate
