"""The SDK for programs without asyncio: how its calls and its clients end, in threads, forks and other processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue

import pytest

from tenure.sdk import (
    AnyEvent,
    BrokerUnavailableError,
    ClientClosedError,
    DeregisteredEvent,
    InvalidEndpointError,
    RegisteredEvent,
    ServiceStatus,
)
from tenure.sdk.blocking import EventListener, ServiceClient, Tenure
from tests.integration.blocking.rig import (
    PATIENCE_MS,
    PATIENCE_S,
    Logs,
    calls,
    client_of,
    critical,
    in_thread,
    until,
)
from tests.integration.served import Served, served

# --- interruptions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt here, as in a program on a terminal, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupted_when(condition: Callable[[], bool], what: str) -> Generator[None]:
    """Press Ctrl-C, from another thread, once a condition holds."""

    def interrupt() -> None:
        until(condition, what)
        os.kill(os.getpid(), signal.SIGINT)

    with in_thread(interrupt) as interrupting:
        with pytest.raises(KeyboardInterrupt):
            yield
        interrupting.result(PATIENCE_S)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_wait_and_what_it_waited_for(broker: Served) -> None:
    """It raises KeyboardInterrupt; the call has ended on the event loop too, and the client goes on."""
    with client_of(broker) as client:
        registration = client.register("interrupted")
        with interrupted_when(lambda: calls(client) == 1, "it waits"):
            registration.wait_active()
        until(lambda: calls(client) == 0, "the call has ended")
        assert len(client.services("interrupted")) == 1


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_standing_by_ends_the_registration(broker: Served) -> None:
    """Whoever is interrupted in `run_as_active` or in entering a block stands by no longer."""
    with client_of(broker) as holder, client_of(broker) as client:
        held = holder.register("held", instance_id="holder", role="active")

        def enter() -> None:
            with client.active("held", instance_id="spare"):
                raise AssertionError("it was entered")

        def run() -> None:
            client.run_as_active("held", Tenure.ensure_active, instance_id="spare")

        for wait in (run, enter):
            with interrupted_when(lambda: len(holder.services("held")) == 2, "it stands by"):
                wait()
            until(lambda: len(holder.services("held")) == 1, "it stands by no longer")
            until(lambda: calls(client) == 0, "the call has ended")
        assert held.is_active


# --- the end ----------------------------------------------------------------------------------------------------------


def test_closing_ends_waits_in_other_threads(broker: Served) -> None:
    """A thread that waits for a role, or stands by with work, gets ClientClosedError."""
    with client_of(broker) as holder:
        holder.register("closing", instance_id="holder", role="active")
        client = client_of(broker)
        client.open()
        registration = client.register("closing", instance_id="spare")
        with (
            in_thread(registration.wait_active) as waiting,
            in_thread(lambda: client.run_as_active("closing", Tenure.ensure_active, instance_id="b")) as standing_by,
        ):
            until(lambda: len(holder.services("closing")) == 3 and calls(client) == 2, "both wait")
            client.close()
            with pytest.raises(ClientClosedError):
                waiting.result(PATIENCE_S)
            with pytest.raises(ClientClosedError):
                standing_by.result(PATIENCE_S)
        until(lambda: len(holder.services("closing")) == 1, "its registrations have ended")


def test_closing_tells_work_in_other_threads(broker: Served) -> None:
    """Work that looks stops while its role is still held; then the call ends with ClientClosedError."""
    was_active: SimpleQueue[bool] = SimpleQueue()

    def work(tenure: Tenure) -> None:
        was_active.put(tenure.is_active)
        tenure.wait_ending()
        was_active.put(tenure.is_active)

    client = client_of(broker)
    with in_thread(lambda: client.run_as_active("telling", work)) as running:
        assert was_active.get(timeout=PATIENCE_S)
        client.close()
        with pytest.raises(ClientClosedError):
            running.result(PATIENCE_S)
    assert was_active.get(timeout=PATIENCE_S)


def test_closing_does_not_wait_for_ever_for_work(broker: Served, logs: Logs) -> None:
    """Work that does not stop is left without its role and reported, and the client is closed."""
    at_work: SimpleQueue[Tenure] = SimpleQueue()
    may_stop = threading.Event()

    def work(tenure: Tenure) -> None:
        at_work.put(tenure)
        assert may_stop.wait(PATIENCE_S)

    client = client_of(broker)
    with in_thread(lambda: client.run_as_active("deaf", work)) as running:
        tenure = at_work.get(timeout=PATIENCE_S)
        client.close()
        assert (tenure.is_active, tenure.is_ending) == (False, True)
        assert critical(logs)["event"] == "work.outlives_role"
        may_stop.set()
        with pytest.raises(ClientClosedError):
            running.result(PATIENCE_S)


def test_a_block_whose_client_is_closed_says_so(broker: Served, logs: Logs) -> None:
    """Leaving it raises ClientClosedError; that its client was closed under it is reported."""
    client = client_of(broker)
    client.open()

    def block() -> None:
        with client.active("closed") as tenure:
            client.close()
            assert (tenure.is_active, tenure.is_ending) == (False, True)

    with pytest.raises(ClientClosedError):
        block()
    assert critical(logs)["event"] == "work.outlives_role"


def test_a_client_is_of_use_while_it_is_open_and_can_be_opened_again(broker: Served) -> None:
    """Closed, every call says so and questions about it have answers; opened again, its status is remembered."""
    client = client_of(broker)
    with pytest.raises(ValueError, match="late"):
        client.set_status("late")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.set_status(ServiceStatus.DEGRADED)
    for _ in range(2):
        for call in (client.services, client.wait_connected, client.active("x").__enter__):
            with pytest.raises(ClientClosedError, match="with"):
                call()
        assert (client.is_connected, client.error, client.endpoints) == (False, None, (broker.ipc,))
        with client:
            client.wait_connected(PATIENCE_MS)
            assert client.is_connected
            assert client.error is None
            registration = client.register("again")
            assert client.services("again")[0].reported_status == ServiceStatus.DEGRADED
        client.close()
        assert registration.is_ended
        with pytest.raises(ClientClosedError):
            registration.wait_active()


@pytest.mark.parametrize("made", [ServiceClient, EventListener])
def test_without_a_broker_it_does_not_open(broker: Served, made: type[ServiceClient | EventListener]) -> None:
    """Opening fails in time and leaves no thread, and what is no endpoint is refused at once."""
    with pytest.raises(BrokerUnavailableError), made(f"ipc://{broker.directory}/none", timeout_ms=1):
        raise AssertionError("it was opened")
    with pytest.raises(InvalidEndpointError):
        made("nowhere")


# --- other processes --------------------------------------------------------------------------------------------------


def run_python(program: str, broker: Served, *flags: str) -> str:
    """What a program prints in a process of its own, which has to end well and to complain about nothing.

    But for sockets it left open: that is what these programs do.
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", *flags, "-c", program],
        env={**os.environ, "TENURE_ENDPOINT": broker.ipc},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


FORKING = """
import os
from tenure.sdk import ClientClosedError, RoleLostError
from tenure.sdk.blocking import EventListener, ServiceClient

def refused(call, error):
    try:
        call()
    except error as refusal:
        assert "fork" in str(refusal), refusal
    else:
        raise AssertionError(call)

def check_child():
    assert not registration.is_active and not tenure.is_active and tenure.is_ending and tenure.wait_ending()
    refused(tenure.ensure_active, RoleLostError)
    for call in (client.open, client.services, lambda: client.register("x"), lambda: client.run_as_active("x", print),
                 client.active("x").__enter__, lambda: next(listener)):
        refused(call, ClientClosedError)
    assert not client.is_connected
    registration.deregister()
    client.close()
    listener.close()
    with ServiceClient() as mine:
        assert mine.register("child", role="active").is_active

def block():
    global tenure, child
    with client.active("scope") as tenure:
        child = os.fork()
        if child == 0:
            check_child()

def work(held):
    return os.fork()

def end_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

with ServiceClient(lease_ms=600_000) as client, EventListener() as listener:
    registration = client.register("fork", role="active")
    child = None
    try:
        block()
    except ClientClosedError:  # the child, on leaving the block
        assert child == 0
        os._exit(7)
    assert end_of(child) == 7
    try:
        child = client.run_as_active("scope", work)
    except ClientClosedError:  # the child, on returning from the work
        os._exit(8)
    assert end_of(child) == 8
    if os.fork() == 0:
        raise SystemExit(0)  # through both blocks
    os.wait()
    assert registration.is_active and len(client.services("fork")) == 1
    print("the parent goes on")
"""


def test_in_the_child_of_a_fork_nothing_is_active(broker: Served) -> None:
    """There nothing is held, every call is refused rather than waited for, and another client can be opened."""
    # Python warns of every fork of a process with threads, of which a client has some in any case.
    assert run_python(FORKING, broker, "-W", "ignore:This process:DeprecationWarning") == "the parent goes on\n"


LEAVING = """
from tenure.sdk.blocking import EventListener, ServiceClient
client, listener = ServiceClient(), EventListener()
client.open()
listener.__enter__()
print(client.register("leaving", role="active").is_active)
"""


def test_a_program_may_end_without_closing(broker: Served) -> None:
    """Its threads keep no process alive, and on the same machine its exit moves the role."""
    assert run_python(LEAVING, broker) == "True\n"
    with client_of(broker) as client:
        assert client.run_as_active("leaving", Tenure.ensure_active) > 0


# --- the listener -----------------------------------------------------------------------------------------------------


def test_a_listener_sees_every_change(broker: Served) -> None:
    """A snapshot, then each change once and in order; `since` goes on where another left off."""
    with client_of(broker) as client:
        client.register("heard", instance_id="before")
        with EventListener(broker.ipc, service_name="heard") as events:
            assert [instance.instance_id for instance in events.replica.instances()] == ["before"]
            since, history_id = events.revision, events.history_id
            client.register("heard", instance_id="a", role="active").deregister()
            seen = [next(events), next(events)]
            assert [type(event) for event in seen] == [RegisteredEvent, DeregisteredEvent]
            assert events.is_connected
            assert events.silent_ms is not None
        assert events.revision == seen[-1].revision
        again: list[AnyEvent | object] = []
        with EventListener(broker.ipc, service_name="heard", since=since, history_id=history_id) as later:
            for event in later:
                again.append(event)
                if len(again) == len(seen):
                    break
        assert again == seen


def test_a_listener_is_closed_from_another_thread(broker: Served) -> None:
    """That ends the wait for an event, with ClientClosedError; the listener can be entered again."""
    events = EventListener(broker.ipc, resource_id="nothing happens here")
    with pytest.raises(ClientClosedError, match="with"):
        next(events)
    for _ in range(2):
        with events, in_thread(lambda: next(events)) as waiting:
            until(lambda: calls(events) == 1, "it waits")
            events.close()
            with pytest.raises(ClientClosedError):
                waiting.result(PATIENCE_S)


FENCED = """
import threading
from tenure.sdk.blocking import ServiceClient
client = ServiceClient(lease_ms=2_000, fence="exit")
client.open()
client.run_as_active("fenced", lambda tenure: print("at work", flush=True) or threading.Event().wait())
"""


def test_the_hard_stop_ends_work_in_a_thread() -> None:
    """With `fence="exit"`, a process whose work does not look is ended with the lease, by the stacks of its threads."""
    with served() as broker:
        process = subprocess.Popen(
            [sys.executable, "-c", FENCED],
            env={**os.environ, "TENURE_ENDPOINT": broker.ipc},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            broker.process.send_signal(signal.SIGSTOP)
            try:
                _, complaint = process.communicate(timeout=PATIENCE_S)
            finally:
                broker.process.send_signal(signal.SIGCONT)
                process.kill()
        assert process.returncode in {1, -signal.SIGSEGV}  # threads go on while their stacks are read
        assert "Timeout" in complaint
