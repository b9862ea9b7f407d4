"""How a session's roles begin, last and end: the registrations of one session, pure, time is an argument.

A tenure is valid until the SEND time of the newest heartbeat whose ANSWER named it, plus its limit, less what clocks
may drift. The limit is the lease, or the tenure's hold limit if that is longer. A new one starts from the newest
answered heartbeat of the session, unless that answer knew of it and did not name it: the broker ends a session's
tenures no earlier than their limit after the newest heartbeat it confirmed them for, and a session that ended grants
nothing.

Rules this file keeps, each of which was a broken guarantee once:
 - a tenure that was left is never entered again: one that ran out, was resigned or whose outcome is unknown is given
   up, and named in each heartbeat until the broker has said, by whichever way, that it is over;
 - a tenure that an answer does not name is extended by nothing else: the broker may be about to end it;
 - a statement that is not newer than the one applied to its registration is ignored, whichever way it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from msgspec import structs

from tenure.contract.limits import GIVEN_UP_MAX
from tenure.contract.messages import Entered, GivenUp, HeartbeatAck, Registered, RoleStatement, StepDown
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.drains import Drains
from tenure.sdk.heartbeats import Heartbeats
from tenure.sdk.standing import FOREVER, NEVER, Ask, Reading, Standing
from tenure.sdk.witness import Witness

_EARLY_MAX: Final = 10_000  # statements kept for registrations whose reply is still on its way


class Held:
    """One registration of this session; `standing` is replaced, never changed, so that any thread may read it."""

    __slots__ = (
        "ask",
        "asked_epoch",
        "entered",
        "follows",
        "hold_limit_ms",
        "is_scoped",
        "left_epoch",
        "registration_id",
        "standing",
    )

    def __init__(self, registration_id: int) -> None:
        self.registration_id = registration_id
        self.standing = Standing(ServiceRole.STANDBY, 0, NEVER, 0, "it stands by")
        self.entered = False
        """Whether the tenure of `standing` has been valid at some time."""
        self.follows = False
        """Whether its newest tenure took a role over, so that the broker wants to know when it was entered."""
        self.left_epoch = 0
        """The newest tenure left: neither it nor one before it is entered again."""
        self.hold_limit_ms = 0
        """How long the newest tenure lasts in silence, if longer than the lease."""
        self.ask: Ask | None = None
        """The newest ask for the end of one of its tenures; replaced, never changed; None once it is withdrawn."""
        self.asked_epoch = 0
        """The newest tenure that was ever asked to end, withdrawn or not: its work may have stopped for that."""
        self.is_scoped = False
        """Whether its work runs in a scope, which stops it before it resigns; else it resigns at the end of a drain."""


class Left:
    """A tenure that was left and whose end the broker has not acknowledged."""

    __slots__ = ("at", "declined")

    def __init__(self, at: Reading, *, declined: bool) -> None:
        self.at = at
        """When it was left, at the latest; `FOREVER` until the time is told the next time."""
        self.declined = declined


class Tenures:
    """All registrations of a session; `tenure.sdk.session` is what hears the broker and calls this."""

    def __init__(self, heartbeats: Heartbeats, witness: Witness, entry_margin_ms: float) -> None:
        self.registrations: dict[int, Held] = {}
        """By number; one that was left stays until the broker's answer, so that no earlier one brings it back."""
        self.given_up: dict[int, Left] = {}
        self.changed: list[Held] = []
        """Registrations whose standing changed; the shell takes them."""
        self.last_revision = 0
        self._beats = heartbeats
        self._witness = witness
        self._entry_margin_ms = entry_margin_ms
        self._drains = Drains()
        self._has_closed = False
        self._answered_revision = 0
        """How far the newest answer knew what there is."""
        self._confirmed: set[int] = set()
        """The epochs that it named."""
        self._entered: dict[int, tuple[float, int]] = {}
        """By epoch: when it was entered, and which heartbeat told so first (0: none yet)."""
        self._early: dict[int, RoleStatement] = {}
        self._no_lapse_before = FOREVER
        """No tenure ends earlier than this; heartbeats only move ends further away."""

    # --- registrations ------------------------------------------------------------------------------------------------

    def adopt(self, registered: Registered, now: Reading) -> Held:
        """Take in the answer to a registration, and what has been said about it by other ways since."""
        self._let_pass(now)
        if self._has_closed:  # it said goodbye, or was ended, while the answer was on its way
            late = Held(registered.registration_id)
            self._set(late, structs.replace(late.standing, why="its session has ended", is_ended=True), is_lost=False)
            return late
        held = self.registrations.get(registered.registration_id)
        if held is None:
            held = self.registrations[registered.registration_id] = Held(registered.registration_id)
        held.follows = registered.previous_epoch > 0
        self._apply_to(
            held,
            RoleStatement(
                registration_id=registered.registration_id,
                role=registered.role,
                epoch=registered.epoch,
                revision=registered.revision,
                hold_limit_ms=registered.hold_limit_ms,
            ),
            now,
        )
        early = self._early.pop(registered.registration_id, None)
        if early is not None:
            held.follows = True
            self._apply_to(held, early, now)
        return held

    def apply(self, statement: RoleStatement, now: Reading) -> None:
        """Take in a statement about a role, unless it is not newer than what was applied."""
        held = self.registrations.get(statement.registration_id)
        if held is not None:
            held.follows = True
            self._apply_to(held, statement, now)
            return
        known = self._early.get(statement.registration_id)
        if known is None or statement.revision > known.revision:
            self._early[statement.registration_id] = statement
        if len(self._early) > _EARLY_MAX:
            del self._early[next(iter(self._early))]

    def step_down(self, held: Held, why: str, *, declined: bool) -> int:
        """Leave the tenure BEFORE anything is sent about it; returns its epoch, 0 if there was none.

        `declined`: it does not want the vacancy it leaves either, which a request is to tell; else a heartbeat does.
        """
        epoch = self._leave(held, why, declined=declined, is_lost=False)
        if epoch and not declined:
            self._beats.hurry()  # whoever is next is waiting
        return epoch

    def end_registration(self, held: Held, why: str) -> int:
        """Leave the registration BEFORE anything is sent about it; returns the epoch it was in, else 0.

        To be followed by `forget`, once the broker has said that it is over.
        """
        return self._end_registration(held, why, is_lost=False)

    def forget(self, held: Held) -> None:
        """The broker has answered that a registration which was left is over: nothing earlier can still come."""
        assert held.standing.is_ended, "only what has ended is forgotten"
        self.registrations.pop(held.registration_id, None)
        self.given_up.pop(held.left_epoch, None)

    # --- what the session hears ---------------------------------------------------------------------------------------

    def _take_in(self, ack: HeartbeatAck, now: Reading) -> None:
        """A heartbeat was answered: what is confirmed lasts from when it was sent, and what is asked for is known."""
        self._answered_revision = ack.revision
        self._confirmed = set(ack.confirmed)
        self._entered = {
            epoch: (at_ms, told_in)
            for epoch, (at_ms, told_in) in self._entered.items()
            if not 0 < told_in <= ack.sequence
        }
        for statement in ack.statements:
            self.apply(statement, now)
        for epoch in ack.given_up:
            self.given_up.pop(epoch, None)
        active = [held for held in self.registrations.values() if held.standing.role is ServiceRole.ACTIVE]
        self._extend([held for held in active if held.standing.epoch in self._confirmed], now)
        self.changed += self._drains.withdraw_others(ask.epoch for ask in ack.asked)
        for ask in ack.asked:
            self._ask(ask, now)
        self._let_pass(now)

    def _ask(self, request: StepDown, now: Reading) -> None:
        held = self.registrations.get(request.registration_id)
        if held is None or not request.epoch or held.standing.epoch != request.epoch:
            return
        if request.withdrawn:
            is_news = self._drains.withdraw(request.epoch) is not None
        else:
            is_news = self._drains.ask(held, Ask(request.epoch, now.later(request.drain_ms)))
        if is_news:
            self.changed.append(held)

    def _close(self, why: str, *, is_lost: bool) -> None:
        """The session is over, and every registration with it."""
        self._has_closed = True
        for held in self.registrations.values():
            if not held.standing.is_ended:
                self._end_registration(held, why, is_lost=is_lost)

    def _apply_to(self, held: Held, statement: RoleStatement, now: Reading) -> None:
        standing = held.standing
        if statement.revision <= standing.revision or standing.is_ended:
            return
        self.last_revision = max(self.last_revision, statement.revision)
        if statement.role is None:
            held.left_epoch = max(held.left_epoch, standing.epoch)
            ended = Standing(ServiceRole.STANDBY, 0, NEVER, statement.revision, "it was deregistered", is_ended=True)
            self._set(held, ended, is_lost=True)
        elif statement.role is ServiceRole.STANDBY:
            held.left_epoch = max(held.left_epoch, standing.epoch)
            why = "the broker has ended its tenure" if standing.epoch else (standing.why or "it stands by")
            self._set(held, Standing(ServiceRole.STANDBY, 0, NEVER, statement.revision, why), is_lost=True)
            self.given_up.pop(held.left_epoch, None)
        elif statement.epoch > max(held.left_epoch, standing.epoch):
            why = "no heartbeat has confirmed the role yet"
            held.hold_limit_ms = statement.hold_limit_ms
            self._set(held, Standing(ServiceRole.ACTIVE, statement.epoch, NEVER, statement.revision, why), is_lost=True)
            self.given_up.pop(held.left_epoch, None)
            if self._answered_revision < statement.epoch or statement.epoch in self._confirmed:
                self._extend((held,), now)
        else:  # the tenure it is in, which only heartbeats extend, or one that was left, which is not entered again
            held.standing = structs.replace(standing, revision=statement.revision)

    # --- how tenures begin, last and end ------------------------------------------------------------------------------

    def _let_pass(self, now: Reading) -> None:
        """Give up every tenure whose time is up, and leave those that were asked to end once their drain is over."""
        if not now.is_before(self._no_lapse_before):
            self._no_lapse_before = FOREVER
            for held in self.registrations.values():
                if held.entered and not held.standing.is_active(now):
                    why = "its lease ran out before a heartbeat was answered"
                    self._leave(held, why, declined=False, is_lost=True, at=held.standing.valid_until)
                elif held.entered:
                    self._no_lapse_before = self._no_lapse_before.earlier(held.standing.valid_until)
        for held in self._drains.over(now):
            self._leave(held, "it was asked to step down", declined=True, is_lost=False)
            self._beats.hurry()  # whoever asked is waiting

    def _extend(self, tenures: Iterable[Held], now: Reading) -> None:
        """Let tenures last until the newest answered heartbeat's send time plus their limit, less the drift bound."""
        if self._beats.confirmed_from is None:
            return
        by_limit: dict[int, list[Held]] = {}
        for held in tenures:
            by_limit.setdefault(held.hold_limit_ms, []).append(held)
        for hold_limit_ms, alike in by_limit.items():
            limit_ms = max(self._beats.lease_ms, hold_limit_ms)
            until = self._beats.valid_until(limit_ms)
            if now.is_before(until):
                if now.until_ms(until) <= self._entry_margin_ms:
                    alike = [held for held in alike if held.entered]  # noqa: PLW2901 (none may begin so late)
                self._let_last(alike, until, now)

    def _let_last(self, tenures: Sequence[Held], until: Reading, now: Reading) -> None:
        """All at once: a session may hold thousands, and the application waits while each answer goes through them."""
        if not tenures:
            return
        self._witness.extending([held.standing.epoch for held in tenures], now, until, self.last_revision)
        self._no_lapse_before = self._no_lapse_before.earlier(until)
        for held in tenures:
            standing = held.standing
            held.standing = Standing(ServiceRole.ACTIVE, standing.epoch, until, standing.revision, "")
            if not held.entered:
                held.entered = True
                self.changed.append(held)
                if held.follows:
                    self._entered[standing.epoch] = (now.raw_ms, 0)
                    self._beats.hurry()  # the broker wants to know how long nobody was active

    def _list_entered(self, sequence: int, now: Reading) -> tuple[Entered, ...]:
        """The tenures entered since the last heartbeat that was answered; each is told of until one that told is."""
        listed: list[Entered] = []
        for epoch, (at_ms, told_in) in list(islice(self._entered.items(), GIVEN_UP_MAX)):
            self._entered[epoch] = (at_ms, told_in or sequence)
            listed.append(Entered(epoch=epoch, ago_ms=max(0, int(now.raw_ms - at_ms))))
        return tuple(listed)

    def _date_given_up(self, now: Reading) -> None:
        """What was left since the time was told last was left now: an application leaves without looking at a clock."""
        for left in self.given_up.values():
            left.at = left.at.earlier(now)

    def _list_given_up(self, now: Reading) -> tuple[GivenUp, ...]:
        """Every tenure that was left, and how long ago by the clock that says more: one of them stands in a suspend."""
        return tuple(
            GivenUp(epoch=epoch, declined=left.declined, ago_ms=max(0, int(-now.until_ms(left.at))))
            for epoch, left in self.given_up.items()
        )

    def _leave(self, held: Held, why: str, *, declined: bool, is_lost: bool, at: Reading = FOREVER) -> int:
        epoch = held.standing.epoch
        if held.standing.role is not ServiceRole.ACTIVE:
            return 0
        held.left_epoch = max(held.left_epoch, epoch)
        self.given_up[epoch] = Left(at, declined=declined)
        left = structs.replace(held.standing, role=ServiceRole.STANDBY, epoch=0, valid_until=NEVER, why=why)
        self._set(held, left, is_lost=is_lost)
        return epoch

    def _end_registration(self, held: Held, why: str, *, is_lost: bool) -> int:
        epoch = self._leave(held, why, declined=True, is_lost=is_lost)
        self._set(held, structs.replace(held.standing, why=why, is_ended=True), is_lost=is_lost)
        return epoch

    def _set(self, held: Held, standing: Standing, *, is_lost: bool) -> None:
        epoch, was_entered = held.standing.epoch, held.entered
        held.standing = standing
        held.entered = False
        self.changed.append(held)
        self._drains.end(epoch)
        if was_entered:
            self._witness.left(epoch, standing.why, is_lost=is_lost)
