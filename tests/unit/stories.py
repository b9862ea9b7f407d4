"""Stories for Hypothesis to tell: whatever may happen to a registry while somebody takes a snapshot of it page by page.

`occurrences` are the things that may happen, each to be called with the `Story` it happens in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import strategies as st
from msgspec import structs

from tenure.contract.errors import RequestRefusedError
from tenure.contract.interventions import PauseResource, ResumeResource
from tenure.contract.messages import Deregister, GivenUp, ListServices, Register, Resign
from tenure.contract.views import ServiceInstance
from tenure.contract.vocabulary import OnConflict, ServiceRole, ServiceStatus
from tenure.domain.limits import RegistryLimits
from tenure.sdk.replica import Replica
from tests.unit.replica_stage import rows_of
from tests.unit.scene import Scene

LIMITS = RegistryLimits(abandoned_resources_max=1)
NAMES = ("a", "b", "c")
RESOURCES = ("r1", "r2", "svc")


class Story:
    """Things that happen to a registry, while somebody takes a snapshot of it page by page."""

    def __init__(self) -> None:
        self.scene = Scene(LIMITS)
        self.clients = [self.scene.client(name) for name in NAMES]
        self.replica = Replica()
        self.pages = 0
        self.after: int | None = 0

    def happen(self, steps: list[Step]) -> None:
        """Let things happen; what the registry refuses does not."""
        for step in steps:
            with contextlib.suppress(RequestRefusedError):
                step(self)

    def page(self, limit: int) -> None:
        """Take the snapshot's next page, if there is one."""
        if self.after is None:
            return
        page = self.scene.page(ListServices(after=self.after, limit=limit))
        if not self.pages:
            self.replica.begin(page.history_id, page.revision)
        self.pages += 1
        self.replica.load(page)
        self.after = page.next_after

    def hello(self, number: int) -> None:
        """Open another session if the last one has ended."""
        client = self.clients[number]
        if client.session not in self.scene.registry.state.sessions:
            client.session_id += "+"
            client.hello()

    def beat(self, number: int, status: ServiceStatus) -> None:
        """Send a heartbeat."""
        self.clients[number].beat(status)

    def register(self, number: int, request: Register) -> None:
        """Register, or ask again."""
        client = self.clients[number]
        client.register(structs.replace(request, instance_id=client.name))

    def resign(self, number: int, resource_id: str) -> None:
        """Step down."""
        for row in self._own(number, resource_id):
            self.clients[number].ask(Resign(registration_id=row.registration_id, epoch=row.epoch))

    def give_up(self, number: int, resource_id: str, is_declined: bool) -> None:
        """Say in a heartbeat that a tenure was left."""
        for row in self._own(number, resource_id):
            client = self.clients[number]
            client.beat(client.status, GivenUp(epoch=row.epoch, declined=is_declined))

    def deregister(self, number: int, resource_id: str) -> None:
        """End registrations."""
        for row in self._own(number, resource_id):
            self.clients[number].ask(Deregister(registration_id=row.registration_id, epoch=row.epoch))

    def goodbye(self, number: int) -> None:
        """End the session."""
        self.clients[number].goodbye()

    def pause(self, resource_id: str) -> None:
        """Pause a resource."""
        self.scene.ask(PauseResource(resource_id=resource_id, why=f"since {self.scene.now_ms}", for_ms=1_000))

    def resume(self, resource_id: str) -> None:
        """End a pause."""
        self.scene.ask(ResumeResource(resource_id=resource_id))

    def wait(self, wait_ms: int) -> None:
        """Let time pass, and what has expired end."""
        self.scene.now_ms += wait_ms
        self.scene.expire()

    def _own(self, number: int, resource_id: str) -> list[ServiceInstance]:
        session = self.clients[number].session
        return [row for row in rows_of(self.scene, resource_id=resource_id) if row.session == session]


type Step = Callable[[Story], None]

clients = st.integers(0, 2)
resources = st.sampled_from(RESOURCES)
requests = st.builds(
    Register,
    service_name=st.sampled_from(("svc", "other")),
    instance_id=st.just("?"),
    resource_id=resources,
    role=st.sampled_from(ServiceRole),
    on_conflict=st.sampled_from(OnConflict),
    priority=st.integers(0, 2),
    hold_limit_ms=st.sampled_from((0, 0, 3_000)),
    metadata=st.sampled_from(({}, {"host": "h"})),
)
statuses = st.sampled_from([*ServiceStatus, *[ServiceStatus.HEALTHY] * 6])


def step_of(what: Callable[..., None], **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """One thing that may happen."""
    return st.builds(partial, st.just(what), **arguments)


registrations = step_of(Story.register, number=clients, request=requests)
occurrences = st.one_of(
    registrations,
    registrations,
    step_of(Story.hello, number=clients),
    step_of(Story.beat, number=clients, status=statuses),
    step_of(Story.beat, number=clients, status=statuses),
    step_of(Story.resign, number=clients, resource_id=resources),
    step_of(Story.give_up, number=clients, resource_id=resources, is_declined=st.booleans()),
    step_of(Story.deregister, number=clients, resource_id=resources),
    step_of(Story.goodbye, number=clients),
    step_of(Story.pause, resource_id=resources),
    step_of(Story.resume, resource_id=resources),
    step_of(Story.wait, wait_ms=st.sampled_from((100, 700, 1_300))),
)
pages = step_of(Story.page, limit=st.integers(1, 3))
