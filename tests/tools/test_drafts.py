"""Friendly forms are understood, and nothing that a caller could send breaks the reader."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tools.judging import IMAGE, PICTURE, SEVERAL, judge

from kling_tools.requests import normalize
from kling_tools.requests.arguments import ImageToVideoArguments, MultiImageToVideoArguments
from kling_tools.requests.drafts import MESSAGES, read_draft
from kling_tools.requests.host_habits import ADDED_BY_HOSTS

KINDS = (ImageToVideoArguments, MultiImageToVideoArguments)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
field_names = sorted({name for kind in KINDS for name in kind.model_fields})


def read(**arguments: Any) -> Any:
    draft = read_draft(ImageToVideoArguments, arguments)
    assert draft.verdict.faults == []
    return draft.arguments


@pytest.mark.parametrize("value", [5, "5", "5s", " 5 ", 5.0, "5.0", "5 seconds", "05"])
def test_a_duration_is_understood_as_number_or_text(value: Any) -> None:
    assert read(duration=value).duration == "5"


@pytest.mark.parametrize("value", [True, "true", "True", 1, "1"])
def test_a_boolean_is_understood_as_text(value: Any) -> None:
    assert read(multi_shot=value).multi_shot is True


@pytest.mark.parametrize("value", [True, "on", "ON", "true"])
def test_sound_is_understood_as_switch(value: Any) -> None:
    assert read(sound=value).sound == "on"


@pytest.mark.parametrize(
    "value",
    [
        ["160", "9007199254740993"],
        [160, 9007199254740993],
        [{"element_id": "160"}, {"element_id": 9007199254740993}],
        '["160", "9007199254740993"]',
    ],
)
def test_element_ids_stay_exact_in_every_form(value: Any) -> None:
    assert read(element_list=value).element_list == [160, 2**53 + 1]


@pytest.mark.parametrize("value", [["a", "b"], [{"voice_id": "a"}, {"voice_id": "b"}]])
def test_voices_are_understood_as_ids_or_objects(value: Any) -> None:
    assert read(voice_list=value).voice_list == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [[PICTURE], PICTURE, [{"image": PICTURE}], [{"image_url": PICTURE}], f'["{PICTURE}"]'],
)
def test_a_list_of_pictures_is_understood_in_every_form(value: Any) -> None:
    draft = read_draft(MultiImageToVideoArguments, SEVERAL | {"image_list": value})

    assert draft.arguments.image_list == [PICTURE]


def test_shots_without_numbers_are_numbered_in_order() -> None:
    shots = read(multi_prompt=[{"prompt": "a", "duration": 2}, {"prompt": "b", "duration": "3s"}])

    assert [(s.index, s.duration) for s in shots.multi_prompt] == [(1, "2"), (2, "3")]


@pytest.mark.parametrize("value", [{"enabled": True}, True, "true", '{"enabled": true}'])
def test_the_watermark_is_understood_as_switch_or_object(value: Any) -> None:
    assert read(watermark_info=value).watermark_info.enabled is True


def test_points_are_understood_as_pairs_and_one_mask_as_a_list() -> None:
    mask = {"mask": PICTURE, "trajectories": [[1, 2], {"x": 3, "y": 4}]}

    (group,) = read(dynamic_masks=mask).dynamic_masks

    assert [(p.x, p.y) for p in group.trajectories] == [(1, 2), (3, 4)]


def test_null_and_empty_mean_left_out() -> None:
    nothing = dict.fromkeys(ImageToVideoArguments.model_fields)
    empty = {"shot_type": "", "multi_prompt": [], "camera_control": "", "external_task_id": ""}

    assert read(**nothing) == read() == read(**empty, watermark_info="", element_list="")


@given(st.dictionaries(st.sampled_from(field_names) | st.text(max_size=10), json_values))
def test_no_arguments_break_the_judgement(arguments: dict[str, Any]) -> None:
    for kind in KINDS:
        draft = read_draft(kind, arguments)
        known = {name for name, value in arguments.items() if value not in (None, "")}
        unknown = known - set(kind.model_fields) - ADDED_BY_HOSTS
        told = [f for f in draft.verdict.faults if f.rule == "extra_forbidden"]

        assert len(told) >= len(unknown)
        assert all(fault.rule in MESSAGES for fault in draft.verdict.faults)


@given(st.dictionaries(st.sampled_from(field_names), json_values))
def test_every_judgement_ends_with_a_route_and_sentences(arguments: dict[str, Any]) -> None:
    review = judge(IMAGE | arguments)

    assert review.product
    assert all(str(fault) for fault in review.verdict.faults + review.verdict.warnings)


@pytest.mark.parametrize(
    ("arguments", "use"),
    [
        ({"aspect_ratio": "9:16"}, "fit: 16:9, 9:16 or 1:1"),
        ({"seed": 7}, "no seed, Kling has none; take: 2, 3"),
        ({"model": "kling-v3"}, "model_name"),
        ({"end_image": PICTURE}, "image_tail"),
        ({"resolution": "1080p"}, "mode: std=720p"),
        ({"multi_prompt": [{"promt": "a", "prompt": "a", "duration": "5"}]}, "prompt"),
        ({"camera_control": {"type": "simple", "zoom": 5}}, 'config: {"zoom": …}'),
        ({"camera_control": {"config": {"zoom": 5}}}, "simple, down_back"),
        ({"multi_prompt": ["a"]}, '{"prompt": "what happens", "duration": "5"}'),
        ({"element_list": [1.5]}, '["160"]'),
    ],
)
def test_a_caller_is_told_what_to_write_instead(arguments: dict[str, Any], use: str) -> None:
    (fault,) = read_draft(ImageToVideoArguments, arguments).verdict.faults

    assert fault.use.startswith(use)


def test_a_duration_that_is_no_whole_number_is_told_so() -> None:
    shot = {"prompt": "a", "duration": 2.5}

    (fault,) = read_draft(ImageToVideoArguments, {"multi_prompt": [shot]}).verdict.faults

    assert fault.message == "'2.5' is not a whole number of seconds."


UNSEEN = {
    "a letter and its accent": ("caf\u00e9", "cafe\u0301"),
    "no width": ("a fox runs", "a f\u200box\u2060 r\u00adu\ufeffns"),
    "joiners between Latin letters": ("a fox", "a f\u200do\u200cx"),
    "a selector behind a letter": ("a fox", "a fo\ufe0fx"),
    "control characters": ("a fox runs", "a\x00 f\x1box\x7f\x0bruns\x85"),
    "ends of lines": ("one\ntwo\nthree", "one\u2028two\x85three"),
    "words in tags": ("a fox", "a fox\U000e0041\U000e0042"),
}


@pytest.mark.parametrize(("plain", "written"), UNSEEN.values(), ids=UNSEEN)
def test_texts_that_look_equal_are_equal(plain: str, written: str) -> None:
    assert normalize.text(written) == plain


SEEN = {
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a person with a skin": "\U0001f469\U0001f3fd\u200d\U0001f680",
    "a healer": "\U0001f468\u200d\u2695\ufe0f",
    "a heart on fire": "\u2764\ufe0f\u200d\U0001f525",
    "a key": "1\ufe0f\u20e3",
    "the flag of Wales": "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Hindi": "\u0915\u094d\u200d\u0937",
    "a variant of a Chinese sign": "\u845b\U000e0100",
}


@pytest.mark.parametrize("written", SEEN.values(), ids=SEEN)
def test_what_makes_a_difference_to_the_eye_stays(written: str) -> None:
    assert normalize.text(f"{written} walks") == f"{written} walks"


@given(
    st.text(max_size=30)
    | st.text(alphabet="a\u0301\u200d\u200c\ufe0f\U0001f468\u0915\u0338\u2adc\x00 ")
)
def test_a_text_that_is_tidy_stays_as_it_is(written: str) -> None:
    tidy = normalize.text(written)

    assert normalize.text(tidy) == tidy


@given(st.text(alphabet=" \t\r\n\u00a0\u3000ab", max_size=20))
def test_a_text_is_tidied_once_and_for_all(written: str) -> None:
    tidy = normalize.text(written)

    assert normalize.text(tidy) == tidy
    assert "\r" not in tidy
    assert tidy.split() == written.split()
    assert read(prompt=written).prompt == tidy == read(negative_prompt=written).negative_prompt
