"""A request channel while nobody is there: it waits, and costs next to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from tenure.contract.errors import BrokerUnavailableError, ClientClosedError
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import Hello, ListServices
from tenure.sdk.channel import RequestChannel
from tenure.sdk.requests import TICK_MS
from tenure.sdk.sockets import Context

WAIT_MS = 400


async def test_what_cannot_be_sent_is_offered_with_each_tick_and_no_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """★ Without a connection nothing can leave: to try again at once would keep a core busy while the broker starts."""
    tries = 0

    def refuse(*_: object) -> bool:
        nonlocal tries
        tries += 1
        return False

    monkeypatch.setattr("tenure.sdk.channel.try_send", refuse)
    context: Context = zmq.Context()
    channel = RequestChannel(context, (f"ipc://{tmp_path}/nobody",), lambda: Hello(version=PROTOCOL_VERSION))
    try:
        with pytest.raises(BrokerUnavailableError):
            await channel.request(ListServices(), WAIT_MS)
    finally:
        channel.close(ClientClosedError("the test is over"))
        context.term()

    assert 0 < tries <= 2 * WAIT_MS / TICK_MS
