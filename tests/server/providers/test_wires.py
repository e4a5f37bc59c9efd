"""A request on Kling's new standard: each field in its place, nothing lost, nothing by accident."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_mcp.providers.wires import create_body, create_path, prompt_text
from kling_tools.rules.capabilities import WireRow, built_in_capabilities

V3 = WireRow(name="kling-3.0", multi_shot=True)
TURBO = WireRow(name="kling-3.0-turbo")
SHOTS = [
    {"index": 1, "prompt": "A door opens; light", "duration": "3"},
    {"index": 2, "prompt": "A cat walks in", "duration": "2"},
]
PLAIN: dict[str, Any] = {"model_name": "kling-v3", "prompt": "Zoom", "duration": "5"}


def body(fields: dict[str, Any], model: WireRow) -> dict[str, Any]:
    return dict(create_body("new", "image2video", fields, model))


def text_of(fields: dict[str, Any]) -> str:
    (prompt,) = [c for c in body(PLAIN | fields, V3)["contents"] if c["type"] == "prompt"]
    text: str = prompt["text"]
    return text


def test_every_field_of_one_picture_has_its_place() -> None:
    fields = {
        "model_name": "kling-v3",
        "image": "https://pictures.example/1.png",
        "image_tail": "iVBORw0KGgo=",
        "prompt": "<<<element_1>>> walks",
        "mode": "pro",
        "duration": "7",
        "sound": "on",
        "element_list": [{"element_id": 321922438904313}],
        "watermark_info": {"enabled": True},
        "callback_url": "https://me.example/hook",
        "external_task_id": "kmcp-1",
    }

    assert body(fields, V3) == {
        "contents": [
            {"type": "prompt", "text": "@element_1 walks"},
            {"type": "first_frame", "url": "https://pictures.example/1.png"},
            {"type": "last_frame", "url": "iVBORw0KGgo="},
            {"type": "element", "element_id": "321922438904313", "id": "element_1"},
        ],
        "settings": {
            "resolution": "1080p",
            "duration": 7,
            "audio": "native",
            "multi_shot": False,
        },
        "options": {
            "external_task_id": "kmcp-1",
            "callback_url": "https://me.example/hook",
            "watermark_info": {"enabled": True},
        },
    }


def test_pictures_of_a_list_are_references_with_names() -> None:
    fields = {
        "model_name": "kling-v3-omni",
        "prompt": "<<<image_1>>> meets <<< image_2 >>>",
        "image_list": [{"image_url": "https://a.example/1"}, {"image_url": "https://a.example/2"}],
        "aspect_ratio": "9:16",
        "duration": "5",
        "sound": "off",
    }

    sent = body(fields, V3)

    assert sent["contents"] == [
        {"type": "prompt", "text": "@image_1 meets @image_2"},
        {"type": "refer_image", "url": "https://a.example/1", "id": "image_1"},
        {"type": "refer_image", "url": "https://a.example/2", "id": "image_2"},
    ]
    assert sent["settings"]["aspect_ratio"] == "9:16"
    assert sent["settings"]["audio"] == "off"


def test_shots_become_the_text_of_the_prompt_and_a_semicolon_ends_none() -> None:
    fields = PLAIN | {"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS}

    sent = body(fields, V3)

    text = "shot 1, 3, A door opens, light; shot 2, 2, A cat walks in;"
    assert sent["contents"][0] == {"type": "prompt", "text": text}
    assert sent["settings"]["multi_shot"] is True


def test_shots_of_the_models_own_choice_keep_the_prompt() -> None:
    sent = body(PLAIN | {"multi_shot": True, "shot_type": "intelligence"}, V3)

    assert sent["contents"] == [{"type": "prompt", "text": "Zoom"}]
    assert sent["settings"]["multi_shot"] is True


def test_a_model_without_the_switch_is_not_sent_it() -> None:
    shots = {"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS}

    assert "multi_shot" not in body(PLAIN, TURBO)["settings"]
    assert "multi_shot" not in body(PLAIN | shots, TURBO)["settings"]
    assert body(PLAIN | shots, TURBO)["contents"][0]["text"].startswith("shot 1, 3, ")


def test_words_alone_stand_at_the_top_of_the_body() -> None:
    fields = PLAIN | {"aspect_ratio": "9:16", "mode": "std", "sound": "on", "external_task_id": "k"}

    assert create_body("new", "text2video", fields, TURBO) == {
        "prompt": "Zoom",
        "settings": {
            "resolution": "720p",
            "duration": 5,
            "audio": "native",
            "aspect_ratio": "9:16",
        },
        "options": {"external_task_id": "k"},
    }
    shots = {"multi_shot": True, "shot_type": "customize", "multi_prompt": SHOTS}
    cut = create_body("new", "text2video", fields | shots, V3)
    assert cut["prompt"] == "shot 1, 3, A door opens, light; shot 2, 2, A cat walks in;"
    assert cut["settings"]["multi_shot"] is True


def test_a_voice_is_named_in_the_prompt() -> None:
    fields = PLAIN | {
        "model_name": "kling-v2-6",
        "prompt": "<<<voice_1>>>: Hello",
        "voice_list": [{"voice_id": "829"}],
    }

    assert body(fields, WireRow(name="kling-2.6"))["contents"] == [
        {"type": "prompt", "text": "@voice_1: Hello"},
        {"type": "voice", "voice_id": "829", "id": "voice_1"},
    ]


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("a<<<element_1>>>b", "a @element_1 b"),
        ("<<<element_1>>>1", "@element_1 1"),
        ("<<<element_1>>>, go", "@element_1, go"),
        ("<<<element_2>>>", "<<<element_2>>>"),
        ("<<<element_0>>>", "<<<element_0>>>"),
        ("mail me@element_1.org: <<<element_1>>>", "mail me@element_1.org: @my_element_1"),
        ("@Element_12 <<<element_1>>>", "@Element_12 @my_element_1"),
    ],
)
def test_a_label_is_neither_a_part_of_a_word_nor_of_what_the_prompt_says(
    prompt: str, sent: str
) -> None:
    assert text_of({"prompt": prompt, "element_list": [{"element_id": 1}]}) == sent


@given(
    st.text(st.sampled_from("@<>my_imageelement_12 "), max_size=80),
    st.integers(0, 12),
    st.integers(0, 3),
)
def test_labels_are_unique_and_none_is_a_part_of_another_or_of_the_prompt(
    prompt: str, pictures: int, elements: int
) -> None:
    fields = PLAIN | {
        "prompt": prompt,
        "image_list": [{"image_url": "https://a.example"}] * pictures,
        "element_list": [{"element_id": 1}] * elements,
    }

    sent = body(fields, V3)

    labels = [content["id"] for content in sent["contents"] if "id" in content]
    assert len(set(labels)) == pictures + elements
    assert not [(a, b) for a in labels for b in labels if a != b and a in b]
    assert not [label for label in labels if f"@{label}" in prompt.lower()]
    tokens = list(re.finditer(r"<<<\s*(image|element)_(\d{1,3})\s*>>>", prompt))
    counts = {"image": pictures, "element": elements}
    meant = [m for m in tokens if 1 <= int(m[2]) <= counts[m[1]]]
    text = prompt_text(fields).lower()
    assert sum(text.count(f"@{label}") for label in labels) >= len(meant)


@pytest.mark.parametrize(
    "field", ["negative_prompt", "static_mask", "dynamic_masks", "camera_control", "cfg_scale"]
)
def test_a_field_without_a_place_is_never_left_out_in_silence(field: str) -> None:
    assert field in built_in_capabilities().wires["new"].lacks
    with pytest.raises(ValueError, match=field):
        body(PLAIN | {field: "x"}, V3)


def test_a_blank_cfg_scale_asks_for_nothing() -> None:
    assert body(PLAIN | {"cfg_scale": 0}, V3) == body(PLAIN, V3)


def test_the_model_is_in_the_path_of_the_new_standard_and_in_the_body_of_the_other() -> None:
    assert create_path("new", "/v1/videos", "image2video", "kling-3.0") == (
        "/image-to-video/kling-3.0"
    )
    assert create_path("new", "/v1/videos", "omni-video", "kling-o1") == "/omni-video/kling-o1"
    assert create_path("new", "/v1/videos", "text2video", "kling-3.0-turbo") == (
        "/text-to-video/kling-3.0-turbo"
    )
    assert create_path("legacy", "/kling/v1/videos", "omni-video", "x") == (
        "/kling/v1/videos/omni-video"
    )
    assert create_body("legacy", "image2video", PLAIN, V3) == PLAIN


def test_every_model_of_the_new_standard_has_a_name_there() -> None:
    table = built_in_capabilities()
    names = {
        name: table.on_wire(name, product, "new").name
        for name, model in table.models.items()
        for product, row in model.products.items()
        if "new" in row.wires
    }

    assert (
        names
        | {
            "kling-v3": "kling-3.0",
            "kling-v3-turbo": "kling-3.0-turbo",
            "kling-v2-6": "kling-2.6",
            "kling-v2-5-turbo": "kling-2.5-turbo",
            "kling-v3-omni": "kling-3.0-omni",
            "kling-video-o1": "kling-o1",
        }
        == names
    )
