"""Traces through real sockets: one request is one trace, in the client and in the broker, down to its commit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenure.broker import tracing as broker_tracing
from tenure.broker.connections import Route
from tenure.contract.messages import GetResource
from tenure.sdk import RoleConflictError, ServiceClient, Tenure
from tenure.sdk import tracing as sdk_tracing
from tests.integration.brokers import LONG_LEASE_MS, BrokerHere, broker_here

ASKED = "tenure.get_resource"


class Spans:
    """What has ended so far, by name."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def __call__(self, name: str, kind: trace.SpanKind = trace.SpanKind.INTERNAL) -> list[ReadableSpan]:
        """The spans of a name and a kind, in the order in which they ended."""
        return [one for one in self._exporter.get_finished_spans() if (one.name, one.kind) == (name, kind)]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Everything is recorded, in client and broker alike; to be asked for before the broker is."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(sdk_tracing, "is_on", lambda: True)
    monkeypatch.setattr(sdk_tracing, "_tracer", provider.get_tracer("tenure.sdk"))
    monkeypatch.setattr(broker_tracing, "_tracer", provider.get_tracer("tenure.broker"))
    yield Spans(exporter)
    provider.shutdown()


@pytest.fixture
async def traced(spans: Spans, socket_directory: Path) -> AsyncIterator[BrokerHere]:
    """A broker that began after the recording did."""
    assert not spans("tenure.commit")
    async with broker_here(socket_directory) as here:
        yield here


async def test_a_request_is_one_trace_down_to_its_commit(spans: Spans, traced: BrokerHere) -> None:
    """The broker's span is a child of the client's, and the commit is linked with it and names the role that moved."""
    async with ServiceClient(traced.ipc, lease_ms=LONG_LEASE_MS) as client:
        registration = await client.register("gateway", instance_id="gw-1", resource_id="acct", role="active")
        epoch = registration.epoch
    (asked,) = spans("tenure.register", trace.SpanKind.CLIENT)
    (answered,) = spans("tenure.register", trace.SpanKind.SERVER)
    assert answered.parent is not None
    assert asked.context is not None
    assert (answered.parent.trace_id, answered.parent.span_id) == (asked.context.trace_id, asked.context.span_id)
    assert dict(asked.attributes or {}) == {
        "tenure.service_name": "gateway",
        "tenure.instance_id": "gw-1",
        "tenure.resource_id": "acct",
        "tenure.role": "active",
    }
    (commit,) = [one for one in spans("tenure.commit") if answered.context in [link.context for link in one.links]]
    (moved,) = commit.events
    assert moved.attributes is not None
    assert (moved.attributes["tenure.resource_id"], moved.attributes["tenure.role"]) == ("acct", "active")
    assert moved.attributes["tenure.epoch"] == epoch


async def test_a_refusal_is_an_error_with_its_code(spans: Spans, traced: BrokerHere) -> None:
    """The span of a refused claim says why."""
    async with ServiceClient(traced.ipc) as first, ServiceClient(traced.ipc) as second:
        await first.register("gateway", instance_id="gw-1", resource_id="acct", role="active")
        with pytest.raises(RoleConflictError):
            await second.register("gateway", instance_id="gw-2", resource_id="acct", role="active")
    *_, refused = spans("tenure.register", trace.SpanKind.CLIENT)
    assert refused.status.status_code is trace.StatusCode.ERROR
    assert refused.attributes is not None
    assert refused.attributes["error.type"] == "role_conflict"


async def test_work_under_a_role_is_a_span(spans: Spans, traced: BrokerHere) -> None:
    """What the work does is within it, and it says under which epoch."""
    epochs: list[int] = []

    async def work(tenure: Tenure) -> None:
        epochs.append(tenure.epoch)
        await tenure.registration.wait_active()
        trace.get_current_span().add_event("an order was sent")

    async with ServiceClient(traced.ipc) as client:
        await client.run_as_active("gateway", work, instance_id="gw-1", resource_id="acct")
        async with client.active("gateway", instance_id="gw-1", resource_id="acct") as tenure:
            epochs.append(tenure.epoch)
            trace.get_current_span().add_event("an order was sent")
    active = spans("tenure.active")
    assert [dict(span.attributes or {})["tenure.epoch"] for span in active] == epochs
    assert [[event.name for event in span.events] for span in active] == [["an order was sent"]] * 2


@pytest.mark.parametrize("carried", [b"", b"nonsense", b"\xff" * 200, b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
async def test_a_frame_that_is_no_trace_changes_nothing(
    spans: Spans, traced: BrokerHere, monkeypatch: pytest.MonkeyPatch, carried: bytes
) -> None:
    """A request is carried out whatever its third frame says."""
    monkeypatch.setattr(sdk_tracing, "carried", lambda: carried)
    async with ServiceClient(traced.ipc) as client:
        registration = await client.register("gateway", instance_id="gw-1", resource_id="acct", role="active")
        assert registration.is_active
    assert all(span.parent is None for span in spans("tenure.register", trace.SpanKind.SERVER))


def test_requests_that_are_never_answered_are_forgotten(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest gives way where too many are followed, and so does what is repeated."""
    monkeypatch.setattr(broker_tracing, "OPEN_MAX", 2)
    traces = broker_tracing.Traces()
    for number in (1, 2, 2, 3):
        traces.began(Route(0, b"peer"), [bytes([number]), b"", b""], GetResource(resource_id=f"acct-{number}"))
    assert [dict(span.attributes or {})["tenure.resource_id"] for span in spans(ASKED, trace.SpanKind.SERVER)] == [
        "acct-2",
        "acct-1",
    ]


def test_nothing_is_there_without_opentelemetry() -> None:
    """Client and broker run without the package, and look for it once."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import tenure.sdk, tenure.broker.server; from tenure.contract.tracing import IS_AVAILABLE\n"
        "assert not IS_AVAILABLE\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
