"""What tests of the log write into it, and how they read what it says."""

from __future__ import annotations

import io
import json
from typing import Any

from tenure.contract.events import PreviousHolder, RoleChangedEvent
from tenure.contract.vocabulary import ChangeReason, ServiceRole

FAILOVER = RoleChangedEvent(
    revision=12,
    at_ms=1_800_000_000_000,
    registration_id=3,
    resource_id="account-42",
    service_name="order-gateway",
    instance_id="gw-1",
    old_role=ServiceRole.STANDBY,
    new_role=ServiceRole.ACTIVE,
    epoch=12,
    reason=ChangeReason.FAILOVER,
    previous_holder=PreviousHolder(service_name="order-gateway", instance_id="gw-2", epoch=4),
)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line of a stream, each of which has to be a JSON object."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]
