"""The requests that the providers' own pages show, sent to the sandbox as they stand there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.sampling import sampled

from kling_sandbox.orders import SHORT_SIDE_PX

pytestmark = pytest.mark.anyio

ASTRONAUT = (
    "https://h2.inkwai.com/bs2/upload-ylab-stunt/se/ai_portal_queue_mmu_image_upscale_aiweb/"
    "3214b798-e1b4-4b00-b7af-72b5b0417420_raw_image_0.jpg"
)
HORSE = "https://filesystem.site/cdn/20250414/chxiLc2O45zoLT8BCrQ6WQlTvGDDnK.png"
HOOK = "https://example.com/hook"

ONE_PICTURE = {"image": ASTRONAUT}
FOUR_PICTURES = {
    "model_name": "kling-v1-6",
    "duration": "5",
    "image_list": [{"image": url} for url in (ASTRONAUT, ASTRONAUT, HORSE, HORSE)],
    "prompt": "The astronauts got up and left.",
}
MASTER = {
    "model_name": "kling-v2-master",
    "image": ASTRONAUT,
    "prompt": "The astronaut waves",
    "negative_prompt": "blur",
    "duration": "5",
    "multi_shot": False,
    "sound": "off",
    "watermark_info": {"enabled": True},
    "callback_url": HOOK,
    "external_task_id": "page-1",
}
"""AnyFast's body, but for what kling-v2-master lacks: mode, cfg_scale, end frame, camera, brush."""

SHOTS = MASTER | {
    "model_name": "kling-v3",
    "image_tail": HORSE,
    "mode": "std",
    "cfg_scale": 0.5,
    "multi_shot": True,
    "shot_type": "customize",
    "multi_prompt": [
        {"index": 1, "prompt": "She gets up", "duration": "2"},
        {"index": 2, "prompt": "She leaves", "duration": "3"},
    ],
    "element_list": [{"element_id": 123}],
    "sound": "on",
}
"""The same with all that kling-v3 takes at once."""

SECOND_MASTER = MASTER | {"model_name": "kling-v2-1-master", "element_list": [], "voice_list": []}

PAGES = [
    ("cometapi", "image2video", ONE_PICTURE, "success"),
    ("cometapi", "multi-image2video", FOUR_PICTURES, "SUCCEED"),
    ("anyfast", "image2video", MASTER, ""),
    ("anyfast", "image2video", SHOTS, ""),
    ("powertokens", "image2video", SECOND_MASTER, "SUCCEED"),
]


@pytest.mark.parametrize(("name", "product", "body", "message"), sampled(PAGES, 3))
async def test_the_body_of_a_provider_s_page_is_taken_run_and_filmed(
    open_sandbox: Any,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    product: str,
    body: dict[str, Any],
    message: str,
) -> None:
    for mode in list(SHORT_SIDE_PX):
        monkeypatch.setitem(SHORT_SIDE_PX, mode, 144)
    caller = (await open_sandbox()).at(name)
    answer = await caller.http.post(f"{caller.root}/{product}", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    receipt, now = answer.json(), int(clock.now)
    if name == "anyfast":
        assert receipt == {
            "id": receipt["task_id"],
            "task_id": receipt["task_id"],
            "object": "video",
            "model": body["model_name"],
            "status": "submitted",
            "progress": 0,
            "created_at": now,
        }
        task_id = receipt["task_id"]
    else:
        stamp = {"request_id": receipt.get("request_id")} if name == "powertokens" else {}
        own = body.get("external_task_id")
        assert receipt == {
            "code": 0,
            "message": message,
            **stamp,
            "data": {
                "task_id": receipt["data"]["task_id"],
                "task_status": "submitted",
                "task_info": {"external_task_id": own} if own else {},
                "created_at": now * 1000,
                "updated_at": now * 1000,
            },
        }
        task_id = receipt["data"]["task_id"]
    assert isinstance(task_id, str)
    clock.now += 60
    shown = (await caller.query(task_id, product)).json()
    kling = shown["data"]["data"]["data"] if name == "anyfast" else shown["data"]
    assert kling["task_status"] == "succeed"
    (video,) = kling["task_result"]["videos"]
    assert video["duration"] == "5.041"
    film = await caller.http.get(video["url"])
    assert film.headers["content-type"] == "video/mp4"


async def test_a_query_at_anyfast_reads_as_its_page_shows(open_sandbox: Any, clock: Any) -> None:
    caller = (await open_sandbox()).at("anyfast")
    start = int(clock.now)
    task_id = (await caller.create(**MASTER)).json()["id"]
    clock.now += 60
    shown = (await caller.query(task_id)).json()
    kling = shown["data"].pop("data")
    assert shown == {
        "code": "success",
        "message": "",
        "data": {
            "task_id": task_id,
            "action": "/kling/v1/videos/image2video_POST",
            "status": "SUCCESS",
            "fail_reason": "",
            "submit_time": start,
            "start_time": start + 1,
            "finish_time": start + 4,
            "progress": "100%",
        },
    }
    assert (kling["code"], kling["message"]) == (0, "SUCCEED")
    assert kling["data"]["updated_at"] == (start + 4) * 1000
    assert {"id", "url", "duration"} <= set(kling["data"]["task_result"]["videos"][0])
