"""The whole history of a store, beside the broker that may be running, or of a backup: one moment, nothing written.

The read is one transaction, which holds up no commit; but the broker's write-ahead log cannot begin anew until it ends.
The lock of the store is not touched. After a crash SQLite has to rebuild the log's index, in a file of its own, before
anything can be read: the directory has to be writable for that, the database is not written.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from tenure.domain.history import StoredHistory
from tenure.domain.store import StoreUnusableError
from tenure.storage.database import all_pauses, all_registrations, all_sessions, all_tenures, readable
from tenure.storage.opening import DATABASE_FILE, check_version, open_reader
from tenure.storage.sql import migrations, queries

_WHO_MAY: Final = (
    "verify as the user whom the broker runs as: after a crash the log's index has to be rebuilt beside the database"
)
_FAULTS_SHOWN: Final = 3  # of what SQLite finds wrong with a file: it is broken or it is not
_UNIQUE_INDEX: Final = re.compile(
    r"CREATE\s+UNIQUE\s+INDEX\s+one_active_per_resource\s+ON\s+registrations\s*"
    r"\(\s*resource_id\s*\)\s*WHERE\s+role\s*=\s*'active'\s*"
)


@contextmanager
def read_history(place: Path) -> Generator[StoredHistory]:
    """The history of the store in a directory, or of the backup in a file, to be read once and within the block.

    Raises:
        StoreUnusableError: There is no store, it is of another version, or it cannot be read.
    """
    path = place / DATABASE_FILE if place.is_dir() else place
    if not path.is_file():
        raise StoreUnusableError(
            f"there is no store in {place}; name a backup, or the directory that a broker serves with --data"
        )
    with readable():
        try:
            connection = open_reader(path)
        except sqlite3.Error as error:
            raise StoreUnusableError(f"{path} cannot be opened: {error}; {_WHO_MAY}") from error
        with closing(connection):
            yield _history(connection, path)


def _history(connection: sqlite3.Connection, path: Path) -> StoredHistory:
    try:
        connection.execute("BEGIN")
        newest = check_version(connection, path)
    except sqlite3.OperationalError as error:
        raise StoreUnusableError(f"{path} cannot be read: {error}; {_WHO_MAY}") from error
    except sqlite3.DatabaseError as error:
        raise StoreUnusableError(f"{path} is no store, or is damaged: {error}; name another one") from error
    if newest < len(migrations()):
        raise StoreUnusableError(
            f"{path} is of version {newest}, made by an older Tenure; `tenure serve` of this one brings a store up to "
            "date, `tenure restore` a backup"
        )
    meta = connection.execute(queries()["read_meta"]).fetchone()
    if meta is None:
        raise StoreUnusableError(
            f"{path} has lost the row that names its history; put a backup in its place with `tenure restore`"
        )
    faults = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_FAULTS_SHOWN})")]
    return StoredHistory(
        history_id=meta[0],
        next_revision=meta[1],
        begins_at=meta[3],
        damage="" if faults == ["ok"] else "; ".join(faults),
        has_unique_index=_has_unique_index(connection),
        events=connection.execute("SELECT revision, body FROM events ORDER BY revision"),
        sessions=all_sessions(connection),
        registrations=all_registrations(connection),
        tenures=all_tenures(connection),
        pauses=all_pauses(connection),
    )


def _has_unique_index(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'one_active_per_resource'").fetchone()
    return found is not None and _UNIQUE_INDEX.fullmatch(found[0]) is not None
