"""What tests of paused resources ask for, and whom a decision promoted."""

from __future__ import annotations

from tenure.contract.events import RoleChangedEvent
from tenure.contract.interventions import Paused, PauseResource, Resumed, ResumeResource
from tenure.contract.messages import Registered
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tests.unit.scene import Client, Scene


def pause(scene: Scene, resource_id: str = "r", *, for_ms: int = 60_000, by: str = "ada", why: str = "work") -> Pause:
    """Pause a resource."""
    reply = scene.ask(PauseResource(resource_id=resource_id, why=why, for_ms=for_ms, by=by))
    assert isinstance(reply, Paused)
    return reply.pause


def resume(scene: Scene, resource_id: str = "r") -> Pause:
    """End a pause."""
    reply = scene.ask(ResumeResource(resource_id=resource_id, by="eve"))
    assert isinstance(reply, Resumed)
    return reply.pause


def paused_beside_a_candidate(scene: Scene) -> tuple[Client, Client, Registered]:
    """A paused resource: who is active for it, who waits for its role, and the tenure that goes on."""
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.compete("r")
    pause(scene)
    return a, b, held


def promotions(scene: Scene) -> list[tuple[str, ChangeReason]]:
    """Whom the newest decision promoted, and why."""
    return [
        (event.instance_id, event.reason)
        for event in scene.last.events
        if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE
    ]
