"""What holds of the registry whatever happens: clients, time, commits and restarts in any order, drawn by Hypothesis.

The clients keep the rules of docs/protocol.md: they believe in a tenure only as far as an answered heartbeat goes, stop
before they say so, and list what they have given up. Their requests may be repeated at any later time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tenure.contract.codec import encode
from tenure.contract.errors import RequestRefusedError
from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    RoleChangedEvent,
)
from tenure.contract.intervals import AnyIntervalRecord, EnteredRecord, ExtendedRecord, LeftRecord, SessionRecord
from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    RoleChange,
    Switchover,
)
from tenure.contract.limits import CLOCK_DRIFT_PPM
from tenure.contract.messages import (
    ClientMessage,
    Deregister,
    GetResource,
    GivenUp,
    ListPresence,
    ListRoles,
    ListServices,
    Register,
    RegisterMany,
    Resign,
)
from tenure.contract.vocabulary import OnConflict, ServiceRole, ServiceStatus
from tenure.domain.beliefs import Beliefs
from tenure.domain.history import StoredHistory
from tenure.domain.limits import RegistryLimits
from tenure.domain.state import State
from tenure.domain.succession import successor
from tenure.domain.verdicts import State as VerdictState
from tenure.domain.verification import verify
from tests.unit.scene import HISTORY, Client, Ledger, Scene

LIMITS = RegistryLimits(
    sessions_max=5,
    registrations_max=10,
    registrations_per_session_max=4,
    registrations_per_resource_max=5,
    abandoned_resources_max=1,
)
LEASES_MS = (500, 1_000, 2_000)
RESOURCES = ("r1", "r2")

type Row = tuple[str, str, str, str, int, int, bool, int]
"""What a replica keeps of a registration: service, instance, resource, role, epoch, priority, candidate, declined."""

client_numbers = st.integers(0, 4)
questions = st.sampled_from(
    [
        *[GetResource(resource_id=resource_id) for resource_id in RESOURCES],
        ListRoles(service_name="svc", limit=1),
        ListPresence(limit=1),
    ]
)
registers = st.builds(
    Register,
    service_name=st.sampled_from(("svc", "r1")),
    instance_id=st.sampled_from(("a", "b", "c", "d", "a", "b", "c", "d", "bad\n")),
    resource_id=st.sampled_from((*RESOURCES, None)),
    role=st.sampled_from(ServiceRole),
    on_conflict=st.sampled_from(OnConflict),
    priority=st.sampled_from((0, 0, 0, 1, 1, 2, 10**9)),
    hold_limit_ms=st.sampled_from((0, 0, 0, 1_500, 3_000)),
)
statuses = st.sampled_from([*ServiceStatus, *[ServiceStatus.HEALTHY] * 6])


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


class RegistryMachine(RuleBasedStateMachine):
    """A registry, five clients, time, commits that lag behind, and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(LIMITS, is_committing=False)
        self.holders = [Holder(Client(self.scene, name, "")) for name in "abcde"]
        self.shadow = State()
        self.replica = Replica()
        self.committed_events: list[AnyEvent] = []
        self.uncommitted_events: list[AnyEvent] = []
        self.noted = 0

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(number=client_numbers, lease_ms=st.sampled_from(LEASES_MS), resume=st.booleans())
    def hello(self, number: int, lease_ms: int, resume: bool) -> None:
        """A client opens its session, or finds it."""
        self.say_hello(self.holders[number], lease_ms, resume=resume)

    @rule(number=client_numbers, status=statuses)
    def beat(self, number: int, status: ServiceStatus) -> None:
        """A client renews its lease, perhaps with another status."""
        self.renew(self.present(number), status)

    @rule(number=client_numbers, request=registers)
    def register(self, number: int, request: Register) -> None:
        """A client registers, claims or competes."""
        self.send(self.present(number), request)

    @rule(number=client_numbers, resource_id=st.sampled_from(RESOURCES), role=st.sampled_from(ServiceRole))
    def wait_in_line(self, number: int, resource_id: str, role: ServiceRole) -> None:
        """A client's own instance competes for a role, or stands by."""
        request = Register(
            service_name="svc",
            instance_id=f"of-{number}",
            resource_id=resource_id,
            role=role,
            on_conflict=OnConflict.STANDBY,
            hold_limit_ms=3_000 if number == 0 else 0,
        )
        self.send(self.present(number), request)

    @rule(number=client_numbers, requests=st.lists(registers, max_size=3))
    def register_many(self, number: int, requests: list[Register]) -> None:
        """A client registers a batch."""
        self.send(self.present(number), RegisterMany(items=tuple(requests)))

    @rule(number=client_numbers, data=st.data())
    def resign(self, number: int, data: st.DataObject) -> None:
        """A client stops, and then says so."""
        holder = self.holders[number]
        held = self.held_by(holder)
        if held:
            registration_id, epoch = data.draw(st.sampled_from(held))
            holder.leave(epoch, self.scene.now_ms, declined=True)
            self.send(holder, Resign(registration_id=registration_id, epoch=epoch))

    @rule(
        resource_id=st.sampled_from(RESOURCES),
        drain_ms=st.sampled_from((0, 0, 700)),
        to_last=st.booleans(),
        even_if_vacant=st.booleans(),
        is_called_off=st.sampled_from((False, False, True)),
    )
    def switch_over(
        self, resource_id: str, drain_ms: int, to_last: bool, even_if_vacant: bool, is_called_off: bool
    ) -> None:
        """Somebody asks for a planned move, or calls one off."""
        resource = self.scene.registry.state.resources.get(resource_id)
        if resource is None:
            return
        epoch = resource.last_epoch
        if is_called_off:
            self.attempt(lambda: self.scene.ask(CancelSwitchover(resource_id=resource_id, epoch=epoch)))
            return
        request = Switchover(
            resource_id=resource_id,
            epoch=epoch,
            to_registration_id=max(resource.standbys, default=0) if to_last else 0,
            drain_ms=drain_ms,
            even_if_vacant=even_if_vacant,
        )
        self.attempt(lambda: self.scene.ask(request))

    @rule(
        data=st.data(), knows_epochs=st.sampled_from((True, True, True, False)), drain_ms=st.sampled_from((0, 0, 700))
    )
    def change_roles(self, data: st.DataObject, knows_epochs: bool, drain_ms: int) -> None:
        """Somebody changes many roles at once, and knows who is active under which epoch, or does not."""
        state = self.scene.registry.state
        chosen = data.draw(st.lists(st.sampled_from([*sorted(state.registrations), 10**6]), max_size=3, unique=True))
        changes: list[RoleChange] = []
        for number in chosen:
            registration = state.registrations.get(number)
            active = None if registration is None else state.resources[registration.resource_id].active
            epoch = 0 if active is None or not knows_epochs else state.registrations[active].epoch
            role = data.draw(st.sampled_from(ServiceRole))
            changes.append(RoleChange(registration_id=number, role=role, epoch=epoch))
        self.attempt(lambda: self.scene.ask(ChangeRoles(changes=tuple(changes), drain_ms=drain_ms)))

    @rule(resource_id=st.sampled_from(RESOURCES), for_ms=st.sampled_from((1_000, 1_000, 3_000)))
    def pause(self, resource_id: str, for_ms: int) -> None:
        """Somebody pauses a resource, or says so anew."""
        self.attempt(lambda: self.scene.ask(PauseResource(resource_id=resource_id, why="work", for_ms=for_ms)))

    @rule(resource_id=st.sampled_from(RESOURCES))
    def resume(self, resource_id: str) -> None:
        """Somebody ends a pause."""
        self.attempt(lambda: self.scene.ask(ResumeResource(resource_id=resource_id)))

    @rule(number=client_numbers)
    def vouch_for_death(self, number: int) -> None:
        """A person says that a process is dead: it is, or it is heard still."""
        holder = self.holders[number]
        presence = self.scene.registry.state.sessions.get(holder.client.session)
        if presence is None or presence.status(self.scene.now_ms) is ServiceStatus.LATE:
            holder.end()
        self.attempt(lambda: self.scene.ask(ExpireSession(session=holder.client.session or 10**6)))

    @rule(number=client_numbers, data=st.data(), knows_epoch=st.booleans())
    def deregister(self, number: int, data: st.DataObject, knows_epoch: bool) -> None:
        """A client ends a registration, as the standby or the active one it knows itself to be."""
        holder = self.holders[number]
        presence = self.scene.registry.state.sessions.get(holder.client.session)
        if presence is not None and presence.registrations:
            registration_id = data.draw(st.sampled_from(sorted(presence.registrations)))
            epoch = self.scene.registry.state.registrations[registration_id].epoch
            if epoch and (knows_epoch or epoch in holder.believed):
                holder.leave(epoch, self.scene.now_ms, declined=True)
            else:
                epoch = 0
            self.send(holder, Deregister(registration_id=registration_id, epoch=epoch))

    @rule(number=client_numbers, data=st.data())
    def deliver_again(self, number: int, data: st.DataObject) -> None:
        """The network delivers a request once more, rather one that ends something."""
        holder = self.holders[number]
        if holder.sent and holder.client.session:
            endings = [request for request in holder.sent if isinstance(request, Resign | Deregister)]
            self.send(holder, data.draw(st.sampled_from(endings or holder.sent)))

    @rule(number=client_numbers, is_clean=st.booleans(), chance=st.integers(0, 2))
    def end(self, number: int, is_clean: bool, chance: int) -> None:
        """A client stops and leaves, or its process is gone and the kernel says so."""
        holder = self.holders[number]
        if holder.client.session and not chance:
            holder.believed.clear()
            self.attempt(holder.client.goodbye if is_clean else lambda: self.scene.end_session(holder.client))
            holder.end()

    @rule(
        steps=st.lists(st.sampled_from((1, 100, 250, 499, 500)), min_size=1, max_size=6),
        silent=st.sets(client_numbers, max_size=2),
        registrations_max=st.sampled_from((1, 100)),
    )
    def pass_time(self, steps: list[int], silent: set[int], registrations_max: int) -> None:
        """Time goes by, some clients fall silent, and what has expired is ended, perhaps not all at once."""
        for ms in steps:
            self.scene.now_ms += ms
            for holder in self.holders:
                for epoch in [epoch for epoch, until_ms in holder.believed.items() if until_ms <= self.scene.now_ms]:
                    holder.leave(epoch, self.scene.now_ms, declined=False)
            self.attempt(lambda: self.scene.expire(registrations_max))
            self.one_believer_for_each_resource()
            for number, holder in enumerate(self.holders):
                if number not in silent and holder.client.session in self.scene.registry.state.sessions:
                    self.renew(holder, holder.client.status)

    @rule()
    def commit(self) -> None:
        """The store has made everything durable."""
        self.scene.commit()
        self.committed_events += self.uncommitted_events
        self.uncommitted_events.clear()

    @rule()
    def restart(self) -> None:
        """The broker ends or drops what could not be stored, and loads what was."""
        self.scene.restart()
        self.uncommitted_events.clear()
        assert records(self.scene.registry.state) == records(replay(self.scene.ledger))
        self.shadow = replay(self.scene.ledger)
        self.replica = Replica()
        for event in self.committed_events:
            self.replica.apply(event)

    @rule(request=questions)
    def read(self, request: ClientMessage) -> None:
        """A reader reads; a listener begins again from a snapshot."""
        before = everything(self.scene)
        self.attempt(lambda: self.scene.ask(request))
        self.replica.take_snapshot(self.scene)
        assert everything(self.scene) == before

    # --- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def one_active_for_each_resource(self) -> None:
        """G1: no resource has two active registrations, and each active one is in a tenure that goes on."""
        state = self.scene.registry.state
        active = [item for item in state.registrations.values() if item.role is ServiceRole.ACTIVE]
        assert len({item.resource_id for item in active}) == len(active)
        for item in active:
            resource = state.resources[item.resource_id]
            assert resource.active == item.registration_id
            assert (resource.last_epoch, resource.tenure) == (item.epoch, None)

    @invariant()
    def one_believer_for_each_resource(self) -> None:
        """G2: no two clients believe to be active for a resource, and who believes it is."""
        state = self.scene.registry.state
        for holder in self.holders:
            for epoch in holder.believed:
                registration_id = state.sessions[holder.client.session].tenures[epoch]
                assert state.registrations[registration_id].epoch == epoch

    @invariant()
    def nobody_waits_in_front_of_a_vacancy(self) -> None:
        """G6: where a role is vacant, nobody who could fill it stands by, unless it is paused."""
        state = self.scene.registry.state
        for resource_id, resource in state.resources.items():
            assert (
                resource_id in state.pauses.by_resource
                or resource.active is not None
                or successor(state, resource, self.scene.now_ms) is None
            )

    @invariant()
    def little_is_remembered(self) -> None:
        """Of what nobody is registered for no more is kept than the limit says."""
        assert len(self.scene.registry.state.abandoned) <= LIMITS.abandoned_resources_max

    @invariant()
    def changes_rebuild_the_state(self) -> None:
        """The changes, replayed, make the same state; what is kept for each session is what it has."""
        assert records(self.scene.registry.state) == records(self.shadow)
        for presence in self.scene.registry.state.sessions.values():
            assert set(presence.tenures.values()) <= set(presence.registrations)

    @invariant()
    def events_rebuild_the_roles(self) -> None:
        """G5: a snapshot and the events after it make the same roles."""
        rows: dict[int, tuple[int, Row]] = {}
        for number, item in self.scene.registry.state.registrations.items():
            role = (item.role, item.epoch, item.priority, item.candidate, item.declined_epoch)
            rows[number] = (item.revision, (item.service_name, item.instance_id, item.resource_id, *role))
        assert self.replica.rows == rows

    def teardown(self) -> None:
        """G3 and G5 of the whole run: committed revisions have no gap, and each resource's epochs only rise."""
        self.commit()
        assert [event.revision for event in self.committed_events] == [*range(1, self.scene.registry.revision + 1)]
        epochs: dict[str, int] = {}
        for event in self.committed_events:
            if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE:
                assert event.epoch == event.revision > epochs.get(event.resource_id, 0)
                epochs[event.resource_id] = event.epoch
        assert records(replay(self.scene.ledger)) == records(self.scene.registry.state)
        self.verify_what_is_left()

    def verify_what_is_left(self) -> None:
        """G1 to G5 as a user would prove them: from the store's history and the clients' interval logs alone."""
        beliefs = Beliefs()
        for holder in self.holders:
            for number, log in enumerate(holder.logs):
                beliefs.read(f"{holder.client.name}-{number}", log)
        stored = self.scene.ledger.stored()
        history = StoredHistory(
            history_id=stored.history_id,
            next_revision=stored.revision + 1,
            damage="",
            has_unique_index=True,
            events=[(event.revision, encode(event)) for event in self.committed_events],
            sessions=stored.sessions,
            registrations=stored.registrations,
            tenures=self.scene.ledger.all_tenures(),
            pauses=stored.pauses,
        )
        report = verify(history, beliefs)
        states = {verdict.state for verdict in report.verdicts}
        assert states <= ({VerdictState.PROVEN} if beliefs.logs else {VerdictState.PROVEN, VerdictState.NOT_CHECKED})

    # --- how it is done -----------------------------------------------------------------------------------------------

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something that may be refused; a refusal has changed nothing at all. Says whether it was not."""
        before, revision = everything(self.scene), self.scene.registry.revision
        try:
            action()
        except RequestRefusedError:
            assert everything(self.scene) == before
            assert not self.scene.last.changes
            assert not self.scene.last.events
            is_refused = True
        else:
            is_refused = False
        for decision in self.scene.decisions[self.noted :]:
            for change in decision.changes:
                self.shadow.absorb(change)
            for event in decision.events:
                revision += 1
                assert event.revision == revision
                self.replica.apply(event)
            self.uncommitted_events += decision.events
        self.noted = len(self.scene.decisions)
        assert revision == self.scene.registry.revision
        return not is_refused

    def present(self, number: int) -> Holder:
        """A client, with a session unless there is no room for one: it begins another where its own has ended."""
        holder = self.holders[number]
        if holder.client.session not in self.scene.registry.state.sessions:
            holder.end()
            self.say_hello(holder, LEASES_MS[number % len(LEASES_MS)], resume=False)
        return holder

    def say_hello(self, holder: Holder, lease_ms: int, *, resume: bool) -> None:
        """Open or find a session. A client goes on once its welcome has come, which is after the commit of it all."""
        before = holder.client.session
        is_welcome = self.attempt(lambda: holder.client.hello(lease_ms=lease_ms, resume=resume))
        if is_welcome and holder.client.session != before:
            holder.begin_anew()
            holder.lease_ms = lease_ms
            holder.logs.append([
                SessionRecord(
                    format=1, history_id=HISTORY, session=holder.client.session, boot_id="b", pid=1, lease_ms=lease_ms
                )
            ])  # fmt: skip
            self.commit()
            self.renew(holder, ServiceStatus.HEALTHY)

    def renew(self, holder: Holder, status: ServiceStatus) -> None:
        """Send a heartbeat that lists what was given up."""
        given_up = [GivenUp(epoch=epoch, declined=declined) for epoch, declined in holder.given_up.items()]
        self.attempt(lambda: self.take_acknowledgement(holder, status, given_up))

    def send(self, holder: Holder, request: ClientMessage) -> None:
        """Put a request, which may come once more."""
        holder.sent.append(request)
        self.attempt(lambda: holder.client.ask(request))

    def held_by(self, holder: Holder) -> list[tuple[int, int]]:
        """Registration and epoch of every tenure of a client as decided."""
        presence = self.scene.registry.state.sessions.get(holder.client.session)
        return [] if presence is None else [(number, epoch) for epoch, number in presence.tenures.items()]

    def take_acknowledgement(self, holder: Holder, status: ServiceStatus, given_up: list[GivenUp]) -> None:
        """Send a heartbeat; its answer confirms what is committed and decided, and acknowledges what is durable."""
        ack = holder.client.beat(status, *given_up)
        ledger, state = self.scene.ledger, self.scene.registry.state
        committed = {item.epoch for item in ledger.registrations.values() if item.role is ServiceRole.ACTIVE}
        decided = state.sessions[holder.client.session].tenures
        for epoch in ack.confirmed:
            assert epoch in committed
            assert epoch in decided
            if epoch not in holder.given_up:
                limit_ms = state.registrations[decided[epoch]].limit_ms(holder.lease_ms)
                holder.believe(epoch, self.scene.now_ms, limit_ms, ack.revision)
        for epoch in ack.given_up:
            assert epoch not in committed
            holder.given_up.pop(epoch, None)
        assert all(statement.revision <= ack.revision == ledger.revision for statement in ack.statements)


def replay(ledger: Ledger) -> State:
    """The state that a store's records make."""
    state = State()
    state.load(ledger.stored())
    return state


def test_the_registry_holds_what_it_promises() -> None:
    """Whatever clients, time, commits and restarts do: at most one active and one believer, no gap, no half request."""
    run_state_machine_as_test(RegistryMachine, settings=settings(max_examples=300, stateful_step_count=50))
