"""`tenure backup` and `tenure restore` as users run them: beside a broker and its clients, and in its place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tenure.sdk import EventListener, ServiceClient, Tenure
from tenure.sdk.stream import RestartReason, StreamRestarted
from tests.integration.serving import PATIENCE_S, endpoint_in, output_of, serving, tenure

LEASE_MS = 600


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a name short enough for sockets."""
    with TemporaryDirectory(prefix="tenure-") as name:
        yield Path(name)


def data_in(directory: Path) -> tuple[str, str]:
    """The arguments that name a test's data."""
    return "--data", str(directory / "data")


def names_in(directory: Path) -> list[str]:
    """What is in a directory."""
    return [path.name for path in directory.iterdir()]


class Work:
    """Work that goes on while its instance is active, and notes under which epochs."""

    def __init__(self) -> None:
        self.epochs: asyncio.Queue[int] = asyncio.Queue()
        self.active: list[int] = []
        """The epochs under which it works at the moment."""

    async def __call__(self, tenure: Tenure) -> None:
        """Work until the role is lost."""
        self.active.append(tenure.epoch)
        self.epochs.put_nowait(tenure.epoch)
        try:
            await asyncio.Event().wait()
        finally:
            self.active.remove(tenure.epoch)

    async def next_epoch(self) -> int:
        """Wait until it works again."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.epochs.get()


async def test_a_backup_beside_clients_that_claim(directory: Path) -> None:
    """While a client claims without a pause: nothing is refused, and what was granted before is in the copy."""
    quiet = ("--log-level", "error")  # nobody reads what it says, so that it must not say much
    async with serving(directory, *quiet), ServiceClient(endpoint_in(directory), lease_ms=60_000) as client:
        claimed: list[int] = []
        has_begun = asyncio.Event()

        async def claim() -> None:
            while True:
                registration = await client.register(
                    "gw", instance_id="a", resource_id=f"r{len(claimed)}", role="active"
                )
                claimed.append(registration.epoch)
                if len(claimed) == 100:
                    has_begun.set()

        claiming = asyncio.create_task(claim())
        await asyncio.wait_for(has_begun.wait(), PATIENCE_S)
        before, already = claimed[-1], len(claimed)
        code, out = await output_of("backup", str(directory / "copy"), *data_in(directory))
        during = len(claimed) - already
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
    assert (code, "found sound" in out) == (0, True), out
    assert during > 0
    revision = int(out.split("up to revision ")[1].split(" ")[0].rstrip(",").replace(",", ""))
    assert revision >= before
    elsewhere = ("--data", str(directory / "elsewhere"))
    assert (await output_of("restore", str(directory / "copy"), *elsewhere, "--quiet-ms", "0"))[0] == 0
    assert (await output_of("verify", *elsewhere))[0] == 0


async def test_a_restore_begins_a_new_history_for_everybody(directory: Path) -> None:
    """★ The holder steps down and is active anew under an epoch above all; a listener is told; old roles ran out."""
    work = Work()
    async with contextlib.AsyncExitStack() as clients:
        async with serving(directory):
            client = await clients.enter_async_context(ServiceClient(endpoint_in(directory), lease_ms=LEASE_MS))
            running = asyncio.create_task(client.run_as_active("gw", work, instance_id="a", resource_id="acct"))
            old = await work.next_epoch()
            code, out = await output_of("backup", str(directory / "copy"), *data_in(directory))
            assert code == 0, out
            listener = await clients.enter_async_context(EventListener(endpoint_in(directory)))
            history_id = listener.history_id
            code, out = await output_of("restore", str(directory / "copy"), *data_in(directory))
            assert (code, "is in use by a broker with pid" in out) == (78, True)
        before_ms = time.time_ns() // 1_000_000
        code, out = await output_of("restore", str(directory / "copy"), *data_in(directory))
        assert (code, f"first {LEASE_MS} ms" in out) == (0, True), out
        async with tenure(
            *("serve", *data_in(directory), "--no-admin", "--log-format", "json"),
            *("--bind", endpoint_in(directory), "--events-bind", f"ipc://{directory}/e"),
        ) as broker:
            assert f'"quiet_ms":{LEASE_MS}' in await broker.line("broker.waits")
            await broker.line("takes requests")
            assert old not in work.active
            new = await work.next_epoch()
            assert new > before_ms > old
            restarted = await next_restart(listener)
            assert (restarted.reason, restarted.last_history_id) == (RestartReason.OTHER_HISTORY, history_id)
            code, out = await output_of("events", "--json", environ={"TENURE_ENDPOINT": endpoint_in(directory)})
            assert (code, f'"epoch":{new}' in out) == (0, True), out
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await clients.aclose()
    assert (await output_of("verify", *data_in(directory)))[0] == 0


async def next_restart(listener: EventListener) -> StreamRestarted:
    """Wait until a listener is told that it has to begin anew."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in listener:
            if isinstance(event, StreamRestarted):
                return event
    raise AssertionError("the stream has ended")


async def test_a_plain_standby_takes_over_after_a_restore(directory: Path) -> None:
    """The tenure that ended with the old history left a vacancy, which it may fill."""
    async with serving(directory), ServiceClient(endpoint_in(directory), lease_ms=LEASE_MS) as client:
        await client.register("gw", instance_id="a", resource_id="acct", role="active")
        assert (await output_of("backup", str(directory / "copy"), *data_in(directory)))[0] == 0
    assert (await output_of("restore", str(directory / "copy"), *data_in(directory), "--quiet-ms", "0"))[0] == 0
    async with serving(directory), ServiceClient(endpoint_in(directory), lease_ms=60_000) as client:
        standby = await client.register("gw", instance_id="b", resource_id="acct", role="standby")
        async with asyncio.timeout(PATIENCE_S):
            await standby.wait_active()


async def test_a_broker_that_waits_can_be_ended(directory: Path) -> None:
    """SIGTERM ends it at once with 0, and the next start waits as well."""
    async with serving(directory):
        pass
    (directory / "copy").write_bytes((directory / "data" / "tenure.db").read_bytes())
    code, out = await output_of("restore", str(directory / "copy"), *data_in(directory), "--quiet-ms", "86400000")
    assert code == 0, out
    left: list[int] = []
    for _ in range(2):
        async with tenure("serve", *data_in(directory), "--no-admin", "--log-format", "json") as broker:
            line = await broker.line("broker.waits")
            left.append(int(line.split('"quiet_ms":')[1].split(",")[0]))
            broker.process.terminate()
            assert await broker.exit_code() == 0
    assert left[0] == 86_400_000
    assert 0 < left[1] <= left[0]


async def test_the_rehearsal_in_the_docs_proves_something(directory: Path) -> None:
    """★ As it stands there, but elsewhere: the backup's history, a role after it, and the history that it begins."""
    async with serving(directory), ServiceClient(endpoint_in(directory), lease_ms=LEASE_MS) as client:
        before = (await client.register("gw", instance_id="a", resource_id="acct", role="active")).epoch
        assert (await output_of("backup", str(directory / "copy"), *data_in(directory)))[0] == 0
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    found = re.search(r"\*\*Rehearse it\*\*.*?```sh\n(.*?)```", page, re.DOTALL)
    assert found is not None
    recipe = re.sub(r"/backup/\S+", str(directory / "copy"), found[1]).replace("/tmp/rehearsal", str(directory / "r"))  # noqa: S108
    code, out = await said_by_shell(recipe)
    assert code == 0, out
    states = re.findall(r"^(G[135])\s+(\w+)", out, re.MULTILINE)
    assert states == 2 * [("G1", "proven"), ("G3", "proven"), ("G5", "proven")], out
    epoch = re.search(r"^epoch (\d+)$", out, re.MULTILINE)
    assert epoch is not None, out
    assert int(epoch[1]) > before


async def said_by_shell(script: str) -> tuple[int | None, str]:
    """Run a shell script with this installation's `tenure` to its end, or end all that it has started."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-c", script),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, _ = await shell.communicate()
        return shell.returncode, out.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)


async def test_the_file_of_a_broker_that_runs_is_not_restored(directory: Path) -> None:
    """One line that says what to do instead, and nothing is made."""
    async with serving(directory):
        elsewhere = ("--data", str(directory / "elsewhere"))
        code, out = await output_of("restore", str(directory / "data" / "tenure.db"), *elsewhere, "--quiet-ms", "0")
    assert (code, len(out.splitlines())) == (78, 1)
    assert f"`tenure backup FILE --data {directory / 'data'}`" in out
    assert names_in(directory / "elsewhere") == ["tenure.lock"]


@pytest.mark.parametrize(("arguments", "says"), [
    (("backup", "copy"), "there is no store in"),
    (("restore", "copy"), "copy cannot be read: No such file"),
])  # fmt: skip
async def test_what_cannot_be_done_is_one_line_and_exit_code_78(
    directory: Path, arguments: tuple[str, str], says: str
) -> None:
    """No store, no backup: no traceback, and nothing is made."""
    command, name = arguments
    code, out = await output_of(command, str(directory / name), *data_in(directory))
    assert (code, len(out.splitlines())) == (78, 1)
    assert says in out
    assert names_in(directory) == []
