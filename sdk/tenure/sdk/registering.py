"""What a registration is asked for with: names, defaults, and the request that travels. Nothing is sent here."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final, Literal

from tenure.contract.messages import Register
from tenure.contract.vocabulary import OnConflict, ServiceRole

HOLD_LIMIT_MS_DEFAULT: Final = 30_000
"""How long a tenure is held without a broker if that is wanted: a broker is restarted, also by hand, in less."""

type RoleName = ServiceRole | Literal["active", "standby"]
type OnConflictName = OnConflict | Literal["reject", "standby"]
type OnBrokerLossName = Literal["step-down", "hold"]


def registration_request(  # noqa: PLR0913 (a keyword each)
    service_name: str,
    *,
    instance_id: str | None = None,
    resource_id: str | None = None,
    role: RoleName = ServiceRole.STANDBY,
    on_conflict: OnConflictName = OnConflict.REJECT,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
    on_broker_loss: OnBrokerLossName = "step-down",
    hold_limit_ms: int | None = None,
) -> Register:
    """One item for `register_many`, with the arguments and defaults of `ServiceClient.register`.

    Raises:
        ValueError: The role is not active or standby, another choice not one of those there are, or there is a hold
            limit although nothing is to be held.
    """
    if on_broker_loss not in {"step-down", "hold"}:
        raise ValueError(f"on_broker_loss is {on_broker_loss!r}; it is 'step-down' or 'hold'")
    if on_broker_loss == "step-down" and hold_limit_ms is not None:
        raise ValueError("a hold_limit_ms goes with on_broker_loss='hold': without it the lease is the limit")
    if on_broker_loss == "hold" and hold_limit_ms is None:
        hold_limit_ms = HOLD_LIMIT_MS_DEFAULT
    return Register(
        service_name=service_name,
        instance_id=default_instance_id() if instance_id is None else instance_id,
        resource_id=resource_id,
        role=ServiceRole(role),
        on_conflict=OnConflict(on_conflict),
        priority=priority,
        hold_limit_ms=hold_limit_ms or 0,
        metadata=dict(metadata or {}),
    )


def default_instance_id() -> str:
    """What this process is called if nobody names it: host name and process id."""
    return f"{socket.gethostname()}-{os.getpid()}"
