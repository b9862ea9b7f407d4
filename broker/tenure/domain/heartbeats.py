"""What a heartbeat does, and what its answer confirms.

A heartbeat renews the lease, tells what its session has left and entered, and may fill a vacancy. Its answer leaves at
once, so it is computed from what is committed and decided alike: grants count from their commit, revocations from their
decision. An epoch is the revision of its grant, so one comparison with the committed revision tells. Most heartbeats
only renew, and these take a shorter way to the same answer.
"""

from __future__ import annotations

from tenure.contract.messages import Heartbeat, HeartbeatAck, RoleStatement
from tenure.contract.vocabulary import ChangeReason, ServiceStatus
from tenure.domain import moves, switchovers
from tenure.domain.draft import Draft
from tenure.domain.reads import statement_of
from tenure.domain.records import Instant
from tenure.domain.state import Presence
from tenure.domain.succession import may_succeed


def renew_at_rest(presence: Presence, heartbeat: Heartbeat, now: Instant, committed: int) -> HeartbeatAck | None:
    """Take in a heartbeat that has nothing to tell, from a session that nothing is to be told; None for any other.

    None means that nothing has changed either, and that `renew` says what is to be done.
    """
    record = presence.record
    if (
        heartbeat.given_up
        or heartbeat.entered
        or heartbeat.status is not record.status
        or presence.changed_revision > heartbeat.applied_revision
        or presence.changed_revision > committed
        or presence.asked
        or presence.has_lapsed
        or presence.status(now.now_ms) is not record.status
    ):
        return None
    _heard(presence, heartbeat, now)
    return HeartbeatAck(
        session=record.number, sequence=heartbeat.sequence, revision=committed, confirmed=tuple(presence.tenures)
    )


def renew(draft: Draft, presence: Presence, heartbeat: Heartbeat, committed: int) -> HeartbeatAck:
    """Take in a session's heartbeat; `committed` is the newest revision that the store has made durable."""
    state = draft.state
    might_be_promoted = presence.status(draft.now.now_ms).may_be_promoted
    _heard(presence, heartbeat, draft.now)
    if heartbeat.status is not presence.record.status:
        draft.change_status(presence, heartbeat.status)
    for given_up in heartbeat.given_up:
        number = presence.tenures.get(given_up.epoch)
        if number is not None:
            reason = ChangeReason.RESIGNED if given_up.declined else ChangeReason.GIVEN_UP
            switchovers.leave_tenure(draft, state.registrations[number], reason, given_up.ago_ms)
    for epoch, ago_ms in {entered.epoch: entered.ago_ms for entered in reversed(heartbeat.entered)}.items():
        number = presence.tenures.get(epoch)
        if number is not None:
            registration = state.registrations[number]
            presence.heard_unix_ms = max(presence.heard_unix_ms, registration.since_ms)  # it was sent after that began
            resource = state.resources[registration.resource_id]
            moves.note_entered(resource, epoch, draft.now.unix_ms - ago_ms)
    if heartbeat.status.may_be_promoted and not might_be_promoted:
        _fill_with(draft, presence, heartbeat.status)
    return _acknowledge(draft, presence, heartbeat, committed)


def _heard(presence: Presence, heartbeat: Heartbeat, now: Instant) -> None:
    presence.heard_from(now.now_ms, now.came_unix_ms)
    presence.heard = True
    presence.loop_lag_ms = heartbeat.loop_lag_ms
    presence.margin_ms = heartbeat.margin_ms


def _fill_with(draft: Draft, presence: Presence, status: ServiceStatus) -> None:
    """Fill the vacancies that waited for this session to become fit.

    Whoever else was fit has filled his already, so that only resources which one of its own standbys may succeed to
    are looked at more closely: a session with many standbys costs no more than their number.
    """
    for number in list(presence.registrations):  # whoever is promoted goes to the end of them
        registration = draft.state.registrations[number]
        resource = draft.state.resources[registration.resource_id]
        if resource.active is None and may_succeed(registration, resource, status):
            draft.fill(registration.resource_id)


def _acknowledge(draft: Draft, presence: Presence, heartbeat: Heartbeat, committed: int) -> HeartbeatAck:
    ended: tuple[int, ...] = ()
    if heartbeat.given_up and presence.changed_revision <= committed:
        ended = tuple(given_up.epoch for given_up in heartbeat.given_up)
    return HeartbeatAck(
        session=presence.record.number,
        sequence=heartbeat.sequence,
        revision=committed,
        confirmed=_confirmed(draft, presence, committed),
        given_up=ended,
        statements=_news(draft, presence, heartbeat.applied_revision, committed),
        asked=switchovers.asks_of(presence, draft.now.now_ms),
    )


def _news(draft: Draft, presence: Presence, applied: int, committed: int) -> tuple[RoleStatement, ...]:
    """What is committed of the session's roles since `applied`, the oldest first.

    Looked at from the newest on and no further: a session may have thousands, and send many heartbeats while it makes
    them.
    """
    news: list[RoleStatement] = []
    for number in reversed(presence.registrations):
        registration = draft.state.registrations[number]
        if registration.role_revision <= applied:
            break
        if registration.role_revision <= committed:
            news.append(statement_of(registration))
    return tuple(reversed(news))


def _confirmed(draft: Draft, presence: Presence, committed: int) -> tuple[int, ...]:
    """The epochs that their holder may count from this heartbeat on; those of a switchover only while it drains.

    An answer that comes before the commit of a grant says nothing about it, and the holder counts the new tenure from
    that heartbeat too.
    """
    if not presence.asked:
        return tuple([epoch for epoch in presence.tenures if epoch <= committed])
    confirmed: list[int] = []
    for epoch in presence.tenures:
        switchover = presence.asked.get(epoch)
        is_revoking = switchover is not None and switchover.is_revoking
        if switchover is not None and (not is_revoking or epoch > committed):
            switchover.confirmed_ms = draft.now.now_ms
        if epoch <= committed and not is_revoking:
            confirmed.append(epoch)
    return tuple(confirmed)
