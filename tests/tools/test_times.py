"""Times are read as a person says them, and said in the person's own zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_tools.requests.times import moment, spoken, zone_named

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 29, 9, 30, tzinfo=BERLIN).timestamp()
SUNDAY = "Sun 2026-11-29 00:00 +01:00"


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("today", SUNDAY, "Mon 2026-11-30 00:00 +01:00"),
        (" Yesterday ", "Sat 2026-11-28 00:00 +01:00", SUNDAY),
        ("sunday", SUNDAY, "Mon 2026-11-30 00:00 +01:00"),
        ("last sunday", "Sun 2026-11-22 00:00 +01:00", "Mon 2026-11-23 00:00 +01:00"),
        ("Tue", "Tue 2026-11-24 00:00 +01:00", "Wed 2026-11-25 00:00 +01:00"),
        ("2026-10-25", "Sun 2026-10-25 00:00 +02:00", "Mon 2026-10-26 00:00 +01:00"),
        ("3 days", "Thu 2026-11-26 09:30 +01:00", "Thu 2026-11-26 09:30 +01:00"),
        ("2 hours ago", "Sun 2026-11-29 07:30 +01:00", "Sun 2026-11-29 07:30 +01:00"),
        ("last 2 weeks", "Sun 2026-11-15 09:30 +01:00", "Sun 2026-11-15 09:30 +01:00"),
        ("2026-11-20T14:30", "Fri 2026-11-20 14:30 +01:00", "Fri 2026-11-20 14:30 +01:00"),
        ("2026-11-20 14:30Z", "Fri 2026-11-20 15:30 +01:00", "Fri 2026-11-20 15:30 +01:00"),
        ("this week", "Mon 2026-11-23 00:00 +01:00", "Mon 2026-11-30 00:00 +01:00"),
        ("last week", "Mon 2026-11-16 00:00 +01:00", "Mon 2026-11-23 00:00 +01:00"),
        ("this month", "Sun 2026-11-01 00:00 +01:00", "Tue 2026-12-01 00:00 +01:00"),
        ("last month", "Thu 2026-10-01 00:00 +02:00", "Sun 2026-11-01 00:00 +01:00"),
        ("08:05", "Sun 2026-11-29 08:05 +01:00", "Sun 2026-11-29 08:05 +01:00"),
        ("13:00", "Sat 2026-11-28 13:00 +01:00", "Sun 2026-11-29 13:00 +01:00"),
        ("yesterday 13:00", "Sat 2026-11-28 13:00 +01:00", "Sat 2026-11-28 13:00 +01:00"),
        ("Tuesday at 9:15", "Tue 2026-11-24 09:15 +01:00", "Tue 2026-11-24 09:15 +01:00"),
        ("30/10/2026", "Fri 2026-10-30 00:00 +01:00", "Sat 2026-10-31 00:00 +01:00"),
        ("10/30/2026", "Fri 2026-10-30 00:00 +01:00", "Sat 2026-10-31 00:00 +01:00"),
        ("3.11.2026", "Tue 2026-11-03 00:00 +01:00", "Wed 2026-11-04 00:00 +01:00"),
        ("now", "Sun 2026-11-29 09:30 +01:00", "Sun 2026-11-29 09:30 +01:00"),
    ],
)
def test_a_time_is_read_as_it_is_said(text: str, begin: str, end: str) -> None:
    assert spoken(moment(text, NOW, BERLIN), BERLIN) == begin
    assert spoken(moment(text, NOW, BERLIN, end=True), BERLIN) == end


def test_a_date_that_may_be_two_days_is_refused() -> None:
    with pytest.raises(ValueError, match="'3/11/2026' is no time such as today"):
        moment("3/11/2026", NOW, BERLIN)


@given(st.text(max_size=40))
@example("9999-12-31")
@example("31.12.9999")
@example("99:99")
@example("0001-01-01 12:00")
@example("99999 months ago")
@example("0001-01-01")
def test_a_text_is_a_time_or_is_refused(text: str) -> None:
    for zone in (None, UTC, BERLIN):
        refused = ""
        try:
            moment(text, NOW, zone, end=True)
        except ValueError as refusal:
            refused = str(refusal)
        assert "is no time such as today" in refused or not refused


@given(st.floats(min_value=0, max_value=253_402_300_799))
def test_every_time_of_a_row_can_be_said(seconds: float) -> None:
    for zone in (None, UTC, BERLIN, zone_named("-12:45")):
        day, date, clock, offset = spoken(seconds, zone).split()
        said = datetime.fromisoformat(f"{date}T{clock}{offset}")
        assert abs(said - datetime.fromtimestamp(seconds, UTC)) < timedelta(minutes=1)
        assert day == f"{said:%a}"


@given(st.text(max_size=64))
@example("../../etc/passwd")
@example("Europe")
@example("\x00")
def test_a_text_is_a_zone_or_is_refused(text: str) -> None:
    refused = ""
    try:
        zone_named(text)
    except ValueError as refusal:
        refused = str(refusal)
    assert "is no time zone such as Europe/Berlin" in refused or not refused


@pytest.mark.parametrize(
    ("name", "offset"), [("Asia/Tokyo", 9), ("+05", 5), ("utc-3:30", -3.5), ("Z", 0)]
)
def test_zones_have_names_or_offsets(name: str, offset: float) -> None:
    zone = zone_named(name)

    assert zone is not None
    assert zone.utcoffset(datetime(2026, 1, 1)) == timedelta(hours=offset)


@pytest.mark.parametrize("zone", ["", "UTC", "Europe/Berlin", "+14:00", "-12:00"])
@pytest.mark.parametrize("end", [False, True])
def test_the_first_and_the_last_day_of_the_calendar_are_times(zone: str, end: bool) -> None:
    first = moment("0001-01-01", NOW, zone_named(zone), end=end)
    last = moment("9999-12-31", NOW, zone_named(zone), end=end)

    assert first < NOW < last
