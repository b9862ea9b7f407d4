"""Sessions: how they begin, are found again, and end."""

from __future__ import annotations

import pytest

from tenure.contract.errors import (
    ForbiddenError,
    HelloRequiredError,
    InvalidRequestError,
    LimitExceededError,
    SessionExpiredError,
    UnsupportedVersionError,
)
from tenure.contract.events import SessionClosedEvent, SessionOpenedEvent
from tenure.contract.history import ListTenures, ReadEvents
from tenure.contract.messages import Goodbye, Heartbeat, Hello, Register, Welcome
from tenure.contract.vocabulary import ChangeReason, ServiceStatus
from tenure.domain.limits import RegistryLimits
from tests.unit.scene import HISTORY, Client, Scene


def test_hello_opens_a_session() -> None:
    """A first hello opens a session whose number is the revision of its event, and says which lease is in force."""
    scene = Scene()
    a = Client(scene, "a", identity="uid:1000")

    welcome = a.hello(lease_ms=3_000)

    assert welcome == Welcome(
        version=1, history_id=HISTORY, revision=0, session=1, lease_ms=3_000, heartbeat_interval_ms=600
    )
    assert scene.events == [SessionOpenedEvent(revision=1, at_ms=scene.now.unix_ms, lease_ms=3_000, client="scene")]


def test_hello_finds_the_session_again() -> None:
    """Another hello with the same secret finds the session: nothing changes, and its first lease stays in force."""
    scene = Scene()
    a = scene.client("a", lease_ms=3_000)
    number = a.session

    welcome = a.hello(lease_ms=60_000)

    assert (welcome.session, welcome.lease_ms) == (number, 3_000)
    assert scene.last.events == ()


def test_hello_does_not_renew_the_lease() -> None:
    """★ Only heartbeats renew: a session that keeps saying hello expires all the same."""
    scene = Scene()
    a = scene.client("a")

    for _ in range(19):
        scene.pass_ms(100)
        a.hello()
    scene.pass_ms(100)

    with pytest.raises(SessionExpiredError):
        a.beat()


def test_requests_do_not_renew_the_lease() -> None:
    """★ Only heartbeats renew: a session that keeps registering expires all the same."""
    scene = Scene()
    a = scene.client("a")

    for _ in range(19):
        scene.pass_ms(100)
        a.stand_by("r")
    scene.pass_ms(100)

    with pytest.raises(SessionExpiredError):
        a.stand_by("r")


def test_resume_of_a_living_session() -> None:
    """A hello that resumes finds the living session."""
    a = Scene().client("a")
    number = a.session

    assert a.hello(resume=True).session == number


def test_resume_of_an_unknown_session() -> None:
    """A hello that resumes never opens a session."""
    scene = Scene()

    with pytest.raises(SessionExpiredError):
        Client(scene, "a", "").hello(resume=True)

    assert scene.events == []


def test_a_secret_used_again_opens_another_session() -> None:
    """After its session has ended, the same secret opens a new one under a new number."""
    scene = Scene()
    a = scene.client("a")
    number = a.session
    a.goodbye()

    assert a.hello().session > number


def test_somebody_elses_session() -> None:
    """A session opened by one user is not another's, even if he knows its secret."""
    scene = Scene()
    a = scene.client("a", identity="uid:1000")
    thief = Client(scene, "a", identity="uid:1001")

    with pytest.raises(ForbiddenError):
        thief.hello()

    assert thief.session_id == a.session_id


def test_a_connection_that_only_reads() -> None:
    """A hello without a session is welcomed without one, and changes nothing."""
    scene = Scene()

    welcome = scene.ask(Hello(version=1))

    assert welcome == Welcome(version=1, history_id=HISTORY, revision=0)
    assert scene.events == []


@pytest.mark.parametrize("request_", [Heartbeat(sequence=1), Goodbye(), Register(service_name="s", instance_id="i")])
def test_what_needs_a_session(request_: Heartbeat | Goodbye | Register) -> None:
    """A connection without a session may neither beat, register nor leave."""
    with pytest.raises(HelloRequiredError):
        Scene().ask(request_)


def test_another_version() -> None:
    """A client of another protocol version is told which one is spoken here."""
    with pytest.raises(UnsupportedVersionError) as refused:
        Scene().ask(Hello(version=2))

    assert refused.value.info.limit == 1


def test_sessions_max() -> None:
    """A session beyond the limit is refused; the living ones are still found, and one that ends makes room."""
    scene = Scene(RegistryLimits(sessions_max=2))
    a = scene.client("a")
    b = scene.client("b")

    with pytest.raises(LimitExceededError) as refused:
        scene.client("c")
    assert refused.value.info.limit == 2
    a.hello()
    b.goodbye()

    scene.client("c")


def test_goodbye() -> None:
    """A goodbye ends the session; what it asks afterwards is refused."""
    scene = Scene()
    a = scene.client("a")

    a.goodbye()

    closed = scene.last.events[-1]
    assert isinstance(closed, SessionClosedEvent)
    assert (closed.session, closed.reason) == (a.session, ChangeReason.GOODBYE)
    with pytest.raises(SessionExpiredError):
        a.goodbye()


def test_a_silent_session_expires_after_its_lease() -> None:
    """A session that is not heard from expires when its lease is over, and not a moment before."""
    scene = Scene()
    a = scene.client("a")

    scene.now_ms += 1_999
    assert scene.expire().events == ()
    scene.now_ms += 1

    closed = scene.expire().events[-1]
    assert isinstance(closed, SessionClosedEvent)
    assert (closed.session, closed.reason) == (a.session, ChangeReason.EXPIRED)


def test_heartbeats_renew_the_lease() -> None:
    """The lease runs anew from each heartbeat."""
    scene = Scene()
    a = scene.client("a")

    scene.pass_ms(10_000, a)
    scene.now_ms += 1_999

    assert scene.expire().events == ()


def test_a_heartbeat_at_the_last_moment() -> None:
    """A lease that is over by the clock but was not ended yet is renewed by a heartbeat: nobody was promoted yet."""
    scene = Scene()
    a = scene.client("a")
    scene.now_ms += 2_500

    a.beat()

    assert scene.expire().events == ()


def test_an_expired_session_gets_no_acknowledgement() -> None:
    """★ From the moment its expiry is decided, committed or not, a session's heartbeats are refused."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    assert a.beat().confirmed == (held.epoch,)
    scene.is_committing = False

    scene.now_ms += 2_000
    scene.expire()

    with pytest.raises(SessionExpiredError):
        a.beat()


def test_expiry_is_bounded() -> None:
    """One call ends sessions only until so many registrations have ended; the next call goes on."""
    scene = Scene()
    clients = [scene.client(name) for name in "abc"]
    for client in clients:
        client.stand_by(f"of-{client.name}")
    scene.now_ms += 2_000

    ended = [len(scene.expire(registrations_max=3).events) for _ in range(3)]

    assert ended == [4, 2, 0]


def test_next_expiry() -> None:
    """The earliest lease says when to look again; without sessions there is nothing to look at."""
    scene = Scene()
    assert scene.registry.next_expiry_ms is None
    scene.client("a", lease_ms=5_000)
    scene.client("b", lease_ms=3_000)

    assert scene.registry.next_expiry_ms == scene.now_ms + 3_000


def test_proof_of_death() -> None:
    """A session whose process is proven dead ends at once; a second report finds nothing to do."""
    scene = Scene()
    a = scene.client("a")

    closed = scene.end_session(a).events[-1]

    assert isinstance(closed, SessionClosedEvent)
    assert closed.reason is ChangeReason.DIED
    assert scene.end_session(a).events == ()


def test_a_session_that_stays_is_watched_whatever_comes_and_goes() -> None:
    """However many sessions are opened and ended meanwhile, one that falls silent expires at its time."""
    scene = Scene()
    staying = scene.client("staying", lease_ms=600_000)
    for _ in range(100):
        scene.client("passing", lease_ms=600_000).goodbye()

    scene.now_ms += 599_999
    assert scene.expire().events == ()
    scene.now_ms += 1
    assert scene.expire().events[-1] == SessionClosedEvent(
        revision=scene.registry.revision,
        at_ms=scene.now.unix_ms,
        session=staying.session,
        reason=ChangeReason.EXPIRED,
    )


def test_a_new_session_is_starting() -> None:
    """Until its first heartbeat a session is starting; its first status is an event."""
    scene = Scene()
    a = scene.client("a", status=None)
    a.stand_by("r")
    assert scene.resource("r").standbys[0].status is ServiceStatus.STARTING

    a.beat(ServiceStatus.DEGRADED)

    assert scene.resource("r").standbys[0].status is ServiceStatus.DEGRADED


def test_events_and_tenures_are_not_read_from_the_registry() -> None:
    """They are answered from the store; a shell that brings such a request to the registry is told so."""
    for request in (ReadEvents(), ListTenures(resource_id="r")):
        with pytest.raises(InvalidRequestError):
            Scene().ask(request)
