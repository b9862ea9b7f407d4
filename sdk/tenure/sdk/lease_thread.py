"""The thread that keeps a session's lease: its own socket, its own loop, nothing of the application's.

The shell of `tenure.sdk.session`. Because it is a thread, an event loop that is blocked does not cost a role; code that
holds the interpreter's lock for longer than the lease does. The core is shared with the application's thread under one
lock, held for microseconds; standings are read without it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from itertools import cycle
from math import ceil
from typing import Final

import structlog
import zmq

from tenure.contract import codec
from tenure.contract.errors import SessionExpiredError
from tenure.contract.messages import Hello
from tenure.sdk.clocks import read_clocks
from tenure.sdk.heartbeats import ConnectionState
from tenure.sdk.session import Held, Phase, SessionCore
from tenure.sdk.sockets import Context, Socket, connect_dealer, receive_waiting, try_send

_WAIT_MS_MAX: Final = 1_000
_CONTROL_ID: Final = b"c"  # answers are told apart by their contents, not by their request


class LeaseThread:
    """Runs a session's control channel from `start` until the session ends or `stop`."""

    def __init__(
        self,
        core: SessionCore,
        lock: threading.Lock,
        context: Context,
        endpoints: tuple[str, ...],
        on_change: Callable[[list[Held], ConnectionState], None],
        is_abandoned: Callable[[], bool],
    ) -> None:
        """Prepare the thread, which calls both functions.

        Args:
            core: The session.
            lock: Held for each look at it.
            context: What makes sockets.
            endpoints: Where brokers may be, tried in turn.
            on_change: Told which standings changed, and how it stands with the broker now.
            is_abandoned: Whether nobody can use the session any more, so that it is not to be kept.
        """
        self._core = core
        self._lock = lock
        self._context = context
        self._turns = cycle(endpoints)
        self._on_change = on_change
        self._is_abandoned = is_abandoned
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.sdk")
        self._socket: Socket | None = None
        self._hello: Hello | None = None
        """The hello that has not left yet."""
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._wake_fd, zmq.POLLIN)
        self._was_connected = False
        self._has_been_connected = False
        self._had_stalled = False
        self._state = ConnectionState.LOST
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="tenure-lease", daemon=True)

    def start(self) -> None:
        """Begin to connect and to keep the lease."""
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look at the core now, from any thread. Does nothing once it has stopped."""
        if not self._is_stopping:
            os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """End the thread and its socket; waits for it, which takes less than a millisecond. Safe to repeat."""
        if self._is_stopping:
            return
        self._is_stopping = True  # before the wake-up, or the thread could take that and wait again
        os.eventfd_write(self._wake_fd, 1)
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._wake_fd)

    def _run(self) -> None:
        try:
            while not self._is_stopping and self._core.phase is not Phase.ENDED:
                if self._is_abandoned():  # no goodbye: what it has begun in threads of its own may go on
                    self._end("its event loop was closed before the client was")
                else:
                    self._turn()
        except Exception:
            self._log.critical("lease_thread.failed", exc_info=True)
            self._end("the lease thread failed, which the log tells of")
        finally:
            if self._socket is not None:
                self._socket.close(0)
            self._report()

    def _end(self, why: str) -> None:
        """Let nothing be active any more, and send nothing: the broker finds out when the lease is over."""
        with self._lock:
            self._core.end(why, SessionExpiredError(f"{why}; open the client again"))

    def _turn(self) -> None:
        """Do what the core asks for, take in what has come, tell the application, and wait for more."""
        now = read_clocks()
        with self._lock:
            heartbeat = self._core.advance(now)
            wants_connection = self._core.take_connect(now)
            has_stalled = self._core.loop_has_stalled(now)
        self._log_stall(has_stalled)
        if wants_connection:
            self._reconnect()
        socket = self._socket
        if socket is not None:
            if heartbeat is not None:  # one that cannot leave now counts as unanswered
                try_send(socket, _CONTROL_ID, codec.encode(heartbeat))
            self._take_in(socket)
            if self._hello is not None and try_send(socket, _CONTROL_ID, codec.encode(self._hello)):
                self._hello = None
            self._poller.modify(socket, zmq.POLLIN if self._hello is None else zmq.POLLIN | zmq.POLLOUT)
        self._report()
        with self._lock:
            wait_ms = self._core.next_wake_ms(read_clocks())
        self._poller.poll(ceil(min(wait_ms, _WAIT_MS_MAX)))
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    def _reconnect(self) -> None:
        if self._socket is not None:
            self._poller.unregister(self._socket)
            self._socket.close(0)
        self._socket = connect_dealer(self._context, next(self._turns))
        self._poller.register(self._socket, zmq.POLLIN)
        with self._lock:
            self._hello = self._core.hello()

    def _take_in(self, socket: Socket) -> None:
        for _, message in receive_waiting(socket):
            with self._lock:
                again = self._core.receive(message, read_clocks())
            if again is not None:
                self._hello = again

    def _report(self) -> None:
        now = read_clocks()
        with self._lock:
            changed, self._core.changed = self._core.changed, []
            is_connected = self._core.is_connected
            state = self._core.connection_state(now)
            has_ended = self._core.phase is Phase.ENDED
        if state is not self._state:
            self._log_state(state)
        if changed or has_ended or state is not self._state or is_connected is not self._was_connected:
            self._state, self._was_connected = state, is_connected
            self._on_change(changed, state)

    def _log_state(self, state: ConnectionState) -> None:
        session = self._core.session
        if state is ConnectionState.CONNECTED:
            if self._has_been_connected:  # the first time is what `open` waits for
                self._log.info("session.connected", session=session)
            self._has_been_connected = True
        elif state is ConnectionState.SUSPENDED:
            hint = "roles go on until their time is up; reconnecting"
            self._log.warning("session.suspended", session=session, hint=hint)
        elif self._core.phase is not Phase.ENDED:
            hint = "no answer for a lease: only tenures with a hold limit go on; reconnecting"
            self._log.warning("session.lost", session=session, hint=hint)
        elif self._core.error is not None:
            self._log.warning("session.lost", session=session, reason=str(self._core.error))

    def _log_stall(self, has_stalled: bool) -> None:
        """Say once that the application's event loop stands still."""
        if has_stalled and not self._had_stalled:
            self._log.warning(
                "loop.stalled",
                session=self._core.session,
                hint="no heartbeat goes out until the loop turns again",
            )
        self._had_stalled = has_stalled
