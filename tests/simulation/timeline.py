"""Simulated time: steps in the order of their times, and processes that may be paused or end while steps wait for them.

Nothing here reads a clock or waits. Two steps at the same time happen in the order in which they were asked for, so
that a run depends on its seed alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial

type Step = Callable[[], None]


class Timeline:
    """The true time, and what is still to happen."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.steps = 0
        """How many have been taken."""
        self._waiting: list[tuple[float, int, Step]] = []
        self._number = 0

    def after(self, ms: float, step: Step) -> None:
        """Take a step `ms` from now."""
        self.at(self.now_ms + ms, step)

    def at(self, at_ms: float, step: Step) -> None:
        """Take a step at a time, after those that are to be taken at the same one already."""
        self._number += 1
        heapq.heappush(self._waiting, (at_ms, self._number, step))

    def step(self) -> None:
        """Take the next step, at its time."""
        self.now_ms, _, step = heapq.heappop(self._waiting)
        self.steps += 1
        step()

    @property
    def next_ms(self) -> float:
        """When the next step is due."""
        return self._waiting[0][0] if self._waiting else float("inf")


class Process:
    """Something that runs: while it is paused, what it would do waits; once it has ended, that is never done."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.is_paused = False
        self._incarnation = 0
        self._overdue: list[Step] = []

    @property
    def incarnation(self) -> int:
        """Which run of it this is."""
        return self._incarnation

    def later(self, ms: float, work: Step) -> None:
        """Do some work `ms` from now, or when it goes on after a pause."""
        self.timeline.after(ms, partial(self.run, work, self._incarnation))

    def run(self, work: Step, incarnation: int) -> None:
        """Do work of a certain run of it: at once, after the pause, or never."""
        if incarnation != self._incarnation:
            return
        if self.is_paused:
            self._overdue.append(work)
        else:
            work()

    def pause(self) -> None:
        """SIGSTOP, or a machine that is suspended."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on, with all that has come due meanwhile first."""
        self.is_paused = False
        overdue, self._overdue = self._overdue, []
        incarnation = self._incarnation
        for work in overdue:
            self.run(work, incarnation)

    def end(self) -> None:
        """The process is gone; what is begun from now on belongs to the next one."""
        self._incarnation += 1
        self.is_paused = False
        self._overdue.clear()
