"""What the stand-in for work in a thread makes of how that ended, without a broker: in an order that tests choose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tenure.contract.errors import ClientClosedError, RoleLostError, TenureError
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.blocking import Tenure
from tenure.sdk.blocking.portal import Portal
from tenure.sdk.blocking.scope import Body
from tenure.sdk.registration import Registration as AsyncRegistration
from tenure.sdk.registration import Tenure as AsyncTenure
from tenure.sdk.session import Held
from tenure.sdk.standing import FOREVER, NEVER, Standing

EPOCH = 7


class Nobody:
    """The owner of registrations that nobody asks anything of."""

    error: TenureError | None = None

    async def resign(self, registration: AsyncRegistration) -> NoReturn:
        """Never called."""
        raise AssertionError(registration)

    def work_began(self, epoch: int) -> None:
        """Never called."""
        raise AssertionError(epoch)

    work_stopped = work_began

    async def deregister(self, registration: AsyncRegistration) -> NoReturn:
        """Never called."""
        raise AssertionError(registration)


@pytest.fixture
def portal() -> Iterator[Portal]:
    """An event loop in a thread; it ends with the test."""
    portal = Portal()
    yield portal
    portal.close(nothing)
    assert "tenure-portal" not in {thread.name for thread in threading.enumerate()}


async def nothing() -> None:
    """Nothing is left to do at the end."""


def body_of(portal: Portal, *, is_active: bool) -> Body[str]:
    """The body of a tenure that is held for ever, or over."""
    held = Held(1)
    held.standing = Standing(ServiceRole.ACTIVE, EPOCH, FOREVER if is_active else NEVER, 1, "")
    return Body(AsyncTenure(AsyncRegistration(Nobody(), held, "svc", "a", "r"), EPOCH), portal)


def find_it_lost(tenure: Tenure) -> str:
    """Work that finds out that its role is lost."""
    raise tenure.registration.role_lost(tenure.epoch)


def test_work_that_ends_gives_what_it_returned(portal: Portal) -> None:
    """Under a tenure that is held, its value is the outcome; then the tenure of that scope is at its end."""
    body = body_of(portal, is_active=True)
    assert not body.tenure.is_ending
    body.run(lambda tenure: f"epoch {tenure.ensure_active()}")
    assert portal.call(body.stand_in()) == [f"epoch {EPOCH}"]
    assert body.tenure.is_ending


def test_work_that_returns_without_its_role_has_not_done_it(portal: Portal) -> None:
    """It may have returned because it saw that before the event loop did, so it is `RoleLostError`, not an outcome."""
    body = body_of(portal, is_active=False)
    body.run(lambda _: "stopped")
    with pytest.raises(RoleLostError):
        portal.call(body.stand_in())


def test_work_that_is_told_to_end_stops_by_returning_or_by_finding_its_role_lost(portal: Portal) -> None:
    """Both are the cancellation that the stand-in was given, and waits are over; any other error is that error."""
    for stops_by, outcome in ((str, ClientClosedError), (find_it_lost, ClientClosedError), (int, TypeError)):
        body = body_of(portal, is_active=True)
        pending = portal.start(body.stand_in())
        portal.call(nothing())  # it has begun when this is answered
        pending.cancel()
        assert body.tenure.wait_ending()
        body.run(stops_by)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(outcome):
            pending.result()


def test_a_thread_that_waits_with_a_limit_or_a_margin_is_answered(portal: Portal) -> None:
    """`wait_ending` says false when the limit is reached, and true when the tenure ends within the margin."""
    tenure = body_of(portal, is_active=True).tenure
    assert not tenure.wait_ending(timeout_ms=1)
    assert not tenure.wait_ending(margin_ms=1_000, timeout_ms=1)
    assert tenure.wait_ending(margin_ms=float("inf"))


def test_a_portal_that_is_closed_takes_no_calls(portal: Portal) -> None:
    """Whoever comes late is told so, and what was under way ends with ClientClosedError."""
    body = body_of(portal, is_active=True)
    pending = portal.start(body.stand_in())
    body.leave()
    pending.wait()
    portal.close(nothing)
    portal.close(nothing)
    with pytest.raises(ClientClosedError):
        portal.call(nothing())
    pending.cancel()
    assert pending.result() == []
