"""Which tenures of a session somebody has asked to end, and until when their work may go on: pure, time is an argument.

Holds no role: an ask ends nothing by itself. What the newest answer of the broker lists is what is asked for, so a lost
request and a lost withdrawal are both made up for; an ask that is withdrawn in time is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tenure.sdk.standing import FOREVER, Ask, Reading

if TYPE_CHECKING:
    from tenure.sdk.tenures import Held


class Drains:
    """The asks of one session."""

    def __init__(self) -> None:
        self._asked: dict[int, Held] = {}
        """By the epoch that is to end."""
        self._none_over_before = FOREVER
        """No drain of a tenure without a scope is over earlier than this."""

    def ask(self, held: Held, ask: Ask) -> bool:
        """Somebody asks for the end of the tenure that is held; returns whether that is sooner than was known."""
        known = held.ask
        held.ask = ask
        held.asked_epoch = ask.epoch
        self._asked[ask.epoch] = held
        self._none_over_before = self._none_over_before.earlier(ask.until)
        return known is None or known.epoch != ask.epoch or ask.until.until_ms(known.until) > 0

    def withdraw(self, epoch: int) -> Held | None:
        """It need not end any more; returns whose tenure it is if it was asked to."""
        held = self._asked.pop(epoch, None)
        if held is not None:
            held.ask = None
        return held

    def withdraw_others(self, epochs: Iterable[int]) -> list[Held]:
        """Only these are asked to end; returns whose tenures are not any more."""
        gone = self._asked.keys() - set(epochs)
        return [held for epoch in gone if (held := self.withdraw(epoch)) is not None]

    def end(self, epoch: int) -> None:
        """The tenure has ended; what was asked of it stays with the registration until its next one."""
        self._asked.pop(epoch, None)

    def over(self, now: Reading) -> list[Held]:
        """Whose time is up and nobody stops their work: they have no scope."""
        if now.is_before(self._none_over_before):
            return []
        self._none_over_before = FOREVER
        over: list[Held] = []
        for held in self._asked.values():
            assert held.ask is not None, "it was asked"
            if held.is_scoped:
                continue
            if now.is_before(held.ask.until):
                self._none_over_before = self._none_over_before.earlier(held.ask.until)
            else:
                over.append(held)
        return over

    def over_in_ms(self, now: Reading) -> float:
        """How long `over` stays as it is."""
        return now.until_ms(self._none_over_before)
