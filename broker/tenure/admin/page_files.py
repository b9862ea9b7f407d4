"""The page at `/` and the files it is made of, served from the package: no build step, and nothing from elsewhere.

The policy that goes with each lets the page load from this server and ask this server alone, so that no name that
somebody registers can make it run or send anything.
"""

from __future__ import annotations

from hashlib import sha256
from http import HTTPStatus
from importlib.resources import files
from typing import Annotated, Any, Final

from litestar import MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import PathParameter
from msgspec import Struct

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_INDEX: Final = "index.html"


class _File(Struct, frozen=True, kw_only=True):
    body: bytes
    media_type: str
    tag: str
    """Its ETag: what a browser has is asked about, never trusted, so that an upgrade is seen at once."""


def _load() -> dict[str, _File]:
    found: dict[str, _File] = {}
    for file in (files("tenure.admin") / "page").iterdir():
        body = file.read_bytes()
        kind = _TYPES[file.name.rpartition(".")[2]]
        tag = f'"{sha256(body).hexdigest()[:16]}"'
        found[file.name] = _File(body=body, media_type=kind, tag=tag)
    return found


_FILES: Final = _load()


@get("/", include_in_schema=False, media_type=MediaType.HTML)
async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page."""
    return _answer(request, _FILES[_INDEX])


@get("/page/{name:str}", include_in_schema=False)
async def page_file(
    request: Request[Any, Any, Any], name: Annotated[str, PathParameter(description="A file of the page.")]
) -> Response[bytes]:
    """A file that the page is made of."""
    file = _FILES.get(name)
    if file is None:
        raise NotFoundException("the page has no such file")
    return _answer(request, file)


def _answer(request: Request[Any, Any, Any], file: _File) -> Response[bytes]:
    headers = {
        "etag": file.tag,
        "cache-control": "no-cache",
        "content-security-policy": _POLICY,
        "referrer-policy": "no-referrer",
    }
    if request.headers.get("if-none-match") == file.tag:
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)
