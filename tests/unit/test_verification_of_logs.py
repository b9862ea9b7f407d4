"""`verify` on interval logs beside a real history: beliefs that overlap, and acknowledgements that the store lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from tenure.contract.intervals import (
    AnyIntervalRecord,
    SessionRecord,
    StoppedRecord,
)
from tenure.contract.messages import GivenUp
from tenure.contract.vocabulary import ServiceStatus
from tenure.domain.beliefs import Beliefs, ImpossibleLogError
from tenure.domain.verdicts import Guarantee
from tests.unit.histories import (
    broken_by,
    busy_scene,
    entered,
    extended,
    keep,
    left,
    log_of,
    long_scene,
    report_of,
    taken_over,
    verdict_of,
)
from tests.unit.scene import Scene


async def handed_over(scene: Scene, directory: Path) -> tuple[int, int, Path]:
    """A store in which `a` fell silent and `b` took over `r`: both epochs, and where it is."""
    first = scene.client("a").claim("r")
    b = scene.client("b")
    b.compete("r")
    scene.pass_ms(2_500, b)
    view = scene.resource("r").active
    assert view is not None
    assert view.instance_id == "b"
    return first.epoch, view.epoch, await keep(scene, directory)


@pytest.mark.parametrize(
    ("first", "begins_ms", "is_broken"),
    [
        ([(100.0, 2_000.0)], 2_000.0, False),
        ([(100.0, 2_000.0)], 1_999.0, True),
        ([(100.0, 2_000.0), (500.0, 2_400.0)], 2_399.0, True),
        ([(100.0, 2_000.0), (500.0, 2_400.0)], 2_400.0, False),
    ],
)
async def test_overlapping_beliefs_are_named(
    tmp_path: Path, first: list[tuple[float, float]], begins_ms: float, is_broken: bool
) -> None:
    """G2: whoever fell silent may believe to the end of its lease, and nobody before that."""
    scene = Scene()
    before, after, place = await handed_over(scene, tmp_path)
    (begin, *more) = first
    lines: list[AnyIntervalRecord] = [entered(before, *begin), *(extended(before, *times) for times in more)]
    report = report_of(
        place, log_of(scene, "a", *lines), log_of(scene, "b", entered(after, begins_ms, begins_ms + 1_900))
    )
    assert broken_by(report) == ({"G2": after} if is_broken else {})
    assert all(name in verdict_of(report, Guarantee.G2).says for name in (("log-0", "log-1") if is_broken else ()))


@pytest.mark.parametrize(
    ("left_ms", "begins_ms", "is_broken"),
    [(700.0, 700.0, False), (700.0, 699.0, True), (9_000.0, 2_000.0, False), (9_000.0, 1_999.0, True)],
)
async def test_a_belief_ends_when_it_was_left_or_with_its_lease(
    tmp_path: Path, left_ms: float, begins_ms: float, is_broken: bool
) -> None:
    """G2: a process that woke late writes a late end, but had not believed since its lease was over."""
    scene = Scene()
    before, after, place = await handed_over(scene, tmp_path)
    report = report_of(
        place,
        log_of(scene, "a", entered(before, 100.0, 2_000.0), left(before, left_ms)),
        log_of(scene, "b", entered(after, begins_ms, begins_ms + 1_900)),
    )
    assert broken_by(report) == ({"G2": after} if is_broken else {})


async def test_a_belief_within_another_hides_nothing(tmp_path: Path) -> None:
    """G2: the longest belief of those before counts, not the newest."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    epochs = [a.claim("r").epoch]
    b.compete("r")
    for client, other in ((a, b), (b, a)):
        client.beat(ServiceStatus.HEALTHY, GivenUp(epoch=epochs[-1], declined=True))
        view = scene.resource("r").active
        assert view is not None
        assert view.instance_id == other.name
        epochs.append(view.epoch)
    place = await keep(scene, tmp_path)
    mine = log_of(
        scene, "a", entered(epochs[0], 1.0, 900.0), left(epochs[0], 800.0), entered(epochs[2], 700.0, 2_000.0)
    )
    report = report_of(place, mine, log_of(scene, "b", entered(epochs[1], 2.0, 900.0), left(epochs[1], 3.0)))
    found = [finding.revision for finding in verdict_of(report, Guarantee.G2).findings]
    assert found == [epochs[1], epochs[2]]


async def test_proof_of_death_does_not_cover_who_was_seen_alive(tmp_path: Path) -> None:
    """G2: a successor may begin within the lease of one that died, but not before the last that was heard of it."""
    scene = busy_scene()
    second = taken_over(scene)
    place = await keep(scene, tmp_path)
    dead = log_of(scene, "a", entered(4, 100.0, 2_000.0), extended(4, 500.0, 2_400.0))
    assert broken_by(report_of(place, dead, log_of(scene, "b", entered(second, 500.0, 2_400.0)))) == {}
    assert broken_by(report_of(place, dead, log_of(scene, "b", entered(second, 499.0, 2_400.0)))) == {"G2": second}


async def test_clocks_of_two_machines_are_not_compared(tmp_path: Path) -> None:
    """G2: neither another boot nor a boot that is not told proves or breaks anything; wall clocks are a hint."""
    scene = Scene()
    before, after, place = await handed_over(scene, tmp_path)
    for boot_id in ("another boot", ""):
        report = report_of(
            place,
            log_of(scene, "a", entered(before, 100.0, 2_000.0, unix_ms=10_000)),
            log_of(scene, "b", entered(after, 1_000.0, 3_000.0, unix_ms=11_000), boot_id=boot_id),
        )
        assert broken_by(report) == {}
        assert "1 pairs of different clocks not compared" in verdict_of(report, Guarantee.G2).says
        assert "overlap in 1 cases" in verdict_of(report, Guarantee.G2).says
    report = report_of(
        place,
        log_of(scene, "a", entered(before, 100.0, 2_000.0, unix_ms=10_000)),
        log_of(scene, "b", entered(after, 1_000.0, 3_000.0, unix_ms=11_900), boot_id="another boot"),
    )
    assert "show no overlap" in verdict_of(report, Guarantee.G2).says


async def test_a_tenure_believed_by_two_or_by_the_wrong_one_or_again_is_named(tmp_path: Path) -> None:
    """G2: a tenure has one holder, the session it was granted to, and is not entered once it was left."""
    scene = Scene()
    first, second, place = await handed_over(scene, tmp_path)
    own = log_of(scene, "a", entered(first, 1.0, 2.0))
    both = report_of(place, own, log_of(scene, "a", entered(first, 5.0, 6.0), boot_id="another boot"))
    assert broken_by(both) == {"G2": first}
    assert "both believe" in verdict_of(both, Guarantee.G2).says
    wrong = report_of(place, log_of(scene, "a", entered(second, 1.0, 2.0)))
    assert "of session" in verdict_of(wrong, Guarantee.G2).says
    again = log_of(scene, "a", entered(first, 1.0, 9.0), left(first, 2.0), entered(first, 3.0, 9.0))
    assert broken_by(report_of(place, again)) == {"G2": first}
    longer = log_of(scene, "a", entered(first, 1.0, 9.0), left(first, 2.0), extended(first, 3.0, 19.0))
    assert broken_by(report_of(place, longer)) == {"G2": first}


async def test_an_acknowledged_revision_that_the_store_lacks_is_named(tmp_path: Path) -> None:
    """G4: a heartbeat's answer or a grant beyond the end of the store; and a grant that is not one by the store."""
    scene = Scene()
    first, second, place = await handed_over(scene, tmp_path)
    newest = scene.registry.revision
    assert (
        broken_by(report_of(place, log_of(scene, "a", entered(first, 1.0, 9.0), extended(first, 2.0, 9.0, newest))))
        == {}
    )
    lost = log_of(scene, "a", entered(first, 1.0, 9.0), extended(first, 2.0, 9.0, newest + 1))
    assert broken_by(report_of(place, lost)) == {"G4": newest + 1}
    assert broken_by(report_of(place, log_of(scene, "a", entered(900, 1.0, 9.0)))) == {"G4": 900}
    assert broken_by(report_of(place, log_of(scene, "a", entered(second - 1, 1.0, 9.0)))) == {"G4": second - 1}


async def test_a_log_of_another_history_is_named(tmp_path: Path) -> None:
    """G4: what was acknowledged in another history is not in this one, and its revisions say nothing here."""
    scene = Scene()
    first, _, place = await handed_over(scene, tmp_path)
    session, *lines = log_of(scene, "a", entered(first, 1.0, 9.0))
    assert isinstance(session, SessionRecord)
    report = report_of(place, [structs.replace(session, history_id="another"), *lines])
    assert broken_by(report) == {"G4": first}
    assert "history another" in verdict_of(report, Guarantee.G4).says


async def test_what_a_log_does_not_cover_is_said(tmp_path: Path) -> None:
    """Logs that stopped, and tenures of before the events that are kept, are counted and not passed over."""
    scene = long_scene()
    place = await keep(scene, tmp_path, events_kept=20)
    report = report_of(
        place, log_of(scene, "a", entered(3, 1.0, 9.0), StoppedRecord(at_ms=2.0, why="the disk is full"))
    )
    assert not report.is_broken
    assert "1 of tenures that are no longer kept" in verdict_of(report, Guarantee.G2).says
    assert "1 logs stopped" in verdict_of(report, Guarantee.G2).says


async def test_a_tenure_that_began_before_the_events_that_are_kept_is_found(tmp_path: Path) -> None:
    """The newest tenure of a resource stays in its table for as long as the resource does."""
    scene = long_scene()
    second = taken_over(scene)
    place = await keep(scene, tmp_path, events_kept=3)
    report = report_of(place, log_of(scene, "b", entered(second, 1.0, 9.0)))
    assert report.first_revision > second
    assert "no longer kept" not in verdict_of(report, Guarantee.G2).says
    assert broken_by(report) == {}


@pytest.mark.parametrize(
    "lines",
    [
        [entered(4, 1.0, 2.0)],
        [SessionRecord(format=1, history_id="h", session=1, boot_id="b", pid=1, lease_ms=1), left(4, 1.0)],
        [SessionRecord(format=1, history_id="h", session=1, boot_id="b", pid=1, lease_ms=1), extended(4, 1.0, 2.0)],
    ],
)
def test_lines_that_no_client_writes_are_refused(lines: list[AnyIntervalRecord]) -> None:
    """A log without its session, or that leaves what it never entered, is no ground for a verdict."""
    with pytest.raises(ImpossibleLogError, match="the-log"):
        Beliefs().read("the-log", lines)
