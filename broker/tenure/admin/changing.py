"""What all routes that change something have in common: what they need, what they refuse, and who asks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import Request, delete, post
from litestar.exceptions import ValidationException
from msgspec import Meta, Struct

from tenure.admin.description import SECURITY, refusals
from tenure.admin.faults import body_fault
from tenure.admin.security import Guard
from tenure.contract.limits import NAME_BYTES_MAX

BODY_BYTES_MAX: Final = 65_536
REVISION_MAX: Final = 2**63 - 1
_BODY: Final = "body"
"""In a route's `opt`: what its body is."""
_REFUSALS: Final = refusals(
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_CONTENT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

type By = Annotated[str, Meta(max_length=NAME_BYTES_MAX, description="Who asks for it, for people.")]


def posting(
    guard: Guard,
    path: str,
    body: type[Struct],
    summary: str,
    operation_id: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> post:
    """A route by which whom `guard` lets asks for a change with a body."""
    return post(
        path,
        summary=summary,
        operation_id=operation_id,
        status_code=status,
        responses=_REFUSALS,
        security=SECURITY,
        guards=[guard],
        request_max_body_size=body_bytes_max,
        opt={_BODY: body},
    )


def deleting(guard: Guard, path: str, summary: str, operation_id: str, description: str | None = None) -> delete:
    """A route by which whom `guard` lets ends something."""
    return delete(
        path,
        summary=summary,
        description=description,
        operation_id=operation_id,
        status_code=HTTPStatus.OK,
        responses=_REFUSALS,
        security=SECURITY,
        guards=[guard],
    )


async def check_body(request: Request[Any, Any, Any]) -> None:
    """See that a body is what its route takes.

    Raises:
        ValidationException: It is not.
    """
    kind = request.route_handler.opt.get(_BODY)
    wrong = None if kind is None else body_fault(await request.body(), kind)
    if wrong is not None:
        raise ValidationException(wrong)


def asker(request: Request[Any, Any, Any]) -> str:
    """Who asks, if he does not say it himself: where he asks from."""
    client = request.client
    return f"admin API, {'somebody' if client is None else client.host}"
