"""Follow who is active for a resource, and be told when that changes.

Run it beside any broker, then start, stop and kill what holds the role:

    tenure serve
    python examples/follow_roles.py account-42
    tenure run --service order-gateway --resource account-42 -- sleep 1000

What a callback says is always older than the moment it is called in: to act in a role, ask `tenure.ensure_active()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable

from tenure.sdk import EventListener, RoleChangedEvent, ServiceInstance, StreamRestarted

type OnRoleChange = Callable[[ServiceInstance | None, str], None]
"""Called with who is active now, if anybody is, and why that is so."""


async def on_role_change(resource_id: str, call: OnRoleChange) -> None:
    """Call back with who is active for a resource: once at the start, then at each change, for ever.

    Raises:
        BrokerUnavailableError: There is no broker at the start; one that leaves later is waited for.
    """
    async with EventListener(resource_id=resource_id) as events:
        active = active_of(events, resource_id)
        call(active, "when this began")
        async for event in events:
            before, active = active, active_of(events, resource_id)
            if isinstance(event, StreamRestarted):  # what happened in between is not known, but what is the case now is
                call(active, f"the stream began anew: {event.reason}")
            elif isinstance(event, RoleChangedEvent) and epoch_of(before) != epoch_of(active):
                call(active, event.reason)


def active_of(events: EventListener, resource_id: str) -> ServiceInstance | None:
    """Who is active as of the event that was seen last."""
    resource = events.replica.resource(resource_id)
    return None if resource is None else resource.active


def epoch_of(active: ServiceInstance | None) -> int:
    """Which tenure it is; 0 for none."""
    return 0 if active is None else active.epoch


def show(active: ServiceInstance | None, why: str) -> None:
    """Print who is active."""
    if active is None:
        print(f"nobody is active ({why})", flush=True)
    else:
        print(f"{active.service_name}/{active.instance_id} is active, epoch {active.epoch} ({why})", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(on_role_change(sys.argv[1] if len(sys.argv) > 1 else "account-42", show))
