"""An event loop in a thread of its own, and how other threads have it do something and wait for that.

A call that is interrupted (Ctrl-C, or whatever else a signal handler raises) is cancelled there and waited for, so that
nothing goes on that nobody waits for. A call that was accepted always ends, at the latest when the portal is closed. In
the child of a fork there is no such thread: every call says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Final

from tenure.contract.errors import ClientClosedError

CLOSE_MS: Final = 1_000
"""How long closing waits for calls that it has cancelled. Those take milliseconds, but for work that runs in another
thread while it holds a role: so long, the role stays with it."""


class Pending[T]:
    """A call that the portal is at."""

    def __init__(self, portal: Portal, coroutine: Coroutine[Any, Any, T]) -> None:
        self._portal = portal
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._outcome: Future[T] = Future()

    def begin(self) -> asyncio.Task[T]:
        """Start; called on the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._finish)
        return self._task

    def _finish(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._outcome.set_exception(ClientClosedError("it was closed while this call waited"))
        elif (error := task.exception()) is not None:
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(task.result())

    def when_done(self, then: Callable[[], None]) -> None:
        """Call back on the event loop once the outcome is there."""
        self._outcome.add_done_callback(lambda _: then())

    def cancel(self) -> None:
        """Have it cancelled, without waiting for that."""
        self._portal.tell(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def wait(self) -> None:
        """Wait for its end, whatever that is.

        Raises:
            ClientClosedError: This process is the child of a fork, where nobody goes on with it.
        """
        self._portal.check_here()
        self._outcome.exception()

    def result(self) -> T:
        """Wait for its outcome. Whoever interrupts that cancels it, and goes on when it has ended.

        Raises:
            ClientClosedError: The portal was closed meanwhile, or this process is the child of a fork.
            Exception: Whatever the call raised.
        """
        self._portal.check_here()
        try:
            return self._outcome.result()
        finally:
            if not self._outcome.done():
                self.cancel()
                self.wait()


class Portal:
    """The thread and its event loop, from here on until `close`."""

    def __init__(self) -> None:
        self.is_over = False
        """Whether the loop is about to end: nothing may be waited for there any more."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_open = True
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        """Those that closing cancels."""
        self._thread = threading.Thread(target=self._run, name="tenure-portal", daemon=True)
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether its thread is one of this process, which it is not in the child of a fork."""
        return self._pid == os.getpid()

    @property
    def calls(self) -> int:
        """How many calls it is at."""
        return len(self._tasks)

    def check_here(self) -> None:
        """Raise in the child of a fork.

        Raises:
            ClientClosedError: This is one.
        """
        if not self.is_here:
            raise ClientClosedError("this process is a fork of the one that opened the client: open another one here")

    def start[T](self, coroutine: Coroutine[Any, Any, T], *, ends_itself: bool = False) -> Pending[T]:
        """Have the event loop begin with a call. What `ends_itself` when all is closed is not cancelled before.

        Raises:
            ClientClosedError: The portal is closed, or this process is the child of a fork.
        """
        if self.is_here:
            with self._lock:
                if self._is_open:
                    return self._begin(coroutine, is_cancelled=not ends_itself)
        coroutine.close()  # else Python would complain that it was never awaited
        self.check_here()
        raise ClientClosedError("it is closed; open another one")

    def call[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Have the event loop do something, and wait for its outcome in this thread.

        Raises:
            ClientClosedError: As `start`; or the portal was closed meanwhile.
            Exception: Whatever the coroutine raised.
        """
        return self.start(coroutine).result()

    def tell(self, what: Callable[[], object]) -> None:
        """Call something on the event loop, after all that was started before. Does nothing if there is none left."""
        if self.is_here:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(what)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel all calls, wait for them for a second, do `last`, and end the thread. Safe to repeat.

        Raises:
            Exception: Whatever `last` raised; the thread has ended all the same.
        """
        if not self.is_here:
            return
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            ending = self._begin(self._finish(last), is_cancelled=False)
        try:
            ending.result()
        finally:
            self.tell(self._end)
            self._thread.join()

    # --- on the event loop --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    def _begin[T](self, coroutine: Coroutine[Any, Any, T], *, is_cancelled: bool) -> Pending[T]:
        pending = Pending(self, coroutine)

        def begin() -> None:
            task = pending.begin()
            if is_cancelled:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(begin)
        return pending

    async def _finish(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_MS / 1_000)
        await last()

    def _end(self) -> None:
        self.is_over = True
        self._loop.stop()


async def within[T](wait: Callable[[], Coroutine[Any, Any, T]], timeout_ms: float | None) -> T:
    """What is waited for, if it comes in time.

    Raises:
        TimeoutError: It did not; the wait was cancelled.
    """
    async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1_000):
        return await wait()


def each[T](portal: Portal, items: AsyncIterator[T]) -> Iterator[T]:
    """What an asynchronous iterator gives, until it ends, which it has to do by itself when all is closed.

    Raises:
        ClientClosedError: This process is the child of a fork.
    """

    async def next_item() -> T:
        return await anext(items)

    while True:
        try:
            yield portal.start(next_item(), ends_itself=True).result()
        except StopAsyncIteration:
            return
        except ClientClosedError:
            portal.check_here()
            return
