"""How long the longest messages are: whatever is allowed fits into the frames that each side has to be ready for."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.contract import codec
from tenure.contract.errors import ErrorInfo, RoleConflictError
from tenure.contract.events import PreviousHolder
from tenure.contract.history import EventPage, Events
from tenure.contract.limits import (
    BATCH_ITEMS_MAX,
    BROKER_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    GIVEN_UP_MAX,
    HEARTBEATS_PER_LEASE,
    LEASE_MS_DEFAULT,
    METADATA_BYTES_MAX,
    METADATA_ENTRIES_MAX,
    NAME_BYTES_MAX,
    PAGE_ITEMS_MAX,
    STANDBYS_LISTED_MAX,
    heartbeat_interval_ms,
)
from tenure.contract.message import Message
from tenure.contract.messages import (
    GivenUp,
    Heartbeat,
    HeartbeatAck,
    RegisteredMany,
    RegisterResult,
    Resource,
    RolePage,
    RoleStatement,
    ServicePage,
)
from tenure.contract.views import Holder, ResourceView
from tenure.contract.vocabulary import ServiceRole
from tests.contract.example import HISTORY
from tests.contract.example_views import INSTANCE_FULL
from tests.contract.examples_of_events import REGISTERED_EVENT_FULL

NUMBER = 2**63 - 1
"""As many bytes as a number takes."""
NAME = "n" * NAME_BYTES_MAX
METADATA = {f"{number:0127}": "v" for number in range(METADATA_ENTRIES_MAX)}
INSTANCE = structs.replace(
    INSTANCE_FULL,
    registration_id=NUMBER,
    service_name=NAME,
    instance_id=NAME,
    resource_id=NAME,
    epoch=NUMBER,
    role_revision=NUMBER,
    revision=NUMBER,
    since_ms=NUMBER,
    declined_epoch=NUMBER,
    last_epoch=NUMBER,
    metadata=METADATA,
    session=NUMBER,
)
EVENT = structs.replace(
    REGISTERED_EVENT_FULL,
    revision=NUMBER,
    at_ms=NUMBER,
    registration_id=NUMBER,
    service_name=NAME,
    instance_id=NAME,
    resource_id=NAME,
    epoch=NUMBER,
    previous_holder=PreviousHolder(service_name=NAME, instance_id=NAME, epoch=NUMBER),
    declined_epoch=NUMBER,
    session=NUMBER,
    last_epoch=NUMBER,
    metadata=METADATA,
)
HOLDER = Holder(service_name=NAME, instance_id=NAME, epoch=NUMBER, since_ms=NUMBER)
REFUSED = RegisterResult(error=RoleConflictError.held("\\" * NAME_BYTES_MAX, HOLDER).info)
ACTIVE = ResourceView(resource_id=NAME, last_epoch=NUMBER, active=INSTANCE, standbys=(), standby_count=NUMBER)
CROWDED = structs.replace(ACTIVE, standbys=(INSTANCE,) * STANDBYS_LISTED_MAX)
LARGEST: tuple[Message, ...] = (
    ServicePage(history_id=HISTORY, revision=NUMBER, instances=(INSTANCE,) * PAGE_ITEMS_MAX, next_after=NUMBER),
    EventPage(history_id=HISTORY, revision=NUMBER, events=(EVENT,) * PAGE_ITEMS_MAX),
    Events(history_id=HISTORY, events=(EVENT,) * PAGE_ITEMS_MAX),
    Resource(revision=NUMBER, resource=CROWDED),
    RolePage(revision=NUMBER, resources=(*(ACTIVE,) * PAGE_ITEMS_MAX, CROWDED), next_after=NUMBER),
    RegisteredMany(results=(REFUSED,) * BATCH_ITEMS_MAX),
)


def test_the_longest_metadata_is_that() -> None:
    """The figures below are of instances with as much metadata as is allowed, in as many entries."""
    assert len(METADATA) == METADATA_ENTRIES_MAX
    assert sum(len(key) + len(value) for key, value in METADATA.items()) == METADATA_BYTES_MAX


@pytest.mark.parametrize("message", LARGEST, ids=[type(message).__name__ for message in LARGEST])
def test_a_brokers_frames_have_a_limit(message: Message) -> None:
    """The longest page of anything fits into the frame that a client has to be ready for."""
    assert len(codec.encode(message)) < BROKER_FRAME_BYTES_MAX


def test_heartbeats_of_a_full_session_are_small() -> None:
    """A heartbeat that gives up all that a session may hold, and the answer that states all of it, fit a megabyte."""
    given_up = (GivenUp(epoch=NUMBER, declined=True, ago_ms=NUMBER),) * GIVEN_UP_MAX
    statement = RoleStatement(registration_id=NUMBER, role=ServiceRole.ACTIVE, epoch=NUMBER, revision=NUMBER)
    answer = HeartbeatAck(
        session=NUMBER,
        sequence=NUMBER,
        revision=NUMBER,
        confirmed=(NUMBER,) * GIVEN_UP_MAX,
        given_up=(NUMBER,) * GIVEN_UP_MAX,
        statements=(statement,) * GIVEN_UP_MAX,
    )

    assert len(codec.encode(Heartbeat(sequence=NUMBER, given_up=given_up))) < FRAME_BYTES_MAX
    assert len(codec.encode(answer)) < FRAME_BYTES_MAX


def test_a_refusal_keeps_what_it_is_about() -> None:
    """A refusal travels inside a result as it does alone."""
    frame = codec.encode(RegisteredMany(results=(REFUSED,)))

    message = codec.decode_broker(frame)

    assert isinstance(message, RegisteredMany)
    assert message.results[0] == REFUSED
    assert isinstance(message.results[0].error, ErrorInfo)


def test_heartbeats_come_five_to_a_lease() -> None:
    """A session sends five heartbeats within a lease: one each 400 ms by default."""
    assert heartbeat_interval_ms(LEASE_MS_DEFAULT) == 400
    assert heartbeat_interval_ms(LEASE_MS_DEFAULT) * HEARTBEATS_PER_LEASE == LEASE_MS_DEFAULT
