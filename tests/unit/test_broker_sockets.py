"""The broker's sockets by themselves."""

from __future__ import annotations

import re

import pytest
import zmq

from tenure.broker.sockets import Publisher, Requests


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_endpoint_is_named_as_clients_write_it(host: str) -> None:
    """A wildcard port is resolved, and an IPv4 address stays one although IPv6 may be used."""
    with zmq.Context() as context:
        requests, publisher = Requests(context, 0, 1_024, 10, vouches=False), Publisher(context)
        try:
            requests.bind(f"tcp://{host}:*")
            publisher.bind(f"tcp://{host}:*")
            for (endpoint,) in (requests.endpoints, publisher.endpoints):
                assert re.fullmatch(re.escape(f"tcp://{host}:") + "[1-9][0-9]*", endpoint)
        finally:
            requests.close(0)
            publisher.close(0)
