"""A batch worker without asyncio, of which exactly one may work on a ledger, with a hot spare.

Start it twice, then kill the one that books with `kill -9`: the other one goes on within milliseconds. Ctrl-C and
SIGTERM hand over between two bookings.

    tenure serve
    python examples/blocking_worker.py worker-1 ledger
    python examples/blocking_worker.py worker-2 ledger

A thread cannot be cancelled, so the work looks for itself: it sleeps on `wait_ending`, and asks before each booking.
"""

from __future__ import annotations

import contextlib
import signal
import sys

from tenure.sdk.blocking import ServiceClient, Tenure

BOOKING_INTERVAL_MS = 100


def book(number: int, epoch: int) -> None:
    """Make one entry; whatever keeps the ledger should refuse an epoch smaller than one it has seen."""
    print(f"booked {number} under epoch {epoch}", flush=True)


def work(tenure: Tenure) -> None:
    """Book until the role is to end; runs in the main thread, and again under each new tenure."""
    print(f"active for {tenure.resource_id}, epoch {tenure.epoch}", flush=True)
    number = 0
    while not tenure.wait_ending(timeout_ms=BOOKING_INTERVAL_MS):
        number += 1
        book(number, tenure.ensure_active())  # RoleLostError, if the role is not held at this moment


def main(instance_id: str, resource_id: str) -> None:
    """Stand by for the ledger and book whenever active, until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: KeyboardInterrupt in the main thread
    with contextlib.suppress(KeyboardInterrupt), ServiceClient() as client:
        print(f"{instance_id} stands by for {resource_id}", flush=True)
        client.run_as_active("bookkeeper", work, instance_id=instance_id, resource_id=resource_id)
    print(f"{instance_id} has handed over", flush=True)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["worker-1", "ledger"]))
