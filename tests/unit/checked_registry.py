"""What holds of the registry after every step of a random history, and how its clients speak to it.

A class on top of it says what happens: `RegistryMachine` in test_registry_properties.py.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tenure.contract.codec import encode
from tenure.contract.errors import RequestRefusedError
from tenure.contract.events import AnyEvent, RoleChangedEvent
from tenure.contract.intervals import SessionRecord
from tenure.contract.messages import ClientMessage, GivenUp
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.domain.beliefs import Beliefs
from tenure.domain.history import StoredHistory
from tenure.domain.limits import RegistryLimits
from tenure.domain.state import State
from tenure.domain.succession import successor
from tenure.domain.verdicts import State as VerdictState
from tenure.domain.verification import verify
from tests.unit.registry_model import Holder, Replica, Row, everything, records, replay
from tests.unit.scene import HISTORY, Client, Scene

LIMITS = RegistryLimits(
    sessions_max=5,
    registrations_max=10,
    registrations_per_session_max=4,
    registrations_per_resource_max=5,
    abandoned_resources_max=1,
)
LEASES_MS = (500, 1_000, 2_000)
RESOURCES = ("r1", "r2")


class CheckedRegistry(RuleBasedStateMachine):
    """A registry, five clients, commits that lag behind, and what has to hold after whatever is done with them."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(LIMITS, is_committing=False)
        self.holders = [Holder(Client(self.scene, name, "")) for name in "abcde"]
        self.shadow = State()
        self.replica = Replica()
        self.committed_events: list[AnyEvent] = []
        self.uncommitted_events: list[AnyEvent] = []
        self.noted = 0

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

    @rule()
    def commit(self) -> None:
        """The store has made everything durable."""
        self.scene.commit()
        self.committed_events += self.uncommitted_events
        self.uncommitted_events.clear()

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
