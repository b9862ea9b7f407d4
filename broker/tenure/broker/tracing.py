"""OpenTelemetry spans of the broker: for each request that carries one, and for each commit it waited for.

Without `opentelemetry-api` there are none. A request's span lasts from when it was taken in until its answer is handed
to the socket; the commit's is linked with those of the requests it answered, and names the roles that moved with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tenure.broker.connections import Route
from tenure.broker.outgoing import Outgoing, Release
from tenure.contract.events import RoleChangedEvent
from tenure.contract.messages import ClientMessage
from tenure.contract.tracing import IS_AVAILABLE, TRACEPARENT, span_attributes, span_name

if TYPE_CHECKING or IS_AVAILABLE:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _tracer = trace.get_tracer("tenure.broker")
    _propagator = TraceContextTextMapPropagator()

OPEN_MAX: Final = 10_000
"""Requests followed at a time. One whose client leaves is never answered: the oldest gives way."""
_MOVES_MAX: Final = 100  # roles named by one commit's span


class Traces:
    """The spans of requests that are under way."""

    def __init__(self) -> None:
        self._open: dict[tuple[Route, bytes], trace.Span] = {}

    def began(self, route: Route, frames: list[bytes], request: ClientMessage) -> None:
        """A request that carries a span was taken in."""
        context = _propagator.extract({TRACEPARENT: frames[2].decode("ascii", "replace")})
        span = _tracer.start_span(
            span_name(request), context, kind=trace.SpanKind.SERVER, attributes=span_attributes(request)
        )
        if not span.is_recording():
            return
        key = (route, frames[0])
        before = self._open.pop(key, None)  # it was repeated
        if before is None and len(self._open) >= OPEN_MAX:
            before = self._open.pop(next(iter(self._open)))
        if before is not None:
            before.end()
        self._open[key] = span

    def committed(self, release: Release, began_ns: int) -> None:
        """A batch is durable that was begun at a time, in nanoseconds of CLOCK_REALTIME."""
        waited = [self._open.get((message.route, message.request_id)) for message in release.outgoing]
        links = [trace.Link(span.get_span_context()) for span in waited if span is not None]
        if not links:
            return
        span = _tracer.start_span(
            "tenure.commit",
            trace.set_span_in_context(trace.INVALID_SPAN),
            links=links,
            attributes={"tenure.events": len(release.events)},
            start_time=began_ns,
        )
        moves = [event for event in release.events if isinstance(event, RoleChangedEvent) and event.epoch]
        for event in moves[:_MOVES_MAX]:
            span.add_event(
                "role changed",
                {
                    "tenure.resource_id": event.resource_id,
                    "tenure.service_name": event.service_name,
                    "tenure.instance_id": event.instance_id,
                    "tenure.role": event.new_role or "none",
                    "tenure.epoch": event.epoch,
                    "tenure.reason": event.reason,
                },
            )
        span.end()

    def answered(self, messages: Iterable[Outgoing]) -> None:
        """These answers were handed to their sockets."""
        if self._open:
            now_ns = time.time_ns()
            for message in messages:
                span = self._open.pop((message.route, message.request_id), None)
                if span is not None:
                    span.end(now_ns)
