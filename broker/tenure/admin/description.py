"""What the routes say of themselves: OpenAPI 3.1, and what is refused because the description does not have it.

A parameter that does nothing is refused: whoever misspelt a filter would take the answer for filtered. Which there are
is read from the description, so that the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import unquote

from litestar import Litestar, Request
from litestar.exceptions import ValidationException
from litestar.openapi import ResponseSpec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    Schema,
    SecurityScheme,
)

from tenure.admin import sse
from tenure.admin.problems import MEDIA_TYPE, Problem

_DESCRIPTION: Final = (
    "Who is active for each resource, who stands by in which order, what has happened, and what may be done about it. "
    "Answers come from a replica of the registry in this process; `as_of_ms` says how current they are. Reading is "
    "open on the loopback; changes, and reading from elsewhere, need the token that `tenure admin token` shows."
)
STREAMED: Final = "streamed"
"""In a route's `opt`: what its stream has, for one that answers with one if it is asked for text/event-stream."""
REQUEST: Final = "Request"
"""How the names of bodies end, which take no members that they do not know."""
SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}]
"""Of a route that needs the token wherever it is asked from."""
_SECURITY_ELSEWHERE: Final[list[dict[str, list[str]]]] = [{}, *SECURITY]  # either is enough: here none is needed


def refusals(*statuses: HTTPStatus, is_open: bool = False) -> dict[int, ResponseSpec]:
    """The problems that a route may answer with, those included that any may; one that is open needs no token."""
    always = [HTTPStatus.MISDIRECTED_REQUEST] if is_open else [HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.UNAUTHORIZED]
    return {
        status: ResponseSpec(Problem, description=status.phrase, media_type=MEDIA_TYPE, generate_examples=False)
        for status in sorted({*always, *statuses})
    }


def openapi_config() -> OpenAPIConfig:
    """Where the description is, and what it says of all routes."""
    return OpenAPIConfig(
        title="Tenure",
        version=version("tenure"),
        description=_DESCRIPTION,
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
    )


def describe_as_it_is(app: Litestar) -> None:
    """Mend in the description what Litestar does not say.

    What is wrong is 422, bodies are closed, no parameter is null, reading from elsewhere needs the token, and some
    answers are streams.
    """
    for schema in (app.openapi_schema.components.schemas or {}).values() if app.openapi_schema.components else ():
        if schema.title is not None and schema.title.endswith(REQUEST):
            schema.additional_properties = False
    for parameter in _parameters(app):
        if isinstance(parameter.schema, Schema) and parameter.schema.one_of:
            of_values = [one for one in parameter.schema.one_of if getattr(one, "type", None) != OpenAPIType.NULL]
            parameter.schema.one_of = of_values
    for _, operation, streamed in _operations(app):
        responses = operation.responses or {}
        responses.pop(str(HTTPStatus.BAD_REQUEST.value), None)
        if operation.security is None and str(HTTPStatus.UNAUTHORIZED.value) in responses:
            operation.security = _SECURITY_ELSEWHERE
        found = responses.get(str(HTTPStatus.OK.value))
        if streamed and isinstance(found, OpenAPIResponse) and found.content is not None:
            text = Schema(type=OpenAPIType.STRING, description=streamed)
            found.content[sse.MEDIA_TYPE] = OpenAPIMediaType(schema=text)


def checked_parameters(app: Litestar) -> Callable[[Request[Any, Any, Any]], None]:
    """What refuses a request with a parameter that its route does not have."""
    known: Mapping[str, frozenset[str]] = {
        operation.operation_id or path: frozenset(
            one.name for one in operation.parameters or () if isinstance(one, Parameter) and one.param_in == "query"
        )
        for path, operation, _ in _operations(app)
    }
    no_text = frozenset(one.name for one in _parameters(app) if _has_null(one))

    def check(request: Request[Any, Any, Any]) -> None:
        names = known.get(str(getattr(request.route_handler, "operation_id", None)))
        unknown = [] if names is None else [one for one in request.query_params if one not in names]
        if names is not None and unknown:
            there = f"there are {', '.join(sorted(names))}" if names else "this takes none"
            raise ValidationException(f"{', '.join(sorted(set(unknown)))}: there is no such parameter; {there}")
        nulls = [one for one, value in request.query_params.items() if one in no_text and value.lower() == "null"]
        if nulls:  # it would be taken for left out, and the answer for filtered
            raise ValidationException(f"{nulls[0]} is null, which is none of the values that it may have; leave it out")

    return check


def decoded(segment: str, name: str) -> str:
    """A name from its segment of a path.

    Raises:
        ValidationException: It is not UTF-8.
    """
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise ValidationException(f"{name} is not UTF-8") from error


def _operations(app: Litestar) -> list[tuple[str, Operation, str]]:
    """Every path with what can be done there, and what its stream has, if it has one."""
    streamed = {
        str(handler.operation_id): str(handler.opt.get(STREAMED, ""))
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if getattr(handler, "operation_id", None)
    }
    return [
        (path, operation, streamed.get(operation.operation_id or "", ""))
        for path, item in (app.openapi_schema.paths or {}).items()
        for operation in _of(item)
    ]


def _parameters(app: Litestar) -> list[Parameter]:
    operations = [operation for _, operation, _ in _operations(app)]
    return [one for operation in operations for one in operation.parameters or () if isinstance(one, Parameter)]


def _has_null(parameter: Parameter) -> bool:
    """Whether `null` would be taken for leaving a parameter out: it is but for text, which may be any word."""
    if not isinstance(parameter.schema, Schema):
        return False
    kinds = {getattr(one, "type", None) for one in parameter.schema.one_of or ()}
    return OpenAPIType.NULL in kinds and OpenAPIType.STRING not in kinds


def _of(item: PathItem) -> list[Operation]:
    return [one for one in (item.get, item.post, item.put, item.patch, item.delete) if one is not None]
