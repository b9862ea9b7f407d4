"""What answers show of instances, resources, moves and the broker itself, whole and short."""

from __future__ import annotations

from typing import Final

from tenure.contract.measurements import Count, Histogram, Measurements
from tenure.contract.views import Move, Pause, ResourceView, ServiceInstance
from tenure.contract.views import Switchover as SwitchoverView
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tests.contract.example import AT_MS, HISTORY

INSTANCE_FULL: Final = ServiceInstance(
    registration_id=7,
    service_name="order-gateway",
    instance_id="gw-2",
    resource_id="account-42",
    role=ServiceRole.ACTIVE,
    epoch=42,
    role_revision=42,
    revision=43,
    since_ms=AT_MS,
    priority=-5,
    candidate=True,
    declined_epoch=41,
    last_epoch=42,
    metadata={"host": "müller-1"},
    session=6,
    status=ServiceStatus.LATE,
    reported_status=ServiceStatus.DEGRADED,
    lease_ms=2_000,
    lease_left_ms=612,
    hold_limit_ms=30_000,
    loop_lag_ms=3,
    margin_ms=1_597,
)
INSTANCE_SHORT: Final = ServiceInstance(
    registration_id=200,
    service_name="order-gateway",
    instance_id="gw-3",
    resource_id="account-42",
    role=ServiceRole.STANDBY,
    role_revision=200,
    revision=200,
    since_ms=AT_MS,
    session=199,
    status=ServiceStatus.HEALTHY,
    reported_status=ServiceStatus.HEALTHY,
    lease_ms=2_000,
    lease_left_ms=2_000,
)
PAUSE_FULL: Final = Pause(
    resource_id="account-42",
    why="the exchange is closed",
    paused_ms=AT_MS,
    until_ms=AT_MS + 3_600_000,
    by="ada (uid:1000)",
)
RESOURCE_FULL: Final = ResourceView(
    resource_id="account-42",
    last_epoch=42,
    active=INSTANCE_FULL,
    standbys=(INSTANCE_SHORT,),
    standby_count=101,
    switchover=SwitchoverView(
        epoch=42,
        asked_ms=AT_MS,
        drain_left_ms=4_100,
        to_registration_id=200,
        to_instance_id="gw-3",
        by="ada (uid:1000)",
    ),
    pause=PAUSE_FULL,
)
MOVE_FULL: Final = Move(
    old_epoch=41,
    old_instance_id="gw-1",
    end_reason=ChangeReason.SWITCHOVER,
    lease_ms=2_000,
    hold_limit_ms=30_000,
    last_heard_ms=AT_MS - 120,
    asked_ms=AT_MS - 300,
    ended_ms=AT_MS,
    new_epoch=42,
    new_instance_id="gw-2",
    promoted_ms=AT_MS,
    committed_ms=AT_MS + 1,
    entered_ms=AT_MS + 2,
)
MOVE_SHORT: Final = Move(
    old_epoch=40,
    old_instance_id="gw-1",
    end_reason=ChangeReason.EXPIRED,
    lease_ms=2_000,
    last_heard_ms=AT_MS - 2_000,
    ended_ms=AT_MS,
)
RESOURCE_VACANT: Final = ResourceView(resource_id="account-43", last_epoch=0, active=None, standbys=(), standby_count=0)

COMMITS_US: Final = Histogram(bounds=(100, 1_000), counts=(3, 2, 1), total=4_711)
MEASUREMENTS_SHORT: Final = Measurements(
    history_id=HISTORY,
    revision=0,
    started_ms=AT_MS,
    sessions=0,
    connections=0,
    sessions_opened=0,
    commits_us=COMMITS_US,
    batch_events=Histogram(bounds=(1, 2), counts=(0, 0, 0), total=0),
    loop_lag_us=Histogram(bounds=(100, 1_000), counts=(0, 0, 0), total=0),
    lease_margins_permille=Histogram(bounds=(500, 1_000), counts=(0, 0, 0), total=0),
)
MEASUREMENTS_FULL: Final = Measurements(
    history_id=HISTORY,
    revision=300,
    started_ms=AT_MS,
    sessions=2,
    connections=4,
    sessions_opened=5,
    sessions_ended=(Count(of="died", count=1), Count(of="goodbye", count=2)),
    switchovers=(Count(of="switchover", count=1),),
    refusals=(Count(of="not_active", count=2), Count(of="role_conflict", count=12)),
    commits_refused=1,
    requests_us=(
        Histogram(of="heartbeat", bounds=(100, 1_000), counts=(7, 0, 0), total=350),
        Histogram(of="register", bounds=(100, 1_000), counts=(0, 3, 1), total=5_000),
    ),
    commits_us=COMMITS_US,
    batch_events=Histogram(bounds=(1, 2), counts=(3, 2, 1), total=12),
    loop_lag_us=Histogram(bounds=(100, 1_000), counts=(9, 1, 0), total=1_200),
    lease_margins_permille=Histogram(bounds=(500, 1_000), counts=(1, 99, 0), total=79_000),
    failovers_ms=(Histogram(of="died", bounds=(1, 10), counts=(0, 1, 0), total=2),),
    vacancies_ms=(
        Histogram(of="died", bounds=(1, 10), counts=(0, 1, 0), total=2),
        Histogram(of="switchover", bounds=(1, 10), counts=(1, 0, 0), total=1),
    ),
)
