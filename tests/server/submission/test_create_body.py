"""Requests as an agent gives them, and the JSON that Kling gets."""

import json
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.submission.create_body import CreateBody, render_fields
from kling_tools.requests import normalize
from kling_tools.requests.arguments import ImageToVideoArguments, MultiImageToVideoArguments
from kling_tools.requests.drafts import read_draft
from kling_tools.requests.requests import REFERENCE
from kling_tools.rules.capabilities import built_in_capabilities
from kling_tools.rules.reviews import Review, review

END = "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-qa-test/multi-1.png"
START = "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-qa-test/multi-2.png"
ASTRONAUT = "https://filesystem.site/cdn/20250414/chxiLc2O45zoLT8BCrQ6WQlTvGDDnK.png"

FIELDS = {
    "image2video": {
        *("model_name", "image", "image_tail", "prompt", "negative_prompt", "multi_shot"),
        *("shot_type", "multi_prompt", "element_list", "voice_list", "sound", "cfg_scale"),
        *("mode", "duration", "static_mask", "dynamic_masks", "camera_control"),
        *("watermark_info", "callback_url", "external_task_id"),
    },
    "multi-image2video": {
        *("model_name", "image_list", "prompt", "negative_prompt", "mode", "duration"),
        *("aspect_ratio", "callback_url", "external_task_id", "watermark_info"),
    },
    "omni-video": {
        *("model_name", "image_list", "prompt", "mode", "duration", "aspect_ratio", "sound"),
        *("element_list", "callback_url", "external_task_id", "watermark_info"),
    },
}
"""What each product has a field for; Kling drops any other one in silence."""


def judged(**arguments: Any) -> Review:
    several = "image_list" in arguments
    kind = MultiImageToVideoArguments if several else ImageToVideoArguments
    terms = replace(PROVIDERS["kling"].terms, official=False)  # which still has the older models
    return review(read_draft(kind, arguments), built_in_capabilities(), terms)


def body_of(**arguments: Any) -> dict[str, Any]:
    """The body of an allowed request with our id `mine-1`, as it is read from the wire."""
    asked = judged(**arguments)
    assert [str(fault) for fault in asked.verdict.faults] == []
    pictures = dict(asked.request.pictures())
    body = render_fields(asked, pictures)
    assert set(body) <= FIELDS[asked.product]
    sent: dict[str, Any] = json.loads(text_of(body))
    return sent


def text_of(fields: dict[str, Any]) -> bytes:
    async def join() -> bytes:
        return b"".join([chunk async for chunk in CreateBody(fields).on_wire("mine-1")])

    return anyio.run(join)


def test_kling_s_first_example_goes_out_as_it_stands() -> None:
    example = {
        "model_name": "kling-v2-6",
        "image": START,
        "image_tail": END,
        "prompt": "Camera zooms out, the girl smiles",
        "negative_prompt": "",
        "duration": "5",
        "mode": "pro",
        "sound": "off",
        "callback_url": "",
        "external_task_id": "",
    }

    assert body_of(**example) == {
        "model_name": "kling-v2-6",
        "image": START,
        "image_tail": END,
        "prompt": "Camera zooms out, the girl smiles",
        "duration": "5",
        "mode": "pro",
        "sound": "off",
        "external_task_id": "mine-1",
    }


SHOTS = (
    ("Two friends talking under a streetlight at night.", "2"),
    ("A runner sprinting through a forest, leaves flying.", "3"),
    ("A woman hugging a cat, smiling.", "3"),
    ("A door creaking open, shadowy hallway.", "3"),
    ("A man slipping on a banana peel, shocked expression.", "3"),
    ("A sunset over mountains, small figure walking away.", "1"),
)
STORYBOARD = [
    {"index": place, "prompt": prompt, "duration": seconds}
    for place, (prompt, seconds) in enumerate(SHOTS, start=1)
]


def test_kling_s_storyboard_example_has_a_boolean_where_the_page_has_text() -> None:
    example = {
        "model_name": "kling-v3",
        "image": START,
        "prompt": "",
        "multi_shot": "true",
        "shot_type": "customize",
        "multi_prompt": STORYBOARD,
        "negative_prompt": "",
        "duration": "15",
        "mode": "pro",
        "sound": "on",
        "callback_url": "",
        "external_task_id": "",
    }

    assert body_of(**example) == {
        "model_name": "kling-v3",
        "image": START,
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": STORYBOARD,
        "duration": "15",
        "mode": "pro",
        "sound": "on",
        "external_task_id": "mine-1",
    }


def test_numbers_in_shots_become_the_text_that_kling_takes() -> None:
    shots = [{"prompt": "dawn", "duration": 2}, {"prompt": "dusk", "duration": 3.0}]
    sent = body_of(
        model_name="kling-v3",
        image=START,
        multi_shot=True,
        shot_type="customize",
        multi_prompt=json.dumps(shots),
        duration=5,
    )

    assert sent["duration"] == "5"
    assert sent["multi_prompt"] == [
        {"index": 1, "prompt": "dawn", "duration": "2"},
        {"index": 2, "prompt": "dusk", "duration": "3"},
    ]


def test_an_intelligent_storyboard_has_no_shots_and_keeps_its_prompt() -> None:
    sent = body_of(
        model_name="kling-v3",
        image=START,
        prompt="a chase",
        multi_shot=True,
        shot_type="intelligence",
        duration=10,
    )

    assert (sent["multi_shot"], sent["shot_type"], sent["prompt"]) == (
        True,
        "intelligence",
        "a chase",
    )
    assert "multi_prompt" not in sent


def test_kling_s_voice_example_goes_out_as_it_stands() -> None:
    example = {
        "model_name": "kling-v2-6",
        "image": START,
        "prompt": "<<<voice_1>>>Ask the people in the picture to say 'Welcome everyone'",
        "voice_list": [{"voice_id": "829824295735410756"}],
        "duration": "5",
        "mode": "pro",
        "sound": "on",
        "callback_url": "",
        "external_task_id": "",
    }

    assert body_of(**example) == {
        **{name: value for name, value in example.items() if value},
        "external_task_id": "mine-1",
    }


@pytest.mark.parametrize(
    "given",
    [
        [{"element_id": "160"}, {"element_id": "161"}, {"element_id": "159"}],
        ["160", "161", "159"],
        [160, 161, 159],
    ],
)
def test_elements_of_kling_s_example_are_numbers_on_the_wire(given: object) -> None:
    sent = body_of(
        model_name="kling-v3", image=START, prompt="they meet", element_list=given, sound="on"
    )

    assert sent["element_list"] == [{"element_id": 160}, {"element_id": 161}, {"element_id": 159}]


@pytest.mark.parametrize("element_id", [2**53 + 1, 829611643369439283, 2**63 - 1])
def test_element_ids_beyond_2_to_the_53_stay_exact(element_id: int) -> None:
    asked = judged(
        model_name="kling-v3", image=START, prompt="she turns", element_list=[str(element_id)]
    )
    body = render_fields(asked, {"image": START})

    assert f'"element_list":[{{"element_id":{element_id}}}]'.encode() in text_of(body)


def test_a_simple_camera_has_its_config_and_a_preset_has_none() -> None:
    place = {"model_name": "kling-v1-5", "mode": "pro", "image": START, "prompt": "a street"}

    simple = body_of(**place, camera_control={"type": "simple", "config": {"zoom": -4.5}})
    preset = judged(**place, camera_control="down_back")

    assert simple["camera_control"] == {
        "type": "simple",
        "config": {"horizontal": 0, "vertical": 0, "pan": 0, "tilt": 0, "roll": 0, "zoom": -4.5},
    }
    body = render_fields(preset, {"image": START})
    assert body["camera_control"] == {"type": "down_back"}


def test_masks_and_their_paths_go_out_as_an_array() -> None:
    sent = body_of(
        model_name="kling-v1-5",
        mode="pro",
        image=START,
        prompt="she waves",
        static_mask=END,
        dynamic_masks=[{"mask": END, "trajectories": [[279, 219], {"x": 417, "y": 65}]}],
    )

    assert sent["static_mask"] == END
    assert sent["dynamic_masks"] == [
        {"mask": END, "trajectories": [{"x": 279, "y": 219}, {"x": 417, "y": 65}]}
    ]


def test_what_is_zero_or_false_and_was_asked_for_is_sent() -> None:
    sent = body_of(
        model_name="kling-v1-5",
        mode="pro",
        image=START,
        prompt="a street",
        cfg_scale=0,
        watermark_info={"enabled": False},
    )

    assert sent["cfg_scale"] == 0
    assert sent["watermark_info"] == {"enabled": False}


def test_the_rest_of_the_fields_go_out_under_their_names() -> None:
    sent = body_of(
        image=START,
        prompt="a street",
        negative_prompt="rain",
        watermark_info=True,
        callback_url="https://me.example/kling",
    )

    assert sent == {
        "model_name": "kling-v2-5-turbo",
        "image": START,
        "prompt": "a street",
        "negative_prompt": "rain",
        "mode": "std",
        "duration": "5",
        "watermark_info": {"enabled": True},
        "callback_url": "https://me.example/kling",
        "external_task_id": "mine-1",
    }


def test_the_smallest_request_of_a_gateway_s_page_names_model_and_duration() -> None:
    assert body_of(image=START, prompt="she turns") == {
        "model_name": "kling-v2-5-turbo",
        "image": START,
        "prompt": "she turns",
        "mode": "std",
        "duration": "5",
        "external_task_id": "mine-1",
    }


def test_a_model_without_modes_gets_none() -> None:
    sent = body_of(model_name="kling-v2-1-master", image=START, prompt="she turns")

    assert "mode" not in sent


@pytest.mark.parametrize(
    ("model_name", "mode", "sound"),
    [
        ("kling-v2-5-turbo", "std", None),
        ("kling-v2-6", "pro", "off"),
        ("kling-v3", "std", "off"),
        ("kling-v9-of-tomorrow", "std", None),
    ],
)
def test_sound_off_is_said_only_to_models_that_could_make_it(
    model_name: str, mode: str, sound: str | None
) -> None:
    sent = body_of(model_name=model_name, mode=mode, image=START, prompt="she turns", sound=False)

    assert sent.get("sound") == sound


def test_sound_is_asked_of_a_model_that_nobody_knows() -> None:
    sent = body_of(model_name="kling-v9-of-tomorrow", image=START, prompt="she turns", sound="on")

    assert sent["sound"] == "on"


def test_a_gateway_s_several_pictures_example_goes_out_as_it_stands() -> None:
    example = {
        "model_name": "kling-v1-6",
        "duration": "5",
        "image_list": [{"image": START}, {"image": START}, {"image": ASTRONAUT}, {"image": END}],
        "prompt": "The astronauts got up and left.",
    }

    assert judged(**example).product == "multi-image2video"
    assert body_of(**example) == {
        **example,
        "mode": "std",
        "aspect_ratio": "16:9",
        "external_task_id": "mine-1",
    }


def test_several_pictures_without_a_model_go_to_omni_video_which_calls_them_otherwise() -> None:
    asked: dict[str, Any] = {
        "image_list": [START, END],
        "prompt": "they dance",
        "aspect_ratio": "9:16",
        "duration": 7,
        "mode": "pro",
        "sound": "on",
    }

    assert judged(**asked).product == "omni-video"
    assert body_of(**asked) == {
        "model_name": "kling-v3-omni",
        "image_list": [{"image_url": START}, {"image_url": END}],
        "prompt": "With <<<image_1>>>, <<<image_2>>>: they dance",
        "aspect_ratio": "9:16",
        "duration": "7",
        "mode": "pro",
        "sound": "on",
        "external_task_id": "mine-1",
    }


def test_a_prompt_that_names_its_pictures_stays_as_it_is() -> None:
    sent = body_of(image_list=[START, END], prompt="<<<image_2>>> greets <<<image_1>>>")

    assert sent["prompt"] == "<<<image_2>>> greets <<<image_1>>>"


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)] or [value]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)] or [value]
    return [value]


_maybe_empty = st.fixed_dictionaries(
    {},
    optional={
        "negative_prompt": st.sampled_from(["", "rain"]),
        "sound": st.sampled_from(["off", "", False, "false"]),
        "callback_url": st.sampled_from(["", "https://me.example"]),
        "external_task_id": st.just(""),
        "multi_shot": st.sampled_from([False, "false"]),
        "shot_type": st.sampled_from(["", None]),
        "multi_prompt": st.sampled_from(["", [], None]),
        "element_list": st.sampled_from(["", [], None, "[]"]),
        "voice_list": st.sampled_from(["", []]),
        "dynamic_masks": st.sampled_from(["", []]),
        "static_mask": st.just(""),
        "image_tail": st.just(""),
        "camera_control": st.sampled_from(["", None]),
        "watermark_info": st.sampled_from(["", None, {}]),
        "duration": st.sampled_from([5, "5", "5s", 10, 5.0]),
        "cfg_scale": st.none(),
    },
)


@settings(deadline=None)
@given(_maybe_empty, st.sampled_from(["kling-v2-5-turbo", "kling-v2-6", "kling-v3", ""]))
def test_nothing_empty_is_sent_and_nothing_that_kling_would_not_know(
    arguments: dict[str, Any], model_name: str
) -> None:
    asked = judged(image=START, prompt="she turns", model_name=model_name, **arguments)
    body = render_fields(asked, {"image": START})

    assert set(body) <= FIELDS["image2video"]
    assert not [leaf for leaf in leaves(body) if leaf in (None, "", [], {})]
    assert body["model_name"]
    assert isinstance(body["duration"], str)
    assert body["duration"] in ("5", "10")


@settings(deadline=None)
@given(
    st.integers(1, 7),
    st.text(st.characters(categories=("L", "P", "Zs")), min_size=1, max_size=60),
)
def test_every_picture_of_an_omni_video_is_named(count: int, prompt: str) -> None:
    asked = judged(image_list=[START] * count, prompt=prompt)
    pictures = dict(asked.request.pictures())
    sent = render_fields(asked, pictures)["prompt"]

    assert sent.endswith(asked.request.prompt)
    assert asked.request.prompt == normalize.text(prompt)
    assert [int(place) for _, place in REFERENCE.findall(sent)] == list(range(1, count + 1))


def test_pictures_stand_where_the_request_named_them() -> None:
    asked = judged(image_list=["~/a.png", "~/b.png"], prompt="they dance", model_name="kling-v1-6")
    body = render_fields(asked, {"image_list[0]": "A", "image_list[1]": "B"})

    assert body["image_list"] == [{"image": "A"}, {"image": "B"}]
