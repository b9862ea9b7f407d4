-- The whole of a store, as a new one is made. An older one gets here by migrations/*.sql; a test shows that they meet.
-- Every table is STRICT: a value of another type than its column's is refused, not converted.

PRAGMA application_id = 1413828181; -- 'TENU', so that a file of something else is not taken for a store
PRAGMA user_version = 5;            -- the number of the newest migration that is in here

-- What is known of the store itself: exactly one row.
CREATE TABLE meta (
    only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
    history_id    TEXT    NOT NULL, -- random, new with the store: revisions and epochs compare within one history only
    next_revision INTEGER NOT NULL CHECK (next_revision > 0), -- a batch has to begin with this one
    created_ms    INTEGER NOT NULL, -- unix milliseconds
    begins_at     INTEGER NOT NULL DEFAULT 1, -- the first revision of this history; above all before it in one that was restored
    quiet_ms      INTEGER NOT NULL DEFAULT 0  -- how long a broker grants nothing before it serves: what was given before runs out
) STRICT;

-- The clients that are present.
CREATE TABLE sessions (
    number     INTEGER PRIMARY KEY, -- the revision of the event that opened it: its public name
    session_id TEXT    NOT NULL,    -- the client's secret
    identity   TEXT    NOT NULL,    -- 'uid:N' over ipc, empty where the transport does not tell
    lease_ms   INTEGER NOT NULL,
    status     TEXT    NOT NULL,
    client     TEXT    NOT NULL,
    opened_ms  INTEGER NOT NULL     -- unix milliseconds
) STRICT;

-- Which instance is registered for which resource, in which role. There is no foreign key to sessions: checking it
-- would need an index on session, a page more in every commit, for what the registry ensures by itself.
CREATE TABLE registrations (
    registration_id INTEGER PRIMARY KEY, -- the revision of the event that created it, never used again
    session         INTEGER NOT NULL,    -- sessions.number
    service_name    TEXT    NOT NULL,
    instance_id     TEXT    NOT NULL,
    resource_id     TEXT    NOT NULL,
    role            TEXT    NOT NULL CHECK (role IN ('active', 'standby')),
    epoch           INTEGER NOT NULL,    -- the tenure it is in, 0 while it stands by
    role_revision   INTEGER NOT NULL,    -- the revision at which it took its role
    revision        INTEGER NOT NULL,    -- the newest event about it
    since_ms        INTEGER NOT NULL,    -- unix milliseconds at which it took its role
    priority        INTEGER NOT NULL,
    candidate       INTEGER NOT NULL CHECK (candidate IN (0, 1)),
    declined_epoch  INTEGER NOT NULL,    -- the tenure it resigned from and whose vacancy it does not fill, 0 for none
    metadata        TEXT    NOT NULL,    -- a JSON object of strings
    hold_limit_ms   INTEGER NOT NULL DEFAULT 0, -- how long its tenures last in silence, if longer than the lease
    CHECK ((role = 'active') = (epoch > 0))
) STRICT;

-- The guarantee itself: in every committed state a resource has at most one active registration.
CREATE UNIQUE INDEX one_active_per_resource ON registrations (resource_id) WHERE role = 'active';

-- Who was active for a resource from when to when, and why it ended: a tenure comes here when it ends, and until then
-- its active registration says the same. The newest of each resource stays as long as the resource does; older ones go
-- with the events of their time.
CREATE TABLE tenures (
    epoch        INTEGER PRIMARY KEY, -- the revision of the event that began it: the fencing token
    resource_id  TEXT    NOT NULL,
    service_name TEXT    NOT NULL,
    instance_id  TEXT    NOT NULL,
    began_ms     INTEGER NOT NULL, -- unix milliseconds
    ended_ms     INTEGER NOT NULL, -- unix milliseconds
    end_revision INTEGER NOT NULL,
    end_reason   TEXT    NOT NULL
) STRICT;

CREATE INDEX tenures_by_resource ON tenures (resource_id, epoch);
CREATE INDEX tenures_by_end ON tenures (end_revision);

-- The resources for which the broker promotes nobody on its own; times are unix milliseconds.
CREATE TABLE pauses (
    resource_id TEXT    NOT NULL PRIMARY KEY,
    why         TEXT    NOT NULL,
    paused_ms   INTEGER NOT NULL,
    until_ms    INTEGER NOT NULL,
    "by"        TEXT    NOT NULL
) STRICT;

-- The stream, gapless; the newest are kept (StoreOptions.events_kept), the oldest are taken away.
CREATE TABLE events (
    revision INTEGER PRIMARY KEY,
    body     BLOB    NOT NULL -- MessagePack, byte for byte what was published
) STRICT;
