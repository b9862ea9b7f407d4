"""`tenure run`: stand by, run a program while its instance is active, and end it before the lease ends.

The program runs under a keeper that needs nobody's help to end it in time; see `tenure.cli.keeper`. The role is
released only when the program and all its descendants are gone. The exit of `tenure run` itself proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import Annotated, Final

import structlog
import typer
from msgspec import Struct

from tenure.cli.completion import resource_ids, service_names
from tenure.cli.exits import REFUSED, complain, run_async
from tenure.cli.health import Check, Health
from tenure.cli.options import Endpoints
from tenure.cli.output import say
from tenure.cli.startable import CommandStartError, check_startable
from tenure.cli.supervisor import Deadline, LeaseTooShortError, Outcome, StopCause, Supervisor
from tenure.contract.errors import (
    RequestRefusedError,
    RoleConflictError,
    RoleLostError,
    SessionExpiredError,
    TenureError,
)
from tenure.contract.limits import HOLD_LIMIT_MS_MAX, LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN
from tenure.contract.vocabulary import OnConflict, ServiceRole, ServiceStatus
from tenure.sdk import Registration, ServiceClient, Tenure, registration_request
from tenure.sdk.active import AWAY, stand_by
from tenure.sdk.heartbeats import ConnectionState

_FORWARDED: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)  # not SIGTSTP: whoever stops `tenure run` stops its work, which its keeper ends with the lease
_ENDING: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_CONNECT_MS: Final = 3_000
_LEAVE_MS: Final = 1_000  # what the end waits for the broker's answer; the goodbye behind it says the same once more
_PAUSE_MS: Final = 250
_EXTENSIONS_PER_LEASE: Final = 10
_CAUSES: Final = {
    StopCause.STOPPED: "it was told to",
    StopCause.LEASE_ENDED: "its lease was about to end",
    StopCause.KEEPER_LOST: "its keeper was killed, or hung",
}
_CONNECTION: Final = {
    ConnectionState.CONNECTED: "the broker is heard again",
    ConnectionState.SUSPENDED: "the broker is not heard; a role that is held goes on until its time is up",
    ConnectionState.LOST: "the lease is over: the broker has not answered for as long, or has ended it",
}


_HoldLimit = Annotated[
    int | None,
    typer.Option(
        min=LEASE_MS_MIN,
        max=HOLD_LIMIT_MS_MAX,
        help="Hold the role for so long, beyond the lease, while no broker answers; a silent death costs as much.",
        show_default="as long as the lease",
    ),
]


class _Plan(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    command: tuple[str, ...]
    endpoints: tuple[str, ...]
    service_name: str
    resource_id: str | None
    instance_id: str | None
    priority: int
    lease_ms: int
    hold_limit_ms: int | None
    stop_grace_ms: int
    stands_by: bool
    check: Check | None


def run(  # (a flag each)
    command: Annotated[list[str], typer.Argument(metavar="-- CMD [ARG]...", help="The program, behind two dashes.")],
    service: Annotated[str, typer.Option(autocompletion=service_names, help="The name of what runs.")],
    resource: Annotated[
        str | None,
        typer.Option(
            autocompletion=resource_ids,
            help="What exactly one instance may be active for.",
            show_default="the service's name",
        ),
    ] = None,
    instance: Annotated[
        str | None, typer.Option(help="The name of this instance.", show_default="host name and process id")
    ] = None,
    priority: Annotated[int, typer.Option(help="The higher is promoted first.")] = 0,
    lease_ms: Annotated[
        int, typer.Option(min=LEASE_MS_MIN, max=LEASE_MS_MAX, help="How long silence lasts before the role moves.")
    ] = LEASE_MS_DEFAULT,
    hold_limit_ms: _HoldLimit = None,
    stop_grace_ms: Annotated[
        int, typer.Option(min=0, help="How long CMD may take to stop after SIGTERM, while the lease lasts.")
    ] = 10_000,
    standby: Annotated[
        bool, typer.Option("--standby/--no-standby", help="Wait for the role; else exit 75 if somebody else is active.")
    ] = True,
    check: Annotated[
        str | None, typer.Option(metavar="CMD", help="A health check, run by sh; exit 0 means healthy.")
    ] = None,
    check_interval_ms: Annotated[int, typer.Option(min=50, help="How often the health check runs.")] = 1_000,
    check_failures: Annotated[
        int, typer.Option(min=1, help="After so many failures in a row an active hands over to a healthy standby.")
    ] = 3,
    endpoint: Endpoints = None,
) -> None:
    """Run a program only while this instance is active for a resource; stand by until it is.

    CMD finds TENURE_EPOCH, TENURE_RESOURCE_ID, TENURE_SERVICE_NAME, TENURE_INSTANCE_ID and TENURE_ENDPOINT in its
    environment. If the role is lost it gets SIGTERM, and SIGKILL before the lease ends, and the instance stands by
    again. If CMD ends by itself, what it has left running is ended too, and its exit code is returned: CMD must not
    put itself into the background.

    SIGTERM, or a second Ctrl-C, ends it all: CMD gets SIGTERM, and when the stop grace is over SIGKILL, with all that
    it has started. The first Ctrl-C and other signals are only forwarded to CMD. While nothing runs, the first SIGTERM,
    Ctrl-C or hangup is the end.

    Exit code: CMD's own; 143 if SIGTERM (130 if Ctrl-C) ended it all and CMD did not end in time, or did not run; 69
    if no broker answers at the start, 75 if the claim is refused, 127 if CMD is not found and 126 if it cannot be
    executed, which is looked at before the broker is asked for anything.
    """
    plan = _Plan(
        command=tuple(command),
        endpoints=tuple(endpoint or ()),
        service_name=service,
        resource_id=resource,
        instance_id=instance,
        priority=priority,
        lease_ms=lease_ms,
        hold_limit_ms=hold_limit_ms,
        stop_grace_ms=stop_grace_ms,
        stands_by=standby,
        check=None if check is None else Check(check, check_interval_ms, check_failures),
    )
    # What the SDK logs is for whoever wrote the program that uses it; what of it matters here is said in other words.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(run_async(_Runner(plan).run()))


class _Runner:
    """One `tenure run`, from its first registration to the end of its program."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._work: Supervisor | None = None
        self._main: asyncio.Task[int] | None = None
        self._ended_by: signal.Signals | None = None
        """The signal that ended it all: from then on nothing is waited for but the end of the program."""
        self._is_interrupted = False
        self._exit: int | None = None
        """The exit code, once the program has ended for good: a signal after that cuts short what is left alone."""
        self._told_away = ""
        self._client = ServiceClient(
            *plan.endpoints,
            lease_ms=plan.lease_ms,
            timeout_ms=_CONNECT_MS,
            status=ServiceStatus.HEALTHY if plan.check is None else ServiceStatus.STARTING,
            exit_is_proof=False,
        )
        self._health = None if plan.check is None else Health(plan.check, self._client)

    async def run(self) -> int:
        """Register, wait, run the program, as often as it takes; the exit code."""
        loop = asyncio.get_running_loop()
        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                loop.add_signal_handler(number, self._signalled, number)
        self._main = asyncio.create_task(self._connected())
        try:
            return await self._main
        except asyncio.CancelledError:
            if self._ended_by is None:
                raise
            return 128 + self._ended_by if self._exit is None else self._exit
        except CommandStartError as error:
            complain(str(error))
            return error.exit_code

    def _signalled(self, number: signal.Signals) -> None:
        """Forward a signal to the program, or end it all; the second SIGINT counts as SIGTERM.

        Only the wait for the role is cancelled, never the wait for a program: the role may be released only when
        nothing of it is left.
        """
        if self._work is None:
            if number in _ENDING and self._ended_by is None and self._main is not None:
                self._ended_by = number
                self._main.cancel()
        elif self._ended_by is None and (
            number == signal.SIGTERM or (number == signal.SIGINT and self._is_interrupted)
        ):
            self._ended_by = number
            self._work.stop()
        else:
            self._is_interrupted = self._is_interrupted or number == signal.SIGINT
            self._work.send_signal(number)

    async def _connected(self) -> int:
        check_startable(self._plan.command[0])
        async with self._client:
            beside = [asyncio.create_task(self._tell_connection())]
            if self._health is not None:
                beside.append(asyncio.create_task(self._health.watch()))
            try:
                return await self._until_done()
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)

    async def _tell_connection(self) -> None:
        """Say how it stands with the broker whenever that changes."""
        was = ConnectionState.CONNECTED
        async for state in self._client.connection_changes():
            if state is not was:
                complain(_CONNECTION[state])
            was = state

    def _tell_away(self, away: TenureError) -> None:
        """Say once what is waited for; of a lease that is over it has been told."""
        if isinstance(away, SessionExpiredError):
            return
        why = str(away) if isinstance(away, RequestRefusedError) else f"none answers at {self._client.endpoints[0]}"
        if why != self._told_away:
            complain(f"waiting for the broker: {why}")
            self._told_away = why

    async def _until_done(self) -> int:
        plan = self._plan
        is_first = True
        while self._ended_by is None:
            try:
                await self._client.open()
                registration = await self._stand_by()
                again = "" if is_first else " again"
                say(f"tenure: {registration.instance_id} stands by for {registration.resource_id}{again}")
                is_first, self._told_away = False, ""
                outcome = await self._serve(registration)
                if self._is_final(outcome):
                    self._exit = self._exit_code(outcome)
                    await _release(registration)
                    return self._exit
            except AWAY as away:
                if is_first:
                    raise
                self._tell_away(away)
                await asyncio.sleep(_PAUSE_MS / 1_000)
            except RoleConflictError as conflict:
                holder = f"{conflict.holder.service_name}/{conflict.holder.instance_id}"
                resource = plan.resource_id or plan.service_name
                complain(f"{holder} is active for {resource!r}; leave --no-standby out to wait for the role")
                return REFUSED
            except (RoleLostError, LeaseTooShortError):
                continue
        return 128 + self._ended_by  # nothing of the program has run, or it was stopped for another reason before

    async def _stand_by(self) -> Registration:
        plan = self._plan
        claim = registration_request(
            plan.service_name,
            instance_id=plan.instance_id,
            resource_id=plan.resource_id,
            role=ServiceRole.ACTIVE,
            on_conflict=OnConflict.STANDBY if plan.stands_by else OnConflict.REJECT,
            priority=plan.priority,
            on_broker_loss="step-down" if plan.hold_limit_ms is None else "hold",
            hold_limit_ms=plan.hold_limit_ms,
        )
        return await stand_by(self._client, claim)

    async def _serve(self, registration: Registration) -> Outcome:
        """Wait for the role and run the program under it; returns when nothing of the program is left."""
        plan = self._plan
        grace_ms, margin_ms = plan.lease_ms / 4, plan.lease_ms / 20
        try:
            async with Supervisor(
                plan.command, grace_ms=grace_ms, margin_ms=margin_ms, stop_grace_ms=plan.stop_grace_ms
            ) as work:
                tenure = await registration.wait_active()
                self._work, self._is_interrupted = work, False
                await work.start(_deadline(tenure), self._environment(tenure))
                say(f"tenure: {registration.instance_id} is active for {tenure.resource_id}, epoch {tenure.epoch}")
                outcome = await self._keep(tenure, work)
        finally:
            self._work = None
        if outcome.cause is not StopCause.EXITED:
            why = _CAUSES[outcome.cause]
            say(f"tenure: {registration.instance_id} has stopped its work for {tenure.resource_id}: {why}")
        if not self._is_final(outcome):
            await self._leave(tenure)
        return outcome

    def _is_final(self, outcome: Outcome) -> bool:
        """Whether the program is not to run again."""
        return outcome.cause is StopCause.EXITED or self._ended_by is not None

    def _exit_code(self, outcome: Outcome) -> int:
        """The program's own, unless it had to be killed at the end of it all."""
        if outcome.cause is StopCause.EXITED or self._ended_by is None or outcome.exit_code != 128 + signal.SIGKILL:
            return outcome.exit_code
        return 128 + self._ended_by

    async def _keep(self, tenure: Tenure, work: Supervisor) -> Outcome:
        """Pass on each new deadline while the program runs; have it stopped if the tenure is to end."""
        ended, asked = asyncio.create_task(work.wait()), asyncio.create_task(_asked_to_end(tenure))
        every_s = self._plan.lease_ms / _EXTENSIONS_PER_LEASE / 1_000
        is_stopping = False
        try:
            while not ended.done():
                awaited = [one for one in (ended, asked) if not one.done()]
                await asyncio.wait(awaited, timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
                if tenure.registration.standing.epoch != tenure.epoch:
                    work.stop(0)  # it is over: somebody else may be active
                    continue
                work.extend(_deadline(tenure))
                if not is_stopping and (tenure.is_asked_to_end or await self._should_hand_over(tenure)):
                    is_stopping = True
                    work.stop(max(self._plan.stop_grace_ms, tenure.drain_left_ms or 0.0))
            return ended.result()
        finally:
            ended.cancel()
            asked.cancel()

    async def _should_hand_over(self, tenure: Tenure) -> bool:
        """Whether the health check has failed often enough, and a healthy standby is there to take over."""
        if self._health is None or not self._health.has_failed:
            return False
        try:
            async with asyncio.timeout(self._plan.lease_ms / _EXTENSIONS_PER_LEASE / 1_000):
                view = await self._client.resource(tenure.resource_id)
        except (TenureError, TimeoutError):
            return False
        return any(standby.status is ServiceStatus.HEALTHY for standby in view.standbys)

    async def _leave(self, tenure: Tenure) -> None:
        """Release a role whose work has been stopped: by resigning where that was meant, else by giving it up."""
        registration = tenure.registration
        if tenure.is_asked_to_end or (self._health is not None and self._health.has_failed):
            await registration.resign()
        else:
            self._client.step_down(registration, "its work was stopped before the lease could end")
        if self._health is not None:
            await self._health.wait_fit()

    def _environment(self, tenure: Tenure) -> dict[str, str]:
        registration = tenure.registration
        return {
            **os.environ,
            "TENURE_EPOCH": str(tenure.epoch),
            "TENURE_RESOURCE_ID": tenure.resource_id,
            "TENURE_SERVICE_NAME": registration.service_name,
            "TENURE_INSTANCE_ID": registration.instance_id,
            "TENURE_ENDPOINT": ",".join(self._client.endpoints),
        }


async def _asked_to_end(tenure: Tenure) -> None:
    """Return when somebody asks for the tenure's end, or it is over: a long lease is no reason to notice it late."""
    with contextlib.suppress(RoleLostError):
        await tenure.wait_asked_to_end()


async def _release(registration: Registration) -> None:
    """End the registration; a broker that does not answer costs neither the program's exit code nor much time."""
    try:
        async with asyncio.timeout(_LEAVE_MS / 1_000):
            await registration.deregister()
    except (TenureError, TimeoutError) as error:
        complain(f"the role is given up, but the broker has not answered: {error or 'it took too long'}")


def _deadline(tenure: Tenure) -> Deadline:
    until = tenure.registration.standing.valid_until
    return Deadline(until.boottime_ms, until.raw_ms)
