"""The price is known before anything is sent, after Kling's unit tables."""

from dataclasses import replace
from typing import Any

import pytest
from tests.tools.judging import IMAGE, KLING, SEVERAL, judge

from kling_tools.rules.capabilities import Estimate

VOICE = {"sound": "on", "voice_list": ["v"], "prompt": "a<<<voice_1>>>"}


@pytest.mark.parametrize(
    ("model", "more", "units"),
    [
        ("kling-v1", {}, 1),
        ("kling-v1", {"mode": "pro", "duration": 10}, 7),
        ("kling-v1-5", {"duration": 10}, 4),
        ("kling-v1-6", {"mode": "pro"}, 3.5),
        ("kling-v2-1", {}, 2),
        ("kling-v2-master", {}, 10),
        ("kling-v2-1-master", {"duration": 10}, 20),
        ("kling-v2-5-turbo", {}, 1.5),
        ("kling-v2-5-turbo", {"mode": "pro", "duration": 10}, 5),
        ("kling-v2-6", {"duration": 10}, 3),
        ("kling-v2-6", {"mode": "pro"}, 2.5),
        ("kling-v2-6", {"mode": "pro", "sound": "on"}, 5),
        ("kling-v2-6", {"mode": "pro"} | VOICE, 6),
        ("kling-v3", {"duration": 3}, 1.8),
        ("kling-v3", {"mode": "pro"}, 4),
        ("kling-v3", {"sound": "on"}, 4.5),
        ("kling-v3", {"mode": "pro", "sound": "on"}, 6),
        ("kling-v3", {"mode": "4k", "duration": 15}, 45),
        ("kling-v9", {}, None),
    ],
)
def test_one_picture_costs_what_the_table_says(
    model: str, more: dict[str, Any], units: float | None
) -> None:
    assert judge(IMAGE | {"model_name": model} | more).estimate.units == units


@pytest.mark.parametrize(
    ("model", "more", "units"),
    [
        ("", {}, 3),
        ("kling-v3-omni", {"mode": "pro", "duration": 10}, 8),
        ("kling-v3-omni", {"sound": "on"}, 4),
        ("kling-v3-omni", {"mode": "pro", "sound": "on"}, 5),
        ("kling-v3-omni", {"mode": "4k", "duration": 3}, 9),
        ("kling-video-o1", {"mode": "pro"}, 4),
        ("kling-v1-6", {"duration": 10}, 4),
    ],
)
def test_several_pictures_cost_what_the_table_says(
    model: str, more: dict[str, Any], units: float
) -> None:
    assert judge(SEVERAL | {"model_name": model} | more).estimate.units == units


def test_dollars_are_list_price_and_an_unknown_price_says_so() -> None:
    assert judge(IMAGE).estimate == Estimate(1.5, 0.21)
    assert str(Estimate(1.5, 0.21)) == "about 1.5 units (0.21 USD list price)"
    assert str(Estimate(None, None)) == "an unknown price"


def test_a_reseller_s_price_is_given_in_units_only() -> None:
    reseller = replace(KLING, list_price=False)

    price = judge(IMAGE, terms=reseller).estimate

    assert price == Estimate(1.5, None)
    assert str(price).endswith("at Kling's list price; kling sets its own")
