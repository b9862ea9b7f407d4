"""What has to be asked of the broker is asked at most every 500 ms, however many want to know, and only if they do."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tenure.admin import questions
from tenure.admin.questions import PRESENCE_INTERVAL_MS, RESOURCE_AGE_MS, Pace, Poll, ResourceAnswers
from tenure.contract.errors import BrokerUnavailableError, NotFoundError
from tenure.contract.messages import BrokerMessage, ClientMessage, GetResource, ListPresence, PresencePage, Resource
from tenure.contract.views import Presence, ResourceView
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk import queries
from tests.turns import turns

type PresencePoll = Poll[dict[int, Presence]]


class Broker:
    """Answers about one session, when it is told to, and counts the questions."""

    def __init__(self) -> None:
        self.questions = 0
        self.now_ms = 1_000.0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_away = False

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Answer how the session is doing."""
        assert isinstance(message, ListPresence)
        self.questions += 1
        await self.may_answer.wait()
        if self.is_away:
            raise BrokerUnavailableError(("ipc:///nobody",), 1)
        reply = PresencePage(
            presence=(Presence(session=1, status=ServiceStatus.HEALTHY, lease_left_ms=self.questions),)
        )
        assert isinstance(reply, answer)
        return reply


@pytest.fixture
def broker() -> Broker:
    """A broker that answers."""
    return Broker()


@pytest.fixture
def poll(broker: Broker) -> PresencePoll:
    """A poll whose clock is the broker's."""
    return Poll(
        partial(queries.presence, broker), PRESENCE_INTERVAL_MS, lambda: broker.now_ms, lambda: int(broker.now_ms)
    )


async def lease_left_ms(poll: PresencePoll) -> int:
    """What is said of the session."""
    presence, _ = await poll.get()
    return presence[1].lease_left_ms


async def test_nobody_asks_and_nothing_is_asked(broker: Broker, poll: PresencePoll) -> None:
    """Without a reader there is no question, however long it takes."""
    broker.now_ms += 10 * PRESENCE_INTERVAL_MS
    assert broker.questions == 0
    assert await lease_left_ms(poll) == 1


async def test_many_readers_are_one_question(broker: Broker, poll: PresencePoll) -> None:
    """A hundred who ask at once share an answer, and so does who asks within 500 ms."""
    broker.may_answer.clear()
    asking = [asyncio.ensure_future(lease_left_ms(poll)) for _ in range(100)]
    await turns()
    broker.may_answer.set()

    assert await asyncio.gather(*asking) == [1] * 100
    broker.now_ms += PRESENCE_INTERVAL_MS - 1
    assert await lease_left_ms(poll) == 1
    assert broker.questions == 1


async def test_an_old_answer_is_asked_for_again(broker: Broker, poll: PresencePoll) -> None:
    """After 500 ms the next reader gets a new one, with the time it was asked for."""
    assert await poll.get() == ({1: Presence(session=1, status=ServiceStatus.HEALTHY, lease_left_ms=1)}, 1_000)
    broker.now_ms += PRESENCE_INTERVAL_MS

    presence, as_of_ms = await poll.get()

    assert (presence[1].lease_left_ms, as_of_ms) == (2, 1_000 + PRESENCE_INTERVAL_MS)


async def test_a_reader_that_hangs_up_ends_it_for_nobody_else(broker: Broker, poll: PresencePoll) -> None:
    """The question goes on for the others."""
    broker.may_answer.clear()
    first, second = (asyncio.ensure_future(lease_left_ms(poll)) for _ in range(2))
    await turns()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    broker.may_answer.set()

    assert await second == 1
    assert first.cancelled()


async def test_a_failure_is_everybodys_who_waits_and_the_next_one_tries_again(
    broker: Broker, poll: PresencePoll
) -> None:
    """A broker that is away is no answer, and is not remembered as one."""
    await lease_left_ms(poll)
    broker.now_ms += PRESENCE_INTERVAL_MS
    broker.is_away = True
    outcomes = await asyncio.gather(poll.get(), poll.get(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BrokerUnavailableError] * 2
    assert broker.questions == 2

    broker.is_away = False
    assert await lease_left_ms(poll) == 3


async def test_a_failure_that_nobody_waited_for_is_silent(broker: Broker, poll: PresencePoll) -> None:
    """If all have hung up by then, nothing is left over that Python would complain about."""
    broker.may_answer.clear()
    broker.is_away = True
    only = asyncio.ensure_future(poll.get())
    await turns()
    only.cancel()
    await asyncio.gather(only, return_exceptions=True)
    broker.may_answer.set()
    broker.is_away = False
    assert await lease_left_ms(poll) == 1


# --- resources, and the pace of questions -----------------------------------------------------------------------------


class Registry:
    """Answers about resources, when it is told to, and counts the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now_ms = 1_000.0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def request[T: BrokerMessage](self, message: ClientMessage, answer: type[T]) -> T:
        """Answer that somebody, or nobody, is registered for a resource."""
        assert isinstance(message, GetResource)
        self.asked.append(message.resource_id)
        revision = len(self.asked)
        await self.may_answer.wait()
        if message.resource_id == "nothing":
            raise NotFoundError("nobody is registered for it")
        view = ResourceView(resource_id=message.resource_id, last_epoch=0, active=None, standbys=(), standby_count=0)
        reply = Resource(revision=revision, resource=view)
        assert isinstance(reply, answer)
        return reply


@pytest.fixture
def registry() -> Registry:
    """A registry that answers."""
    return Registry()


@pytest.fixture
def answers(registry: Registry) -> ResourceAnswers:
    """Answers whose clock is the registry's."""
    return ResourceAnswers(registry, lambda: registry.now_ms, lambda: int(registry.now_ms))


async def test_a_resource_is_asked_for_once_for_all_readers(registry: Registry, answers: ResourceAnswers) -> None:
    """Those who ask at once, and whoever asks within 500 ms; then anew, and each resource for itself."""
    registry.may_answer.clear()
    asking = [asyncio.ensure_future(answers.get("r")) for _ in range(100)]
    await turns()
    registry.may_answer.set()
    assert {answer.found.revision for answer in await asyncio.gather(*asking)} == {1}
    registry.now_ms += RESOURCE_AGE_MS - 1
    assert (await answers.get("r")).as_of_ms == 1_000
    await answers.get("q")
    registry.now_ms += 1
    assert (await answers.get("r")).as_of_ms == 1_000 + RESOURCE_AGE_MS
    assert registry.asked == ["r", "q", "r"]


async def test_what_has_changed_is_asked_for_anew(registry: Registry, answers: ResourceAnswers) -> None:
    """Also while an answer of before is on its way, which is not remembered then."""
    await answers.get("r")
    answers.forget("r")
    registry.may_answer.clear()
    before = asyncio.ensure_future(answers.get("r"))
    await turns()
    answers.forget("r")
    after = asyncio.ensure_future(answers.get("r"))
    await turns()
    registry.may_answer.set()
    assert ((await before).found.revision, (await after).found.revision) == (2, 3)
    assert (await answers.get("r")).found.revision == 3


async def test_a_refusal_is_not_remembered(registry: Registry, answers: ResourceAnswers) -> None:
    """The next one asks again."""
    for count in (1, 2):
        with pytest.raises(NotFoundError):
            await answers.get("nothing")
        assert len(registry.asked) == count


async def test_only_so_many_answers_are_remembered(
    registry: Registry, answers: ResourceAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest are forgotten first."""
    monkeypatch.setattr(questions, "_RESOURCES_KEPT", 2)
    for name in ("a", "b", "c", "b", "a"):
        await answers.get(name)
    assert registry.asked == ["a", "b", "c", "a"]


async def test_questions_pass_one_at_a_time_with_a_pause() -> None:
    """However many there are, and whatever becomes of one."""
    slept_ms: list[float] = []

    async def sleep(seconds: float) -> None:
        slept_ms.append(seconds * 1_000)

    pace = Pace(10_000, sleep)
    under_way = 0

    async def question(number: int) -> int:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        await turns()
        under_way -= 1
        if number == 1:
            raise NotFoundError("no")
        return number

    outcomes = await asyncio.gather(
        *(pace.take(partial(question, number)) for number in range(3)), return_exceptions=True
    )
    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [0, NotFoundError, 2]
    assert len(slept_ms) == 2
    assert all(0 < slept <= 10_000 for slept in slept_ms)
