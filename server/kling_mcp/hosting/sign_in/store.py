"""The state of signing in, in the ledger's database, which all servers of a team share.

Of codes and tokens it keeps the SHA-256 only. A grant is what a person allowed one program; its
tokens are a family that ends together: revoked, stolen, or unused for too long.

    code -- taken once --> access + refresh -- refreshed --> access + refresh -- ...
      \\-- again: revoked     the old refresh token again: revoked
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kling_mcp.ledger.engine import ResultT

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger
    from kling_mcp.ledger.engine import Database

__all__ = ["ACCESS_S", "REGISTRATIONS", "WRONG_TOKENS", "Family", "Grant", "Limit", "SignInStore"]

CODE_S = 60.0
"""Seconds within which a program must take up its code."""

ACCESS_S = 3600.0
"""Seconds that an access token is valid."""

GRANT_S = 30 * 86_400.0
"""Seconds after which a program that did not refresh must ask the person again."""

AGAIN_S = 10.0
"""Seconds in which a refresh token may be sent again by a program that lost the answer; it gets the
same answer, as long as nobody has used that."""

UNUSED_S = 86_400.0
"""Seconds that a registered program is kept without anybody having let it in."""

USED_S = 90 * 86_400.0
"""Seconds that a program is kept after its last grant has ended."""

REMEMBERED_S = 86_400.0
"""Seconds after their end for which codes and tokens are remembered, to notice their reuse."""

MOST_GRANTS = 100
"""Most grants of one person's token; the one that ends first makes room."""

MOST_USED = 200
"""Used refresh tokens of a grant that are remembered: those of a week, refreshed each hour."""

SWEEP_S = 600.0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `each` tries of one address, and `everybody` of all addresses, in `window_s`."""

    kind: str
    each: int
    everybody: int
    window_s: float


REGISTRATIONS = Limit("register", 20, 100, 3600.0)
WRONG_TOKENS = Limit("token", 10, 200, 900.0)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person let a program have: for one resource, by one token of `kling-mcp tokens`."""

    id: str
    client_id: str
    resource: str
    token_sha256: str


@dataclass(frozen=True, slots=True)
class Family:
    """A token of a grant: `scopes` are its own, `left_s` the seconds until it ends."""

    grant: Grant
    scopes: tuple[str, ...]
    left_s: float
    details: Mapping[str, Any]


_JOINED = (
    "SELECT t.kind, t.scopes, t.details, t.ends_at, t.used_at, g.id, g.client_id, g.resource, "
    "g.token_sha256, g.ends_at AS grant_ends_at FROM sign_in_tokens t "
    "JOIN sign_in_grants g ON g.id = t.grant_id WHERE t.sha256 = ?"
)


class SignInStore:
    """Every method raises KlingError while the database cannot be used. `ledger` gives the one of
    the running server."""

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        self._ledger = ledger
        self._swept_at = -math.inf

    async def client(self, client_id: str) -> str | None:
        """What is known of a program, as it was given to `register` or `allow`."""
        ledger = self._ledger()
        if not ledger.exists:
            return None
        now = ledger.now()
        row = await ledger.engine.read(
            lambda db: db.execute(
                "SELECT metadata FROM sign_in_clients WHERE client_id = ? AND kept_until > ?",
                (client_id, now),
            ).fetchone()
        )
        return str(row["metadata"]) if row else None

    async def register(self, client_id: str, metadata: str, address: str) -> int:
        """Keep a program that registered itself. Returns 0, or the seconds to wait when there were
        too many registrations; then nothing is kept."""

        def work(db: Database, now: float) -> int:
            if wait_s := _tried(db, REGISTRATIONS, address, now):
                return wait_s
            _keep_client(db, client_id, metadata, now + UNUSED_S)
            return 0

        return await self._write(work)

    async def tried(self, limit: Limit, address: str, *, counts: bool = True) -> int:
        """Returns 0, or the seconds to wait when there were too many tries. One that `counts` is
        kept for later."""
        return await self._write(lambda db, now: _tried(db, limit, address, now, counts=counts))

    async def allow(
        self,
        grant: Grant,
        code: str,
        scopes: Sequence[str],
        details: Mapping[str, Any],
        metadata: str,
    ) -> None:
        """Begin a grant with a code (its SHA-256). `metadata` is what is known of the program."""

        def work(db: Database, now: float) -> None:
            rest = db.execute(
                "SELECT id FROM sign_in_grants WHERE token_sha256 = ? ORDER BY ends_at DESC",
                (grant.token_sha256,),
            ).fetchall()[MOST_GRANTS - 1 :]
            for row in rest:
                _end(db, row["id"])
            db.execute(
                "INSERT INTO sign_in_grants (id, client_id, resource, token_sha256, ends_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (grant.id, grant.client_id, grant.resource, grant.token_sha256, now + CODE_S),
            )
            _put(db, code, "code", grant.id, scopes, now + CODE_S, details)
            _keep_client(db, grant.client_id, metadata, now + USED_S)

        await self._write(work)

    async def take_code(self, code: str, client_id: str) -> Family | None:
        """The code of this program, which is used up now; None for any other. A code that comes
        again ends its family."""

        def work(db: Database, now: float) -> Family | None:
            row = db.execute(_JOINED, (code,)).fetchone()
            if row is None or row["kind"] != "code" or row["client_id"] != client_id:
                return None
            if not _used(db, code, now):
                _end(db, row["id"])
                return None
            return _family(row, now)

        return await self._write(work, again=False)

    async def trade(self, code: Family, access: str, refresh: str) -> bool:
        """Give the first two tokens for a code that was taken. False when it was revoked since."""

        def work(db: Database, now: float) -> bool:
            if not _prolonged(db, code.grant, now):
                return False
            _put(db, access, "access", code.grant.id, code.scopes, now + ACCESS_S)
            _put(db, refresh, "refresh", code.grant.id, code.scopes, now + GRANT_S)
            return True

        return await self._write(work, again=False)

    async def found(self, kind: str, token: str) -> Family | None:
        """The family of an access or refresh token; None for one that is not valid. A used refresh
        token is found, too: `refresh` judges it."""
        ledger = self._ledger()
        if not ledger.exists:
            return None
        row = await ledger.engine.read(lambda db: db.execute(_JOINED, (token,)).fetchone())
        return _family(row, ledger.now()) if row and row["kind"] == kind else None

    async def refresh(
        self, old: str, access: str, new: str, scopes: Sequence[str]
    ) -> Family | None:
        """Use up a refresh token, and give an access token with these scopes and a new refresh
        token. Returns the new access token's family. None for a token that is not valid, and for
        one that comes again: that ends its family."""

        def work(db: Database, now: float) -> Family | None:
            row = db.execute(_JOINED, (old,)).fetchone()
            family = _family(row, now) if row and row["kind"] == "refresh" else None
            if family is None:
                return None
            if not _used(db, old, now):
                before = _answered_before(db, old, access, new, now)
                if before is None:
                    _end(db, family.grant.id)
                return before
            if not _prolonged(db, family.grant, now):
                return None
            _put(db, access, "access", family.grant.id, scopes, now + ACCESS_S)
            _put(db, new, "refresh", family.grant.id, family.scopes, now + GRANT_S)
            _forget_older(db, family.grant.id)
            return Family(family.grant, tuple(scopes), ACCESS_S, {})

        return await self._write(work)

    async def end(self, grant_id: str) -> None:
        """Revoke all tokens of a grant."""
        await self._write(lambda db, _: _end(db, grant_id))

    async def _write(
        self, work: Callable[[Database, float], ResultT], *, again: bool = True
    ) -> ResultT:
        ledger = self._ledger()
        now = ledger.now()
        due = not 0 <= now - self._swept_at < SWEEP_S

        def done(db: Database) -> ResultT:
            if due:
                _sweep(db, now)
            return work(db, now)

        result = await ledger.engine.write(done, again=again)
        if due:
            self._swept_at = now
        return result


def _tried(db: Database, limit: Limit, address: str, now: float, *, counts: bool = True) -> int:
    since = now - limit.window_s
    for most, where, values in (
        (limit.each, " AND address = ?", (address,)),
        (limit.everybody, "", ()),
    ):
        row = db.execute(
            "SELECT count(*) AS tries, min(at) AS first FROM sign_in_tries "  # noqa: S608
            f"WHERE kind = ? AND at > ?{where}",
            (limit.kind, since, *values),
        ).fetchone()
        if row["tries"] >= most:
            return max(1, math.ceil(float(row["first"]) - since))
    if counts:
        db.execute(
            "INSERT INTO sign_in_tries (kind, address, at) VALUES (?, ?, ?)",
            (limit.kind, address, now),
        )
    return 0


def _keep_client(db: Database, client_id: str, metadata: str, until: float) -> None:
    db.execute(
        "INSERT INTO sign_in_clients (client_id, metadata, kept_until) VALUES (?, ?, ?) "
        "ON CONFLICT (client_id) DO UPDATE SET metadata = excluded.metadata, "
        "kept_until = excluded.kept_until",
        (client_id, metadata, until),
    )


def _put(
    db: Database,
    sha256: str,
    kind: str,
    grant_id: str,
    scopes: Sequence[str],
    ends_at: float,
    details: Mapping[str, Any] = {},
) -> None:
    db.execute(
        "INSERT INTO sign_in_tokens (sha256, kind, grant_id, scopes, details, ends_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (sha256, kind, grant_id, " ".join(scopes), json.dumps(details), ends_at),
    )


def _used(db: Database, sha256: str, now: float) -> bool:
    """Mark a code or token as used. False when it was used before."""
    changed = db.execute(
        "UPDATE sign_in_tokens SET used_at = ? WHERE sha256 = ? AND used_at IS NULL", (now, sha256)
    )
    return changed.rowcount == 1


def _prolonged(db: Database, grant: Grant, now: float) -> bool:
    changed = db.execute(
        "UPDATE sign_in_grants SET ends_at = ? WHERE id = ?", (now + GRANT_S, grant.id)
    )
    db.execute(
        "UPDATE sign_in_clients SET kept_until = ? WHERE client_id = ?",
        (now + GRANT_S + USED_S, grant.client_id),
    )
    return changed.rowcount == 1


def _answered_before(db: Database, old: str, access: str, new: str, now: float) -> Family | None:
    """The answer to the same refresh a moment ago; None when it is too long ago, or used.

    Servers that race may have looked at their clocks in the other order."""
    before = db.execute(_JOINED, (old,)).fetchone()
    given, kept = (db.execute(_JOINED, (sha256,)).fetchone() for sha256 in (new, access))
    if before is None or given is None or kept is None or given["used_at"] is not None:
        return None
    return _family(kept, now) if abs(now - before["used_at"]) <= AGAIN_S else None


def _forget_older(db: Database, grant_id: str) -> None:
    used = "FROM sign_in_tokens WHERE grant_id = ? AND kind = 'refresh' AND used_at"
    db.execute(
        f"DELETE {used} < (SELECT min(used_at) FROM (SELECT used_at {used} IS NOT NULL "  # noqa: S608
        "ORDER BY used_at DESC LIMIT ?) AS latest)",
        (grant_id, grant_id, MOST_USED),
    )


def _end(db: Database, grant_id: str) -> None:
    db.execute("DELETE FROM sign_in_tokens WHERE grant_id = ?", (grant_id,))
    db.execute("DELETE FROM sign_in_grants WHERE id = ?", (grant_id,))


def _family(row: Mapping[str, Any], now: float) -> Family | None:
    left_s = min(row["ends_at"], row["grant_ends_at"]) - now
    if left_s <= 0:
        return None
    grant = Grant(row["id"], row["client_id"], row["resource"], row["token_sha256"])
    return Family(grant, tuple(row["scopes"].split()), left_s, json.loads(row["details"]))


def _sweep(db: Database, now: float) -> None:
    """Remove what has ended."""
    ended = now - REMEMBERED_S
    db.execute(
        "DELETE FROM sign_in_tokens WHERE ends_at < ? OR (kind = 'access' AND ends_at < ?)",
        (ended, now),
    )
    db.execute("DELETE FROM sign_in_grants WHERE ends_at < ?", (ended,))
    db.execute("DELETE FROM sign_in_clients WHERE kept_until < ?", (now,))
    longest = max(REGISTRATIONS.window_s, WRONG_TOKENS.window_s)
    db.execute("DELETE FROM sign_in_tries WHERE at < ? OR at > ?", (now - longest, now + longest))
