"""Measurements of Tenure as a user meets it: the real SDK, a real broker process, a durable file.

`python -m bench NAME` runs one, `python -m bench all` every one. Each is a module with `plan()`, what is measured by
default, and `run(plan, directory)`, which returns a report; what they share stands beside them: a broker in a temporary
directory, loops, latencies, the machine and its floor, the report as table, JSON or picture. Nothing here is installed,
and no test depends on what is measured.
"""

from __future__ import annotations
