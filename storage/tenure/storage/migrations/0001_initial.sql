-- The first schema, frozen: schema.sql says what each table is for. A change of the schema is a new file beside this one.

PRAGMA application_id = 1413828181;

CREATE TABLE meta (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    history_id    TEXT    NOT NULL,
    next_revision INTEGER NOT NULL CHECK (next_revision > 0),
    created_ms    INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    number     INTEGER PRIMARY KEY,
    session_id TEXT    NOT NULL,
    identity   TEXT    NOT NULL,
    lease_ms   INTEGER NOT NULL,
    status     TEXT    NOT NULL,
    client     TEXT    NOT NULL,
    opened_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE registrations (
    registration_id INTEGER PRIMARY KEY,
    session         INTEGER NOT NULL,
    service_name    TEXT    NOT NULL,
    instance_id     TEXT    NOT NULL,
    resource_id     TEXT    NOT NULL,
    role            TEXT    NOT NULL CHECK (role IN ('active', 'standby')),
    epoch           INTEGER NOT NULL,
    role_revision   INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    since_ms        INTEGER NOT NULL,
    priority        INTEGER NOT NULL,
    candidate       INTEGER NOT NULL CHECK (candidate IN (0, 1)),
    declined_epoch  INTEGER NOT NULL,
    metadata        TEXT    NOT NULL,
    CHECK ((role = 'active') = (epoch > 0))
) STRICT;

CREATE UNIQUE INDEX one_active_per_resource ON registrations (resource_id) WHERE role = 'active';

CREATE TABLE tenures (
    epoch        INTEGER PRIMARY KEY,
    resource_id  TEXT    NOT NULL,
    service_name TEXT    NOT NULL,
    instance_id  TEXT    NOT NULL,
    began_ms     INTEGER NOT NULL,
    ended_ms     INTEGER,
    end_revision INTEGER,
    end_reason   TEXT,
    CHECK ((ended_ms IS NULL) = (end_revision IS NULL) AND (end_revision IS NULL) = (end_reason IS NULL))
) STRICT;

CREATE INDEX tenures_by_resource ON tenures (resource_id, epoch) WHERE end_revision IS NOT NULL;
CREATE INDEX tenures_by_end ON tenures (end_revision) WHERE end_revision IS NOT NULL;

CREATE TABLE events (
    revision INTEGER PRIMARY KEY,
    body     BLOB    NOT NULL
) STRICT;
