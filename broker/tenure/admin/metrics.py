"""GET /metrics: what is counted and measured, as Prometheus reads it.

While the broker is not heard nothing of it is told but that, and since when: a figure is live, or it is not there. No
series is about one instance or one resource, so that their number stays the same however much is registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, override

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from tenure.admin.description import refusals
from tenure.admin.figures import Figures
from tenure.admin.follower import Source
from tenure.admin.problems import BrokerAwayError
from tenure.contract.errors import ErrorCode, TenureError
from tenure.contract.measurements import Count, Histogram, Measurements

_TEXT: Final = "text/plain; version=0.0.4"  # to which Litestar adds the charset
_OPENMETRICS: Final = "application/openmetrics-text"
_S_PER_MS: Final = 1e-3
_S_PER_US: Final = 1e-6

_FENCED: Final = (ErrorCode.NOT_ACTIVE, ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_LAPSED)


def metrics_route(source: Source) -> HTTPRouteHandler:
    """The route that answers from `source`."""
    process = ProcessCollector(registry=None)

    @get(
        "/metrics",
        summary="What is counted and measured, for Prometheus",
        operation_id="get_metrics",
        responses={
            200: ResponseSpec(str, description="Its text format.", media_type="text/plain"),
            **refusals(HTTPStatus.UNPROCESSABLE_CONTENT),
        },
    )
    async def get_metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            figures = await source.figures()
        except (BrokerAwayError, TenureError):
            figures = None
        scrape = _Scrape([*families(figures, source.heard_ms), *process.collect()])
        is_openmetrics = _OPENMETRICS in request.headers.get("accept", "")
        encode, media_type = choose_encoder(_OPENMETRICS if is_openmetrics else "")
        return Response(encode(scrape), media_type=media_type if is_openmetrics else _TEXT)

    return get_metrics


def families(figures: Figures | None, heard_ms: int | None) -> list[Metric]:
    """All metrics; without figures those alone that say so."""
    up = _gauge("tenure_broker_up", "Whether the broker is heard and answers: 1, or 0.", figures is not None)
    heard = [] if heard_ms is None else [
        _gauge("tenure_broker_heard_timestamp_seconds", "When the broker was heard last.", heard_ms * _S_PER_MS)
    ]  # fmt: skip
    if figures is None:
        return [up, *heard]
    return [up, *heard, *_counted(figures), *_rising(figures.measured), *_distributed(figures.measured)]


class _Scrape(Collector):
    """Metrics in the form in which the client library takes them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    @override
    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _counted(figures: Figures) -> list[Metric]:
    """What there is at the moment."""
    measured = figures.measured
    return [
        _gauge(
            "tenure_broker_start_time_seconds",
            "When the broker started, and all its counters with it.",
            measured.started_ms * _S_PER_MS,
        ),
        _gauge("tenure_sessions", "Sessions that live.", measured.sessions),
        _gauge("tenure_connections", "Connections that have said hello.", measured.connections),
        _gauges(
            "tenure_registrations",
            "Registrations by role.",
            "role",
            {"active": figures.active, "standby": figures.standbys},
        ),
        _gauge("tenure_resources_active", "Resources that somebody is active for.", figures.active),
        _gauges(
            "tenure_resources_vacant",
            "Resources that nobody is active for, also those that everybody has left since they were lost, by pause.",
            "paused",
            {"false": figures.vacant, "true": figures.vacant_and_paused},
        ),
        _gauge("tenure_resources_paused", "Resources for which failover is paused.", figures.paused),
        _gauge(
            "tenure_resources_without_standby",
            "Resources with an active one and no standby that could take over.",
            figures.without_standby,
        ),
        _gauges(
            "tenure_service_resources_vacant",
            "Vacant resources that are not paused, of the services that have most of them.",
            "service_name",
            figures.services_vacant,
        ),
        _gauges(
            "tenure_service_resources_without_standby",
            "Resources without a standby that could take over, of the services that have most of them.",
            "service_name",
            figures.services_without_standby,
        ),
        _gauge(
            "tenure_event_lag",
            "Events that the broker had committed and this admin had not applied yet.",
            figures.event_lag,
        ),
    ]


def _rising(measured: Measurements) -> list[Metric]:
    """What has been counted since the broker started."""
    refusals = _by_kind(measured.refusals)
    conflicts = refusals.pop(ErrorCode.ROLE_CONFLICT, 0)
    fenced = {str(code): refusals.pop(code, 0) for code in _FENCED}
    return [
        _counter("tenure_sessions_opened", "Sessions that began.", measured.sessions_opened),
        _counters("tenure_sessions_ended", "Sessions that ended.", "reason", _by_kind(measured.sessions_ended)),
        _counters(
            "tenure_failovers",
            "Unplanned moves of a role, by why the tenure before ended.",
            "reason",
            {one.of: sum(one.counts) for one in measured.failovers_ms},
        ),
        _counters(
            "tenure_switchovers",
            "Planned moves of a role, by why the tenure before ended.",
            "reason",
            _by_kind(measured.switchovers),
        ),
        _counter("tenure_role_conflicts", "Claims that were refused because the role is held.", conflicts),
        _counters(
            "tenure_fenced_refusals",
            "Requests that were refused because the tenure or session they came from was over, by error code.",
            "code",
            fenced,
        ),
        _counters("tenure_refusals", "Requests that were refused for another reason, by error code.", "code", refusals),
        _counter("tenure_commits_refused", "Batches that the store did not take.", measured.commits_refused),
    ]


def _distributed(measured: Measurements) -> list[Metric]:
    """What has been measured since the broker started."""
    return [
        _histogram(
            "tenure_request_duration_seconds",
            "From the receipt of a request until its answer was handed to the socket, by type.",
            measured.requests_us,
            _S_PER_US,
            "request",
        ),
        _histogram(
            "tenure_commit_duration_seconds",
            "How long the store took to make a batch durable.",
            [measured.commits_us],
            _S_PER_US,
        ),
        _histogram("tenure_commit_events", "How many events a batch had.", [measured.batch_events], 1),
        _histogram(
            "tenure_broker_loop_lag_seconds",
            "How much later than planned the broker's event loop turned.",
            [measured.loop_lag_us],
            _S_PER_US,
        ),
        _histogram(
            "tenure_lease_margin_ratio",
            "How much of the lease was left when a heartbeat came, as a share of the lease.",
            [measured.lease_margins_permille],
            1e-3,
        ),
        _histogram(
            "tenure_failover_duration_seconds",
            "From the decided end of a tenure to the commit of the next, of failovers, by why it ended.",
            measured.failovers_ms,
            _S_PER_MS,
            "reason",
        ),
        _histogram(
            "tenure_vacancy_duration_seconds",
            "The same of all tenures that followed on another, also claimed ones.",
            measured.vacancies_ms,
            _S_PER_MS,
            "reason",
        ),
    ]


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _gauges(name: str, what: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for kind, value in values.items():
        family.add_metric([kind], value)
    return family


def _counter(name: str, what: str, value: int) -> Metric:
    return CounterMetricFamily(name, what, value=value)


def _counters(name: str, what: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, what, labels=[label])
    for kind, value in values.items():
        family.add_metric([kind], value)
    return family


def _by_kind(counts: Iterable[Count]) -> dict[str, int]:
    return {one.of: one.count for one in counts}


def _histogram(name: str, what: str, histograms: Iterable[Histogram], unit: float, label: str = "") -> Metric:
    """One histogram, or one for each value of a label; a bucket has all that is not greater than its bound."""
    family = HistogramMetricFamily(name, what, labels=[label] if label else [])
    for one in histograms:
        buckets: list[tuple[str, float]] = []
        so_far = 0
        bounds = [*(str(float(round(bound * unit, 9))) for bound in one.bounds), "+Inf"]
        for bound, here in zip(bounds, one.counts, strict=True):
            so_far += here
            buckets.append((bound, so_far))
        family.add_metric([one.of] if label else [], buckets, one.total * unit)
    return family
