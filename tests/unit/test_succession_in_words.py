"""Why each standby is or is not next: what is said agrees with what the broker would do, and names what decided it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from msgspec import structs

from tenure.contract.interventions import Switchover
from tenure.contract.views import Pause, ServiceInstance
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.domain.reads import resource_view
from tenure.domain.succession import successor
from tenure.sdk.succession import places, why_at_risk, why_not_eligible
from tests.unit.scene import LEASE_MS, Scene
from tests.unit.test_registry_properties import RegistryMachine

STANDBY = ServiceInstance(
    registration_id=7,
    service_name="gw",
    instance_id="b",
    resource_id="acct",
    role=ServiceRole.STANDBY,
    role_revision=7,
    revision=7,
    since_ms=0,
    session=6,
    status=ServiceStatus.HEALTHY,
    reported_status=ServiceStatus.HEALTHY,
    lease_ms=2_000,
    lease_left_ms=1_900,
)


class ExplainedMachine(RegistryMachine):
    """The registry under everything that may happen to it, and what is said of its lines of succession."""

    @invariant()
    def whoever_is_called_next_is_next(self) -> None:
        """The first one called eligible is whom the broker would promote; if none is, it would promote nobody."""
        state, now_ms = self.scene.registry.state, self.scene.now_ms
        for resource_id, resource in state.resources.items():
            said = places(resource_view(state, resource_id, now_ms))
            eligible = [place.instance_id for place in said if place.is_eligible]
            best = successor(state, resource, now_ms)
            assert eligible[:1] == ([] if best is None else [best.instance_id])
            assert [place.is_eligible for place in said] == sorted((p.is_eligible for p in said), reverse=True)


def test_what_is_said_agrees_with_the_broker() -> None:
    """Whatever happens, nobody is called next whom the broker would pass over."""
    run_state_machine_as_test(
        ExplainedMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


def test_the_line_is_told_with_the_reason_for_each_place() -> None:
    """Next, then lower priority, less time, degraded; then those that may not be promoted, each with why."""
    scene = Scene()
    holder = scene.client("holder")
    held = holder.claim("r")
    for name, status, priority in (
        ("second", ServiceStatus.HEALTHY, 0),
        ("third", ServiceStatus.HEALTHY, 0),
        ("best", ServiceStatus.HEALTHY, 5),
        ("weak", ServiceStatus.DEGRADED, 9),
        ("sick", ServiceStatus.UNHEALTHY, 0),
        ("leaving", ServiceStatus.DRAINING, 0),
    ):
        scene.client(name, status=status).stand_by("r", priority=priority)
    scene.client("mute", status=None).stand_by("r")

    said = {place.instance_id: place.why for place in places(scene.resource("r"))}

    assert list(said)[:4] == ["best", "second", "third", "weak"]
    assert said["best"] == "next: it is healthy, priority 5"
    assert said["second"] == "after best: its priority is 0, not 5"
    assert said["third"] == "after second: of the same rank, it has stood by for less long"
    assert said["weak"] == "after third: it is degraded"
    assert said["sick"] == "not eligible: it says that it is unhealthy"
    assert said["leaving"] == "not eligible: it says that it is draining"
    assert said["mute"] == "not eligible: starting, it has not said yet that it is healthy"
    assert held.epoch


def test_whoever_resigned_is_told_from_which_epoch() -> None:
    """It is not next for the vacancy it left, until it asks again."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, even_if_vacant=True))
    a.resign(held)

    (place,) = places(scene.resource("r"))

    assert not place.is_eligible
    assert place.why == f"not eligible: it resigned from epoch {held.epoch} and has not asked again"


def test_a_plain_standby_of_what_never_had_an_active() -> None:
    """It waits for the loss of an active; a candidate would have had the role."""
    scene = Scene()
    scene.client("a").stand_by("r")

    (place,) = places(scene.resource("r"))

    assert (place.is_eligible, "there never was one" in place.why) == (False, True)


def test_silence_is_told_in_milliseconds() -> None:
    """Of a late one as long as it lasts, at least; after a start of the broker nothing was heard of anybody."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")
    scene.pass_ms(LEASE_MS * 3 / 4, a)
    assert places(scene.resource("r"))[0].why == "not eligible: late, not heard for at least 1,500 ms"

    scene.restart()
    (place,) = places(scene.resource("r"))
    assert place.why == "not eligible: no heartbeat of it has come since the broker started"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, ""),
        ({"margin_ms": 1_000, "loop_lag_ms": 1_000}, ""),
        ({"margin_ms": 999}, "renewed with 999 of 2,000 ms left"),
        ({"loop_lag_ms": 1_001}, "its event loop was 1,001 ms late"),
        ({"margin_ms": 3, "loop_lag_ms": 1_500}, "renewed with 3 of 2,000 ms left; its event loop was 1,500 ms late"),
        ({"status": ServiceStatus.LATE, "lease_left_ms": 700}, "late: not heard for at least 1,300 ms"),
        ({"status": ServiceStatus.UNHEALTHY}, ""),
    ],
)
def test_who_is_at_risk_and_why(facts: dict[str, object], why: str) -> None:
    """It is said of exactly those whom the contract calls at risk."""
    instance = structs.replace(STANDBY, **facts)
    assert why_at_risk(instance) == why
    assert bool(why) is instance.is_at_risk


def test_a_candidate_may_fill_the_first_vacancy() -> None:
    """A resource that never had a tenure has no epoch that could have been declined."""
    assert not why_not_eligible(structs.replace(STANDBY, candidate=True), 0)
    assert why_not_eligible(STANDBY, 0)
    assert not why_not_eligible(STANDBY, 5)


def test_during_a_pause_nobody_is_said_to_be_next() -> None:
    """Nobody is promoted before its end."""
    scene = Scene()
    scene.client("a").claim("r")
    scene.client("b").stand_by("r")
    view = resource_view(scene.registry.state, "r", scene.now.now_ms)
    paused = structs.replace(view, pause=Pause(resource_id="r", why="w", paused_ms=0, until_ms=1, by=""))
    assert places(paused)[0].why.startswith("waits for the end of the pause")
