"""The database behind the ledger: SQLite for one machine, PostgreSQL for several."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kling_tools.errors import NotConfigured

__all__ = [
    "FILM_TABLES",
    "RETIRED_MODELS_TABLE",
    "SIGN_IN_TABLES",
    "TASKS_TABLE",
    "Cursor",
    "Database",
    "Engine",
    "ResultT",
    "newer",
    "statements_for",
]

ResultT = TypeVar("ResultT")

TASKS_TABLE = """
    CREATE TABLE tasks ({rowid}
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
        arguments        TEXT NOT NULL DEFAULT '{{}}',
        pictures         TEXT NOT NULL DEFAULT '[]',
        estimate_units   {real},
        units            {real},
        message          TEXT NOT NULL DEFAULT '',
        videos           TEXT NOT NULL DEFAULT '[]',
        path             TEXT,
        created_at       {real} NOT NULL,
        updated_at       {real} NOT NULL,
        lease_owner      TEXT NOT NULL DEFAULT '',
        lease_until      {real} NOT NULL DEFAULT 0,
        due_at           {real} NOT NULL DEFAULT 0,
        tries            INTEGER NOT NULL DEFAULT 0,
        ended_at         {real},
        bytes            {size},
        sha256           TEXT,
        expires_at       {real},
        file_note        TEXT NOT NULL DEFAULT '',
        principal        TEXT NOT NULL DEFAULT '',
        callback_key     TEXT NOT NULL DEFAULT '',
        watch_owner      TEXT NOT NULL DEFAULT '',
        watch_until      {real} NOT NULL DEFAULT 0,
        money            {real},
        sandbox          INTEGER NOT NULL DEFAULT 0,
        status_at        {real} NOT NULL DEFAULT 0,
        quoted           INTEGER NOT NULL DEFAULT 0,
        picture_hashes   TEXT NOT NULL DEFAULT '{{}}',
        currency         TEXT NOT NULL DEFAULT '',
        cash_type        TEXT NOT NULL DEFAULT '',
        list_price       {real},
        estimate_usd     {real},
        answers          TEXT NOT NULL DEFAULT '[]',
        endpoint         TEXT NOT NULL DEFAULT '',
        named            INTEGER NOT NULL DEFAULT 1,
        asset_id         TEXT NOT NULL DEFAULT '',
        kept_sha256      TEXT NOT NULL DEFAULT '',
        files            TEXT NOT NULL DEFAULT '[]',
        UNIQUE (provider, base_url, digest, take, attempt)
    );
    CREATE UNIQUE INDEX tasks_by_claim ON tasks (provider, base_url, external_task_id)
        WHERE status NOT IN ('failed', 'cancelled') OR task_id IS NOT NULL;
    CREATE INDEX tasks_by_external_task_id ON tasks (external_task_id);
    CREATE INDEX tasks_by_digest ON tasks (digest);
    CREATE INDEX tasks_by_task_id ON tasks (task_id);
    CREATE INDEX tasks_by_time ON tasks (created_at);
    CREATE INDEX tasks_open ON tasks (status) WHERE status IN ('queued', 'sending', 'unknown');
    CREATE INDEX tasks_by_callback_key ON tasks (callback_key) WHERE callback_key <> '';
    CREATE INDEX tasks_by_principal ON tasks (principal, created_at);
    CREATE INDEX tasks_by_cash ON tasks (provider, base_url, created_at) WHERE money > 0;
    """
"""The table and its indexes: the first step of both databases. The placeholders take their types
of the rowid (built into SQLite), a number and a size in bytes. A released step never changes."""

RETIRED_MODELS_TABLE = """
    CREATE TABLE retired_models (
        provider   TEXT NOT NULL,
        base_url   TEXT NOT NULL,
        product    TEXT NOT NULL,
        model_name TEXT NOT NULL,
        until      {real} NOT NULL,
        PRIMARY KEY (provider, base_url, product, model_name)
    )
    """
"""The models that a provider refused as retired, until when they are not sent there again."""

SIGN_IN_TABLES = """
    CREATE TABLE sign_in_clients (
        client_id  TEXT PRIMARY KEY,
        metadata   TEXT NOT NULL,
        kept_until {real} NOT NULL
    );
    CREATE TABLE sign_in_grants (
        id           TEXT PRIMARY KEY,
        client_id    TEXT NOT NULL,
        resource     TEXT NOT NULL,
        token_sha256 TEXT NOT NULL,
        ends_at      {real} NOT NULL
    );
    CREATE TABLE sign_in_tokens (
        sha256   TEXT PRIMARY KEY,
        kind     TEXT NOT NULL,
        grant_id TEXT NOT NULL,
        scopes   TEXT NOT NULL,
        details  TEXT NOT NULL DEFAULT '{{}}',
        ends_at  {real} NOT NULL,
        used_at  {real}
    );
    CREATE INDEX sign_in_tokens_by_grant ON sign_in_tokens (grant_id);
    CREATE TABLE sign_in_tries (
        kind    TEXT NOT NULL,
        address TEXT NOT NULL,
        at      {real} NOT NULL
    );
    CREATE INDEX sign_in_tries_by_time ON sign_in_tries (kind, at)
    """
"""The sign-in page's own state: the programs that people let in, what each was allowed, and the
hashes of codes and tokens. `sign_in_tries` counts registrations and wrong tokens."""


FILM_TABLES = """
    CREATE TABLE films (
        id          TEXT PRIMARY KEY,
        principal   TEXT NOT NULL,
        name        TEXT NOT NULL,
        name_key    TEXT NOT NULL,
        request     TEXT NOT NULL,
        max_units   {real},
        max_usd     {real},
        confirmed   {real},
        asked_at    {real} NOT NULL,
        version     INTEGER NOT NULL DEFAULT 1,
        joined      TEXT NOT NULL DEFAULT '',
        facts       TEXT NOT NULL DEFAULT '{{}}',
        lease_owner TEXT NOT NULL DEFAULT '',
        lease_until {real} NOT NULL DEFAULT 0,
        UNIQUE (principal, name_key)
    );
    CREATE TABLE film_shots (
        film_id   TEXT NOT NULL,
        number    INTEGER NOT NULL,
        request   TEXT NOT NULL,
        digest    TEXT NOT NULL,
        record_id TEXT NOT NULL DEFAULT '',
        fault     TEXT NOT NULL DEFAULT '',
        agreed    TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (film_id, number)
    );
    CREATE TABLE film_tasks (
        film_id   TEXT NOT NULL,
        record_id TEXT NOT NULL,
        PRIMARY KEY (film_id, record_id)
    )
    """
"""Films, whose rows in `tasks` have the same ids; their shots, each with the row that makes it; and
the rows that a film paid for, of its shots of now and of earlier ones."""


def newer(place: str, version: int, known: int) -> NotConfigured:
    """The error about a ledger that a newer program wrote: this program may not understand what its
    rows say of money."""
    return NotConfigured(
        f"A newer kling-mcp wrote the ledger {place}: it has version {version}, and this program "
        f"knows versions up to {known}. Nothing was changed in it.",
        advice="Update kling-mcp.",
    )


_FILLED_FROM = {
    "sandbox": "CASE WHEN base_url LIKE 'http://sandbox.kling.invalid%' THEN 1 ELSE 0 END",
    "status_at": "updated_at",
}
"""What older rows get in a column that is added, where its default is untrue of them."""

_COLUMN = re.compile(r"^ {8}([a-z_0-9]+) +([A-Z][^\n]*),$", re.MULTILINE)
_ADDED = re.compile(r"\bALTER TABLE tasks ADD COLUMN ([a-z_0-9]+) ([^;]+)")
_INDEX = re.compile(r"\bCREATE (?:UNIQUE )?INDEX ([a-z_0-9]+) ON tasks [^;]+")


def statements_for(steps: Sequence[str], found: Collection[str], place: str) -> list[str]:
    """The statements that bring the table `tasks` with the columns `found`, as an earlier state of
    the program left it, to the columns and indexes of `steps`; none where it has all columns.
    Raises NotConfigured for columns that the steps do not know, or that cannot be added."""
    table = steps[0].partition("CREATE TABLE tasks (")[2].partition(");")[0]
    columns = dict([*_COLUMN.findall(table), *_ADDED.findall(";".join(steps))])
    unknown = sorted({*found} - {*columns})
    if unknown:
        raise NotConfigured(
            f"Another kling-mcp, probably a newer one, wrote the ledger {place}: this program does "
            f"not know its columns {', '.join(unknown)}. Nothing was changed in it.",
            advice="Update kling-mcp.",
        )
    missing = {name: kind for name, kind in columns.items() if name not in found}
    lost = [
        name
        for name, kind in missing.items()
        if "PRIMARY KEY" in kind or ("NOT NULL" in kind and "DEFAULT" not in kind)
    ]
    if lost:
        raise NotConfigured(
            f"The ledger {place} lacks columns of every version: "
            f"{', '.join(lost)}. Nothing was changed in it.",
            advice="Put back a copy of it. A new ledger does not know what was paid before.",
        )
    added = [f"ALTER TABLE tasks ADD COLUMN {name} {kind}" for name, kind in missing.items()]
    filled = [
        f"UPDATE tasks SET {name} = {value}"  # noqa: S608
        for name, value in _FILLED_FROM.items()
        if name in missing
    ]
    indexes = [
        statement
        for index in _INDEX.finditer(";".join(steps) if missing else "")
        for statement in (f"DROP INDEX IF EXISTS {index[1]}", index[0])
    ]
    return [*added, *filled, *indexes]


class Cursor(Protocol):
    """The result of a statement. Rows are read by the names of their columns."""

    @property
    def rowcount(self) -> int:
        """The number of rows that the statement changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> Sequence[Mapping[str, Any]]:
        """All remaining rows."""
        ...


class Database(Protocol):
    """A connection, inside or outside of a transaction."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement; `?` stands for each value."""
        ...


class Engine(Protocol):
    """Runs work off the event loop, except for a `glance`. Every method raises NotConfigured, with
    the reason, when the database cannot be used. The first call opens it."""

    @property
    def place(self) -> str:
        """The place of the database, for people to read; without a password."""
        ...

    @property
    def exists(self) -> bool:
        """Whether the database may have rows; False when surely nothing was ever written."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether servers on several machines may use the database at once."""
        ...

    @property
    def ahead_s(self) -> float:
        """Seconds by which the database's clock is ahead of this machine's. All machines judge
        leases by the database's clock."""
        ...

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """Run work that only reads; it waits for no writer. Returns the work's result."""
        ...

    async def glance(self, work: Callable[[Database], ResultT]) -> ResultT:
        """Run work that only reads, and only a few rows by an index: where the database is a file
        of this machine, at once on the event loop, as a thread would take longer than the work."""
        ...

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """Run work in a transaction, which is on the disk when this returns the work's result. A
        `relaxed` transaction survives a killed process, but may be lost in a power cut. Work that
        may run `again` does so once when the connection was lost."""
        ...

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """Like `write`, while no other work of this kind runs on any machine: for work that
        depends on several rows at once, and may run again."""
        ...

    def changed_rows(self) -> AsyncGenerator[list[str], None]:
        """Yields the ids of changed rows, whoever changed them; SQLite yields nothing. An empty
        list marks a (re)connect: earlier changes may have been missed."""
        ...

    async def close(self) -> None:
        """Close the database if it is open."""
        ...
