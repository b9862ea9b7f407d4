"""Tenure beside what users would pick instead: the same durable work, by turns, in one run.

Each peer is a module with one class (`bench.peers.peer.Peer`): how its server is started with its documented durable
settings, and how its own Python client claims a resource and listens. What all share stands beside them: who takes part
(`catalogue`), the load and the listener, which are processes of their own, and what the figures come to (`outcome`).
A peer is imported, and its client with it, only when it takes part; who is not installed is left out with the reason.
"""

from __future__ import annotations
