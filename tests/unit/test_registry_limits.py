"""What a client may name and say: every limit is accepted, and one beyond it is refused with its code."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from tenure.contract.errors import InvalidRequestError, LimitExceededError, RequestRefusedError
from tenure.contract.limits import (
    BATCH_ITEMS_MAX,
    CONNECTION_MAX,
    LEASE_MS_MAX,
    LEASE_MS_MIN,
    METADATA_BYTES_MAX,
    METADATA_ENTRIES_MAX,
    METADATA_VALUE_BYTES_MAX,
    NAME_BYTES_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    SESSION_ID_BYTES_MAX,
    SESSION_ID_BYTES_MIN,
)
from tenure.contract.messages import Hello, Register
from tests.unit.scene import Scene

SECRET = "s" * SESSION_ID_BYTES_MIN
HELLO = Hello(version=1, session_id=SECRET)
REGISTER = Register(service_name="svc", instance_id="a")


@pytest.mark.parametrize(
    "fields",
    [
        {"session_id": "s" * SESSION_ID_BYTES_MIN},
        {"session_id": "s" * SESSION_ID_BYTES_MAX},
        {"client": "c" * NAME_BYTES_MAX},
        {"connection": 1},
        {"connection": CONNECTION_MAX},
        {"lease_ms": LEASE_MS_MIN},
        {"lease_ms": LEASE_MS_MAX},
        {"last_revision": 2**63 - 1, "history_id": "another"},
    ],
)
def test_a_hello_at_its_limits(fields: dict[str, Any]) -> None:
    """Each limit of a hello is itself allowed."""
    Scene().ask(structs.replace(HELLO, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"session_id": ""},
        {"session_id": "s" * (SESSION_ID_BYTES_MIN - 1)},
        {"session_id": "s" * (SESSION_ID_BYTES_MAX + 1)},
        {"session_id": SECRET + "\n"},
        {"client": "c" * (NAME_BYTES_MAX + 1)},
        {"client": "evil\x1b[2J"},
        {"connection": 0},
        {"connection": CONNECTION_MAX + 1},
        {"lease_ms": 0},
        {"lease_ms": LEASE_MS_MIN - 1},
        {"lease_ms": LEASE_MS_MAX + 1},
        {"lease_ms": 365 * 86_400_000},
        {"last_revision": -1},
        {"last_revision": 2**63},
    ],
)
def test_a_hello_beyond_its_limits(fields: dict[str, Any]) -> None:
    """One beyond each limit of a hello is refused, and opens no session."""
    scene = Scene()

    with pytest.raises(InvalidRequestError):
        scene.ask(structs.replace(HELLO, **fields))

    assert scene.events == []


def register(**fields: Any) -> Scene:
    """A scene in which one registration with these fields was asked for."""
    scene = Scene()
    scene.client("a").register(structs.replace(REGISTER, **fields))
    return scene


@pytest.mark.parametrize(
    "fields",
    [
        {"service_name": "s" * NAME_BYTES_MAX},
        {"instance_id": "ü" * (NAME_BYTES_MAX // 2)},
        {"resource_id": "with spaces/and-signs_#1 (ü)"},
        {"resource_id": "..."},
        {"resource_id": "../.."},
        {"priority": PRIORITY_MIN},
        {"priority": PRIORITY_MAX},
        {"metadata": {f"k{number}": "" for number in range(METADATA_ENTRIES_MAX)}},
        {"metadata": {"k": "v" * METADATA_VALUE_BYTES_MAX}},
        {"metadata": {f"key{number}": "v" * (METADATA_BYTES_MAX // 4 - 4) for number in range(4)}},
    ],
)
def test_a_registration_at_its_limits(fields: dict[str, Any]) -> None:
    """Each limit of a registration is itself allowed."""
    assert len(register(**fields).registry.state.registrations) == 1


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"service_name": ""}, InvalidRequestError),
        ({"service_name": "s" * (NAME_BYTES_MAX + 1)}, InvalidRequestError),
        ({"service_name": "s" * 10_000}, InvalidRequestError),
        ({"service_name": "ü" * 128}, InvalidRequestError),
        ({"service_name": " svc"}, InvalidRequestError),
        ({"service_name": "svc "}, InvalidRequestError),
        ({"service_name": "a\x00b"}, InvalidRequestError),
        ({"service_name": "."}, InvalidRequestError),
        ({"instance_id": ".."}, InvalidRequestError),
        ({"resource_id": "."}, InvalidRequestError),
        ({"resource_id": ".."}, InvalidRequestError),
        ({"instance_id": ""}, InvalidRequestError),
        ({"instance_id": "line\nbreak"}, InvalidRequestError),
        ({"instance_id": "right\u202eto left"}, InvalidRequestError),
        ({"resource_id": ""}, InvalidRequestError),
        ({"resource_id": "\ud800"}, InvalidRequestError),
        ({"priority": PRIORITY_MIN - 1}, InvalidRequestError),
        ({"priority": PRIORITY_MAX + 1}, InvalidRequestError),
        ({"metadata": {"": "v"}}, InvalidRequestError),
        ({"metadata": {"k": "\t"}}, InvalidRequestError),
        ({"metadata": {"k": "v" * (METADATA_VALUE_BYTES_MAX + 1)}}, InvalidRequestError),
        ({"metadata": {f"k{number}": "" for number in range(METADATA_ENTRIES_MAX + 1)}}, LimitExceededError),
        ({"metadata": {f"key{n}": "v" * (METADATA_BYTES_MAX // 4 - 3) for n in range(4)}}, LimitExceededError),
    ],
)
def test_a_registration_beyond_its_limits(fields: dict[str, Any], kind: type[RequestRefusedError]) -> None:
    """One beyond each limit of a registration is refused, in few words."""
    with pytest.raises(kind) as refused:
        register(**fields)

    assert len(str(refused.value)) < 300


def test_a_batch_of_nothing() -> None:
    """An empty batch is refused."""
    with pytest.raises(InvalidRequestError):
        Scene().client("a").register_many()


def test_the_largest_batch() -> None:
    """A batch of 1,000 is carried out, one of 1,001 is refused as a whole."""
    scene = Scene()
    a = scene.client("a")
    items = [Register(service_name="svc", instance_id=f"a{number}") for number in range(BATCH_ITEMS_MAX + 1)]

    with pytest.raises(LimitExceededError) as refused:
        a.register_many(*items)
    assert refused.value.info.limit == BATCH_ITEMS_MAX
    assert scene.registry.state.registrations == {}

    assert len(a.register_many(*items[:-1]).results) == BATCH_ITEMS_MAX
