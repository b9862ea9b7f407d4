-- The statements that are longer than a line. Each begins with its name, which is what `sql.query` is asked for.
-- Records are arrays of their fields in the order of tenure.domain.records. They leave in slices, each one JSON array:
-- one step, and so one wait for Python's lock, for a thousand of them.

-- name: write_batch
INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- A store that has its row keeps it, and one that has lost it is damaged and not to start anew.
-- name: make_meta
INSERT INTO meta (only_row, history_id, next_revision, created_ms)
SELECT 1, ?, 1, ? WHERE NOT EXISTS (SELECT 1 FROM meta) AND NOT EXISTS (SELECT 1 FROM events);

-- name: read_meta
SELECT history_id, next_revision, (SELECT min(revision) FROM events), begins_at FROM meta;

-- name: read_quiet
SELECT quiet_ms FROM meta;

-- name: keep_quiet
UPDATE meta SET quiet_ms = ?;

-- name: load_sessions
SELECT json_group_array(json_array(number, session_id, identity, lease_ms, status, client, opened_ms))
FROM (SELECT * FROM sessions WHERE number >= ? ORDER BY number LIMIT ?);

-- name: load_registrations
SELECT json_group_array(json_array(
    registration_id, session, service_name, instance_id, resource_id, role, epoch, role_revision, revision, since_ms,
    priority, json(iif(candidate, 'true', 'false')), declined_epoch, json(metadata), hold_limit_ms))
FROM (SELECT * FROM registrations WHERE registration_id >= ? ORDER BY registration_id LIMIT ?);

-- name: load_pauses
SELECT json_group_array(json_object(
    'resource_id', resource_id, 'why', why, 'paused_ms', paused_ms, 'until_ms', until_ms, 'by', "by"))
FROM (SELECT * FROM pauses ORDER BY resource_id);

-- The newest ended tenure of each resource, in the order of epochs.
-- name: load_tenures
SELECT json_group_array(json_array(
    epoch, resource_id, service_name, instance_id, began_ms, ended_ms, end_revision, end_reason))
FROM (
    SELECT * FROM tenures WHERE epoch >= ? AND NOT EXISTS (
        SELECT 1 FROM tenures AS newer
        WHERE newer.resource_id = tenures.resource_id AND newer.epoch > tenures.epoch)
    ORDER BY epoch LIMIT ?);

-- Those that have ended and are kept, and those that last, in the order of epochs and one a row.
-- name: read_tenures
SELECT json_array(epoch, resource_id, service_name, instance_id, began_ms, ended_ms, end_revision, end_reason)
FROM (
    SELECT epoch, resource_id, service_name, instance_id, began_ms, ended_ms, end_revision, end_reason FROM tenures
    UNION ALL
    SELECT epoch, resource_id, service_name, instance_id, since_ms, NULL, NULL, NULL
    FROM registrations WHERE role = 'active'
    ORDER BY epoch);

-- The newest tenures of a resource before an epoch, the newest first: those that have ended, each with the event of its
-- end if that is kept, and the one that lasts.
-- name: read_tenures_of
SELECT json_group_array(json_array(
    json_array(epoch, ?1, service_name, instance_id, began_ms, ended_ms, end_revision, end_reason),
    (SELECT hex(body) FROM events WHERE revision = end_revision)))
FROM (
    SELECT epoch, service_name, instance_id, began_ms, ended_ms, end_revision, end_reason
    FROM tenures WHERE resource_id = ?1 AND epoch < ?2
    UNION ALL
    SELECT epoch, service_name, instance_id, since_ms, NULL, NULL, NULL
    FROM registrations WHERE resource_id = ?1 AND role = 'active' AND epoch < ?2
    ORDER BY epoch DESC LIMIT ?3);

-- Bodies are bytes, which JSON has no word for, so they travel as hexadecimal digits.
-- name: read_events
SELECT min(revision), json_group_array(hex(body)), (SELECT next_revision FROM meta)
FROM (SELECT revision, body FROM events WHERE revision > ? ORDER BY revision LIMIT ?);
