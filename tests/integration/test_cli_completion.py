"""What shells are offered to complete: names from the live broker, and without one nothing, in silence."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenure.sdk import ServiceClient
from tests.integration.live import LEASE_MS, LiveBroker, live_broker
from tests.integration.serving import PATIENCE_S

BASH = """
set -eu
eval "$(tenure --show-completion)"
COMP_WORDS=(tenure {words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_tenure_completion tenure
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
async def broker(socket_directory: Path) -> AsyncIterator[LiveBroker]:
    """A broker in this process."""
    async with live_broker(socket_directory) as live:
        yield live


async def said(*command: str, environ: dict[str, str]) -> tuple[int, str, str]:
    """A command's exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environ},
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def offered(endpoint: str, *words: str) -> list[str]:
    """What is offered for the last word, to a shell that takes it line by line."""
    asked = {
        "TENURE_ENDPOINT": endpoint,
        "_TENURE_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(["tenure", *words]),
        "COMP_CWORD": str(len(words)),
    }
    code, out, err = await said("tenure", environ=asked)
    assert (code, err) == (0, ""), err
    return out.split()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("explain", ""), ["account-1", "account-2", "plan/b:7"]),
        (("explain", "account-"), ["account-1", "account-2"]),
        (("switchover", "pl"), ["plan/b:7"]),
        (("switchover", "account-1", "--to", ""), ["gw-1", "gw-2"]),
        (("switchover", "account-2", "--to", ""), ["gw-1"]),
        (("resign", "nothing-like-this"), []),
        (("expire", "gw-"), ["gw-1", "gw-2"]),
        (("expire", "gw-1", "--resource", "plan"), ["plan/b:7"]),
        (("expire", "gw-1", "--service", ""), ["gateway"]),
        (("status", ""), ["gateway"]),
        (("events", "--resource", "account-2"), ["account-2"]),
        (("run", "--service", "g"), ["gateway"]),
        (("run", "--service", "gateway", "--resource", "plan"), ["plan/b:7"]),
    ],
)
async def test_names_come_from_the_live_broker(broker: LiveBroker, words: tuple[str, ...], names: list[str]) -> None:
    """Resources, services and instances; an instance is one of the resource that the line names before."""
    async with ServiceClient(broker.endpoint, lease_ms=LEASE_MS) as client:
        for resource_id in ("account-1", "account-2", "plan/b:7"):
            await client.register("gateway", instance_id="gw-1", resource_id=resource_id, role="active")
        async with ServiceClient(broker.endpoint, lease_ms=LEASE_MS) as other:
            await other.register("gateway", instance_id="gw-2", resource_id="account-1", role="standby")
            assert await offered(broker.endpoint, *words) == names


async def test_a_name_that_a_shell_would_evaluate_is_never_offered(broker: LiveBroker) -> None:
    """Anybody may register under any name, and some shells put what is offered into their own commands."""
    async with ServiceClient(broker.endpoint, lease_ms=LEASE_MS) as client:
        for resource_id in ("r-$(touch x)", "r-`id`", "r-'", 'r-"', "r-a b", "r-*", "r-\\$(id)", "r-;id", "r-good"):
            await client.register("gateway", instance_id="gw-1", resource_id=resource_id, role="active")
        assert await offered(broker.endpoint, "explain", "r-") == ["r-good"]


async def test_without_a_broker_nothing_is_offered_and_nothing_is_said(socket_directory: Path) -> None:
    """Whoever presses tab wants no error; commands and options are completed all the same."""
    nowhere = f"ipc://{socket_directory}/b"
    assert await offered(nowhere, "explain", "") == []
    assert await offered("no endpoint at all", "explain", "") == []
    assert await offered(nowhere, "sw") == ["switchover"]
    assert await offered(nowhere, "switchover", "r", "--dr") == ["--drain-ms"]


async def test_an_endpoint_on_the_line_is_the_one_that_is_asked(broker: LiveBroker) -> None:
    """Also if the environment names another one."""
    async with ServiceClient(broker.endpoint, lease_ms=LEASE_MS) as client:
        await client.register("gateway", instance_id="gw-1", resource_id="acct", role="active")
        words = ("explain", "--endpoint", broker.endpoint, "a")
        assert await offered(f"{broker.endpoint}-not", *words) == ["acct"]


async def test_bash_completes_with_what_the_command_shows_it(broker: LiveBroker) -> None:
    """A real bash takes the script that `--show-completion` prints, and gets the names."""
    async with ServiceClient(broker.endpoint, lease_ms=LEASE_MS) as client:
        for resource_id in ("account-1", "account-2", "other"):
            await client.register("gateway", instance_id="gw-1", resource_id=resource_id, role="active")
        script = BASH.format(words="explain acc")
        code, out, err = await said("bash", "-c", script, environ={"TENURE_ENDPOINT": broker.endpoint})
    assert (code, out.split(), err) == (0, ["account-1", "account-2"], "")


@pytest.mark.parametrize(("shell", "told"), [("zsh", '"acct"'), ("fish", "acct")])
async def test_zsh_and_fish_are_told_in_their_own_way(broker: LiveBroker, shell: str, told: str) -> None:
    """What their scripts ask is answered in the form that each of them takes."""
    async with ServiceClient(broker.endpoint, lease_ms=LEASE_MS) as client:
        await client.register("gateway", instance_id="gw-1", resource_id="acct", role="active")
        asked = {
            "TENURE_ENDPOINT": broker.endpoint,
            "_TENURE_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": "tenure explain a",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        code, out, err = await said("tenure", environ=asked)
    assert (code, told in out, err) == (0, True, ""), (out, err)
