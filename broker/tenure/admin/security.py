"""Who may ask, and who may change something.

Reading is open on the loopback, to requests that name this machine: a page of somebody else's domain cannot make such
ones even if its name is made to point here. Bound elsewhere, everything needs the token but the page itself, which asks
for it, and `/health/live`. A change needs the token everywhere, and a Host and an Origin that belong together, so that
a browser that has the token cannot be made to use it by another site.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast, override
from urllib.parse import urlsplit

from litestar import HttpMethod
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from msgspec import Struct

from tenure.admin.address import is_loopback, name_of
from tenure.admin.problems import MEDIA_TYPE, ProblemCode, encode_problem

_OPEN: Final = frozenset({"/", "/health/live"})
_OPEN_BELOW: Final = "/page/"
_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_NO_TOKEN: Final = "this needs `Authorization: Bearer TOKEN`; `tenure admin token` shows the token"  # noqa: S105
_WRONG_TOKEN: Final = "this is not the token; `tenure admin token` shows the one that is, of the same state directory"  # noqa: S105
_JSON: Final = "application/json"

type Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


class Security(Struct, frozen=True, kw_only=True):
    """What a request has to have."""

    token: str
    is_local_only: bool
    """Whether only this machine can reach it."""
    allowed_hosts: frozenset[str] = frozenset()
    """Names that requests may ask for it by, besides this machine's own."""

    def knows_token(self, authorization: str) -> bool:
        """Whether a request's Authorization is the token, which takes the same time whatever it is."""
        scheme, _, given = authorization.partition(" ")
        return hmac.compare_digest(given.strip().encode(), self.token.encode()) and scheme.lower() == "bearer"

    def refuse_token(self, authorization: str) -> str:
        """Why a request's Authorization lets nobody in, and what to do; empty if it is the token."""
        if not authorization:
            return _NO_TOKEN
        return "" if self.knows_token(authorization) else _WRONG_TOKEN

    @override
    def __repr__(self) -> str:
        """Without the token, wherever it is shown."""
        return f"Security(is_local_only={self.is_local_only}, allowed_hosts={set(self.allowed_hosts)})"

    def knows_host(self, host: str, here: str) -> bool:
        """Whether a request's Host names this machine, the address `here` that it came to, or an allowed name."""
        name = name_of(host)
        if is_loopback(name) or name in self.allowed_hosts:
            return True
        return not self.is_local_only and bool(name) and name in {here.lower(), socket.gethostname().lower()}


def is_open(path: str) -> bool:
    """Whether nobody needs the token for it, wherever it is asked from."""
    return path in _OPEN or path.startswith(_OPEN_BELOW)


def guard_changes(security: Security) -> Guard:
    """What a change has to pass.

    It raises PermissionDeniedException for an Origin that is another site's, NotAuthorizedException without the token,
    and HTTPException for a Host that is nobody here or a body that is not JSON.
    """

    def check(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        headers = connection.headers
        host = headers.get("host", "")
        server = connection.scope.get("server") or ("", None)
        if not security.knows_host(host, str(server[0])):
            raise HTTPException(
                f"this machine is not called {host[:80]!r}; name it with --allow-host if it is",
                status_code=HTTPStatus.MISDIRECTED_REQUEST,
            )
        origin = headers.get("origin")
        if origin is not None and not _is_same(origin, host):
            raise PermissionDeniedException("a page of another site cannot change anything here")
        refusal = security.refuse_token(headers.get("authorization", ""))
        if refusal:
            raise NotAuthorizedException(refusal, headers={"www-authenticate": "Bearer"})
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        needs_body = connection.scope.get("method") == "POST"
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != _JSON and (has_body or needs_body):
            raise HTTPException(
                f"the body has to be {_JSON}, and say so", status_code=HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            )
        if needs_body and not has_body:
            raise ValidationException("there has to be a body, if only {}")

    return check


class Gate:
    """What is done before the application sees a request: who is meant is checked, and the path left as it was sent.

    A name may have slashes: the path is split before it is decoded; the server does it the other way round.
    """

    def __init__(self, app: ASGIApp, security: Security) -> None:
        self._app = app
        self._security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application answer it. HEAD is GET of which the head alone is sent."""
        asked = cast("HTTPScope", scope.copy())  # the server goes on with what it was asked
        asked["path"] = asked["raw_path"].decode("latin-1")
        is_head = asked["method"] == "HEAD"
        if is_head:
            asked["method"] = HttpMethod.GET
        is_sent = False

        async def send_marked(message: Message) -> None:
            nonlocal is_sent
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in _HEADERS if one[0] not in said)]
                await send(message)
                if is_head:  # that was all, also of a stream, which ends when nobody reads it
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    is_sent = True
            elif not is_sent:
                await send(message)

        refusal = self._refusal(asked)
        if refusal is None:
            await self._app(asked, receive, send_marked)
        else:
            await _turn_away(send_marked, *refusal)

    def _refusal(self, scope: HTTPScope) -> tuple[HTTPStatus, ProblemCode, str] | None:
        """Why the application does not get to see a request; None if it does."""
        security, path = self._security, scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if security.is_local_only and not security.knows_host(headers.get("host", ""), ""):
            detail = (
                "this server answers requests for localhost, 127.0.0.1 or [::1] only; ask for it by one of these names"
            )
            return HTTPStatus.MISDIRECTED_REQUEST, ProblemCode.INVALID_REQUEST, detail
        if not (security.is_local_only or is_open(path)):
            detail = security.refuse_token(headers.get("authorization", ""))
            if detail:
                return HTTPStatus.UNAUTHORIZED, ProblemCode.FORBIDDEN, detail
        if "//" in path:
            # Litestar would take two slashes for one, and what comes after an empty name for the name.
            detail = "no name is empty, and a slash in one is %2F; /schema says what is served here"
            return HTTPStatus.NOT_FOUND, ProblemCode.NOT_FOUND, detail
        return None


async def _turn_away(send: Send, status: HTTPStatus, code: ProblemCode, detail: str) -> None:
    body = encode_problem(status, code, detail)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_same(origin: str, host: str) -> bool:
    """Whether a page of this origin was served under that Host; a proxy in between may have added TLS."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and parts.netloc.lower() == host.lower()
