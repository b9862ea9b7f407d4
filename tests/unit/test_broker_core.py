"""The broker's order: store, then reply, then publish."""

from __future__ import annotations

import pytest

from tenure.broker.core_limits import CoreLimits
from tenure.contract.errors import ErrorCode
from tenure.contract.events import RegisteredEvent
from tenure.contract.interventions import Switchover, SwitchoverStarted
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    Farewell,
    GetResource,
    Hello,
    Registered,
    RegisterMany,
    Resign,
    Resource,
    RoleStatements,
    StepDown,
    Welcome,
)
from tenure.contract.vocabulary import Channel, ServiceRole
from tests.unit.core_stage import GOODBYE, CoreStage, Said, claim_of, codes, hello_of, standby_of


def test_store_then_reply_then_publish() -> None:
    """★ A claim is decided at once; its reply and its event leave with the commit and not before."""
    stage = CoreStage()
    stage.open("a")
    before = len(stage.published)

    request_id = stage.says("a/requests", claim_of("a"))
    assert stage.core.has_batch
    assert stage.sent() == []

    batch = stage.store()
    assert batch is not None
    assert stage.sent() == []
    assert len(stage.published) == before
    assert stage.core.take_batch() is None

    (reply,) = stage.committed()
    assert reply.request_id == request_id
    assert isinstance(reply.message, Registered)
    assert [type(event) for event in stage.published[before:]] == [RegisteredEvent]
    assert batch.first_revision == stage.published[before].revision == reply.message.epoch
    assert not stage.core.has_work


def test_a_crash_before_the_commit_leaves_nothing() -> None:
    """★ The decision was never stored, so it was never told either: the next broker knows nothing of it."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", claim_of("a"))
    assert stage.sent() == []

    stage.crash()

    assert stage.core.registry.state.registrations == {}
    assert len(stage.core.registry.state.sessions) == 1


def test_a_crash_between_commit_and_reply_is_mended_by_the_repeat() -> None:
    """★ The store has it, nobody was told: the client says hello, repeats, and hears of the same tenure."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", claim_of("a"))
    batch = stage.store()
    assert batch is not None

    stage.crash()

    stage.says("a/requests", claim_of("a"))
    assert codes(stage.sent()) == [ErrorCode.HELLO_REQUIRED]
    stage.hello("a", Channel.REQUESTS)
    stage.says("a/requests", claim_of("a"))
    (reply,) = stage.commit()
    assert isinstance(reply.message, Registered)
    assert reply.message.epoch == batch.events[-1].revision


def test_a_refusal_waits_for_the_commit_of_what_it_was_computed_from() -> None:
    """★ The second claim loses against a grant that is not durable yet: it is told so only once that is."""
    stage = CoreStage()
    stage.open("a")
    stage.open("b")
    stage.says("a/requests", claim_of("a"))
    assert stage.store() is not None

    refused = stage.says("b/requests", claim_of("b"))

    assert stage.sent() == []
    replies = stage.committed()
    assert codes(replies) == [None, ErrorCode.ROLE_CONFLICT]
    assert replies[1].request_id == refused


def test_a_read_waits_for_the_commit_of_what_it_was_computed_from() -> None:
    """★ Behind the batch under way, or behind the one that gathers: whichever has what it saw."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", claim_of("a"))
    assert stage.store() is not None
    in_flight = stage.says("a/requests", GetResource(resource_id="r"))
    stage.says("a/requests", standby_of("a", "s"))
    gathering = stage.says("a/requests", GetResource(resource_id="r"))
    assert stage.sent() == []

    assert [reply.request_id for reply in stage.committed()][1:] == [in_flight]
    assert stage.sent() == []
    assert [reply.request_id for reply in stage.commit()][1:] == [gathering]


def test_a_read_of_what_is_committed_is_answered_at_once() -> None:
    """Nothing waits to be stored, so there is nothing to wait for."""
    stage = CoreStage()
    stage.open("a")
    stage.claim("a")

    stage.says("a/requests", GetResource(resource_id="r"))

    (reply,) = stage.sent()
    assert isinstance(reply.message, Resource)


# --- pushes -----------------------------------------------------------------------------------------------------------


def test_a_promotion_is_pushed_with_the_commit_on_the_control_channel() -> None:
    """Whoever is promoted hears of it without asking, after the reply to whoever left, and once it is durable."""
    stage = CoreStage()
    stage.open("a")
    stage.open("b")
    held = stage.claim("a")
    stage.says("b/requests", standby_of("b"))
    stage.commit()
    stage.says("a/requests", Resign(registration_id=held.registration_id, epoch=held.epoch))
    assert stage.sent() == []
    assert stage.store() is not None

    reply, push = stage.committed()

    assert (reply.to, push.to, push.request_id) == ("a/requests", "b/control", b"")
    assert isinstance(push.message, RoleStatements)


def test_a_promotion_of_a_session_without_a_control_channel_waits_for_its_heartbeat() -> None:
    """Its connection was lost: nothing is pushed, and the next heartbeat's answer says it."""
    stage = CoreStage()
    stage.open("a")
    stage.open("b")
    held = stage.claim("a")
    stage.says("b/requests", standby_of("b"))
    stage.commit()
    stage.core.connections.forget(stage.core.connections.controls()[1].route)

    stage.says("a/requests", Resign(registration_id=held.registration_id, epoch=held.epoch))

    assert [one.to for one in stage.commit()] == ["a/requests"]
    stage.hello("b", Channel.CONTROL)
    assert [one.role for one in stage.beat("b", 2).statements] == [ServiceRole.ACTIVE]


def test_a_holder_is_asked_to_step_down_at_once() -> None:
    """Being asked changes nothing durable, so it waits for no commit; anybody may ask, with a session or without."""
    stage = CoreStage()
    stage.open("a")
    held = stage.claim("a")
    stage.says("reader", Hello(version=PROTOCOL_VERSION))
    stage.commit()
    request = Switchover(resource_id="r", epoch=held.epoch, even_if_vacant=True)

    stage.says("reader", request)

    asked, answer = stage.sent()
    assert asked == Said("a/control", b"", StepDown(registration_id=held.registration_id, epoch=held.epoch))
    assert isinstance(answer.message, SwitchoverStarted)
    stage.core.connections.forget(stage.core.connections.controls()[0].route)
    stage.says("reader", request)
    assert [type(one.message) for one in stage.sent()] == [SwitchoverStarted]


# --- batches ----------------------------------------------------------------------------------------------------------


def test_what_is_decided_while_a_batch_is_stored_goes_into_the_next() -> None:
    """One batch is under way at a time; revisions follow on."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", claim_of("a", "r"))
    first = stage.store()
    stage.says("a/requests", claim_of("a", "s"))
    stage.says("a/requests", claim_of("a", "t"))
    assert stage.core.take_batch() is None
    stage.committed()

    second = stage.store()

    assert first is not None
    assert second is not None
    assert second.first_revision == first.events[-1].revision + 1
    assert [event.revision for event in second.events] == [second.first_revision, second.first_revision + 1]
    assert len(stage.committed()) == 2


def test_a_batch_is_bounded_and_the_rest_follows_in_order() -> None:
    """More decisions than one commit takes: each commit releases its own replies, in order."""
    stage = CoreStage(CoreLimits(batch_max=2))
    stage.open("a")
    asked = [stage.says("a/requests", claim_of("a", f"r{number}")) for number in range(5)]

    released: list[list[bytes]] = []
    while stage.store() is not None:
        released.append([reply.request_id for reply in stage.committed()])

    assert released == [asked[:2], asked[2:4], asked[4:]]


def test_long_batches_are_published_in_pages() -> None:
    """A listener's frame stays bounded: at most a thousand events go out in one message."""
    stage = CoreStage()
    stage.open("a")
    items = tuple(claim_of("a", f"r{number}") for number in range(1_000))
    stage.says("a/requests", RegisterMany(items=items))
    stage.says("a/requests", claim_of("a"))
    assert stage.store() is not None

    release = stage.core.committed()

    assert len(release.published) == 2
    assert len(release.events) == 1_001


def test_refused_claims_are_noted_for_the_log() -> None:
    """Every role conflict is noted with the claim, also those within a batch; other refusals are not."""
    stage = CoreStage()
    stage.open("a")
    stage.open("b")
    stage.claim("a")

    stage.says("b/requests", claim_of("b"))
    stage.says("b/requests", claim_of(""))
    items = (claim_of("b"), claim_of("b", "other"), claim_of(""))
    stage.says("b/requests", RegisterMany(items=items))

    assert [(claim, error.code) for claim, error in stage.core.conflicts] == [
        (claim_of("b"), ErrorCode.ROLE_CONFLICT),
        (claim_of("b"), ErrorCode.ROLE_CONFLICT),
    ]


def test_a_goodbye_is_answered_and_its_connections_forgotten() -> None:
    """The session ends with the commit, and whatever its connections send later is nobody's."""
    stage = CoreStage()
    stage.open("a")
    stage.claim("a")
    stage.says("a/requests", GOODBYE)

    (reply,) = stage.commit()

    assert reply.message == Farewell()
    assert len(stage.core.connections) == 0
    assert stage.core.registry.state.sessions == {}


def test_a_welcome_says_where_events_are_published() -> None:
    """A client is told by the broker what it has to know of it."""
    stage = CoreStage()
    stage.says("a", hello_of("a", Channel.CONTROL))
    (reply,) = stage.commit()
    assert isinstance(reply.message, Welcome)
    assert (reply.message.events_endpoints, reply.message.broker) == (("ipc:///e",), "tenure test")


def test_nothing_is_committed_that_was_not_taken() -> None:
    """Telling the core of a commit without a batch under way is a defect of the shell."""
    with pytest.raises(AssertionError, match="no batch"):
        CoreStage().core.committed()
