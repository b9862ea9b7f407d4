"""Claims: who gets a role, who is refused, who waits, and what asking again does."""

from __future__ import annotations

import pytest

from tenure.contract.errors import DuplicateInstanceError, ErrorCode, LimitExceededError, RoleConflictError
from tenure.contract.events import PreviousHolder, RegisteredEvent, RegistrationUpdatedEvent, RoleChangedEvent
from tenure.contract.messages import Register, Registered, RoleStatement
from tenure.contract.views import Holder
from tenure.contract.vocabulary import ChangeReason, OnConflict, ServiceRole, ServiceStatus
from tenure.domain.limits import RegistryLimits
from tests.unit.scene import LEASE_MS, Scene


def test_no_role_given_means_standby() -> None:
    """A registration that asks for nothing stands by, also where nobody is active."""
    a = Scene().client("a")

    registered = a.register(Register(service_name="svc", instance_id="a", resource_id="r"))

    assert registered == Registered(registration_id=3, resource_id="r", role=ServiceRole.STANDBY, revision=3)


def test_no_resource_given_means_the_service() -> None:
    """A registration that names no resource is for the one called like its service."""
    a = Scene().client("a")

    assert a.register(Register(service_name="svc", instance_id="a")).resource_id == "svc"


def test_a_vacant_role_is_granted() -> None:
    """A claim on a vacant resource is granted, under an epoch that is the revision of the event that began it."""
    scene = Scene()
    a = scene.client("a")

    held = a.claim("r", priority=7)

    assert held == Registered(registration_id=3, resource_id="r", role=ServiceRole.ACTIVE, epoch=3, revision=3)
    assert scene.last.events == (
        RegisteredEvent(
            revision=3,
            at_ms=scene.now.unix_ms,
            registration_id=3,
            resource_id="r",
            service_name="svc",
            instance_id="a",
            new_role=ServiceRole.ACTIVE,
            epoch=3,
            reason=ChangeReason.REGISTERED,
            session=a.session,
            lease_ms=2_000,
            status=ServiceStatus.HEALTHY,
            priority=7,
        ),
    )
    assert scene.last.statements == ()


def test_a_held_role_is_refused() -> None:
    """A second claim on a resource is refused, says who holds it since when, and registers nothing."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    since_ms = scene.now.unix_ms
    scene.now_ms += 100

    with pytest.raises(RoleConflictError) as refused:
        b.claim("r")

    assert refused.value.holder == Holder(service_name="svc", instance_id="a", epoch=held.epoch, since_ms=since_ms)
    assert "svc/a" in str(refused.value)
    assert scene.who("r") == "a |"
    assert scene.decisions[-2].changes == ()


def test_two_services_compete_for_one_resource() -> None:
    """A resource's name is global: another service that names it meets the same holder."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")

    with pytest.raises(RoleConflictError):
        b.register(Register(service_name="other", instance_id="b", resource_id="r", role=ServiceRole.ACTIVE))


def test_a_second_instance_of_the_same_session_conflicts_too() -> None:
    """One session's second instance is no exception: one resource has one active."""
    a = Scene().client("a")
    a.claim("r", instance_id="one")

    with pytest.raises(RoleConflictError):
        a.claim("r", instance_id="two")


def test_a_candidate_takes_a_vacant_role_at_once() -> None:
    """With on_conflict=standby a vacant role is granted like any other."""
    a = Scene().client("a")

    assert a.compete("r").role is ServiceRole.ACTIVE


def test_a_candidate_waits_for_a_held_role() -> None:
    """With on_conflict=standby a held role makes a candidate of the claim, in the same request."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")

    assert b.compete("r").role is ServiceRole.STANDBY

    assert scene.resource("r").standbys[0].candidate
    assert scene.who("r") == "a | b"


def test_a_candidate_that_is_not_fit_waits() -> None:
    """A candidate whose session is still starting stands by, and has the role with its first heartbeat."""
    scene = Scene()
    a = scene.client("a", status=None)

    assert a.compete("r").role is ServiceRole.STANDBY
    a.beat()

    assert scene.who("r") == "a |"


def test_a_plain_claim_needs_no_heartbeat() -> None:
    """Whoever insists on the role gets it before its first heartbeat, or learns of the conflict."""
    a = Scene().client("a", status=None)

    assert a.claim("r").role is ServiceRole.ACTIVE


def test_a_repeat_changes_nothing() -> None:
    """A registration that is repeated finds its result: same id, same epoch, no event."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    first = [a.claim("r"), b.compete("r"), b.stand_by("s")]
    before = scene.registry.revision

    assert [a.claim("r"), b.compete("r"), b.stand_by("s")] == first
    assert scene.registry.revision == before


def test_asking_again_with_other_properties() -> None:
    """A registration that asks again with another priority or metadata is updated; its role and its turn stay."""
    scene = Scene()
    a = scene.client("a")
    first = a.stand_by("r")

    again = a.register(
        Register(service_name="svc", instance_id="a", resource_id="r", priority=9, metadata={"host": "h"})
    )

    assert again == first
    assert scene.last.events == (
        RegistrationUpdatedEvent(
            revision=first.revision + 1,
            at_ms=scene.now.unix_ms,
            registration_id=first.registration_id,
            resource_id="r",
            service_name="svc",
            instance_id="a",
            priority=9,
            metadata={"host": "h"},
        ),
    )
    standby = scene.resource("r").standbys[0]
    assert (standby.priority, standby.metadata, standby.revision) == (9, {"host": "h"}, first.revision + 1)


def test_an_active_that_asks_to_stand_by_stays_active() -> None:
    """Registering is no resignation: an active that asks as a standby keeps its tenure."""
    a = Scene().client("a")
    held = a.claim("r")

    assert a.stand_by("r") == held


def test_a_standby_claims_a_vacant_role() -> None:
    """A standby that asks again for the vacant role gets it under the same registration."""
    scene = Scene()
    a = scene.client("a")
    standing = a.stand_by("r")

    held = a.claim("r")

    assert held.registration_id == standing.registration_id
    assert held.role is ServiceRole.ACTIVE
    changed = scene.last.events[-1]
    assert isinstance(changed, RoleChangedEvent)
    assert (changed.reason, changed.old_role, changed.epoch) == (
        ChangeReason.CLAIMED,
        ServiceRole.STANDBY,
        changed.revision,
    )


def test_a_standby_that_claims_a_held_role_stays_as_it_is() -> None:
    """A standby that insists on a held role is refused, and nothing about it changes: not even its priority."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.compete("r")

    with pytest.raises(RoleConflictError):
        b.claim("r", priority=5)

    standby = scene.resource("r").standbys[0]
    assert (standby.candidate, standby.priority) == (True, 0)


def test_a_tenure_names_the_one_before() -> None:
    """What begins a tenure says whose ended last."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    first = a.claim("r")
    a.deregister(first)

    b.claim("r")

    registered = scene.last.events[-1]
    assert isinstance(registered, RegisteredEvent)
    assert registered.previous_holder == PreviousHolder(service_name="svc", instance_id="a", epoch=first.epoch)


def test_the_same_instance_in_another_session() -> None:
    """An instance of a living session is refused to another one, with the time after which to try again."""
    scene = Scene()
    a, ghost = scene.client("a"), scene.client("ghost")
    a.claim("r")
    scene.now_ms += 500

    with pytest.raises(DuplicateInstanceError) as refused:
        ghost.stand_by("r", instance_id="a")

    assert refused.value.retry_after_ms == 1_500
    assert "1500 ms" in str(refused.value)


@pytest.mark.parametrize(
    ("hold_limits_ms", "silent_ms"), [((), 0.5), ((6_000,), 0.5), ((9_000, 6_000), 0.5), ((9_000, 6_000), LEASE_MS)]
)
def test_a_restarted_service_meets_its_own_ghost(hold_limits_ms: tuple[int, ...], silent_ms: float) -> None:
    """★ A service that restarts is told when its previous session ends, with all it holds: then it has its role."""
    scene = Scene()
    before, after = scene.client("before"), scene.client("after")
    before.claim("r", instance_id="a")
    for hold_limit_ms in hold_limits_ms:
        before.claim(f"held for {hold_limit_ms}", hold_limit_ms=hold_limit_ms)
    scene.pass_ms(silent_ms, after)

    with pytest.raises(DuplicateInstanceError) as refused:
        after.claim("r", instance_id="a")
    scene.pass_ms(refused.value.retry_after_ms - 1, after)
    with pytest.raises(DuplicateInstanceError):
        after.claim("r", instance_id="a")
    scene.pass_ms(1, after)

    assert after.claim("r", instance_id="a").role is ServiceRole.ACTIVE


def test_a_ghost_that_only_stood_by_ends_with_its_lease() -> None:
    """It holds nothing that could outlast it."""
    scene = Scene()
    before, after = scene.client("before"), scene.client("after")
    before.stand_by("r", instance_id="a")

    with pytest.raises(DuplicateInstanceError) as refused:
        after.stand_by("r", instance_id="a")

    assert refused.value.retry_after_ms == LEASE_MS


def test_the_same_instance_for_another_resource() -> None:
    """One instance may be registered for many resources, by many sessions."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")

    assert b.claim("s", instance_id="a").role is ServiceRole.ACTIVE


def test_a_batch_has_a_result_for_each() -> None:
    """A batch is carried out item by item, in order; one item's refusal is that item's alone."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("taken")

    def claim(resource_id: str, on_conflict: OnConflict = OnConflict.REJECT) -> Register:
        return Register(
            service_name="svc",
            instance_id="b",
            resource_id=resource_id,
            role=ServiceRole.ACTIVE,
            on_conflict=on_conflict,
        )

    reply = b.register_many(
        claim("free"), claim("taken"), claim("taken", OnConflict.STANDBY), claim("free"), claim("bad\n")
    )

    assert [result.registered and result.registered.role for result in reply.results] == [
        ServiceRole.ACTIVE,
        None,
        ServiceRole.STANDBY,
        ServiceRole.ACTIVE,
        None,
    ]
    assert [result.error and result.error.code for result in reply.results] == [
        None,
        ErrorCode.ROLE_CONFLICT,
        None,
        None,
        ErrorCode.INVALID_REQUEST,
    ]
    assert [event.revision for event in scene.last.events] == [6, 7]


def test_a_full_session() -> None:
    """A session takes so many registrations; those it has may ask again, and one that ends makes room."""
    scene = Scene(RegistryLimits(registrations_per_session_max=2))
    a = scene.client("a")
    a.stand_by("r1")
    second = a.stand_by("r2")

    with pytest.raises(LimitExceededError, match="registrations_per_session_max") as refused:
        a.stand_by("r3")
    assert refused.value.info.limit == 2
    a.claim("r1")
    a.deregister(second)

    a.stand_by("r3")


def test_a_full_resource() -> None:
    """A resource takes so many registrations, its active one included."""
    scene = Scene(RegistryLimits(registrations_per_resource_max=2))
    a, b, c = (scene.client(name) for name in "abc")
    a.claim("r")
    b.stand_by("r")

    with pytest.raises(LimitExceededError, match="registrations_per_resource_max"):
        c.stand_by("r")
    c.stand_by("s")


def test_a_full_broker() -> None:
    """A broker takes so many registrations in all."""
    scene = Scene(RegistryLimits(registrations_max=2))
    a, b = scene.client("a"), scene.client("b")
    a.stand_by("r1")
    a.stand_by("r2")

    with pytest.raises(LimitExceededError, match="registrations_max"):
        b.stand_by("r3")


def test_a_promotion_is_told_to_the_promoted() -> None:
    """Who is promoted without having asked is told so: session, role, epoch, revision."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    standing = b.compete("r")

    a.resign(held)

    epoch = scene.registry.revision
    statement = RoleStatement(
        registration_id=standing.registration_id, role=ServiceRole.ACTIVE, epoch=epoch, revision=epoch
    )
    assert scene.last.statements == ((b.session, statement),)
