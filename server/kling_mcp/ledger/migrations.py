"""The steps from an empty file to today's tables."""

from __future__ import annotations

__all__ = ["MIGRATIONS"]

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "2026-11-20 tasks",
        """
        CREATE TABLE tasks (
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
            estimate_units   REAL,
            units            REAL,
            message          TEXT NOT NULL DEFAULT '',
            videos           TEXT NOT NULL DEFAULT '[]',
            path             TEXT,
            created_at       REAL NOT NULL,
            updated_at       REAL NOT NULL,
            UNIQUE (provider, base_url, digest, take, attempt)
        );
        CREATE UNIQUE INDEX tasks_by_claim ON tasks (provider, base_url, external_task_id)
            WHERE status <> 'failed' OR task_id IS NOT NULL;
        CREATE INDEX tasks_by_external_task_id ON tasks (external_task_id);
        CREATE INDEX tasks_by_task_id ON tasks (task_id);
        CREATE INDEX tasks_by_time ON tasks (created_at);
        """,
    ),
    (
        "2026-11-21 leases, queue and files",
        """
        ALTER TABLE tasks ADD COLUMN lease_owner TEXT NOT NULL DEFAULT '';
        ALTER TABLE tasks ADD COLUMN lease_until REAL NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN due_at REAL NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN ended_at REAL;
        ALTER TABLE tasks ADD COLUMN bytes INTEGER;
        ALTER TABLE tasks ADD COLUMN sha256 TEXT;
        CREATE INDEX tasks_open ON tasks (status) WHERE status IN ('queued', 'unknown');
        """,
    ),
    (
        "2026-11-21 times of earlier ends",
        """
        UPDATE tasks SET ended_at = updated_at
            WHERE ended_at IS NULL AND task_id IS NOT NULL AND status IN ('succeed', 'failed');
        """,
    ),
    (
        "2026-11-21 when videos expire",
        """
        ALTER TABLE tasks ADD COLUMN expires_at REAL;
        UPDATE tasks SET expires_at = ended_at + 2592000
            WHERE ended_at IS NOT NULL AND status = 'succeed';
        """,
    ),
    (
        "2026-11-21 words about saved files",
        "ALTER TABLE tasks ADD COLUMN file_note TEXT NOT NULL DEFAULT '';",
    ),
    (
        "2026-11-21 principals, callbacks and watches",
        """
        ALTER TABLE tasks ADD COLUMN principal TEXT NOT NULL DEFAULT '';
        ALTER TABLE tasks ADD COLUMN callback_key TEXT NOT NULL DEFAULT '';
        ALTER TABLE tasks ADD COLUMN watch_owner TEXT NOT NULL DEFAULT '';
        ALTER TABLE tasks ADD COLUMN watch_until REAL NOT NULL DEFAULT 0;
        CREATE INDEX tasks_by_callback_key ON tasks (callback_key) WHERE callback_key <> '';
        CREATE INDEX tasks_by_principal ON tasks (principal, created_at);
        """,
    ),
    ("2026-11-29 money", "ALTER TABLE tasks ADD COLUMN money REAL;"),
)
"""Steps from an empty file to today's, by name; each is applied once and never changed."""
