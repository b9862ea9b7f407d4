"""What tests of the bench share: a report of a bench that nobody ran, and the precision of its figures."""

from __future__ import annotations

from bench.latencies import Summary
from bench.machine import Machine, is_durable
from bench.report import Report, Target

MS = 1_000_000
NEARLY = 1e-3  # three significant digits


def summary(p50_ms: float = 1.0, p99_ms: float = 2.0) -> Summary:
    """Figures that nobody measured."""
    return Summary(
        name="a load",
        count=1_000,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        p999_ms=3.0,
        max_ms=4.0,
        per_second=500.0,
        p99_by_round_ms=(1.5, 2.5),
    )


def report(*, p99_ms: float = 2.0, file_system: str = "ext4") -> Report:
    """A report with one target of 5 ms."""
    machine = Machine(
        date="2030-01-02 03:04 UTC",
        cores=2,
        processor="a processor",
        kernel="Linux 6.1",
        python="3.13.0",
        sqlite="3.40.1",
        libzmq="4.3.5",
        tenure="0.1.0",
        file_system=file_system,
        is_durable=is_durable(file_system),
    )
    return Report(
        bench="some",
        title="a bench",
        machine=machine,
        settings={"transport": "ipc"},
        measured=(summary(p99_ms=p99_ms),),
        floor=(summary(),),
        ratios={"this / that": 1.25},
        targets=(Target(name="p99 of a load", value=p99_ms, bound=5.0),),
    )
