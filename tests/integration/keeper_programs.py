"""The programs that the tests of the keeper run: `python keeper_programs.py ROLE EAR …`, each role a function below.

EAR is the path of a datagram socket on which a program says what it has become, so that no test has to guess or sleep.
It is also in the command line of all that descends from a program, which is how a test finds what was left behind.
Every role but the driver runs under `python -I -S` and imports the standard library only: it has to start fast.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Never

_RUNAWAY_S = 100
"""After this long whatever forks without end gives up, should a test fail to end it."""


def say(ear: str, event: str, **facts: object) -> None:
    """Tell the test; blocks while it does not listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.connect(ear)
        boottime_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000.0
        known = {"event": event, "pid": os.getpid(), "parent": os.getppid(), "boottime_ms": boottime_ms}
        mouth.send(json.dumps(known | facts).encode())


def _stay() -> Never:
    while True:
        signal.pause()


def _defy() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _daemonise(ear: str, event: str) -> None:
    """Leave a process behind that forked twice, has a session of its own and ignores what asks it to go."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _defy()
        say(ear, event)
        os.close(write)
        _stay()
    os.wait()
    os.close(write)
    os.read(read, 1)  # ends when the daemon has closed its end, and ignores what asks it to go


def idle(ear: str, *_: str) -> None:
    """Do nothing, until a signal ends it."""
    say(ear, "ready", fds=os.listdir("/proc/self/fd"), group=os.getpgrp(), session=os.getsid(0), cwd=os.getcwd())
    _stay()


def defiant(ear: str) -> None:
    """Ignore what asks it to go, and leave a daemon behind."""
    _defy()
    _daemonise(ear, "daemon")
    say(ear, "ready")
    _stay()


def leaving(ear: str) -> None:
    """End with 3 while a child that goes when asked and a daemon that does not are still there."""
    read, write = os.pipe()
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        say(ear, "child")
        os.close(write)
        signal.sigwait({signal.SIGTERM})
        say(ear, "child asked")
        os._exit(0)
    os.close(write)
    os.read(read, 1)  # ends when the child has closed its end, and waits for the signal
    _daemonise(ear, "daemon")
    say(ear, "ready")
    os._exit(3)


def listening(ear: str, *numbers: str) -> None:
    """Say which signals come, one by one, and end with 5 on SIGUSR2; ignores SIGTERM but for saying so."""
    awaited = {signal.Signals[name] for name in numbers} | {signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child == 0:
        say(ear, "child", group=os.getpgrp())
        while True:
            say(ear, "child signal", name=signal.Signals(signal.sigwait(awaited)).name)
    say(ear, "ready")
    while True:
        name = signal.Signals(signal.sigwait(awaited)).name
        say(ear, "signal", name=name)
        if name == "SIGUSR2":
            os._exit(5)


def reading(ear: str) -> None:
    """Say what the terminal sends: one line, and then interrupts, until SIGUSR2."""
    awaited = {signal.SIGINT, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    say(ear, "ready", is_terminal=os.isatty(0))
    say(ear, "line", text=os.read(0, 100).decode())
    os.write(1, b"answer\n")
    while True:
        name = signal.Signals(signal.sigwait(awaited)).name
        say(ear, "signal", name=name)
        if name == "SIGUSR2":
            os._exit(5)


def many(ear: str, count: str) -> None:
    """Have many children, every second one in a session of its own, all of which ignore what asks them to go."""
    _defy()
    read, write = os.pipe()
    for number in range(int(count)):
        if os.fork() == 0:
            if number % 2:
                os.setsid()
            os.write(write, b".")
            _stay()
    heard = 0
    while heard < int(count):
        heard += len(os.read(read, 65_536))
    say(ear, "ready")
    _stay()


def chain(ear: str) -> None:
    """Start a process that forks and exits, whose child forks and exits, and so on as fast as it goes."""
    _defy()
    end = time.monotonic() + _RUNAWAY_S
    if os.fork() == 0:
        os.setsid()
        is_told = False
        while time.monotonic() < end:
            if os.fork() != 0:
                os._exit(0)
            if not is_told:
                is_told = True
                say(ear, "ready")
        os._exit(0)
    _stay()


def hydra(ear: str, heads: str) -> None:
    """Keep children that keep children; each one that is killed is replaced by whoever has had it."""
    _defy()
    end = time.monotonic() + _RUNAWAY_S
    for depth in range(3):
        children = 0
        while True:
            if children < int(heads):
                if os.fork() == 0:
                    break  # the child goes one deeper
                children += 1
                continue
            if depth == 0:
                say(ear, "ready")
            os.wait()
            children -= 1
            if time.monotonic() > end:
                os._exit(0)
    _stay()


def driver(ear: str, settings: str) -> None:
    """Be `tenure run`: supervise one command on a lease of a given length, forward signals, stop it on SIGTERM."""
    import asyncio  # noqa: PLC0415 - the other roles start without it
    import fcntl  # noqa: PLC0415
    import termios  # noqa: PLC0415

    from tenure.cli.supervisor import Deadline, Supervisor  # noqa: PLC0415

    given: dict[str, Any] = json.loads(settings)
    if given.get("has_terminal"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.tcsetpgrp(0, os.getpgrp())

    def garble(work: Supervisor) -> None:
        work._send(b"?")  # pyright: ignore[reportPrivateUsage] - what no supervisor sends: the keeper fails
        os.kill(os.getpid(), signal.SIGSTOP)

    async def supervise() -> None:
        async with Supervisor(given["command"], **given.get("times", {})) as work:
            for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
                asyncio.get_running_loop().add_signal_handler(number, work.send_signal, number)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.stop, 0)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, garble, work)
            deadline = Deadline.after_ms(given["lease_ms"])
            await work.start(deadline)
            if "shortened_to_ms" in given:
                deadline = Deadline.after_ms(given["shortened_to_ms"])
                work.extend(deadline)
            say(ear, "driving", deadline=deadline, command=work.pid)
            outcome = await work.wait()
            say(ear, "outcome", exit_code=outcome.exit_code, cause=outcome.cause, left=os.listdir("/proc/self/fd"))

    asyncio.run(supervise())


ROLES: dict[str, Callable[..., None]] = {
    role.__name__: role for role in (idle, defiant, leaving, listening, reading, many, chain, hydra, driver)
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
