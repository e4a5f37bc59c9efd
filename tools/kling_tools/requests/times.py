"""Times as a person says and reads them: local, with the weekday and the offset."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["FORMS", "moment", "spoken", "zone_named"]

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

MONTHS = 12

FORMS = 'today, yesterday, tuesday, 2026-11-20, "3 days" or 2026-11-20T14:30'
"""The times that `moment` reads, for people."""

_OFFSET = re.compile(r"(?:utc|gmt)?([+-])(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)
_AGO = re.compile(r"(?:last )?(\d{1,5}) ?(min|minute|hour|h|day|d|week|w|month)s?(?: ago)?")
_DAY = re.compile(r"(last )?([a-z]{3,9})")
_SPAN = re.compile(r"(this|last) (week|month)")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_DATE = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})")
_UNITS = {
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "mon": timedelta(days=30),
}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def zone_named(name: str) -> tzinfo | None:
    """The time zone of a name such as Europe/Berlin, or of an offset such as +01:00; None, which
    means this machine's, for an empty name. Raises ValueError for any other text."""
    name = name.strip()
    if not name:
        return None
    if offset := _OFFSET.fullmatch(name):
        away = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        if away < timedelta(days=1):
            return timezone(-away if offset[1] == "-" else away)
    elif name.upper() in ("UTC", "GMT", "Z"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name[:40]!r} is no time zone such as Europe/Berlin or +01:00") from None


def spoken(seconds: float, zone: tzinfo | None = None) -> str:
    """Seconds since the epoch as `Sun 2026-11-29 10:05 +01:00`, by default in this machine's
    zone."""
    local = _local(seconds, zone)
    date_and_time = local.isoformat(" ", "minutes")
    return f"{DAYS[local.weekday()]} {date_and_time[:16]} {date_and_time[16:22]}"


FIRST_S, LAST_S = 0.0, 253_402_300_799.0
"""Seconds since the epoch that stand for the first and the last days of the calendar, which some
zones move out of it: 1970, and the end of the year 9999 in UTC."""


def moment(text: str, now: float, zone: tzinfo | None = None, *, end: bool = False) -> float:
    """The seconds since the epoch that a text means (`FORMS`). A day, week or month means its
    begin, or with `end` the begin of the next one; a clock time alone is today's, or yesterday's
    while that is still to come. Raises ValueError for a text that means no time."""
    text = " ".join(text.casefold().split())
    if text == "now":
        return now
    if ago := _AGO.fullmatch(text):
        unit = next(unit for name, unit in _UNITS.items() if ago[2].startswith(name))
        return now - int(ago[1]) * unit.total_seconds()
    today = _local(now, zone).date()
    day, next_day = _days(text, today)
    try:
        if day is not None and next_day is not None:
            return _at(datetime.combine(next_day if end else day, time()), zone)
        named, _, last = text.rpartition(" ")
        named = named.removesuffix("at").rstrip(" ,")
        if (clock := _CLOCK.fullmatch(last)) and (that := _day(named or "today", today)):
            at = time(int(clock[1]), int(clock[2]))
            found = _at(datetime.combine(that, at), zone)
            if named or end or found <= now:
                return found
            return _at(datetime.combine(that - timedelta(days=1), at), zone)
        return _at(datetime.fromisoformat(text.upper()), zone)
    except (ValueError, OverflowError, OSError):
        if day is not None:
            return FIRST_S if day.year < 1970 else LAST_S
        raise ValueError(f"{text[:40]!r} is no time such as {FORMS}") from None


def _days(text: str, today: date) -> tuple[date | None, date | None]:
    """The first day of what a text names, a day, week or month, and the day after its last."""
    if span := _SPAN.fullmatch(text):
        back = span[1] == "last"
        if span[2] == "week":
            monday = today - timedelta(days=today.weekday() + 7 * back)
            return monday, monday + timedelta(days=7)
        first = today.replace(day=1)
        return (_month_before(first), first) if back else (first, _month_before(first, -1))
    day = _day(text, today)
    try:
        return day, day + timedelta(days=1) if day else None
    except OverflowError:  # the last day of the calendar
        return day, day


def _month_before(first: date, months: int = 1) -> date:
    """The first day of the month that lies so many months before this first day of one."""
    years, month = divmod(12 * first.year + first.month - 1 - months, 12)
    return first.replace(year=years, month=month + 1)


def _day(text: str, today: date) -> date | None:
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    named = _DAY.fullmatch(text)
    if named and (found := [d for d in _WEEKDAYS if d.startswith(named[2])]):
        back = (today.weekday() - _WEEKDAYS.index(found[0])) % 7
        return today - timedelta(days=back or (7 if named[1] else 0))
    try:
        if said := _DATE.fullmatch(text):
            return _date_said(int(said[1]), said[2], int(said[3]), int(said[4]))
        return date.fromisoformat(text)
    except ValueError:
        return None


def _date_said(first: int, sign: str, second: int, year: int) -> date | None:
    """A date as people write it; with dots the day comes first. None where 3/4/2026 may be two
    days."""
    if sign == "." or first > MONTHS or first == second:
        return date(year, second, first)
    return date(year, first, second) if second > MONTHS else None


def _local(seconds: float, zone: tzinfo | None) -> datetime:
    try:
        if zone is not None:
            return datetime.fromtimestamp(seconds, zone)
        return datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, ValueError, OSError):  # the last hours of the calendar
        return datetime.fromtimestamp(seconds, UTC)


def _at(when: datetime, zone: tzinfo | None) -> float:
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
