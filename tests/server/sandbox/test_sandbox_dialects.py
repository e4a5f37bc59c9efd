"""The gateways that the sandbox plays: what each routes, gives out, drops and answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_sandbox.answers.refusals import Refusal
from kling_sandbox.gateways import GATEWAYS, OFFICIAL, Dialect, forwarded_body
from kling_sandbox.orders import SHORT_SIDE_PX

pytestmark = pytest.mark.anyio

NAMES = [gateway.name for gateway in GATEWAYS]
WRAPPERS = ["anyfast", "newapi", "newapi-old"]
RECEIPT = {"id", "task_id", "object", "model", "status", "progress", "created_at"}
WRAPPED = {"task_id", "action", "status", "fail_reason", "submit_time", "start_time"} | {
    *("finish_time", "progress", "data")
}
ROW = {"id", "created_at", "updated_at", "platform", "user_id", "group", "channel_id"} | {
    *("quota", "properties")
}


def given_id(receipt: dict[str, Any]) -> str:
    return str(receipt["task_id"] if "task_id" in receipt else receipt["data"]["task_id"])


async def taken(caller: Any, **fields: Any) -> str:
    answer = await caller.create(**fields)
    assert answer.status_code == 200, answer.text
    return given_id(answer.json())


def test_every_row_names_its_source_and_one_base_url_of_its_own() -> None:
    bases = [base for dialect in (OFFICIAL, *GATEWAYS) for base in dialect.bases]
    assert len(bases) == len(set(bases))
    assert all(dialect.source for dialect in (OFFICIAL, *GATEWAYS))
    assert [gateway.bases for gateway in GATEWAYS] == [(f"/{name}",) for name in NAMES]


async def test_the_official_api_stands_below_kling_too(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    created = await caller.created()
    also = await caller.http.get(f"/kling/v1/videos/image2video/{created['task_id']}")
    assert also.json()["data"]["task_id"] == created["task_id"]
    for path in ("/kling/v1/videos/image2video", "/kling/account/costs?start_time=1&end_time=2"):
        assert (await caller.http.get(path)).json()["code"] == 0
    assert (await caller.http.get("/kling/v1/videos/sing")).json()["code"] == 1202


async def test_cometapi_answers_in_an_envelope_with_empty_objects(
    open_sandbox: Any, clock: Any
) -> None:
    caller = (await open_sandbox()).at("cometapi")
    answer = (await caller.create()).json()
    milliseconds = int(clock.now * 1000)
    assert answer == {
        "code": 0,
        "message": "success",
        "data": {
            "task_id": answer["data"]["task_id"],
            "task_status": "submitted",
            "task_info": {},
            "created_at": milliseconds,
            "updated_at": milliseconds,
        },
    }
    assert answer["data"]["task_id"].isdigit()
    pending = (await caller.query(answer["data"]["task_id"])).json()
    assert pending["request_id"]
    assert (pending["data"]["task_info"], pending["data"]["task_result"]) == ({}, {})
    clock.now += 10
    done = (await caller.query(answer["data"]["task_id"])).json()["data"]
    assert done["task_status"] == "succeed"
    assert done["task_result"]["videos"][0]["url"].startswith("http://sandbox.kling.invalid/videos")


async def test_powertokens_answers_as_kling_with_an_id_of_its_own(
    open_sandbox: Any, clock: Any
) -> None:
    caller = (await open_sandbox()).at("powertokens")
    receipt = (await caller.create(external_task_id="mine-1")).json()
    assert (receipt["code"], receipt["message"]) == (0, "SUCCEED")
    assert receipt["request_id"]
    assert receipt["data"]["task_info"] == {"external_task_id": "mine-1"}
    task_id = receipt["data"]["task_id"]
    assert re.fullmatch(r"task_[A-Za-z0-9]{32}", task_id)
    clock.now += 10
    done = (await caller.query(task_id)).json()["data"]
    assert (done["task_id"], done["task_status"]) == (task_id, "succeed")
    assert task_id not in done["task_result"]["videos"][0]["url"]


@pytest.mark.parametrize(
    ("name", "status", "pattern"),
    [
        ("anyfast", "submitted", r"\d{18,20}"),
        ("newapi", "queued", r"task_[A-Za-z0-9]{32}"),
        ("newapi-old", "queued", r"\d{18,20}"),
    ],
)
async def test_a_wrapper_s_receipt_is_a_video_object_in_seconds(
    open_sandbox: Any, clock: Any, name: str, status: str, pattern: str
) -> None:
    receipt = (await (await open_sandbox()).at(name).create()).json()
    assert set(receipt) == RECEIPT
    assert receipt["id"] == receipt["task_id"]
    assert re.fullmatch(pattern, receipt["id"])
    assert (receipt["object"], receipt["model"]) == ("video", "kling-v3")
    assert (receipt["status"], receipt["progress"]) == (status, 0)
    assert receipt["created_at"] == int(clock.now)


STAGES = {
    "anyfast": [
        ("SUBMITTED", "0%"),
        ("SUBMITTED", "10%"),
        ("PROCESSING", "30%"),
        ("SUCCESS", "100%"),
    ],
    "newapi": [
        ("NOT_START", "0%"),
        ("SUBMITTED", "10%"),
        ("IN_PROGRESS", "30%"),
        ("SUCCESS", "100%"),
    ],
}


@pytest.mark.parametrize("name", WRAPPERS)
async def test_a_wrapper_shows_how_far_the_task_is_and_kling_s_last_answer(
    open_sandbox: Any, clock: Any, name: str
) -> None:
    caller = (await open_sandbox(queue_s=2.0, render_s=3.0)).at(name)
    start, task_id, seen = clock.now, await taken(caller, duration="7"), []
    for second in (0, 1, 2, 5):
        clock.now = start + second
        answer = (await caller.query(task_id)).json()
        assert (answer["code"], answer["message"]) == ("success", "")
        seen.append(answer["data"])
    stages = STAGES["anyfast" if name == "anyfast" else "newapi"]
    assert [(task["status"], task["progress"]) for task in seen] == stages
    assert [task["submit_time"] for task in seen] == [int(start)] * 4
    assert [task["start_time"] for task in seen] == [0, 0, int(start) + 2, int(start) + 2]
    assert [task["finish_time"] for task in seen] == [0, 0, 0, int(start) + 5]
    inner = [task["data"] for task in seen]
    assert [kling["data"]["task_status"] for kling in inner] == [
        *("submitted", "submitted", "processing", "succeed")
    ]
    assert inner[0]["data"]["task_result"] == inner[0]["data"]["task_info"] == {}
    assert inner[3]["data"]["created_at"] == int(start * 1000)
    assert inner[3]["data"]["task_result"]["videos"][0]["duration"] == "7.041"


ENDS = {
    "anyfast": ("/kling/v1/videos/image2video_POST", set(), ""),
    "newapi": ("generate", {"result_url"} | ROW, "result_url"),
    "newapi-old": ("generate", set(), "fail_reason"),
}


@pytest.mark.parametrize("name", WRAPPERS)
async def test_the_video_s_address_stands_where_that_gateway_puts_it(
    open_sandbox: Any, clock: Any, name: str
) -> None:
    caller = (await open_sandbox()).at(name)
    task_id = await taken(caller)
    clock.now += 10
    shown = (await caller.query(task_id)).json()["data"]
    action, more, place = ENDS[name]
    assert set(shown) == WRAPPED | more
    assert shown["action"] == action
    url = shown["data"]["data"]["task_result"]["videos"][0]["url"]
    assert url.startswith("http://sandbox.kling.invalid/videos/image2video/")
    found = {where for where in ("result_url", "fail_reason") if shown.get(where) == url}
    assert found == ({place} if place else set())
    assert shown["fail_reason"] == (url if place == "fail_reason" else "")


@pytest.mark.parametrize("name", WRAPPERS)
async def test_a_failed_task_s_reason_stands_in_fail_reason_and_within(
    open_sandbox: Any, clock: Any, name: str
) -> None:
    caller = (await open_sandbox("task-fails")).at(name)
    task_id = await taken(caller)
    clock.now += 10
    shown = (await caller.query(task_id)).json()["data"]
    assert shown["status"] == ("FAILED" if name == "anyfast" else "FAILURE")
    assert shown["progress"] == "100%"
    assert shown["fail_reason"] == "Failure to pass the risk control system"
    assert shown["data"]["data"]["task_status_msg"] == shown["fail_reason"]
    assert shown["data"]["data"]["task_result"] == {}
    if name == "newapi":
        assert shown["result_url"] == shown["fail_reason"]


async def test_a_rewritten_id_stands_outside_and_kling_s_within(open_sandbox: Any) -> None:
    caller = (await open_sandbox()).at("newapi")
    task_id = await taken(caller)
    shown = (await caller.query(task_id)).json()["data"]
    assert shown["task_id"] == task_id
    assert shown["data"]["data"]["task_id"].isdigit()
    inner = await caller.query(shown["data"]["data"]["task_id"])
    assert inner.json()["code"] == "task_not_exist"


@pytest.mark.parametrize("name", NAMES)
async def test_a_task_is_found_at_its_own_provider_alone(open_sandbox: Any, name: str) -> None:
    official = await open_sandbox()
    mine = {"external_task_id": "mine-1"}
    elsewhere = {other: await taken(official.at(other), **mine) for other in NAMES}
    elsewhere["kling"] = (await official.created(**mine))["task_id"]
    caller = official.at(name)
    for owner, task_id in elsewhere.items():
        assert (await caller.query(task_id)).status_code == (200 if owner == name else 400)
        assert (await official.query(task_id)).status_code == (200 if owner == "kling" else 400)
    by_own_id = await caller.query("mine-1")
    assert by_own_id.status_code == (200 if name == "cometapi" else 400)


async def test_each_provider_is_an_account_of_its_own(open_sandbox: Any, clock: Any) -> None:
    official = await open_sandbox(slots=1, pack_units=6.0)
    await official.created(duration="10")
    await taken(official.at("anyfast"), duration="10")
    assert (await official.create()).status_code == 429
    clock.now += 10
    answer = await official.http.get("/account/costs?start_time=1&end_time=2")
    (pack,) = answer.json()["data"]["resource_pack_subscribe_infos"]
    assert pack["remaining_quantity"] == 0
    assert (await official.create()).json()["code"] == 1102
    assert (await official.at("anyfast").create()).json()["code"] == "quota_not_enough"
    await taken(official.at("cometapi"))


async def test_the_statistics_tell_the_providers_apart(open_sandbox: Any) -> None:
    official = await open_sandbox()
    await official.created()
    task_id = await taken(official.at("newapi"))
    await official.at("newapi").create(prompt="")
    await official.at("newapi").query(task_id)
    counts = official.store.counts()
    assert counts.requests == {"creates": 3, "creates_refused": 1, "queries": 1}
    assert counts.per_provider == {
        "kling": {"creates": 1, "accepted": 1},
        "newapi": {"creates": 2, "creates_refused": 1, "queries": 1, "accepted": 1},
    }
    assert sorted(counts.accepted_per_request.values()) == [1, 1]
    stats = (await official.http.get("/sandbox/stats")).json()
    assert stats["providers"] == counts.per_provider
    assert (await official.http.get("/newapi/sandbox/stats")).status_code != 404


LOST = {
    "multi_shot": True,
    "shot_type": "customize",
    "multi_prompt": [{"index": 1, "prompt": "a door", "duration": "5"}],
    "element_list": [{"element_id": 160}],
}


@pytest.mark.parametrize("name", NAMES)
async def test_new_api_loses_fields_in_silence_and_the_others_hand_them_on(
    open_sandbox: Any, name: str
) -> None:
    official = await open_sandbox()
    task_id = await taken(official.at(name), voice_list=[], **LOST)
    body = official.store.body(task_id, name)
    lost = {field for field in (*LOST, "voice_list") if field not in body}
    assert lost == ({*LOST, "voice_list"} if name.startswith("newapi") else set())
    assert body["prompt"] == "wind"


ANY = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just("kling-v3")
FIELDS = st.sampled_from(["model_name", "prompt", "multi_shot", "voice_list", "image", "other"])
BODIES = st.dictionaries(FIELDS, ANY | st.lists(ANY, max_size=2)) | ANY | st.lists(ANY)


@given(gateway=st.sampled_from(GATEWAYS), body=BODIES)
def test_a_gateway_hands_on_what_it_was_given_but_for_what_its_row_says(
    gateway: Dialect, body: Any
) -> None:
    try:
        handed = forwarded_body(gateway, "image2video", body)
    except Refusal as refusal:
        assert gateway.needs_model
        assert refusal.name.startswith("model_")  # noqa: PT017
        return
    if not isinstance(body, dict):
        assert handed == body
        return
    added = gateway.fills.get("image2video", {})
    assert not gateway.drops & set(handed)
    for name, value in handed.items():
        assert value == body.get(name) or (value == added[name] and not body.get(name))
    assert set(body) <= set(handed) | gateway.drops


async def test_shots_without_a_prompt_are_refused_where_the_shots_are_lost(
    open_sandbox: Any,
) -> None:
    official = await open_sandbox()
    await taken(official.at("cometapi"), prompt=None, **LOST)
    answer = await official.at("newapi").create(prompt=None, **LOST)
    assert answer.json() == {
        "code": "invalid_request",
        "message": "prompt is required",
        "data": None,
    }


ROUTED = {
    "cometapi": {"image2video", "multi-image2video", "text2video"},
    "anyfast": {"image2video", "multi-image2video", "omni-video", "text2video"},
    "powertokens": {"image2video"},
    "newapi": {"image2video", "text2video"},
    "newapi-old": {"image2video", "text2video"},
}


@pytest.mark.parametrize("name", NAMES)
async def test_a_gateway_takes_its_products_and_no_others(open_sandbox: Any, name: str) -> None:
    official = await open_sandbox()
    caller, made = official.at(name), set()
    for product in ("image2video", "multi-image2video", "omni-video", "text2video"):
        model = {"model_name": "kling-v1-6"} if product == "multi-image2video" else {}
        await caller.create(product, **model)
        made = {
            product
            for product in ROUTED[name] | made
            if official.store.page(product, 1, 9, provider=name)
        }
    assert made == ROUTED[name]
    assert official.store.counts().accepted == len(made)


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("cometapi", 200, "text/html; charset=utf-8"),
        ("newapi", 200, "text/html; charset=utf-8"),
        ("newapi-old", 200, "text/html; charset=utf-8"),
        ("anyfast", 404, "application/json"),
        ("powertokens", 404, "application/json"),
    ],
)
async def test_a_path_that_is_not_there_is_answered_as_that_gateway_does(
    open_sandbox: Any, name: str, status: int, kind: str
) -> None:
    http = (await open_sandbox()).http
    for method, path in (("POST", "sing"), ("GET", "image2video"), ("DELETE", "image2video/1")):
        answer = await http.request(method, f"/{name}/kling/v1/videos/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, kind)
        if status == 404:
            error = answer.json()["error"]
            assert error["message"] == f"Invalid URL ({method} /kling/v1/videos/{path})"
            assert error["type"] == "invalid_request_error"
    assert (await http.get(f"/{name}")).status_code == status


async def test_a_gateway_s_name_is_no_prefix_of_another(open_sandbox: Any) -> None:
    answer = await (await open_sandbox()).http.get("/newapi-older/kling/v1/videos/image2video/1")
    assert answer.json()["code"] == 1202


async def test_cometapi_adds_a_model_and_asks_for_no_prompt(open_sandbox: Any) -> None:
    official = await open_sandbox()
    task_id = await taken(official.at("cometapi"), model_name=None, prompt=None)
    assert official.store.body(task_id, "cometapi")["model_name"] == "kling-v2-master"
    assert (await official.create(model_name="kling-v2-master", prompt=None)).status_code == 400
    await taken(official.at("cometapi"), prompt="p" * 2500, negative_prompt="n" * 2500)
    assert (await official.at("cometapi").create(prompt="p" * 2501)).status_code == 400


MASKED = {
    "cfg_scale": 0.5,
    "static_mask": "https://example.com/mask.png",
    "dynamic_masks": [
        {"mask": "https://example.com/m.png", "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}
    ],
}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (MASKED, 200),
        ({"cfg_scale": 2}, 400),
        ({"static_mask": "data:image/png;base64,AAAA"}, 400),
        ({"dynamic_masks": [{"mask": "https://example.com/m.png"}]}, 400),
    ],
)
async def test_cometapi_judges_masks_with_several_pictures_and_kling_ignores_them(
    open_sandbox: Any, fields: dict[str, Any], status: int
) -> None:
    official = await open_sandbox()
    answer = await official.at("cometapi").create("multi-image2video", **fields)
    assert answer.status_code == status
    assert (await official.create("multi-image2video", **fields)).status_code == 200


async def test_cometapi_needs_two_pictures_where_kling_takes_one(open_sandbox: Any) -> None:
    official = await open_sandbox()
    one = {"image_list": [{"image": official.image}]}
    answer = await official.at("cometapi").create("multi-image2video", **one)
    assert answer.json()["message"] == "The size of image_list must be between 2 and 4"
    await official.created("multi-image2video", **one)
    receipt = (await official.at("cometapi").create("multi-image2video")).json()
    assert receipt["message"] == "SUCCEED"


@pytest.mark.parametrize("name", NAMES)
async def test_the_film_of_a_gateway_s_task_is_given_out_by_the_sandbox(
    open_sandbox: Any, clock: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHORT_SIDE_PX, "std", 144)
    caller = (await open_sandbox()).at(name)
    task_id = await taken(caller, duration="3")
    clock.now += 10
    shown = (await caller.query(task_id)).json()["data"]
    kling = shown["data"]["data"] if name in WRAPPERS else shown
    film = await caller.http.get(kling["task_result"]["videos"][0]["url"])
    assert film.status_code == 200
    assert film.content[4:8] == b"ftyp"
