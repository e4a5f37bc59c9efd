"""What the sandbox takes and refuses, each refusal with Kling's text where it is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_sandbox import SandboxConfig
from kling_sandbox.answers.refusals import Refusal
from kling_sandbox.orders import Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules import PRODUCTS, judge

pytestmark = pytest.mark.anyio

TURBO = {"model_name": "kling-v2-5-turbo"}
V26 = {"model_name": "kling-v2-6", "mode": "pro"}
V15 = {"model_name": "kling-v1-5", "mode": "pro"}
SHOTS = {"multi_shot": True, "shot_type": "customize"}
TWO_SHOTS = [
    {"index": 1, "prompt": "a door", "duration": "2"},
    {"index": 2, "prompt": "a street", "duration": "3"},
]
SIMPLE = {"type": "simple", "config": {"zoom": 5, "pan": 0}}
POINTS = [{"x": 1, "y": 2}, {"x": 3, "y": 4}]
URL = "https://example.com/cat.png"
VOICE = "829836039416651003"


def voice(**fields: Any) -> dict[str, Any]:
    spoken = {"sound": "on", "prompt": "he<<<voice_1>>> says: hello"}
    return V26 | spoken | {"voice_list": [{"voice_id": VOICE}]} | fields


ACCEPTED: dict[str, dict[str, Any]] = {
    "v3 in 4k for 15 s": {"mode": "4k", "duration": "15"},
    "v3 with an end frame, sound and cfg_scale": {"image_tail": URL, "sound": "on", "cfg_scale": 1},
    "turbo pro with an end frame": TURBO | {"mode": "pro", "duration": "10", "image_tail": URL},
    "v2-6 std without sound": {"model_name": "kling-v2-6", "mode": "std"},
    "v2-6 with a voice": voice(),
    "a master without mode": {"model_name": "kling-v2-master"},
    "v1-5 with the end frame alone": V15 | {"image": None, "image_tail": URL},
    "v1-5 with a simple camera": V15 | {"camera_control": SIMPLE},
    "v1-5 with a brush": V15
    | {"dynamic_masks": [{"mask": URL, "trajectories": POINTS}], "static_mask": URL},
    "three elements": {"element_list": [{"element_id": n} for n in (160, 161, 162)]},
    "two shots of the caller's": SHOTS | {"multi_prompt": TWO_SHOTS, "prompt": None},
    "shots left to the model": {"multi_shot": True, "shot_type": "intelligence"},
    "shots and an end frame": SHOTS | {"multi_prompt": TWO_SHOTS, "image_tail": URL},
    "empty shots without multi_shot": {"multi_shot": False, "multi_prompt": [], "shot_type": ""},
    "fields that nobody knows": {"image_url": 7, "aspect_ratio": "weird", "seed": None},
    "prompts as long as they may be": {"prompt": "p" * 2500, "negative_prompt": "n" * 2500},
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_image2video_takes(open_sandbox: Any, fields: dict[str, Any]) -> None:
    await (await open_sandbox()).created(**fields)


LIVE = "model/mode/duration(kling-v2-5-turbo/std/5) is not supported with image_tail"
CAMERA = "camera_control is only supported in std mode with 5s duration and kling-v1"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_name": "kling-v3-0"}, "model_name value 'kling-v3-0' is invalid"),
    ({"model_name": "kling-v3-omni"}, "model is not supported"),
    ({"model_name": ["kling-v3"]}, "model_name value '['kling-v3']' is invalid"),
    ({"duration": 5}, "duration value '5' is invalid"),
    ({"duration": "99"}, "duration value '99' is invalid"),
    ({"duration": "05"}, "duration value '05' is invalid"),
    ({"duration": "5.0"}, "duration value '5.0' is invalid"),
    (V26 | {"duration": "4"}, "duration value '4' is invalid"),
    (TURBO | {"mode": "4k"}, "mode value '4k' is invalid"),
    ({"model_name": "kling-v2-master", "mode": "std"}, "mode value 'std' is invalid"),
    ({"mode": "standard"}, "mode value 'standard' is invalid"),
    ({"image": None}, "image can not be null"),
    ({"image": ""}, "image can not be null"),
    ({"image": None, "image_tail": URL}, "image_tail without image is not supported by the"),
    ({"prompt": None}, "prompt can not be null"),
    ({"prompt": " "}, "prompt can not be null"),
    ({"prompt": 5}, "prompt value '5' is invalid"),
    ({"prompt": "p" * 2501}, "The length of prompt cannot exceed 2500"),
    ({"prompt": "A" * 40_000}, "The length of prompt cannot exceed 2500"),
    ({"negative_prompt": "n" * 2501}, "The length of negative_prompt cannot exceed 2500"),
    ({"external_task_id": "\ud800"}, "external_task_id value"),
    ({"cfg_scale": 1.1}, "cfg_scale value '1.1' is invalid"),
    ({"cfg_scale": "0.5"}, "cfg_scale value '0.5' is invalid"),
    (V26 | {"cfg_scale": 0.5}, "cfg_scale is not supported by the current model"),
    (TURBO | {"sound": "on"}, "sound is not supported by the current model"),
    ({"model_name": "kling-v2-6", "sound": "on"}, "sound is not supported by the current model"),
    ({"sound": True}, "sound value 'True' is invalid"),
    (TURBO | {"image_tail": URL}, LIVE),
    ({"model_name": "kling-v2-master", "image_tail": URL}, "Image tail is not supported by the"),
    (V26 | {"sound": "on", "image_tail": URL}, "sound on is not supported with image_tail"),
    (V15 | {"image_tail": URL, "camera_control": SIMPLE}, "cannot be combined"),
    ({"image_tail": URL, "static_mask": URL}, "cannot be combined"),
    ({"camera_control": SIMPLE}, CAMERA),
    (V15 | {"duration": "10", "camera_control": SIMPLE}, CAMERA),
    (V15 | {"camera_control": {"type": "down_back"}}, CAMERA),
    (V15 | {"camera_control": {"type": "spin"}}, "camera_control.type value 'spin' is invalid"),
    (V15 | {"camera_control": {"config": {}}}, "camera_control.type value 'None' is invalid"),
    (V15 | {"camera_control": {"type": "simple"}}, "must have exactly one non-zero value"),
    (
        V15 | {"camera_control": {"type": "simple", "config": {"pan": 1, "roll": 1}}},
        "must have exactly one non-zero value",
    ),
    (
        V15 | {"camera_control": {"type": "simple", "config": {"pan": 11}}},
        "camera_control.config.pan value '11' is invalid",
    ),
    (
        {"model_name": "kling-v1-6", "mode": "pro", "static_mask": URL},
        "kling-v1-6 is not supported with motion brush",
    ),
    (
        V15 | {"dynamic_masks": [{"mask": URL, "trajectories": POINTS}] * 7},
        "The size of dynamic_masks must be between 1 and 6",
    ),
    (
        V15 | {"dynamic_masks": [{"mask": URL, "trajectories": POINTS * 39}]},
        "The size of dynamic_masks.trajectories must be between 2 and 77",
    ),
    (V15 | {"dynamic_masks": [{"mask": URL}]}, "The size of trajectories must be between 2 and 77"),
    (
        V15 | {"dynamic_masks": [{"mask": URL, "trajectories": [*POINTS, {"x": 1.5, "y": 1}]}]},
        "dynamic_masks.trajectories.x value '1.5' is invalid",
    ),
    (V15 | {"dynamic_masks": [{"trajectories": POINTS}]}, "dynamic_masks.mask value 'None'"),
    ({"element_list": [{"element_id": n} for n in range(1, 5)]}, "between 1 and 3"),
    ({"element_list": [{"element_id": "160"}]}, "element_list.element_id value '160' is invalid"),
    (TURBO | {"element_list": [{"element_id": 1}]}, "element_list is not supported"),
    ({"voice_list": [{"voice_id": "v"}], "sound": "on"}, "voice_list is not supported"),
    (voice(sound="off"), "voice_list is only supported when sound is on"),
    (voice(prompt="hello"), "voice_list is not referenced in prompt"),
    (voice(prompt="<<<voice_2>>> hello"), "prompt value"),
    (voice(voice_list=[{"voice_id": "v"}] * 3), "The size of voice_list must be between 1 and 2"),
    ({"element_list": [{"element_id": 2**63}]}, "element_list.element_id value"),
    (SHOTS | {"multi_prompt": [TWO_SHOTS[0] | {"prompt": " "}]}, "multi_prompt.prompt value"),
    (voice(voice_list=[{}]), "voice_list.voice_id value 'None' is invalid"),
    (voice(element_list=[{"element_id": 1}]), "element_list and voice_list cannot be used"),
    ({"multi_shot": "true"}, "multi_shot value 'true' is invalid"),
    ({"multi_prompt": TWO_SHOTS}, "multi_prompt is only supported when multi_shot is true"),
    ({"shot_type": "customize"}, "shot_type is only supported when multi_shot is true"),
    ({"multi_shot": True}, "shot_type value 'None' is invalid"),
    (TURBO | SHOTS | {"multi_prompt": TWO_SHOTS}, "multi_shot is not supported by the current"),
    (SHOTS, "The size of multi_prompt must be between 1 and 6"),
    (SHOTS | {"multi_prompt": TWO_SHOTS * 4}, "The size of multi_prompt must be between 1 and 6"),
    (SHOTS | {"multi_prompt": TWO_SHOTS[::-1]}, "multi_prompt index must start from 1"),
    (SHOTS | {"multi_prompt": TWO_SHOTS, "duration": "6"}, "The sum of multi_prompt durations"),
    (SHOTS | {"multi_prompt": [TWO_SHOTS[0] | {"duration": 5}]}, "multi_prompt.duration value '5'"),
    (SHOTS | {"multi_prompt": [TWO_SHOTS[0] | {"duration": "0"}]}, "multi_prompt.duration value"),
    (SHOTS | {"multi_prompt": [TWO_SHOTS[0] | {"prompt": "p" * 513}]}, "cannot exceed 512"),
    ({"watermark_info": True}, "watermark_info value 'True' is invalid"),
    ({"watermark_info": {"enabled": "true"}}, "watermark_info.enabled value 'true' is invalid"),
]


@pytest.mark.parametrize(("fields", "text"), REFUSED)
async def test_image2video_refuses(open_sandbox: Any, fields: dict[str, Any], text: str) -> None:
    caller = await open_sandbox()
    answer = await caller.create(**fields)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (400, 1201)
    assert text in body["message"]
    assert body["request_id"]
    assert "data" not in body
    assert caller.store.counts().accepted == 0


BAD_PICTURES = [
    ((400, 300, "BMP"), "Image format is not supported"),
    ((400, 300, "WEBP"), "Image format is not supported"),
    ((299, 400, "PNG"), "Image pixel is invalid"),
    ((400, 299, "JPEG"), "Image pixel is invalid"),
    ((751, 300, "PNG"), "The resolution or aspect ratio of the input image is invalid."),
    ((300, 751, "JPEG"), "The resolution or aspect ratio of the input image is invalid."),
]


@pytest.mark.parametrize(("shape", "text"), BAD_PICTURES)
@pytest.mark.parametrize("field", ["image", "image_tail"])
async def test_a_bad_picture_is_refused_at_once(
    open_sandbox: Any, encode: Any, field: str, shape: Any, text: str
) -> None:
    caller = await open_sandbox()
    answer = await caller.create(**{field: encode(*shape)})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(text)


@pytest.mark.parametrize("shape", [(750, 300, "PNG"), (300, 750, "JPEG"), (300, 300, "JPEG")])
async def test_a_picture_at_the_limit_is_taken(open_sandbox: Any, encode: Any, shape: Any) -> None:
    await (await open_sandbox()).created(image=encode(*shape))


@pytest.mark.parametrize("cut", [0.2, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
async def test_half_a_picture_is_refused(
    open_sandbox: Any, encode: Any, kind: str, cut: float
) -> None:
    whole = encode(400, 300, kind)
    half = whole[: int(len(whole) * cut) // 4 * 4]
    answer = await (await open_sandbox()).create(image=half)
    assert answer.json()["message"] == "Image format is not supported"


@pytest.mark.parametrize(
    "image", ["data:image/png;base64,{image}", "not base64!", "QUJ", "{image}\n", "é{image}"]
)
async def test_what_is_not_raw_base64_is_refused(open_sandbox: Any, image: str) -> None:
    caller = await open_sandbox()
    answer = await caller.create(image=image.format(image=caller.image))
    assert answer.json()["message"] == "File is not in a valid base64 format"


async def test_a_data_uri_of_megabytes_is_refused_alike(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    answer = await caller.create(image="data:image/png;base64," + "A" * 6_000_000)
    assert answer.json()["message"] == "File is not in a valid base64 format"


async def test_a_picture_over_ten_megabytes_is_refused(open_sandbox: Any) -> None:
    answer = await (await open_sandbox()).create(image="A" * (10 * 1024 * 1024 // 3 * 4 + 4))
    assert answer.json()["message"] == "The size of image cannot exceed 10MB"


@pytest.mark.parametrize("mask", [(300, 400), (800, 600)])
async def test_masks_that_do_not_fit_fail_the_task(
    open_sandbox: Any, clock: Any, encode: Any, mask: tuple[int, int]
) -> None:
    caller = await open_sandbox()
    other = {"mask": encode(400, 300), "trajectories": POINTS}
    task = await caller.created(**V15, static_mask=encode(*mask), dynamic_masks=[other])
    clock.now += 10
    task = await caller.task(task["task_id"])
    assert task["task_status"] == "failed"
    assert task["task_status_msg"].startswith("The resolution or aspect ratio of the input image")


async def test_masks_of_the_image_s_shape_and_one_size_succeed(
    open_sandbox: Any, clock: Any, encode: Any
) -> None:
    caller = await open_sandbox()
    groups = [{"mask": encode(800, 600, "JPEG"), "trajectories": POINTS}]
    task = await caller.created(**V15, static_mask=encode(800, 600), dynamic_masks=groups)
    clock.now += 10
    assert (await caller.task(task["task_id"]))["task_status"] == "succeed"


async def test_a_preset_camera_takes_no_config(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    camera = {"type": "down_back", "config": {"pan": 1}}
    answer = await caller.create(model_name="kling-v1", camera_control=camera)
    assert answer.json()["message"] == "camera_control.config value '{'pan': 1}' is invalid"


async def test_a_discontinued_model_is_taken_where_a_gateway_still_serves_it(
    open_sandbox: Any,
) -> None:
    caller = await open_sandbox()
    await caller.created(model_name=None, camera_control={"type": "down_back", "config": {}})


RETIRED = [
    ("image2video", "kling-v1"),
    ("image2video", "kling-v1-5"),
    ("image2video", "kling-v1-6"),
    ("image2video", "kling-v2-master"),
    ("image2video", "kling-v2-1"),
    ("image2video", "kling-v2-1-master"),
    ("multi-image2video", "kling-v1-6"),
]


@pytest.mark.parametrize(("product", "model"), RETIRED)
async def test_a_retired_model_is_not_there_at_kling_but_at_a_gateway(
    open_sandbox: Any, product: str, model: str
) -> None:
    caller = await open_sandbox(serve_retired=False)
    answer = await caller.create(product, model_name=model)
    assert (answer.status_code, answer.json()["code"]) == (404, 1203)
    assert answer.json()["message"] == (
        f"The model '{model}' has been discontinued and is no longer available."
    )
    served = await caller.at("cometapi").create(product, model_name=model)
    assert served.status_code == (404 if model == "kling-v1" else 200)


async def test_without_a_model_the_retired_first_one_is_meant(open_sandbox: Any) -> None:
    answer = await (await open_sandbox(serve_retired=False)).create(model_name=None)
    assert answer.json()["message"].startswith("The model 'kling-v1' has been discontinued")


@pytest.mark.parametrize(
    ("product", "model", "code", "text"),
    [
        ("image2video", "kling-v3-turbo", 1203, "not supported for this API"),
        ("image2video", "kling-video-o1", 1203, "not supported for this API"),
        ("omni-video", "kling-v3-turbo", 1203, "not supported for this API"),
        ("image2video", "kling-v3-omni", 1201, "model is not supported"),
    ],
)
async def test_a_model_of_another_endpoint_is_refused_as_measured(
    open_sandbox: Any, product: str, model: str, code: int, text: str
) -> None:
    answer = await (await open_sandbox(serve_retired=False)).create(product, model_name=model)
    assert answer.json()["code"] == code
    assert text in answer.json()["message"]


MULTI_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_name": "kling-v3"}, "model_name value 'kling-v3' is invalid"),
    ({"image_list": None}, "image can not be null"),
    ({"image_list": [{"image": URL}] * 5}, "The size of image_list must be between 1 and 4"),
    ({"image_list": [{"image_url": URL}]}, "image can not be null"),
    ({"image_list": [URL]}, "image_list value"),
    ({"prompt": ""}, "prompt can not be null"),
    ({"aspect_ratio": "4:3"}, "aspect_ratio value '4:3' is invalid"),
    ({"duration": "6"}, "duration value '6' is invalid"),
    ({"mode": "4k"}, "mode value '4k' is invalid"),
]


@pytest.mark.parametrize(("fields", "text"), MULTI_REFUSED)
async def test_multi_image_refuses(open_sandbox: Any, fields: dict[str, Any], text: str) -> None:
    answer = await (await open_sandbox()).create("multi-image2video", **fields)
    assert answer.status_code == 400
    assert text in answer.json()["message"]


O1 = {"model_name": "kling-video-o1"}
FREE = {"image_list": None, "prompt": "a storm"}
FRAMES = [{"image_url": URL, "type": "first_frame"}, {"image_url": URL, "type": "end_frame"}]
VIDEO = {"video_url": "https://example.com/walk.mp4", "refer_type": "feature"}
BASE = VIDEO | {"refer_type": "base"}
OMNI_ACCEPTED: list[dict[str, Any]] = [
    {"duration": "15", "mode": "4k", "sound": "on"},
    {"image_list": [{"image_url": URL}] * 7, "prompt": "<<<image_7>>>", "aspect_ratio": "9:16"},
    {"image_list": FRAMES, "prompt": "from <<<image_1>>> to <<<image_2>>>"},
    O1 | FREE | {"duration": "10"},
    O1 | {"duration": "7"},
    {"model_name": None},
    {"element_list": [{"element_id": 160}], "prompt": "<<<element_1>>> in <<<image_1>>>"},
    {"video_list": [VIDEO], "prompt": "as in <<<video_1>>>"},
    SHOTS | {"multi_prompt": TWO_SHOTS, "prompt": None},
]
OMNI_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_name": "kling-v3"}, "model_name value 'kling-v3' is invalid"),
    (O1 | FREE | {"duration": "7"}, "Duration only supports 5 or 10 seconds when no refer_image"),
    (O1 | {"duration": "11"}, "duration value '11' is invalid"),
    ({"element_list": [{"element_id": 160}] * 7}, "elements exceeds the limit, max number is 7"),
    ({"element_list": [{"element_id": 9}]}, "element not found by id: 9"),
    ({"prompt": "<<<element_1>>>"}, "<<<element_1>>> in prompt does not match"),
    ({"video_list": [VIDEO], "sound": "on"}, "sound on is not supported with video input"),
    ({"video_list": [{"video_url": "AAAA"}]}, "video_list.video_url value 'AAAA' is invalid"),
    ({"video_list": [VIDEO, VIDEO]}, "The size of video_list must be between 1 and 1"),
    (
        {"video_list": [BASE], "image_list": FRAMES[:1]},
        "first_frame with base video is not supported",
    ),
    (O1 | {"sound": "on"}, "sound is not supported by the current model"),
    (O1 | {"mode": "4k"}, "mode value '4k' is invalid"),
    ({"image_list": [{"image_url": URL}] * 8}, "The size of image_list must be between 1 and 7"),
    ({"prompt": "<<<image_2>>>"}, "<<<image_2>>> in prompt does not match image_list"),
    ({"image_list": FRAMES[1:]}, "image_tail without image"),
    ({"image_list": FRAMES[:1] * 2}, "image_list value"),
    ({"image_list": [{"image_url": URL, "type": "middle"}]}, "image_list.type value 'middle'"),
    ({"image_list": [{"image": URL}]}, "image can not be null"),
]


@pytest.mark.parametrize("fields", OMNI_ACCEPTED)
async def test_omni_takes(open_sandbox: Any, fields: dict[str, Any]) -> None:
    await (await open_sandbox()).created("omni-video", **fields)


@pytest.mark.parametrize(("fields", "text"), OMNI_REFUSED)
async def test_omni_refuses(open_sandbox: Any, fields: dict[str, Any], text: str) -> None:
    answer = await (await open_sandbox()).create("omni-video", **fields)
    assert answer.status_code == 400
    assert text in answer.json()["message"]


UNITS: list[tuple[str, dict[str, Any], str]] = [
    ("image2video", {"mode": "4k", "duration": "15", "sound": "on"}, "45"),
    ("image2video", TURBO, "1.5"),
    ("image2video", voice(duration="10"), "12"),
    ("image2video", V26 | {"sound": "on"}, "5"),
    ("image2video", {"model_name": "kling-v2-master"}, "10"),
    ("image2video", V15, "3.5"),
    ("multi-image2video", {"duration": "10"}, "4"),
    ("omni-video", {"duration": "3", "sound": "on"}, "2.4"),
    ("omni-video", O1 | {"mode": "pro"}, "4"),
    ("omni-video", {"video_list": [BASE], "mode": "pro", "duration": "9"}, "6"),
    ("omni-video", {"video_list": [VIDEO], "duration": "7"}, "6.3"),
    ("omni-video", {"video_list": [VIDEO], "duration": "7", "mode": "4k"}, "21"),
]


@pytest.mark.parametrize(("product", "fields", "units"), UNITS)
async def test_a_finished_task_says_what_it_cost(
    open_sandbox: Any, clock: Any, product: str, fields: dict[str, Any], units: str
) -> None:
    caller = await open_sandbox()
    created = await caller.created(product, **fields)
    clock.now += 10
    assert (await caller.task(created["task_id"]))["final_unit_deduction"] == units


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["std", "pro", "on", "5", URL, "kling-v1-5", "simple", "customize", "1:1"]),
    st.lists(st.integers() | st.text(max_size=3), max_size=3),
    st.lists(
        st.dictionaries(
            st.sampled_from(["image", "image_url", "type", "index", "prompt", "duration", "mask"])
            | st.sampled_from(["trajectories", "element_id", "voice_id"]),
            st.integers() | st.sampled_from([URL, "x", "2"]) | st.none(),
            max_size=3,
        ),
        max_size=3,
    ),
    st.dictionaries(st.sampled_from(["type", "config", "enabled", "pan"]), st.text(max_size=3)),
)
NAMES = (
    *("model_name", "image", "image_tail", "prompt", "negative_prompt", "multi_shot", "shot_type"),
    *("multi_prompt", "element_list", "voice_list", "sound", "cfg_scale", "mode", "duration"),
    *("static_mask", "dynamic_masks", "camera_control", "watermark_info", "callback_url"),
    *("external_task_id", "image_list", "aspect_ratio"),
)
GOOD = st.sampled_from(
    [
        {"model_name": "kling-v3", "image": URL, "prompt": "wind"},
        V15 | {"image": URL, "prompt": "wind"},
        {"image_list": [{"image": URL}], "prompt": "wind"},
        {"image_list": [{"image_url": URL}], "prompt": "wind"},
    ]
)


@settings(max_examples=settings.default.max_examples * 5 // 2, deadline=None)
@given(
    product=st.sampled_from(list(PRODUCTS)),
    good=GOOD,
    odd=st.dictionaries(st.sampled_from(NAMES), ODD, max_size=4),
)
def test_every_body_becomes_an_order_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, product: Any, good: Any, odd: Any
) -> None:
    home = Path(tmp_path_factory.getbasetemp()) / "pictures"
    try:
        order = judge(product, good | odd, PictureFiles(home), SandboxConfig(home=home))
    except Refusal as refusal:
        assert refusal.message.encode("utf-8")  # noqa: PT017
    else:
        assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order
        assert order.units > 0
        assert sum(order.shots) in (0, order.duration)
