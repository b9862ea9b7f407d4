"""What the admin says of itself holds against a live broker, whatever is sent: schemathesis asks every route.

It makes requests from the description, right ones and wrong ones, and looks whether each answer is one of those that
are described, with the members that are described, never a defect, and whether what is wrong is refused.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

from tenure.admin.token import read_token
from tenure.sdk import ServiceClient
from tests.integration.admins import admin_of
from tests.integration.brokers import LONG_LEASE_MS, BrokerHere

_EXAMPLES: Final = 25  # requests of each kind for each route: some seconds
_LEFT_OUT: Final = "positive_data_acceptance,allow_header_conformance"
"""What a description cannot say (which names and revisions there are), and Litestar's own answers to OPTIONS."""


@pytest.mark.slow
async def test_every_route_answers_as_it_is_described(broker: BrokerHere, tmp_path: Path) -> None:
    """Reads and changes, with the token: the same requests every time."""
    async with (
        admin_of(broker.ipc, tmp_path) as browser,
        ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client,
    ):
        for resource in ("account-42", "0", "a/b"):
            await client.register("order-gateway", instance_id="gw-1", resource_id=resource, role="active")
            await client.register("order-gateway", instance_id="gw-2", resource_id=resource)
        run = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            str(browser.base_url.join("/schema/openapi.json")),
            *("--header", f"Authorization: Bearer {read_token(tmp_path)}"),
            *("--exclude-checks", _LEFT_OUT, "--phases", "examples,coverage,fuzzing", "--mode", "all"),
            *("--max-examples", str(_EXAMPLES), "--generation-deterministic"),
            *("--request-timeout", "20", "--no-color", "--suppress-health-check", "all"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        told, _ = await run.communicate()
    assert run.returncode == 0, told.decode()
