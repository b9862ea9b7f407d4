-- What makes a new history of an old one: see restoring.py. One transaction.

-- Who was active was so up to the newest moment that the backup knows. What came after it, nobody knows, and the next
-- broker waits until it is over.
INSERT INTO tenures (epoch, resource_id, service_name, instance_id, began_ms, ended_ms, end_revision, end_reason)
SELECT epoch, resource_id, service_name, instance_id, since_ms, :newest_ms, :begins_at - 1, :end_reason
FROM registrations WHERE role = 'active';

-- Clients of another history begin anew, and its events have numbers that mean nothing in this one.
DELETE FROM registrations;
DELETE FROM sessions;
DELETE FROM events;
DELETE FROM pauses;

UPDATE meta SET
    history_id = :history_id, next_revision = :begins_at, begins_at = :begins_at, quiet_ms = :quiet_ms,
    created_ms = :now_ms;
