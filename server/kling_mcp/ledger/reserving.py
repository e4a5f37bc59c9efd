"""Reserves the row of a request before it is sent: the row of the same request, or a new one."""

from __future__ import annotations

import json
import math
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kling_mcp.ledger.engine import Database
from kling_mcp.ledger.records import (
    CNY_PER_USD,
    COUNTED_PICTURES,
    COUNTED_TOGETHER,
    COUNTED_USD,
    OF_PICTURES,
    DayCap,
    DayCaps,
    NewRow,
    Record,
    account_at,
    record_of,
    records,
)
from kling_mcp.providers.task import OUR_IDS
from kling_tools.errors import KlingError, SpendCapReached
from kling_tools.products import MADE, PRODUCTS, STEPS
from kling_tools.quoting import clipped
from kling_tools.requests.normalize import text
from kling_tools.requests.speech_voices import voice_name
from kling_tools.results import WITHOUT_VIDEO
from kling_tools.rules.capabilities import PriceFrom, units_text
from kling_tools.rules.variants import ROUNDING

__all__ = [
    "ONLY_KNOWN_PRICES",
    "Equals",
    "UnitPrice",
    "UntidyRows",
    "check_day",
    "check_external_id",
    "check_film",
    "differences",
    "equals",
    "film_spent",
    "frees_next",
    "is_at_same",
    "last_made",
    "latest",
    "left_of_day",
    "next_take",
    "reserve",
    "span",
    "spent_in_a_day",
    "takes",
    "unit_price",
]


SHOWN = 40
"""Characters of a value that an error shows."""

NAMED = 4
"""Fields that an error names; it counts the others."""


def differences(used: Record, new_row: NewRow) -> str:
    """One line with the fields in which a row and a new request differ, and their values."""
    then = {**_named(used), "route": used.product, "take": used.take}
    now = {**_named(new_row), "route": new_row.product, "take": new_row.take}
    apart = [
        _told(name, then.get(name), now.get(name))
        for name in dict.fromkeys((*now, *then))
        if then.get(name) != now.get(name)
    ]
    if not apart:
        fits = [str(row.arguments.get("fit", "")) for row in (used, new_row)]
        if fits[0] != fits[1]:
            return _framed(*fits)
        return "the content of a file" if _told_by_arguments(used.product) else SAME_FIELDS
    more = f" and {len(apart) - NAMED} more" if len(apart) > NAMED else ""
    return "; ".join(apart[:NAMED]) + more


SAME_FIELDS = "the content of a picture"

_NAMES_OF_PICTURES = re.compile(r"^With (?:<<<image_\d+>>>(?:, )?)+: ")
"""What is put before the prompt of several pictures that names none."""


def _named(row: Record | NewRow) -> dict[str, Any]:
    """The fields that a person knows, by the names of the arguments: silence is the same as no word
    of it, pictures are named by their labels, and our own id and our own words in the prompt are
    left out. Where several arguments, or what a step made of one, are one field of the body, the
    arguments themselves are told."""
    own = _told_by_arguments(row.product)
    named = {name: value for name, value in row.arguments.items() if name in own}
    if "voice_id" in named:
        named["voice_id"] = voice_name(str(named["voice_id"]))
    renamed = {body: name for name, body in _body_names(row.product).items()}
    for body_name, value in row.request.items():
        name = renamed.get(body_name, body_name)
        if name in own:
            continue
        if name == "external_task_id" or (name, value) == ("sound", "off"):
            continue
        if name == "prompt" and isinstance(value, str):
            value = _NAMES_OF_PICTURES.sub("", value)
        if name == "image_list" and isinstance(value, list):
            value = [
                next(iter(part.values()), part) if isinstance(part, dict) else part
                for part in value
            ]
        named[name] = value
    return named


def _told_by_arguments(product: str) -> Collection[str]:
    """The arguments of which the body does not show what a person gave."""
    names = _body_names(product)
    several = Counter(names.values())
    made = any(entry.steps for entry in PRODUCTS.values() if entry.name == product)
    return [name for name, body in names.items() if made or several[body] > 1]


def _body_names(product: str) -> Mapping[str, str]:
    return next((row.body_names for row in PRODUCTS.values() if row.name == product), {})


def _framed(then: str, now: str) -> str:
    """The change of a `fit`, such as "9:16 pad", in words."""
    was, is_now = (
        f"{'padded' if fit.endswith('pad') else 'cropped'} to {fit.partition(' ')[0]}"
        if fit
        else "as it is"
        for fit in (then, now)
    )
    return f"the picture was {was}, is {is_now}"


def _told(name: str, then: Any, now: Any) -> str:
    """The change of a field; of long values, the part around their first difference."""
    was, is_now = _text(then), _text(now)
    pairs = enumerate(zip(was, is_now, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(was), len(is_now)))
    return f"{name} was {_around(was, same)}, is {_around(is_now, same)}"


def _text(value: Any) -> str:
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)


def _around(text: str, place: int) -> str:
    if len(text) <= SHOWN:
        return text
    start = max(0, place - SHOWN // 2)
    if start:
        start = text.find(" ", start, place) + 1 or start
    part = clipped(text[start:], SHOWN)
    return f"…{part}" if start else part


ONLY_KNOWN_PRICES = "A cap takes only models whose price is known."

DAY_S = 86_400


def reserve(
    db: Database,
    new_row: NewRow,
    caps: DayCaps,
    owner: str,
    record_id: str,
    clock: Callable[[], float],
    lease_s: float,
) -> tuple[Record, bool]:
    """The row of a request, and whether it is new; see `Ledger.reserve`. A new row gets
    `record_id`, so that a second run after a lost commit still knows it as new."""
    before = latest(db, new_row)
    if before and not before.is_gone:
        return before, before.id == record_id
    if serving := _serving(db, new_row, clock()):
        return serving, False
    check_external_id(db, new_row)
    now = clock()
    check_day(db, new_row, caps, now)
    check_film(db, new_row)
    units = new_row.estimate_units
    columns = {
        "id": record_id,
        "provider": new_row.provider,
        "base_url": new_row.base_url,
        "product": new_row.product,
        "digest": new_row.digest,
        "take": new_row.take,
        "attempt": before.attempt + 1 if before else 1,
        "external_task_id": new_row.external_task_id or f"{OUR_IDS}{record_id}",
        "status": "sending" if owner else "unknown",
        "model_name": new_row.model_name,
        "prompt": new_row.prompt,
        "request": json.dumps(new_row.request, ensure_ascii=False),
        "arguments": json.dumps(new_row.arguments, ensure_ascii=False),
        "pictures": json.dumps(new_row.pictures, ensure_ascii=False),
        "picture_hashes": json.dumps(new_row.picture_hashes),
        "estimate_units": units,
        "estimate_usd": None if units is None else units * unit_price(db, new_row).usd,
        "created_at": now,
        "updated_at": now,
        "lease_owner": owner,
        "lease_until": now + lease_s if owner else 0.0,
        "principal": new_row.principal,
        "sandbox": int(new_row.sandbox),
        "status_at": now,
        "endpoint": new_row.endpoint,
        "named": int(new_row.named),
        "callback_key": secrets.token_urlsafe(24),
    }
    marks = ", ".join("?" * len(columns))
    db.execute(
        f"INSERT INTO tasks ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608
        tuple(columns.values()),
    )
    if shot := new_row.shot_of:
        db.execute("INSERT INTO film_tasks VALUES (?, ?)", (shot.film_id, record_id))
        db.execute(
            "UPDATE film_shots SET record_id = ? WHERE film_id = ? AND number = ?",
            (record_id, shot.film_id, shot.number),
        )
    return record_of(db, record_id), True


def latest(db: Database, new_row: NewRow) -> Record | None:
    """The last attempt at a request; None without one. It is at the same account, however its base
    URL is spelled; or else at one of its `others`, where something came of it."""
    return _last(db, new_row, _equal(db, new_row, new_row.take))


def _last(db: Database, new_row: NewRow, rows: Sequence[Record]) -> Record | None:
    """The last attempt among the `rows` with its digest and take; see `latest`."""
    here = [row for row in rows if is_at_same(row, new_row)]
    own = max(here, key=lambda row: (not row.is_gone, row.attempt), default=None)
    if own and not own.is_gone:
        return own
    others = (latest(db, other) for other in new_row.others)
    return next((row for row in others if row and not row.is_gone), own)


@dataclass(frozen=True, slots=True)
class Equals:
    """What the ledger has of a request: `made`, its row, unless nothing came of it; `elsewhere`,
    the video of an equal one that was made by this provider's name at another address; `forgotten`,
    that of one at a provider that is not among those between which the server chose; `alike`, the
    rows of earlier versions that may be the same request. None and empty where there is none.
    `paid` is the price of a unit that the account's balance paid last, if that is known."""

    made: Record | None = None
    elsewhere: Record | None = None
    forgotten: Record | None = None
    alike: Sequence[Record] = ()
    paid: UnitPrice | None = None


def equals(db: Database, new_row: NewRow, untidy: UntidyRows, *, chosen: bool) -> Equals:
    """What the ledger has of a request, in one read. Nothing is alike where the request has a row
    with its own digest. What is forgotten is looked for where the server has `chosen` the
    provider."""
    rows = _equal(db, new_row, new_row.take)
    last = _last(db, new_row, rows)
    alike: list[Record] = []
    if not any(is_at_same(row, new_row) for row in rows) and not _has_digest(db, new_row):
        like = (record_of(db, record_id) for record_id in untidy.like(db, new_row))
        alike = [row for row in like if is_at_same(row, new_row)]
    unit = unit_price(db, new_row)
    return Equals(
        made=None if last is None or last.is_gone else last,
        elsewhere=next((r for r in rows if not (r.is_gone or is_at_same(r, new_row))), None),
        forgotten=_forgotten(db, new_row) if chosen else None,
        alike=alike,
        paid=unit if unit.price_from == "paid last" else None,
    )


def _forgotten(db: Database, new_row: NewRow) -> Record | None:
    """The last equal request at a provider other than those of the request and its `others`."""
    same = (new_row, *new_row.others)
    known = {row.provider for row in same}
    digests = {row.digest for row in same}
    marks = ", ".join("?" * len(digests))
    rows = records(
        db,
        f"WHERE digest IN ({marks}) AND take = ? AND sandbox = ? ORDER BY created_at DESC",
        (*digests, new_row.take, int(new_row.sandbox)),
    )
    return next((row for row in rows if row.provider not in known and not row.is_gone), None)


def _has_digest(db: Database, new_row: NewRow) -> bool:
    """Whether any take of the request is at its account."""
    places = db.execute(
        "SELECT DISTINCT base_url FROM tasks WHERE provider = ? AND digest = ?",
        (new_row.provider, new_row.digest),
    ).fetchall()
    account = account_at(new_row.base_url)
    return any(account_at(place["base_url"]) == account for place in places)


def last_made(db: Database, new_row: NewRow) -> Record | None:
    """What equal requests made last, in any take: the newest row with an answer, else the newest
    that may have one; None without any."""
    rows = [row for row in _equal(db, new_row) if is_at_same(row, new_row) and not row.is_gone]
    return max(rows, key=lambda row: (row.task_id is not None, row.created_at), default=None)


def _serving(db: Database, new_row: NewRow, now: float) -> Record | None:
    """The row of an equal step, in any take, that is made or being made: it serves this take, too;
    None without one."""
    if new_row.product not in STEPS:
        return None
    rows = [row for row in _equal(db, new_row) if is_at_same(row, new_row) and not row.is_gone]
    return next((row for row in rows if row.task_id or row.is_leased(now)), None)


def is_at_same(row: Record, other: NewRow | Record) -> bool:
    """Whether both are at the same account."""
    return account_at(row.base_url) == account_at(other.base_url)


def _equal(db: Database, request: NewRow | Record, take: int | None = None) -> list[Record]:
    """The rows with this digest, at any address of the provider."""
    return records(
        db,
        "WHERE provider = ? AND digest = ? AND take = coalesce(?, take) ORDER BY take, attempt",
        (request.provider, request.digest, take),
    )


def next_take(db: Database, new_row: NewRow, earlier: Record) -> int:
    """The take for another take of an `earlier` row: the one that the same call got before, else
    the next free one of the request. So a call that is repeated is not paid twice."""
    rows = _made(db, new_row)
    for row in rows:
        if row.arguments.get("another_take_of") == earlier.id:
            return row.take
    return max((row.take for row in rows), default=0) + 1


def takes(db: Database, request: NewRow | Record) -> list[int]:
    """The takes of a request that exist or are being made, in their order."""
    rows = db.execute(
        "SELECT take, status, base_url FROM tasks WHERE digest = ? AND provider = ? "
        "ORDER BY take, attempt",
        (request.digest, request.provider),
    )
    account = account_at(request.base_url)
    return [
        row["take"]
        for row in rows.fetchall()
        if row["status"] not in WITHOUT_VIDEO and account_at(row["base_url"]) == account
    ]


def _made(db: Database, request: NewRow | Record) -> list[Record]:
    rows = [row for row in _equal(db, request) if is_at_same(row, request)]
    return [row for row in rows if row.status not in WITHOUT_VIDEO]


MOST_ALIKE = 50
"""Untidy rows with the same prompt that are compared with a request, the newest ones."""

IN_ONE_PAGE = 500


class UntidyRows:
    """The rows whose texts are not tidy, or that name a watermark: earlier versions kept them so,
    and gave them digests of their own. Each row is read once in the life of the process."""

    def __init__(self) -> None:
        self._read_to = 0
        self._ids: dict[tuple[str, str, str, str], list[str]] = {}

    def like(self, db: Database, new_row: NewRow) -> list[str]:
        """The ids of those that have the request's model, and its prompt once that is tidy."""
        while rows := self._unread(db):
            for row in rows:
                if _is_untidy(row["prompt"], row["request"]):
                    key = (row["provider"], row["product"], row["model_name"], text(row["prompt"]))
                    self._ids.setdefault(key, []).insert(0, row["id"])
                self._read_to = row["rowid"]
        key = (new_row.provider, new_row.product, new_row.model_name, new_row.prompt)
        return self._ids.get(key, [])[:MOST_ALIKE]

    def _unread(self, db: Database) -> Sequence[Mapping[str, Any]]:
        return db.execute(
            "SELECT rowid, id, provider, product, model_name, prompt, request FROM tasks "
            "WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (self._read_to, IN_ONE_PAGE),
        ).fetchall()


def _is_untidy(prompt: Any, request: Any) -> bool:
    try:
        sent = json.loads(request)
    except (TypeError, ValueError, RecursionError):  # a damaged row
        return False
    return bool('"watermark_info"' in request or text(prompt) != prompt or text(sent) != sent)


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """What one unit costs an account: US dollars, of which currency, and where that is known from:
    the last task that its balance paid, the provider's row, or Kling's list price."""

    usd: float
    currency: str = "USD"
    price_from: PriceFrom = "list price"
    unit: str = "unit"

    def text(self, units: float) -> str:
        """What so many units cost, and where the price comes from."""
        source = SOURCES[self.price_from]
        rate = f", {CNY_PER_USD} CNY counted as 1 USD" if self.currency == "CNY" else ""
        of_one = f"an {self.unit}" if self.unit != "unit" else "a unit"
        return f"about {units * self.usd:.2f} USD ({self.usd:.4g} USD {of_one}, {source}{rate})"


SOURCES: Mapping[PriceFrom, str] = {
    "paid last": "as its balance paid last",
    "its row": "by the price in its row",
    "list price": "the public price",
}


def unit_price(db: Database | None, new_row: NewRow) -> UnitPrice:
    """The price of a unit at the row's account: by the last task that its balance alone paid, the
    list price where that is higher; else by the provider's row; else the public price."""
    own = new_row.own_usd_per_unit
    of_pictures = MADE[new_row.product].result == "picture"
    same_kind = OF_PICTURES if of_pictures else f"NOT {OF_PICTURES}"
    row = (
        db
        and db.execute(
            "SELECT money, list_price, currency, estimate_units FROM tasks "  # noqa: S608
            "WHERE provider = ? AND base_url = ? AND money > 0 AND coalesce(units, 0) = 0 "
            f"AND estimate_units > 0 AND {same_kind} ORDER BY created_at DESC LIMIT 1",
            (new_row.provider, new_row.base_url),
        ).fetchone()
    )
    if not row or isinstance(row["money"], str) or isinstance(row["estimate_units"], str):
        of_one = (own or new_row.usd_per_unit) * new_row.unit_weight
        source: PriceFrom = "its row" if own else "list price"
        return UnitPrice(of_one, price_from=source, unit=new_row.unit)
    listed = row["list_price"] if isinstance(row["list_price"], float) else 0.0
    rate = CNY_PER_USD if row["currency"] == "CNY" else 1
    paid = max(row["money"], listed) / row["estimate_units"] / rate
    return UnitPrice(paid, row["currency"] or "USD", "paid last", unit=new_row.unit)


def check_day(db: Database | None, new_row: NewRow, caps: DayCaps, now: float) -> None:
    """Raises SpendCapReached when what was spent in the last 24 hours would pass a cap. Without a
    database nothing was spent yet."""
    units = new_row.estimate_units
    for cap, spent, price in _used(db, new_row, caps, now):
        of_one = _of_a_unit(cap, price, new_row)
        cost = math.inf if units is None else units * of_one
        if spent + cost <= cap.most + ROUNDING:
            continue  # a damaged row may make it no number at all
        frees_in_s = None
        if db is not None and cost <= cap.most and not math.isnan(spent):
            frees_in_s = _frees_in_s(db, new_row, cap, spent + cost - cap.most, now)
        raise _over_the_day(new_row, cap, spent, price, frees_in_s)


def left_of_day(db: Database | None, new_row: NewRow, caps: DayCaps, now: float) -> float:
    """The units that a request like this one may cost now; 0 if a damaged row hides them."""
    left = []
    for cap, spent, price in _used(db, new_row, caps, now):
        of_a_unit = _of_a_unit(cap, price, new_row)
        left.append((cap.most - spent) / of_a_unit if of_a_unit else math.inf)
    return 0.0 if any(map(math.isnan, left)) else max(0.0, min(left, default=math.inf))


def film_spent(
    db: Database, film_id: str, usd_per_unit: float, *, sandbox: bool
) -> tuple[float, float]:
    """The units and the US dollars that a film's tasks count: those that were made for it, in real
    ones or in the sandbox's play money."""
    row = db.execute(
        f"SELECT coalesce(sum({COUNTED_TOGETHER}), 0) AS units, "  # noqa: S608
        f"coalesce(sum({COUNTED_USD}), 0) AS usd FROM tasks "
        "WHERE id IN (SELECT record_id FROM film_tasks WHERE film_id = ?) AND sandbox = ?",
        (*_prices(usd_per_unit), film_id, int(sandbox)),
    ).fetchone()
    return row["units"], row["usd"]


def check_film(db: Database, new_row: NewRow) -> None:
    """Raises SpendCapReached when a shot would pass a cap of its film, with all that was made for
    the film before, by whatever server; and KlingError when the film was withdrawn, or is made by
    another owner."""
    if new_row.shot_of is None:
        return
    film_id = new_row.shot_of.film_id
    film = db.execute(
        "SELECT films.*, tasks.status FROM films JOIN tasks ON tasks.id = films.id "
        "WHERE films.id = ?",
        (film_id,),
    ).fetchone()
    if film["status"] != "processing":
        raise KlingError(f"The film is {film['status']}: no more shots of it are made.")
    if film["lease_owner"] != new_row.shot_of.owner:
        raise KlingError("Another server makes the film now.")
    spent, spent_usd = film_spent(db, film_id, new_row.usd_per_unit, sandbox=new_row.sandbox)
    units, price = new_row.estimate_units, unit_price(db, new_row)
    for name, most, used, of_one, unit in (
        ("max_units", film["max_units"], spent, new_row.unit_weight, ""),
        ("max_usd", film["max_usd"], spent_usd, price.usd, " USD"),
    ):
        cost = math.inf if units is None else units * of_one
        if most is None or used + cost <= most + ROUNDING:
            continue
        what = "the price of this shot is not known"
        if units is not None:
            of = f"{cost:.2f} USD" if unit else units_text(round(cost, 4))
            what = f"this shot would cost {of}"
        raise SpendCapReached(
            f"{name} of the film is {most:g}{unit}; {used:.4g}{unit} are spent or reserved, and "
            f"{what}.",
            advice=f"Ask the person, then call kling_film again with a higher {name}."
            if units is not None
            else ONLY_KNOWN_PRICES,
            way=f"with a higher {name}",
        )


def _of_a_unit(cap: DayCap, price: UnitPrice, new_row: NewRow) -> float:
    """What one unit of this request counts against a cap."""
    return price.usd if cap.usd else 1.0 if cap.pictures else new_row.unit_weight


def spent_in_a_day(
    db: Database,
    whose: str | None,
    now: float,
    *,
    sandbox: bool,
    usd_per_unit: float | None = None,
    pictures: bool = False,
) -> float:
    """What the last 24 hours count against a cap: of one principal, or of all (None), in real units
    or in the sandbox's play money; in US dollars where the public price of a unit is given; of
    `pictures` alone in image units."""
    counted = COUNTED_TOGETHER if usd_per_unit is None else COUNTED_USD
    counted = COUNTED_PICTURES if pictures else counted
    row = db.execute(
        f"SELECT coalesce(sum({counted}), 0) AS spent FROM tasks WHERE {_IN_A_DAY}",  # noqa: S608
        (*_prices(usd_per_unit), int(sandbox), now - DAY_S, whose),
    ).fetchone()
    spent: float = row["spent"]
    return spent


_IN_A_DAY = "sandbox = ? AND created_at > ? AND principal = coalesce(?, principal)"


def _prices(usd_per_unit: float | None) -> tuple[float, ...]:
    return () if usd_per_unit is None else (usd_per_unit, usd_per_unit)


def _used(
    db: Database | None, new_row: NewRow, caps: DayCaps, now: float
) -> Iterator[tuple[DayCap, float, UnitPrice]]:
    """Each cap with what the last 24 hours count against it, and the price of a unit."""
    for cap in caps.all():
        if not cap.concerns(new_row):
            continue
        price = unit_price(db, new_row) if cap.usd else UnitPrice(new_row.usd_per_unit)
        spent = 0.0
        if db is not None:
            whose = new_row.principal if cap.own else None
            public = new_row.usd_per_unit if cap.usd else None
            spent = spent_in_a_day(
                db,
                whose,
                now,
                sandbox=new_row.sandbox,
                usd_per_unit=public,
                pictures=cap.pictures,
            )
        yield cap, spent, price


def frees_next(
    db: Database,
    whose: str | None,
    now: float,
    *,
    sandbox: bool,
    usd_per_unit: float | None = None,
    pictures: bool = False,
) -> tuple[float, float] | None:
    """How much of a cap is free again next, and the seconds until then; None where nothing of it is
    used. Takes the same as `spent_in_a_day`."""
    counted = COUNTED_TOGETHER if usd_per_unit is None else COUNTED_USD
    counted = COUNTED_PICTURES if pictures else counted
    row = db.execute(
        f"SELECT created_at, {counted} + 0 AS cost FROM tasks "  # noqa: S608
        f"WHERE {_IN_A_DAY} AND {counted} > 0 ORDER BY created_at LIMIT 1",
        (
            *_prices(usd_per_unit),
            int(sandbox),
            now - DAY_S,
            whose,
            *_prices(usd_per_unit),
        ),
    ).fetchone()
    return (float(row["cost"]), max(0.0, row["created_at"] + DAY_S - now)) if row else None


def _frees_in_s(
    db: Database, new_row: NewRow, cap: DayCap, over: float, now: float
) -> float | None:
    """Seconds until enough of a cap is free again, when so much is `over` it; None if unknown."""
    counted = COUNTED_USD if cap.usd else COUNTED_TOGETHER
    counted = COUNTED_PICTURES if cap.pictures else counted
    prices = _prices(new_row.usd_per_unit if cap.usd else None)
    rows = db.execute(
        f"SELECT created_at, {counted} + 0 AS cost FROM tasks "  # noqa: S608
        f"WHERE {_IN_A_DAY} ORDER BY created_at",
        (*prices, int(new_row.sandbox), now - DAY_S, new_row.principal if cap.own else None),
    ).fetchall()
    for row in rows:
        over -= float(row["cost"])
        if over <= ROUNDING:
            frees_at: float = row["created_at"] + DAY_S
            return max(0.0, frees_at - now)
    return None


def _over_the_day(
    new_row: NewRow, cap: DayCap, spent: float, price: UnitPrice, frees_in_s: float | None
) -> SpendCapReached:
    """The error about a request that would pass a cap, with so much of it `spent`."""
    units = new_row.estimate_units
    noun = MADE[new_row.product].result
    cost = f"the price of this {noun} is not known"
    if units is not None:
        counted = units * _of_a_unit(cap, price, new_row)
        cost = f"this {noun} would cost {price.text(units) if cap.usd else f'{counted:g}'}"
        if not cap.usd and counted != units:
            cost += f" ({units_text(units, new_row.unit)})"
    known = not math.isnan(spent)
    used = (f"{spent:.2f} USD" if cap.usd else f"{spent:g}") if known else "an unknown number"
    if known and new_row.sandbox:
        used += " of the sandbox's play money"
    whose = "Your cap for a day" if cap.own else "The day's cap"
    most = f"{cap.most:g} USD" if cap.usd else units_text(cap.most, cap.unit)
    advice = f"Wait, or have {cap.setting} raised."
    if units is None:
        advice = ONLY_KNOWN_PRICES
    elif units * _of_a_unit(cap, price, new_row) > cap.most:
        advice = f"Have {cap.setting} raised."
    elif frees_in_s is not None:
        advice = f"Enough of it is free again in {span(frees_in_s)}; or have {cap.setting} raised."
    return SpendCapReached(
        f"{whose} is {most}; {used} were spent in the last 24 hours, and {cost}.", advice=advice
    )


def span(seconds: float) -> str:
    """So many seconds in hours and minutes, rounded up."""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def check_external_id(db: Database, new_row: NewRow) -> None:
    """Raises KlingError when another request, or an earlier attempt, has the external_task_id that
    the caller chose."""
    if not new_row.external_task_id:
        return
    rows = records(
        db,
        "WHERE provider = ? AND external_task_id = ? "
        "AND (status NOT IN ('failed', 'cancelled') OR task_id IS NOT NULL)",
        (new_row.provider, new_row.external_task_id),
    )
    used = next((row for row in rows if is_at_same(row, new_row)), None)
    if used is None:
        return
    if used.principal != new_row.principal:
        raise KlingError(
            f"The external_task_id {new_row.external_task_id} is taken.",
            advice="Choose another one, or leave external_task_id out.",
        )
    same = (used.digest, used.take) == (new_row.digest, new_row.take)
    owner = "an earlier attempt" if same else "another request"
    apart = "" if same else f" What differs: {differences(used, new_row)}."
    raise KlingError(
        f"The external_task_id {new_row.external_task_id} belongs to {owner} "
        f"({used.model_name}, take {used.take}, {used.status}).{apart}",
        advice="Ask for that task with kling_get_task, or leave external_task_id out.",
    )
