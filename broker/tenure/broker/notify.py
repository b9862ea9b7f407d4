"""What a service manager wants to hear: that the broker is ready, how it is, that it stops, and that its loop turns.

It is systemd's protocol (sd_notify(3)): lines in one datagram to the socket that `NOTIFY_SOCKET` names. Nothing waits
for it and nothing fails by it: who cannot be told is not told, and the log says so once.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Final

import structlog

_PINGS_PER_TIMEOUT: Final = 2  # as sd_watchdog_enabled(3) recommends


class ServiceManager:
    """Whoever started this process, as far as it wants to hear of it; does nothing if it does not."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.broker")
        self._ping_s = _ping_s(environ)
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # a name in no directory
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def tell(self, **values: object) -> None:
        """Send values under the names that systemd gives them, such as `READY=1`."""
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(f"{name}={value}" for name, value in values.items()).encode(), self._address)
        except BlockingIOError:  # it has more to read than it can; the next ping says as much
            pass
        except OSError as error:
            self._log.warning("manager.unreachable", socket=self._address.replace("\0", "@"), reason=str(error))
            self.close()

    async def ping_forever(self) -> None:
        """Say that the loop turns, twice in the time after which it would be taken for dead; ends if nobody asks."""
        while self._ping_s:
            self.tell(WATCHDOG=1)
            await asyncio.sleep(self._ping_s)

    def close(self) -> None:
        """Tell nothing more. Safe to repeat."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _ping_s(environ: Mapping[str, str]) -> float:
    """How often a ping is due; 0 if none is wanted of this process."""
    timeout_us = environ.get("WATCHDOG_USEC", "")
    if not timeout_us.isdecimal() or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(timeout_us) / 1_000_000 / _PINGS_PER_TIMEOUT
