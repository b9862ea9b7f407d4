"""Which connection is heard: hello first, the newest of a session only, and all of them anew after a failed commit."""

from __future__ import annotations

import pytest

from tenure.broker.core_limits import CoreLimits
from tenure.broker.peers import Peer
from tenure.contract import codec
from tenure.contract.errors import ErrorCode
from tenure.contract.history import ReadEvents
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    ErrorReply,
    GetResource,
    Heartbeat,
    HeartbeatAck,
    Hello,
    ListServices,
    Registered,
    ServicePage,
    Welcome,
)
from tenure.contract.vocabulary import Channel
from tests.unit.core_stage import CoreStage, claim_of, codes, hello_of, standby_of

READER_HELLO = Hello(version=PROTOCOL_VERSION)


def test_hello_comes_first() -> None:
    """A connection that the broker does not know is asked to introduce itself."""
    stage = CoreStage()
    request_id = stage.says("a", ListServices())
    (refusal,) = stage.sent()
    assert (refusal.to, refusal.request_id, codes([refusal])) == ("a", request_id, [ErrorCode.HELLO_REQUIRED])


def test_a_reader_needs_no_session() -> None:
    """Questions are answered to whoever says hello; what needs a session is refused."""
    stage = CoreStage()
    stage.says("reader", READER_HELLO)
    stage.says("reader", ListServices())
    stage.says("reader", claim_of("x"))

    welcome, page, refusal = stage.sent()

    assert isinstance(welcome.message, Welcome)
    assert welcome.message.session == 0
    assert isinstance(page.message, ServicePage)
    assert codes([refusal]) == [ErrorCode.HELLO_REQUIRED]


def test_a_superseded_connection_is_not_heard_any_more() -> None:
    """★ A delayed request of an older connection comes after the newer one's hello: nothing happens."""
    stage = CoreStage()
    stage.open("a")
    stage.hello("a", Channel.REQUESTS, connection=2)

    stage.says("a/requests", claim_of("a"))
    stage.says("a/requests", hello_of("a", Channel.REQUESTS, connection=3))

    assert stage.commit() == []
    assert stage.core.registry.state.registrations == {}
    stage.says("a/requests/2", claim_of("a"))
    assert isinstance(stage.commit()[0].message, Registered)


def test_an_outdated_hello_is_dropped() -> None:
    """★ The hello of an older connection arrives after that of the newer one, which stays the one that is heard."""
    stage = CoreStage()
    stage.open("a")
    stage.hello("a", Channel.CONTROL, connection=3)

    stage.says("late", hello_of("a", Channel.CONTROL, connection=2))
    stage.says("twin", hello_of("a", Channel.CONTROL, connection=3))
    assert stage.commit() == []
    stage.says("late", Heartbeat(sequence=2))
    assert codes(stage.sent()) == [ErrorCode.HELLO_REQUIRED]

    stage.says("a/control/3", Heartbeat(sequence=2))
    assert isinstance(stage.sent()[0].message, HeartbeatAck)


def test_the_channels_of_a_session_do_not_supersede_each_other() -> None:
    """Control and requests count their connections apart."""
    stage = CoreStage()
    stage.open("a")
    stage.hello("a", Channel.CONTROL, connection=9)
    stage.says("a/requests", claim_of("a"))
    assert isinstance(stage.commit()[0].message, Registered)


def test_heartbeats_belong_on_the_control_channel() -> None:
    """A session is renewed over one connection alone, so that what is late on another cannot renew it."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", Heartbeat(sequence=2))
    stage.says("reader", READER_HELLO)
    stage.says("reader", Heartbeat(sequence=2))
    assert codes(stage.sent()) == [ErrorCode.INVALID_REQUEST, None, ErrorCode.INVALID_REQUEST]


def test_somebody_elses_session_is_refused() -> None:
    """A session belongs to the user who opened it, as the kernel says."""
    stage = CoreStage()
    stage.open("a", peer=Peer(uid=1_000, pid=1))

    stage.says("thief", hello_of("a", Channel.CONTROL, connection=2), peer=Peer(uid=1_001, pid=2))

    assert codes(stage.commit()) == [ErrorCode.FORBIDDEN]
    assert stage.beat("a", 2).session > 0


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"1"],
        [b"", codec.encode(READER_HELLO)],
        [b"1" * 17, codec.encode(READER_HELLO)],
        [b"1", codec.encode(READER_HELLO), b"", b""],
    ],
)
def test_messages_of_another_form_are_dropped(frames: list[bytes]) -> None:
    """Without a request id there is nobody to answer to."""
    stage = CoreStage()
    assert stage.frames("a", *frames) is None
    assert stage.sent() == []


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x00" * 100, b"\x81\xa4type\xa3wat", "ü".encode() * 1_000])
def test_what_is_no_message_is_refused_with_its_code(body: bytes) -> None:
    """Bytes that the protocol does not allow get an answer with a bounded reason, with or without a hello."""
    stage = CoreStage()
    stage.says("a", READER_HELLO)
    stage.sent()

    stage.frames("a", b"1", body)
    stage.frames("b", b"1", body)

    refusals = stage.sent()
    assert codes(refusals) == [ErrorCode.INVALID_REQUEST] * 2
    assert all(isinstance(one.message, ErrorReply) and len(one.message.error.message) < 400 for one in refusals)


# --- a commit that failed ---------------------------------------------------------------------------------------------


def test_everyone_who_waits_learns_that_the_outcome_is_unknown() -> None:
    """★ The store refused the batch under way: it and every decision since is dropped, and nobody is left out."""
    stage = CoreStage()
    stage.open("a")
    stage.open("b")
    stage.says("a/requests", claim_of("a"))
    batch = stage.core.take_batch()
    stage.says("b/requests", claim_of("b"))
    stage.says("b/requests", standby_of("b"))

    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")

    refusals = stage.sent()
    assert batch is not None
    assert [one.to for one in refusals] == ["a/requests", "b/requests", "b/requests"]
    assert codes(refusals) == [ErrorCode.STORAGE_UNAVAILABLE] * 3
    assert stage.core.registry.state.registrations == {}
    assert not stage.core.has_work


def test_numbers_are_given_out_again_and_new_sessions_say_hello_again() -> None:
    """★ What was dropped had numbers: nobody goes on with one that will mean something else."""
    stage = CoreStage()
    stage.open("b")
    stage.says("a/control", hello_of("a", Channel.CONTROL))
    dropped = stage.core.take_batch()
    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")
    stage.sent()

    stage.says("a/control", Heartbeat(sequence=1))
    assert codes(stage.sent()) == [ErrorCode.HELLO_REQUIRED]

    granted = stage.claim("b")
    assert dropped is not None
    assert granted.epoch == dropped.first_revision


def test_a_full_disk_costs_no_stored_session_a_heartbeat() -> None:
    """★ Who repeats what does not fit must not keep others from renewing: their connections go on as they were."""
    stage = CoreStage(CoreLimits(requests_in_flight_max=2))
    stage.open("a")
    epoch = stage.claim("a").epoch
    for sequence in range(2, 8):
        stage.says("a/requests", claim_of("a", "large"))
        assert stage.core.take_batch() is not None
        stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")
        assert codes(stage.sent()) == [ErrorCode.STORAGE_UNAVAILABLE]

        assert stage.beat("a", sequence).confirmed == (epoch,)


def test_every_connection_says_hello_again_after_a_defect() -> None:
    """What was in a memory that may be half changed is not trusted."""
    stage = CoreStage()
    stage.open("a")
    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.INTERNAL_ERROR, "the broker met a defect")

    stage.says("a/control", Heartbeat(sequence=2))
    assert codes(stage.sent()) == [ErrorCode.HELLO_REQUIRED]


def test_a_session_that_was_never_stored_is_unknown_afterwards() -> None:
    """★ Its hello was under way: the client is told to repeat, opens it anew, and no number of the lost one is kept."""
    stage = CoreStage()
    stage.says("a", hello_of("a", Channel.CONTROL))
    assert stage.core.take_batch() is not None
    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")
    assert codes(stage.sent()) == [ErrorCode.STORAGE_UNAVAILABLE]
    assert stage.core.registry.state.sessions == {}

    stage.says("a", hello_of("a", Channel.CONTROL))

    assert isinstance(stage.commit()[0].message, Welcome)


@pytest.mark.parametrize("is_decided", [False, True])
def test_a_store_that_refuses_again_and_again_keeps_nobody_alive(is_decided: bool) -> None:
    """★ A full disk takes a failover and not what others repeat: a silent holder's lease ends when it would have."""
    stage = CoreStage()
    stage.open("a", lease_ms=1_000)
    epoch = stage.claim("a").epoch
    stage.open("b")
    stage.says("b/requests", standby_of("b"))
    stage.commit()
    for turn in range(5):
        stage.now_ms += 250
        if is_decided:
            stage.core.tick(stage.now)  # the end is decided together with what is refused
        stage.says("b/requests", claim_of("b", f"large-{turn}"))
        assert stage.core.take_batch() is not None
        stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")
        stage.beat("b", turn + 2)

    stage.core.tick(stage.now)
    stage.commit()

    newest = stage.core.registry.state.resources["r"]
    assert newest.active is not None
    assert newest.last_epoch > epoch


def test_leases_begin_anew_after_a_defect() -> None:
    """What was in a memory that may be half changed is not trusted: everybody gets a full lease."""
    stage = CoreStage()
    stage.open("a", lease_ms=1_000)
    epoch = stage.claim("a").epoch
    stage.now_ms += 900
    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.INTERNAL_ERROR, "the broker met a defect")
    stage.now_ms += 900
    stage.core.tick(stage.now)
    stage.commit()
    assert [*next(iter(stage.core.registry.state.sessions.values())).tenures] == [epoch]


def test_limits_hold_after_a_failed_commit_as_before() -> None:
    """Nothing of what was dropped is counted any more."""
    stage = CoreStage(CoreLimits(queue_max=2))
    stage.open("a")
    stage.says("a/requests", claim_of("a", "r"))
    assert stage.core.take_batch() is not None
    stage.says("a/requests", claim_of("a", "s"))
    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")
    stage.sent()

    stage.hello("a", Channel.REQUESTS)

    assert stage.claim("a").epoch > 0


# --- too much ---------------------------------------------------------------------------------------------------------


def test_one_connection_may_not_have_too_much_unanswered() -> None:
    """A flood is refused with `overloaded` before it costs the others; after the answers there is room again."""
    stage = CoreStage(CoreLimits(requests_in_flight_max=2))
    stage.open("a")
    stage.open("b")
    for number in range(3):
        stage.says("a/requests", claim_of("a", f"r{number}"))
    (refusal,) = stage.sent()
    assert isinstance(refusal.message, ErrorReply)
    assert (refusal.message.error.code, refusal.message.error.retry_after_ms) == (ErrorCode.OVERLOADED, 100)

    stage.says("b/requests", claim_of("b", "other"))

    assert codes(stage.commit()) == [None] * 3
    stage.says("a/requests", claim_of("a", "r2"))
    assert codes(stage.commit()) == [None]


def test_saying_hello_again_makes_no_more_room() -> None:
    """What a connection has in flight stays its own when it introduces itself anew."""
    stage = CoreStage(CoreLimits(requests_in_flight_max=2))
    stage.open("a")
    stage.says("a/requests", claim_of("a", "r"))
    stage.says("a/requests", hello_of("a", Channel.REQUESTS, connection=2))
    assert stage.sent() == []

    stage.says("a/requests", hello_of("a", Channel.REQUESTS, connection=3))
    stage.says("a/requests", claim_of("a", "s"))

    assert codes(stage.sent()) == [ErrorCode.OVERLOADED] * 2
    assert codes(stage.commit()) == [None] * 2


def test_all_connections_together_may_not_have_too_much_waiting() -> None:
    """The queue for the store is bounded, also for greetings and questions; heartbeats and goodbyes go through."""
    stage = CoreStage(CoreLimits(queue_max=2))
    stage.open("a")
    stage.open("b")
    stage.says("a/requests", claim_of("a", "r"))
    assert stage.store() is not None
    stage.says("b/requests", GetResource(resource_id="r"))

    stage.says("b/requests", claim_of("b", "s"))
    stage.says("new", hello_of("new", Channel.CONTROL))
    stage.says("reader", READER_HELLO)
    assert codes(stage.sent()) == [ErrorCode.OVERLOADED] * 3

    stage.says("b/control", Heartbeat(sequence=2))
    assert isinstance(stage.sent()[0].message, HeartbeatAck)
    assert len(stage.committed()) == 2
    stage.says("b/requests", claim_of("b", "s"))
    assert codes(stage.commit()) == [None]


def test_a_flood_of_heartbeats_that_are_refused_is_bounded_too() -> None:
    """A refused heartbeat waits like any refusal, so that no more of them wait than of requests."""
    stage = CoreStage(CoreLimits(requests_in_flight_max=2))
    stage.open("a")
    stage.says("a/requests", claim_of("a"))
    for _ in range(3):
        stage.says("a/control", Heartbeat(sequence=0))
    assert codes(stage.sent()) == [ErrorCode.OVERLOADED]
    assert codes(stage.commit()) == [None, ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST]


# --- leaving ----------------------------------------------------------------------------------------------------------


def test_a_broker_that_leaves_tells_every_session_and_takes_no_more_requests() -> None:
    """What was taken is committed; heartbeats and goodbyes are heard to the end."""
    stage = CoreStage()
    stage.open("a")
    stage.open("b")
    stage.says("a/requests", claim_of("a"))

    told = stage.core.close()

    assert sorted(one.route.routing_id for one in told) == [b"a/control", b"b/control"]
    stage.says("b/requests", claim_of("b", "s"))
    stage.says("b/requests", ReadEvents())
    stage.says("new", hello_of("new", Channel.CONTROL))
    assert codes(stage.sent()) == [ErrorCode.SHUTTING_DOWN] * 3
    assert stage.beat("b", 2).session > 0
    assert codes(stage.commit()) == [None]
