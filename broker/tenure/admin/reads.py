"""The routes that read: pages of instances and resources, what is known of one, and whether this server is well."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, cast

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotFoundException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream
from msgspec import Struct, structs

from tenure.admin import sse
from tenure.admin.description import STREAMED, decoded, refusals
from tenure.admin.filters import Wanted, wanted_from
from tenure.admin.follower import Source
from tenure.admin.pages import instance_page, resource_answer, resource_page, role_page, service_summary, tenure_page
from tenure.admin.problems import BrokerAwayError
from tenure.admin.questions import Answer
from tenure.admin.views import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    InstancePage,
    Page,
    ResourceAnswer,
    ResourcePage,
    RolePage,
    ServiceSummary,
    TenurePage,
)
from tenure.contract.errors import NotFoundError, RequestRefusedError, TenureError
from tenure.contract.messages import Resource as FoundResource

AnyRequest = Request[Any, Any, Any]
Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="At most so many.")]
Stale = Annotated[
    bool,
    QueryParameter(description="If the broker is away, answer with what was known last (`connected` is false then)."),
]
ServiceName = Annotated[str, PathParameter(description="Percent-encoded, also a slash.")]
ResourceId = Annotated[str, PathParameter(description="Percent-encoded, also a slash.")]

_WRONG: Final = (HTTPStatus.UNPROCESSABLE_CONTENT, HTTPStatus.SERVICE_UNAVAILABLE)
_HISTORIES_REMEMBERED: Final = 50  # pages, of a thousand tenures at most: for whoever takes a stale one
_ROWS: Final = (
    "Rows of all resources for a page that shows them live: `snapshot` messages with up to 500 `rows` each, `live` "
    "when that is all, then `rows` of what changed and `gone` with `resource_ids`; `away` and `back` when the broker "
    "goes and comes. Another `snapshot` begins anew. It takes no parameters."
)


class Health(Struct, frozen=True, kw_only=True):
    """This server is well."""

    status: Literal["live", "ready"]


def read_routes(source: Source) -> list[HTTPRouteHandler]:
    """The routes that answer from `source`."""
    return [*_service_routes(source), *_resource_routes(source), _history_route(source), *_health_routes(source)]


def answer_page[P: Page](page: P) -> Response[P]:
    """A page as an answer, which says in its headers too how current it is."""
    headers = {"tenure-connected": str(page.connected).lower(), "tenure-as-of-ms": str(page.as_of_ms)}
    return Response(page, headers=headers)


def streamed[P: Page](stream: Stream) -> Response[P]:
    """A stream in the place of a page: for the description, which has one type for each route, the page is it."""
    return cast("Response[P]", stream)


def _service_routes(source: Source) -> list[HTTPRouteHandler]:
    @get(
        "/services",
        summary="Every instance, oldest registration first",
        operation_id="list_services",
        responses=refusals(*_WRONG),
        dependencies={"wanted": Provide(wanted_from, sync_to_thread=False)},
    )
    async def list_services(
        wanted: NamedDependency[Wanted],
        limit: Limit = LIMIT_DEFAULT,
        after: Annotated[int, QueryParameter(ge=0, description="Only registrations with a greater id.")] = 0,
        stale: Stale = False,
    ) -> Response[InstancePage]:
        return answer_page(instance_page(await source.picture(allow_stale=stale), wanted, after, limit))

    @get(
        "/services/{service_name:str}",
        summary="A service in numbers",
        operation_id="get_service",
        responses=refusals(HTTPStatus.NOT_FOUND, *_WRONG),
    )
    async def get_service(service_name: ServiceName, stale: Stale = False) -> Response[ServiceSummary]:
        name = decoded(service_name, "service_name")
        page = await service_summary(await source.picture(allow_stale=stale), name)
        return answer_page(_found(page, name))

    @get(
        "/services/{service_name:str}/roles",
        summary="A service's resources by id: who is active, and who stands by in which order",
        operation_id="list_roles",
        responses=refusals(HTTPStatus.NOT_FOUND, *_WRONG),
    )
    async def list_roles(
        service_name: ServiceName,
        limit: Limit = LIMIT_DEFAULT,
        after: Annotated[str, QueryParameter(description="Only resources whose id comes later.")] = "",
        stale: Stale = False,
    ) -> Response[RolePage]:
        name = decoded(service_name, "service_name")
        page = role_page(await source.picture(allow_stale=stale), name, after, limit)
        return answer_page(_found(page, name))

    return [list_services, get_service, list_roles]


def _resource_routes(source: Source) -> list[HTTPRouteHandler]:
    @get(
        "/resources",
        summary="Every resource by id: who is active, and who stands by in which order",
        operation_id="list_resources",
        responses=refusals(*_WRONG),
        dependencies={"wanted": Provide(wanted_from, sync_to_thread=False)},
        opt={STREAMED: _ROWS},
    )
    async def list_resources(
        request: AnyRequest,
        wanted: NamedDependency[Wanted],
        vacant: Annotated[bool | None, QueryParameter(description="Whether nobody is active for it.")] = None,
        limit: Limit = LIMIT_DEFAULT,
        after: Annotated[str, QueryParameter(description="Only resources whose id comes later.")] = "",
        stale: Stale = False,
    ) -> Response[ResourcePage]:
        if sse.is_wanted(request.headers.get("accept", "")):
            if request.query_params:
                raise ValidationException(
                    "the live rows are those of all resources: a stream of them takes no parameters"
                )
            return streamed(source.streams.respond(source.table.follow(source.streams)))
        picture = await source.picture(allow_stale=stale)
        return answer_page(resource_page(picture, wanted, after, limit, vacant=vacant))

    @get(
        "/resources/{resource_id:str}",
        summary="All that is known of a resource",
        operation_id="get_resource",
        responses=refusals(HTTPStatus.NOT_FOUND, *_WRONG),
    )
    async def get_resource(resource_id: ResourceId, stale: Stale = False) -> Response[ResourceAnswer]:
        return answer_page(await _resource(source, decoded(resource_id, "resource_id"), allow_stale=stale))

    return [list_resources, get_resource]


def _history_route(source: Source) -> HTTPRouteHandler:
    remembered: dict[tuple[str, int, int], TenurePage] = {}

    @get(
        "/resources/{resource_id:str}/history",
        summary="Who was active for a resource from when to when, the newest first",
        operation_id="list_tenures",
        responses=refusals(HTTPStatus.NOT_FOUND, *_WRONG),
    )
    async def list_tenures(
        resource_id: ResourceId,
        before: Annotated[
            int,
            QueryParameter(ge=0, le=2**63 - 1, description="Only tenures with a lower epoch; 0: from the newest on."),
        ] = 0,
        limit: Limit = LIMIT_DEFAULT,
        stale: Stale = False,
    ) -> Response[TenurePage]:
        name = decoded(resource_id, "resource_id")
        asked = (name, before, limit)
        try:
            page = await _tenures(source, name, before, limit)
        except RequestRefusedError:
            raise
        except (BrokerAwayError, TenureError):
            if asked not in remembered:  # there is nothing stale either
                raise BrokerAwayError(source.heard_ms) from None
            if not stale:
                raise
            return answer_page(structs.replace(remembered[asked], connected=False))
        remembered.pop(asked, None)  # to the end of the order, where the newest are
        remembered[asked] = page
        if len(remembered) > _HISTORIES_REMEMBERED:
            del remembered[next(iter(remembered))]
        return answer_page(page)

    return list_tenures


def _health_routes(source: Source) -> list[HTTPRouteHandler]:
    @get(
        "/health/live",
        summary="Whether this server serves",
        operation_id="get_live",
        responses=refusals(HTTPStatus.UNPROCESSABLE_CONTENT, is_open=True),
    )
    async def get_live() -> Health:
        return Health(status="live")

    @get(
        "/health/ready",
        summary="Whether it hears the broker and knows the registry",
        operation_id="get_ready",
        responses=refusals(HTTPStatus.UNPROCESSABLE_CONTENT, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def get_ready() -> Health:
        if not source.is_ready:
            raise BrokerAwayError(source.heard_ms)
        return Health(status="ready")

    return [get_live, get_ready]


async def _resource(source: Source, resource_id: str, *, allow_stale: bool) -> ResourceAnswer:
    """What the broker says of a resource, or what was known last if it is away.

    Raises:
        NotFoundError: Nobody is registered for it.
        BrokerAwayError: The broker is away, and stale answers are not wanted or there is nothing to show.
    """
    tenures = source.ring.tenures_of(resource_id)
    try:
        answer, is_connected = await source.resource(resource_id), True
    except (BrokerAwayError, TenureError) as error:
        is_lost = isinstance(error, NotFoundError) and resource_id in source.table.lost.tenures
        if isinstance(error, RequestRefusedError) and not is_lost:
            raise
        picture = await source.picture(allow_stale=allow_stale)
        view = picture.resource(resource_id)
        if view is None:
            raise NotFoundError(f"nobody is registered for {resource_id!r}") from None
        found = FoundResource(revision=picture.replica.revision, resource=view)
        answer, is_connected = Answer(found=found, as_of_ms=picture.as_of_ms), picture.is_connected
    lost = source.table.lost.tenures.get(resource_id)
    return resource_answer(source.ring.history_id, answer, tenures, lost, is_connected=is_connected)


async def _tenures(source: Source, resource_id: str, before: int, limit: int) -> TenurePage:
    """Tenures of a resource from the broker's store.

    Raises:
        NotFoundError: There are none, and nobody is registered for it either.
        BrokerAwayError: The broker is away.
        TenureError: It refused, or could not be asked.
    """
    picture = await source.picture(allow_stale=False)
    found = await source.events.tenures(resource_id, before, limit)
    if not (found.tenures or before or resource_id in picture.replica.resource_ids):
        raise NotFoundError(f"nobody is registered for {resource_id!r}, and none of its tenures are kept")
    return tenure_page(found, resource_id, picture.replica.revision, picture.as_of_ms)


def _found[T](page: T | None, service_name: str) -> T:
    if page is None:
        raise NotFoundException(f"service {service_name!r} has no registered instance")
    return page
