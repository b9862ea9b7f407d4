"""What a store's file may be: new, of this version, or an older one; anything else is left as it is."""

# What is tested here is inside the store, so this looks inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from tenure.contract.vocabulary import ChangeReason
from tenure.domain.records import Tenure
from tenure.domain.store import StoreUnusableError
from tenure.storage import opening, sql
from tenure.storage.history import read_history
from tests.contract.records import active, batch, put, session
from tests.contract.stores import open_and_load, opened


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty database."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def schema(connection: sqlite3.Connection) -> dict[str, str]:
    """Every table and index with its definition, without comments and spacing."""
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    words = {name: " ".join(re.sub(r"--[^\n]*", "", text).split()) for name, text in rows}
    return {name: text.replace(" ,", ",").replace(" )", ")") for name, text in words.items()}


def numbers(connection: sqlite3.Connection) -> tuple[int, int]:
    """The application id and the version."""
    return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))


async def make(directory: Path) -> Path:
    """A store that was closed, with something in it."""
    async with opened(directory) as store:
        changes = [put(session(1)), put(active(2, "r"))]
        await store.commit(batch(1, *changes, events=2))
    return directory / "tenure.db"


def test_schema_and_migrations_meet(connection: sqlite3.Connection) -> None:
    """★ The migrations, applied to nothing, come to what schema.sql says, its version included."""
    opening.migrate(connection, sql.migrations())
    migrated, versions = schema(connection), numbers(connection)
    with closing(sqlite3.connect(":memory:")) as new:
        new.executescript(sql.script("schema.sql"))
        assert schema(new) == migrated
        assert numbers(new) == versions == (opening.APPLICATION_ID, len(sql.migrations()))


def test_every_table_says_what_it_is_and_is_strict() -> None:
    """In schema.sql a comment goes before each table, and each is STRICT."""
    text = sql.script("schema.sql")
    tables = re.findall(r"^-- [^\n]+\nCREATE TABLE (\w+) \(\n.+?\n\) STRICT;$", text, re.MULTILINE | re.DOTALL)
    assert tables == ["meta", "sessions", "registrations", "tenures", "pauses", "events"]
    assert text.count("CREATE TABLE") == len(tables)


def test_migrations_go_on_from_the_version_they_find(connection: sqlite3.Connection) -> None:
    """Each migration is applied once, in order; one that fails leaves the version before it, and none of itself."""
    steps = [
        "CREATE TABLE a (x);",
        "INSERT INTO a VALUES (2);",
        "INSERT INTO a VALUES (3); INSERT INTO missing VALUES (3);",
    ]
    opening.migrate(connection, steps[:2])
    opening.migrate(connection, steps[:2])
    with pytest.raises(sqlite3.OperationalError):
        opening.migrate(connection, steps)
    assert connection.execute("SELECT x FROM a").fetchall() == [(2,)]
    assert numbers(connection)[1] == 2
    steps[2] = "INSERT INTO a VALUES (3);"
    opening.migrate(connection, steps)
    assert connection.execute("SELECT x FROM a").fetchall() == [(2,), (3,)]


def test_a_migration_that_does_not_even_begin(tmp_path: Path) -> None:
    """A migration under another's write lock fails without anything to undo."""
    path = tmp_path / "locked.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as late,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            opening.migrate(late, ["CREATE TABLE a (x);"])


async def test_an_older_store_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of an older version is migrated when it is opened, and keeps what it has."""
    path = await make(tmp_path)
    newer = (*sql.migrations(), "CREATE TABLE later (x INTEGER) STRICT;")
    monkeypatch.setattr(sql, "migrations", lambda: newer)
    assert (await open_and_load(tmp_path)).revision == 2
    with closing(sqlite3.connect(path)) as connection:
        assert numbers(connection)[1] == len(newer)
        assert "later" in schema(connection)


async def test_tenures_that_last_are_left_to_their_registrations(tmp_path: Path) -> None:
    """A store of version 2 had a row for each tenure that lasts: the row goes, and those that ended stay."""
    path = tmp_path / "tenure.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        opening.migrate(old, sql.migrations()[:2])
        old.execute("INSERT INTO meta VALUES (1, 'history', 5, 1)")
        old.execute("INSERT INTO sessions VALUES (1, 'secret', '', 2000, 'healthy', '', 1)")
        old.execute("INSERT INTO registrations VALUES (2, 1, 's', 'i', 'r', 'active', 4, 4, 4, 44, 0, 0, 0, '{}', 0)")
        old.execute("INSERT INTO tenures VALUES (2, 'r', 's', 'i', 22, 33, 3, 'resigned')")
        old.execute("INSERT INTO tenures VALUES (4, 'r', 's', 'i', 44, NULL, NULL, NULL)")
    state = await open_and_load(tmp_path)
    ended = Tenure(
        epoch=2,
        resource_id="r",
        service_name="s",
        instance_id="i",
        began_ms=22,
        ended_ms=33,
        end_revision=3,
        end_reason=ChangeReason.RESIGNED,
    )
    assert (state.revision, state.tenures) == (4, (ended,))
    with read_history(tmp_path) as history:
        lasting = structs.replace(ended, epoch=4, began_ms=44, ended_ms=None, end_revision=None, end_reason=None)
        assert [*history.tenures] == [ended, lasting]


async def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file of a newer version is refused with both versions in the message, and not a byte of it changes."""
    path = await make(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreUnusableError, match=r"version 99, made by a newer Tenure.*upgrade"):
        await open_and_load(tmp_path)
    assert path.read_bytes() == before


async def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A database that another program made is not turned into a store."""
    path = tmp_path / "tenure.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (x)")
    before = path.read_bytes()
    with pytest.raises(StoreUnusableError, match=r"not a store of Tenure.*--data"):
        await open_and_load(tmp_path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file that SQLite does not know is refused with what to do."""
    path = tmp_path / "tenure.db"
    path.write_bytes(b"dear diary, " * 1_000)
    with pytest.raises(StoreUnusableError, match=r"cannot be used as a store: .*not a database.*restore"):
        await open_and_load(tmp_path)
    assert path.read_bytes() == b"dear diary, " * 1_000


async def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A directory where the database should be is refused with what to do."""
    (tmp_path / "tenure.db").mkdir()
    with pytest.raises(StoreUnusableError, match=r"cannot be written.*--data"):
        await open_and_load(tmp_path)


async def test_a_store_that_somebody_else_uses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database under another program's exclusive lock is not called damaged."""
    path = await make(tmp_path)
    monkeypatch.setattr(opening, "_BUSY_WAIT_S", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnusableError, match=r"locked; see that .* nobody else uses the file"):
            await open_and_load(tmp_path)
    assert (await open_and_load(tmp_path)).revision == 2


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """What a broker leaves that dies while it makes its store is made a store by the next."""
    (tmp_path / "tenure.db").write_bytes(b"")
    assert (await open_and_load(tmp_path)).revision == 0


@pytest.mark.parametrize("keep", [4_096, 3 * 4_096])
async def test_a_file_that_was_cut_is_refused(tmp_path: Path, keep: int) -> None:
    """A database that lost its end is refused, at opening or loading, with what to do."""
    path = await make(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreUnusableError, match="restore"):
        await open_and_load(tmp_path)


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """A database with rubbish in its pages is refused, at opening or loading, with what to do."""
    path = await make(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:4_096] + b"\xa5" * (len(data) - 4_096))
    with pytest.raises(StoreUnusableError, match="restore"):
        await open_and_load(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM meta",
        "UPDATE registrations SET metadata = 'not JSON'",
        "UPDATE sessions SET status = 'unheard of'",
        "UPDATE registrations SET metadata = '{\"a\": 1}'",
    ],
)
async def test_content_that_cannot_be_is_refused(tmp_path: Path, damage: str) -> None:
    """Rows that this program would never write are refused, not guessed at."""
    path = await make(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    with pytest.raises(StoreUnusableError, match="damaged"):
        await open_and_load(tmp_path)


async def test_events_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A body that is no event is refused; of a gap in the stream the events before it are answered."""
    path = await make(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE events SET body = x'c1' WHERE revision = 2")
    async with opened(tmp_path) as store:
        with pytest.raises(StoreUnusableError, match="damaged"):
            await store.read_events(0, 10)
        assert [event.revision for event in await store.read_events(0, 1)] == [1]
        await store.commit(batch(3))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM events WHERE revision = 2")
    async with opened(tmp_path) as again:
        assert [event.revision for event in await again.read_events(0, 10)] == [1]


def modes(directory: Path) -> dict[str, int]:
    """What may be done with each file of a directory, and by whom."""
    return {file.name: file.stat().st_mode & 0o777 for file in directory.iterdir()}


async def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    """The secrets of sessions are in the files, so nobody else may read them."""
    async with opened(tmp_path) as store:
        await store.commit(batch(1))
        found = modes(tmp_path)
    assert found == dict.fromkeys(("tenure.db", "tenure.db-shm", "tenure.db-wal", "tenure.lock"), 0o600)


async def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    """After closing the database alone has everything: a copy of it is a copy of the store."""
    path = await make(tmp_path / "data")
    assert sorted(file.name for file in path.parent.iterdir()) == ["tenure.db", "tenure.lock"]
    (tmp_path / "copy").mkdir()
    shutil.copy(path, tmp_path / "copy")
    assert (await open_and_load(tmp_path / "copy")).revision == 2


async def test_a_store_is_set_up_as_it_has_to_be(tmp_path: Path) -> None:
    """★ WAL, synchronous FULL, checkpoints on demand alone, and a reader that cannot write."""
    async with opened(tmp_path) as store:
        pragmas = ("journal_mode", "synchronous", "wal_autocheckpoint", "cache_spill")

        def settings() -> list[object]:
            return [store._writer.sqlite.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]

        assert await store._writer.submit(settings) == ["wal", 2, 0, 0]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store._reader.submit(lambda: store._reader.sqlite.execute("DELETE FROM events"))


def test_a_place_without_a_log_is_refused(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """Where SQLite keeps another kind of journal than asked for, such as in memory, there can be no store."""
    with pytest.raises(StoreUnusableError, match="write-ahead log"):
        opening._set_up(connection, tmp_path / "tenure.db", "history", 1)


async def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SQLite without STRICT tables is refused before anything is made."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreUnusableError, match="too old"):
        await open_and_load(tmp_path)


def test_a_missing_migration_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of migrations go from 1 without a gap."""
    (tmp_path / "migrations").mkdir()
    for number in (1, 3):
        (tmp_path / "migrations" / f"000{number}_x.sql").write_text("SELECT 1;", encoding="utf-8")
    monkeypatch.setattr(sql, "_FILES", tmp_path)
    with pytest.raises(ValueError, match="without a gap"):
        sql.migrations.__wrapped__()
