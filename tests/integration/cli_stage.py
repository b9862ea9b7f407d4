"""A broker, instances that a test holds, and the commands that it runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

from tenure.contract.messages import Heartbeat, HeartbeatAck, Register, Registered
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.sdk import ResourceView, ServiceClient, ServiceInstance, Tenure, queries
from tenure.sdk.reader import Reader
from tests.integration.raw_client import RawClient
from tests.integration.serving import PATIENCE_S, output_of

LEASE_MS = 60_000
"""No stall of the machine outlasts it."""
SHORT_LEASE_MS = 400


HOLD_MS = 600_000


class Stage:
    """A broker with instances of a service that work for `acct`, and commands against it."""

    def __init__(self, endpoint: str, reader: Reader) -> None:
        self.endpoint = endpoint
        self.environ = {"TENURE_ENDPOINT": endpoint}
        self.reader = reader
        self.may_stop = asyncio.Event()
        """Until it is set, work that is asked to end goes on for as long as it may."""
        self.may_stop.set()

    async def run(self, *arguments: str) -> tuple[int, str]:
        """A command's exit code and all that it said."""
        return await output_of(*arguments, environ=self.environ)

    async def view(self) -> ResourceView:
        """The resource as it is."""
        return await queries.resource(self.reader, "acct")

    async def until(self, is_so: Callable[[ResourceView], bool]) -> ResourceView:
        """Wait until the resource is so."""

        async def look() -> ResourceView | None:
            view = await self.view()
            return view if is_so(view) else None

        return await until_found(look)

    @contextlib.asynccontextmanager
    async def instances(self, *names: str, service: str = "gw") -> AsyncGenerator[None]:
        """Instances that run and stand by, each behind those named before it."""

        async def work(tenure: Tenure) -> None:
            await tenure.wait_asked_to_end()
            await self.may_stop.wait()

        async with contextlib.AsyncExitStack() as stack:
            for name in names:
                client = await stack.enter_async_context(ServiceClient(self.endpoint, lease_ms=LEASE_MS))
                running = asyncio.create_task(
                    client.run_as_active(service, work, instance_id=name, resource_id="acct", stop_budget_ms=1)
                )
                stack.push_async_callback(_end, running)
                await until_found(partial(self._found, name))
            yield

    async def _found(self, name: str) -> ServiceInstance | None:
        found = await queries.services(self.reader, None, "acct")
        return next((one for one in found if one.instance_id == name), None)


async def until_found[T](look: Callable[[], Awaitable[T | None]]) -> T:
    """Look until there is something."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := await look()) is None:
            pass
        return found


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Silent:
    """An instance that was heard once, holds its role for long, and is silent from then on."""

    def __init__(self, endpoint: str, name: str, *, service: str = "gw", resource_id: str = "acct") -> None:
        self.client = RawClient(endpoint)
        self.session = self.client.hello(lease_ms=SHORT_LEASE_MS).session
        assert isinstance(self.client.ask(Heartbeat(sequence=1, status=ServiceStatus.HEALTHY)), HeartbeatAck)
        registered = self.client.ask(
            Register(
                service_name=service,
                instance_id=name,
                resource_id=resource_id,
                role=ServiceRole.ACTIVE,
                hold_limit_ms=HOLD_MS,
            )
        )
        assert isinstance(registered, Registered), registered
        self.epoch = registered.epoch
