"""The HTTP application: the page, all routes, their description, and who may ask.

It computes answers from a `Source` and keeps nothing itself. Every answer says how current it is; without the broker
the answer is 503, and what was known last only on request and marked as such.
"""

from __future__ import annotations

from litestar import Litestar
from litestar.types import ASGIApp

from tenure.admin.changes import change_routes
from tenure.admin.changing import check_body
from tenure.admin.description import checked_parameters, describe_as_it_is, openapi_config
from tenure.admin.follower import Source
from tenure.admin.interventions import intervention_routes
from tenure.admin.metrics import metrics_route
from tenure.admin.page_files import page, page_file
from tenure.admin.problems import HANDLERS
from tenure.admin.reads import AnyRequest, read_routes
from tenure.admin.security import Gate, Security, guard_changes
from tenure.admin.streams import event_routes


def create_app(source: Source, security: Security) -> ASGIApp:
    """The application that answers from `source` those whom `security` lets."""

    async def check(request: AnyRequest) -> None:
        checked(request)
        await check_body(request)

    guard = guard_changes(security)
    app = Litestar(
        [
            *read_routes(source),
            *event_routes(source),
            *change_routes(source, guard),
            *intervention_routes(source, guard),
            metrics_route(source),
            page,
            page_file,
        ],
        exception_handlers=HANDLERS,
        openapi_config=openapi_config(),
        before_request=check,
        logging_config=None,
        request_max_body_size=0,
    )
    checked = checked_parameters(app)
    describe_as_it_is(app)
    return Gate(app, security)
