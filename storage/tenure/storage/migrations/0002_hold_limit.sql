-- A registration may hold its tenures for longer than the lease; those there are do not.

ALTER TABLE registrations ADD COLUMN hold_limit_ms INTEGER NOT NULL DEFAULT 0;
