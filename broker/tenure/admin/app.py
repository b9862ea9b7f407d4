"""The HTTP application: two questions, their description, and who may ask.

It computes answers from a `PictureSource` and keeps nothing itself. Every answer says how current it is; without the
broker the answer is 503, and what was known last only on request and marked as such.
"""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any, Final
from urllib.parse import unquote

from litestar import Litestar, Request, Response, get
from litestar.exceptions import NotFoundException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import PathParameter, QueryParameter
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tenure.admin.address import names_this_machine
from tenure.admin.follower import PictureSource
from tenure.admin.problems import HANDLERS, MEDIA_TYPE, Problem, ProblemCode, encode_problem
from tenure.admin.views import LIMIT_DEFAULT, LIMIT_MAX, InstancePage, Page, RolePage, instance_page, role_page

_DESCRIPTION: Final = (
    "Who is active for each resource, and who stands by in which order. Read only. Answers come from a replica of the "
    "registry in this process; `as_of_ms` says how current they are."
)
_PARAMETERS: Final = frozenset({"after", "limit", "stale"})
_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="At most so many.")]
Stale = Annotated[
    bool,
    QueryParameter(description="If the broker is away, answer with what was known last (`connected` is false then)."),
]


def _refusals(*statuses: HTTPStatus) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(Problem, description=status.phrase, media_type=MEDIA_TYPE, generate_examples=False)
        for status in statuses
    }


def create_app(source: PictureSource, *, is_local_only: bool) -> ASGIApp:
    """The application that answers from `source`; `is_local_only` refuses requests that name another machine."""

    @get(
        "/services",
        summary="Every instance, oldest registration first",
        operation_id="list_services",
        responses=_refusals(HTTPStatus.UNPROCESSABLE_CONTENT, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def list_services(
        request: Request[Any, Any, Any],
        limit: Limit = LIMIT_DEFAULT,
        after: Annotated[int, QueryParameter(ge=0, description="Only registrations with a greater id.")] = 0,
        stale: Stale = False,
    ) -> Response[InstancePage]:
        _check_known(request)
        return _answer(instance_page(await source.picture(allow_stale=stale), after, limit))

    @get(
        "/services/{service_name:str}/roles",
        summary="A service's resources by id: who is active, and who stands by in which order",
        operation_id="list_roles",
        responses=_refusals(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_CONTENT, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def list_roles(
        request: Request[Any, Any, Any],
        service_name: Annotated[str, PathParameter(description="Percent-encoded, also a slash.")],
        limit: Limit = LIMIT_DEFAULT,
        after: Annotated[str, QueryParameter(description="Only resources whose id comes later.")] = "",
        stale: Stale = False,
    ) -> Response[RolePage]:
        _check_known(request)
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


def _check_known(request: Request[Any, Any, Any]) -> None:
    """A parameter that does nothing is refused: whoever misspelt a filter would take the answer for filtered."""
    unknown = sorted(set(request.query_params) - _PARAMETERS)
    if unknown:
        raise ValidationException(f"{', '.join(unknown)}: there is no such parameter; there are after, limit, stale")


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

    A service's name may have slashes: the path is split before it is decoded; the server does it the other way round.
    """

    def __init__(self, app: ASGIApp, *, is_local_only: bool) -> None:
        self._app = app
        self._is_local_only = is_local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        if self._is_local_only and not names_this_machine(headers.get(b"host", b"").decode("latin-1")):
            await _turn_away(send_marked)
        else:
            scope["path"] = scope["raw_path"].decode("latin-1")
            await self._app(scope, receive, send_marked)


async def _turn_away(send: Send) -> None:
    body = encode_problem(
        HTTPStatus.MISDIRECTED_REQUEST,
        ProblemCode.INVALID_REQUEST,
        "this server answers requests for localhost, 127.0.0.1 or [::1] only; ask for it by one of these names",
    )
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": HTTPStatus.MISDIRECTED_REQUEST, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
