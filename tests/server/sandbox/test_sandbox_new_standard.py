"""Kling's new standard: the model in the path, `contents[]`, and tasks of both standards by id."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, get_args

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_sandbox import SandboxConfig
from kling_sandbox.answers.refusals import Refusal, refused
from kling_sandbox.asset_presets import PRESETS
from kling_sandbox.new_models import NEW_MODELS, Material, NewProduct
from kling_sandbox.orders import Asset, Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.new_standard import new_standard

pytestmark = pytest.mark.anyio

URL = "https://example.com/cat.png"
CLIP = "https://example.com/walk.mp4"
PROMPT = {"type": "prompt", "text": "wind in the trees"}
FIRST = {"type": "first_frame", "url": URL}
LAST = {"type": "last_frame", "url": URL}
REFER = {"type": "refer_image", "url": URL}
FEATURE = {"type": "feature_video", "url": CLIP}
BASE = {"type": "base_video", "url": CLIP}
ROSA = {"type": "element", "element_id": "160", "id": "Rosa"}
OTTO = {"type": "element", "element_id": "161", "id": "Otto"}
SAILOR = {"type": "voice", "voice_id": "829836039416651003", "id": "sailor"}
WIDE = {"aspect_ratio": "16:9"}


def said(text: str) -> dict[str, Any]:
    return {"type": "prompt", "text": text}


async def post(caller: Any, path: str, body: Any) -> httpx.Response:
    answer: httpx.Response = await caller.http.post(path, json=body)
    return answer


async def made(caller: Any, path: str, *contents: Any, **body: Any) -> dict[str, Any]:
    """The receipt of a request that must be accepted."""
    answer = await post(caller, path, {"contents": list(contents), **body})
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def tasks(caller: Any, **asked: str) -> list[dict[str, Any]]:
    answer = await caller.http.get("/tasks", params=asked)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


@pytest.mark.campaign
async def test_a_video_is_made_of_a_picture_in_base64(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    frame = {"type": "first_frame", "url": caller.image}
    receipt = await made(
        caller,
        "/image-to-video/kling-3.0-turbo",
        PROMPT,
        frame,
        settings={"duration": 3},
        options={"external_task_id": "mine"},
    )
    assert (receipt["status"], receipt["external_id"]) == ("submitted", "mine")
    clock.now += 10
    (record,) = await tasks(caller, task_ids=receipt["id"])
    (output,) = record["outputs"]
    assert (record["status"], record["message"]) == ("succeeded", "")
    assert (output["type"], output["duration"]) == ("video", "3.041")
    assert record["billing"] == [{"charge_type": "unit", "amount": "2.4", "package_type": "video"}]
    assert (await caller.http.get(output["url"])).headers["content-type"] == "video/mp4"


ACCEPTED: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "3.0 with both frames": ("/image-to-video/kling-3.0", [PROMPT, FIRST, LAST], {}),
    "3.0 in 4k with sound": (
        "/image-to-video/kling-3.0",
        [PROMPT, FIRST],
        {"resolution": "4k", "audio": "native", "duration": 15, "multi_shot": False},
    ),
    "3.0 with elements": ("/image-to-video/kling-3.0", [PROMPT, FIRST, ROSA, OTTO], {}),
    "2.6 with a voice": (
        "/image-to-video/kling-2.6",
        [said("@sailor says: ahoy"), FIRST, SAILOR],
        {"audio": "native", "resolution": "1080p"},
    ),
    "2.5 turbo with both frames": (
        "/image-to-video/kling-2.5-turbo",
        [PROMPT, FIRST, LAST],
        {"resolution": "1080p", "audio": "a field that the model does not have"},
    ),
    "turbo without sound": ("/image-to-video/kling-3.0-turbo", [PROMPT, FIRST], {"audio": "off"}),
    "omni of words alone": ("/omni-video/kling-3.0-omni", [PROMPT], WIDE),
    "omni of seven": ("/omni-video/kling-3.0-omni", [PROMPT, *[REFER] * 5, ROSA, OTTO], WIDE),
    "omni with a reference video": (
        "/omni-video/kling-3.0-omni",
        [PROMPT, FEATURE, *[REFER] * 4],
        {"multi_shot": True},
    ),
    "omni that edits": ("/omni-video/kling-3.0-omni", [PROMPT, BASE], {"audio": "original"}),
    "o1 with a reference": ("/omni-video/kling-o1", [PROMPT, REFER], {**WIDE, "duration": 7}),
    "fields that nobody knows": (
        "/image-to-video/kling-3.0",
        [{**PROMPT, "seed": 7}, FIRST],
        {"cfg_scale": "x", "negative_prompt": 9},
    ),
}


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_it_takes(open_sandbox: Any, case: tuple[str, list[Any], dict[str, Any]]) -> None:
    path, contents, settings = case
    await made(await open_sandbox(), path, *contents, settings=settings)


I2V, OMNI = "/image-to-video/kling-3.0", "/omni-video/kling-3.0-omni"
SIZE = "contents[0].text: size must be between 0 and 3072"
SEVEN = "The number of images and elements exceeds the limit, max number is 7"
FOUR = SEVEN.replace("7", "4")
REFUSED: list[tuple[str, Any, dict[str, Any], str]] = [
    (I2V, None, {}, "contents cannot be empty"),
    (I2V, [], {"resolution": "9k"}, "contents cannot be empty"),
    (I2V, [said(" "), FIRST], {}, SIZE),
    (I2V, [said("p" * 3073), FIRST], {}, SIZE),
    (I2V, [said(" "), FIRST], {"duration": 99}, "duration value '99' is invalid"),
    (I2V, [PROMPT, FIRST], {"duration": "5"}, "duration value '5' is invalid"),
    (I2V, [PROMPT, FIRST], {"audio": "on", "duration": 1}, "audio value 'on' is invalid"),
    (I2V, [PROMPT, FIRST], {"audio": "on", "resolution": "8k"}, "video resolution value '8k'"),
    (I2V, [PROMPT, FIRST], {"multi_shot": "false"}, "multi_shot value 'false' is invalid"),
    (I2V, [PROMPT], {}, "image can not be null"),
    (I2V, [PROMPT, LAST], {}, "image_tail without image"),
    (I2V, [FIRST], {}, "prompt can not be null"),
    (I2V, [PROMPT, {"type": "first_frame"}], {}, "contents[1].url can not be null"),
    (I2V, [PROMPT, {"type": "face"}], {}, "contents[1].type value 'face' is invalid"),
    (I2V, [PROMPT, {**FIRST, "url": "data:image/png;base64,AA"}], {}, "not in a valid base64"),
    (I2V, [PROMPT, FIRST, {**ROSA, "element_id": 160}], {}, "element_id value '160' is invalid"),
    (I2V, [PROMPT, FIRST, {**ROSA, "id": None}], {}, "contents[2].id can not be null"),
    (I2V, [PROMPT, FIRST, {**ROSA, "element_id": "9"}], {}, "element not found by id: 9"),
    (I2V, [PROMPT, FIRST, ROSA, {**OTTO, "id": "Rosa2"}], {}, "must not be part of another id"),
    (I2V, [said("a@Rosa.com"), FIRST, ROSA], {}, "collides with other text"),
    (I2V, [PROMPT, FIRST, *[ROSA] * 4], {}, "must be unique"),
    (I2V, [PROMPT, FIRST, SAILOR], {}, "voice is not supported by the current model"),
    (I2V, [said("shot 1, 2, a; shot 2, 2, b;"), FIRST], {}, "sum of multi_prompt durations"),
    (I2V, [said("shot 1, 5, a; and then"), FIRST], {}, "storyboard in prompt is invalid"),
    (
        "/image-to-video/kling-3.0-turbo",
        [PROMPT, FIRST],
        {"resolution": "4k"},
        "video resolution value '4k' is invalid",
    ),
    ("/image-to-video/kling-3.0-turbo", [PROMPT, FIRST, LAST], {}, "last_frame is not supported"),
    ("/image-to-video/kling-2.6", [PROMPT, FIRST], {"audio": "native"}, "with resolution 1080p"),
    ("/image-to-video/kling-2.6", [PROMPT, FIRST, SAILOR], {}, "only supported when sound is on"),
    ("/image-to-video/kling-2.6", [PROMPT, FIRST, LAST], {}, "with resolution 1080p"),
    ("/image-to-video/kling-2.5-turbo", [PROMPT, FIRST], {"duration": 7}, "duration value '7'"),
    (OMNI, [PROMPT], {}, "aspect_ratio can not be null"),
    (OMNI, [PROMPT, *[REFER] * 8], WIDE, SEVEN),
    (OMNI, [PROMPT, FIRST, LAST, *[REFER] * 6], {}, SEVEN),
    (OMNI, [PROMPT, FEATURE, *[REFER] * 5], {}, FOUR),
    (OMNI, [PROMPT, FEATURE], {"audio": "native"}, "audio must be off with feature_video"),
    (OMNI, [PROMPT, FEATURE], {"multi_shot": False}, "multi_shot is not supported with false"),
    (OMNI, [PROMPT, BASE, FIRST], {}, "first_frame with base_video is not supported"),
    (OMNI, [PROMPT, BASE, FEATURE], {}, "The number of videos exceeds the limit"),
    (OMNI, [PROMPT, {**FEATURE, "url": "AAAA"}], {}, "contents[1].url value 'AAAA' is invalid"),
    ("/omni-video/kling-o1", [PROMPT, FIRST], {"duration": 7}, "Duration only supports 5 or 10"),
    ("/omni-video/kling-o1", [PROMPT, FIRST, LAST, REFER], {}, "max number is 2"),
    ("/omni-video/kling-o1", [PROMPT, REFER], {**WIDE, "audio": "native"}, "audio value 'native'"),
]


@pytest.mark.parametrize(("path", "contents", "settings", "text"), REFUSED)
async def test_it_refuses(
    open_sandbox: Any, path: str, contents: Any, settings: dict[str, Any], text: str
) -> None:
    caller = await open_sandbox()
    answer = await post(caller, path, {"contents": contents, "settings": settings})
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert text in answer.json()["message"]
    assert caller.store.counts().accepted == 0


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/image-to-video/kling-9", "The model 'kling-9' does not exist"),
        ("/image-to-video/kling-4.0", "The model 'kling-4.0' does not exist"),
        ("/image-to-video/kling-3.0-omni", "kling-3.0-omni is not supported for this API"),
    ],
)
async def test_a_path_without_that_model_is_not_there(
    open_sandbox: Any, path: str, text: str
) -> None:
    answer = await post(await open_sandbox(), path, {"contents": [PROMPT, FIRST]})
    assert (answer.status_code, answer.json()["code"]) == (404, 1203)
    assert answer.json()["message"] == text


async def test_words_alone_are_judged_in_kling_s_order(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    path = "/text-to-video/kling-3.0"
    faults: dict[str, Any] = {
        "aspect_ratio": "4:3",
        "resolution": "9k",
        "audio": "on",
        "duration": 99,
    }
    body: dict[str, Any] = {"prompt": " ", "settings": dict(faults)}
    texts = []
    for mended in ("aspect_ratio", "resolution", "audio", "prompt", "duration"):
        texts.append((await post(caller, path, body)).json()["message"])
        if mended == "prompt":
            body["prompt"] = "a fox"
        else:
            del body["settings"][mended]
    assert [text.split(" value")[0] for text in texts] == [
        "aspect_ratio",
        "video resolution",
        "audio",
        "prompt: size must be between 0 and 3072",
        "duration",
    ]
    assert (await post(caller, path, body)).status_code == 200


async def test_a_token_of_a_pair_is_refused_and_a_key_works_on_both(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    claims = {"iss": "sandbox-access", "exp": time.time() + 10**9, "nbf": 0}
    token = jwt.encode(claims, "sandbox-secret-0123456789abcdef0123456789abcdef")
    pair = {"Authorization": f"Bearer {token}"}
    for method, path in (("GET", "/tasks?task_ids=1"), ("POST", "/image-to-video/kling-3.0")):
        answer = await caller.http.request(method, path, headers=pair)
        assert (answer.status_code, answer.json()["code"]) == (401, 1002)
        assert "does not support AK/SK" in answer.json()["message"]
        assert "https://kling.ai/dev/api-key" in answer.json()["message"]
    assert (await caller.http.get("/v1/videos/image2video", headers=pair)).status_code == 200
    empty = await caller.http.get("/tasks", headers={"Authorization": ""})
    assert (empty.status_code, empty.json()["code"]) == (401, 1001)


async def test_tasks_of_both_standards_are_found_through_both(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    old = await caller.created(external_task_id="old", duration="3")
    new = await made(caller, I2V, PROMPT, FIRST, options={"external_task_id": "new"})
    clock.now += 10
    records = await tasks(caller, task_ids=f"{new['id']},{old['task_id']},17")
    assert [record["external_id"] for record in records] == ["new", "old"]
    assert {record["status"] for record in records} == {"succeeded"}
    assert [one["id"] for one in await tasks(caller, external_task_ids="old")] == [old["task_id"]]
    assert await tasks(caller, task_ids="old") == []
    legacy = (await caller.query(new["id"])).json()["data"]
    assert (legacy["task_status"], legacy["final_unit_deduction"]) == ("succeed", "3")
    assert legacy["task_info"] == {"external_task_id": "new"}


async def test_an_external_id_is_unique_over_both_standards(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    await caller.created(external_task_id="one")
    body = {"contents": [PROMPT, FIRST], "options": {"external_task_id": "one"}}
    answer = await post(caller, I2V, body)
    assert answer.json()["message"] == "External_task_id one already exists"
    await made(caller, I2V, PROMPT, FIRST, options={"external_task_id": "two"})
    again = await caller.create(external_task_id="two")
    assert again.json()["message"] == "External_task_id two already exists"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"task_ids": ",".join(map(str, range(21)))}, "cannot exceed 20 in total"),
        ({}, "exactly one is required"),
        ({"task_ids": "1", "external_task_ids": "2"}, "exactly one is required"),
    ],
)
async def test_a_query_names_up_to_twenty_ids_of_one_kind(
    open_sandbox: Any, asked: dict[str, str], text: str
) -> None:
    answer = await (await open_sandbox()).http.get("/tasks", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert text in answer.json()["message"]


async def test_a_cursor_leads_through_all_tasks_of_a_window(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    for number in range(5):
        await caller.created(external_task_id=str(number))
        clock.now += 10
    start = int((clock.now - 40) * 1000)
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 2, "start_time": str(start), "end_time": start + 39_999}
    while True:
        page = (await post(caller, "/tasks", asked)).json()["data"]
        seen += [record["external_id"] for record in page["result"]]
        assert page["count"] == len(page["result"]) <= 2
        if not page["has_more"]:
            break
        asked = {"limit": 2, "cursor": page["next_cursor"], "start_time": 1}
    assert seen == ["4", "3", "2", "1"]


async def test_a_page_can_be_filtered(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox("task-fails:1")
    for number in range(2):
        await caller.created(external_task_id=str(number))
    clock.now += 60

    async def found(*filters: dict[str, Any]) -> list[str]:
        answer = await post(caller, "/tasks", {"filters": list(filters)})
        assert answer.status_code == 200, answer.text
        return [record["external_id"] for record in answer.json()["data"]["result"]]

    assert await found({"key": "status", "values": ["succeeded"]}) == ["1"]
    assert await found({"key": "status", "values": ["failed", "submitted"]}) == ["0"]
    assert await found({"key": "product_type", "values": ["video"]}) == ["1", "0"]
    assert await found({"key": "product_type", "values": ["image"]}) == []
    for bad in ({"limit": 501}, {"cursor": "x"}, {"start_time": "soon"}, {"filters": [{}]}):
        assert (await post(caller, "/tasks", bad)).json()["code"] == 1201


@pytest.mark.parametrize(
    ("path", "prompt", "settings", "shots"),
    [
        (I2V, "wind", {"duration": 9}, [3, 3, 3]),
        (I2V, "wind", {"duration": 9, "multi_shot": False}, []),
        (I2V, "shot 1, 2, a door; Shot 2, 3, a street", {}, [2, 3]),
        (I2V, "shot 1, 2, a door; shot 2, 3, a street;", {"multi_shot": False}, []),
        ("/image-to-video/kling-3.0-turbo", "shot 1, 1, a; shot 2, 4, b;", {}, [1, 4]),
        ("/image-to-video/kling-3.0-turbo", "wind", {"duration": 9}, []),
        ("/image-to-video/kling-2.6", "shot 1, 2, a; shot 2, 3, b;", {}, []),
    ],
)
async def test_shots_stand_in_the_prompt(
    open_sandbox: Any, path: str, prompt: str, settings: dict[str, Any], shots: list[int]
) -> None:
    caller = await open_sandbox()
    receipt = await made(caller, path, said(prompt), FIRST, settings=settings)
    task = caller.store.find(receipt["id"])
    assert list(task.order.shots) == shots


PRICES: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("/image-to-video/kling-3.0-turbo", [FIRST], {"audio": "off"}, "4"),
    ("/image-to-video/kling-3.0-turbo", [FIRST], {"resolution": "1080p"}, "5"),
    (I2V, [FIRST], {"audio": "native", "resolution": "1080p"}, "6"),
    (OMNI, [REFER], WIDE, "3"),
    (OMNI, [REFER], {**WIDE, "audio": "native"}, "4"),
    (OMNI, [FIRST], {"duration": 3}, "1.8"),
    (OMNI, [FEATURE], {}, "4.5"),
    ("/omni-video/kling-o1", [BASE], {"audio": "original", "resolution": "1080p"}, "6"),
    (
        "/image-to-video/kling-2.6",
        [FIRST, SAILOR],
        {"audio": "native", "resolution": "1080p"},
        "6",
    ),
]


@pytest.mark.parametrize(("path", "contents", "settings", "units"), PRICES)
async def test_a_record_says_what_the_task_cost(
    open_sandbox: Any,
    clock: Any,
    path: str,
    contents: list[Any],
    settings: dict[str, Any],
    units: str,
) -> None:
    caller = await open_sandbox()
    receipt = await made(caller, path, PROMPT, *contents, settings=settings)
    (running,) = await tasks(caller, task_ids=receipt["id"])
    clock.now += 10
    (record,) = await tasks(caller, task_ids=receipt["id"])
    assert running["billing"] == []
    assert record["billing"][0]["amount"] == units


async def test_a_failed_task_says_why_and_costs_nothing(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox("task-fails")
    receipt = await made(caller, I2V, PROMPT, FIRST)
    clock.now += 10
    (record,) = await tasks(caller, task_ids=receipt["id"])
    assert (record["status"], record["outputs"], record["billing"]) == ("failed", [], [])
    assert record["message"] == "Failure to pass the risk control system"


async def test_4_0_is_there_when_it_is_turned_on_and_takes_no_id_of_ours(
    open_sandbox: Any,
) -> None:
    caller = await open_sandbox(preview=True)
    path = "/image-to-video/kling-4.0"
    middle = {"type": "middle_frame", "url": URL}
    settings = {"resolution": "1080p", "duration": 30}
    await made(caller, path, PROMPT, FIRST, *[middle] * 8, LAST, settings=settings)
    for name in ("external_task_id", "callback_url"):
        body = {"contents": [PROMPT, FIRST], "settings": settings, "options": {name: "x"}}
        text = (await post(caller, path, body)).json()["message"]
        assert text == f"{name} is not supported for Kling 4.0"
    for missing in settings:
        body = {
            "contents": [PROMPT, FIRST],
            "settings": {name: value for name, value in settings.items() if name != missing},
        }
        assert (await post(caller, path, body)).json()["code"] == 1201
    refer = {"contents": [PROMPT, *[REFER] * 10, SAILOR], "settings": settings}
    assert (await post(caller, "/omni-video/kling-4.0", refer)).status_code == 200
    assert (
        "voice is not supported"
        in (await post(caller, "/omni-video/kling-4.0-flash", refer | {"settings": {}})).json()[
            "message"
        ]
    )
    flash = {"resolution": "1080p", "duration": 5}
    answer = await post(caller, f"{path}-flash", {"contents": [PROMPT, FIRST], "settings": flash})
    assert answer.json()["message"] == "video resolution value '1080p' is invalid"


async def test_faults_strike_the_new_standard_too(open_sandbox: Any) -> None:
    caller = await open_sandbox("rate-limit:1", "internal@queries:1", "no-id:1", "html-502:1")
    body = {"contents": [PROMPT, FIRST]}
    answers = [await post(caller, I2V, body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 502, 200]
    assert "id" not in answers[2].json()["data"]
    query = await caller.http.get("/tasks", params={"task_ids": "1"})
    assert (query.status_code, query.json()["code"]) == (500, 5000)


async def test_a_lost_answer_of_the_new_standard_leaves_a_task(open_sandbox: Any) -> None:
    caller = await open_sandbox("html-502-after-accept")
    body = {"contents": [PROMPT, FIRST], "options": {"external_task_id": "lost"}}
    assert (await post(caller, I2V, body)).status_code == 502
    assert len(await tasks(caller, external_task_ids="lost")) == 1


async def test_a_body_that_is_no_object_is_refused(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    for body in ("[]", "{", '{"contents": [7]}', '{"contents": 7}'):
        answer = await caller.http.post(I2V, content=body)
        assert answer.json()["code"] in (1200, 1201), body
    answer = await caller.http.post("/tasks", content=json.dumps([]))
    assert answer.json()["code"] == 1200


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 99),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["\ud800", "16:9", "1080p", "4k", "off", "native", "original", URL, "160"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["a", "enabled"]), st.integers(), max_size=2),
)
CONTENT = st.one_of(
    st.sampled_from([PROMPT, FIRST, LAST, REFER, FEATURE, BASE, ROSA, OTTO, SAILOR]),
    st.sampled_from([said("shot 1, 2, a; shot 2, 3, b;"), said("shot 1, 999, a"), said("@Rosa")]),
    st.builds(
        lambda kind, rest: {"type": kind, **rest},
        st.sampled_from([*get_args(Material), "face", None]),
        st.dictionaries(
            st.sampled_from(["url", "text", "id", "element_id", "voice_id"]), ODD, max_size=3
        ),
    ),
    ODD,
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "resolution": st.sampled_from(["720p", "1080p", "4k"]) | ODD,
        "aspect_ratio": st.sampled_from(["16:9", "21:9"]) | ODD,
        "duration": st.integers(3, 15) | ODD,
        "audio": st.sampled_from(["off", "native", "original"]) | ODD,
        "multi_shot": st.booleans() | ODD,
    },
)
OPTIONS = st.dictionaries(
    st.sampled_from(["external_task_id", "callback_url", "watermark_info"]), ODD, max_size=2
)


def find(kind: Any, asset_id: str) -> Asset:
    if asset_id not in PRESETS[kind]:
        raise refused("asset_unknown", kind=kind, asset_id=asset_id)
    return PRESETS[kind][asset_id]


@given(
    product=st.sampled_from(get_args(NewProduct)),
    model=st.sampled_from([*NEW_MODELS, "kling-9"]),
    good=st.booleans(),
    contents=st.lists(CONTENT, max_size=6) | ODD,
    settings=SETTINGS | ODD,
    options=OPTIONS | ODD,
    prompt=ODD,
)
def test_every_body_becomes_an_order_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory,
    product: Any,
    model: str,
    good: bool,
    contents: Any,
    settings: Any,
    options: Any,
    prompt: Any,
) -> None:
    home = Path(tmp_path_factory.getbasetemp()) / "pictures"
    if good and isinstance(contents, list):
        contents = [PROMPT, FIRST, *contents]
        prompt = "wind"
    body = {"contents": contents, "settings": settings, "options": options, "prompt": prompt}
    config = SandboxConfig(home=home, preview=True)
    try:
        order = new_standard(product, model, body, PictureFiles(home), config, find)
    except Refusal as refusal:
        assert refusal.message.encode("utf-8")  # noqa: PT017
    else:
        assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order
        assert order.units > 0
        assert sum(order.shots) in (0, order.duration)
        assert order.short_side > 0
