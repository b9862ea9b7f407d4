"""A snapshot is of one revision and one history, whatever happens while its pages are read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from tenure.contract.errors import BrokerUnavailableError, RevisionCompactedError
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.limits import PAGE_ITEMS_MAX
from tenure.contract.messages import BrokerMessage, ClientMessage, ListServices, Register
from tenure.sdk.snapshot import take_snapshot
from tests.unit.scene import HISTORY, Scene


class Asked:
    """A registry that is asked directly, with pages of two instances, and where things happen after a question."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.history_id = HISTORY
        self.first_kept = 1
        self.asked: list[ClientMessage] = []
        self.then: list[Callable[[], None]] = []
        """What happens after each question, in order."""

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Answer at once."""
        self.asked.append(message)
        reply = self._answer(message)
        if self.then:
            self.then.pop(0)()
        assert isinstance(reply, answer)
        return reply

    def _answer(self, message: ClientMessage) -> BrokerMessage:
        match message:
            case ListServices():
                return structs.replace(self.scene.page(structs.replace(message, limit=2)), history_id=self.history_id)
            case ReadEvents():
                if message.since + 1 < self.first_kept:
                    raise RevisionCompactedError("gone", revision=self.first_kept)
                events = self.scene.events[message.since : message.since + message.limit]
                return EventPage(
                    history_id=self.history_id, events=tuple(events), revision=self.scene.registry.revision
                )
            case _:
                raise AssertionError(f"nobody asks for {message}")


def crowd(count: int) -> tuple[Scene, Callable[[], None]]:
    """A scene with some instances, and something that may happen to it: another one comes, the first one leaves."""
    scene = Scene()
    clients = [scene.client(f"c{number}") for number in range(count)]
    for client in clients:
        client.compete("r")

    def happen() -> None:
        clients.pop(0).goodbye()
        newcomer = scene.client(f"n{scene.registry.revision}")
        newcomer.register(Register(service_name="svc", instance_id=newcomer.name, resource_id="s"))

    return scene, happen


async def test_nothing_happens_in_between() -> None:
    """Pages of one revision are the snapshot; no event has to be read."""
    scene, _ = crowd(5)
    asked = Asked(scene)

    replica = await take_snapshot(asked)

    assert replica.instances() == list(scene.page(ListServices()).instances)
    assert [type(message) for message in asked.asked] == [ListServices] * 3


async def test_what_happens_in_between_is_in_it() -> None:
    """Between pages instances come and go and the role moves: the snapshot is of the last page's revision."""
    scene, happen = crowd(6)
    asked = Asked(scene)
    asked.then = [happen, happen]

    replica = await take_snapshot(asked)

    assert replica.is_settled
    assert replica.revision == scene.registry.revision
    assert replica.instances() == list(scene.page(ListServices()).instances)
    reads = [message for message in asked.asked if isinstance(message, ReadEvents)]
    assert [read.since + read.limit for read in reads] == [replica.revision], "no further than it needs"


async def test_very_much_happens_in_between() -> None:
    """More events than a page holds are read a page at a time."""
    scene, _ = crowd(3)
    client = scene.client("busy")

    def happen() -> None:
        for number in range(PAGE_ITEMS_MAX + 10):
            client.stand_by("r", priority=number)

    asked = Asked(scene)
    asked.then = [happen]

    replica = await take_snapshot(asked)

    assert replica.instances() == list(scene.page(ListServices()).instances)
    assert len([message for message in asked.asked if isinstance(message, ReadEvents)]) == 2


@pytest.mark.parametrize("pages_before", [1, 2])
async def test_a_store_that_is_replaced_in_between_begins_it_anew(pages_before: int) -> None:
    """Pages and events of two histories are never mixed: the walk starts again and is of the new one."""
    scene, happen = crowd(6)
    asked = Asked(scene)

    def replace() -> None:
        happen()
        asked.history_id = "another"

    asked.then = [happen, *[lambda: None] * 2]
    asked.then[pages_before - 1] = replace

    replica = await take_snapshot(asked)

    assert replica.history_id == "another"
    assert replica.instances() == list(scene.page(ListServices()).instances)


async def test_events_that_are_gone_at_once_begin_it_anew() -> None:
    """A store that has already forgotten what happened between the pages is walked again."""
    scene, happen = crowd(6)
    asked = Asked(scene)

    def happen_and_forget() -> None:
        happen()
        asked.first_kept = scene.registry.revision

    asked.then = [happen_and_forget]

    replica = await take_snapshot(asked)

    assert replica.instances() == list(scene.page(ListServices()).instances)


async def test_a_store_that_forgets_everything_at_once_cannot_be_copied() -> None:
    """If that happens each time it is not tried for ever, and the refusal says what was forgotten."""
    scene, _ = crowd(3)
    client = scene.client("busy")
    asked = Asked(scene)

    def happen_and_forget() -> None:
        client.stand_by("r", priority=scene.registry.revision)
        asked.first_kept = scene.registry.revision + 1

    asked.then = [happen_and_forget] * 1_000

    with pytest.raises(RevisionCompactedError, match="gone"):
        await take_snapshot(asked)


async def test_a_store_that_is_replaced_before_its_events_are_read_begins_it_anew() -> None:
    """The events between the pages are of the pages' history, or the walk starts again."""
    scene, happen = crowd(2)
    asked = Asked(scene)

    def replace() -> None:
        asked.history_id = "another"

    asked.then = [happen, replace]

    replica = await take_snapshot(asked)

    assert replica.history_id == "another"
    assert replica.instances() == list(scene.page(ListServices()).instances)


async def test_a_broker_that_leaves_is_the_callers_concern() -> None:
    """An error that is not about the snapshot is passed on."""
    scene, _ = crowd(5)
    asked = Asked(scene)

    def leave() -> None:
        raise BrokerUnavailableError(("ipc:///nobody",), 1)

    asked.then = [leave]

    with pytest.raises(BrokerUnavailableError):
        await take_snapshot(asked)


async def test_a_filter_is_asked_for_and_kept() -> None:
    """The broker is asked for what is wanted, and events of others are left out."""
    scene, happen = crowd(6)
    asked = Asked(scene)
    asked.then = [happen]

    replica = await take_snapshot(asked, service_name="svc", resource_id="r")

    assert replica.instances() == list(scene.page(ListServices(resource_id="r")).instances)
    assert {(m.service_name, m.resource_id) for m in asked.asked if isinstance(m, ListServices)} == {("svc", "r")}
