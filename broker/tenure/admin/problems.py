"""Errors as answers: application/problem+json (RFC 9457) with a `code` that stays the same.

The codes are those of the wire where there is one; what went wrong inside is logged, never shown.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec import Struct

from tenure.admin.faults import fault
from tenure.admin.sse import TooManyStreamsError
from tenure.contract.errors import ErrorCode, ErrorInfo, RequestRefusedError, TenureError

MEDIA_TYPE: Final = "application/problem+json"
_RETRY: Final = {"retry-after": "1"}

type AnyRequest = Request[Any, Any, Any]


class ProblemCode(StrEnum):
    """What went wrong, for programs; the set is closed."""

    NOT_FOUND = "not_found"
    INVALID_REQUEST = "invalid_request"
    FORBIDDEN = "forbidden"
    ROLE_CONFLICT = "role_conflict"
    NOT_ACTIVE = "not_active"
    NOT_ELIGIBLE = "not_eligible"
    SWITCHOVER_UNDER_WAY = "switchover_under_way"
    INSTANCE_ALIVE = "instance_alive"
    LIMIT_EXCEEDED = "limit_exceeded"
    REVISION_COMPACTED = "revision_compacted"
    STORE_ROLLED_BACK = "store_rolled_back"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    INTERNAL_ERROR = "internal_error"
    BROKER_UNAVAILABLE = "broker_unavailable"  # has none on the wire: a broker that is away sends nothing


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not answered as asked."""

    title: str
    status: int
    detail: str
    code: ProblemCode
    heard_ms: int | None = None
    """With `broker_unavailable`: unix milliseconds at which the broker was heard last, if it ever was."""
    limit: int | None = None
    """With `limit_exceeded`: the limit."""
    index: int | None = None
    """With a refused change of roles: which of its changes, from 0 on."""
    revision: int | None = None
    """With `revision_compacted`: the first revision that is still kept."""


class BrokerAwayError(Exception):
    """The broker is not heard, and nothing live can be said."""

    def __init__(self, heard_ms: int | None, *, is_known: bool = False) -> None:
        """`is_known` says whether there is something from before that may be asked for."""
        self.heard_ms = heard_ms
        """Unix milliseconds at which it was heard last; None if it never was."""
        hint = "; add stale=true for what was known then" if is_known else ""
        super().__init__(f"the broker is not heard, so that nothing can be said about this moment{hint}")


STATUSES: Final = {
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.INVALID_REQUEST: HTTPStatus.UNPROCESSABLE_CONTENT,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.ROLE_CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.NOT_ACTIVE: HTTPStatus.CONFLICT,
    ErrorCode.NOT_ELIGIBLE: HTTPStatus.CONFLICT,
    ErrorCode.SWITCHOVER_UNDER_WAY: HTTPStatus.CONFLICT,
    ErrorCode.INSTANCE_ALIVE: HTTPStatus.CONFLICT,
    ErrorCode.LIMIT_EXCEEDED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.REVISION_COMPACTED: HTTPStatus.GONE,
    ErrorCode.STORE_ROLLED_BACK: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.SHUTTING_DOWN: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.STORAGE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What a refusal of the broker is here. Others are about sessions, which the admin has none of: a defect."""


def problem(
    status: HTTPStatus,
    code: ProblemCode,
    detail: str,
    *,
    heard_ms: int | None = None,
    info: ErrorInfo | None = None,
    headers: dict[str, str] | None = None,
) -> Response[Problem]:
    """The answer that says what is wrong; `info` is what the broker said."""
    return Response(
        Problem(
            title=status.phrase,
            status=status,
            detail=detail,
            code=code,
            heard_ms=heard_ms,
            limit=None if info is None else info.limit,
            index=None if info is None else info.index,
            revision=None if info is None else info.revision,
        ),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=_RETRY if status is HTTPStatus.SERVICE_UNAVAILABLE and headers is None else headers,
    )


def _away(_request: AnyRequest, error: BrokerAwayError) -> Response[Problem]:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return problem(status, ProblemCode.BROKER_UNAVAILABLE, str(error), heard_ms=error.heard_ms)


def _mute(_request: AnyRequest, error: TenureError) -> Response[Problem]:
    """The broker was asked, and did not answer or not as it should: what became of a change is unknown."""
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, ProblemCode.BROKER_UNAVAILABLE, str(error))


def _refused_by_broker(request: AnyRequest, error: RequestRefusedError) -> Response[Problem]:
    status = STATUSES.get(error.code)
    if status is None:
        return _failed(request, error)
    return problem(status, ProblemCode(error.code.value), str(error), info=error.info)


def _too_many(_request: AnyRequest, error: TooManyStreamsError) -> Response[Problem]:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, ProblemCode.OVERLOADED, str(error))


def _invalid(_request: AnyRequest, error: ValidationException) -> Response[Problem]:
    faults = cast("list[dict[str, object]]", error.extra) if isinstance(error.extra, list) else []
    # A parameter that may be left out is of a type with null in it, which nobody can write into an address.
    named = [fault(str(one.get("message")).replace(" | null`", "`"), str(one.get("key"))) for one in faults]
    return problem(HTTPStatus.UNPROCESSABLE_CONTENT, ProblemCode.INVALID_REQUEST, "; ".join(named) or error.detail)


def _too_long(request: AnyRequest, _error: RequestEntityTooLarge) -> Response[Problem]:
    most = request.route_handler.resolve_request_max_body_size() or 0
    detail = f"the body is longer than the {most:,} bytes that this takes"
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, ProblemCode.INVALID_REQUEST, detail)


def _refused(_request: AnyRequest, error: HTTPException) -> Response[Problem]:
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.BAD_REQUEST:  # a body that cannot be read is as wrong as a parameter that cannot
        status = HTTPStatus.UNPROCESSABLE_CONTENT
    code = _CODES.get(status, ProblemCode.INVALID_REQUEST)
    detail = error.detail if error.detail != status.phrase else "this is not served here; /schema says what is"
    return problem(status, code, detail, headers=error.headers)


def _failed(request: AnyRequest, error: Exception) -> Response[Problem]:
    structlog.get_logger("tenure.admin").error("request.failed", path=request.scope["path"], exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, ProblemCode.INTERNAL_ERROR, "a defect of this server; its log has more"
    )


_CODES: Final = {
    HTTPStatus.NOT_FOUND: ProblemCode.NOT_FOUND,
    HTTPStatus.UNAUTHORIZED: ProblemCode.FORBIDDEN,
    HTTPStatus.FORBIDDEN: ProblemCode.FORBIDDEN,
}

HANDLERS: Final[dict[int | type[Exception], Callable[[Any, Any], Response[Any]]]] = {
    BrokerAwayError: _away,
    RequestRefusedError: _refused_by_broker,
    TenureError: _mute,
    TooManyStreamsError: _too_many,
    ValidationException: _invalid,
    RequestEntityTooLarge: _too_long,
    HTTPException: _refused,
    Exception: _failed,
}


def encode_problem(status: HTTPStatus, code: ProblemCode, detail: str) -> bytes:
    """The same as bytes, for what is refused before the application sees it."""
    return msgspec.json.encode(Problem(title=status.phrase, status=status, detail=detail, code=code))
