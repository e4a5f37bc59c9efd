"""How long a text lasts when it is spoken, by its letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_tools.requests.speech_voices import letters_of, letters_within, spoken


@given(st.text(max_size=60), st.sampled_from([None, 0.8, 1.0, 2.0]))
def test_the_longer_a_text_or_the_slower_its_voice_the_longer_it_lasts(
    text: str, speed: float | None
) -> None:
    lasts = spoken(text, speed)

    assert list(lasts) == sorted(lasts)
    assert spoken(text + "a1", speed) > lasts >= spoken(text, 2.0)


@pytest.mark.parametrize("speed", [None, 0.8, 2.0])
def test_as_many_letters_as_are_advised_fit(speed: float | None) -> None:
    for seconds in (2, 5, 60):
        text = "x" * letters_within(seconds, speed)

        assert spoken(text, speed).long <= seconds + 0.001


def test_a_chinese_character_is_spoken_as_long_as_three_letters() -> None:
    assert letters_of("早上好 ok") == 12
    assert 0.6 < spoken("早上好").likely < 0.8
