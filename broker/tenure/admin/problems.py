"""Errors as answers: application/problem+json (RFC 9457) with a `code` that stays the same.

The codes are those of the wire where there is one; what went wrong inside is logged, never shown.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Struct

MEDIA_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = 1

type AnyRequest = Request[Any, Any, Any]


class ProblemCode(StrEnum):
    """What went wrong, for programs; the set is closed."""

    NOT_FOUND = "not_found"
    INVALID_REQUEST = "invalid_request"
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


class BrokerAwayError(Exception):
    """The broker is not heard, and nothing live can be said."""

    def __init__(self, heard_ms: int | None) -> None:
        self.heard_ms = heard_ms
        """Unix milliseconds at which it was heard last; None if it never was."""
        hint = "" if heard_ms is None else "; add stale=true for what was known then"
        super().__init__(f"the broker is not heard, so that nothing can be said about this moment{hint}")


def problem(
    status: HTTPStatus,
    code: ProblemCode,
    detail: str,
    *,
    heard_ms: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response[Problem]:
    """The answer that says what is wrong."""
    return Response(
        Problem(title=status.phrase, status=status, detail=detail, code=code, heard_ms=heard_ms),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def _away(_request: AnyRequest, error: BrokerAwayError) -> Response[Problem]:
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        ProblemCode.BROKER_UNAVAILABLE,
        str(error),
        heard_ms=error.heard_ms,
        headers={"retry-after": str(_RETRY_AFTER_S)},
    )


def _invalid(_request: AnyRequest, error: ValidationException) -> Response[Problem]:
    faults = error.extra if isinstance(error.extra, list) else []
    named = [f"{fault.get('key')}: {fault.get('message')}" for fault in faults if isinstance(fault, dict)]
    return problem(HTTPStatus.UNPROCESSABLE_CONTENT, ProblemCode.INVALID_REQUEST, "; ".join(named) or error.detail)


def _refused(_request: AnyRequest, error: HTTPException) -> Response[Problem]:
    status = HTTPStatus(error.status_code)
    code = ProblemCode.NOT_FOUND if status is HTTPStatus.NOT_FOUND else ProblemCode.INVALID_REQUEST
    detail = error.detail if error.detail != status.phrase else "this is not served here; /schema says what is"
    return problem(status, code, detail, headers=error.headers)


def _failed(request: AnyRequest, error: Exception) -> Response[Problem]:
    structlog.get_logger("tenure.admin").error("request.failed", path=request.scope["path"], exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, ProblemCode.INTERNAL_ERROR, "a defect of this server; its log has more"
    )


HANDLERS: Final[dict[int | type[Exception], Callable[[Any, Any], Response[Any]]]] = {
    BrokerAwayError: _away,
    ValidationException: _invalid,
    HTTPException: _refused,
    Exception: _failed,
}


def encode_problem(status: HTTPStatus, code: ProblemCode, detail: str) -> bytes:
    """The same as bytes, for what is refused before the application sees it."""
    return msgspec.json.encode(Problem(title=status.phrase, status=status, detail=detail, code=code))
