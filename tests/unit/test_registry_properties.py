"""What holds of the registry whatever happens: clients, time, commits and restarts in any order, drawn by Hypothesis.

The clients keep the rules of docs/protocol.md: they believe in a tenure only as far as an answered heartbeat goes, stop
before they say so, and list what they have given up. Their requests may be repeated at any later time.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    RoleChange,
    Switchover,
)
from tenure.contract.messages import (
    ClientMessage,
    Deregister,
    GetResource,
    ListPresence,
    ListRoles,
    Register,
    RegisterMany,
    Resign,
)
from tenure.contract.vocabulary import OnConflict, ServiceRole, ServiceStatus
from tests.unit.checked_registry import LEASES_MS, RESOURCES, CheckedRegistry
from tests.unit.registry_model import Replica, everything, records, replay

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


class RegistryMachine(CheckedRegistry):
    """What may happen: clients that speak, people who ask, time, reads and restarts."""

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


def test_the_registry_holds_what_it_promises() -> None:
    """Whatever clients, time, commits and restarts do: at most one active and one believer, no gap, no half request."""
    run_state_machine_as_test(RegistryMachine, settings=settings(max_examples=300, stateful_step_count=50))
