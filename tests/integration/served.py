"""`tenure serve` as a process of its own for tests that block, such as those of Hypothesis, and a proof of its health.

Its limits come from the environment. A broker that has ended or hangs fails the test that looks.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from tenure.contract.messages import GetResource, Heartbeat, HeartbeatAck, Register, Registered, Resource
from tenure.contract.vocabulary import ServiceRole
from tests.integration.raw_client import RawClient

# Both at once: a limit that only lowers what the process may raise again would be none.
_SERVE = """
import resource, runpy, sys
descriptors = int(sys.argv[1])
if descriptors:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
sys.argv[:] = ["tenure", *sys.argv[2:]]
runpy.run_module("tenure.cli", run_name="__main__")
"""


class Served:
    """One broker, and where it is reached."""

    def __init__(self, process: subprocess.Popen[str], directory: Path, tcp: str) -> None:
        self.process = process
        self.ipc = f"ipc://{directory}/b"
        self.tcp = tcp
        self.events = f"ipc://{directory}/e"
        self.directory = directory

    @property
    def endpoints(self) -> tuple[str, str]:
        """Both transports."""
        return self.ipc, self.tcp

    def check_health(self) -> None:
        """Show that it serves a client who behaves, from hello to an active role, over both transports."""
        for endpoint in self.endpoints:
            with RawClient(endpoint) as client:
                client.hello()
                check_heartbeat(client, 1)
                name = secrets.token_hex(8)
                claim = Register(service_name="health", instance_id=name, resource_id=name, role=ServiceRole.ACTIVE)
                registered = client.ask(claim)
                assert isinstance(registered, Registered), registered
                found = client.ask(GetResource(resource_id=name))
                assert isinstance(found, Resource), found
                assert found.resource.active is not None
                assert found.resource.active.epoch == registered.epoch
        assert self.process.poll() is None


def check_heartbeat(client: RawClient, sequence: int) -> None:
    """Show that a client's heartbeat is answered."""
    answer = client.ask(Heartbeat(sequence=sequence))
    assert isinstance(answer, HeartbeatAck), answer
    assert answer.sequence == sequence


@contextlib.contextmanager
def served(*, descriptors: int = 0, **limits: int) -> Generator[Served]:
    """A broker whose file limit and other limits are these; at the end it still has to be there."""
    environ = {**os.environ, **{f"TENURE_LIMITS_{name.upper()}": str(value) for name, value in limits.items()}}
    with tempfile.TemporaryDirectory(prefix="tenure-") as name, (Path(name) / "log").open("wb") as log:
        arguments = ["serve", "--data", f"{name}/data", "--no-admin", "--log-level", "error"]
        arguments += ["--bind", f"ipc://{name}/b", "--bind", "tcp://127.0.0.1:*", "--events-bind", f"ipc://{name}/e"]
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(descriptors), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environ,
        )
        with process:
            try:
                assert process.stdout is not None
                words = process.stdout.readline().split()
                assert words, (Path(name) / "log").read_text()
                yield Served(process, Path(name), words[-1])
                assert process.poll() is None, (Path(name) / "log").read_text()
            finally:
                process.terminate()
