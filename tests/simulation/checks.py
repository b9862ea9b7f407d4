"""What must hold after every step, and what everything that leaves the broker is measured against.

Beliefs begin at steps only and end by themselves, at a time that is fixed when they begin or are extended. So if two
overlap at any moment between two steps, they do so at the end of the earlier step, and looking there misses nothing.

Everything is checked per history. The logs are the judge: a belief is that of a tenure which has not ended, an answer
or a publication is of what is durable, and a listener is told exactly what a log has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tenure.contract.errors import ErrorInfo
from tenure.contract.events import AnyEvent, DeregisteredEvent, RoleChangedEvent, SessionOpenedEvent
from tenure.contract.history import EventPage, Events, Progress
from tenure.contract.messages import (
    BrokerMessage,
    Deregistered,
    ErrorReply,
    HeartbeatAck,
    Registered,
    Resigned,
    RoleStatement,
    RoleStatements,
    ServicePage,
    StreamMessage,
    Welcome,
)
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.stream import RestartReason, StreamRestarted
from tenure.sdk.tenures import Held
from tests.simulation.client import Client
from tests.simulation.disk import Disk
from tests.simulation.shell import Shell
from tests.simulation.violation import Violation

type Tenures = tuple[str, str]
"""A history and a resource in it."""

_NOTHING_BEFORE: Final = ("", 0)


class Checks:
    """The memory that the promises need."""

    def __init__(self, first: Disk) -> None:
        self.logs: dict[str, Disk] = {first.history_id: first}
        """What is the truth, by history: also while the broker runs on an old copy of it."""
        self.judges_by_log = True
        """Whether beliefs are held against the log as well, which shows what is wrong before two believe it."""
        self.replaced_ms: dict[str, float] = {}
        """When each history that is over was replaced."""
        self._believed: dict[Tenures, tuple[str, int]] = {}
        """The newest tenure that anybody believed in: who, and the epoch."""
        self._left: set[tuple[Tenures, int]] = set()
        self._newest_left: dict[Tenures, int] = {}
        self.restarts_allowed: set[RestartReason] = set()
        """What has happened that a listener cannot go on after."""
        self._told: tuple[str, int] = _NOTHING_BEFORE
        """The history and the revision a listener has reached."""

    # --- beliefs ------------------------------------------------------------------------------------------------------

    def beliefs(self, clients: Iterable[Client], now_ms: float) -> None:
        """Nobody believes to be active beside another, in a tenure that was left, or in one that has ended."""
        holders: dict[Tenures, tuple[str, int]] = {}
        for client in clients:
            for held in client.core.registrations.values():
                if held.standing.epoch and held.standing.is_active(client.machine.reading):
                    self._belief(client, held, holders, now_ms)
        if holders != self._believed:
            self._note(holders)

    def _belief(self, client: Client, held: Held, holders: dict[Tenures, tuple[str, int]], now_ms: float) -> None:
        history_id, resource_id = client.core.history_id, client.resource_of[held.registration_id]
        assert history_id is not None, "a session without a history holds nothing"
        where, who = (history_id, resource_id), (client.name, held.standing.epoch)
        if where in holders:
            raise Violation("two actives", f"{resource_id}: {holders[where]} and {who} at once")
        holders[where] = who
        if not self.judges_by_log:
            return
        replaced_ms = self.replaced_ms.get(history_id)
        if replaced_ms is not None and now_ms > replaced_ms + client.limit_ms:
            raise Violation("history", f"{resource_id}: {who} a lease after its store was replaced")
        durable = self.logs[history_id].active.get(resource_id)
        if durable is None or (durable.registration_id, durable.epoch) != (held.registration_id, who[1]):
            raise Violation("believed too long", f"{resource_id}: {who}, but durable is {durable}")

    def _note(self, holders: dict[Tenures, tuple[str, int]]) -> None:
        for where, who in self._believed.items():
            if holders.get(where) != who:
                self._left.add((where, who[1]))
                self._newest_left[where] = max(who[1], self._newest_left.get(where, 0))
        for where, who in holders.items():
            if who[1] <= self._newest_left.get(where, 0):
                promise = "entered again" if (where, who[1]) in self._left else "epochs"
                raise Violation(promise, f"{where[1]}: {who} after {self._newest_left[where]} was left")
        self._believed = holders

    def confirmed(self, client: Shell, ack: HeartbeatAck) -> None:
        """Whoever does not hold a tenure that the broker confirms to him has told it so, or is still to be told."""
        for held in client.core.registrations.values():
            standing = held.standing
            if standing.is_ended or standing.epoch or standing.revision > ack.revision:
                continue
            if held.left_epoch in ack.confirmed and held.left_epoch not in client.core.given_up:
                what = f"{client.name} has left epoch {held.left_epoch} and does not tell"
                raise Violation("left in silence", what)

    # --- what leaves the broker ---------------------------------------------------------------------------------------

    def answer(self, disk: Disk, message: BrokerMessage) -> None:
        """What the broker says is durable, as it says it."""
        match message:
            case HeartbeatAck():
                self._ack(disk, message)
            case Registered(registration_id=number, role=role, epoch=epoch, revision=revision):
                statement = RoleStatement(registration_id=number, role=role, epoch=epoch, revision=revision)
                self._statements(disk, (statement,))
            case RoleStatements(statements=statements):
                self._statements(disk, statements)
            case Resigned(statement=statement) | Deregistered(statement=statement):
                self._statements(disk, (statement,))
            case Welcome():
                self._welcome(disk, message)
            case EventPage(events=events, revision=revision):
                self._events(disk, events, revision)
            case ServicePage(revision=revision):
                if revision > disk.revision:
                    raise Violation("acknowledged", f"a page of revision {revision}, durable is {disk.revision}")
            case ErrorReply(error=error):
                self._refusal(disk, error)
            case _:
                pass

    def published(self, disk: Disk, message: StreamMessage) -> None:
        """What the broker publishes is durable."""
        match message:
            case Events(events=events):
                self._events(disk, events, events[-1].revision)
            case Progress(revision=revision):
                self._events(disk, (), revision)

    def _welcome(self, disk: Disk, welcome: Welcome) -> None:
        is_new = welcome.session > disk.base
        is_open = isinstance(disk.event(welcome.session), SessionOpenedEvent)
        if welcome.revision > disk.revision or (is_new and not is_open):
            raise Violation("acknowledged", f"{welcome} before it was durable")

    def _ack(self, disk: Disk, ack: HeartbeatAck) -> None:
        active = {registration.epoch for registration in disk.active.values()}
        if ack.revision > disk.revision or not active.issuperset(ack.confirmed):
            raise Violation("acknowledged", f"{ack} confirms what is not durable")
        if not active.isdisjoint(ack.given_up):
            raise Violation("acknowledged", f"{ack} takes for over what is not")
        self._statements(disk, ack.statements)

    def _statements(self, disk: Disk, statements: Iterable[RoleStatement]) -> None:
        for statement in statements:
            if statement.revision <= disk.base:
                continue  # from before the store was restored
            event = disk.event(statement.revision)
            if not isinstance(event, RoleChangedEvent) or event.registration_id != statement.registration_id:
                raise Violation("acknowledged", f"{statement} is not durable")
            is_gone = isinstance(event, DeregisteredEvent)
            epoch = event.epoch if event.new_role is ServiceRole.ACTIVE else 0
            if (statement.role is None) is not is_gone or statement.role != event.new_role or statement.epoch != epoch:
                raise Violation("acknowledged", f"{statement}, but durable is {event}")

    def _events(self, disk: Disk, events: Iterable[AnyEvent], revision: int) -> None:
        if revision > disk.revision or any(event != disk.event(event.revision) for event in events):
            raise Violation("published", f"events up to {revision}, durable is {disk.revision}")

    def _refusal(self, disk: Disk, error: ErrorInfo) -> None:
        if error.holder is not None and error.holder.epoch > disk.revision:
            raise Violation("acknowledged", f"{error} names a holder that is not durable")

    # --- listeners ----------------------------------------------------------------------------------------------------

    def listener_begins(self, history_id: str, revision: int) -> None:
        """A listener has its first snapshot."""
        self._reach(history_id, revision)

    def told(self, told: AnyEvent | StreamRestarted) -> None:
        """A listener is told each event once and in order, or that something has made that impossible."""
        history_id, revision = self._told
        if isinstance(told, StreamRestarted):
            if told.reason not in self.restarts_allowed:
                raise Violation("listener", f"{told} without a cause")
            if (told.last_history_id, told.last_revision) != self._told:
                raise Violation("listener", f"{told} after revision {revision}")
            self._reach(told.history_id, told.revision)
        elif told.revision != revision + 1:
            raise Violation("listener", f"event {told.revision} after {revision}")
        elif told != self.logs[history_id].event(told.revision):
            raise Violation("listener", f"{told} is not what {history_id} has")
        else:
            self._told = (history_id, told.revision)

    def _reach(self, history_id: str, revision: int) -> None:
        if revision > self.logs[history_id].revision:
            raise Violation("listener", f"a snapshot of revision {revision} that is not durable")
        self._told = (history_id, revision)
