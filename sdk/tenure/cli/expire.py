"""`tenure expire`: a person vouches that an instance's process is dead, so that nobody waits for its lease any longer.

Whoever is wrong about it makes two actives: it is done only with `--confirm-dead`, refused while the process is heard,
and stands in the events with the name of whoever said so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tenure.cli.completion import instance_ids, resource_ids, service_names
from tenure.cli.exits import FAILED, USAGE, complain, run_async
from tenure.cli.options import READ_TIMEOUT_MS, Endpoints
from tenure.contract.errors import InstanceAliveError, NotFoundError
from tenure.contract.interventions import ExpireSession, SessionEnded
from tenure.contract.views import ServiceInstance
from tenure.contract.vocabulary import ServiceStatus
from tenure.sdk import queries
from tenure.sdk.reader import Reader
from tenure.sdk.switchover import this_person


def expire(
    instance: Annotated[str, typer.Argument(autocompletion=instance_ids, help="The instance whose process is dead.")],
    confirm_dead: Annotated[
        bool, typer.Option("--confirm-dead", help="You know that its process is dead: it is your word that counts.")
    ] = False,
    service: Annotated[
        str | None,
        typer.Option(
            autocompletion=service_names,
            help="Its service, if several have an instance of that name.",
            show_default=False,
        ),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(
            autocompletion=resource_ids,
            help="A resource it is registered for, to tell it from others.",
            show_default=False,
        ),
    ] = None,
    endpoint: Endpoints = None,
) -> None:
    """Vouch that an instance's process is dead: its session ends at once, and its roles move without waiting.

    If the process lives after all, TWO INSTANCES ARE ACTIVE until it hears of it: look at the machine first. It is
    refused while its heartbeats come. Your name, as this machine and the broker know it, stands in the events.

    Exit code 1 if there is no such instance or it is heard, 64 without --confirm-dead or if the name fits several
    processes, 69 if no broker answers.
    """
    run_async(_expire(tuple(endpoint or ()), instance, service, resource, confirmed=confirm_dead))


async def _expire(
    endpoints: tuple[str, ...], instance_id: str, service: str | None, resource_id: str | None, *, confirmed: bool
) -> None:
    async with Reader(*endpoints, timeout_ms=READ_TIMEOUT_MS) as reader:
        everybody = await queries.services(reader)
        session = _session_of(everybody, instance_id, service, resource_id)
        all_its = [one for one in everybody if one.session == session]
        if not confirmed:
            for line in _warning(instance_id, all_its):
                complain(line)
            sys.exit(USAGE)
        ended = await _end(reader, session, instance_id)
        print(f"{instance_id} is taken for dead on your word: {ended.registration_count} registrations of it ended")
        for one in all_its:
            if one.is_active:
                print(await _what_became_of(reader, one))


async def _end(reader: Reader, session: int, instance_id: str) -> SessionEnded:
    """End a session.

    Raises:
        NotFoundError: It has ended by itself in the meantime.
        InstanceAliveError: It has been silent for less than half its lease.
    """
    try:
        return await reader.request(ExpireSession(session=session, by=this_person()), SessionEnded)
    except NotFoundError:  # of a session, which nobody has asked for by its number
        raise NotFoundError(f"{instance_id} has ended already; nothing was changed") from None
    except InstanceAliveError as alive:
        raise InstanceAliveError(str(alive).replace(f"session {session}", instance_id, 1)) from None


def _session_of(
    everybody: Sequence[ServiceInstance], instance_id: str, service: str | None, resource_id: str | None
) -> int:
    """The one session that the arguments mean.

    Raises:
        SystemExit: There is none, or there are several.
    """
    meant = [
        one
        for one in everybody
        if one.instance_id == instance_id
        and service in {None, one.service_name}
        and resource_id in {None, one.resource_id}
    ]
    if not meant:
        complain(f"no instance {instance_id!r} is registered{_where(service, resource_id)}; see `tenure status`")
        sys.exit(FAILED)
    sessions = {one.session for one in meant}
    if len(sessions) > 1:
        complain(f"several processes have an instance {instance_id!r}; say which with --service or --resource:")
        for one in meant:
            complain(f"  --service {one.service_name} --resource {one.resource_id}  ({one.role}, {one.status})")
        sys.exit(USAGE)
    return sessions.pop()


def _where(service: str | None, resource_id: str | None) -> str:
    by_service = "" if service is None else f" of service {service!r}"
    return by_service + ("" if resource_id is None else f" for {resource_id!r}")


def _warning(instance_id: str, all_its: Sequence[ServiceInstance]) -> list[str]:
    """What would happen, and what it costs if the process lives."""
    held = [one for one in all_its if one.is_active]
    lines = [f"nothing was done. With --confirm-dead the session of {instance_id} would end, with these registrations:"]
    lines += [f"  {one.service_name}/{one.instance_id} for {one.resource_id}: {_as_what(one)}" for one in all_its]
    if held:
        lines.append(
            "The next ones would be promoted at once. If the process lives, TWO would be active until it hears of it, "
            f"for up to {max(max(one.lease_ms, one.hold_limit_ms) for one in held):,} ms: make sure that it is dead."
        )
    if all_its[0].status is not ServiceStatus.LATE:
        lines.append(f"It would be refused now: its heartbeats come, so that its process lives ({all_its[0].status}).")
    return lines


def _as_what(one: ServiceInstance) -> str:
    return f"active, epoch {one.epoch}" if one.is_active else "standby"


async def _what_became_of(reader: Reader, held: ServiceInstance) -> str:
    before = f"{held.resource_id}: {held.instance_id} (epoch {held.epoch})"
    try:
        view = await queries.resource(reader, held.resource_id)
    except NotFoundError:
        return f"{before} → nobody: nobody stood by"
    if view.active is None:
        return f"{before} → nobody: no standby may take over, see `tenure explain {held.resource_id}`"
    return f"{before} → {view.active.instance_id} (epoch {view.active.epoch})"
