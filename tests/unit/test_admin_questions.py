"""What is said of leases is asked for at most every 500 ms, however many want to know, and only while somebody does."""

from __future__ import annotations

import asyncio

import pytest

from tenure.admin.questions import PRESENCE_INTERVAL_MS, PresencePoll
from tenure.contract.errors import BrokerUnavailableError
from tenure.contract.messages import BrokerMessage, ClientMessage, ListPresence, PresencePage
from tenure.contract.views import Presence
from tenure.contract.vocabulary import ServiceStatus


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
    return PresencePoll(broker, lambda: broker.now_ms, lambda: int(broker.now_ms))


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
    await asyncio.sleep(0)
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
    await asyncio.sleep(0)
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
    await asyncio.sleep(0)
    only.cancel()
    await asyncio.gather(only, return_exceptions=True)
    broker.may_answer.set()
    broker.is_away = False
    assert await lease_left_ms(poll) == 1
