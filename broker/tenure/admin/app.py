"""The HTTP application: two questions, their description, and who may ask.

It computes answers from a `PictureSource` and keeps nothing itself. Every answer says how current it is; without the
broker the answer is 503, and what was known last only on request and marked as such.
"""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Final
from urllib.parse import unquote

from litestar import Litestar, Response, get
from litestar.exceptions import NotFoundException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from tenure.admin.address import names_this_machine
from tenure.admin.follower import PictureSource
from tenure.admin.problems import HANDLERS, MEDIA_TYPE, Problem, ProblemCode, encode_problem
from tenure.admin.views import LIMIT_DEFAULT, LIMIT_MAX, InstancePage, Page, RolePage, instance_page, role_page

_REVISION_MAX: Final = 2**63 - 1
_DESCRIPTION: Final = (
    "Who is active for each resource, and who stands by in which order. Read only. Answers come from a replica of the "
    "registry in this process; `as_of_ms` says how current they are."
)
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

type Limit = Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="At most so many.")]
type Stale = Annotated[
    bool, Parameter(description="If the broker is away, answer with what was known last (`connected` is false then).")
]


def _refusals(*statuses: HTTPStatus) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            Problem, description=status.phrase, media_type=MEDIA_TYPE, generate_examples=False
        )
        for status in statuses
    }


def create_app(source: PictureSource, *, is_local_only: bool) -> ASGIApp:
    """The application that answers from `source`; `is_local_only` refuses requests that name another machine."""

    @get(
        "/services",
        summary="Every instance, oldest registration first",
        operation_id="list_services",
        responses=_refusals(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def list_services(
        limit: Limit = LIMIT_DEFAULT,
        after: Annotated[
            int, Parameter(ge=0, le=_REVISION_MAX, description="Only registrations with a greater id.")
        ] = 0,
        stale: Stale = False,
    ) -> Response[InstancePage]:
        return _answer(instance_page(await source.picture(allow_stale=stale), after, limit))

    @get(
        "/services/{service_name:str}/roles",
        summary="A service's resources by id: who is active, and who stands by in which order",
        operation_id="list_roles",
        responses=_refusals(
            HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
        ),
    )
    async def list_roles(
        service_name: Annotated[str, Parameter(description="Percent-encoded, also a slash.")],
        limit: Limit = LIMIT_DEFAULT,
        after: Annotated[str, Parameter(description="Only resources whose id comes later.")] = "",
        stale: Stale = False,
    ) -> Response[RolePage]:
        name = _decoded(service_name)
        page = role_page(await source.picture(allow_stale=stale), name, after, limit)
        if page is None:
            raise NotFoundException(f"service {name!r} has no registered instance")
        return _answer(page)

    app = Litestar(
        [list_services, list_roles],
        exception_handlers=HANDLERS,
        openapi_config=OpenAPIConfig(
            title="Tenure",
            version=version("tenure"),
            description=_DESCRIPTION,
            path="/schema",
            render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        ),
        logging_config=None,
        request_max_body_size=0,
    )
    _describe_as_it_is(app)
    return _Gate(app, is_local_only=is_local_only)


def _answer[P: Page](page: P) -> Response[P]:
    headers = {"tenure-connected": str(page.connected).lower(), "tenure-as-of-ms": str(page.as_of_ms)}
    return Response(page, headers=headers)


def _decoded(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise ValidationException("service_name is not UTF-8") from error


def _describe_as_it_is(app: Litestar) -> None:
    """Take out of the description what Litestar would answer by itself: wrong parameters are 422 here, not 400."""
    for item in (app.openapi_schema.paths or {}).values():
        if item.get is not None and item.get.responses is not None:
            item.get.responses.pop(str(HTTPStatus.BAD_REQUEST.value), None)


class _Gate:
    """What is done before the application sees a request: who is meant is checked, and the path left as it was sent.

    A service's name may have slashes: the path is split before it is decoded, which the server does the other way round.
    """

    def __init__(self, app: ASGIApp, *, is_local_only: bool) -> None:
        self._app = app
        self._is_local_only = is_local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            ...

        if self._is_local_only and not names_this_machine(_host_of(scope)):
            ...
