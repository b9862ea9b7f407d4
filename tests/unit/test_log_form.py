"""The form of the broker's log: for people or for programs, whatever is in a line and whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tenure.broker.logs import configure_logging, log_role_change, make_logger
from tests.unit.logged import FAILOVER, lines


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        """Always."""
        return True


@pytest.fixture(autouse=True)
def logging_left_alone() -> Iterator[None]:
    """Put the process's logging back as it was."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler).__module__.startswith("tenure.")]:
        root.removeHandler(handler)


def fail(error: Exception) -> None:
    """Raise, from a frame of its own."""
    raise error


def test_level_leaves_out_what_is_below() -> None:
    """With `warning`, role changes are not written and refused claims are."""
    stream = io.StringIO()
    log = make_logger("warning", "json", stream)
    log_role_change(log, FAILOVER)
    assert stream.getvalue() == ""
    log.warning("loop.late", late_ms=31.5)
    assert lines(stream)[0]["late_ms"] == 31.5


def test_auto_is_a_console_where_somebody_looks() -> None:
    """`auto` writes for people on a terminal and JSON everywhere else; `json` and `console` insist."""
    terminal, pipe, insisted, plain = Terminal(), io.StringIO(), Terminal(), io.StringIO()
    make_logger("info", "auto", terminal).info("broker.started", port=7400)
    make_logger("info", "auto", pipe).info("broker.started", port=7400)
    make_logger("info", "json", insisted).info("broker.started", port=7400)
    make_logger("info", "console", plain).info("broker.started", port=7400)
    assert "broker.started" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()
    assert lines(pipe)[0]["port"] == lines(insisted)[0]["port"] == 7400
    assert "port=7400" in plain.getvalue()
    assert "\x1b[" not in plain.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_exceptions_are_text(log_format: str) -> None:
    """An exception's traceback is part of its line, without the values of variables."""
    stream = io.StringIO()
    log = make_logger("info", "json" if log_format == "json" else "console", stream)
    secret = "session" + "-secret"
    try:
        fail(ValueError(len(secret)))
    except ValueError:
        log.exception("decision.failed", revision=7)
    text = lines(stream)[0]["exception"] if log_format == "json" else stream.getvalue()
    assert "Traceback (most recent call last)" in text
    assert "ValueError: 14" in text
    assert secret not in text


class Awkward:
    """A value nobody thought of."""

    def __repr__(self) -> str:
        return "<awkward>"


def test_no_value_breaks_a_line() -> None:
    """Unknown objects, huge numbers, lone surrogates, line breaks and cycles end up in the line, and never raise."""
    stream = io.StringIO()
    log = make_logger("info", "json", stream)
    cycle: list[object] = []
    cycle.append(cycle)
    log.info("odd.value", value=Awkward())
    log.info("odd.value", value=2**70)
    log.info("odd.value", value="\ud800")
    log.info("odd.value", value="a\nb\x00")
    log.info("odd.value", value=cycle)
    log.info("odd.value", value=float("nan"))
    log.info("odd.value", value=Path("/tmp"))  # noqa: S108
    assert [line["value"] for line in lines(stream)] == [
        "<awkward>",
        2**70,
        "\ud800",
        "a\nb\x00",
        "[[...]]",
        None,
        "PosixPath('/tmp')",
    ]


def test_json_is_utf_8_whatever_the_stream_is_set_to(tmp_path: Path) -> None:
    """Names outside ASCII arrive as they are even where the locale knows only ASCII."""
    path = tmp_path / "log"
    with path.open("w", encoding="ascii") as stream:
        make_logger("info", "json", stream).info("role.changed", instance_id="gätt-1")
    assert json.loads(path.read_bytes())["instance_id"] == "gätt-1"


def test_configured_process_logs_everything_in_one_form() -> None:
    """After `configure_logging`, any structlog logger and whatever libraries warn of share the form and the stream."""
    before, stream = io.StringIO(), io.StringIO()
    configure_logging("info", "json", before)
    log = configure_logging("info", "json", stream)
    log.info("broker.started")
    structlog.get_logger("tenure.broker").info("loop.late", late_ms=30)
    logging.getLogger("asyncio").warning("Executing %s took %d ms", "it", 120)
    logging.getLogger("asyncio").info("not worth a line")
    try:
        fail(RuntimeError("lost"))
    except RuntimeError:
        logging.getLogger("asyncio").exception("a task failed")
    assert before.getvalue() == ""
    started, late, warned, failed = lines(stream)
    assert (started["event"], late["event"], late["late_ms"]) == ("broker.started", "loop.late", 30)
    assert (warned["level"], warned["event"]) == ("warning", "library.logged")
    assert (warned["library"], warned["message"]) == ("asyncio", "Executing it took 120 ms")
    assert failed["level"] == "error"
    assert "RuntimeError: lost" in failed["exception"]


def test_wrong_use_of_logging_by_a_library_stays_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library whose message does not fit its arguments gets logging's own complaint, not an exception."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # the test runner's own would raise
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    logging.getLogger("library").warning("%d", "not a number")
    assert stream.getvalue() == ""
    assert "--- Logging error ---" in capsys.readouterr().err


def test_standard_error_is_looked_up_when_it_is_used(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a stream, lines go to whatever standard error is by then."""
    make_logger("info", "json").info("broker.started")
    assert json.loads(capfd.readouterr().err)["event"] == "broker.started"


def test_import_configures_nothing() -> None:
    """Importing the broker's logging leaves an application's structlog and logging as they were."""
    program = (
        "import logging, structlog\n"
        "import tenure.broker.logs\n"
        "assert not structlog.is_configured()\n"
        "assert logging.getLogger().handlers == []\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
