"""When a session connects and sends heartbeats, and how long the broker has been silent: pure, time is an argument.

While the broker has welcomed the connection, a heartbeat goes out each interval, or at once if something is to be told
(`hurry`) and none is under way. Two without an answer, and the connection is given up for another one; so is one that
is not welcomed in time. It knows nothing of roles: what an answer confirms is `tenure.sdk.tenures`' business.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from tenure.contract.limits import CLOCK_DRIFT_PPM, heartbeat_interval_ms
from tenure.sdk.standing import Reading

_UNANSWERED_MAX: Final = 2
_CONNECT_MS_MIN: Final = 100
_CONNECT_MS_MAX: Final = 1_000


class ConnectionState(StrEnum):
    """How a client stands with its broker."""

    CONNECTED = "connected"
    """Heartbeats are answered."""
    SUSPENDED = "suspended"
    """They are not, at present: what is held is held until its time is up."""
    LOST = "lost"
    """None was answered for a lease, or the session has ended: only tenures with a hold limit are held, if any."""


class Heartbeats:
    """A session's control channel, seen from its clock. No method waits."""

    def __init__(self, lease_ms: int) -> None:
        self.lease_ms = lease_ms
        self.interval_ms = heartbeat_interval_ms(lease_ms)
        self.confirmed_from: Reading | None = None
        """The send time of the newest answered heartbeat."""
        self.is_answered = False
        """Whether a heartbeat was answered on the present connection."""
        self._connection = 0
        self._is_welcome = False
        self._wants_connection = True
        self._connecting_since: Reading | None = None
        self._sequence = 0
        self._unanswered: dict[int, Reading] = {}
        self._last_sent: Reading | None = None
        self._is_hurried = False
        self._margin_ms: float | None = None
        """The smallest margin of an answer since the last heartbeat."""

    # --- connections --------------------------------------------------------------------------------------------------

    def take_connect(self, now: Reading) -> bool:
        """Whether a new connection is to be made now, in place of the old one; says so once for each."""
        if not self._wants_connection:
            return False
        self._wants_connection = False
        self._connecting_since = now
        return True

    def next_connection(self) -> int:
        """The number of the next hello: rising, so that the broker knows the newest connection."""
        self._connection += 1
        return self._connection

    def lose_connection(self) -> None:
        """The connection is of no use any more: ask for another."""
        self.is_answered = self._is_welcome = False
        self._wants_connection = True
        self._unanswered.clear()
        self._last_sent = None

    def begin_again(self, now: Reading) -> None:
        """The broker has forgotten the connection: hello is said on it once more, and no other one is made."""
        self.lose_connection()
        self._wants_connection = False
        self._connecting_since = now

    def welcome(self, lease_ms: int, interval_ms: int) -> None:
        """The broker takes heartbeats on this connection, and this is the lease in force."""
        self.lease_ms = lease_ms
        self.interval_ms = interval_ms
        self._is_welcome = True
        self._last_sent = None

    def stop(self) -> None:
        """The session is over."""
        self.is_answered = self._is_welcome = False

    # --- heartbeats ---------------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """There is something to tell: the next heartbeat is due as soon as none is under way."""
        self._is_hurried = True

    def take_due(self, now: Reading, *, is_held_back: bool) -> int | None:
        """The number of the heartbeat to send now, if one is due and none is to be held back."""
        if not self._is_welcome:
            if self._connecting_since is not None and now.raw_ms - self._connecting_since.raw_ms >= self._patience_ms:
                self._wants_connection = True
            return None
        if is_held_back or self._due_in_ms(now) > 0:
            return None
        if len(self._unanswered) >= _UNANSWERED_MAX:
            self.lose_connection()
            return None
        self._sequence += 1
        self._is_hurried = False
        self._unanswered[self._sequence] = self._last_sent = now
        return self._sequence

    def answered(self, sequence: int, now: Reading) -> bool:
        """An answer has come; False if it counts for nothing: it came twice, too late or over another connection."""
        sent = self._unanswered.get(sequence)
        if sent is None:
            return False
        if self.confirmed_from is not None:
            margin_ms = max(0.0, now.until_ms(self.valid_until(self.lease_ms)))
            self._margin_ms = margin_ms if self._margin_ms is None else min(self._margin_ms, margin_ms)
        self._unanswered = {number: at for number, at in self._unanswered.items() if number > sequence}
        self.confirmed_from = sent
        self.is_answered = True
        return True

    def take_margin_ms(self, now: Reading) -> int | None:
        """How much of the lease was left when it was last renewed, at worst since this was last asked.

        Without an answer since then what is left now, since the next one will find less; None before the first answer.
        """
        margin_ms, self._margin_ms = self._margin_ms, None
        if margin_ms is None and self.confirmed_from is not None:
            margin_ms = max(0.0, now.until_ms(self.valid_until(self.lease_ms)))
        return None if margin_ms is None else int(margin_ms)

    # --- time ---------------------------------------------------------------------------------------------------------

    def valid_until(self, limit_ms: int) -> Reading:
        """Until when the newest answer lets what it confirms last, less what clocks may drift."""
        assert self.confirmed_from is not None, "a heartbeat was answered"
        return self.confirmed_from.later(limit_ms * (1 - CLOCK_DRIFT_PPM / 1_000_000))

    def state(self, now: Reading) -> ConnectionState:
        """How the session stands with its broker."""
        if self.confirmed_from is None or not now.is_before(self.valid_until(self.lease_ms)):
            return ConnectionState.LOST
        return ConnectionState.CONNECTED if self.is_answered else ConnectionState.SUSPENDED

    def wake_in_ms(self, now: Reading, *, is_held_back: bool) -> float:
        """How long there is nothing to do if nothing comes in."""
        wait_ms = self._patience_ms
        if self._is_welcome:
            wait_ms = self.interval_ms if is_held_back else self._due_in_ms(now)
        if self.confirmed_from is not None:
            lost_in_ms = now.until_ms(self.valid_until(self.lease_ms))
            wait_ms = min(wait_ms, lost_in_ms) if lost_in_ms > 0 else wait_ms
        return wait_ms

    def _due_in_ms(self, now: Reading) -> float:
        if self._last_sent is None or (self._is_hurried and not self._unanswered):
            return 0.0
        return self.interval_ms - (now.raw_ms - self._last_sent.raw_ms)

    @property
    def _patience_ms(self) -> float:
        """How long to wait for a connection to become of use before another is tried."""
        return min(max(self.interval_ms, _CONNECT_MS_MIN), _CONNECT_MS_MAX)
