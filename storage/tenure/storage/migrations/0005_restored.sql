-- A store that was restored begins a history of its own, at a revision above all before it, and is quiet for a while.

ALTER TABLE meta ADD COLUMN begins_at INTEGER NOT NULL DEFAULT 1;
ALTER TABLE meta ADD COLUMN quiet_ms INTEGER NOT NULL DEFAULT 0;
