"""Requests: sent once the connection is welcome, repeated over the next one, and concluded whatever happens."""

from __future__ import annotations

import pytest

from tenure.contract.errors import ErrorCode, ForbiddenError, NotFoundError, OverloadedError, SessionExpiredError
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import Farewell, GetResource, Hello
from tenure.sdk.requests import ATTEMPT_MS, CONNECT_MS, IN_FLIGHT_MAX, TICK_MS
from tests.unit.requests_stage import HELLO, TIMEOUT_MS, WELCOME, Line


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


def test_a_hello_that_the_socket_did_not_take_is_offered_again() -> None:
    """The connection is not made yet: hello goes out once it is."""
    line = Line()
    line.submit()
    assert line.connects()
    assert line.ids() == [HELLO]

    line.core.unsent(HELLO)

    assert line.ids() == [HELLO]
    line.core.unsent(b"of nobody")


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
