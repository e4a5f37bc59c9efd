"""What each model can do is judged by its row, in every combination of mode and duration."""

import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError
from tests.tools.judging import (
    IMAGE,
    KLING,
    PICTURE,
    SEVERAL,
    drafted,
    faults,
    judge,
    warnings,
)

from kling_tools.requests.arguments import TextToVideoArguments
from kling_tools.requests.drafts import read_draft
from kling_tools.rules.capabilities import Capabilities, built_in_capabilities
from kling_tools.rules.reviews import review
from kling_tools.rules.variants import find_variant

TAIL = {"image_tail": PICTURE}
MODES = ("std", "pro", "4k")
V1, V15, V16 = "kling-v1", "kling-v1-5", "kling-v1-6"
V2M, V21, V21M = "kling-v2-master", "kling-v2-1", "kling-v2-1-master"
V25, V26, V3 = "kling-v2-5-turbo", "kling-v2-6", "kling-v3"
ALL = (V1, V15, V16, V2M, V21, V21M, V25, V26, V3)
SHORT = {"5", "10"}
LONG = {str(seconds) for seconds in range(3, 16)}

FORMS: dict[str, tuple[set[str], set[str]]] = {
    **{model: ({"std", "pro"}, SHORT) for model in (V1, V15, V16, V21, V25, V26)},
    **{model: ({"std"}, SHORT) for model in (V2M, V21M)},
    V3: ({"std", "pro", "4k"}, LONG),
}
"""Kling's capability map: modes and durations by model (std stands for none at the masters)."""

TAILS: dict[str, set[str]] = {
    V1: {"std/5", "pro/5"},
    **{model: {"pro/5", "pro/10"} for model in (V15, V16, V21, V25, V26)},
    **{model: set() for model in (V2M, V21M)},
}


@pytest.mark.parametrize("model", ALL)
def test_modes_and_durations_are_those_of_the_model(model: str) -> None:
    modes, durations = FORMS[model]
    for mode, seconds in product(MODES, range(1, 21)):
        found = faults(IMAGE | {"model_name": model, "mode": mode, "duration": seconds})

        assert ("mode" in found) is (mode not in modes), (mode, seconds)
        assert ("duration" in found) is (str(seconds) not in durations), (mode, seconds)


@pytest.mark.parametrize("model", ALL)
def test_an_end_frame_passes_only_where_the_map_has_it(model: str) -> None:
    modes, durations = FORMS[model]
    for mode, seconds in product(modes, durations):
        found = faults(IMAGE | TAIL | {"model_name": model, "mode": mode, "duration": seconds})
        allowed = model == V3 or f"{mode}/{seconds}" in TAILS[model]

        assert ("image_tail" not in found) is allowed, (mode, seconds)


def test_an_end_frame_excludes_sound_on_v2_6() -> None:
    arguments = IMAGE | TAIL | {"model_name": V26, "mode": "pro"}

    assert faults(arguments) == {}
    assert faults(arguments | {"sound": "on"}) == {"image_tail": "image_tail_of_model"}


@pytest.mark.parametrize(
    ("field", "value", "able"),
    [
        ("sound", "on", {(V26, "pro"), (V3, "std"), (V3, "pro"), (V3, "4k")}),
        ("element_list", ["1"], {(V3, "std"), (V3, "pro"), (V3, "4k")}),
        ("static_mask", PICTURE, {(V1, "std"), (V1, "pro"), (V15, "pro")}),
        ("camera_control", {"type": "simple", "config": {"pan": 1}}, {(V1, "std"), (V15, "pro")}),
        ("camera_control", "down_back", {(V1, "std")}),
        (
            "cfg_scale",
            0.5,
            {(m, mode) for m in (V1, V15, V16) for mode in ("std", "pro")}
            | {(V3, mode) for mode in MODES},
        ),
    ],
)
def test_a_feature_passes_only_on_models_that_have_it(
    field: str, value: Any, able: set[tuple[str, str]]
) -> None:
    for model in ALL:
        for mode in FORMS[model][0]:
            found = faults(IMAGE | {field: value, "model_name": model, "mode": mode})

            assert (found == {}) is ((model, mode) in able), (model, mode, found)


def test_multi_shot_is_for_v3_only() -> None:
    story = IMAGE | {"multi_shot": True, "shot_type": "intelligence"}

    assert [m for m in ALL if not faults(story | {"model_name": m})] == [V3]


def test_a_refusal_says_which_mode_or_model_would_do() -> None:
    tail, sound = (judge(IMAGE | more).verdict.faults[0] for more in (TAIL, {"sound": "on"}))

    assert tail.use == (
        'mode pro; or model_name "kling-v2-6" mode pro with sound off; or model_name "kling-v3"'
    )
    assert sound.use == 'model_name "kling-v2-6" mode pro; or model_name "kling-v3"'


def test_what_a_model_does_in_one_length_only_is_said_with_that_length() -> None:
    asked = IMAGE | {"model_name": V15, "mode": "pro", "camera_control": {"type": "down_back"}}
    (fault,) = judge(asked).verdict.faults

    assert fault.use == "mode pro duration 5 with type simple"


def test_a_bad_duration_does_not_also_count_as_a_missing_feature() -> None:
    found = faults(IMAGE | TAIL | {"mode": "pro", "duration": "4"})

    assert found == {"duration": "duration_of_model"}


@pytest.mark.parametrize(
    ("model", "modes", "seconds", "pictures", "sound"),
    [
        ("kling-v3-omni", {"std", "pro", "4k"}, LONG, 7, True),
        ("kling-video-o1", {"std", "pro"}, {str(s) for s in range(3, 11)}, 7, False),
        (V16, {"std", "pro"}, SHORT, 4, False),
    ],
)
def test_models_for_several_pictures_have_rules_of_their_own(
    model: str, modes: set[str], seconds: set[str], pictures: int, sound: bool
) -> None:
    base = SEVERAL | {"model_name": model}

    assert {m for m in MODES if not faults(base | {"mode": m})} == modes
    assert {str(s) for s in range(1, 21) if not faults(base | {"duration": s})} == seconds
    assert [n for n in range(1, 9) if not faults(base | {"image_list": [PICTURE] * n})] == list(
        range(1, pictures + 1)
    )
    assert (faults(base | {"sound": "on"}) == {}) is sound


def test_the_route_follows_the_model() -> None:
    routes = {
        model: judge(SEVERAL | {"model_name": model}).product
        for model in ("", "kling-v3-omni", "kling-video-o1", V16)
    }

    assert routes == {
        "": "omni-video",
        "kling-v3-omni": "omni-video",
        "kling-video-o1": "omni-video",
        V16: "multi-image2video",
    }


def test_a_model_of_the_other_tool_is_refused_with_one_that_would_do() -> None:
    (fault,) = judge(SEVERAL | {"model_name": V26}).verdict.faults[:1]

    assert (fault.field, fault.rule) == ("model_name", "model_of_product")
    assert fault.use == "kling-v3-omni or kling-video-o1"


def test_a_model_of_the_other_tool_leads_to_it_where_that_takes_the_whole_request() -> None:
    one = {"image_list": [PICTURE], "prompt": "x", "model_name": V26}

    assert [fault.use for fault in judge(one).verdict.faults] == [
        f"kling_image_to_video with the picture as image, which has {V26}"
    ]
    assert find_variant(drafted(one), built_in_capabilities(), KLING) is None
    brushed = IMAGE | {"model_name": "kling-v3-omni", "image_tail": PICTURE}
    assert judge(brushed).verdict.faults[0].use == "kling-v2-5-turbo or kling-v2-6 or kling-v3"


def test_a_request_without_a_picture_is_not_led_to_a_tool_that_requires_one() -> None:
    words = read_draft(TextToVideoArguments, {"prompt": "x", "model_name": "kling-v3-omni"})
    both = replace(KLING, products=(*KLING.products, "text2video"))
    (fault,) = review(words, built_in_capabilities(), both).verdict.faults

    assert fault.rule == "model_of_product"
    assert "kling_" not in fault.use


def test_no_tool_is_named_that_the_provider_has_not_for_the_model() -> None:
    """Turbo is on the new standard alone, which this provider does not speak."""
    one = {"image_list": [PICTURE], "prompt": "x", "model_name": "kling-v3-turbo"}

    assert "kling_image_to_video" not in judge(one).verdict.faults[0].use


def test_a_model_of_the_other_tool_is_not_called_unknown() -> None:
    found = judge(IMAGE | {"model_name": "kling-v3-omni"}).verdict

    assert [fault.rule for fault in found.faults] == ["model_of_product"]
    assert found.faults[0].use == (
        "kling_multi_image_to_video with the picture as image_list, which has kling-v3-omni"
    )
    assert found.warnings == []


def test_a_retired_model_names_its_successor() -> None:
    (one,) = judge(IMAGE | {"model_name": V21}).verdict.warnings
    (several,) = judge(SEVERAL | {"model_name": V16}).verdict.warnings

    assert (one.rule, one.use) == ("model_retired", "kling-v2-5-turbo")
    assert (several.rule, several.use) == ("model_retired", "kling-v3-omni")


def test_an_unknown_model_is_sent_within_kling_s_own_limits() -> None:
    base = IMAGE | {"model_name": "kling-v9", "mode": "4k", "sound": "on"}

    assert faults(base | {"duration": 15}) == {}
    assert faults(base | {"duration": 16}) == {"duration": "duration_range"}


def test_a_user_s_rows_add_models_and_change_abilities() -> None:
    table = built_in_capabilities().overridden(
        {
            "models": {
                "kling-v9": {"products": {"image2video": {"modes": ["pro"], "durations": ["20"]}}},
                V3: {"products": {"image2video": {"allows": {"voice_list": ["*"]}}}},
            }
        }
    )
    voice = IMAGE | {"model_name": V3, "sound": "on", "voice_list": ["v"]}
    voice["prompt"] = "she<<<voice_1>>> sings"
    long = IMAGE | {"model_name": "kling-v9", "mode": "pro", "duration": "20"}

    assert faults(voice) == {"voice_list": "voice_list_of_model"}
    assert faults(voice, capabilities=table) == {}
    assert faults(long, capabilities=table) == {}
    assert warnings(long, capabilities=table) == {}
    assert faults(IMAGE | TAIL | {"model_name": V3}, capabilities=table) == {}


@pytest.mark.parametrize(
    "rows",
    [
        {"models": {"m": {"products": {"image2video": {"allows": {"sound": ["sometimes"]}}}}}},
        {"models": {"m": {"products": {"image2video": {"allows": {"music": ["*"]}}}}}},
        {"models": {"m": {"products": {"text2speech": {}}}}},
        {"models": {"m": {"modes": ["std"]}}},
        {"model": {}},
        [],
    ],
)
def test_rows_that_make_no_sense_are_refused(rows: Any) -> None:
    with pytest.raises(ValidationError):
        built_in_capabilities().overridden(rows)


def test_every_row_of_the_table_names_source_and_date() -> None:
    table = built_in_capabilities()
    rows = [row for model in table.models.values() for row in model.products.values()]

    assert len(rows) >= 12
    assert all(row.source and row.date and (row.durations or row.modes) for row in rows)
    unpriced = {
        name
        for name, model in table.models.items()
        for row in model.products.values()
        if not row.units
    }
    assert unpriced == {name for name, model in table.models.items() if model.preview}


def test_the_table_reads_the_same_after_a_round_trip() -> None:
    table = built_in_capabilities()

    assert Capabilities.model_validate(json.loads(table.model_dump_json())) == table
