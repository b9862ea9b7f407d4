"""Many processes, one resource, one moment."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tenure.sdk import queries
from tenure.sdk.reader import Reader
from tests.integration.brokers import PATIENCE_S
from tests.integration.serving import endpoint_in, serving

RACERS = 200


@pytest.mark.slow
async def test_of_200_processes_that_claim_one_resource_exactly_one_wins(socket_directory: Path) -> None:
    """★ 200 processes race for one resource: one is active, 199 get `role_conflict` with its name and epoch."""
    endpoint = endpoint_in(socket_directory)
    async with serving(socket_directory), racers(endpoint, RACERS) as process:
        assert process.stdin is not None
        assert [await line_of(process) for _ in range(RACERS)] == [["ready"]] * RACERS
        process.stdin.write(b"go\n")
        said = [await line_of(process) for _ in range(RACERS)]
        async with Reader(endpoint) as reader:
            view = await queries.resource(reader, "prize")
    winners = [words for words in said if words[0] == "active"]
    assert len(winners) == 1, said
    _, winner, epoch = winners[0]
    assert Counter(map(tuple, said)) == {("active", winner, epoch): 1, ("role_conflict", winner, epoch): RACERS - 1}
    assert view.active is not None
    assert (view.active.instance_id, view.active.epoch) == (winner, int(epoch))
    assert view.standby_count == 0


@asynccontextmanager
async def racers(endpoint: str, count: int) -> AsyncGenerator[asyncio.subprocess.Process]:
    """So many processes; they end with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.racers", endpoint, str(count), "prize"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        await asyncio.wait_for(process.communicate(), PATIENCE_S)


async def line_of(process: asyncio.subprocess.Process) -> list[str]:
    """The words of its next line."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return (await process.stdout.readline()).decode().split()
