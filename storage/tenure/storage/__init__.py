"""Where the registry is durable: the implementations of the Store port.

`sqlite` is the one a broker runs on; `memory` passes the same contract suite, and fails on demand for tests and
simulations. Neither decides anything: which changes are legal is the domain's business.
"""

from __future__ import annotations
