"""A client writes down when it believed to be active, as its core believes it, and nothing without being told to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tenure.contract.intervals import AnyIntervalRecord, EnteredRecord, ExtendedRecord, LeftRecord, SessionRecord
from tenure.sdk import ServiceClient
from tenure.sdk.intervals import IntervalLogUnwritableError, interval_logs, read_interval_log
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere, until
from tests.integration.serving import output_of


def records_in(directory: Path) -> list[AnyIntervalRecord]:
    """What the one session of a directory has written so far."""
    (path,) = interval_logs(directory)
    return list(read_interval_log(path))


async def test_what_a_session_believes_is_written_down(broker: BrokerHere, tmp_path: Path) -> None:
    """★ Entered when the application could see it, extended with each answer, left at once when it resigns."""
    directory = tmp_path / "log"
    async with ServiceClient(broker.ipc, lease_ms=1_000, interval_log=directory) as client:
        held = await client.register("gw", instance_id="a", resource_id="acct", role="active")
        epoch = held.ensure_active()
        session, entered, *_ = records_in(directory)
        assert isinstance(session, SessionRecord)
        assert session.history_id
        assert session.lease_ms == 1_000
        assert isinstance(entered, EnteredRecord)
        assert (entered.epoch, entered.until_ms > entered.at_ms) == (epoch, True)
        await until(lambda: held.standing.valid_until.boottime_ms > entered.until_ms, "it is extended")
        standing = held.standing
        extensions = [one.until_ms for one in records_in(directory) if isinstance(one, ExtendedRecord)]
        assert standing.valid_until.boottime_ms in extensions  # written before it could be seen

        await held.resign()

        left = [one for one in records_in(directory) if isinstance(one, LeftRecord)]
        assert [(one.epoch, one.why) for one in left] == [(epoch, "it resigned")]


async def test_the_environment_can_name_the_directory(
    broker: BrokerHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program need not be changed for it; whoever never holds a role writes nothing."""
    monkeypatch.setenv("TENURE_INTERVAL_LOG", str(tmp_path / "log"))
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as first:
        async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as second:
            await first.register("gw", instance_id="a", resource_id="acct", role="active")
            standby = await second.register("gw", instance_id="b", resource_id="acct")
            assert not standby.is_active
            assert len(records_in(tmp_path / "log")) >= 2
        assert len(list((tmp_path / "log").iterdir())) == 1


@pytest.mark.parametrize("place", ["/proc/tenure", "{file}", "{file}/below"])
async def test_a_place_that_cannot_be_written_to_is_refused_when_the_client_is_opened(
    tmp_path: Path, place: str
) -> None:
    """At once, without looking for a broker: whoever wants to verify learns it now, not after the first tenure."""
    (tmp_path / "file").touch()
    directory = place.format(file=tmp_path / "file")
    client = ServiceClient("ipc:///nowhere/b", interval_log=directory)
    with pytest.raises(IntervalLogUnwritableError, match=f"no interval log can be written into {directory}: "):
        await client.open()
    await client.close()


async def test_tenure_run_says_at_once_that_its_log_cannot_be_written(tmp_path: Path) -> None:
    """One line, and the exit code of a wrong configuration."""
    (tmp_path / "file").touch()
    environ = {"TENURE_ENDPOINT": "ipc:///nowhere/b", "TENURE_INTERVAL_LOG": str(tmp_path / "file")}
    code, out = await output_of("run", "--service", "gw", "--", "true", environ=environ)
    assert (code, len(out.splitlines())) == (78, 1), out
    assert f"no interval log can be written into {tmp_path / 'file'}" in out


async def test_a_log_that_fails_later_costs_no_role(broker: BrokerHere, tmp_path: Path) -> None:
    """Its directory is a file by then: it is said, and the role is held all the same, also under a new session."""
    place = tmp_path / "log"
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS, interval_log=place) as client:
        assert os.listdir(place) == []
        place.rmdir()
        place.touch()
        held = await client.register("gw", instance_id="a", resource_id="acct", role="active")
        assert (await asyncio.wait_for(held.wait_active(), PATIENCE_S)).is_active
        await client.close()
        await client.open()
        held = await client.register("gw", instance_id="a", resource_id="acct", role="active")
        assert (await asyncio.wait_for(held.wait_active(), PATIENCE_S)).is_active
