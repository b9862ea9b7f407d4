-- A tenure is written when it ends; of one that lasts, its active registration says the same.

DROP INDEX tenures_by_resource;
DROP INDEX tenures_by_end;
ALTER TABLE tenures RENAME TO all_tenures;

CREATE TABLE tenures (
    epoch        INTEGER PRIMARY KEY,
    resource_id  TEXT    NOT NULL,
    service_name TEXT    NOT NULL,
    instance_id  TEXT    NOT NULL,
    began_ms     INTEGER NOT NULL,
    ended_ms     INTEGER NOT NULL,
    end_revision INTEGER NOT NULL,
    end_reason   TEXT    NOT NULL
) STRICT;

INSERT INTO tenures SELECT * FROM all_tenures WHERE end_revision IS NOT NULL;
DROP TABLE all_tenures;

CREATE INDEX tenures_by_resource ON tenures (resource_id, epoch);
CREATE INDEX tenures_by_end ON tenures (end_revision);
