"""A row of the ledger, a request before it has a row, and the SQL that reads and changes rows."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, lru_cache
from typing import Annotated, Any, TypedDict, cast
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from kling_mcp.ledger.engine import Database
from kling_mcp.providers.task import FILE_LATE_S, Task, Video, only
from kling_tools.errors import KlingError
from kling_tools.products import ASSETS, IMAGE_UNIT, MADE, PRODUCTS, STEPS, Made, Result
from kling_tools.results import ENDED, WITHOUT_VIDEO, TaskStatus
from kling_tools.rules.capabilities import Wire

__all__ = [
    "AT",
    "CNY_PER_USD",
    "COUNTED",
    "COUNTED_TOGETHER",
    "COUNTED_USD",
    "DELETED",
    "IS_RUNNING",
    "OF_ASSETS",
    "OF_PICTURES",
    "OF_STEPS",
    "OPEN",
    "RUNNING",
    "DayCap",
    "DayCaps",
    "NewRow",
    "Record",
    "SavedFile",
    "ShotOf",
    "Wanted",
    "account_at",
    "beyond_use",
    "change",
    "change_open_row",
    "first_record",
    "followed",
    "keep_answer",
    "kept_answers",
    "like_part",
    "matching",
    "record_of",
    "records",
    "write_task",
]


OPEN = "status IN ('queued', 'sending', 'unknown') AND task_id IS NULL"
"""Rows that this program still has to send, or to look for at their provider."""

COUNTED = (
    "coalesce(CASE WHEN status IN ('succeed', 'failed', 'cancelled') THEN units END, "
    "estimate_units, 0)"
)
"""The units of a row that count against a cap, in SQL: its true cost, or its estimate until then.
`Record.counted_units` is the same in Python."""

CNY_PER_USD = 7
"""Yuan that caps of money count as one dollar, roughly the rate of 2026; nothing else converts."""

OF_PICTURES = "product IN ({})".format(
    ", ".join(f"'{name}'" for name, row in PRODUCTS.items() if row.result == "picture")
)
"""Rows whose units are image units, in SQL."""

OF_ASSETS = "product IN ({})".format(", ".join(f"'{name}'" for name in ASSETS))
"""Rows that make an element or a voice, in SQL."""

OF_STEPS = "product IN ({})".format(", ".join(f"'{name}'" for name in STEPS))
"""Rows of steps before a create, in SQL. They count as spent, and no list shows them."""

WEIGHT = f"CASE WHEN {OF_PICTURES} THEN {IMAGE_UNIT} ELSE 1 END"
"""How much a unit of a row counts where units of all kinds are counted together, in SQL."""

COUNTED_TOGETHER = f"{COUNTED} * {WEIGHT}"
COUNTED_PICTURES = f"CASE WHEN {OF_PICTURES} THEN {COUNTED} ELSE 0 END"
"""The units of a row that count against a cap of units, in SQL; image units count as many as they
cost."""

COUNTED_USD = (
    "CASE WHEN status IN ('succeed', 'failed', 'cancelled') "
    "AND (units IS NOT NULL OR money IS NOT NULL) "
    f"THEN coalesce(money, 0) / CASE currency WHEN 'CNY' THEN {CNY_PER_USD}.0 ELSE 1.0 END "
    f"+ coalesce(units, 0) * coalesce(estimate_usd / nullif(estimate_units, 0), {WEIGHT} * ?) "
    f"ELSE coalesce(estimate_usd, estimate_units * {WEIGHT} * ?, 0) END"
)
"""The dollars of a row that count against a cap, in SQL: its units at the price that was expected
when it was made. Takes the public price of a unit twice, for rows without one."""

AT = "status_at = CASE WHEN status = ? THEN status_at ELSE ? END"
"""Sets when a row's status began, in SQL: takes the new status and the time now."""


LONGEST_LEASE_S = 30.0
"""Seconds that a lease may reach into the future, differences of clocks included. A lease that ends
later was written before the clock was set back; it is ignored."""

END_OF_TIME = 253_402_300_799
"""The last second of the year 9999: no calendar goes on after it."""

Seconds = Annotated[float, Field(ge=0, le=END_OF_TIME)]
Units = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class ShotOf:
    """The film of a request, its number among the shots, and who makes the film."""

    film_id: str
    number: int
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """A request before it has a row. `digest` identifies the whole request; `request` holds its
    fields, with a name in the place of each picture; `arguments` those of the call, to make it
    again, with None in the place of each picture that was given as bytes. `pictures` are
    the names of the pictures, masks left out, `picture_hashes` the SHA-256 of each whose bytes were
    read here, by its field. `usd_per_unit` is the public price of a unit,
    `own_usd_per_unit` that in the provider's row, `endpoint` the path of
    its create on Kling's new standard, empty on the legacy one; `named` says that our
    external_task_id goes with it. It is `shot_of` a film, whose caps hold for it, too; None for no
    film. `others` are the same request at other providers, one of which
    may have made it already."""

    provider: str
    base_url: str
    product: Made
    digest: str
    take: int
    model_name: str
    prompt: str
    request: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    estimate_units: float | None
    external_task_id: str = ""
    principal: str = ""
    pictures: tuple[str, ...] = ()
    picture_hashes: dict[str, str] = field(default_factory=dict)
    sandbox: bool = False
    endpoint: str = ""
    named: bool = True
    usd_per_unit: float = 0.14
    own_usd_per_unit: float | None = None
    others: tuple[NewRow, ...] = ()
    shot_of: ShotOf | None = None

    @property
    def unit_weight(self) -> float:
        """How much one of its units counts where units of all kinds are counted together."""
        return MADE[self.product].unit_weight

    @property
    def unit(self) -> str:
        """The name of its units."""
        return MADE[self.product].unit


@dataclass(frozen=True, slots=True)
class DayCap:
    """The `most` that may be spent in 24 hours, in US dollars (`usd`) or units: by one principal
    (`own`), or by everybody together. Of `pictures` it is the most image units, and counts nothing
    else."""

    most: float
    usd: bool
    own: bool
    pictures: bool = False

    @property
    def setting(self) -> str:
        """The environment variable that sets it."""
        what = "IMAGE_UNITS" if self.pictures else "USD" if self.usd else "UNITS"
        return f"KLING_MCP_MAX_{what}_PER_DAY{'_USER' if self.own else ''}"

    @property
    def unit(self) -> str:
        """The name of its units, where it is one of units."""
        return "image unit" if self.pictures else "unit"

    def concerns(self, new_row: NewRow) -> bool:
        """Whether this request counts against it."""
        return not self.pictures or new_row.unit == self.unit


@dataclass(frozen=True, slots=True)
class DayCaps:
    """The most units and the most US dollars that may be spent in 24 hours: by everybody together
    (`team`), and by one principal; and the most image units. None means no cap."""

    team: float | None = None
    principal: float | None = None
    team_usd: float | None = None
    principal_usd: float | None = None
    pictures: float | None = None
    principal_pictures: float | None = None

    def all(self) -> list[DayCap]:
        """The caps that are set."""
        given = (
            (self.team, False, False, False),
            (self.principal, False, True, False),
            (self.team_usd, True, False, False),
            (self.principal_usd, True, True, False),
            (self.pictures, False, False, True),
            (self.principal_pictures, False, True, True),
        )
        return [DayCap(most, *kind) for most, *kind in given if most is not None]


RUNNING = "running"
IS_RUNNING: tuple[TaskStatus, ...] = ("sending", "submitted", "processing")
"""The states that are asked for as `RUNNING`."""


class Wanted(TypedDict, total=False):
    """Which rows are wanted; what is empty or left out is not asked for. `since` and `until` are
    seconds since the epoch, the second one excluded; `text` has words of the prompt or of a
    picture's name, `picture` a part of a picture's name, or its path or address. The `status` may
    be `RUNNING`. With a product, the steps before creates with the models `steps_of` are wanted
    too."""

    product: str | Sequence[str]
    steps_of: Sequence[str]
    status: str
    provider: str
    principal: str | None
    model_name: str
    since: float | None
    until: float | None
    text: str
    picture: str


IN_PICTURES = "lower(pictures) LIKE ? ESCAPE '!'"
BY_ADDRESS = "lower(arguments) LIKE ? ESCAPE '!'"
HAS_WORD = f"(lower(prompt) LIKE ? ESCAPE '!' OR {IN_PICTURES})"

_CONDITIONS: Mapping[str, str] = {
    **{name: f"{name} = ?" for name in ("status", "provider", "principal")},
    "model_name": "lower(model_name) = ?",
    "since": "created_at >= ?",
    "until": "created_at < ?",
}
"""The SQL of each condition that takes its value once."""


def like_part(text: str) -> str:
    """The text for a LIKE ... ESCAPE '!', in which no character has a meaning of its own."""
    return re.sub(r"([%_!])", r"!\1", text)


def matching(wanted: Wanted) -> tuple[str, list[Any]]:
    """The condition of a SELECT for these rows, and its values."""
    conditions: list[str] = []
    values: list[Any] = []
    own: list[Any]
    for name, value in wanted.items():
        if value in (None, "", ()) or name == "steps_of":
            continue
        if name == "picture":
            condition, own = _of_picture(str(value).lower())
        elif name == "text":
            words = [f"%{like_part(word)}%" for word in str(value).lower().split()]
            condition = " AND ".join([HAS_WORD] * len(words)) or "TRUE"
            own = [word for word in words for _ in range(2)]
        elif name == "product" or value == RUNNING:
            several = IS_RUNNING if value == RUNNING else value
            own = [several] if isinstance(several, str) else [*cast("Sequence[str]", several)]
            condition = f"{name} IN ({', '.join('?' * len(own))})"
            if name == "product" and (models := wanted.get("steps_of")):
                marks = ", ".join("?" * len(models))
                condition = f"({condition} OR {OF_STEPS} AND model_name IN ({marks}))"
                own += models
        else:
            condition = _CONDITIONS[name]
            own = [str(value).lower()] if name == "model_name" else [value]
        conditions.append(condition)
        values += own
    return " AND ".join(conditions) or "TRUE", values


def _of_picture(asked: str) -> tuple[str, list[str]]:
    """For a part of a picture's name, its path or its address: the part of the name that a row must
    have, or the whole in its arguments. A path does not match a row whose arguments have another
    path to a picture of that name."""
    url = re.match(r"https?://", asked)
    named = asked.partition("?")[0] if url else re.split(r"[\\/]", asked.rstrip("\\/"))[-1]
    name, whole = (json.dumps(part, ensure_ascii=False)[1:-1] for part in (named, asked))
    values = [f"%{like_part(part)}%" for part in (name, whole)]
    if url or named == asked:
        return f"({IN_PICTURES} OR {BY_ADDRESS})", values
    elsewhere = [f'%{sign}{like_part(name)}"%' for sign in ("/", "\\\\")]
    not_elsewhere = f"NOT ({BY_ADDRESS} OR {BY_ADDRESS})"
    condition = f"(({IN_PICTURES} AND {not_elsewhere}) OR {BY_ADDRESS})"
    return condition, [values[0], *elsewhere, values[1]]


NEEDED_TO_ASK = {"id", "provider", "base_url", "product", "task_id"}
"""The columns that a question to the provider needs; its answer mends some of the others."""

LONGEST_QUEUE_S = 30.0
"""The most seconds between two tries of a queued row, whatever the provider asks for."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A saved file of a task: where it is, its length in bytes and its SHA-256 (hex)."""

    path: str
    bytes: Count
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row. Times are seconds since the epoch, units are Kling's. `money` is what the account's
    balance paid instead of units, in its `currency`, with its `list_price` before any discount;
    `cash_type` says from which balance. `estimate_usd` is the price that caps of money count until
    the true one is known.

    A process that works on a row holds a lease and renews it. A queued row may be sent again from
    `due_at` on, after `tries` attempts. `ended_at` is when the task was first seen to have ended,
    `expires_at` when the provider deletes the video, `file_note` what is odd about the saved file,
    `pictures` the names of the request's pictures, never their paths, `picture_hashes` the SHA-256
    of their bytes by field.
    `sandbox` says that a sandbox makes the video, so that its units are play money,
    `status_at` when the status became what it is, `endpoint` the path of a create on Kling's new
    standard, empty on the legacy one; it is `named` when our external_task_id went with it.
    `asset_id` is the element or voice that it made, `kept_sha256` the SHA-256 of its body while
    that is kept in the queue. `path`, `bytes` and `sha256` are those of the first saved file,
    `files` the further ones of a task with several results; `number` is the place of the result
    that the row stands for.
    `damaged` names the columns with values that no version writes; they are read as empty. A row is
    `shadowed` when an older row has its id at the provider: some gateways give one id twice.
    """

    id: str
    provider: str
    base_url: str
    product: Made
    digest: str
    take: Count
    attempt: Count
    external_task_id: str
    task_id: str | None
    status: TaskStatus
    model_name: str
    prompt: str
    request: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    picture_hashes: dict[str, str] = field(default_factory=dict)
    estimate_units: Units | None
    units: Units | None
    message: str
    videos: tuple[Video, ...]
    path: str | None
    created_at: Seconds
    updated_at: Seconds
    lease_owner: str
    lease_until: Seconds
    due_at: Seconds
    tries: Count
    ended_at: Seconds | None
    bytes: Count | None
    sha256: str | None
    expires_at: Seconds | None
    file_note: str = ""
    principal: str = ""
    callback_key: str = field(default="", compare=False, repr=False)
    money: Units | None = None
    sandbox: bool = False
    status_at: Seconds = 0.0
    quoted: bool = False
    currency: str = ""
    cash_type: str = ""
    list_price: Units | None = None
    estimate_usd: Units | None = None
    endpoint: str = ""
    named: bool = True
    asset_id: str = ""
    kept_sha256: str = ""
    files: tuple[SavedFile, ...] = ()
    number: int = field(default=1, compare=False)
    damaged: tuple[str, ...] = ()
    shadowed: bool = field(default=False, compare=False)

    @property
    def result(self) -> Result:
        """The kind of files that it makes; elements and voices are none."""
        return "picture" if MADE[self.product].result == "picture" else "video"

    @property
    def several(self) -> bool:
        """Whether it has several results, each with a file of its own."""
        return self.result == "picture" and len(self.videos) > 1

    def file(self, number: int) -> Record:
        """The row as that of its result with this number, from 1 on: its path, bytes and SHA-256
        are those of that result's file, which may not be saved."""
        if number == 1:
            return replace(self, number=1)
        rest = self.files[number - 2 : number - 1]
        saved = rest[0] if rest and number > 1 else None
        return replace(
            self,
            path=saved.path if saved else None,
            bytes=saved.bytes if saved else None,
            sha256=saved.sha256 if saved else None,
            number=number,
        )

    def each_file(self) -> list[Record]:
        """The row as that of each of its results; itself where there is one, and where it stands
        for a further one."""
        if not self.several or self.number > 1:
            return [self]
        return [self.file(number) for number in range(1, len(self.videos) + 1)]

    @property
    def wire(self) -> Wire:
        """The standard on which it was sent."""
        return "new" if self.endpoint else "legacy"

    @property
    def is_film(self) -> bool:
        """Whether the row is about a film: made here, of videos that have rows of their own."""
        return self.product == "film"

    @property
    def is_outdated(self) -> bool:
        """Whether its file is that of before: a film is made anew, or its making was ended."""
        return self.is_film and self.status != "succeed"

    @property
    def is_asset(self) -> bool:
        """Whether the row is about an element or a voice, which is no file."""
        return self.product in ASSETS

    @property
    def is_step(self) -> bool:
        """Whether the row is about a step before a create."""
        return self.product in STEPS

    @property
    def is_gone(self) -> bool:
        """Whether nothing came of the row, or what it made was deleted here, or has ended: the same
        request then makes it anew."""
        may_end = self.is_asset or self.is_step
        return self.status in WITHOUT_VIDEO or (may_end and self.file_note == DELETED)

    @property
    def line(self) -> tuple[str, str, Made, str]:
        """The queue for the row: one user's requests to one provider for one product."""
        return self.provider, self.base_url, self.product, self.principal

    def is_leased(self, now: float) -> bool:
        """Whether a process works on the row at this time (seconds since the epoch)."""
        return now < self.lease_until <= now + LONGEST_LEASE_S

    @property
    def is_beyond_use(self) -> bool:
        """Whether the row is too damaged to be sent, or to be looked up at its provider."""
        needed = NEEDED_TO_ASK if self.task_id else {*self.damaged}
        free = self.status in WITHOUT_VIDEO and "attempt" not in self.damaged
        return not free and not needed.isdisjoint(self.damaged)

    def is_due(self, now: float) -> bool:
        """Whether a queued row may be sent (again). A row that would wait longer than any row may
        is due: a clock was set back, or an older version wrote it."""
        return not now < self.due_at <= now + LONGEST_QUEUE_S

    @property
    def handle(self) -> str:
        """The id that an agent uses for this row alone: the provider's task id, or ours until the
        provider has given one."""
        return self.id if self.shadowed else self.task_id or self.external_task_id or self.id

    @property
    def counted_units(self) -> float:
        """The units that the row counts against a cap: its true cost, or its estimate until
        then."""
        known = self.units if self.status in ENDED else None
        return known if known is not None else self.estimate_units or 0.0

    def state(self, now: float) -> TaskStatus:
        """The status at this time (seconds since the epoch): a row that a dead process was sending
        is `unknown`."""
        return "unknown" if self.status == "sending" and not self.is_leased(now) else self.status

    @property
    def is_unanswered(self) -> bool:
        """Whether the row was sent, or was about to be, and nothing more is known of it."""
        return self.task_id is None and self.status in ("sending", "unknown")

    @property
    def arguments_as_bytes(self) -> list[str]:
        """The arguments that hold a picture which came as bytes: the row has None in its place."""
        return [name for name, value in self.arguments.items() if _has_none(value)]


def followed(record: Record) -> Record:
    """The row while somebody waits for its task: without what only an answer shows, which is read
    again for that. What many rows share is kept once, so that an open task takes little memory."""
    asked = tuple((name, str(record.request.get(name) or "")) for name in _ASKED)
    shared: dict[str, Any] = {name: sys.intern(getattr(record, name)) for name in _SHARED}
    return replace(record, **shared, **_UNTOLD, request=_request_of(asked))


_ASKED = ("mode", "duration", "usual_s")
_SHARED = ("provider", "base_url", "product", "status", "model_name", "endpoint", "principal")
_UNTOLD: Mapping[str, Any] = {
    **dict.fromkeys(("digest", "prompt", "file_note", "lease_owner", "callback_key"), ""),
    **dict.fromkeys(("estimate_units", "estimate_usd", "sha256"), None),
    "arguments": {},
    "pictures": (),
    "picture_hashes": {},
}


@lru_cache
def _request_of(asked: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return dict(asked)


def _has_none(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_none, value.values()))
    return value is None or (isinstance(value, list) and any(map(_has_none, value)))


DELETED = "deleted"
"""The note of a row whose element or voice was deleted, or whose step is used no longer."""

IN_JSON = ("request", "arguments", "pictures", "picture_hashes", "videos", "files")

NOT_COLUMNS = ("damaged", "shadowed", "number")

SHADOWED = (
    "EXISTS (SELECT 1 FROM tasks AS older "
    "WHERE older.task_id = coalesce(tasks.task_id, tasks.external_task_id) "
    "AND (older.created_at, older.rowid) < (tasks.created_at, tasks.rowid)) AS shadowed"
)

COLUMNS = ", ".join(f.name for f in fields(Record) if f.name not in NOT_COLUMNS)

EMPTY: dict[str, Any] = {
    **dict.fromkeys(("id", "provider", "base_url", "digest", "external_task_id", "model_name"), ""),
    **dict.fromkeys(("prompt", "message", "lease_owner", "file_note", "principal"), ""),
    "endpoint": "",
    "named": True,
    **dict.fromkeys(("created_at", "updated_at", "lease_until", "due_at"), 0.0),
    **dict.fromkeys(("task_id", "estimate_units", "units", "path", "ended_at", "bytes"), None),
    **dict.fromkeys(("sha256", "expires_at", "money", "list_price", "estimate_usd"), None),
    **dict.fromkeys(("currency", "cash_type", "asset_id", "kept_sha256"), ""),
    **dict.fromkeys(("take", "attempt", "tries"), 0),
    "sandbox": False,
    "status_at": 0.0,
    "quoted": False,
    "product": "image2video",
    "status": "unknown",
    "request": {},
    "arguments": {},
    "pictures": (),
    "picture_hashes": {},
    "videos": (),
    "files": (),
    "callback_key": "",
}
"""The values that stand for damaged columns."""


def records(db: Database, rest: str, values: Sequence[Any]) -> list[Record]:
    """The rows that match `rest`, the part of the SELECT behind FROM."""
    rows = db.execute(f"SELECT {COLUMNS}, {SHADOWED} FROM tasks {rest}", values).fetchall()  # noqa: S608
    return [_from_columns(row) for row in rows]


def first_record(db: Database, rest: str, values: Sequence[Any]) -> Record | None:
    """The first row that matches; None without any."""
    found = records(db, rest, values)
    return found[0] if found else None


def record_of(db: Database, record_id: str) -> Record:
    """The row with this ledger id, which exists: rows are never deleted."""
    record = first_record(db, "WHERE id = ?", (record_id,))
    assert record is not None
    return record


_NOTHING = object()
"""Stands for bytes in a column of texts or numbers; no reader takes it for a value."""


@cache
def _reader() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def _from_columns(row: Mapping[str, Any]) -> Record:
    """The row, whatever its columns hold. A column with a value that no version writes is read as
    empty and named in `damaged`; fields that a newer version adds to a video are ignored."""
    # by place: SQLite's row compares a name with that of each column before it
    told = row if isinstance(row, dict) else dict(zip(row.keys(), row, strict=True))
    columns = {k: _NOTHING if isinstance(v, bytes) else v for k, v in told.items()}
    columns |= {name: _json(told[name]) for name in IN_JSON}
    try:
        return _reader().validate_python(columns)
    except ValidationError as error:
        damaged = dict.fromkeys(str(detail["loc"][0]) for detail in error.errors())
    empty = {name: EMPTY[name] for name in damaged}
    return _reader().validate_python({**columns, **empty, "damaged": tuple(damaged)})


def _json(text: Any) -> Any:
    """The value of a column's JSON; the column itself when its text is no JSON."""
    try:
        return _DECODER.decode(text if isinstance(text, str) else str(text, "utf-8"))
    except (TypeError, ValueError, RecursionError):
        return text


def _finite(text: str) -> float:
    """The number. Raises ValueError for infinity, NaN and numbers that are too large."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite)


KEPT_S = 30 * 86_400
"""Seconds for which Kling keeps a result (its API pages, on task queries)."""


def write_task(db: Database, record_id: str, task: Task, now: float) -> Record:
    """Write the provider's answer into the row and return the row; see `Ledger.record`."""
    if task.videos:
        task = only(task, MADE[record_of(db, record_id).product].result)
    videos = [
        {
            "url": video.url,
            "duration_s": video.duration_s,
            "watermark_url": video.watermark_url,
            "id": video.id,
            **({"kind": video.kind} if video.kind != "video" else {}),
        }
        for video in task.videos
    ]
    ended = task.lacks_file or task.status in ENDED
    status, goes_on = task.status, "TRUE"
    if task.lacks_file:
        since = record_of(db, record_id).ended_at or now
        status = "succeed" if now - since >= FILE_LATE_S else status
        goes_on = "(task_id IS NULL OR (status <> 'failed' AND videos = '[]'))"
    elif not ended:
        goes_on = "(task_id IS NULL OR ended_at IS NULL)"
    expires_at = min(task.updated_at or now, now) + KEPT_S if status == "succeed" else None
    db.execute(
        "UPDATE tasks SET lease_owner = '', lease_until = 0, "  # noqa: S608
        f"task_id = coalesce(task_id, ?), {AT}, status = ?, message = ?, "
        "units = CASE WHEN ? THEN ? "
        "ELSE coalesce(?, CASE WHEN task_id IS NULL OR (ended_at IS NULL AND ?) THEN NULL "
        "ELSE units END) END, "
        "money = coalesce(?, money), currency = CASE WHEN ? THEN ? ELSE currency END, "
        "cash_type = CASE WHEN ? THEN ? ELSE cash_type END, list_price = coalesce(?, list_price), "
        "answers = ?, videos = ?, asset_id = CASE WHEN ? <> '' THEN ? ELSE asset_id END, "
        "updated_at = ?, ended_at = coalesce(ended_at, ?), "
        "expires_at = coalesce(expires_at, ?) "
        f"WHERE id = ? AND {goes_on}",
        (
            task.task_id,
            status,
            now,
            status,
            task.message,
            task.money is not None,
            task.units,
            task.units,
            ended,
            task.money,
            task.money is not None,
            task.currency,
            task.money is not None,
            task.cash_type,
            task.list_price,
            _answers(db, record_id, task, now, ended=ended),
            json.dumps(videos),
            task.asset.id if task.asset else "",
            task.asset.id if task.asset else "",
            now,
            now if ended else None,
            expires_at,
            record_id,
        ),
    )
    record = record_of(db, record_id)
    if record.status in ENDED:
        db.execute(
            f"UPDATE tasks SET due_at = 0 WHERE {OPEN} AND due_at > 0 AND provider = ?",  # noqa: S608
            (record.provider,),
        )
    return record


ANSWER_CHARS = 4000
"""The most characters of an answer that a row keeps."""

MOST_ANSWERS = 4
"""The most answers that a row keeps: those to its create, and those that told its end and cost."""


def _answers(db: Database, record_id: str, task: Task, now: float, *, ended: bool) -> str:
    """The answers that the row keeps, as JSON: the first, the one that told the end, and those that
    told another cost."""
    columns = "answers, task_id, ended_at, units, money"
    row = db.execute(f"SELECT {columns} FROM tasks WHERE id = ?", (record_id,)).fetchone()  # noqa: S608
    other_cost = any(
        told not in (None, row[name])
        for name, told in (("units", task.units), ("money", task.money))
    )
    news = row["task_id"] is None or (ended and (row["ended_at"] is None or other_cost))
    return _with_answer(row["answers"], task.status, task.told if news else {}, now)


def _with_answer(column: Any, status: str, told: Mapping[str, Any], now: float) -> str:
    """The column with one more answer, if that says anything and there is room."""
    kept = kept_answers(column)
    if told and len(kept) < MOST_ANSWERS:
        said = json.dumps(told, default=str)
        answer = told if len(said) <= ANSWER_CHARS else said[:ANSWER_CHARS]
        kept.append({"at": now, "status": status, "answer": answer})
    return json.dumps(kept, default=str)


def keep_answer(
    db: Database, record_id: str, status: str, told: Mapping[str, Any], now: float
) -> None:
    """Add an answer to those that the row keeps."""
    row = db.execute("SELECT answers FROM tasks WHERE id = ?", (record_id,)).fetchone()
    answers = _with_answer(row["answers"], status, told, now)
    db.execute("UPDATE tasks SET answers = ? WHERE id = ?", (answers, record_id))


def kept_answers(column: Any) -> list[Mapping[str, Any]]:
    """The answers in a column; those that can be read."""
    kept = _json(column)
    return [item for item in kept if isinstance(item, dict)] if isinstance(kept, list) else []


def change(db: Database, record_id: str, changes: str, values: Sequence[object]) -> Record:
    """Change columns of the row and return the row."""
    db.execute(f"UPDATE tasks SET {changes} WHERE id = ?", (*values, record_id))  # noqa: S608
    return record_of(db, record_id)


def change_open_row(
    db: Database, record_id: str, changes: str, values: Sequence[object], owner: str | None
) -> Record:
    """Change an open row and return the row. Nothing changes when the row is not open, or when an
    `owner` is named who does not hold its lease."""
    db.execute(
        f"UPDATE tasks SET {changes} WHERE id = ? AND {OPEN} "  # noqa: S608
        "AND lease_owner = coalesce(?, lease_owner)",
        (*values, record_id, owner),
    )
    return record_of(db, record_id)


_PORTS = {"http": 80, "https": 443}
_HERE = ("localhost", "127.0.0.1", "::1")
_OF_PROVIDERS = re.compile(r"(/kling)?/v1(/videos)?$")


@cache
def account_at(base_url: str) -> str:
    """A base URL in the one spelling that all spellings of it share: without regard to case of the
    host, a port that is the scheme's own, slashes at the end, the name of this machine, and the
    path below which providers have their products. Anything else is returned as it is."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return base_url
    host = "127.0.0.1" if host.rstrip(".") in _HERE else host.rstrip(".")
    port = port or _PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}:{port}{_OF_PROVIDERS.sub('', parts.path.rstrip('/'))}"


def beyond_use(record: Record) -> KlingError:
    """The error about a row that is too damaged to be sent or looked up."""
    columns = ", ".join(record.damaged)
    return KlingError(
        f"Row {record.id} of the ledger ({record.handle}) is damaged in {columns}: it can be "
        "neither sent nor looked up.",
        charged="yes" if record.task_id else "unknown",
        advice="Check in the provider's console whether the video was made. To make it again (and "
        "pay again), raise take.",
    )
