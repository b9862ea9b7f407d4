"""What the registry is compared with, whatever happens: who believes to be active, a listener's copy, and its records.

A `Holder` goes by its answered heartbeats alone, and a `Replica` by a snapshot and the events after it; `records` and
`everything` are what two states have to have in common.
"""

from __future__ import annotations

from typing import Any

from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    RoleChangedEvent,
)
from tenure.contract.intervals import AnyIntervalRecord, EnteredRecord, ExtendedRecord, LeftRecord
from tenure.contract.limits import CLOCK_DRIFT_PPM
from tenure.contract.messages import ClientMessage, ListServices
from tenure.contract.vocabulary import ServiceRole
from tenure.domain.state import State
from tests.unit.scene import Client, Ledger, Scene

type Row = tuple[str, str, str, str, int, int, bool, int]
"""What a replica keeps of a registration: service, instance, resource, role, epoch, priority, candidate, declined."""


class Holder:
    """A client that keeps the rules of holding a role."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.believed: dict[int, float] = {}
        """Epoch → until when it believes to be in that tenure."""
        self.given_up: dict[int, bool] = {}
        """Epoch → whether it was left on purpose; until acknowledged."""
        self.lease_ms = 0
        self.sent: list[ClientMessage] = []
        """Requests that the network may deliver once more."""
        self.logs: list[list[AnyIntervalRecord]] = []
        """What its sessions wrote down of their tenures, one log each."""

    def believe(self, epoch: int, now_ms: float, limit_ms: int, revision: int) -> None:
        """A heartbeat that was sent just now is answered: the tenure lasts for as long as it may in silence."""
        until_ms = now_ms + limit_ms * (1 - CLOCK_DRIFT_PPM / 1_000_000)
        if epoch in self.believed:
            extended = ExtendedRecord(epochs=(epoch,), at_ms=now_ms, until_ms=until_ms, revision=revision)
            self.logs[-1].append(extended)
        else:
            self.logs[-1].append(EnteredRecord(epoch=epoch, at_ms=now_ms, until_ms=until_ms, unix_ms=0))
        self.believed[epoch] = until_ms

    def leave(self, epoch: int, now_ms: float, *, declined: bool) -> None:
        """Stop believing in a tenure."""
        if self.believed.pop(epoch, None) is not None:
            self.logs[-1].append(LeftRecord(epoch=epoch, at_ms=now_ms, why="the test says so"))
        self.given_up[epoch] = declined

    def begin_anew(self) -> None:
        """The session is another one, and nothing is held."""
        self.believed.clear()
        self.given_up.clear()
        self.sent.clear()
        self.client.applied_revision = 0

    def end(self) -> None:
        """The client is gone; whoever comes after it begins with another secret."""
        self.begin_anew()
        self.client.session = 0
        self.client.session_id += "+"


def records(state: State) -> dict[str, Any]:
    """All records of a state and the indices over them, free of the order in which a store loads them."""
    return {
        "sessions": {
            number: (presence.record, sorted(presence.registrations), presence.tenures)
            for number, presence in state.sessions.items()
        },
        "registrations": dict(state.registrations),
        "keys": dict(state.keys),
        "secrets": dict(state.session_numbers),
        "resources": {
            name: (resource.active, sorted(resource.standbys), resource.last_epoch, resource.tenure)
            for name, resource in state.resources.items()
        },
        "abandoned": sorted(state.abandoned),
        "pauses": dict(state.pauses.by_resource),
        "services": {name: ids.page(0, 10**6, state.registrations) for name, ids in state.services.items()},
        "pages": (
            state.registration_ids.page(0, 10**6, state.registrations),
            state.session_ids.page(0, 10**6, state.sessions),
        ),
    }


def everything(scene: Scene) -> Any:
    """Everything that a refused request must not change, what no store keeps included."""
    registry = scene.registry
    volatile = {
        number: (presence.expires_at_ms, presence.last_heard_ms, presence.heard, presence.changed_revision)
        for number, presence in registry.state.sessions.items()
    }
    order = ([*registry.state.abandoned], [[*resource.standbys] for resource in registry.state.resources.values()])
    under_way = {
        name: (one.epoch, one.due_ms, one.even_if_vacant, one.by)
        for name, one in registry.state.switchovers.by_resource.items()
    }
    return records(registry.state), volatile, order, under_way, registry.revision, registry.next_expiry_ms


class Replica:
    """A listener's copy: a snapshot, and the events after it."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, Row]] = {}
        """Registration id → the revision of its newest event, and the row."""

    def take_snapshot(self, scene: Scene) -> None:
        """Walk all pages."""
        self.rows.clear()
        after: int | None = 0
        while after is not None:
            page = scene.page(ListServices(after=after, limit=2))
            for item in page.instances:
                role = (item.role, item.epoch, item.priority, item.candidate, item.declined_epoch)
                row = (item.service_name, item.instance_id, item.resource_id, *role)
                self.rows[item.registration_id] = (item.revision, row)
            after = page.next_after

    def apply(self, event: AnyEvent) -> None:
        """Apply one event, unless the snapshot has it already."""
        if isinstance(event, RegisteredEvent):
            role = (event.new_role or "", event.epoch, event.priority, event.candidate, 0)
            row = (event.service_name, event.instance_id, event.resource_id, *role)
            self.rows[event.registration_id] = (event.revision, row)
        elif isinstance(event, DeregisteredEvent):
            del self.rows[event.registration_id]
        elif isinstance(event, RoleChangedEvent):
            names, kept = self.rows[event.registration_id][1][:3], self.rows[event.registration_id][1][5:7]
            epoch = event.epoch if event.new_role is ServiceRole.ACTIVE else 0
            row = (*names, event.new_role or "", epoch, *kept, event.declined_epoch)
            self.rows[event.registration_id] = (event.revision, row)
        elif isinstance(event, RegistrationUpdatedEvent):
            kept_role = self.rows[event.registration_id][1][:5]
            row = (*kept_role, event.priority, event.candidate, event.declined_epoch)
            self.rows[event.registration_id] = (event.revision, row)


def replay(ledger: Ledger) -> State:
    """The state that a store's records make."""
    state = State()
    state.load(ledger.stored())
    return state
