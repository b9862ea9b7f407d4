"""What is said of a switchover: how it stands, and at the end who has the role and for how long nobody had it."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.cli.progress import progress_of, under_way
from tenure.cli.switchover import report
from tenure.contract.interventions import Switchover
from tenure.contract.messages import Entered, GetResource, Resource
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk.switchover import SwitchoverResult
from tenure.sdk.timeline import how_it_ended
from tests.unit.scene import Scene

RESULT = SwitchoverResult(
    resource_id="acct",
    old_instance_id="a",
    old_epoch=3,
    new_instance_id="b",
    new_epoch=7,
    end_reason=ChangeReason.SWITCHOVER,
    gap_ms=1_234,
    gap_max_ms=1_234,
    duration_ms=5_678,
)


def resource(scene: Scene) -> Resource:
    """The resource as a reader sees it."""
    reply = scene.ask(GetResource(resource_id="acct"))
    assert isinstance(reply, Resource)
    return reply


def test_each_step_of_a_switchover_is_told() -> None:
    """Draining, to be stopped, stepped down, promoted, active: each by what the broker shows."""
    scene = Scene()
    a, b, mute = scene.client("a"), scene.client("b"), scene.client("mute", status=None)
    held = a.claim("acct")
    target = b.stand_by("acct")
    mute.stand_by("acct")
    assert progress_of(resource(scene), held.epoch) == "asked"

    request = Switchover(
        resource_id="acct",
        epoch=held.epoch,
        to_registration_id=target.registration_id,
        drain_ms=1_500,
        even_if_vacant=True,
        by="ada",
    )
    scene.ask(request)
    said = progress_of(resource(scene), held.epoch)
    assert said == "switchover to b under way, asked for by ada: its holder may go on with its work for 1,500 ms"
    assert progress_of(resource(scene), held.epoch + 1) == "asked"

    scene.pass_ms(1_500, a, b, mute)
    assert progress_of(resource(scene), held.epoch).endswith("its holder is to stop now, and is renewed no more")

    a.resign(held)
    epoch = resource(scene).resource.last_epoch
    assert progress_of(resource(scene), held.epoch) == f"b is promoted under epoch {epoch}, not yet known to be active"

    b.beat(entered=(Entered(epoch=epoch, ago_ms=0),))
    assert progress_of(resource(scene), held.epoch) == f"b is active under epoch {epoch}"


def test_a_vacancy_is_told_as_one() -> None:
    """Nobody may take over yet: that is no end, since somebody may become fit."""
    scene = Scene()
    a, mute = scene.client("a"), scene.client("mute", status=None)
    held = a.claim("acct")
    mute.stand_by("acct")
    scene.ask(Switchover(resource_id="acct", epoch=held.epoch, even_if_vacant=True))
    a.resign(held)
    assert progress_of(resource(scene), held.epoch) == "a has stepped down, and nobody may take over yet"


def test_a_switchover_to_whoever_is_next_by_nobody_known() -> None:
    """Neither is named then."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("acct")
    b.stand_by("acct")
    scene.ask(Switchover(resource_id="acct", epoch=held.epoch, drain_ms=10))
    view = resource(scene).resource.switchover
    assert view is not None
    assert under_way(view) == "switchover under way: its holder may go on with its work for 10 ms"


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        (
            {},
            [
                "a stepped down from epoch 3",
                "b is active for acct now, epoch 7",
                "nobody was active for 1,234 ms; it took 5,678 ms in all",
            ],
        ),
        (
            {"end_reason": ChangeReason.DIED},
            [
                "a is not active with epoch 3 any more: its process ended, as the kernel reported",
                "b is active for acct now, epoch 7",
                "nobody was active for 1,234 ms; it took 5,678 ms in all",
            ],
        ),
        (
            {"end_reason": ChangeReason.REVOKED, "gap_max_ms": 3_456},
            [
                f"a is not active with epoch 3 any more: {how_it_ended(ChangeReason.REVOKED)}",
                "b is active for acct now, epoch 7",
                "nobody was active for at least 1,234 and at most 3,456 ms; it took 5,678 ms in all",
            ],
        ),
        (
            {"end_reason": None, "gap_ms": None, "gap_max_ms": None},
            [
                "a is not active with epoch 3 any more",
                "b is active for acct now, epoch 7",
                "it took 5,678 ms in all",
            ],
        ),
        (
            {"new_instance_id": "a"},
            [
                "a stepped down from epoch 3",
                "nobody else could take over: a is active again, epoch 7",
                "nobody was active for 1,234 ms; it took 5,678 ms in all",
            ],
        ),
    ],
)
def test_the_outcome_is_told(changed: dict[str, object], lines: list[str]) -> None:
    """Who stepped down or how else the tenure ended, who is active now, and for how long nobody was."""
    assert report(structs.replace(RESULT, **changed)) == lines


@pytest.mark.parametrize(
    "changed",
    [{"new_instance_id": "a"}, {"new_instance_id": "a", "gap_ms": None}, {"new_instance_id": "", "new_epoch": 0}],
)
def test_a_resignation_that_nobody_follows_is_told_in_one_way(changed: dict[str, object]) -> None:
    """Whoever resigned may ask again at once: whether that was seen is chance, and must not show."""
    assert report(structs.replace(RESULT, **changed), even_if_vacant=True) == [
        "a stepped down from epoch 3",
        "nobody else has taken over; whether a is active again: tenure explain acct",
        "it took 5,678 ms in all",
    ]


def test_a_resignation_that_somebody_follows_is_told_as_a_switchover() -> None:
    """Who is active now, and for how long nobody was."""
    assert report(RESULT, even_if_vacant=True) == report(RESULT)
