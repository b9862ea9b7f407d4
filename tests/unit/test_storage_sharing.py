"""What a loaded store keeps once: registrations stay in memory by the hundred thousand, and most of each are values."""

from __future__ import annotations

from pathlib import Path

from tests.contract.records import active, batch, put, session, standby, tenure
from tests.contract.stores import open_and_load, opened


async def test_equal_values_are_one_object(tmp_path: Path) -> None:
    """Names of all records, and the numbers that one registration has several times or shares with the one before."""
    changes = [put(session(1)), put(active(1_002, "r", epoch=1_004)), put(standby(1_003, "r"))]
    changes.append(put(tenure(1_002, "r", ended=1_003)))
    async with opened(tmp_path) as store:
        await store.commit(batch(1, *changes, events=1_004))
    state = await open_and_load(tmp_path)
    promoted, waiting = state.registrations
    (ended,) = state.tenures
    assert promoted == active(1_002, "r", epoch=1_004)
    assert promoted.epoch is promoted.role_revision is promoted.revision
    assert waiting.registration_id is waiting.role_revision is waiting.revision
    assert promoted.since_ms is waiting.since_ms
    assert promoted.service_name is waiting.service_name is ended.service_name
    assert promoted.resource_id is waiting.resource_id is ended.resource_id
    assert promoted.instance_id is ended.instance_id
    assert promoted.metadata is waiting.metadata
