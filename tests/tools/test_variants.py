"""A refused request, and one above a cap, is told the nearest one that passes as it stands."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tools.judging import IMAGE, KLING, PICTURE, SEVERAL, drafted, judge

from kling_tools.faults import Variant
from kling_tools.rules.capabilities import ProviderTerms, built_in_capabilities
from kling_tools.rules.variants import find_variant

TABLE = built_in_capabilities()
LIVING = [name for name, row in TABLE.models.items() if not row.retired]
GATEWAY = ProviderTerms(
    name="gateway",
    products=("image2video", "multi-image2video"),
    default_models={"image2video": "kling-v2-5-turbo", "multi-image2video": "kling-v1-6"},
    loses={"image2video": {"multi_shot": "it would be dropped"}},
    least_images=2,
    list_price=False,
)
MASK = {"mask": PICTURE, "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}
SHOT = {"prompt": "a", "duration": "5"}


def variant(
    arguments: dict[str, Any], *, terms: ProviderTerms = KLING, within: float | None = None
) -> Variant | None:
    return find_variant(drafted(arguments), TABLE, terms, within_units=within)


def followed(arguments: dict[str, Any], found: Variant) -> dict[str, Any]:
    return arguments | found.change


chosen = st.fixed_dictionaries(
    {},
    optional={
        "model_name": st.sampled_from([*TABLE.models, "kling-v9", "kling 2.6", "x" * 65]),
        "mode": st.sampled_from(["std", "pro", "4k", "fast"]),
        "duration": st.one_of(st.integers(0, 20), st.just("soon")),
        "sound": st.sampled_from(["on", "off", "loud"]),
        "cfg_scale": st.sampled_from([0.5, 3]),
        "negative_prompt": st.sampled_from(["blur", "x" * 2501]),
        "seed": st.just(7),
        "colour": st.just("red"),
    },
)
features = st.fixed_dictionaries(
    {},
    optional={
        "image_tail": st.just(PICTURE),
        "voice_list": st.sampled_from([["v"], ["v", "w"]]),
        "element_list": st.just(["160"]),
        "camera_control": st.sampled_from(
            [
                "down_back",
                "zoom in",
                *({"type": t, "config": {"zoom": 5}} for t in ("simple", "down_back")),
            ]
        ),
        "static_mask": st.just(PICTURE),
        "dynamic_masks": st.just([MASK]),
        "multi_shot": st.just(True),
        "shot_type": st.sampled_from(["customize", "intelligence"]),
        "multi_prompt": st.lists(
            st.fixed_dictionaries(
                {"prompt": st.just("a"), "duration": st.integers(1, 12).map(str)},
                optional={"index": st.integers(1, 3)},
            ),
            min_size=1,
            max_size=6,
        ),
        "prompt": st.sampled_from(["<<<voice_1>>> speaks", "<<<voice_1>>> <<<voice_2>>>"]),
    },
)
wishes = st.one_of(
    st.builds(lambda a, b: IMAGE | a | b, chosen, features),
    st.builds(
        lambda a, count: SEVERAL | a | {"image_list": [PICTURE] * count},
        chosen,
        st.integers(1, 8),
    ),
)
limits = st.one_of(st.none(), st.floats(0.5, 20))


@given(wishes, limits, st.sampled_from([KLING, GATEWAY]))
def test_what_is_suggested_passes_as_it_stands_on_a_living_model_under_the_cap(
    wish: dict[str, Any], limit: float | None, terms: ProviderTerms
) -> None:
    found = variant(wish, terms=terms, within=limit)
    if found is None:
        return
    passed = judge(followed(wish, found), terms=terms)

    assert passed.verdict.faults == []
    assert passed.model_name not in TABLE.models or not TABLE.models[passed.model_name].retired
    assert passed.estimate.units == found.estimate_units
    assert limit is None or (found.estimate_units or 99) <= limit + 1e-6
    assert passed.model_name in found.makes
    assert f"{passed.request.duration} s" in found.makes


@settings(max_examples=settings.default.max_examples // 8)
@given(st.builds(lambda a, b: IMAGE | a | b, chosen, features), limits)
def test_nothing_is_suggested_only_where_no_living_model_and_setting_passes(
    wish: dict[str, Any], limit: float | None
) -> None:
    if variant(wish, within=limit) is not None:
        return
    for name, mode, seconds, sound in product(
        LIVING, ("std", "pro", "4k"), range(3, 16), ("on", "off")
    ):
        setting = {"model_name": name, "mode": mode, "duration": seconds, "sound": sound}
        tried = judge(wish | setting)
        units = tried.estimate.units
        assert tried.verdict.faults or (limit is not None and (units is None or units > limit))


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({"sound": "on"}, {"model_name": "kling-v3"}),
        ({"sound": "on", "model_name": "kling-v2-6"}, {"mode": "pro"}),
        ({"image_tail": PICTURE}, {"mode": "pro"}),
        ({"duration": 8}, {"model_name": "kling-v3"}),
        ({"duration": 20}, {"model_name": "kling-v3", "duration": "15"}),
        ({"mode": "4k"}, {"model_name": "kling-v3"}),
        ({"model_name": "Kling 2.6", "mode": "pro"}, {"model_name": "kling-v2-6"}),
        ({"model_name": "kling-v1"}, {"model_name": "kling-v2-5-turbo"}),
        (
            {"voice_list": ["v"], "prompt": "<<<voice_1>>> greets"},
            {"model_name": "kling-v2-6", "mode": "pro", "sound": "on"},
        ),
        ({"model_name": "kling-v9", "duration": 20}, {"duration": "15"}),
    ],
)
def test_the_wish_is_kept_then_as_little_changed_as_can_be(
    asked: dict[str, Any], change: dict[str, Any]
) -> None:
    found = variant(IMAGE | asked)

    assert found is not None
    assert (found.change, found.leave_out) == (change, [])


@pytest.mark.parametrize(
    ("shots", "asked_s", "change"),
    [
        ((2, 3), 6, {"duration": "5"}),
        ((10, 10), 10, {"duration": "15", "multi_prompt": ("8", "7")}),
        ((1, 1), 5, {"duration": "3", "multi_prompt": ("2", "1")}),
        ((30, 1, 1), 10, {"duration": "15", "multi_prompt": ("13", "1", "1")}),
    ],
)
def test_a_storyboard_that_does_not_add_up_is_corrected_to_one_that_does(
    shots: tuple[int, ...], asked_s: int, change: dict[str, Any]
) -> None:
    story = {"image": PICTURE, "model_name": "kling-v3", "duration": asked_s, "multi_shot": True}
    story |= {
        "shot_type": "customize",
        "multi_prompt": [SHOT | {"duration": seconds} for seconds in shots],
    }
    found = variant(story)

    assert found is not None
    told = dict(found.change)
    if "multi_prompt" in told:
        told["multi_prompt"] = tuple(shot["duration"] for shot in told["multi_prompt"])
    assert told == change
    assert judge(followed(story, found)).verdict.faults == []


def test_what_no_living_model_takes_is_left_out_and_said_so() -> None:
    found = variant(IMAGE | {"camera_control": "down_back", "image_tail": PICTURE})

    assert found is not None
    assert found.leave_out == ["camera_control"]
    assert found.change == {
        "mode": "pro",
        "prompt": "slow zoom. The camera sinks and moves back.",
        "camera_control": "",
    }
    assert str(found) == (
        'It passes with prompt: "slow zoom. The camera sinks and moves back.", mode: pro and '
        "without camera_control; that makes kling-v2-5-turbo pro 5 s no sound, about 2.5 units "
        "(0.35 USD list price)."
    )


def test_what_cannot_be_read_or_is_not_kling_s_is_left_out_and_a_misspelt_name_is_not() -> None:
    told = [
        variant(IMAGE | asked)
        for asked in ({"camera_control": "zoom in"}, {"cfg_scale": 3}, {"seed": 7, "fps": 30})
    ]

    assert [found and found.leave_out for found in told] == [
        ["camera_control"],
        ["cfg_scale"],
        ["seed", "fps"],
    ]
    assert variant(IMAGE | {"imagetail": PICTURE}) is None
    assert variant(IMAGE | {"model": "kling-v3"}) is None
    assert variant(IMAGE | {"dynamic_masks": [MASK] * 2000}) is None


def test_a_missing_picture_is_not_made_up() -> None:
    assert variant({"prompt": "p", "sound": "on"}) is None
    assert variant(IMAGE | {"take": -1, "sound": "on"}) is None
    assert variant(IMAGE | {"max_units": -1}) is None


def test_under_a_cap_the_sound_is_kept_before_the_length_and_the_mode() -> None:
    wish = IMAGE | {"model_name": "kling-v3", "mode": "pro", "duration": 10, "sound": "on"}

    told = {cap: variant(wish, within=cap) for cap in (9.5, 6, 3, 1.5, 1)}

    assert {cap: found and found.change for cap, found in told.items()} == {
        9.5: {"mode": "std"},
        6: {"duration": "5"},
        3: {"mode": "std", "duration": "3"},
        1.5: {"model_name": "kling-v2-5-turbo", "mode": "std", "duration": "5", "sound": "off"},
        1: None,
    }


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ({"mode": "hd"}, {"mode": "pro"}),
        ({"mode": "professional"}, {"mode": "pro"}),
        ({"mode": "high quality"}, {"mode": "pro"}),
        ({"mode": "UHD"}, {"mode": "4k", "model_name": "kling-v3"}),
        ({"mode": "low"}, {"mode": "std"}),
        ({"sound": "music", "model_name": "kling-v3"}, {"sound": "on"}),
        ({"sound": "without sound"}, {"sound": "off"}),
        ({"fit": "vertical for TikTok"}, {"fit": "9:16"}),
        ({"fit": "4:5"}, {"fit": "1:1"}),
        ({"fit": "3:4 pad"}, {"fit": "9:16 pad"}),
        ({"duration": "about 10"}, {"duration": "10"}),
        ({"duration": "long"}, {"duration": "10"}),
        ({"duration": "1 minute", "model_name": "kling-v2-5-turbo"}, {"duration": "10"}),
        ({"duration": 60}, {"duration": "15", "model_name": "kling-v3"}),
        ({"duration": 7.6}, {"duration": "8", "model_name": "kling-v3"}),
    ],
)
def test_a_word_for_a_value_is_put_right_in_its_sense(
    asked: dict[str, Any], change: dict[str, Any]
) -> None:
    found = variant(IMAGE | asked)

    assert found is not None
    assert found.change == change
    assert found.leave_out == []


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"mode": "1080p"}, {"mode": "pro"}),
        ({"mode": "720P"}, {"mode": "std"}),
        ({"sound": "yes"}, {"sound": "on"}),
        ({"sound": "mute"}, {"sound": "off"}),
        ({"fit": "square"}, {"fit": "1:1"}),
        ({"fit": "portrait pad"}, {"fit": "9:16 pad"}),
        ({"duration": "0:10"}, {"duration": "10"}),
        ({"duration": "ten"}, {"duration": "10"}),
        ({"duration": "Five seconds"}, {"duration": "5"}),
        ({"duration": "10-second"}, {"duration": "10"}),
        ({"duration": "1 minute"}, {"duration": "60"}),
    ],
)
def test_a_plain_word_for_a_value_is_the_value(said: dict[str, Any], read: dict[str, Any]) -> None:
    draft = drafted(IMAGE | said)

    assert draft.verdict.faults == []
    assert {name: getattr(draft.arguments, name) for name in read} == read


@pytest.mark.parametrize(
    ("move", "said"), [("Zoom in", "The camera zooms in."), ("orbit left", "Camera: orbit left.")]
)
def test_a_camera_move_in_words_is_said_in_the_prompt(move: str, said: str) -> None:
    found = variant(IMAGE | {"camera_control": move})

    assert found is not None
    assert found.change == {"prompt": f"slow zoom. {said}", "camera_control": ""}


def test_the_advice_of_a_single_fault_is_that_of_the_whole_request() -> None:
    (fault,) = judge(IMAGE | {"duration": "about 10"}).verdict.faults

    assert fault.use == '"10"'
