"""What whoever asked is told of a request that came to no answer: surely not carried out, or perhaps."""

from __future__ import annotations

import pytest

from tenure.contract.errors import (
    BrokerUnavailableError,
    ErrorCode,
    OverloadedError,
    RequestTimeoutError,
    StorageUnavailableError,
)
from tenure.contract.messages import Farewell, GetResource
from tenure.sdk.requests import ATTEMPT_MS
from tests.unit.requests_stage import ENDPOINTS, Line


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
