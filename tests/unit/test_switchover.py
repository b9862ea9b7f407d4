"""How a switchover is followed: whatever the broker answers, the caller learns what is the case."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec import structs

from tenure.contract.errors import (
    BrokerUnavailableError,
    NotActiveError,
    SwitchoverFailedError,
    TenureError,
)
from tenure.contract.interventions import CancelSwitchover, Switchover, SwitchoverCancelled, SwitchoverStarted
from tenure.contract.messages import BrokerMessage, ClientMessage, GetResource, Resource
from tenure.contract.views import Move, Pause, ResourceView, ServiceInstance
from tenure.contract.views import Switchover as UnderWay
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.sdk.switchover import cancel_switchover, switchover, this_person

STARTED = SwitchoverStarted(registration_id=1, epoch=10)
MOVED = Move(
    old_epoch=10,
    old_instance_id="a",
    end_reason=ChangeReason.SWITCHOVER,
    lease_ms=2_000,
    last_heard_ms=1_000,
    ended_ms=1_000,
    new_epoch=12,
    new_instance_id="b",
    promoted_ms=1_000,
)


class Answers:
    """A broker that answers what it was told to, in order; its last answer again and again."""

    def __init__(self, *answers: BrokerMessage | TenureError) -> None:
        self._answers = list(answers)
        self.asked: list[ClientMessage] = []

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """The next answer."""
        self.asked.append(message)
        found = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(found, TenureError):
            raise found
        assert isinstance(found, answer), f"{message} was answered with {found}"
        return found


def resource(active: tuple[str, int] | None, moves: Iterable[Move] = (), *, is_under_way: bool = False) -> Resource:
    """A resource for which this instance is active under this epoch."""
    under_way = UnderWay(epoch=10, asked_ms=1, drain_left_ms=0) if is_under_way else None
    view = ResourceView(
        resource_id="r",
        last_epoch=12,
        active=None if active is None else holder(*active),
        standbys=(),
        standby_count=0,
        switchover=under_way,
    )
    return Resource(revision=12, resource=view, moves=tuple(moves))


def holder(instance_id: str, epoch: int) -> ServiceInstance:
    """Who is active."""
    return ServiceInstance(
        registration_id=1,
        service_name="gw",
        instance_id=instance_id,
        resource_id="r",
        role=ServiceRole.ACTIVE,
        epoch=epoch,
        role_revision=epoch,
        revision=epoch,
        since_ms=1,
        priority=0,
        candidate=False,
        last_epoch=epoch,
        metadata={},
        session=1,
        status=ServiceStatus.HEALTHY,
        reported_status=ServiceStatus.HEALTHY,
        lease_ms=2_000,
        lease_left_ms=2_000,
    )


BEFORE = resource(("a", 10))


async def test_it_waits_until_the_next_holder_says_that_it_is_active() -> None:
    """Asked, ended, promoted, entered: only the last of these is the end; the request names who asks for it."""
    entered = structs.replace(MOVED, entered_ms=1_004)
    broker = Answers(
        BEFORE,
        STARTED,
        resource(("a", 10), is_under_way=True),
        resource(("b", 12), [MOVED]),
        resource(("b", 12), [entered]),
    )

    result = await switchover(broker, "r", drain_ms=50)

    assert (result.old_epoch, result.new_instance_id, result.new_epoch, result.gap_ms) == (10, "b", 12, 4)
    (request,) = [message for message in broker.asked if isinstance(message, Switchover)]
    assert (request.epoch, request.drain_ms) == (10, 50)
    assert "@" in request.by


@pytest.mark.parametrize("by", [None, "ada"])
async def test_who_calls_it_off_is_said(by: str | None) -> None:
    """This user on this machine, or whom the caller names: it stands in the broker's log."""
    broker = Answers(resource(("a", 10), is_under_way=True), SwitchoverCancelled(epoch=10))

    await cancel_switchover(broker, "r", by=by)

    (request,) = [message for message in broker.asked if isinstance(message, CancelSwitchover)]
    assert (request.epoch, request.by) == (10, by or this_person())


async def test_a_repeat_that_finds_it_done_is_no_failure() -> None:
    """★ The first answer was lost and the role has moved: the repeat is refused with not_active, and it was done."""
    entered = structs.replace(MOVED, entered_ms=1_004)

    result = await switchover(Answers(BEFORE, NotActiveError("over"), resource(("b", 12), [entered])), "r")

    assert result.new_instance_id == "b"


async def test_a_tenure_that_ended_otherwise_in_the_meantime_is_refused() -> None:
    """It was lost between the question and the request: nobody was asked for anything."""
    died = structs.replace(MOVED, end_reason=ChangeReason.DIED)

    with pytest.raises(NotActiveError):
        await switchover(Answers(BEFORE, NotActiveError("over"), resource(("b", 12), [died])), "r")


async def test_a_broker_that_is_away_for_a_while_is_asked_again() -> None:
    """It has started again after the move, and knows who is active but not how that came."""
    away = BrokerUnavailableError(("e",), 1)

    result = await switchover(Answers(BEFORE, STARTED, away, resource(("b", 12))), "r")

    assert (result.new_instance_id, result.new_epoch, result.end_reason, result.gap_ms) == ("b", 12, None, None)


@pytest.mark.parametrize("now", [None, ("c", 14)])
async def test_a_next_holder_that_is_gone_before_it_has_said_so_is_not_waited_for(now: tuple[str, int] | None) -> None:
    """★ Its work was done at once, say: the role has moved as planned, and how long nobody was active is not known."""
    gone = structs.replace(MOVED, old_epoch=12, old_instance_id="b", new_epoch=0 if now is None else 14)

    result = await switchover(Answers(BEFORE, STARTED, resource(now, [MOVED, gone])), "r")

    assert (result.new_instance_id, result.new_epoch, result.gap_ms) == ("b", 12, None)


async def test_a_next_holder_that_never_says_so_has_the_role_all_the_same() -> None:
    """A client of another kind may not tell when it is active: after the time is up it counts as moved."""
    result = await switchover(Answers(BEFORE, STARTED, resource(("b", 12), [MOVED])), "r", timeout_ms=50)

    assert (result.new_instance_id, result.gap_ms) == ("b", None)


@pytest.mark.parametrize("move", [True, False])
async def test_who_asked_is_told_that_nobody_follows_in_a_pause(*, move: bool) -> None:
    """★ The holder was lost before it stepped down: that is said at once, since it will not change by itself."""
    lost = structs.replace(MOVED, new_epoch=0, new_instance_id="", end_reason=ChangeReason.EXPIRED)
    vacant = resource(None, [lost] if move else [])
    pause = Pause(resource_id="r", why="w", paused_ms=1, until_ms=2, by="ada")
    vacant = structs.replace(vacant, resource=structs.replace(vacant.resource, pause=pause))
    how = " (it fell silent until its time ran out)" if move else ""

    with pytest.raises(SwitchoverFailedError) as failed:
        await switchover(Answers(BEFORE, STARTED, vacant), "r")

    assert failed.value.why == (
        f"a is not active any more{how}, and nobody is promoted while the resource is paused; the role is vacant until "
        "somebody asks for it or the pause ends"
    )


async def test_a_vacancy_that_nobody_asked_for_is_not_the_end() -> None:
    """The next one died at the same moment: somebody may come yet, and the caller is told that nobody has."""
    vacancy = structs.replace(MOVED, new_epoch=0, new_instance_id="")
    answers = Answers(BEFORE, STARTED, resource(None), resource(None, [vacancy]))

    with pytest.raises(SwitchoverFailedError, match="nobody is known to have taken over"):
        await switchover(answers, "r", timeout_ms=50)
    assert sum(isinstance(message, GetResource) for message in answers.asked) > 2
