"""Opening a database file: what it has to be, how it is made, brought up to date and set up.

Runs on the thread that will own the connection. A file that is not a store, or a newer one, is left as it is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tenure.domain.store import StoreUnusableError
from tenure.storage import sql
from tenure.storage.wal import write_again

DATABASE_FILE: Final = "tenure.db"
APPLICATION_ID: Final = 0x54454E55  # 'TENU'
_SQLITE_LEAST: Final = (3, 38, 0)  # STRICT tables and JSON's arrows
_BUSY_WAIT_S: Final = 1.0  # for a person with the sqlite3 shell; heartbeats do not wait for it
_CACHE_KIB: Final = 8_192  # more makes no claim faster beside 1,000,000 registrations: the kernel has the pages too

_SETTINGS: Final = (
    "PRAGMA synchronous = FULL",  # NORMAL can lose an acknowledged grant with the power
    "PRAGMA wal_autocheckpoint = 0",  # between batches, when the store says so
    "PRAGMA journal_size_limit = -1",  # the log is recycled, so never cut back
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    "PRAGMA cache_spill = OFF",  # nothing of a batch reaches the file before its commit
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = FAST",  # some builds overwrite what is deleted at the cost of writes; the file is private
    "PRAGMA recursive_triggers = OFF",
)


def open_writer(path: Path, history_id: str, created_ms: int) -> sqlite3.Connection:
    """The one connection that writes and checkpoints, to a store that is made if there is none.

    Raises:
        StoreUnusableError: It is no store, damaged, newer than this program, or cannot be written.
    """
    if sqlite3.sqlite_version_info < _SQLITE_LEAST:
        raise StoreUnusableError(f"SQLite {sqlite3.sqlite_version} is too old; 3.38 or newer is needed")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        write_again(path.with_name(path.name + "-wal"))
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_WAIT_S)
    except OSError as error:
        raise StoreUnusableError(f"{path} cannot be written: {error.strerror}; serve other data with --data") from error
    try:
        _set_up(connection, path, history_id, created_ms)
    except sqlite3.Error as error:
        connection.close()
        raise StoreUnusableError(f"{path} cannot be used as a store: {error}; {what_to_do(error)}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, beside the writer's: it can neither write nor checkpoint."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def what_to_do(error: Exception) -> str:
    """What an operator can do about a database that cannot be opened or read."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}:
        return "it is damaged: put a backup in its place with `tenure restore`, or serve other data with --data"
    return "see that the disk works and has room and that nobody else uses the file, or serve other data with --data"


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """See that a database is a store, and not a newer one than this program knows; returns its version.

    Raises:
        StoreUnusableError: It is something else, or newer.
        sqlite3.Error: It cannot be read.
    """
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        raise StoreUnusableError(f"{path} is not a store of Tenure; serve other data with --data")
    version, newest = _version(connection), len(sql.migrations())
    if version > newest:
        raise StoreUnusableError(
            f"{path} is of version {version}, made by a newer Tenure; this one knows up to {newest}: upgrade it"
        )
    return version


def migrate(connection: sqlite3.Connection, steps: Sequence[str]) -> None:
    """Bring the schema from the version it has to the newest, each step in a transaction of its own.

    Raises:
        sqlite3.Error: A step failed; the file is at the version before it.
    """
    for version in range(_version(connection) + 1, len(steps) + 1):
        _run(connection, f"{steps[version - 1]}\nPRAGMA user_version = {version};")


def _set_up(connection: sqlite3.Connection, path: Path, history_id: str, created_ms: int) -> None:
    is_new = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    if not is_new:
        check_version(connection, path)
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreUnusableError(f"{path} is where SQLite cannot keep a write-ahead log; serve other data with --data")
    for setting in _SETTINGS:
        connection.execute(setting)
    if is_new:
        _run(connection, sql.script("schema.sql"))
    migrate(connection, sql.migrations())
    connection.execute(sql.queries()["make_meta"], (history_id, created_ms))
    connection.executescript(sql.script("batch.sql"))


def _run(connection: sqlite3.Connection, script: str) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
