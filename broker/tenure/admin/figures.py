"""What there is to count: the replica's registrations and resources, beside what the broker measures of itself.

How many numbers come of it does not depend on how much is registered: resources are counted and never named, and of the
services those are told apart that somebody should look at, a bounded number.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tenure.contract.measurements import Measurements
from tenure.sdk.lost import LostTenure
from tenure.sdk.replica import Replica

SERVICES_MAX: Final = 100
"""Services that are told apart: beyond these nobody reads which ones, and a monitor keeps a series for each."""
_COUNTED_AT_ONCE: Final = 2_000  # resources, some milliseconds: who waits for something else has his turn in between


class Figures(Struct, frozen=True, kw_only=True):
    """What is counted, as of one moment but for what has changed while it was."""

    measured: Measurements
    event_lag: int
    """Events that the broker had committed and the replica had not applied, when the broker answered."""
    standbys: int
    """Registrations that stand by."""
    active: int
    """Resources that somebody is active for: one registration each."""
    vacant: int
    """Resources that nobody is active for, also those that everybody has left; but for the next ones."""
    vacant_and_paused: int
    paused: int
    """Resources that are paused, whether somebody is registered for them or not."""
    without_standby: int
    """Resources with an active one and no standby that could take over, by what the standbys reported."""
    services_vacant: dict[str, int]
    """Of services with a vacant resource that is not paused how many those are; the services with most of them."""
    services_without_standby: dict[str, int]
    """The same of resources without a standby, by the service of the active one."""


async def count(replica: Replica, lost: Mapping[str, LostTenure], measured: Measurements) -> Figures:
    """Count what a replica has and what has been lost, and put it beside what the broker has just said."""
    event_lag = max(0, measured.revision - replica.revision)
    registrations = active = vacant = vacant_and_paused = without_standby = 0
    services_vacant = Counter[str]()
    services_without_standby = Counter[str]()
    for position, resource_id in enumerate([*replica.resource_ids], 1):
        if not position % _COUNTED_AT_ONCE:
            await asyncio.sleep(0)
        rows = [replica.rows[number] for number in replica.registrations_for(resource_id)]
        if not rows:  # it was left by everybody meanwhile
            continue
        registrations += len(rows)
        if rows[0].is_active:
            active += 1
            if not any(replica.reported(row).may_be_promoted for row in rows[1:]):
                without_standby += 1
                services_without_standby[rows[0].service_name] += 1
        elif resource_id in replica.pauses:
            vacant_and_paused += 1
        else:
            vacant += 1
            services_vacant.update({row.service_name for row in rows})
    left = [one for one in lost if one not in replica.resource_ids]
    paused_and_left = sum(one in replica.pauses for one in left)
    services_vacant.update(lost[one].service_name for one in left if one not in replica.pauses)
    return Figures(
        measured=measured,
        event_lag=event_lag,
        standbys=registrations - active,
        active=active,
        vacant=vacant + len(left) - paused_and_left,
        vacant_and_paused=vacant_and_paused + paused_and_left,
        paused=len(replica.pauses),
        without_standby=without_standby,
        services_vacant=dict(services_vacant.most_common(SERVICES_MAX)),
        services_without_standby=dict(services_without_standby.most_common(SERVICES_MAX)),
    )
