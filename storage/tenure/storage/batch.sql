-- The write path: one INSERT INTO batch is one batch, one statement and so one transaction.
--
-- It is a trigger and not a dozen statements because Python lets go of its lock around every statement's step and has to
-- win it back from a busy event loop afterwards: 64 registrations as rows of executemany took 70 ms beside a loop that
-- never rested, and 6 ms like this. Both view and trigger are temporary: they belong to the program, not to the file.
--
-- Records arrive as JSON arrays in the order of their fields in tenure.domain.records, or as NULL where there are none:
-- a statement without anything to do is then not begun, which saves a batch of one registration 10 of 70 microseconds.

CREATE TEMP VIEW batch AS
SELECT
    0 AS first_revision,   -- has to be the store's next
    0 AS next_revision,    -- the store's next afterwards
    NULL AS dropped_sessions,
    NULL AS sessions,
    NULL AS dropped_registrations,
    NULL AS registrations, -- standbys first
    NULL AS forgotten_resources,  -- whose tenures before those of this batch go
    NULL AS tenures,       -- that have ended
    NULL AS dropped_pauses,  -- resources
    NULL AS pauses,
    NULL AS events,        -- [revision, where its body begins in bodies (from 1), its length]
    x'' AS bodies,
    0 AS first_kept,       -- the oldest event there is
    0 AS keep_from;        -- the oldest event there is to be; not above first_kept to keep all

CREATE TEMP TRIGGER write_batch INSTEAD OF INSERT ON batch
BEGIN
    SELECT RAISE(ABORT, 'revisions do not follow on') WHERE NEW.first_revision <> (SELECT next_revision FROM meta);
    UPDATE meta SET next_revision = NEW.next_revision;

    -- What leaves goes before what comes, and standbys before actives, so that no legal swap meets
    -- one_active_per_resource half way. What that index still refuses is not legal, and fails the whole batch.
    DELETE FROM registrations
    WHERE NEW.dropped_registrations NOT NULL
        AND registration_id IN (SELECT value FROM json_each(NEW.dropped_registrations));
    DELETE FROM sessions
    WHERE NEW.dropped_sessions NOT NULL AND number IN (SELECT value FROM json_each(NEW.dropped_sessions));
    DELETE FROM tenures
    WHERE NEW.forgotten_resources NOT NULL
        AND resource_id IN (SELECT value FROM json_each(NEW.forgotten_resources));

    INSERT INTO sessions (number, session_id, identity, lease_ms, status, client, opened_ms)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
    FROM json_each(NEW.sessions) WHERE NEW.sessions NOT NULL
    ON CONFLICT (number) DO UPDATE SET
        session_id = excluded.session_id, identity = excluded.identity, lease_ms = excluded.lease_ms,
        status = excluded.status, client = excluded.client, opened_ms = excluded.opened_ms;

    INSERT INTO registrations (
        registration_id, session, service_name, instance_id, resource_id, role, epoch, role_revision,
        revision, since_ms, priority, candidate, declined_epoch, metadata, hold_limit_ms)
    SELECT
        value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value -> 13, value ->> 14
    FROM json_each(NEW.registrations) WHERE NEW.registrations NOT NULL ORDER BY key
    ON CONFLICT (registration_id) DO UPDATE SET
        session = excluded.session, service_name = excluded.service_name, instance_id = excluded.instance_id,
        resource_id = excluded.resource_id, role = excluded.role, epoch = excluded.epoch,
        role_revision = excluded.role_revision, revision = excluded.revision, since_ms = excluded.since_ms,
        priority = excluded.priority, candidate = excluded.candidate, declined_epoch = excluded.declined_epoch,
        metadata = excluded.metadata, hold_limit_ms = excluded.hold_limit_ms;

    INSERT INTO tenures (epoch, resource_id, service_name, instance_id, began_ms, ended_ms, end_revision, end_reason)
    SELECT
        value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
    FROM json_each(NEW.tenures) WHERE NEW.tenures NOT NULL;

    DELETE FROM pauses
    WHERE NEW.dropped_pauses NOT NULL AND resource_id IN (SELECT value FROM json_each(NEW.dropped_pauses));
    INSERT INTO pauses (resource_id, why, paused_ms, until_ms, "by")
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
    FROM json_each(NEW.pauses) WHERE NEW.pauses NOT NULL
    ON CONFLICT (resource_id) DO UPDATE SET
        why = excluded.why, paused_ms = excluded.paused_ms, until_ms = excluded.until_ms, "by" = excluded."by";

    INSERT INTO events (revision, body)
    SELECT value ->> 0, substr(NEW.bodies, value ->> 1, value ->> 2) FROM json_each(NEW.events);

    -- Tenures that ended before the oldest event and stayed because they were the newest, and now are not.
    DELETE FROM tenures
    WHERE NEW.tenures NOT NULL AND epoch IN (
        SELECT older.epoch
        FROM json_each(NEW.tenures) AS newer CROSS JOIN tenures AS older
            ON older.resource_id = newer.value ->> 1 AND older.epoch < newer.value ->> 0
        WHERE older.end_revision < NEW.first_kept);

    -- The oldest events, and the tenures that ended with them but for the newest of each resource.
    DELETE FROM events WHERE NEW.keep_from > NEW.first_kept AND revision < NEW.keep_from;
    DELETE FROM tenures
    WHERE NEW.keep_from > NEW.first_kept AND end_revision >= NEW.first_kept AND end_revision < NEW.keep_from
        AND EXISTS (
            SELECT 1 FROM tenures AS newer
            WHERE newer.resource_id = tenures.resource_id AND newer.epoch > tenures.epoch);
END;
