-- A resource may be paused; none of those there are is.

CREATE TABLE pauses (
    resource_id TEXT    NOT NULL PRIMARY KEY,
    why         TEXT    NOT NULL,
    paused_ms   INTEGER NOT NULL,
    until_ms    INTEGER NOT NULL,
    "by"        TEXT    NOT NULL
) STRICT;
