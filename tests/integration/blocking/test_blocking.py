"""The SDK for programs without asyncio: roles by hand, and work that runs only while active, in threads."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenure.sdk import (
    ConnectionState,
    InvalidRequestError,
    NotFoundError,
    RoleChange,
    RoleConflictError,
    RoleLostError,
    ServiceRole,
    registration_request,
)
from tenure.sdk.blocking import Registration, Tenure
from tests.integration.blocking.rig import (
    PATIENCE_MS,
    PATIENCE_S,
    Logs,
    ask_to_end,
    calls,
    client_of,
    critical,
    in_thread,
    until,
)
from tests.integration.served import Served, served

# --- roles by hand ----------------------------------------------------------------------------------------------------


def test_roles_are_claimed_refused_given_up_and_ended(broker: Served) -> None:
    """What the asyncio client does with a registration, step by step, from two clients."""
    with client_of(broker) as first, client_of(broker) as second:
        a = first.register("hand", instance_id="a", role="active")
        assert (a.is_active, a.role, a.ensure_active(), a.remaining_ms > 0) == (True, "active", a.epoch, True)
        with pytest.raises(RoleConflictError):
            second.register("hand", instance_id="b", role="active")
        b = second.register("hand", instance_id="b")
        with pytest.raises(RoleLostError):
            b.ensure_active()
        with pytest.raises(TimeoutError):
            b.wait_active(timeout_ms=1)

        a.resign()
        tenure = b.wait_active(PATIENCE_MS)
        assert (a.is_active, tenure.is_active, tenure.epoch > a.standing.epoch) == (False, True, True)
        for active in (second.resource("hand").active, second.roles("hand")[0].active):
            assert active is not None
            assert active.epoch == tenure.epoch
        assert {instance.instance_id for instance in first.services("hand")} == {"a", "b"}

        b.deregister()
        b.deregister()
        assert (b.is_ended, tenure.is_active, tenure.is_ending, tenure.wait_ending()) == (True, False, True, True)
        with pytest.raises(RoleLostError):
            b.wait_active()


def test_whether_a_role_is_held_is_read_without_waiting_for_anybody(broker: Served) -> None:
    """While the client's event loop is held up, a registration and a tenure answer all the same."""
    with client_of(broker) as client:
        registration = client.register("direct", role="active")
        tenure = registration.wait_active()
        portal, _ = client.here()
        may_go_on = threading.Event()
        held_up: list[bool] = []
        try:
            portal.tell(lambda: held_up.append(may_go_on.wait(PATIENCE_S)))
            assert registration.ensure_active() == tenure.ensure_active() == registration.epoch
            assert registration.is_active
            assert tenure.is_active
            assert not tenure.is_ending
            assert min(registration.remaining_ms, tenure.remaining_ms) > 0
        finally:
            may_go_on.set()
        assert client.services("direct") != []
        assert held_up == [True], "it was held up for as long as that took"


def test_a_client_that_goes_is_succeeded(broker: Served) -> None:
    """When the active client is closed, the thread of the other that waits for the role has it."""
    with client_of(broker) as second:
        with client_of(broker) as first:
            lost = first.register("failover", instance_id="a", role="active")
            epoch = lost.epoch
            spare = second.register("failover", instance_id="b")
            with in_thread(spare.wait_active) as waiting:
                first.close()
                assert waiting.result(PATIENCE_S).epoch > epoch
        assert (lost.is_active, lost.is_ended) == (False, True)
        lost.resign()
        lost.deregister()


def test_a_role_is_moved_and_the_connection_followed(broker: Served) -> None:
    """A switchover is waited for; work that is asked to drain sees that; who follows the connection sees its end."""
    with client_of(broker) as first, client_of(broker) as second:
        changes = second.connection_changes()
        assert [next(changes), second.connection_state] == [ConnectionState.CONNECTED] * 2
        tenure = first.register("moved", instance_id="a", role="active").wait_active()
        with pytest.raises(TimeoutError):
            tenure.wait_asked_to_end(timeout_ms=1)
        second.register_item(registration_request("moved", instance_id="b"))
        with in_thread(lambda: second.switchover("moved", to="b", drain_ms=int(PATIENCE_MS))) as moving:
            tenure.wait_asked_to_end(PATIENCE_MS)
            assert (tenure.is_asked_to_end, tenure.is_ending) == (True, False)
            assert tenure.drain_left_ms
            tenure.registration.resign()
            assert moving.result(PATIENCE_S).new_instance_id == "b"
        with pytest.raises(NotFoundError):
            second.cancel_switchover("moved")
        with in_thread(lambda: list(changes)) as following:
            second.close()
            assert [*following.result(PATIENCE_S), second.connection_state] == [ConnectionState.LOST] * 2


def test_a_paused_role_stays_vacant_and_its_history_is_told(broker: Served) -> None:
    """A pause is asked for, listed and ended; the tenures of the resource come from the store, the newest first."""
    with client_of(broker) as client:
        first = client.register("steered", instance_id="a", role="active")
        second = client.register("steered", instance_id="b")
        paused = client.pause("steered", why="work", for_ms=60_000, by="ada")
        assert (paused.why, paused.by.split()[0]) == ("work", "ada")
        assert (client.pauses(), client.resource("steered").pause) == ([paused], paused)
        epoch = first.epoch
        first.resign()
        assert client.resource("steered").active is None
        assert client.resume("steered") == paused
        second.wait_active()
        page = client.tenures("steered", limit=2)
        assert [(one.epoch, one.instance_id) for one in page.tenures] == [(second.epoch, "b"), (epoch, "a")]
        assert page.next_before == epoch
        assert client.tenures("steered", before=epoch).tenures == ()
        first.deregister()
        back = client.register("steered", instance_id="c")
        change = RoleChange(registration_id=back.registration_id, role=ServiceRole.ACTIVE, epoch=second.epoch)
        (result,) = client.change_roles([change])
        assert result.awaited_epoch == page.tenures[0].epoch
        back.wait_active()


def test_many_are_registered_at_once(broker: Served) -> None:
    """A registration that blocks or a refusal for each, in order."""
    with client_of(broker) as client:
        claimed = [registration_request("many", instance_id=name, role="active") for name in ("a", "b")]
        granted, refused = client.register_many(claimed)
        assert isinstance(granted, Registration)
        assert granted.is_active
        assert isinstance(refused, RoleConflictError)


def test_many_threads_use_one_client(broker: Served) -> None:
    """Calls from several threads at once each get their own answer."""
    with client_of(broker) as client, ThreadPoolExecutor(8) as threads:

        def register_and_leave(number: int) -> str:
            registration = client.register("threads", resource_id=f"threads-{number}", role="active")
            assert client.resource(registration.resource_id).active is not None
            registration.deregister()
            with pytest.raises(NotFoundError):
                client.resource(f"threads-{number}")
            return registration.resource_id

        assert list(threads.map(register_and_leave, range(100))) == [f"threads-{number}" for number in range(100)]


# --- work that runs only while active ---------------------------------------------------------------------------------


def test_work_runs_in_the_calling_thread(broker: Served) -> None:
    """`run_as_active` gives the work a tenure that is held, returns what it returns, and ends the registration."""

    def work(tenure: Tenure) -> tuple[threading.Thread, int, bool]:
        return threading.current_thread(), tenure.ensure_active(), tenure.wait_ending(timeout_ms=1)

    client = client_of(broker)  # it opens by itself, as the asyncio one does
    thread, epoch, was_ending = client.run_as_active("caller", work)
    assert (thread, epoch > 0, was_ending) == (threading.current_thread(), True, False)
    assert client.services("caller") == []
    client.close()


def test_what_work_raises_is_raised(broker: Served) -> None:
    """An error of the work, also one that ends programs or loops, comes out as it is, and the registration ends."""
    with client_of(broker) as client:
        for error in (ZeroDivisionError("mine"), StopIteration("mine"), SystemExit(3), KeyboardInterrupt()):

            def fail(tenure: Tenure, error: BaseException = error) -> None:
                tenure.ensure_active()
                raise error

            with pytest.raises(type(error)) as raised:
                client.run_as_active("raising", fail)
            assert raised.value is error
            with pytest.raises(type(error)) as raised, client.active("raising") as tenure:
                fail(tenure)
            assert raised.value is error
        until(lambda: client.services("raising") == [], "every registration has ended")


def test_work_that_is_asked_to_end_stops_and_runs_again(broker: Served) -> None:
    """The natural loop ends while the role is still held, and the work runs again under a new tenure."""
    tenures: list[Tenure] = []

    def work(tenure: Tenure) -> str:
        tenures.append(tenure)
        if len(tenures) > 1:
            return "done"
        ask_to_end(broker, "asked", tenure.epoch)
        turns = 0
        while not tenure.wait_ending(timeout_ms=10):
            turns += 1
            assert turns < PATIENCE_MS, "nobody said that it is to end"
        assert (tenure.is_ending, tenure.is_asked_to_end, tenure.ensure_active()) == (True, True, tenure.epoch)
        return "this was stopped, so it counts for nothing"

    with client_of(broker) as client:
        assert client.run_as_active("asked", work) == "done"
    assert tenures[1].epoch > tenures[0].epoch
    assert not tenures[0].is_active


def test_work_is_told_before_the_lease_ends() -> None:
    """With a broker that falls silent, work is told within the lease, and refused only once that is over."""
    with served() as broker, client_of(broker, lease_ms=6_000) as client:

        def hold() -> None:
            with client.active("silent", stop_budget_ms=5_500) as tenure:
                broker.process.send_signal(signal.SIGSTOP)
                try:
                    assert tenure.wait_ending()
                    assert tenure.ensure_active() == tenure.epoch
                    assert not tenure.registration.is_ended
                    tenure.wait_ending(margin_ms=0)
                    with pytest.raises(RoleLostError):
                        tenure.ensure_active()
                finally:
                    broker.process.send_signal(signal.SIGCONT)

        with pytest.raises(RoleLostError):
            hold()


def test_work_that_finds_the_role_lost_stands_by_again(broker: Served) -> None:
    """`RoleLostError` out of the work, and a return without a role, both mean that it stopped, not that it is done."""
    tenures: list[Tenure] = []

    def work(tenure: Tenure) -> str:
        tenures.append(tenure)
        if len(tenures) == 3:
            return "done"
        tenure.registration.resign()
        if len(tenures) == 1:
            tenure.ensure_active()
        return "this was done without the role"

    with client_of(broker) as client:
        assert client.run_as_active("lost", work) == "done"
    assert len({tenure.epoch for tenure in tenures}) == 3


def test_work_that_outlives_its_role_is_reported(broker: Served, logs: Logs) -> None:
    """Nothing stops a thread: work that goes on when its tenure is over is said to, at CRITICAL, and waited for."""
    reports: list[tuple[str, int]] = []
    expected: list[tuple[str, int]] = []

    def go_on(tenure: Tenure) -> None:
        if len(reports) < 2:
            tenure.registration.resign()
            entry = critical(logs)
            reports.append((entry["event"], entry["epoch"]))
            expected.append(("work.outlives_role", tenure.epoch))

    with client_of(broker) as client:
        with pytest.raises(RoleLostError), client.active("outliving") as tenure:
            go_on(tenure)
        client.run_as_active("outliving", go_on)
    assert len(reports) == 2
    assert reports == expected


def test_a_block_without_trouble_ends_its_registration(broker: Served) -> None:
    """`with client.active(...)` gives a tenure and leaves nothing behind."""
    with client_of(broker) as client:
        with client.active("block", priority=3) as tenure:
            assert client.services("block")[0].priority == 3
            assert (tenure.resource_id, tenure.is_ending) == ("block", False)
        assert client.services("block") == []
        assert (tenure.is_active, tenure.is_ending, tenure.wait_ending()) == (False, True, True)


def test_a_block_that_cannot_be_entered_says_why(broker: Served) -> None:
    """A refusal comes out of entering, and out of `run_as_active`, and nothing goes on."""
    with client_of(broker) as client:
        with pytest.raises(InvalidRequestError), client.active("refused", resource_id=""):
            raise AssertionError("it was entered")
        with pytest.raises(InvalidRequestError):
            client.run_as_active("refused", Tenure.ensure_active, resource_id="")
        until(lambda: calls(client) == 0, "the calls have ended")
