"""What the benches of moves say of what they saw: two at once, lost or done twice never passes as a mere figure."""

from __future__ import annotations

import itertools
from array import array
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import failover, switchover
from bench.__main__ import app
from bench.contender import Belief
from bench.failover import Ending, Takeover, earliest_ms, overlaps
from bench.items import Items
from bench.latencies import Latencies
from bench.outages import Outages
from bench.place import Transport
from bench.switchover import Outcome, violations
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk.switchover import SwitchoverResult
from tests.unit.bench_stage import report as any_report

MS = 1_000_000
SILENT = [ending for ending in Ending if ending.is_silent]


def takeover(*, vacant_ms: int = 900, deadline_ms: int = 800, believed_ms: int = 790) -> Takeover:
    """One whose times are counted from the end of the old one."""
    return Takeover(5_000 * MS, (5_000 + vacant_ms) * MS, (5_000 + deadline_ms) * MS, (5_000 + believed_ms) * MS)


# --- failovers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", list(Ending))
def test_a_takeover_after_the_deadline_is_sound(ending: Ending) -> None:
    """The old one's belief was over by its own account."""
    assert overlaps(ending, [takeover()]) == []
    assert takeover().vacant_ns == 900 * MS


@pytest.mark.parametrize("ending", SILENT)
def test_beginning_before_the_old_ones_deadline_is_a_violation(ending: Ending) -> None:
    """Also if the old one did not use what it might have believed; it says by how much, and in which takeover."""
    (said,) = overlaps(ending, [takeover(), takeover(vacant_ms=799)])
    assert f"{ending} 2" in said
    assert "1.000 ms before" in said


@pytest.mark.parametrize("ending", list(Ending))
def test_two_at_once_are_a_violation_whatever_the_ending(ending: Ending) -> None:
    """The old one believed in its role after the new one was active."""
    (said,) = overlaps(ending, [takeover(vacant_ms=500, believed_ms=600)])
    assert "TWO were active" in said
    assert "100.000 ms" in said


@pytest.mark.parametrize("ending", [Ending.LOCAL_KILL, Ending.RESIGN, Ending.SWITCHOVER])
def test_a_proof_does_not_wait_for_the_deadline(ending: Ending) -> None:
    """Who is dead, or has said that it stopped, believes nothing any more."""
    assert overlaps(ending, [takeover(vacant_ms=5, believed_ms=0)]) == []


def test_the_closest_takeover_is_the_one_that_is_told() -> None:
    """The shortest time between a deadline and the next beginning, also if it is negative."""
    assert earliest_ms([takeover(), takeover(vacant_ms=804)]) == 4.0
    assert earliest_ms([takeover(), takeover(vacant_ms=797)]) == -3.0


def test_targets_are_set_where_they_belong() -> None:
    """The p99 of local kills, the maximum of silences; nothing is promised of a planned end but soundness."""
    plan = failover.Plan(endings=tuple(Ending), kills=2, silences=1, restarts=0, lease_ms=1_000)
    taken = {ending: [takeover()] * plan.count(ending) for ending in Ending}
    taken[Ending.LOCAL_KILL] = [takeover(vacant_ms=19, believed_ms=0)] * 2
    taken[Ending.STOP] = [takeover(vacant_ms=1_051)]
    taken[Ending.KILL_WITH_BROKER] = [takeover(vacant_ms=1_990)]
    floor = Latencies("floor")
    floor.add_round(array("q", [MS]), MS)

    found = failover.report(plan, any_report().machine, taken, (floor,), Outages(1_000))

    met = {target.name: target.is_met for target in found.targets}
    assert met == {
        "p99 of local-kill": True,
        "max of remote-kill": True,
        "max of stop": False,
        "max of partition": True,
        "max of kill-with-broker": True,
    }
    assert [load.count for load in found.measured] == [2, 1, 1, 1, 2, 2, 1]
    assert found.violations == ()
    assert len(found.faults) == 1


def test_what_a_holder_believed_outlives_it(tmp_path: Path) -> None:
    """The file is there before its writer, and says that nothing was believed yet."""
    path = tmp_path / "belief"
    Belief.prepare(path)
    assert Belief.read(path) == Belief(0, 0)


def test_a_role_lost_in_a_short_outage_is_a_violation() -> None:
    """A lease of 2,000 ms has 1,598 ms left at any time: who was away for longer may have cost it, nobody else."""
    outages = Outages(2_000)
    assert (outages.summaries(), outages.ratios) == ([], {})
    assert outages.note(900 * MS, is_held=True)
    assert not outages.note(1_700 * MS, is_held=False)
    assert outages.violations == []
    assert not outages.note(900 * MS, is_held=False)
    (said,) = outages.violations
    assert "restart 3" in said
    assert "1598 ms left" in said
    assert [load.count for load in outages.summaries()] == [3]
    assert list(outages.ratios.values()) == [2]


# --- the queue --------------------------------------------------------------------------------------------------------


def test_items_are_done_once_and_in_order() -> None:
    """One worker after the other, each with a later epoch: nothing is lost, and the gap is between their acts."""
    items = Items()
    assert [items.take("one", 3, 10), items.take("one", 3, 20)] == [1, 2]
    assert items.acknowledge("one", 3, 1, 30)
    assert items.acknowledge("one", 3, 2, 40)
    assert items.take("two", 7, 55) == 3
    assert items.acknowledge("two", 7, 3, 60)
    assert (items.gaps_ns(), items.lost(), items.violations) == ([15], [], [])
    assert items.done == {1: 3, 2: 3, 3: 7}
    assert [(stint.worker, stint.acknowledged) for stint in items.stints] == [("one", 2), ("two", 1)]


def test_an_item_in_hand_is_handed_over() -> None:
    """What was taken under an earlier epoch and not acknowledged comes first under the next."""
    items = Items()
    items.take("one", 3, 10)
    assert items.take("two", 7, 20) == 1
    assert items.take("two", 7, 21) == 2
    assert items.acknowledge("two", 7, 1, 30)
    assert (items.stints[-1].handed_over, items.violations) == (1, [])


def test_the_epoch_fences_who_comes_late() -> None:
    """A message that was under way when the next tenure began is refused, and is no violation: it was sent before."""
    items = Items()
    items.take("one", 3, 10)
    items.take("two", 7, 20)
    assert not items.acknowledge("one", 3, 1, 15)
    assert items.take("one", 3, 16) == 0
    assert (items.done, items.violations) == ({}, [])


def test_acting_under_an_older_epoch_after_the_next_has_begun_is_a_violation() -> None:
    """It believed in its role when somebody else had it."""
    items = Items()
    items.take("one", 3, 10)
    items.take("two", 7, 20)
    assert not items.acknowledge("one", 3, 1, 21)
    assert items.violations == ["one acknowledged item 1 under epoch 3 after epoch 7 had begun"]


def test_beginning_before_the_last_act_of_the_one_before_is_a_violation() -> None:
    """Whichever of their messages came first."""
    items = Items()
    items.take("one", 3, 10)
    items.acknowledge("one", 3, 1, 30)
    items.take("two", 7, 29)
    assert items.violations == ["epoch 7 began before the last act of epoch 3"]
    assert items.gaps_ns() == [-1]


def test_an_item_done_twice_is_a_violation() -> None:
    """Under the same epoch or under another."""
    items = Items()
    items.take("one", 3, 10)
    items.acknowledge("one", 3, 1, 20)
    items.acknowledge("two", 7, 1, 30)
    assert items.violations == ["item 1 was done under epoch 3 and again under 7"]


def test_an_item_that_nobody_took_cannot_be_done() -> None:
    """Nor one that somebody else has in hand."""
    items = Items()
    items.take("one", 3, 10)
    items.acknowledge("one", 3, 2, 20)
    assert items.violations == ["item 2 was acknowledged under epoch 3, which had not taken it"]


def outcome(items: Items, **changed: object) -> Outcome:
    """A run with one switchover."""
    result = SwitchoverResult(
        resource_id="queue",
        old_instance_id="one",
        old_epoch=3,
        new_instance_id="two",
        new_epoch=7,
        end_reason=ChangeReason.SWITCHOVER,
        gap_ms=2,
        gap_max_ms=2,
        duration_ms=30,
    )
    known = {"items": items, "results": [result], "failures": [], "acknowledged": len(items.done), "load_steps": 5}
    return Outcome(**(known | changed))  # type: ignore[arg-type]


def worked() -> Items:
    """Two stints of two items each."""
    items = Items()
    clock = itertools.count(1, MS)
    for worker, epoch in (("one", 3), ("two", 7)):
        for _ in range(2):
            items.acknowledge(worker, epoch, items.take(worker, epoch, next(clock)), next(clock))
    return items


def test_a_sound_run_has_no_violations_and_all_figures() -> None:
    """The gap by the ledger and by the broker, and how many items came through."""
    plan = switchover.Plan(count=1, drain_ms=1_000, item_ms=5, in_flight=8, transport=Transport.IPC)

    found = switchover.report(plan, any_report().machine, outcome(worked()))

    assert [(load.name, load.count, round(load.p50_ms)) for load in found.measured] == [
        ("gap, by the ledger", 1, 1),
        ("gap, by the broker", 1, 2),
        ("from the request to its outcome", 1, 30),
    ]
    assert list(found.ratios.values()) == [4, 0, 0]
    assert (found.violations, found.faults) == ((), [])


def test_what_was_acknowledged_and_is_not_in_the_ledger_is_lost() -> None:
    """The workers count for themselves; each may be ended between an answer and its counting, and no more."""
    assert violations(outcome(worked(), acknowledged=2)) == []
    assert violations(outcome(worked(), acknowledged=5)) == ["the workers count 5 items as acknowledged, the ledger 4"]
    assert violations(outcome(worked(), acknowledged=1)) == ["the workers count 1 items as acknowledged, the ledger 4"]


def test_a_switchover_that_failed_and_an_item_that_vanished_are_told() -> None:
    """Both are faults of the run, however good its figures are."""
    items = worked()
    del items.done[2]
    said = violations(outcome(items, failures=["switchover 1: it was called off"], acknowledged=3))
    assert said == ["switchover 1: it was called off", "1 items were taken and never acknowledged, the first of them 2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["failover", "--kills", "0"],
        ["failover", "--kind", "sneeze"],
        ["failover", "--lease-ms", "1"],
        ["switchover", "--count", "0"],
        ["switchover", "--drain-ms", "-1"],
    ],
)
def test_a_wrong_argument_is_refused(arguments: list[str]) -> None:
    """Nothing is started for it."""
    assert CliRunner().invoke(app, arguments).exit_code == 2
