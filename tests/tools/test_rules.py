"""Every rule of Kling's parameter tables refuses what breaks it, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from tests.tools.judging import IMAGE, KLING, PICTURE, SEVERAL, faults, judge, warnings

from kling_tools.rules.capabilities import built_in_capabilities

V3 = IMAGE | {"model_name": "kling-v3"}
SHOTS = [{"prompt": "a", "duration": "2"}, {"prompt": "b", "duration": "3"}]
STORY = {
    "image": PICTURE,
    "model_name": "kling-v3",
    "multi_shot": True,
    "shot_type": "customize",
    "multi_prompt": SHOTS,
}
VOICE = IMAGE | {
    "model_name": "kling-v2-6",
    "mode": "pro",
    "sound": "on",
    "voice_list": ["v1"],
    "prompt": 'The man<<<voice_1>>> says: "Hello"',
}
MASK = {"mask": PICTURE, "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}
BRUSH = IMAGE | {"model_name": "kling-v1", "dynamic_masks": [MASK]}
CAMERA = IMAGE | {"model_name": "kling-v1-5", "mode": "pro"}
ZOOM = {"type": "simple", "config": {"zoom": 5}}


def without(arguments: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != name}


@pytest.mark.parametrize(
    "arguments",
    [
        IMAGE,
        IMAGE | {"image_tail": PICTURE, "mode": "pro"},
        IMAGE | {"negative_prompt": "x" * 2500, "prompt": "x" * 2500},
        IMAGE | {"watermark_info": {"enabled": True}, "callback_url": "https://a.example/x"},
        V3 | {"duration": "15", "mode": "4k", "sound": "on"},
        V3 | {"element_list": ["160", 161, {"element_id": "162"}]},
        STORY,
        STORY | {"image_tail": PICTURE},
        V3 | {"multi_shot": True, "shot_type": "intelligence"},
        VOICE,
        BRUSH,
        BRUSH | {"static_mask": PICTURE},
        CAMERA | {"camera_control": ZOOM},
        IMAGE | {"model_name": "kling-v1-6", "cfg_scale": 0.5},
        {"image_tail": PICTURE, "prompt": "p", "model_name": "kling-v1-6", "mode": "pro"},
        SEVERAL,
        SEVERAL | {"model_name": "kling-v1-6", "duration": "10", "aspect_ratio": "1:1"},
        SEVERAL | {"prompt": "<<<image_2>>> meets <<<image_1>>>", "sound": "on"},
    ],
)
def test_what_kling_takes_is_not_refused(arguments: dict[str, Any]) -> None:
    assert faults(arguments) == {}


@pytest.mark.parametrize(
    ("arguments", "field", "rule"),
    [
        ({"prompt": "p"}, "image", "image_or_image_tail"),
        ({"image": "", "prompt": "p"}, "image", "image_or_image_tail"),
        ({"image": PICTURE}, "prompt", "prompt_required"),
        (IMAGE | {"prompt": "x" * 2501}, "prompt", "string_too_long"),
        (IMAGE | {"negative_prompt": "x" * 2501}, "negative_prompt", "string_too_long"),
        (IMAGE | {"prompt": {"a": 1}}, "prompt", "string_type"),
        (IMAGE | {"promt": "p"}, "promt", "extra_forbidden"),
        (IMAGE | {"mode": "fast"}, "mode", "literal_error"),
        (IMAGE | {"duration": "soon"}, "duration", "string_pattern_mismatch"),
        (IMAGE | {"duration": "0"}, "duration", "string_pattern_mismatch"),
        (IMAGE | {"duration": True}, "duration", "string_type"),
        (IMAGE | {"sound": "loud"}, "sound", "literal_error"),
        (
            IMAGE | {"watermark_info": {"enabled": "maybe"}},
            "watermark_info.enabled",
            "bool_parsing",
        ),
        (IMAGE | {"callback_url": "ftp://a/b"}, "callback_url", "callback_is_a_url"),
        (IMAGE | {"callback_url": "http://[bad"}, "callback_url", "callback_is_a_url"),
        (IMAGE | {"external_task_id": "x" * 129}, "external_task_id", "string_too_long"),
        (CAMERA | {"cfg_scale": 1.1}, "cfg_scale", "less_than_equal"),
        (CAMERA | {"cfg_scale": -0.1}, "cfg_scale", "greater_than_equal"),
        (CAMERA | {"cfg_scale": float("nan")}, "cfg_scale", "less_than_equal"),
        (IMAGE | {"take": -1}, "take", "greater_than_equal"),
        (IMAGE | {"max_units": -1}, "max_units", "greater_than_equal"),
        (STORY | {"multi_shot": False}, "multi_prompt", "shots_need_multi_shot"),
        (without(STORY, "multi_prompt"), "multi_prompt", "multi_prompt_required"),
        (V3 | {"multi_shot": True}, "shot_type", "shot_type_required"),
        (V3 | {"shot_type": "intelligence"}, "shot_type", "shots_need_multi_shot"),
        (
            {"image": PICTURE, "model_name": "kling-v3", "multi_shot": True}
            | {"shot_type": "intelligence"},
            "prompt",
            "prompt_required_for_intelligence",
        ),
        (STORY | {"duration": "6"}, "multi_prompt", "shots_add_up"),
        (
            STORY | {"multi_prompt": [shot | {"index": 1} for shot in SHOTS]},
            "multi_prompt",
            "shots_in_order",
        ),
        (
            STORY | {"multi_prompt": [SHOTS[0] | {"index": 1}, SHOTS[1]]},
            "multi_prompt",
            "shots_in_order",
        ),
        (
            STORY | {"multi_prompt": [{"prompt": "a", "duration": "1"}] * 7},
            "multi_prompt",
            "too_long",
        ),
        (
            STORY | {"multi_prompt": [SHOTS[0], {"prompt": "b" * 513, "duration": "3"}]},
            "multi_prompt[1].prompt",
            "string_too_long",
        ),
        (
            STORY | {"multi_prompt": [SHOTS[0], {"prompt": "b", "duration": "0"}]},
            "multi_prompt[1].duration",
            "string_pattern_mismatch",
        ),
        (STORY | {"multi_prompt": ["a"]}, "multi_prompt[0]", "model_type"),
        (
            V3 | {"element_list": ["1"], "voice_list": ["v"], "sound": "on"},
            "voice_list",
            "elements_exclude_voices",
        ),
        (V3 | {"element_list": [1, 2, 3, 4]}, "element_list", "too_long"),
        (V3 | {"element_list": [True]}, "element_list[0]", "int_type"),
        (V3 | {"element_list": ["x" * 129]}, "element_list[0]", "string_too_long"),
        (V3 | {"element_list": [1.5]}, "element_list[0]", "int_type"),
        (V3 | {"element_list": [2**63]}, "element_list[0]", "less_than_equal"),
        (V3 | {"element_list": [-1]}, "element_list[0]", "greater_than_equal"),
        (VOICE | {"voice_list": ["a", "b", "c"]}, "voice_list", "too_long"),
        (VOICE | {"sound": "off"}, "sound", "voices_need_sound"),
        (VOICE | {"prompt": "hello"}, "prompt", "voice_token_missing"),
        (VOICE | {"prompt": "<<<voice_1>>> <<<voice_2>>>"}, "voice_list", "voice_token_unknown"),
        (VOICE | {"voice_list": []}, "voice_list", "voice_token_unknown"),
        (
            VOICE | {"voice_list": [], "sound": "off", "prompt": "<<<voice_0>>>"},
            "sound",
            "voices_need_sound",
        ),
        (
            CAMERA | {"camera_control": ZOOM, "image_tail": PICTURE},
            "camera_control",
            "image_tail_excludes_brush_and_camera",
        ),
        (
            BRUSH | {"image_tail": PICTURE},
            "dynamic_masks",
            "image_tail_excludes_brush_and_camera",
        ),
        (
            CAMERA | {"camera_control": ZOOM, "static_mask": PICTURE},
            "camera_control",
            "static_mask_excludes_camera",
        ),
        (
            CAMERA | {"camera_control": ZOOM, "dynamic_masks": [MASK]},
            "camera_control",
            "dynamic_masks_exclude_camera",
        ),
        (
            CAMERA | {"camera_control": {"type": "simple", "config": {"zoom": 1, "pan": 2}}},
            "camera_control.config",
            "camera_moves_once",
        ),
        (
            CAMERA | {"camera_control": {"type": "simple"}},
            "camera_control.config",
            "camera_moves_once",
        ),
        (
            CAMERA | {"camera_control": {"type": "simple", "config": {"zoom": 0}}},
            "camera_control.config",
            "camera_moves_once",
        ),
        (
            CAMERA | {"camera_control": {"type": "simple", "config": {"zoom": 11}}},
            "camera_control.config.zoom",
            "less_than_equal",
        ),
        (
            CAMERA | {"camera_control": {"type": "simple", "config": {"zoon": 1}}},
            "camera_control.config.zoon",
            "extra_forbidden",
        ),
        (
            CAMERA | {"camera_control": {"type": "down_back", "config": {"zoom": 1}}},
            "camera_control.config",
            "camera_preset_takes_no_config",
        ),
        (CAMERA | {"camera_control": "spin"}, "camera_control.type", "literal_error"),
        (BRUSH | {"dynamic_masks": [MASK] * 7}, "dynamic_masks", "too_long"),
        (
            BRUSH | {"dynamic_masks": [MASK | {"trajectories": [[0, 0]] * 78}]},
            "dynamic_masks[0].trajectories",
            "too_long",
        ),
        (
            BRUSH | {"dynamic_masks": [MASK | {"trajectories": [[0, 0]]}]},
            "dynamic_masks[0].trajectories",
            "too_short",
        ),
        (
            BRUSH | {"dynamic_masks": [MASK | {"trajectories": [[0, -1], [1, 1]]}]},
            "dynamic_masks[0].trajectories[0].y",
            "greater_than_equal",
        ),
        (
            BRUSH | {"dynamic_masks": [MASK | {"trajectories": [[0.5, 1], [1, 1]]}]},
            "dynamic_masks[0].trajectories[0].x",
            "int_from_float",
        ),
        (
            BRUSH | {"dynamic_masks": [{"mask": PICTURE}]},
            "dynamic_masks[0].trajectories",
            "missing",
        ),
        (SEVERAL | {"image_list": []}, "image_list", "image_list_required"),
        ({"aspect_ratio": "1:1", "prompt": "p"}, "image_list", "image_list_required"),
        (SEVERAL | {"image_list": [PICTURE] * 8}, "image_list", "too_long"),
        (SEVERAL | {"image_list": [""]}, "image_list[0]", "string_too_short"),
        (SEVERAL | {"prompt": ""}, "prompt", "prompt_required"),
        (SEVERAL | {"prompt": "<<<image_3>>>"}, "prompt", "image_token_unknown"),
        (SEVERAL | {"aspect_ratio": "4:3"}, "aspect_ratio", "literal_error"),
        (SEVERAL | {"prompt": "x" * 2490}, "prompt", "prompt_with_references"),
        (SEVERAL | {"image": PICTURE}, "image", "extra_forbidden"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_its_name(
    arguments: dict[str, Any], field: str, rule: str
) -> None:
    assert faults(arguments).get(field) == rule


def test_all_faults_of_a_request_are_told_at_once() -> None:
    found = faults(
        {
            "prompt": "x" * 2501,
            "duration": 4,
            "mode": "turbo",
            "promt": "?",
            "sound": True,
            "camera_control": "simple",
            "image_tail": PICTURE,
            "shot_type": "customize",
        }
    )

    assert found == {
        "prompt": "string_too_long",
        "mode": "literal_error",
        "promt": "extra_forbidden",
        "camera_control.config": "camera_moves_once",
        "camera_control": "image_tail_excludes_brush_and_camera",
        "shot_type": "shots_need_multi_shot",
        "duration": "duration_of_model",
        "image_tail": "image_tail_alone_of_model",
        "sound": "sound_of_model",
    }


def test_too_many_masks_and_too_many_points_are_both_told() -> None:
    masks = [MASK | {"trajectories": [[0, 0]] * 78}] * 7

    found = faults(BRUSH | {"dynamic_masks": masks})

    assert found["dynamic_masks"] == "too_long"
    assert found["dynamic_masks[0].trajectories"] == "too_long"


def test_every_fault_names_a_field_a_rule_and_a_sentence() -> None:
    verdict = judge({"duration": 99, "mode": "x", "cfg_scale": 2, "voice_list": [1]}).verdict

    for fault in verdict.faults:
        assert fault.field
        assert fault.rule
        assert fault.message.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "field", "rule"),
    [
        (STORY | {"prompt": "unused"}, "prompt", "prompt_unused_with_customize"),
        (
            STORY | {"shot_type": "intelligence", "prompt": "p"},
            "multi_prompt",
            "multi_prompt_unused_with_intelligence",
        ),
        (V3 | {"cfg_scale": 0.5}, "cfg_scale", "cfg_scale_of_model"),
        (IMAGE | {"model_name": "kling-v1"}, "model_name", "model_retired"),
        (IMAGE | {"model_name": "kling-v9"}, "model_name", "model_unknown"),
        (
            IMAGE | {"model_name": "kling-v1", "camera_control": ZOOM},
            "camera_control",
            "camera_control_of_model",
        ),
    ],
)
def test_what_is_doubtful_is_a_warning_and_passes(
    arguments: dict[str, Any], field: str, rule: str
) -> None:
    assert warnings(arguments)[field] == rule
    assert faults(arguments) == {}


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]", "null", "true", "5", '"quoted"'])
def test_a_prompt_that_looks_like_json_is_text(text: str) -> None:
    review = judge(IMAGE | {"prompt": text})

    assert review.request.prompt == text
    assert review.verdict.faults == []


def test_a_misspelt_argument_is_told_the_right_name() -> None:
    (fault,) = judge(IMAGE | {"negativ_prompt": "x"}).verdict.faults

    assert fault.use == "negative_prompt"


def test_where_a_picture_alone_is_taken_a_missing_prompt_is_only_told() -> None:
    terms = replace(KLING, prompt_optional=("image2video",))

    assert faults({"image": PICTURE}, terms=terms) == {}
    assert warnings({"image": PICTURE}, terms=terms) == {"prompt": "prompt_required"}
    assert "prompt" in faults({"image_list": [PICTURE, PICTURE]}, terms=terms)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kling-v2.6", "kling-v2-6"),
        ("kling 2.6", "kling-v2-6"),
        ("Kling-V2.6", "kling-v2-6"),
        ("kling_v2_6", "kling-v2-6"),
        ("v2.6", "kling-v2-6"),
        ("2.6", "kling-v2-6"),
        ("Kling 2.5 Turbo", "kling-v2-5-turbo"),
        ("kling-v2-5-trubo", "kling-v2-5-turbo"),
        ("klingv2.1master", "kling-v2-1-master"),
        ("kling 3.0", "kling-v3"),
        ("kling-3", "kling-v3"),
        ("kling-1.6", "kling-v1-6"),
    ],
)
def test_another_spelling_of_a_model_is_refused_with_the_right_one(name: str, meant: str) -> None:
    found = list(judge(IMAGE | {"model_name": name}).verdict.faults)

    assert [fault.rule for fault in found] == ["model_spelling"]
    assert f"did you mean {meant}?" in found[0].message
    assert found[0].use == meant


@pytest.mark.parametrize(
    "name", ["kling-v2-7", "kling-v5", "kling-v2-6-ultra", "kling-v3-5", "Kling 7 Max"]
)
def test_a_model_that_may_be_new_passes_with_a_warning(name: str) -> None:
    assert "model_name" not in faults(IMAGE | {"model_name": name})
    assert warnings(IMAGE | {"model_name": name})["model_name"] == "model_unknown"


@pytest.mark.parametrize("name", ["kling", "wan-2-2", "veo-3", "v", "best", "cheapest"])
def test_what_is_no_name_of_kling_is_refused_with_the_living_models(name: str) -> None:
    (fault,) = judge(IMAGE | {"model_name": name}).verdict.faults

    assert fault.rule == "model_not_of_kling"
    assert fault.use == "kling-v2-5-turbo or kling-v2-6 or kling-v3"


def test_every_known_model_is_known_by_its_own_name_alone() -> None:
    table = built_in_capabilities()

    assert [table.known_as(name) for name in table.models] == [None] * len(table.models)
    assert judge(IMAGE | {"model_name": " Kling-V2-6 "}).model_name == "kling-v2-6"
