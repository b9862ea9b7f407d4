"""A planned move of a role: ask for it, then follow it until the next holder is active, or it is known to have failed.

Needs a connection but no session. The broker keeps no intent through a restart: then nothing has been moved, and that
is what is said. To be cancelled means to look no further; what was asked for goes on unless `cancel_switchover` calls
it off.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from time import monotonic
from typing import Final

from msgspec import Struct

from tenure.contract.errors import (
    BrokerUnavailableError,
    InvalidRequestError,
    NotActiveError,
    NotFoundError,
    OverloadedError,
    RequestTimeoutError,
    ShuttingDownError,
    StorageUnavailableError,
    SwitchoverFailedError,
)
from tenure.contract.interventions import CancelSwitchover, Switchover, SwitchoverCancelled, SwitchoverStarted
from tenure.contract.messages import GetResource, Resource
from tenure.contract.views import Move, ServiceInstance
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk import queries
from tenure.sdk.queries import Asks
from tenure.sdk.timeline import how_it_ended

_LOOK_AGAIN_MS: Final = 20
_MARGIN_MS: Final = 5_000  # what the commits, and the next holder's word that it is active, may take beyond the lease
_AWAY: Final = (
    BrokerUnavailableError,
    OverloadedError,
    RequestTimeoutError,
    ShuttingDownError,
    StorageUnavailableError,
)


class SwitchoverResult(Struct, frozen=True, kw_only=True):
    """How a role has moved."""

    resource_id: str
    old_instance_id: str
    old_epoch: int
    new_instance_id: str
    """Empty: nobody is active, and that was allowed."""
    new_epoch: int
    end_reason: ChangeReason | None
    """Why the old tenure ended: `switchover` if its holder stepped down in time; None if the broker does not know."""
    gap_ms: int | None
    """How long nobody was active, at least, as far as the broker can tell; None if it does not know."""
    gap_max_ms: int | None
    """How long nobody was active, at most: more than `gap_ms` if the old holder fell silent."""
    duration_ms: int
    """How long it took from the request until this was known."""


async def switchover(  # noqa: PLR0913 (a keyword each)
    asks: Asks,
    resource_id: str,
    *,
    to: str | None = None,
    to_service: str | None = None,
    drain_ms: int = 0,
    epoch: int = 0,
    even_if_vacant: bool = False,
    by: str | None = None,
    timeout_ms: float | None = None,
) -> SwitchoverResult:
    """Move a role, and wait until it has moved.

    Args:
        asks: What to ask with: a `ServiceClient`'s session or a `Reader`.
        resource_id: Whose role.
        to: The instance that is to take over; by default whoever is next.
        to_service: Its service, if instances of several are called so.
        drain_ms: How long the holder may go on with its work; then its tenure is renewed no more.
        epoch: The tenure that is to end; by default whichever it is.
        even_if_vacant: Whether it is to end even if nobody can take over.
        by: Who asks for it, for people; by default this user on this machine.
        timeout_ms: How long to wait for it; by default for the drain, the holder's lease and five seconds.

    Raises:
        NotActiveError: Nobody is active, or not in the tenure named.
        NotFoundError: Nobody is registered for the resource, or not the instance named.
        NotEligibleError: Nobody could take over, or not the instance named.
        SwitchoverUnderWayError: Another switchover of the resource is under way.
        SwitchoverFailedError: It had begun, and the role has not moved; `why` says what is known.
        TenureError: The broker refused it or did not answer.
    """
    began = monotonic()
    holder = (await queries.resource(asks, resource_id)).active
    if holder is None or epoch not in {0, holder.epoch}:
        now = "nobody is" if holder is None else f"{holder.instance_id} is, with epoch {holder.epoch}"
        wanted = f" with epoch {epoch}" if epoch else ""
        raise NotActiveError(f"nobody is active for {resource_id!r}{wanted} that could step down: {now}")
    request = Switchover(
        resource_id=resource_id,
        epoch=holder.epoch,
        to_registration_id=0 if to is None else (await _standby(asks, resource_id, to, to_service)).registration_id,
        drain_ms=drain_ms,
        even_if_vacant=even_if_vacant,
        by=this_person() if by is None else by,
    )
    if timeout_ms is None:
        timeout_ms = drain_ms + max(holder.lease_ms, holder.hold_limit_ms) + _MARGIN_MS
    following = _Following(asks, holder, even_if_vacant=even_if_vacant, began=began)
    try:
        await asks.request(request, SwitchoverStarted)
    except NotActiveError:  # also if a repeat of the request found that it was carried out already
        if not await following.has_moved():
            raise
    return await following.outcome(timeout_ms)


async def cancel_switchover(asks: Asks, resource_id: str, *, by: str | None = None) -> None:
    """Call off the switchover of a resource; a holder that has stopped its work already resigns all the same.

    Args:
        asks: What to ask with: a `ServiceClient`'s session or a `Reader`.
        resource_id: Which resource.
        by: Who calls it off, for people; by default this user on this machine.

    Raises:
        NotFoundError: None is under way.
        TenureError: The broker refused it or did not answer.
    """
    under_way = (await queries.resource(asks, resource_id)).switchover
    if under_way is None:
        raise NotFoundError(f"no switchover of {resource_id!r} is under way; nothing was changed")
    who = this_person() if by is None else by
    await asks.request(CancelSwitchover(resource_id=resource_id, epoch=under_way.epoch, by=who), SwitchoverCancelled)


class _Following:
    """One switchover, from the request on."""

    def __init__(self, asks: Asks, holder: ServiceInstance, *, even_if_vacant: bool, began: float) -> None:
        self._asks = asks
        self._holder = holder
        self._even_if_vacant = even_if_vacant
        self._began = began
        self._newest: SwitchoverResult | None = None
        """What has become of it as far as is known, but for when the next holder was active."""

    async def has_moved(self) -> bool:
        """Whether a switchover has ended the tenure."""
        self._read(await self._look())
        return self._newest is not None and self._newest.end_reason is ChangeReason.SWITCHOVER

    async def outcome(self, timeout_ms: float) -> SwitchoverResult:
        """Look again and again until it is done."""
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                while True:
                    try:
                        result = self._read(await self._look())
                    except _AWAY:
                        result = None
                    if result is not None:
                        return result
                    await asyncio.sleep(_LOOK_AGAIN_MS / 1_000)
        except TimeoutError:
            if self._newest is not None and self._newest.new_epoch:
                return self._newest
            raise self._failed(
                f"after {timeout_ms:.0f} ms nobody is known to have taken over; `tenure status` shows how it stands"
            ) from None

    async def _look(self) -> Resource:
        return await self._asks.request(GetResource(resource_id=self._holder.resource_id), Resource)

    def _read(self, found: Resource) -> SwitchoverResult | None:
        """The result, once the next holder is active, or has been and is no more, or nobody has to be.

        Raises:
            SwitchoverFailedError: It is not under way any more, and the holder is active still, or nobody is promoted.
        """
        epoch, active = self._holder.epoch, found.resource.active
        move = next((move for move in found.moves if move.old_epoch == epoch), None)
        if move is not None:
            self._newest = self._result(move.new_instance_id, move.new_epoch, move)
            is_over = bool(move.new_epoch) and (active is None or active.epoch != move.new_epoch)
            if move.entered_ms or is_over or (self._even_if_vacant and active is None):
                return self._newest
        if active is None and found.resource.pause is not None:
            raise self._failed(_left_vacant(self._holder, move))
        if active is None or move is not None:
            return None
        if active.epoch != epoch:  # the broker that knew how it moved was started again
            self._newest = self._result(active.instance_id, active.epoch, None)
            return self._newest
        if found.resource.switchover is None:
            raise self._failed(
                "it was called off, nobody is left who could take over, or the broker was started again; "
                f"{active.instance_id} is active still"
            )
        return None

    def _result(self, instance_id: str, epoch: int, move: Move | None) -> SwitchoverResult:
        return SwitchoverResult(
            resource_id=self._holder.resource_id,
            old_instance_id=self._holder.instance_id,
            old_epoch=self._holder.epoch,
            new_instance_id=instance_id,
            new_epoch=epoch,
            end_reason=None if move is None else move.end_reason,
            gap_ms=None if move is None else move.gap_ms,
            gap_max_ms=None if move is None else move.gap_max_ms,
            duration_ms=round((monotonic() - self._began) * 1_000),
        )

    def _failed(self, why: str) -> SwitchoverFailedError:
        holder = self._holder
        return SwitchoverFailedError(holder.resource_id, holder.instance_id, holder.epoch, why)


def _left_vacant(holder: ServiceInstance, move: Move | None) -> str:
    """What is said of a switchover whose holder left, or was lost, with nobody promoted because of a pause."""
    how = "" if move is None else f" ({how_it_ended(move.end_reason)})"
    return (
        f"{holder.instance_id} is not active any more{how}, and nobody is promoted while the resource is paused; the "
        "role is vacant until somebody asks for it or the pause ends"
    )


async def _standby(asks: Asks, resource_id: str, instance_id: str, service_name: str | None) -> ServiceInstance:
    found = [
        instance
        for instance in await queries.services(asks, service_name, resource_id)
        if instance.instance_id == instance_id
    ]
    if not found:
        raise NotFoundError(f"no instance {instance_id!r} stands by for {resource_id!r}; nothing was asked of anybody")
    if len(found) > 1:
        services = ", ".join(sorted(instance.service_name for instance in found))
        raise InvalidRequestError(
            f"instances of several services are called {instance_id!r} ({services}); name the service as well"
        )
    return found[0]


def this_person() -> str:
    """Who asks, for people: this user on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
