"""The steps from an empty PostgreSQL schema to today's tables.

Servers of several versions may run at once while one of them takes a step: a step only adds, every
new column has a default, and nothing that an older version reads or writes changes its meaning.
"""

from __future__ import annotations

__all__ = ["POSTGRES_MIGRATIONS"]

POSTGRES_MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "2026-11-21 tasks",
        """
        CREATE TABLE tasks (
            rowid            BIGINT GENERATED ALWAYS AS IDENTITY,
            id               TEXT PRIMARY KEY,
            provider         TEXT NOT NULL,
            base_url         TEXT NOT NULL,
            product          TEXT NOT NULL,
            digest           TEXT NOT NULL,
            take             INTEGER NOT NULL,
            attempt          INTEGER NOT NULL,
            external_task_id TEXT NOT NULL,
            task_id          TEXT,
            status           TEXT NOT NULL,
            model_name       TEXT NOT NULL,
            prompt           TEXT NOT NULL,
            request          TEXT NOT NULL,
            estimate_units   DOUBLE PRECISION,
            units            DOUBLE PRECISION,
            message          TEXT NOT NULL DEFAULT '',
            videos           TEXT NOT NULL DEFAULT '[]',
            path             TEXT,
            created_at       DOUBLE PRECISION NOT NULL,
            updated_at       DOUBLE PRECISION NOT NULL,
            lease_owner      TEXT NOT NULL DEFAULT '',
            lease_until      DOUBLE PRECISION NOT NULL DEFAULT 0,
            due_at           DOUBLE PRECISION NOT NULL DEFAULT 0,
            tries            INTEGER NOT NULL DEFAULT 0,
            ended_at         DOUBLE PRECISION,
            bytes            BIGINT,
            sha256           TEXT,
            expires_at       DOUBLE PRECISION,
            file_note        TEXT NOT NULL DEFAULT '',
            principal        TEXT NOT NULL DEFAULT '',
            callback_key     TEXT NOT NULL DEFAULT '',
            watch_owner      TEXT NOT NULL DEFAULT '',
            watch_until      DOUBLE PRECISION NOT NULL DEFAULT 0,
            UNIQUE (provider, base_url, digest, take, attempt)
        );
        CREATE UNIQUE INDEX tasks_by_claim ON tasks (provider, base_url, external_task_id)
            WHERE status <> 'failed' OR task_id IS NOT NULL;
        CREATE INDEX tasks_by_external_task_id ON tasks (external_task_id);
        CREATE INDEX tasks_by_task_id ON tasks (task_id);
        CREATE INDEX tasks_by_time ON tasks (created_at);
        CREATE INDEX tasks_open ON tasks (status) WHERE status IN ('queued', 'unknown');
        CREATE INDEX tasks_by_callback_key ON tasks (callback_key) WHERE callback_key <> '';
        CREATE INDEX tasks_by_principal ON tasks (principal, created_at);
        """,
    ),
    (
        "2026-11-21 news of rows",
        """
        CREATE FUNCTION tasks_tell() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify(TG_TABLE_SCHEMA || '.tasks', NEW.id);
            RETURN NULL;
        END $$;
        CREATE TRIGGER tasks_tell_new AFTER INSERT ON tasks
            FOR EACH ROW EXECUTE FUNCTION tasks_tell();
        CREATE TRIGGER tasks_tell_change AFTER UPDATE ON tasks
            FOR EACH ROW
            WHEN ((OLD.status, OLD.task_id, OLD.message, OLD.units, OLD.path)
                IS DISTINCT FROM (NEW.status, NEW.task_id, NEW.message, NEW.units, NEW.path))
            EXECUTE FUNCTION tasks_tell();
        """,
    ),
    (
        "2026-11-21 bodies that wait",
        """
        CREATE TABLE bodies (
            record_id TEXT NOT NULL,
            part      INTEGER NOT NULL,
            data      BYTEA NOT NULL,
            PRIMARY KEY (record_id, part)
        );
        CREATE TABLE whole_bodies (record_id TEXT PRIMARY KEY, bytes BIGINT NOT NULL);
        """,
    ),
    ("2026-11-29 money", "ALTER TABLE tasks ADD COLUMN money DOUBLE PRECISION;"),
)
"""Steps by name; each is applied once, in a transaction of its own, and never changed."""
