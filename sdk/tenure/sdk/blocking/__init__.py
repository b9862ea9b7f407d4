"""The SDK for programs without asyncio: the same clients, whose calls wait in the calling thread.

A facade and nothing else. Each client runs the asyncio one on an event loop in a thread of its own; whatever is sent,
repeated or decided is so there. Whether a role is held is read directly, without a hop to that thread.
"""

from __future__ import annotations

from tenure.sdk.blocking.client import ServiceClient
from tenure.sdk.blocking.listener import EventListener
from tenure.sdk.blocking.registration import Registration, Tenure
from tenure.sdk.blocking.scope import ActiveScope

__all__ = ["ActiveScope", "EventListener", "Registration", "ServiceClient", "Tenure"]
