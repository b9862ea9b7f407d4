"""Events in words: who, what and why, for each kind of event and each reason."""

from __future__ import annotations

import pytest

from tenure.cli.telling import Sessions, names_in, sentence
from tenure.contract.events import AnyEvent, RoleChangedEvent
from tenure.contract.interventions import PauseResource, Switchover
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tests.unit.scene import Client, Scene


def told(scene: Scene) -> list[str]:
    """All events of a scene, as they are told one after the other."""
    sessions = Sessions([])
    lines: list[str] = []
    for event in scene.events:
        sessions.learn(event)
        lines.append("".join(words for words, _ in sentence(event, sessions)))
    return lines


def test_a_failover_is_told_with_whom_and_why() -> None:
    """The end of the old tenure has its reason and the silence, the new one what it follows."""
    scene = Scene()
    old, new = scene.client("a"), scene.client("b")
    held = old.claim("acct")
    new.stand_by("acct")
    scene.pass_ms(2_100, new)
    lines = told(scene)
    assert f"acct: svc/a new → active with epoch {held.epoch}: it registered" in lines
    assert "acct: svc/b new → standby: it registered" in lines
    lost = next(line for line in lines if "→ gone" in line)
    assert lost.startswith(
        f"acct: svc/a active with epoch {held.epoch} → gone: it fell silent until its time ran out ("
    )
    assert "expired, silent for 2," in lost
    epoch = scene.resource("acct").last_epoch
    promoted = f"acct: svc/b standby → active with epoch {epoch}: promoted because the active was lost "
    assert f"{promoted}(failover, after a (epoch {held.epoch}))" in lines
    assert "session 1 of svc/a ended: it fell silent until its time ran out (expired)" in lines


def test_who_asked_or_vouched_is_named_once() -> None:
    """In the words for the end of a tenure, and in brackets for what followed from it."""
    scene = Scene()
    first, second = scene.client("a"), scene.client("b")
    held = first.claim("acct")
    second.stand_by("acct")
    scene.ask(Switchover(resource_id="acct", epoch=held.epoch, by="ada"))
    first.resign(held)
    lines = [line for line in told(scene) if "witchover" in line]
    assert [line.count("ada") for line in lines] == [1, 1]
    assert "it stepped down for a switchover, as ada had asked" in lines[0]
    assert f"promoted for a switchover (after a (epoch {held.epoch}), by ada)" in lines[1]


def test_a_session_is_named_as_long_as_it_has_a_name() -> None:
    """Its opening knows no instance yet, its end is the last that has its name."""
    scene = Scene()
    client: Client = scene.client("a", status=ServiceStatus.STARTING)
    client.stand_by("acct")
    client.beat(ServiceStatus.HEALTHY)
    client.goodbye()
    lines = told(scene)
    assert lines[0] == "session 1 opened by scene, lease 2,000 ms"
    assert lines[-3] == "session 1 of svc/a is healthy (was starting)"
    assert lines[-1] == "session 1 of svc/a ended: its client said goodbye"


def test_a_session_that_is_over_is_named_by_what_is_read_ahead() -> None:
    """★ Whoever looks into what has happened finds the same name at a session's opening as who saw it happen."""
    scene = Scene()
    client = scene.client("a")
    client.stand_by("acct")
    client.goodbye()
    sessions = Sessions([])

    sessions.foresee(scene.events)

    lines: list[str] = []
    for event in scene.events:
        sessions.learn(event)
        lines.append("".join(words for words, _ in sentence(event, sessions)))
    assert lines[0] == "session 1 of svc/a opened by scene, lease 2,000 ms"
    assert lines[-1] == "session 1 of svc/a ended: its client said goodbye"


def test_a_filter_finds_events_by_whom_they_are_about() -> None:
    """The resource, the instance, or both; a session by its instance, once that has registered."""
    scene = Scene()
    client = scene.client("a", status=ServiceStatus.STARTING)
    client.stand_by("acct")
    client.beat(ServiceStatus.HEALTHY)
    scene.ask(PauseResource(resource_id="acct", why="a test", for_ms=60_000))
    client.stand_by("acct", priority=7)
    client.goodbye()
    sessions = Sessions([])
    found: list[list[str]] = []
    for event in scene.events:
        sessions.learn(event)
        found.append([name for name in names_in(event, sessions) if name])
    about_both = ["acct", "svc/a"]
    assert found[:5] == [[], about_both, ["svc/a"], ["acct"], about_both]
    assert found[-1] == ["svc/a"]


@pytest.mark.parametrize("reason", list(ChangeReason))
@pytest.mark.parametrize(
    "roles", [(None, ServiceRole.STANDBY), (ServiceRole.STANDBY, ServiceRole.ACTIVE), (ServiceRole.ACTIVE, None)]
)
def test_no_reason_is_left_out(reason: ChangeReason, roles: tuple[ServiceRole | None, ServiceRole | None]) -> None:
    """Its own name stands there, or words that have it: what is looked for by the name is found."""
    event: AnyEvent = RoleChangedEvent(
        revision=7,
        at_ms=1,
        registration_id=3,
        resource_id="acct",
        service_name="svc",
        instance_id="a",
        old_role=roles[0],
        new_role=roles[1],
        epoch=7 if ServiceRole.ACTIVE in roles else 0,
        reason=reason,
    )
    words = "".join(part for part, _ in sentence(event, Sessions([])))
    assert reason in words
