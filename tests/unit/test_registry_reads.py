"""Reads: pages of instances, resources and presence, and one resource."""

from __future__ import annotations

import pytest

from tenure.contract.errors import InvalidRequestError, NotFoundError
from tenure.contract.limits import PAGE_ITEMS_MAX, STANDBYS_LISTED_MAX
from tenure.contract.messages import (
    GetResource,
    Hello,
    ListPresence,
    ListRoles,
    ListServices,
    PresencePage,
    Register,
    RolePage,
    ServicePage,
)
from tenure.contract.views import Presence, ServiceInstance
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.domain.records import Instant, StoredState
from tenure.domain.registry import Origin, Registry
from tests.unit.scene import HISTORY, Client, Scene


def roles(scene: Scene, request: ListRoles) -> RolePage:
    """A page of roles."""
    reply = scene.ask(request)
    assert isinstance(reply, RolePage)
    return reply


def test_an_instance_as_readers_see_it() -> None:
    """An instance's view has everything its registration and its session say."""
    scene = Scene()
    a = scene.client("a", status=ServiceStatus.DEGRADED)
    since_ms = scene.now.unix_ms
    a.register(
        Register(
            service_name="svc",
            instance_id="a",
            resource_id="r",
            role=ServiceRole.ACTIVE,
            priority=3,
            metadata={"host": "h"},
        )
    )
    scene.now_ms += 500

    page = scene.page(ListServices())

    assert (page.history_id, page.revision, page.next_after) == (HISTORY, 3, None)
    assert page.instances == (
        ServiceInstance(
            registration_id=3,
            service_name="svc",
            instance_id="a",
            resource_id="r",
            role=ServiceRole.ACTIVE,
            epoch=3,
            role_revision=3,
            revision=3,
            since_ms=since_ms,
            priority=3,
            last_epoch=3,
            metadata={"host": "h"},
            session=a.session,
            status=ServiceStatus.DEGRADED,
            reported_status=ServiceStatus.DEGRADED,
            lease_ms=2_000,
            lease_left_ms=1_500,
        ),
    )
    assert page.instances[0].is_active


def test_a_lease_that_is_over_has_nothing_left() -> None:
    """A session whose lease is over but not ended yet has 0 ms left, not less."""
    scene = Scene()
    scene.client("a").stand_by("r")

    scene.now_ms += 9_000

    assert scene.page(ListServices()).instances[0].lease_left_ms == 0


def test_pages_of_instances() -> None:
    """A walk in pages meets every instance once, by id, and ends with the page that has no `next_after`."""
    scene = Scene()
    a = scene.client("a")
    expected = [a.stand_by(f"r{number}").registration_id for number in range(5)]
    found: list[int] = []
    after: int | None = 0

    while after is not None:
        page = scene.page(ListServices(after=after, limit=2))
        found += [instance.registration_id for instance in page.instances]
        after = page.next_after

    assert found == expected


def test_instances_of_a_service_and_of_a_resource() -> None:
    """A page may be of one service, of one resource, or of one service for one resource."""
    scene = Scene()
    a = scene.client("a")
    for service_name, resource_id in (("s1", "r1"), ("s1", "r2"), ("s2", "r1"), ("s2", "r3")):
        a.register(Register(service_name=service_name, instance_id="a", resource_id=resource_id))

    def found(request: ListServices) -> list[str]:
        return [f"{instance.service_name}/{instance.resource_id}" for instance in scene.page(request).instances]

    assert found(ListServices(service_name="s1")) == ["s1/r1", "s1/r2"]
    assert found(ListServices(resource_id="r1")) == ["s1/r1", "s2/r1"]
    assert found(ListServices(service_name="s2", resource_id="r1")) == ["s2/r1"]
    assert found(ListServices(service_name="nobody")) == []
    assert found(ListServices(resource_id="nothing")) == []


def test_the_active_instance_of_a_resource_has_its_place() -> None:
    """A page of a resource is in the order of ids, wherever the active one stands, and goes on after one."""
    scene = Scene()
    a = scene.client("a")
    ids = [a.stand_by("r", instance_id=f"a{number}").registration_id for number in range(3)]
    a.claim("r", instance_id="a1")

    first = scene.page(ListServices(resource_id="r", limit=2))
    second = scene.page(ListServices(resource_id="r", limit=2, after=first.next_after or 0))

    assert [instance.registration_id for instance in first.instances] == ids[:2]
    assert [instance.registration_id for instance in second.instances] == ids[2:]


def test_gone_instances_are_not_listed() -> None:
    """What was deregistered is in no page, whether many or few of its kind are left."""
    scene = Scene()
    a = scene.client("a")
    registered = [a.stand_by(f"r{number}") for number in range(6)]
    for gone in registered[:2]:
        a.deregister(gone)
    kept = [left.registration_id for left in registered[2:]]
    assert [instance.registration_id for instance in scene.page(ListServices()).instances] == kept

    for gone in registered[2:5]:
        a.deregister(gone)
    assert [instance.registration_id for instance in scene.page(ListServices(service_name="svc")).instances] == kept[3:]


def test_one_resource() -> None:
    """A resource shows its active one, its standbys in succession order, and its newest epoch."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    scene.end_session(a)

    view = scene.resource("r")

    assert view.active is not None
    assert (view.active.instance_id, view.standbys, view.standby_count) == ("b", (), 0)
    assert view.last_epoch == view.active.epoch > held.epoch


def test_a_resource_that_never_had_an_active() -> None:
    """A resource without a tenure has epoch 0."""
    scene = Scene()
    scene.client("a").stand_by("r")

    view = scene.resource("r")

    assert (view.active, view.last_epoch, view.standby_count) == (None, 0, 1)


def test_a_long_line_is_cut() -> None:
    """Of many standbys the first hundred are shown; their number is that of all."""
    scene = Scene()
    a = scene.client("a")
    for number in range(STANDBYS_LISTED_MAX + 1):
        a.stand_by("r", instance_id=f"a{number}")

    view = scene.resource("r")

    assert (len(view.standbys), view.standby_count) == (STANDBYS_LISTED_MAX, STANDBYS_LISTED_MAX + 1)


@pytest.mark.parametrize("resource_id", ["never", "abandoned"])
def test_a_resource_nobody_is_registered_for(resource_id: str) -> None:
    """A resource without registrations is not found, whether it ever had some or not."""
    scene = Scene()
    a = scene.client("a")
    a.deregister(a.claim("abandoned"))

    with pytest.raises(NotFoundError):
        scene.resource(resource_id)


def test_roles_of_a_service() -> None:
    """The roles of a service are its resources, each with whoever competes for it, also of other services."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r1")
    a.claim("r2")
    b.register(Register(service_name="other", instance_id="b", resource_id="r1"))
    b.register(Register(service_name="other", instance_id="b", resource_id="r3"))

    page = roles(scene, ListRoles(service_name="svc"))

    assert [(view.resource_id, view.standby_count) for view in page.resources] == [("r1", 1), ("r2", 0)]
    assert page.next_after is None


def test_roles_come_in_pages() -> None:
    """A page of roles ends where its instances reach the limit; the next goes on after it."""
    scene = Scene()
    a = scene.client("a")
    for resource_id in ("r1", "r2", "r3"):
        a.claim(resource_id, instance_id="one")
        a.stand_by(resource_id, instance_id="two")
    found: list[list[str]] = []
    after: int | None = 0

    while after is not None:
        page = roles(scene, ListRoles(service_name="svc", after=after, limit=3))
        found.append([view.resource_id for view in page.resources])
        after = page.next_after

    assert found == [["r1", "r2"], ["r2", "r3"], ["r3"]]


def test_a_page_of_roles_counts_all_standbys() -> None:
    """A resource with a long line ends a page, however few of the line are shown: each had to be put in order."""
    scene = Scene()
    a = scene.client("a")
    for resource_id in ("r1", "r2"):
        for number in range(STANDBYS_LISTED_MAX + 50):
            a.stand_by(resource_id, instance_id=f"a{number}")

    page = roles(scene, ListRoles(service_name="svc", limit=STANDBYS_LISTED_MAX + 20))

    assert [view.resource_id for view in page.resources] == ["r1"]


def test_roles_after_the_last() -> None:
    """Asking for roles after the last instance finds an empty page, not an error."""
    scene = Scene()
    a = scene.client("a")
    last = a.claim("r").registration_id

    page = roles(scene, ListRoles(service_name="svc", after=last))

    assert (page.resources, page.next_after) == ((), None)


def test_roles_of_nobody() -> None:
    """A service without instances is not found, also when it had some."""
    scene = Scene()
    a = scene.client("a")
    a.deregister(a.claim("r"))

    with pytest.raises(NotFoundError):
        scene.ask(ListRoles(service_name="svc"))


def presence(client: Client, status: ServiceStatus, lease_left_ms: int) -> Presence:
    """How a client is doing."""
    return Presence(session=client.session, status=status, lease_left_ms=lease_left_ms)


def test_presence() -> None:
    """Presence is every living session's number, status and lease, in pages."""
    scene = Scene()
    a, b, c = (scene.client(name, lease_ms=10_000) for name in "abc")
    b.goodbye()
    scene.now_ms += 1_000
    c.beat(ServiceStatus.DRAINING)

    first = scene.ask(ListPresence(limit=1))
    rest = scene.ask(ListPresence(after=a.session))

    assert first == PresencePage(presence=(presence(a, ServiceStatus.HEALTHY, 9_000),), next_after=a.session)
    assert rest == PresencePage(presence=(presence(c, ServiceStatus.DRAINING, 10_000),))


@pytest.mark.parametrize("limit", [0, -1, PAGE_ITEMS_MAX + 1])
def test_limits_of_a_page(limit: int) -> None:
    """A page has 1 to 1,000 items."""
    scene = Scene()
    scene.client("a").stand_by("r")

    for request in (
        ListServices(limit=limit),
        ListServices(resource_id="r", limit=limit),
        ListRoles(service_name="svc", limit=limit),
        ListPresence(limit=limit),
    ):
        with pytest.raises(InvalidRequestError, match="1 to 1000"):
            scene.ask(request)


@pytest.mark.parametrize("name", ["", "x" * 256, "\x00" * 100_000, " r"])
def test_names_nobody_can_have(name: str) -> None:
    """A question about a name that nothing can have is refused, with an answer that does not quote all of it."""
    scene = Scene()

    for request in (
        GetResource(resource_id=name),
        ListRoles(service_name=name),
        ListServices(service_name=name),
        ListServices(resource_id=name),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            scene.ask(request)
        assert len(str(refused.value)) < 300


def test_reads_change_nothing() -> None:
    """No read leaves an event or a change."""
    scene = Scene()
    scene.client("a").claim("r")
    before = len(scene.events)

    for request in (ListServices(), ListRoles(service_name="svc"), GetResource(resource_id="r"), ListPresence()):
        scene.ask(request)
        assert scene.last.changes == ()

    assert len(scene.events) == before


def test_a_page_of_instances_with_much_metadata_is_shorter() -> None:
    """A page carries so much metadata and no more; the walk through the pages still meets every instance once."""
    stored = StoredState(history_id="h", revision=0, sessions=(), registrations=(), tenures=())
    registry = Registry(stored, Instant(0, 0))
    registry.apply(Hello(version=1, session_id="s" * 16), Origin(), Instant(0, 0))
    for number in range(40):
        much = {str(part): "x" * 1_000 for part in range(4)}
        registry.apply(
            Register(service_name="s", instance_id=str(number), metadata=much), Origin(session=1), Instant(0, 0)
        )
    met: list[str] = []
    after: int | None = 0
    while after is not None:
        page = registry.apply(ListServices(after=after), Origin(), Instant(0, 0)).reply
        assert isinstance(page, ServicePage)
        assert 1 <= len(page.instances) <= 16
        met += [instance.instance_id for instance in page.instances]
        after = page.next_after
    assert met == [str(number) for number in range(40)]
