"""Films in the ledger: a row in `tasks` like any other, beside it what it is made of.

One server at a time makes a film: it holds the film's lease, which it gets with the writing of the
film, and renews it. When the server dies, the lease runs out, and another one takes the film up.
Nobody else writes about the making: what another owner says is not written.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from kling_mcp.ledger.engine import Database, Engine
from kling_mcp.ledger.records import LONGEST_LEASE_S, Record, record_of
from kling_mcp.ledger.reserving import film_spent
from kling_tools.errors import KlingError
from kling_tools.products import FILM_IDS

__all__ = ["Agreed", "FilmRow", "Films", "ShotRow", "being_made", "cost_of", "digest_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What was agreed to for a shot: who makes it, and where; the model; the units at most, None
    for an unknown price; the SHA-256 of the request that was judged (`digest`, empty where a frame
    was not there yet), and of each picture that was read, by its field."""

    provider: str
    base_url: str
    sandbox: bool
    model_name: str
    units: float | None
    digest: str
    pictures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShotRow:
    """A shot: its `request` as the arguments of its tool, the row that makes it (`record_id`, empty
    before), why it is not made (`fault`), the SHA-256 of its request (`digest`), and what was
    `agreed` for it. The request of a shot that has a row is without the pictures that came as
    bytes."""

    number: int
    request: dict[str, Any]
    record_id: str = ""
    fault: str = ""
    digest: str = ""
    agreed: Agreed | None = None

    @classmethod
    def of(
        cls,
        number: int,
        request: dict[str, Any],
        record_id: str = "",
        agreed: Agreed | None = None,
    ) -> ShotRow:
        """The shot of a request."""
        return cls(number, request, record_id, digest=digest_of(request), agreed=agreed)

    def values(self, film_id: str) -> tuple[Any, ...]:
        """Its columns."""
        kept = _without_bytes(self.request) if self.record_id else self.request
        request = json.dumps(kept, ensure_ascii=False)
        agreed = json.dumps(asdict(self.agreed)) if self.agreed else ""
        return film_id, self.number, request, self.digest, self.record_id, self.fault, agreed

    def is_same(self, other: ShotRow) -> bool:
        """Whether both are the same request, of the same pictures where both were read."""
        if self.digest != other.digest:
            return False
        if self.agreed is None or other.agreed is None:
            return True
        return self.agreed.pictures == other.agreed.pictures


def digest_of(request: Mapping[str, Any]) -> str:
    """Identifies a request, with its pictures where they came as bytes."""
    text = json.dumps(request, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


MOST_CHARS = 4096
"""Characters of the longest text of a request that names a picture or says a wish."""


def _without_bytes(value: Any) -> Any:
    """The value with None for each picture that came as bytes."""
    if isinstance(value, dict):
        return {name: _without_bytes(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_bytes(part) for part in value]
    is_bytes = isinstance(value, str) and (value[:5].lower() == "data:" or len(value) > MOST_CHARS)
    return None if is_bytes else value


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmRow:
    """A film: whose it is, its name, how its shots are joined (`request`), its caps, the units to
    which a person said yes (`confirmed`, None where nobody was asked), when it was asked for last
    (seconds since the epoch) and how often (`version`), and its shots in their order. `joined`
    identifies what the file was joined of, `facts` what was measured in it. `usual_s` is the
    seconds that its making usually takes; its row in `tasks` keeps it."""

    id: str
    principal: str
    name: str
    request: dict[str, Any]
    max_units: float | None = None
    max_usd: float | None = None
    confirmed: float | None = None
    asked_at: float = 0.0
    version: int = 1
    joined: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    lease_owner: str = ""
    lease_until: float = 0.0
    shots: Sequence[ShotRow] = ()
    usual_s: float = 0.0

    def is_leased(self, now: float) -> bool:
        """Whether a server makes it at this time (seconds since the epoch)."""
        return now < self.lease_until <= now + LONGEST_LEASE_S

    def has_shots(self, shots: Sequence[ShotRow]) -> bool:
        """Whether these are its shots."""
        same = len(self.shots) == len(shots)
        return same and all(a.is_same(b) for a, b in zip(self.shots, shots, strict=True))


def cost_of(rows: Iterable[Record]) -> float:
    """The units that the rows which were made for a film cost, each clip once: estimated where they
    are not known, and nothing for what was refused; beside real ones, those of a sandbox are not
    counted."""
    rows = [*rows]
    rows = [row for row in rows if not row.sandbox] or rows
    return round(sum(row.counted_units for row in rows if not row.is_gone or row.units), 4)


def being_made(film: FilmRow) -> KlingError:
    """The error about a film that is asked for with other shots while it is made."""
    return KlingError(
        f'A film "{film.name}" of other shots is being made ({film.id}).',
        charged="no",
        advice=f'Wait for it with kling_wait_for_tasks with task_ids ["{film.id}"], end it with '
        "kling_cancel_task (then this call goes through at once), or give this one another name.",
    )


FREE = "(lease_owner IN ('', ?) OR lease_until <= ? OR lease_until > ?)"
"""Whether a lease can be taken, in SQL: takes the owner, the time now, and the longest lease."""

FOR_FILMS = (
    "id IN (SELECT record_id FROM film_tasks WHERE film_id IN "
    "(SELECT id FROM tasks WHERE ({where}) AND product = 'film'))"
)
"""The rows that were made for the films that match a condition."""

RUNS = "id IN (SELECT id FROM tasks WHERE status = 'processing')"


class Films:
    """The films of a ledger. Methods run off the event loop and raise NotConfigured with the
    reason when the database cannot be used; `tell` hears of each changed row."""

    def __init__(
        self,
        engine: Engine,
        now: Callable[[], float],
        lease_s: float,
        tell: Callable[[Record], None],
    ) -> None:
        self._engine = engine
        self._now = now
        self.lease_s = lease_s
        self._tell = tell

    async def find(self, any_id: str, principal: str | None) -> FilmRow | None:
        """The film with this id or name, as `name_key` reads it, of a principal, or of all (None);
        None without one."""
        return await self._engine.read(
            lambda db: _film(
                db,
                "principal = coalesce(?, principal) AND (id = ? OR name_key = ?) "
                "ORDER BY id = ? DESC, asked_at DESC",
                *(principal, any_id, name_key(any_id), any_id),
            )
        )

    async def with_id(self, film_id: str) -> FilmRow | None:
        """The film with this id; None without one."""
        return await self._engine.read(lambda db: _film(db, "id = ?", film_id))

    async def of_row(self, film_id: str) -> FilmRow:
        """The film of a row in `tasks`. Raises KlingError for a row without one."""
        found = await self.with_id(film_id)
        if found is None:
            raise KlingError(f"The ledger has nothing of what {film_id} was made of.")
        return found

    async def put(self, film: FilmRow, owner: str) -> FilmRow:
        """Write what is asked for: a new film, or other shots of one. Returns the film as it is
        now: leased to `owner`, who is to make it, or to whoever makes it already, who then goes on
        by what is written now. Raises KlingError while a film of this name is made of other
        shots."""
        fresh = f"{FILM_IDS}{uuid.uuid4().hex[:8]}"
        now = self._now()
        lease = owner, now + self.lease_s
        written = await self._engine.alone(
            partial(_put, film=film, fresh=fresh, now=now, lease=lease)
        )
        await self._changed(written.id)
        return written

    async def unfinished(self, since: float) -> list[str]:
        """The ids of films that no server makes, and that were asked for after `since`."""
        now = self._now()
        rows = await self._engine.read(
            lambda db: db.execute(
                f"SELECT id FROM films WHERE {RUNS} AND asked_at > ? "  # noqa: S608
                f"AND {FREE} ORDER BY asked_at",
                (since, "", now, now + LONGEST_LEASE_S),
            ).fetchall()
        )
        return [row["id"] for row in rows]

    async def claim(self, film_id: str, owner: str) -> bool:
        """Take the lease of an unfinished film. False while somebody else has it, and for one that
        is finished or was withdrawn."""
        now = self._now()
        changed = await self._engine.write(
            lambda db: (
                db.execute(
                    f"UPDATE films SET lease_owner = ?, lease_until = ? WHERE id = ? "  # noqa: S608
                    f"AND {RUNS} AND {FREE}",
                    (owner, now + self.lease_s, film_id, owner, now, now + LONGEST_LEASE_S),
                ).rowcount
            )
        )
        return changed == 1

    async def renew(self, film_id: str, owner: str) -> bool:
        """Renew the lease of a film that is made. False where it is the owner's no longer."""
        until = self._now() + self.lease_s
        changed = await self._engine.write(
            lambda db: (
                db.execute(
                    f"UPDATE films SET lease_until = ? WHERE id = ? AND lease_owner = ? "  # noqa: S608
                    f"AND {RUNS}",
                    (until, film_id, owner),
                ).rowcount
            )
        )
        return changed == 1

    async def release(self, film_id: str, owner: str) -> None:
        """Give the lease back."""
        await self._engine.write(
            lambda db: db.execute(
                "UPDATE films SET lease_owner = '', lease_until = 0 "
                "WHERE id = ? AND lease_owner = ?",
                (film_id, owner),
            )
        )

    async def shot(
        self, film_id: str, owner: str, number: int, record_id: str = "", fault: str = ""
    ) -> None:
        """Write which row makes a shot, and why it is not made."""

        def work(db: Database) -> None:
            film = _film(db, "id = ? AND lease_owner = ?", film_id, owner)
            shot = next((s for s in film.shots if s.number == number), None) if film else None
            if shot is not None:
                _keep(db, film_id, replace(shot, record_id=record_id, fault=fault))

        await self._engine.write(work)
        await self._changed(film_id)

    async def goes_on(self, film_id: str, message: str) -> None:
        """Write how far a film is, in words. It stands behind its shots in time: what is newest is
        listed first."""
        await self._engine.write(
            lambda db: db.execute(
                "UPDATE tasks SET message = ?, updated_at = ?, created_at = ? "
                "WHERE id = ? AND status = 'processing'",
                (message, self._now(), self._now(), film_id),
            ),
            relaxed=True,
        )
        await self._changed(film_id)

    async def finish(
        self,
        film: FilmRow,
        owner: str,
        status: str,
        message: str = "",
        *,
        sandbox: bool = False,
        request: Mapping[str, Any] | None = None,
        file: tuple[str, int, str] | None = None,
        joined: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write the end of a film: its status, its `file` (path, bytes, SHA-256), what that was
        `joined` of, and its `facts`; without a file the one of before stays known. Returns False,
        and writes nothing, where `owner` has its lease no longer, or where it was asked for again
        after `film` was read."""
        now = self._now()

        def work(db: Database) -> bool:
            done = db.execute(
                "UPDATE films SET lease_owner = '', lease_until = 0 "
                "WHERE id = ? AND lease_owner = ? AND version = ?",
                (film.id, owner, film.version),
            ).rowcount
            if not done:
                return False
            db.execute(
                "UPDATE tasks SET status = ?, message = ?, status_at = ?, updated_at = ?, "
                "ended_at = ?, sandbox = ? WHERE id = ? AND status = 'processing'",
                (status, message, now, now, now, int(sandbox), film.id),
            )
            if file:
                db.execute(
                    "UPDATE films SET joined = ?, facts = ? WHERE id = ?",
                    (joined, json.dumps(facts or {}), film.id),
                )
                db.execute(
                    "UPDATE tasks SET request = ?, path = ?, bytes = ?, sha256 = ? WHERE id = ?",
                    (json.dumps(request or {}), *file, film.id),
                )
            _forget_bytes(db, film.id)
            return True

        written = await self._engine.write(work)
        await self._changed(film.id)
        return written

    async def described_at(self, film_id: str, sidecar: Path) -> None:
        """Write where the file lies that says what a film was made of."""

        def work(db: Database) -> None:
            film = _film(db, "id = ?", film_id)
            facts = {**film.facts, "sidecar": str(sidecar)} if film else {}
            db.execute("UPDATE films SET facts = ? WHERE id = ?", (json.dumps(facts), film_id))

        await self._engine.write(work)

    async def withdraw(self, film_id: str, message: str) -> bool:
        """Make no more of a film; its name is free at once. Returns False for one that has
        ended."""
        now = self._now()

        def work(db: Database) -> bool:
            changed = db.execute(
                "UPDATE tasks SET status = 'cancelled', message = ?, status_at = ?, "
                "updated_at = ?, ended_at = ? WHERE id = ? AND status = 'processing'",
                (message, now, now, now, film_id),
            ).rowcount
            if changed:
                db.execute(
                    "UPDATE films SET lease_owner = '', lease_until = 0 WHERE id = ?", (film_id,)
                )
                _forget_bytes(db, film_id)
            return changed == 1

        changed = await self._engine.write(work)
        await self._changed(film_id)
        return changed

    async def of_it_alone(self, film_id: str) -> list[str]:
        """The ids of the rows that were asked for first by this film, and that no other film which
        is being made waits for."""
        rows = await self._engine.read(
            lambda db: db.execute(
                "SELECT record_id FROM film_tasks WHERE film_id = ? AND record_id NOT IN "
                "(SELECT record_id FROM film_shots JOIN tasks ON tasks.id = film_shots.film_id "
                "WHERE film_id <> ? AND tasks.status = 'processing')",
                (film_id, film_id),
            ).fetchall()
        )
        return [row["record_id"] for row in rows]

    async def music(self) -> set[str]:
        """The names of the copies of music that films have."""
        rows = await self._engine.read(
            lambda db: db.execute("SELECT request FROM films").fetchall()
        )
        requests = [json.loads(row["request"]) for row in rows]
        return {str((how.get("music") or {}).get("file", "")) for how in requests}

    async def paid_for(self, film_id: str) -> list[str]:
        """The ids of the rows that were made for a film: of its shots of now, and of earlier
        ones."""
        rows = await self._engine.read(
            lambda db: db.execute(
                "SELECT record_id FROM film_tasks WHERE film_id = ?", (film_id,)
            ).fetchall()
        )
        return [row["record_id"] for row in rows]

    async def spent(
        self, film_id: str, usd_per_unit: float, *, sandbox: bool
    ) -> tuple[float, float]:
        """The units and the US dollars that a film's caps count, at this public price of a unit."""
        return await self._engine.read(
            lambda db: film_spent(db, film_id, usd_per_unit, sandbox=sandbox)
        )

    async def joined_px_s(self) -> float | None:
        """Pixels of the last large film that were joined in a second; None before there is one."""
        if not self._engine.exists:
            return None
        row = await self._engine.read(
            lambda db: db.execute(
                "SELECT facts FROM films WHERE facts LIKE ? ORDER BY asked_at DESC LIMIT 1",
                ('%"joined_px_s": %',),
            ).fetchone()
        )
        return json.loads(row["facts"])["joined_px_s"] if row else None

    async def _changed(self, film_id: str) -> None:
        self._tell(await self._engine.read(lambda db: record_of(db, film_id)))


def _film(db: Database, where: str, *values: Any) -> FilmRow | None:
    row = db.execute(f"SELECT * FROM films WHERE {where}", values).fetchone()  # noqa: S608
    if row is None:
        return None
    shots = db.execute(
        "SELECT * FROM film_shots WHERE film_id = ? ORDER BY number", (row["id"],)
    ).fetchall()
    columns = {name: row[name] for name in row.keys() if name != "name_key"}  # noqa: SIM118
    return FilmRow(
        **{**columns, "request": json.loads(row["request"]), "facts": json.loads(row["facts"])},
        shots=[
            ShotRow(
                s["number"],
                json.loads(s["request"]),
                s["record_id"],
                s["fault"],
                s["digest"],
                Agreed(**json.loads(s["agreed"])) if s["agreed"] else None,
            )
            for s in shots
        ],
    )


def _forget_bytes(db: Database, film_id: str) -> None:
    """Keep no pictures of a film that is made no longer: whoever calls for it again brings them."""
    film = _film(db, "id = ?", film_id)
    for shot in film.shots if film else ():
        kept = _without_bytes(shot.request)
        if kept != shot.request:
            _keep(db, film_id, replace(shot, request=kept))


def _keep(db: Database, film_id: str, shot: ShotRow) -> None:
    db.execute(
        "INSERT INTO film_shots (film_id, number, request, digest, record_id, fault, agreed) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (film_id, number) DO UPDATE SET "
        "request = excluded.request, record_id = excluded.record_id, fault = excluded.fault",
        shot.values(film_id),
    )


def name_key(name: str) -> str:
    """What films of one name have in common: neither case nor blanks make another one."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _put(
    db: Database, *, film: FilmRow, fresh: str, now: float, lease: tuple[str, float]
) -> FilmRow:
    before = _film(db, "principal = ? AND name_key = ?", film.principal, name_key(film.name))
    made_now = before is not None and before.is_leased(now)
    if before and made_now:
        if not before.has_shots(film.shots):
            raise being_made(before)
        lease = before.lease_owner, before.lease_until
        confirmed = [units for units in (before.confirmed, film.confirmed) if units is not None]
        film = replace(
            film,
            confirmed=max(confirmed, default=None),
            shots=[_going_on(db, *pair) for pair in zip(before.shots, film.shots, strict=True)],
        )
    film = replace(film, id=before.id if before else fresh)
    values = (
        json.dumps(film.request, ensure_ascii=False),
        *(film.max_units, film.max_usd, film.confirmed, now),
        *lease,
        film.id,
    )
    if before is None:
        db.execute(
            "INSERT INTO films (principal, name, name_key, request, max_units, max_usd, "
            "confirmed, asked_at, lease_owner, lease_until, id) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (film.principal, film.name, name_key(film.name), *values),
        )
        db.execute(
            "INSERT INTO tasks (id, provider, base_url, product, digest, take, attempt, "
            "external_task_id, task_id, status, model_name, prompt, request, created_at, "
            "updated_at, status_at, principal) "
            "VALUES (?, 'film', '', 'film', ?, 1, 1, ?, ?, 'processing', '', ?, '{}', ?, ?, ?, ?)",
            (film.id, film.id, film.id, film.id, film.name, now, now, now, film.principal),
        )
    else:
        db.execute(
            "UPDATE films SET request = ?, max_units = ?, max_usd = ?, confirmed = ?, "
            "asked_at = ?, lease_owner = ?, lease_until = ?, version = version + 1 WHERE id = ?",
            values,
        )
        db.execute(
            "UPDATE tasks SET status = 'processing', message = '', status_at = ?, updated_at = ?, "
            "ended_at = NULL WHERE id = ? AND status <> 'processing'",
            (now, now, film.id),
        )
    request = {**record_of(db, film.id).request, "usual_s": film.usual_s}
    db.execute("UPDATE tasks SET request = ? WHERE id = ?", (json.dumps(request), film.id))
    db.execute("DELETE FROM film_shots WHERE film_id = ?", (film.id,))
    for shot in film.shots:
        _keep(db, film.id, shot)
    written = _film(db, "id = ?", film.id)
    assert written is not None
    return written


def _going_on(db: Database, before: ShotRow, now: ShotRow) -> ShotRow:
    """A shot that is asked for again while it is made: with the row that it has got meanwhile,
    unless nothing came of that."""
    if now.record_id or not before.record_id:
        return now
    row = record_of(db, before.record_id)
    if row.is_gone or row.is_unanswered:  # the latter is found by its request, and needs it whole
        return now
    return replace(now, record_id=before.record_id)
