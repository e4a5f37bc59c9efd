"""When a running task is looked at, and how long is usual."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_mcp.polling.pace import RAREST_S, Rhythm, usual_rows, usual_s

ages = st.floats(min_value=0, max_value=1e6)
usual = st.floats(min_value=0, max_value=2_000)
polls = st.floats(min_value=0.1, max_value=30)


def looks(rhythm: Rhythm, until_s: float) -> list[float]:
    """The ages at which a task is looked at that runs for so long."""
    age = rhythm.first_s
    found = [age]
    while (age := age + rhythm.wait_s(age)) < until_s:
        found.append(age)
    return found


@given(ages, usual, polls, st.booleans())
def test_there_is_always_a_next_look_and_never_a_burst(
    age: float, usually: float, poll: float, local: bool
) -> None:
    wait = Rhythm(usually, poll, local=local).wait_s(age)

    assert wait <= max(RAREST_S, 2 * poll, usually)
    assert wait > 0
    if not local and age >= Rhythm(usually, poll).first_s:
        assert wait >= poll


@given(usual, polls)
def test_nobody_is_asked_before_half_of_the_usual_time_is_over(usually: float, poll: float) -> None:
    rhythm = Rhythm(usually, poll)

    assert rhythm.first_s == usually / 2
    assert rhythm.wait_s(0.0) >= min(rhythm.first_s, poll)


def test_the_looks_are_densest_where_the_end_is_likely_and_rare_after_long_silence() -> None:
    ages = looks(Rhythm(160, 5), 3_600)
    gaps = [(age, after - age) for age, after in itertools.pairwise(ages)]

    assert ages[0] == 80
    assert {gap for age, gap in gaps if 140 <= age < 480} == {5}
    assert all(gap >= 10 for age, gap in gaps if age >= 480)
    assert max(gap for _, gap in gaps) == RAREST_S
    assert len(ages) < 3_600 / 5 / 4


def test_a_sandbox_is_looked_at_at_once_and_often() -> None:
    ages = looks(Rhythm(4, 0.5, local=True), 5)

    assert ages[0] == 0
    assert {round(after - age, 6) for age, after in itertools.pairwise(ages)} == {0.5}


@pytest.mark.parametrize(
    ("model", "request_", "seconds"),
    [
        ("kling-v2-5-turbo", {}, 70),
        ("kling-v2-5-turbo", {"mode": "pro", "duration": "5"}, 160),
        ("kling-v2-6", {"mode": "pro", "duration": "10"}, 170),
        ("kling-v2-5-turbo", {"mode": "pro", "duration": "10"}, 164),
        ("a-model-of-tomorrow", {}, 164),
    ],
)
def test_the_usual_time_is_that_of_model_mode_and_duration_or_a_default(
    model: str, request_: dict[str, object], seconds: float
) -> None:
    assert usual_s(model, request_) == seconds


def test_every_usual_time_has_a_source_and_a_date_and_the_last_one_fits_all() -> None:
    rows = usual_rows()

    assert all(row.source and row.date for row in rows)
    assert (rows[-1].model, rows[-1].mode, rows[-1].duration) == ("", "", "")
    assert len({(row.model, row.mode, row.duration) for row in rows}) == len(rows)
