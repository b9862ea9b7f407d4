"""Replicas beside the registry of a scene, and what the registry itself says of the same."""

from __future__ import annotations

from tenure.contract.messages import ListPresence, ListServices, PresencePage
from tenure.contract.views import Presence, ServiceInstance
from tenure.sdk.replica import Replica
from tests.unit.scene import Scene


def presence_of(scene: Scene) -> dict[int, Presence]:
    """What the broker observes of each session."""
    page = scene.ask(ListPresence())
    assert isinstance(page, PresencePage)
    return {one.session: one for one in page.presence}


def rows_of(
    scene: Scene, *, service_name: str | None = None, resource_id: str | None = None
) -> tuple[ServiceInstance, ...]:
    """The registry's own rows."""
    return scene.page(ListServices(service_name=service_name, resource_id=resource_id)).instances


def assert_same(replica: Replica, scene: Scene) -> None:
    """The replica says what the registry says, once it is told what the broker observes of the sessions."""
    presence = presence_of(scene)
    assert replica.is_settled
    assert replica.revision == scene.registry.revision
    assert replica.instances(presence=presence) == list(rows_of(scene))
    assert replica.pauses == {pause.resource_id: pause for pause in scene.page(ListServices()).pauses}
    living = {row.resource_id for row in rows_of(scene)}
    assert set(replica.resource_ids) == living
    for resource_id in living:
        assert replica.resource(resource_id, presence) == scene.resource(resource_id)
    assert set(replica.services) == {row.service_name for row in rows_of(scene)}
    for service_name in replica.services:
        rows = rows_of(scene, service_name=service_name)
        assert replica.resources_of(service_name) == sorted({row.resource_id for row in rows})


def copy_of(scene: Scene, *, service_name: str | None = None, resource_id: str | None = None) -> Replica:
    """A replica from a snapshot that was taken at once."""
    replica = Replica(service_name=service_name, resource_id=resource_id)
    page = scene.page(ListServices(service_name=service_name, resource_id=resource_id))
    replica.begin(page.history_id, page.revision)
    replica.load(page)
    return replica


def feed(replica: Replica, scene: Scene) -> Replica:
    """Apply all that has happened."""
    for event in scene.events:
        assert replica.apply(event)
    return replica
