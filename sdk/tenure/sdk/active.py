"""Being active as a scope: work that runs only while the role is held, and is cancelled before the lease ends.

What this never does is leave the work running in silence: it is cancelled early enough to stop inside the lease, waited
for, and reported if it takes longer than it may. Work that is asked to end goes on for as long as the drain lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Protocol

import structlog

from tenure.contract.errors import (
    BrokerUnavailableError,
    ClientClosedError,
    OverloadedError,
    RequestTimeoutError,
    RoleLostError,
    SessionExpiredError,
    ShuttingDownError,
    StorageUnavailableError,
    StoreRolledBackError,
    TenureError,
)
from tenure.contract.messages import Register
from tenure.sdk import tracing
from tenure.sdk.registration import Registration, Tenure, Work

AWAY: Final = (  # what a broker that comes back mends
    BrokerUnavailableError,
    OverloadedError,
    RequestTimeoutError,
    SessionExpiredError,
    ShuttingDownError,
    StorageUnavailableError,
    StoreRolledBackError,
)
_PAUSE_MS: Final = 250  # between two tries to reach a broker that is away
_LEAVE_MS: Final = 1_000  # what leaving a scope waits for the broker's answer

_log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.sdk")


class _Client(Protocol):
    async def open(self) -> None: ...

    @property
    def is_closed(self) -> bool: ...

    async def register_item(self, item: Register) -> Registration: ...

    def step_down(self, registration: Registration, why: str) -> None: ...


async def stand_by(client: _Client, claim: Register) -> Registration:
    """Register for work that runs in a scope, or ask again; the claim says whether as a candidate.

    Raises:
        TenureError: As `ServiceClient.register`.
    """
    registration = await client.register_item(claim)
    registration.held.is_scoped = True
    return registration


async def run_as_active[T](client: _Client, claim: Register, work: Work[T], stop_budget_ms: float) -> T:
    """Run work whenever the role is held, until the work itself ends; see `ServiceClient.run_as_active`."""
    registration: Registration | None = None
    try:
        while True:
            try:
                if registration is not None and client.is_closed:
                    raise ClientClosedError("the client was closed under work that lasts for as long as it is open")
                await client.open()
                registration = await stand_by(client, claim)
                tenure = await registration.wait_active()
            except AWAY as away:
                _log.warning("run_as_active.waiting", reason=str(away), service_name=claim.service_name)
                await asyncio.sleep(_PAUSE_MS / 1_000)
                continue
            except RoleLostError:
                continue
            outcome = await _run_while_active(tenure, work, stop_budget_ms)
            if outcome is not None and _is_final(outcome, tenure):
                return outcome.result()
            if tenure.is_asked_to_end:
                await _resign(registration)
            else:
                client.step_down(registration, "its work was stopped before the lease could end")
    finally:
        if registration is not None and not registration.is_ended:
            await _deregister(registration)


def _is_final(outcome: asyncio.Task[object], tenure: Tenure) -> bool:
    """Whether the work ended by itself and for good.

    Not if it noticed first that the role is lost (`ensure_active` raised), before it was cancelled; nor if it returned
    after somebody had asked for the tenure to end, also if that was withdrawn meanwhile: what was asked for is that the
    work goes on elsewhere.
    """
    if outcome.cancelled():
        return True
    error = outcome.exception()
    if error is None:
        return tenure.registration.held.asked_epoch != tenure.epoch
    return not isinstance(error, RoleLostError) or tenure.is_active


async def _run_while_active[T](tenure: Tenure, work: Work[T], stop_budget_ms: float) -> asyncio.Task[T] | None:
    """Run the work; the finished task, or None if the work was stopped because its time was up."""
    with tenure.registration.working(tenure.epoch), tracing.working(tenure):
        return await _run_until_ending(tenure, work, stop_budget_ms)


async def _run_until_ending[T](tenure: Tenure, work: Work[T], stop_budget_ms: float) -> asyncio.Task[T] | None:
    async def body() -> T:
        return await work(tenure)

    task = asyncio.create_task(body())
    ending = asyncio.create_task(tenure.wait_ending(stop_budget_ms))
    try:
        await asyncio.wait([task, ending], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task
        _log_ending(tenure)
        await _stop(task, tenure)
        return None
    finally:  # also if whoever waits for this was cancelled: the work never outlives it
        ending.cancel()
        if not task.done():
            await _stop(task, tenure)


async def _stop[T](task: asyncio.Task[T], tenure: Tenure) -> None:
    """Cancel the work and wait until it has stopped, saying so if the tenure ends before it does."""
    task.cancel()
    over = asyncio.create_task(tenure.wait_over())
    try:
        await asyncio.wait([task, over], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            _log_outliving(tenure)
            await asyncio.wait([task])
    finally:
        over.cancel()
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("work.failed_while_stopping", resource_id=tenure.resource_id, epoch=tenure.epoch, exc_info=error)


def _log_outliving(tenure: Tenure) -> None:
    _log.critical(
        "work.outlives_role",
        resource_id=tenure.resource_id,
        epoch=tenure.epoch,
        hint="the work did not stop when it was cancelled; it goes on without the role",
    )


def _log_ending(tenure: Tenure) -> None:
    """Say that the work is stopped, and whether that was asked for or the lease runs out."""
    left_ms, was_asked = round(tenure.remaining_ms), tenure.is_asked_to_end
    log = _log.info if was_asked else _log.warning
    log("role.ending", resource_id=tenure.resource_id, epoch=tenure.epoch, left_ms=left_ms, was_asked=was_asked)


async def _resign(registration: Registration) -> None:
    try:
        await registration.resign()
    except TenureError as error:  # its tenure is over on this side; the broker hears it by the next heartbeat
        _log.warning("resign.unanswered", resource_id=registration.resource_id, reason=str(error))


async def _deregister(registration: Registration) -> None:
    """End the registration without waiting long: on this side it is over, and the client goes on telling the broker."""
    try:
        async with asyncio.timeout(_LEAVE_MS / 1_000):
            await registration.deregister()
    except (TenureError, TimeoutError) as error:
        _log.warning("deregister.unanswered", resource_id=registration.resource_id, reason=str(error))


class ActiveScope:
    """The block of `async with client.active(...) as tenure`. It can be entered once."""

    def __init__(self, client: _Client, claim: Register, stop_budget_ms: float) -> None:
        self._client = client
        self._claim = claim
        self._stop_budget_ms = stop_budget_ms
        self._tenure: Tenure | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_lost = False
        self._cancelling = 0
        self._working = contextlib.ExitStack()

    async def __aenter__(self) -> Tenure:
        """Wait for the role, and watch it from then on."""
        registration = await stand_by(self._client, self._claim)
        try:
            self._tenure = await registration.wait_active()
        except BaseException:
            await _deregister(registration)
            raise
        task = asyncio.current_task()
        assert task is not None, "a block runs in a task"
        self._cancelling = task.cancelling()
        self._working.enter_context(registration.working(self._tenure.epoch))
        self._working.enter_context(tracing.working(self._tenure))
        self._watch = asyncio.create_task(self._cancel_before_end(self._tenure, task))
        return self._tenure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching and end the registration.

        Raises:
            RoleLostError: The block was cancelled because the role was about to be lost.
        """
        assert self._tenure is not None
        assert self._watch is not None
        self._watch.cancel()
        self._working.close()
        lost = self._tenure.registration.role_lost(self._tenure.epoch) if self._is_lost else None
        task = asyncio.current_task()
        was_cancelled_by_us = self._is_lost and task is not None and task.uncancel() <= self._cancelling
        await _deregister(self._tenure.registration)
        if lost is not None and was_cancelled_by_us and isinstance(error, asyncio.CancelledError):
            raise lost from error

    async def _cancel_before_end(self, tenure: Tenure, task: asyncio.Task[object]) -> None:
        await tenure.wait_ending(self._stop_budget_ms)
        self._is_lost = True
        _log_ending(tenure)
        task.cancel()
        await asyncio.sleep(0)  # a block that stops at once has not outlived a tenure that was over before
        await tenure.wait_over()
        _log_outliving(tenure)
