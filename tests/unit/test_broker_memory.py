"""What a broker's core leaves behind goes by reference counts, so that the collector need not look at the registry."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tenure.contract.messages import Deregister, Heartbeat, ListServices, Resign
from tests.unit.core_stage import GOODBYE, LEASE_MS, CoreStage, claim_of, standby_of


@pytest.fixture
def collector() -> Iterator[None]:
    """A collector that has nothing to do yet and does nothing by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def scenes(stage: CoreStage) -> None:
    """Sessions come, claim, are refused, resign, leave, expire and say nonsense."""
    for number in range(20):
        for name in ("a", "b", "c"):
            stage.open(f"{name}{number}")
        active = stage.claim(f"a{number}", f"r{number}")
        stage.says(f"b{number}/requests", standby_of(f"b{number}", f"r{number}"))
        stage.says(f"c{number}/requests", claim_of(f"c{number}", f"r{number}"))
        stage.says(f"c{number}/requests", ListServices())
        stage.frames(f"c{number}/requests", b"id", b"not a message")
        stage.says(f"a{number}/requests", Resign(registration_id=active.registration_id, epoch=active.epoch))
        stage.says(f"a{number}/requests", Deregister(registration_id=active.registration_id, epoch=0))
        stage.says(f"b{number}/control", Heartbeat(sequence=2))
        stage.says(f"a{number}/control", GOODBYE)
        stage.commit()
    stage.now_ms += 2 * LEASE_MS
    stage.core.tick(stage.now)
    stage.commit()


@pytest.mark.usefixtures("collector")
def test_what_a_core_leaves_behind_has_no_cycles() -> None:
    """Whatever clients do, decided, refused or expired: the collector finds nothing afterwards."""
    stage = CoreStage()
    scenes(stage)
    assert not stage.core.registry.state.sessions
    assert gc.collect() == 0
