"""Measurements of Tenure as a user meets it: the real SDK, a real broker process, a durable file.

`python -m bench NAME` runs one. Each is a module with one function; what they share stands beside them: a broker in a
temporary directory, latencies, the machine and its floor, a report as table or JSON. Nothing here is installed, and no
test depends on what is measured.
"""

from __future__ import annotations
