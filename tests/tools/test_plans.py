"""The arithmetic behind the prompts: shots that add up, takes that a budget pays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_tools.errors import InvalidRequest
from kling_tools.prompts.plans import (
    MOST_SHOTS,
    Planner,
    camera_control_of,
    cut_into_shots,
    takes_within,
)
from kling_tools.requests.fields import MOVES_IN_WORDS, CameraControl
from kling_tools.rules.capabilities import ProviderTerms, built_in_capabilities

TERMS = ProviderTerms(
    name="kling",
    products=("image2video",),
    default_models={"image2video": "kling-v2-5-turbo"},
)
PLANNER = Planner(built_in_capabilities(), [TERMS])


@given(total=st.integers(1, 99), shots=st.none() | st.integers(1, MOST_SHOTS))
def test_shots_add_up_or_are_refused(total: int, shots: int | None) -> None:
    if shots and shots > total:
        with pytest.raises(InvalidRequest, match="do not fit"):
            cut_into_shots(total, shots)
        return
    lengths = cut_into_shots(total, shots)

    assert sum(lengths) == total
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == (shots or len(lengths)) <= MOST_SHOTS


@given(
    budget=st.floats(0.01, 5000),
    seconds=st.integers(3, 15),
    takes=st.none() | st.integers(1, 999),
)
def test_takes_never_cost_more_than_the_budget(
    budget: float, seconds: int, takes: int | None
) -> None:
    plan = PLANNER.plan(image="a.png", prompt="x", duration=str(seconds))
    assert plan.price.units is not None
    try:
        made, payable = takes_within(budget, plan, takes)
    except InvalidRequest:
        assert (takes or 1) * plan.price.units > budget
        return

    assert 1 <= made <= payable <= 999
    assert payable * plan.price.units <= budget + 1e-3
    assert made == takes or takes is None


def test_a_price_with_a_fraction_does_not_lose_a_take_to_rounding() -> None:
    plan = PLANNER.plan(image="a.png", prompt="x", duration="3")

    assert plan.price.units == 1.8
    assert takes_within(3 * 1.8, plan, None) == (3, 3)


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ("pans to the left", {"pan": -5}),
        ("a quick pan right", {"pan": 8}),
        ("Tilting gently up", {"tilt": 3}),
        ("zoom in", {"zoom": -5}),
        ("zooms slowly out", {"zoom": 3}),
        ("slides left along the wall", {"horizontal": -5}),
        ("cranes down", {"vertical": -5}),
        ("rolls clockwise", {"roll": 5}),
        ("rolls counter-clockwise", {"roll": -5}),
        ("rolls anticlockwise", {"roll": -5}),
    ],
)
def test_one_move_in_words_is_one_setting(words: str, config: dict[str, int]) -> None:
    assert camera_control_of(words) == {"type": "simple", "config": config}


@pytest.mark.parametrize(
    "words", ["", "orbits around her", "pans left, then tilts up", "the Spanish coast on the left"]
)
def test_no_move_or_several_are_left_to_the_prompt(words: str) -> None:
    assert camera_control_of(words) is None


@pytest.mark.parametrize("axis", MOVES_IN_WORDS)
@pytest.mark.parametrize("amount", [-8, -5, -3, 3, 5, 8])
def test_a_move_in_words_is_read_as_the_same_move(axis: str, amount: int) -> None:
    camera = {"type": "simple", "config": {axis: amount}}

    assert camera_control_of(CameraControl.model_validate(camera).in_words) == camera
