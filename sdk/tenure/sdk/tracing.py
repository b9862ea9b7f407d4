"""OpenTelemetry spans of a client: one for each request, one for each scope of work that a role is held for.

Without `opentelemetry-api` there are none, and nothing is spent on them. Which spans are kept and where they go is the
application's to configure; requests carry the span to the broker, whose own are its children.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tenure.contract.errors import RequestRefusedError, TenureError
from tenure.contract.messages import ClientMessage
from tenure.contract.tracing import IS_AVAILABLE, TRACEPARENT, span_attributes, span_name

if TYPE_CHECKING or IS_AVAILABLE:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _tracer = trace.get_tracer("tenure.sdk")
    _propagator = TraceContextTextMapPropagator()

if TYPE_CHECKING:
    from tenure.sdk.registration import Tenure


def is_on() -> bool:
    """Whether somebody has configured where spans go: a span for nobody would cost tens of microseconds."""
    return IS_AVAILABLE and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def requesting(message: ClientMessage) -> Generator[bytes]:
    """A span for as long as a request takes; yields what the request carries of it, which may be nothing.

    To be entered only if `is_on()`.
    """
    with _tracer.start_as_current_span(
        span_name(message), kind=trace.SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
    ) as span:
        if span.is_recording():
            span.set_attributes(span_attributes(message))
        try:
            yield carried()
        except TenureError as error:
            kind = error.info.code.value if isinstance(error, RequestRefusedError) else type(error).__name__
            span.set_attribute("error.type", kind)
            span.set_status(trace.StatusCode.ERROR, str(error))
            raise


def carried() -> bytes:
    """What a request carries of the current span; empty if there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(TRACEPARENT, "").encode()


@contextmanager
def working(tenure: Tenure) -> Generator[None]:
    """A span for as long as work goes on under a tenure; the spans of the work are its children."""
    if not is_on():
        yield
        return
    attributes: dict[str, str | int] = {
        "tenure.service_name": tenure.registration.service_name,
        "tenure.instance_id": tenure.registration.instance_id,
        "tenure.resource_id": tenure.resource_id,
        "tenure.epoch": tenure.epoch,
    }
    with _tracer.start_as_current_span("tenure.active", attributes=attributes):
        yield
