"""Every chaos scenario once; `make chaos` plays them again and again.

Several play at a time: most of each is waiting for leases to run out.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.scenarios import SCENARIOS, Outcome, play

pytestmark = pytest.mark.usefixtures("unmeasured")  # other tests reach what runs here
SEED = 1
AT_ONCE = 5
STORM_MS = 3_000


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """What came of the scenarios that were chosen."""
    chosen = {name for item in request.session.items for name in SCENARIOS if item.name.endswith(f"[{name}]")}
    return asyncio.run(play_all(chosen))


async def play_all(names: set[str]) -> dict[str, Outcome]:
    """Play scenarios, some at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def play_in_turn(name: str) -> Outcome:
        async with places:
            return await play(name, SEED, STORM_MS)

    in_order = [name for name in SCENARIOS if name in names]
    return dict(zip(in_order, await asyncio.gather(*map(play_in_turn, in_order)), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_promised_holds_on_real_processes(name: str, outcomes: dict[str, Outcome]) -> None:
    """★ Never two at once, epochs rise, one is at work in the end, nothing acknowledged is lost, the file is whole."""
    outcome = outcomes[name]
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.faults == [], f"again with: python -m tests.chaos --only {name} --rounds 1 --seed {SEED}"
