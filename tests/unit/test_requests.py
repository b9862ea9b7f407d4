"""Requests: sent once the connection is welcome, repeated over the next one, and concluded whatever happens."""

from __future__ import annotations

import pytest

from tenure.contract import codec
from tenure.contract.errors import (
    BrokerUnavailableError,
    ErrorCode,
    ErrorInfo,
    ForbiddenError,
    NotFoundError,
    OverloadedError,
    RequestTimeoutError,
    SessionExpiredError,
    StorageUnavailableError,
    TenureError,
)
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    ErrorReply,
    Farewell,
    GetResource,
    Goodbye,
    Hello,
    Welcome,
)
from tenure.sdk.requests import ATTEMPT_MS, CONNECT_MS, IN_FLIGHT_MAX, TICK_MS, RequestsCore

HELLO = b"hello"
TIMEOUT_MS = 10_000.0
WELCOME = Welcome(version=PROTOCOL_VERSION, history_id="h", revision=1)
ENDPOINTS = ("ipc:///a", "tcp://b:1")


class Line:
    """A request channel's core, the time, and the test as the broker at the other end."""

    def __init__(self, endpoints: tuple[str, ...] = ENDPOINTS) -> None:
        self.core = RequestsCore(self._hello, endpoints)
        self.now_ms = 1_000.0
        self.history_id: str | None = None
        self._connection = 0

    def _hello(self) -> Hello:
        self._connection += 1
        return Hello(version=PROTOCOL_VERSION, connection=self._connection, history_id=self.history_id)

    def submit(self, message: ClientMessage | None = None, timeout_ms: float = TIMEOUT_MS) -> bytes:
        """Ask for something."""
        return self.core.submit(message or Goodbye(), self.now_ms, timeout_ms)

    def connects(self) -> bool:
        """Whether it asks for a new connection now."""
        return self.core.advance(self.now_ms)

    def sent(self) -> list[tuple[bytes, ClientMessage]]:
        """What it sends now."""
        return [(request_id, codec.decode_client(body)) for request_id, body, _ in self.core.sendable(self.now_ms)]

    def ids(self) -> list[bytes]:
        """The requests it sends now."""
        return [request_id for request_id, _ in self.sent()]

    def answer(self, request_id: bytes, message: BrokerMessage) -> None:
        """The broker answers."""
        self.core.receive(request_id, message, self.now_ms)

    def refuse(self, request_id: bytes, code: ErrorCode, retry_after_ms: int | None = None) -> None:
        """The broker refuses."""
        info = ErrorInfo(code=code, message="because", retry_after_ms=retry_after_ms)
        self.answer(request_id, ErrorReply(error=info))

    def outcomes(self) -> list[tuple[bytes, BrokerMessage | TenureError]]:
        """What requests have come to since the last time."""
        outcomes, self.core.outcomes = self.core.outcomes, []
        return outcomes

    def outcome(self, request_id: bytes) -> BrokerMessage | TenureError:
        """What a request has come to, no other having come to anything."""
        ((concluded, outcome),) = self.outcomes()
        assert concluded == request_id
        return outcome

    def welcome(self) -> None:
        """The connection is made and welcomed."""
        assert self.connects()
        ((request_id, hello),) = self.sent()
        assert request_id == HELLO
        assert isinstance(hello, Hello)
        self.answer(HELLO, WELCOME)


def test_hello_comes_first_and_requests_after_its_answer() -> None:
    """Nothing but hello goes out before the broker has accepted the connection."""
    line = Line()
    assert line.core.is_idle
    request_id = line.submit(GetResource(resource_id="r"))
    assert not line.core.is_idle
    assert line.sent() == []

    line.welcome()

    assert line.core.welcome == WELCOME
    assert line.sent() == [(request_id, GetResource(resource_id="r"))]
    assert line.sent() == []
    line.answer(request_id, Farewell())
    assert line.outcome(request_id) == Farewell()
    assert line.core.is_idle


def test_only_hello_goes_out_while_it_is_not_answered() -> None:
    """Hello is said once, and requests wait for its answer."""
    line = Line()
    line.submit()
    assert line.connects()
    assert line.ids() == [HELLO]

    line.submit()

    assert line.ids() == []


def test_requests_go_out_in_the_order_they_came() -> None:
    """Also those that waited for the connection."""
    line = Line()
    asked = [line.submit() for _ in range(5)]
    line.welcome()
    assert line.ids() == asked


def test_a_refusal_is_the_outcome() -> None:
    """An error code becomes the exception it stands for."""
    line = Line()
    request_id = line.submit()
    line.welcome()
    line.sent()

    line.refuse(request_id, ErrorCode.NOT_FOUND)

    assert isinstance(line.outcome(request_id), NotFoundError)


def test_what_is_not_answered_is_repeated_with_the_same_id_over_a_new_connection() -> None:
    """★ No answer within an attempt's time: a new connection, a new hello, the same request id."""
    line = Line()
    request_id = line.submit()
    line.welcome()
    assert line.ids() == [request_id]
    line.now_ms += ATTEMPT_MS - 1
    assert not line.connects()
    line.now_ms += 1

    assert line.connects()

    (hello,) = line.sent()
    assert hello == (HELLO, Hello(version=PROTOCOL_VERSION, connection=2))
    line.answer(HELLO, WELCOME)
    assert line.ids() == [request_id]
    line.answer(request_id, Farewell())
    assert line.outcome(request_id) == Farewell()


def test_all_that_waits_moves_to_the_new_connection() -> None:
    """One request is stuck: the others that wait are repeated as well, in their order."""
    line = Line()
    first = line.submit()
    line.welcome()
    line.sent()
    line.now_ms += ATTEMPT_MS / 2
    second = line.submit()
    assert line.ids() == [second]
    line.now_ms += ATTEMPT_MS / 2

    line.welcome()

    assert line.ids() == [first, second]


def test_a_connection_that_is_not_welcomed_is_replaced() -> None:
    """Nobody answers the hello: another connection is tried, again and again."""
    line = Line()
    line.submit()
    assert line.connects()
    line.sent()
    for _ in range(3):
        line.now_ms += CONNECT_MS - 1
        assert not line.connects()
        line.now_ms += 1
        assert line.connects()
        assert line.ids() == [HELLO]


def test_nothing_is_tried_while_nothing_waits() -> None:
    """Without a request there is no reason for a connection."""
    assert not Line().connects()


# --- a broker that has forgotten the connection -----------------------------------------------------------------------


def test_hello_required_says_hello_again_and_repeats() -> None:
    """★ The broker restarted: hello on the same connection, then everything that waits once more."""
    line = Line()
    first, second = line.submit(), line.submit()
    line.welcome()
    line.sent()
    line.now_ms += 2 * CONNECT_MS

    line.refuse(first, ErrorCode.HELLO_REQUIRED)

    assert line.ids() == [HELLO]
    assert not line.connects()
    line.answer(HELLO, WELCOME)
    assert line.ids() == [first, second]
    assert line.outcomes() == []


def test_many_refusals_for_want_of_a_hello_lead_to_one_hello() -> None:
    """Everything in flight is refused; hello goes out once and each request once more."""
    line = Line()
    asked = [line.submit() for _ in range(10)]
    line.welcome()
    line.sent()

    line.refuse(asked[0], ErrorCode.HELLO_REQUIRED)
    assert line.ids() == [HELLO]
    for request_id in asked[1:]:
        line.refuse(request_id, ErrorCode.HELLO_REQUIRED)
        assert line.ids() == []
    line.answer(HELLO, WELCOME)

    assert line.ids() == asked


# --- refusals that promise a better outcome later ---------------------------------------------------------------------


@pytest.mark.parametrize("code", [ErrorCode.OVERLOADED, ErrorCode.SESSION_LAPSED, ErrorCode.STORAGE_UNAVAILABLE])
def test_what_may_do_better_later_is_repeated(code: ErrorCode) -> None:
    """★ The same id goes out again after the time the refusal names."""
    line = Line()
    request_id = line.submit()
    line.welcome()
    line.sent()

    line.refuse(request_id, code, retry_after_ms=100)

    line.now_ms += 99
    assert line.ids() == []
    line.now_ms += 1
    assert line.ids() == [request_id]
    line.answer(request_id, Farewell())
    assert line.outcome(request_id) == Farewell()


def test_what_waits_for_its_time_waits_over_a_new_connection_too() -> None:
    """A request that is to be tried later is not sent sooner because another one moved to a new connection."""
    line = Line()
    stuck, later = line.submit(), line.submit()
    line.welcome()
    line.sent()
    line.now_ms += ATTEMPT_MS
    line.refuse(later, ErrorCode.OVERLOADED, retry_after_ms=100)

    line.welcome()

    assert line.ids() == [stuck]
    line.now_ms += 100
    assert line.ids() == [later]


def test_a_broker_that_leaves_is_replaced_at_once() -> None:
    """`shutting_down`: the next connection is made without waiting, and the request is repeated there."""
    line = Line()
    request_id = line.submit()
    line.welcome()
    line.sent()

    line.refuse(request_id, ErrorCode.SHUTTING_DOWN)

    assert line.ids() == []
    line.now_ms += TICK_MS
    line.welcome()
    line.now_ms += 100
    assert line.ids() == [request_id]


def test_a_hello_that_is_refused_for_now_is_tried_elsewhere() -> None:
    """The broker is too busy to be greeted: another connection is tried; the reason is told when time is up."""
    line = Line()
    request_id = line.submit()
    assert line.connects()
    line.sent()

    line.refuse(HELLO, ErrorCode.OVERLOADED)

    assert line.outcomes() == []
    line.now_ms += CONNECT_MS
    assert line.connects()
    line.now_ms += TIMEOUT_MS
    assert not line.connects()
    assert isinstance(line.outcome(request_id), OverloadedError)


def test_a_session_that_belongs_to_somebody_else_here_is_tried_elsewhere() -> None:
    """A session opened over ipc belongs to a user whom tcp does not vouch for: the next endpoint is tried."""
    line = Line()
    request_id = line.submit()
    assert line.connects()
    line.sent()
    line.refuse(HELLO, ErrorCode.FORBIDDEN)
    assert line.outcomes() == []
    line.now_ms += CONNECT_MS

    line.welcome()

    assert line.ids() == [request_id]


def test_a_hello_that_is_refused_for_good_fails_what_waits() -> None:
    """With one endpoint there is nowhere else to try; a later request begins with a connection of its own."""
    line = Line(endpoints=("ipc:///a",))
    first = line.submit()
    assert line.connects()
    line.sent()

    line.refuse(HELLO, ErrorCode.FORBIDDEN)

    assert isinstance(line.outcome(first), ForbiddenError)
    second = line.submit()
    line.welcome()
    assert line.ids() == [second]


def test_nothing_is_asked_of_a_broker_with_another_history() -> None:
    """A session that a restored store knows too is over all the same: an answer would be of another history's roles."""
    line = Line()
    line.history_id = "before the restore"
    request_id = line.submit()
    line.welcome()

    assert isinstance(line.outcome(request_id), SessionExpiredError)
    assert line.core.welcome is None
    line.history_id = WELCOME.history_id
    request_id = line.submit()
    line.welcome()
    assert line.ids() == [request_id]


def test_an_answer_to_hello_that_is_none_is_passed_over() -> None:
    """Anything but a welcome does not welcome."""
    line = Line()
    line.submit()
    assert line.connects()
    line.sent()

    line.answer(HELLO, Farewell())

    assert line.ids() == []


# --- time is up -------------------------------------------------------------------------------------------------------


def test_a_request_that_was_never_sent_was_certainly_not_carried_out() -> None:
    """No broker could be reached: the error says so, and at which endpoints."""
    line = Line()
    request_id = line.submit(timeout_ms=500)
    assert line.connects()
    line.now_ms += 500

    assert not line.connects()

    error = line.outcome(request_id)
    assert isinstance(error, BrokerUnavailableError)
    assert (error.endpoints, error.waited_ms) == (ENDPOINTS, 500)


def test_a_request_that_was_sent_has_an_unknown_outcome() -> None:
    """It may have been carried out: that is another error."""
    line = Line()
    request_id = line.submit(GetResource(resource_id="r"), timeout_ms=500)
    line.welcome()
    line.sent()
    line.now_ms += 500

    line.connects()

    error = line.outcome(request_id)
    assert isinstance(error, RequestTimeoutError)
    assert (error.request, error.waited_ms) == ("GetResource", 500)


def test_a_request_that_the_socket_did_not_take_was_not_sent() -> None:
    """What could not be handed over is offered again, and does not count as sent."""
    line = Line()
    request_id = line.submit(timeout_ms=500)
    line.welcome()
    assert line.ids() == [request_id]
    line.core.unsent(request_id)
    assert line.ids() == [request_id]
    line.core.unsent(request_id)
    line.now_ms += 500

    line.connects()

    assert isinstance(line.outcome(request_id), BrokerUnavailableError)


def test_a_hello_that_the_socket_did_not_take_is_offered_again() -> None:
    """The connection is not made yet: hello goes out once it is."""
    line = Line()
    line.submit()
    assert line.connects()
    assert line.ids() == [HELLO]

    line.core.unsent(HELLO)

    assert line.ids() == [HELLO]
    line.core.unsent(b"of nobody")


@pytest.mark.parametrize(
    ("code", "kind"),
    [(ErrorCode.OVERLOADED, OverloadedError), (ErrorCode.STORAGE_UNAVAILABLE, StorageUnavailableError)],
)
def test_a_refusal_that_stays_is_told_when_time_is_up(code: ErrorCode, kind: type[Exception]) -> None:
    """The newest refusal says more than that time is up."""
    line = Line()
    request_id = line.submit(timeout_ms=500)
    line.welcome()
    line.sent()
    line.refuse(request_id, code)
    line.now_ms += 500

    line.connects()

    assert isinstance(line.outcome(request_id), kind)


def test_an_attempt_without_an_answer_leaves_the_outcome_open_whatever_follows() -> None:
    """★ One attempt got no answer, the next one was refused with nothing done: the first may have been carried out."""
    line = Line()
    request_id = line.submit(timeout_ms=ATTEMPT_MS + 500)
    line.welcome()
    line.sent()
    line.now_ms += ATTEMPT_MS
    line.welcome()
    assert line.ids() == [request_id]
    line.refuse(request_id, ErrorCode.OVERLOADED)
    line.now_ms += 500

    line.connects()

    assert isinstance(line.outcome(request_id), RequestTimeoutError)


def test_a_store_that_could_not_answer_leaves_the_outcome_open_whatever_follows() -> None:
    """★ `storage_unavailable` means unknown; a later refusal with nothing done does not change that."""
    line = Line()
    request_id = line.submit(timeout_ms=500)
    line.welcome()
    line.sent()
    line.refuse(request_id, ErrorCode.STORAGE_UNAVAILABLE)
    line.now_ms += 100
    assert line.ids() == [request_id]
    line.refuse(request_id, ErrorCode.OVERLOADED)
    line.now_ms += 400

    line.connects()

    assert isinstance(line.outcome(request_id), RequestTimeoutError)


def test_nobody_waits_for_what_was_withdrawn() -> None:
    """It is not sent any more, an answer is nobody's, and withdrawing twice does nothing."""
    line = Line()
    first, second, third = line.submit(), line.submit(), line.submit()
    line.core.withdraw(first)
    line.welcome()
    assert line.ids() == [second, third]
    line.refuse(third, ErrorCode.OVERLOADED)

    line.core.withdraw(second)
    line.core.withdraw(second)
    line.core.withdraw(third)
    line.answer(second, Farewell())

    assert line.outcomes() == []
    assert line.core.is_idle
    line.now_ms += 100
    assert line.ids() == []
    line.core.unsent(second)


def test_all_that_waits_can_be_failed() -> None:
    """The channel is closed: everyone who waits hears why, once."""
    line = Line()
    asked = [line.submit(), line.submit()]
    error = RequestTimeoutError("x", 1)

    line.core.fail_all(error)

    assert line.outcomes() == [(request_id, error) for request_id in asked]


# --- how much goes out at once ----------------------------------------------------------------------------------------


def test_no_more_goes_out_than_a_broker_takes_and_the_rest_follows_with_the_answers() -> None:
    """Thousands of requests at once: as many as one connection may have unanswered, and one more for each answer."""
    line = Line()
    asked = [line.submit() for _ in range(IN_FLIGHT_MAX + 3)]
    line.welcome()
    assert line.ids() == asked[:IN_FLIGHT_MAX]
    assert line.ids() == []

    line.answer(asked[0], Farewell())
    line.core.withdraw(asked[1])
    assert line.ids() == asked[IN_FLIGHT_MAX : IN_FLIGHT_MAX + 2]

    line.refuse(asked[2], ErrorCode.OVERLOADED, retry_after_ms=100)
    assert line.ids() == asked[IN_FLIGHT_MAX + 2 :]
    line.now_ms += 100
    assert line.ids() == []
    line.answer(asked[3], Farewell())
    assert line.ids() == [asked[2]]


def test_a_new_connection_has_all_its_room() -> None:
    """What was in flight on the old connection does not count on the new one."""
    line = Line()
    asked = [line.submit() for _ in range(IN_FLIGHT_MAX + 1)]
    line.welcome()
    line.sent()
    line.now_ms += ATTEMPT_MS

    line.welcome()

    assert line.ids() == asked[:IN_FLIGHT_MAX]
