"""Planned moves: who is asked, what is refused beforehand, what an acknowledgement does, and what silence comes to."""

from __future__ import annotations

import pytest

from tenure.contract.errors import (
    InvalidRequestError,
    NotActiveError,
    NotEligibleError,
    NotFoundError,
    StoreRolledBackError,
    SwitchoverUnderWayError,
)
from tenure.contract.events import RoleChangedEvent
from tenure.contract.interventions import CancelSwitchover, Switchover, SwitchoverCancelled, SwitchoverStarted
from tenure.contract.limits import DRAIN_MS_MAX
from tenure.contract.messages import GivenUp
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tests.unit.planned import Planned, unfit
from tests.unit.scene import LEASE_MS, Scene


def test_nothing_moves_before_the_holder_acknowledges() -> None:
    """The holder is told, nothing is written, and the role stays where it is."""
    planned = Planned()

    assert planned.start(drain_ms=500) == SwitchoverStarted(
        registration_id=planned.held.registration_id, epoch=planned.held.epoch
    )

    assert planned.asked == (planned.step_down(500),)
    assert (planned.scene.last.changes, planned.scene.last.events) == ((), ())
    assert planned.scene.who("r") == "a | b c"


def test_the_acknowledgement_is_the_swap() -> None:
    """★ The holder's resignation ends its tenure and begins the target's in one decision, and so in one commit."""
    planned = Planned()
    planned.start("c", drain_ms=500)

    planned.a.resign(planned.held)

    ended, begun = planned.scene.last.events
    assert planned.scene.who("r") == "c | b a"
    assert isinstance(ended, RoleChangedEvent)
    assert isinstance(begun, RoleChangedEvent)
    assert (ended.reason, ended.epoch, ended.by) == (ChangeReason.SWITCHOVER, planned.held.epoch, "ada (uid:7)")
    assert (begun.reason, begun.new_role, begun.by) == (ChangeReason.SWITCHOVER, ServiceRole.ACTIVE, "ada (uid:7)")


def test_an_epoch_given_up_on_purpose_is_an_acknowledgement() -> None:
    """A holder that stepped down and could not say so by a request says so with its heartbeat."""
    planned = Planned()
    planned.start("c")

    planned.a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=planned.held.epoch, declined=True))

    assert planned.scene.who("r") == "c | b a"


def test_without_a_target_whoever_is_next() -> None:
    """The ordinary order of succession applies."""
    planned = Planned()
    planned.start()

    planned.a.resign(planned.held)

    assert planned.scene.who("r") == "b | c a"


def test_heartbeats_repeat_what_is_asked() -> None:
    """A push that was lost is made up for, with what is left of the drain; once it is over nothing is asked."""
    planned = Planned()
    planned.start(drain_ms=500)
    planned.scene.now_ms += 200

    assert planned.a.beat().asked == (planned.step_down(300),)
    assert planned.b.beat().asked == ()

    planned.a.resign(planned.held)
    assert planned.a.beat().asked == ()


def test_a_repeat_finds_the_switchover_under_way() -> None:
    """The same request again changes nothing, its drain included, and tells nobody twice."""
    planned = Planned()
    first = planned.start("c", drain_ms=500)
    planned.scene.now_ms += 200

    assert planned.start("c", drain_ms=500) == first

    assert planned.asked == ()
    assert planned.a.beat().asked == (planned.step_down(300),)


def test_a_second_request_may_shorten_the_drain() -> None:
    """★ Not in a minute, now: the holder is told at once. A longer drain than the one that runs changes nothing."""
    planned = Planned()
    planned.start("c", drain_ms=5_000)

    planned.start("c", drain_ms=100)

    assert [one.drain_ms for one in planned.asked] == [100]
    planned.start("c", drain_ms=5_000)
    assert not planned.asked
    planned.scene.pass_ms(100, planned.b, planned.c)
    assert planned.a.beat().confirmed == ()


@pytest.mark.parametrize("to", ["", "c"])
def test_a_resignation_asked_for_meanwhile_holds(to: str) -> None:
    """★ The holder is to leave even if nobody follows: a plain move under way, to whomever, does not swallow that."""
    planned = Planned()
    planned.start(to, drain_ms=500)
    unfit(planned.b)
    unfit(planned.c)

    planned.scene.ask(Switchover(resource_id="r", epoch=planned.held.epoch, even_if_vacant=True, by="eve"))

    assert planned.asked == (planned.step_down(0),)
    planned.start(to, drain_ms=500)  # which takes nothing back
    planned.scene.expire()
    planned.scene.pass_ms(LEASE_MS, planned.a, planned.b, planned.c)
    assert planned.scene.who("r").startswith("- |")
    ended = planned.scene.events[-1]
    assert isinstance(ended, RoleChangedEvent)
    assert (ended.reason, ended.by) == (ChangeReason.REVOKED, "eve")


def test_a_resignation_asked_for_meanwhile_leaves_the_move_as_it_is() -> None:
    """Whoever was to take over still does, and a shorter drain stays the shorter one."""
    planned = Planned()
    planned.start("c")

    planned.start(even_if_vacant=True, drain_ms=5_000)

    assert not planned.asked
    planned.a.resign(planned.held)
    assert planned.scene.who("r") == "c | b a"


def test_another_target_meanwhile_is_refused() -> None:
    """Two people cannot move a role to two places at once."""
    planned = Planned()
    planned.start("c")

    with pytest.raises(SwitchoverUnderWayError, match="ada"):
        planned.start("b")


def test_a_tenure_that_is_over_is_not_moved() -> None:
    """★ The request names the tenure it means: a repeat after the move does not move the role once more."""
    planned = Planned()
    planned.start("c")
    planned.a.resign(planned.held)

    with pytest.raises(NotActiveError):
        planned.start("c")

    assert planned.scene.who("r") == "c | b a"


def test_nobody_to_ask() -> None:
    """A vacancy has nobody to ask; an abandoned or unknown resource is not found."""
    planned = Planned()
    scene = planned.scene
    planned.a.stand_by("vacant")
    planned.a.deregister(planned.a.claim("abandoned"))

    for resource_id, kind in (("vacant", NotActiveError), ("abandoned", NotFoundError), ("unknown", NotFoundError)):
        with pytest.raises(kind):
            scene.ask(Switchover(resource_id=resource_id, epoch=1))
        with pytest.raises(kind):
            scene.ask(CancelSwitchover(resource_id=resource_id, epoch=1))


def test_a_target_that_could_not_take_over_is_refused_beforehand() -> None:
    """One that is gone, active itself, registered elsewhere, or unfit: nobody is asked to step down."""
    planned = Planned()
    elsewhere = planned.b.stand_by("other")

    for number, kind in (
        (10**6, NotFoundError),
        (elsewhere.registration_id, NotFoundError),
        (planned.held.registration_id, NotEligibleError),
    ):
        with pytest.raises(kind):
            planned.scene.ask(Switchover(resource_id="r", epoch=planned.held.epoch, to_registration_id=number))
    unfit(planned.c)
    with pytest.raises(NotEligibleError, match="unhealthy"):
        planned.start("c")
    unfit(planned.b)
    with pytest.raises(NotEligibleError, match="none of 2 standbys"):
        planned.start()

    assert planned.a.beat().asked == ()


def test_a_target_that_became_unfit_meanwhile_is_passed_over() -> None:
    """Once the holder has stepped down somebody has to be active: the next in line is promoted instead."""
    planned = Planned()
    planned.start("c")
    unfit(planned.c)

    planned.a.resign(planned.held)

    assert planned.scene.who("r") == "b | a c"


def test_a_target_that_died_meanwhile_is_passed_over() -> None:
    """The same if it is gone altogether."""
    planned = Planned()
    planned.start("c")
    planned.scene.end_session(planned.c)

    planned.a.resign(planned.held)

    assert planned.scene.who("r") == "b | a"


def test_the_holder_goes_on_rather_than_leave_a_vacancy() -> None:
    """If nobody could take over when it has stepped down, it begins another tenure, under a new epoch."""
    planned = Planned()
    planned.start()
    unfit(planned.b)
    unfit(planned.c)

    resigned = planned.a.resign(planned.held)

    assert resigned.statement.role is ServiceRole.STANDBY
    assert planned.scene.who("r") == "a | b c"
    assert planned.a.beat().confirmed == (resigned.statement.revision + 1,)


def test_a_resignation_that_was_asked_for_may_leave_a_vacancy() -> None:
    """`even_if_vacant`: the tenure is to end, whether or not anybody can take over."""
    planned = Planned()
    unfit(planned.b)
    unfit(planned.c)

    planned.start(even_if_vacant=True)
    planned.a.resign(planned.held)

    assert planned.scene.who("r").startswith("- |")


def test_a_drain_that_nobody_waits_for_any_more_is_called_off() -> None:
    """Before the tenure is renewed no more somebody has to be able to take over: else the holder goes on."""
    planned = Planned()
    planned.start(drain_ms=500)
    unfit(planned.b)
    unfit(planned.c)

    planned.scene.pass_ms(500, planned.a)

    assert planned.asked == (planned.step_down(withdrawn=True),)
    ack = planned.a.beat()
    assert (ack.confirmed, ack.asked) == ((planned.held.epoch,), ())


def test_a_switchover_can_be_called_off_until_it_is_acknowledged() -> None:
    """The holder is told, also after the drain, and its tenure is renewed again."""
    planned = Planned()
    planned.start("c")
    planned.scene.pass_ms(LEASE_MS - 100, planned.a, planned.b, planned.c)

    assert planned.cancel() == SwitchoverCancelled(epoch=planned.held.epoch)

    assert planned.asked == (planned.step_down(withdrawn=True),)
    assert planned.a.beat().confirmed == (planned.held.epoch,)
    planned.scene.pass_ms(2 * LEASE_MS, planned.a, planned.b, planned.c)
    assert planned.scene.who("r") == "a | b c"
    with pytest.raises(NotFoundError):
        planned.cancel()


def test_calling_off_comes_too_late_after_the_acknowledgement() -> None:
    """The role has moved: the tenure named is over."""
    planned = Planned()
    planned.start("c")
    planned.a.resign(planned.held)

    with pytest.raises(NotActiveError):
        planned.cancel()


def test_a_holder_that_had_stopped_before_it_was_called_off_resigns() -> None:
    """What was called off is forgotten: the resignation is an ordinary one, and so is the succession."""
    planned = Planned()
    planned.start("c")
    planned.cancel()

    planned.a.resign(planned.held)

    ended = planned.scene.last.events[0]
    assert planned.scene.who("r") == "b | c a"
    assert isinstance(ended, RoleChangedEvent)
    assert ended.reason is ChangeReason.RESIGNED


def test_a_holder_that_dies_meanwhile_is_succeeded_by_the_target() -> None:
    """It is a failover then, and the person's choice still counts."""
    planned = Planned()
    planned.start("c", drain_ms=500)

    planned.scene.end_session(planned.a)

    begun = planned.scene.last.events[-1]
    assert planned.scene.who("r") == "c | b"
    assert isinstance(begun, RoleChangedEvent)
    assert begun.reason is ChangeReason.FAILOVER


def test_a_holder_that_leaves_altogether_has_acknowledged() -> None:
    """Ending the registration is one way to step down."""
    planned = Planned()
    planned.start("c")

    planned.a.deregister(planned.held)

    begun = planned.scene.last.events[-1]
    assert isinstance(begun, RoleChangedEvent)
    assert (planned.scene.who("r"), begun.reason) == ("c | b", ChangeReason.SWITCHOVER)


def test_a_broker_that_starts_again_knows_of_no_switchover() -> None:
    """The intent is not durable: the holder's tenure is renewed again, and a resignation is followed by the next."""
    planned = Planned()
    planned.start("c")

    planned.scene.restart()

    for client in (planned.a, planned.b, planned.c):
        client.hello(resume=True)
        client.beat()
    ack = planned.a.beat()
    assert (ack.confirmed, ack.asked) == ((planned.held.epoch,), ())
    planned.a.resign(planned.held)
    assert planned.scene.who("r") == "b | c a"


def test_a_switchover_is_seen() -> None:
    """Whoever looks at the resource sees that one is under way, to whom, by whom, and what is left of the drain."""
    planned = Planned()
    planned.start("c", drain_ms=500)
    planned.scene.now_ms += 100

    view = planned.scene.resource("r").switchover

    assert view is not None
    assert (view.epoch, view.to_instance_id, view.drain_left_ms) == (planned.held.epoch, "c", 400)
    assert view.by == "ada (uid:7)"
    planned.scene.end_session(planned.c)
    assert (gone := planned.scene.resource("r").switchover) is not None
    assert gone.to_instance_id == ""
    planned.a.resign(planned.held)
    assert planned.scene.resource("r").switchover is None


def test_an_old_copy_of_a_store_moves_nothing() -> None:
    """A broker that must not promote anybody asks nobody to step down, and promotes nobody who did."""
    planned = Planned()
    planned.start("c")
    with pytest.raises(StoreRolledBackError):
        planned.b.beat(last_revision=10**6)

    planned.a.resign(planned.held)
    with pytest.raises(StoreRolledBackError):
        planned.start("c")

    assert planned.scene.who("r").startswith("- |")


@pytest.mark.parametrize(
    "request_",
    [
        Switchover(resource_id="", epoch=1),
        Switchover(resource_id="r", epoch=0),
        Switchover(resource_id="r", epoch=1, to_registration_id=-1),
        Switchover(resource_id="r", epoch=1, drain_ms=-1),
        Switchover(resource_id="r", epoch=1, drain_ms=DRAIN_MS_MAX + 1),
        Switchover(resource_id="r", epoch=1, by="x" * 256),
        CancelSwitchover(resource_id="r", epoch=0),
        CancelSwitchover(resource_id=" ", epoch=1),
        CancelSwitchover(resource_id="r", epoch=1, by="x" * 256),
    ],
)
def test_values_that_are_not_allowed(request_: Switchover | CancelSwitchover) -> None:
    """Each is refused by name, before anything is looked up."""
    with pytest.raises(InvalidRequestError):
        Scene().ask(request_)
