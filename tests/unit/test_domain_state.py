"""The registry's memory: it refuses changes that break what must always hold, and its indices stay small."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.draft import Draft
from tenure.domain.records import (
    DropSession,
    Instant,
    PutRegistration,
    PutSession,
    PutTenure,
    Registration,
    Session,
    Tenure,
)
from tenure.domain.rising import RisingIds
from tenure.domain.state import InvariantError, Presence, State, leases_of

SESSION = Session(
    number=1,
    session_id="secret",
    identity="",
    lease_ms=2_000,
    status=ServiceStatus.HEALTHY,
    client="",
    opened_ms=0,
)
ACTIVE = Registration(
    registration_id=2,
    session=1,
    service_name="svc",
    instance_id="a",
    resource_id="r",
    role=ServiceRole.ACTIVE,
    epoch=2,
    role_revision=2,
    revision=2,
    since_ms=0,
)
TENURE = Tenure(
    epoch=2,
    resource_id="r",
    service_name="svc",
    instance_id="a",
    began_ms=0,
    ended_ms=1,
    end_revision=3,
    end_reason=ChangeReason.RESIGNED,
)


def state_with_an_active() -> State:
    """One session with one active registration."""
    state = State()
    state.absorb(PutSession(SESSION))
    state.absorb(PutRegistration(ACTIVE))
    return state


def test_a_second_active_is_refused() -> None:
    """★ A change that would leave a resource with two actives is not absorbed."""
    state = state_with_an_active()

    with pytest.raises(InvariantError, match="two actives"):
        state.absorb(PutRegistration(structs.replace(ACTIVE, registration_id=3, instance_id="b", epoch=3)))

    assert state.resources["r"].active == 2


def test_an_instance_is_registered_once() -> None:
    """The same service, instance and resource under another id is not absorbed."""
    state = state_with_an_active()

    with pytest.raises(InvariantError, match="registered twice"):
        state.absorb(PutRegistration(structs.replace(ACTIVE, registration_id=3, role=ServiceRole.STANDBY, epoch=0)))


def test_an_epoch_never_falls() -> None:
    """★ A tenure with a lower epoch than the resource has had is not absorbed, neither its begin nor its end."""
    state = state_with_an_active()
    with pytest.raises(InvariantError, match="epoch 1 after 2"):
        state.absorb(PutTenure(structs.replace(TENURE, epoch=1)))
    with pytest.raises(InvariantError, match="epoch 1 after 2"):
        state.absorb(PutRegistration(structs.replace(ACTIVE, epoch=1)))


def test_a_session_does_not_end_before_its_registrations() -> None:
    """A session that still holds registrations is not dropped."""
    with pytest.raises(InvariantError, match="1 registrations"):
        state_with_an_active().absorb(DropSession(1))


def draft_on(state: State) -> Draft:
    """A draft on a state whose newest revision is 2."""
    return Draft(state, 2, Instant(0.0, 0), abandoned_max=10, may_promote=True)


def test_nothing_is_filled_where_nothing_is() -> None:
    """Filling the vacancy of a resource that nobody knows does nothing."""
    draft = draft_on(State())

    draft.fill("nothing")

    assert draft.changes == []


def test_rising_ids_take_only_greater_ones() -> None:
    """Ids are revisions: one that is not greater than all before it is a defect."""
    ids = RisingIds()
    ids.add(5)

    with pytest.raises(AssertionError, match="ids rise"):
        ids.add(5)


def test_rising_ids_forget_what_is_gone() -> None:
    """Ids that have left are swept out once they are half of the list: what is kept follows what lives."""
    ids = RisingIds()
    living = _CountingSet(range(1, 101))
    for number in sorted(living):
        ids.add(number)

    for number in range(1, 91):
        living.remove(number)
        ids.removed_one(living)

    assert len(ids) == 10
    living.count = 0
    assert ids.page(0, 3, living) == [91, 92, 93]
    assert living.count <= 3 + len(ids)
    assert ids.page(98, 3, living) == [99, 100]
    assert ids.page(100, 3, living) == []


class _CountingSet(set[int]):
    """A set that counts how often it is asked for a member."""

    count = 0

    def __contains__(self, member: object) -> bool:
        self.count += 1
        return super().__contains__(member)


def test_deadlines_of_what_has_ended_are_forgotten() -> None:
    """Sessions with long leases that are opened and ended in a loop do not fill the memory until those leases end."""
    living = {1: Presence(SESSION)}
    leases = leases_of(living)

    for number in range(2, 1_000):
        living[number] = Presence(structs.replace(SESSION, number=number))
        leases.add(number)
        del living[number]

    assert len(leases) <= 5
    assert leases.pop_due(0.0) is living[1]
    assert leases.pop_due(0.0) is None
    assert leases.next_ms() is None
