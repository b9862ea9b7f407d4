"""An application that holds roles, and what it wants.

What it wants is kept in `wishes`: it registers again whenever it is not registered as it wishes to be, and begins a new
session whenever the old one has ended. What it believes is what `Registration.is_active` would tell it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from tenure.contract.errors import (
    DuplicateInstanceError,
    NotFoundError,
    RequestTimeoutError,
    StorageUnavailableError,
)
from tenure.contract.interventions import AnyIntervention, RoleChangesAccepted
from tenure.contract.messages import (
    Deregister,
    Deregistered,
    GetResource,
    Goodbye,
    ListServices,
    Register,
    Registered,
    Resign,
    Resigned,
    Resource,
    ServicePage,
)
from tenure.contract.vocabulary import OnConflict, ServiceRole, ServiceStatus
from tenure.sdk.session import Phase
from tenure.sdk.tenures import Held
from tests.simulation.machine import Machine
from tests.simulation.shell import PAUSE_MS, Outcome, Shell, World

_SERVICE: Final = "svc"
_OUTCOME_OPEN: Final = (RequestTimeoutError, StorageUnavailableError)


class Wish(NamedTuple):
    """What an application wants to be for a resource."""

    role: ServiceRole
    on_conflict: OnConflict
    priority: int = 0
    hold_limit_ms: int = 0

    @property
    def is_candidate(self) -> bool:
        """Whether it would fill any vacancy."""
        return self.role is ServiceRole.ACTIVE and self.on_conflict is OnConflict.STANDBY

    @property
    def is_claim(self) -> bool:
        """Whether it would rather not be registered than stand by."""
        return self.role is ServiceRole.ACTIVE and self.on_conflict is OnConflict.REJECT


class Client(Shell):
    """One application, and the processes that it has been."""

    def __init__(self, world: World, name: str, machine: Machine, lease_ms: int, wishes: dict[str, Wish]) -> None:
        self.wishes = wishes
        self.status = ServiceStatus.HEALTHY
        self.is_scoped = world.chance.random() < 0.5
        """Whether its work runs in a scope, so that it resigns by itself when it is asked to; else the SDK does."""
        self.never_ends = world.chance.random() < 0.7
        """Whether the work in its scope goes on although it is asked to end."""
        self.keeps_name = world.chance.random() < 0.5
        """Whether the process that takes its place has the same instance id."""
        self.limit_ms = lease_ms
        """The longest for which it may ever have believed to be active without a word from the broker."""
        super().__init__(world, name, machine, lease_ms)

    def begin(self) -> None:
        """A new session, of this process or of the one that takes its place."""
        super().begin()
        self.core.status = self.status
        self.held: dict[str, Held] = {}
        """The registrations that the application holds, by resource."""
        self.asked_for: dict[str, Wish] = {}
        """The newest wish whose answer has come, by resource: one that was never answered has to be told again."""
        self.resource_of: dict[int, str] = {}
        self._asking: set[str] = set()
        self._leaving: set[str] = set()

    @property
    def instance_id(self) -> str:
        """What its registrations are called."""
        return self.name if self.keeps_name else f"{self.name}{self.run_number}"

    def beliefs(self) -> Sequence[tuple[str, Held]]:
        """What it would act for at this moment: the resource, and the registration that it holds for it."""
        return [
            (self.resource_of[number], held)
            for number, held in self.core.registrations.items()
            if held.standing.epoch and held.standing.is_active(self.machine.reading)
        ]

    def set_status(self, status: ServiceStatus) -> None:
        """Report another status from the next heartbeat on."""
        self.status = self.core.status = status

    def operate(self, request: AnyIntervention) -> None:
        """Send what an operator asks for, and count if it was accepted; what a broker grants is looked at elsewhere."""
        self.ask(request, self._operated)

    def _operated(self, outcome: Outcome) -> None:
        if isinstance(outcome, RoleChangesAccepted):
            self.world.counts["changes of roles accepted"] += 1

    # --- registering --------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Register for whatever it is not registered for as it wishes to be."""
        for resource_id, wish in self.wishes.items():
            held = self.held.get(resource_id)
            if held is None or held.standing.is_ended or self.asked_for.get(resource_id) != wish:
                self.register(resource_id)

    def register(self, resource_id: str) -> None:
        """Ask for what it wishes to be, unless that is under way or being undone; once more if it is that already."""
        if resource_id in self._asking or resource_id in self._leaving or not self.core.session:
            return
        wish = self.wishes[resource_id]
        self.limit_ms = max(self.limit_ms, wish.hold_limit_ms)
        item = Register(
            service_name=_SERVICE,
            instance_id=self.instance_id,
            resource_id=resource_id,
            role=wish.role,
            on_conflict=wish.on_conflict,
            priority=wish.priority,
            hold_limit_ms=wish.hold_limit_ms if wish.hold_limit_ms > self.core.lease_ms else 0,
        )
        self._asking.add(resource_id)
        self.ask(item, partial(self._registered, resource_id, wish))

    def _registered(self, resource_id: str, wish: Wish, outcome: Outcome) -> None:
        if isinstance(outcome, Registered):
            self.asked_for[resource_id] = wish
            self._asking.discard(resource_id)
            self._adopt(outcome)
            return
        pause_ms = PAUSE_MS
        if isinstance(outcome, DuplicateInstanceError):
            pause_ms = max(pause_ms, outcome.retry_after_ms)
        self.later(pause_ms, partial(self._asking.discard, resource_id))
        if isinstance(outcome, _OUTCOME_OPEN) and resource_id not in self.held:
            self._leaving.add(resource_id)
            self._find(resource_id)

    def _adopt(self, registered: Registered) -> None:
        resource_id = registered.resource_id
        self.resource_of[registered.registration_id] = resource_id
        held = self.core.adopt(registered, self.machine.reading)
        if not held.standing.is_ended:
            held.is_scoped = self.is_scoped
            self.held[resource_id] = held

    def _find(self, resource_id: str) -> None:
        """Nobody waits for this registration any more, but it may exist: find out, and end it if it does."""
        self.ask(ListServices(service_name=_SERVICE, resource_id=resource_id), partial(self._found, resource_id))

    def _found(self, resource_id: str, outcome: Outcome) -> None:
        if not isinstance(outcome, ServicePage):
            if self.core.phase is not Phase.ENDED:
                self._find(resource_id)
            return
        self._leaving.discard(resource_id)
        for one in outcome.instances:
            if (one.session, one.instance_id) == (self.core.session, self.instance_id):
                self._adopt(
                    Registered(
                        registration_id=one.registration_id,
                        resource_id=resource_id,
                        role=one.role,
                        epoch=one.epoch,
                        revision=one.role_revision,
                    )
                )
                self.deregister(resource_id)

    # --- leaving ------------------------------------------------------------------------------------------------------

    def look_at_changes(self) -> None:
        """A scope is told of what has changed: it stops its work when it is asked to, and then resigns."""
        changed, self.core.changed = self.core.changed, []
        for held in changed:
            ask = held.ask
            if ask is not None and ask.epoch == held.standing.epoch and held.is_scoped and not self.never_ends:
                ms = self.world.chance.random() * max(0.0, self.machine.reading.until_ms(ask.until))
                self.later(ms, partial(self.resign, self.resource_of[held.registration_id]))

    def resign(self, resource_id: str) -> None:
        """Step down first, then tell."""
        held = self.held.get(resource_id)
        if held is not None and (epoch := self.core.step_down(held, "it resigned", declined=True)):
            self.ask(Resign(registration_id=held.registration_id, epoch=epoch), self._resigned)

    def _resigned(self, outcome: Outcome) -> None:
        if isinstance(outcome, Resigned):
            self.core.apply(outcome.statement, self.machine.reading)

    def deregister(self, resource_id: str) -> None:
        """Leave first, then tell until it is answered."""
        held = self.held.pop(resource_id, None)
        if held is not None and not held.standing.is_ended:
            self._leaving.add(resource_id)
            self._tell_end(resource_id, held, self.core.end_registration(held, "it was deregistered"))

    def _tell_end(self, resource_id: str, held: Held, epoch: int) -> None:
        message = Deregister(registration_id=held.registration_id, epoch=epoch)
        self.ask(message, partial(self._deregistered, resource_id, held))

    def _deregistered(self, resource_id: str, held: Held, outcome: Outcome) -> None:
        if isinstance(outcome, (Deregistered, NotFoundError)):
            self.core.forget(held)
            self._leaving.discard(resource_id)
        elif self.core.phase is not Phase.ENDED:  # it may have been promoted meanwhile, or nobody may have answered
            self.ask(GetResource(resource_id=resource_id), partial(self._looked_up, resource_id, held))

    def _looked_up(self, resource_id: str, held: Held, outcome: Outcome) -> None:
        active = outcome.resource.active if isinstance(outcome, Resource) else None
        is_ours = active is not None and active.registration_id == held.registration_id
        self._tell_end(resource_id, held, active.epoch if active is not None and is_ours else 0)

    def leave(self) -> None:
        """Say goodbye: first nothing is active any more, then the broker is told; another session is begun later."""
        self.core.end("its client was closed")
        self.forget_requests()
        self.ask(Goodbye(), lambda _: None)
        self.wake_in(PAUSE_MS)
