"""Processes that claim one resource at the same moment: `python -m tests.integration.racers ENDPOINT COUNT RESOURCE`.

They are forked from one process that has imported everything, so that hundreds of them start in a moment. Each says
`ready` once the broker has heard its heartbeat; a line on standard input starts the race; each says what came of its
claim and stays, so that nobody's exit makes room; the end of standard input lets them go.
"""

from __future__ import annotations

import os
import sys

from tenure.contract.messages import ErrorReply, Heartbeat, HeartbeatAck, Register, Registered
from tenure.contract.vocabulary import ServiceRole
from tests.integration.raw_client import RawClient


def race(endpoint: str, resource_id: str, gun: int, finish: int) -> None:
    """What each process does; `gun` and `finish` are pipes that end when it is time."""
    me = f"racer-{os.getpid()}"
    with RawClient(endpoint) as client:
        client.hello()
        answer = client.ask(Heartbeat(sequence=1))
        assert isinstance(answer, HeartbeatAck), answer
        say("ready")
        os.read(gun, 1)
        claim = Register(service_name="race", instance_id=me, resource_id=resource_id, role=ServiceRole.ACTIVE)
        answer = client.ask(claim)
        if isinstance(answer, Registered):
            say(f"{answer.role} {me} {answer.epoch}")
        else:
            assert isinstance(answer, ErrorReply), answer
            holder = answer.error.holder
            assert holder is not None, answer
            say(f"{answer.error.code} {holder.instance_id} {holder.epoch}")
        os.read(finish, 1)


def say(line: str) -> None:
    """One line, in one piece although many processes write to the same pipe."""
    os.write(1, f"{line}\n".encode())


def main(endpoint: str, count: int, resource_id: str) -> None:
    """Start the processes, give the signals, and wait for all of them."""
    (gun, fire), (finish, end) = os.pipe(), os.pipe()
    racers: list[int] = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(fire)
            os.close(end)
            try:
                race(endpoint, resource_id, gun, finish)
            except BaseException as error:  # a forked copy never goes on with its parent's work
                say(f"failed {error!r}")
            os._exit(0)
        racers.append(pid)
    sys.stdin.readline()
    os.close(fire)
    sys.stdin.read()
    os.close(end)
    for pid in racers:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
