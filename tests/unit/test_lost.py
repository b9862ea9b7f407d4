"""Resources that everybody has left since their newest tenure was lost: which those are, and for how long."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.cli.board import Board, Trouble
from tenure.contract.interventions import PauseResource
from tenure.contract.messages import ListServices
from tenure.contract.vocabulary import LOST, ChangeReason, ServiceStatus
from tenure.sdk import lost
from tenure.sdk.lost import LostResources, LostTenure
from tenure.sdk.replica import Replica
from tests.unit.scene import HISTORY, LEASE_MS, Scene


class Watch:
    """Somebody who follows a scene, and knows what was lost."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.lost = LostResources()
        self.begin()

    def begin(self, history_id: str = HISTORY) -> None:
        """Take a snapshot, and follow from there on."""
        self.replica = Replica()
        self.replica.begin(history_id, self.scene.registry.revision)
        self.replica.load(structs.replace(self.scene.page(ListServices()), history_id=history_id))
        self.lost.begin(self.replica)

    def follow(self) -> list[str]:
        """Take in what has happened; the resources that were forgotten to make room."""
        forgotten: list[str] = []
        for event in self.scene.events:
            if event.revision > self.replica.revision:
                self.replica.apply(event)
                one = self.lost.observe(event, self.replica)
                forgotten += [] if one is None else [one]
        return forgotten

    def lose(self, resource_id: str, reason: ChangeReason = ChangeReason.DIED) -> None:
        """Somebody comes, is active alone, and is lost."""
        client = self.scene.client(resource_id)
        client.claim(resource_id)
        self.scene.end_session(client, reason)

    @property
    def ids(self) -> list[str]:
        """What is lost, after all that has happened."""
        self.follow()
        return [*self.lost.tenures]


def test_a_resource_whose_only_instance_fell_silent_is_lost_until_somebody_comes() -> None:
    """It says who was lost, when and how, is read as vacant, and ends with a registration of whatever role."""
    watch = Watch()
    alone = watch.scene.client("alone")
    held = alone.claim("r")
    watch.scene.pass_ms(2 * LEASE_MS)
    assert watch.ids == ["r"]
    ended_ms = max(event.at_ms for event in watch.scene.events)
    assert watch.lost.tenures["r"] == LostTenure(
        service_name="svc", instance_id="alone", epoch=held.epoch, ended_ms=ended_ms, reason=ChangeReason.EXPIRED
    )
    view = watch.lost.view("r", watch.replica, {})
    assert view is not None
    assert (view.last_epoch, view.active, view.standby_count) == (held.epoch, None, 0)
    watch.scene.client("next").stand_by("r")
    assert watch.ids == []
    assert watch.lost.view("r", watch.replica, {}) == watch.replica.resource("r")


def test_so_is_one_whose_standbys_left_after_it_was_lost() -> None:
    """The last to leave need not have been active, nor be lost: the newest tenure was, and nobody came after it."""
    watch = Watch()
    active, sick = watch.scene.client("a"), watch.scene.client("sick", status=ServiceStatus.UNHEALTHY)
    active.claim("r")
    sick.stand_by("r")
    watch.scene.end_session(active)
    assert watch.ids == []
    sick.goodbye()
    assert watch.ids == ["r"]
    sick = watch.scene.client("sick", status=ServiceStatus.UNHEALTHY)
    sick.stand_by("r")
    assert watch.ids == []
    sick.goodbye()
    assert watch.ids == ["r"]


def test_what_was_left_in_good_order_is_not_lost() -> None:
    """Neither by a goodbye nor by a resignation; which also dismisses what was lost before."""
    watch = Watch()
    client = watch.scene.client("a")
    held = client.claim("resigned")
    client.claim("left")
    client.resign(held)
    client.goodbye()
    assert watch.ids == []
    watch.lose("left")
    assert watch.ids == ["left"]
    client = watch.scene.client("a")
    client.claim("left")
    client.goodbye()
    assert watch.ids == []


@pytest.mark.parametrize("reason", [ChangeReason.DIED, ChangeReason.EXPIRED, ChangeReason.CONFIRMED_DEAD])
def test_every_way_to_be_lost_counts(reason: ChangeReason) -> None:
    """What a failover follows on, and nothing else."""
    watch = Watch()
    watch.lose("r", reason)
    assert watch.ids == ["r"]
    assert reason in LOST


def test_only_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first, and said to be, so that nobody goes on to show it."""
    monkeypatch.setattr(lost, "LOST_KEPT", 2)
    watch = Watch()
    for resource_id in ("one", "two", "three"):
        watch.lose(resource_id)
    assert watch.follow() == ["one"]
    assert watch.ids == ["two", "three"]


def test_another_snapshot_of_the_same_history_keeps_what_fits_it() -> None:
    """Events may have been missed: who has come since, or has been active, is seen in the snapshot."""
    watch = Watch()
    sick = watch.scene.client("sick", status=ServiceStatus.UNHEALTHY)
    for resource_id in ("alone", "taken", "waiting", "held"):
        sick.stand_by(resource_id)
        watch.lose(resource_id)
    sick.goodbye()
    assert watch.ids == ["alone", "taken", "waiting", "held"]
    other = watch.scene.client("other")
    other.resign(other.claim("taken"))
    other.claim("held")
    sick = watch.scene.client("sick", status=ServiceStatus.UNHEALTHY)
    sick.stand_by("waiting")
    watch.begin()
    assert watch.ids == ["alone"]
    sick.goodbye()
    other.goodbye()
    assert watch.ids == ["alone", "waiting"]
    watch.begin("another history")
    assert watch.ids == []


def test_a_board_shows_it_on_top_with_nobody_active() -> None:
    """Of all services and of its own, found by the name of whom was lost, and gone once somebody has left it well."""
    scene = Scene()
    scene.client("well").claim("a-well")
    boards = {service: Board(service) for service in (None, "svc", "other")}
    replica = Replica()
    replica.begin(HISTORY, 0)
    for board in boards.values():
        board.begin(replica)

    def follow() -> None:
        for event in scene.events:
            if replica.revision < event.revision:
                replica.apply(event)
                for board in boards.values():
                    board.apply(event)
        for board in boards.values():
            board.refresh()

    gone = scene.client("gone")
    gone.claim("b-lost")
    scene.ask(PauseResource(resource_id="b-lost", why="a test", for_ms=60_000))
    scene.end_session(gone)
    follow()
    assert [board.ids() for board in boards.values()] == [["b-lost", "a-well"], ["b-lost", "a-well"], []]
    assert boards[None].counts()[Trouble.NOBODY_ACTIVE] == 1
    assert boards[None].ids("svc/gone") == ["b-lost"]
    view = boards[None].view("b-lost")
    assert view is not None
    assert view.pause is not None
    back = scene.client("back")
    back.claim("b-lost")
    back.goodbye()
    follow()
    assert boards[None].ids() == ["a-well"]


def test_a_board_does_not_go_on_to_show_what_had_to_be_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at that anew too."""
    monkeypatch.setattr(lost, "LOST_KEPT", 1)
    watch, board = Watch(), Board()
    board.begin(watch.replica)
    for resource_id in ("one", "two"):
        watch.lose(resource_id)
        for event in watch.scene.events:
            if event.revision > watch.replica.revision:
                watch.replica.apply(event)
                board.apply(event)
        board.refresh()
    assert board.ids() == ["two"]
