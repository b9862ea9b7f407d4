"""What people ask for at random moments: moves, pauses, and changes of many roles, as they believe these to be."""

from __future__ import annotations

from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    PauseResource,
    ResumeResource,
    RoleChange,
    Switchover,
)
from tenure.contract.limits import PAUSE_MS_MIN
from tenure.contract.vocabulary import ServiceRole
from tests.simulation.client import Client
from tests.simulation.world import DRAIN_LEASES_MAX, World


class Interventions:
    """The people of one run, who ask through whatever client is there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self._people = 0

    def switchover(self) -> None:
        """Somebody asks for a role to be moved, or calls that off."""
        resource_id, client = self._any_resource(), self._any_client()
        active = self.world.host.disk.active.get(resource_id)
        if active is None or not client.is_running or client.is_paused:
            return
        if self.chance.random() < 0.2:
            self.world.count("switchovers called off")
            client.operate(CancelSwitchover(resource_id=resource_id, epoch=active.epoch))
            return
        self.world.count("switchovers asked for")
        held = client.held.get(resource_id)
        client.operate(
            Switchover(
                resource_id=resource_id,
                epoch=active.epoch,
                to_registration_id=held.registration_id if held is not None and self.chance.random() < 0.3 else 0,
                drain_ms=int(self.chance.choice((0, 0.3, DRAIN_LEASES_MAX)) * self.world.lease_ms_max),
                even_if_vacant=self.chance.random() < 0.3,
                by=self._somebody(),
            )
        )

    def change_roles(self) -> None:
        """Somebody changes the roles of some registrations at once, as he believes them to be."""
        client, disk = self._any_client(), self.world.host.disk
        if not client.is_running or client.is_paused:
            return
        everybody = [(held, resource_id) for one in self.world.clients for resource_id, held in one.held.items()]
        changes: list[RoleChange] = []
        for held, resource_id in self.chance.sample(everybody, min(len(everybody), self.chance.randint(1, 3))):
            active = disk.active.get(resource_id)
            role = self.chance.choice((ServiceRole.ACTIVE, ServiceRole.ACTIVE, ServiceRole.STANDBY))
            epoch = 0 if active is None else active.epoch
            changes.append(RoleChange(registration_id=held.registration_id, role=role, epoch=epoch))
        if changes:
            self.world.count("changes of roles asked for")
            drain_ms = int(self.chance.choice((0, 0.3, DRAIN_LEASES_MAX)) * self.world.lease_ms_max)
            client.operate(ChangeRoles(changes=tuple(changes), drain_ms=drain_ms, by=self._somebody()))

    def pause_or_resume(self) -> None:
        """Somebody lets a resource stay without an active for a while, if it comes to that, or ends this."""
        resource_id, client = self._any_resource(), self._any_client()
        if not client.is_running or client.is_paused:
            return
        if resource_id in self.world.host.disk.paused and self.chance.random() < 0.5:
            self.world.count("resources resumed")
            client.operate(ResumeResource(resource_id=resource_id))
        else:
            self.world.count("resources paused")
            for_ms = max(PAUSE_MS_MIN, int(self.chance.choice((0.0, 1.5, 3.0)) * self.world.lease_ms_max))
            client.operate(PauseResource(resource_id=resource_id, why="work", for_ms=for_ms))

    def _somebody(self) -> str:
        """Each time somebody else, so that what was asked for is told from what is asked for anew."""
        self._people += 1
        return f"somebody-{self._people}"

    def _any_resource(self) -> str:
        return self.chance.choice(self.world.resource_ids)

    def _any_client(self) -> Client:
        return self.chance.choice(self.world.clients)
