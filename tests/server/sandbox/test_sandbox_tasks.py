"""Tasks of the sandbox: how they are made, found, listed, finished and paid for."""

from __future__ import annotations

import ast
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

import kling_sandbox

pytestmark = pytest.mark.anyio


async def test_a_create_is_answered_as_the_live_service_answers(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    answer = await caller.create()
    assert answer.status_code == 200
    body = answer.json()
    assert body["code"] == 0
    assert body["message"] == "SUCCEED"
    assert body["request_id"]
    milliseconds = int(clock.now * 1000)
    assert body["data"] == {
        "task_id": body["data"]["task_id"],
        "task_status": "submitted",
        "created_at": milliseconds,
        "updated_at": milliseconds,
    }
    assert body["data"]["task_id"].isdigit()


async def test_a_task_goes_from_submitted_to_succeed_by_the_clock_alone(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox(queue_s=1.0, render_s=3.0)
    created = await caller.created(duration="7", sound="on", mode="pro")
    seen = {}
    for second in (0, 1, 4):
        clock.now = created["created_at"] / 1000 + second
        seen[second] = await caller.task(created["task_id"])
    assert [task["task_status"] for task in seen.values()] == ["submitted", "processing", "succeed"]
    assert "task_result" not in seen[0]
    assert "final_unit_deduction" not in seen[1]
    assert seen[4]["updated_at"] == created["created_at"] + 4000
    assert seen[4]["final_unit_deduction"] == "8.4"
    (video,) = seen[4]["task_result"]["videos"]
    assert video["duration"] == "7.041"
    assert video["url"].startswith("http://sandbox.kling.invalid/videos/image2video/")
    assert "watermark_url" not in video


async def test_another_process_sees_the_same_task_with_the_same_address(
    open_sandbox: Any, clock: Any
) -> None:
    created = await (await open_sandbox()).created(watermark_info={"enabled": True})
    clock.now += 10
    first = await (await open_sandbox()).task(created["task_id"])
    second = await (await open_sandbox()).task(created["task_id"])
    assert first == second
    assert first["watermark_info"] == {"enabled": True}
    assert first["task_result"]["videos"][0]["watermark_url"]


@pytest.mark.parametrize("product", ["image2video", "multi-image2video", "omni-video"])
async def test_either_id_finds_a_task_under_any_product(open_sandbox: Any, product: str) -> None:
    caller = await open_sandbox()
    created = await caller.created(product, external_task_id="mine-1")
    assert created["task_info"] == {"external_task_id": "mine-1"}
    for path in ("image2video", "multi-image2video", "omni-video", "text2video"):
        assert (await caller.task("mine-1", path))["task_id"] == created["task_id"]
        assert (await caller.task(created["task_id"], path))["task_info"]


async def test_an_unknown_id_is_http_400_with_the_live_text(open_sandbox: Any) -> None:
    answer = await (await open_sandbox()).http.get("/v1/videos/image2video/mf-auth-probe")
    assert answer.status_code == 400
    body = answer.json()
    assert body.pop("request_id")
    assert body == {"code": 1201, "message": "Task not found by id/external id: mf-auth-probe"}


async def test_an_external_id_is_taken_once_over_all_products(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    await caller.created(external_task_id="v6-1")
    answer = await caller.create("omni-video", external_task_id="v6-1")
    assert answer.status_code == 400
    assert answer.json()["code"] == 1201
    assert answer.json()["message"] == "External_task_id v6-1 already exists"
    assert caller.store.counts().accepted == 1


async def test_an_empty_external_id_is_none(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    for _ in range(2):
        assert "task_info" not in await caller.created(external_task_id="", callback_url="")


async def test_a_slot_is_held_until_its_task_has_ended(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox(slots=2)
    await caller.created()
    await caller.created()
    answer = await caller.create()
    assert answer.status_code == 429
    body = answer.json()
    assert (body["code"], body["message"]) == (1303, "parallel task over resource pack limit")
    assert "data" not in body
    clock.now += 4
    await caller.created()


async def test_a_list_holds_one_product_newest_first_in_pages(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox()
    made = []
    for _ in range(5):
        made.append((await caller.created())["task_id"])
        clock.now += 1
    await caller.created("omni-video")

    async def listed(**params: int) -> list[str]:
        answer = await caller.http.get("/v1/videos/image2video", params=params)
        return [task["task_id"] for task in answer.json()["data"]]

    assert await listed() == made[::-1]
    assert await listed(pageNum=2, pageSize=2) == made[::-1][2:4]
    assert await listed(pageNum=9, pageSize=500) == []


@pytest.mark.parametrize("params", ["pageNum=0", "pageNum=1001", "pageSize=501", "pageSize=x"])
async def test_a_page_out_of_range_is_refused(open_sandbox: Any, params: str) -> None:
    answer = await (await open_sandbox()).http.get(f"/v1/videos/image2video?{params}")
    name, _, value = params.partition("=")
    assert answer.status_code == 400
    assert answer.json()["message"] == f"{name} value '{value}' is invalid"


async def test_the_pack_pays_for_what_succeeded_and_nothing_else(
    open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox("task-fails:1", pack_units=10.0)

    async def left() -> float:
        answer = await caller.http.get("/account/costs?start_time=1&end_time=2")
        (pack,) = answer.json()["data"]["resource_pack_subscribe_infos"]
        assert pack["total_quantity"] == 10.0
        return float(pack["remaining_quantity"])

    failed = await caller.created()
    succeeded = await caller.created(duration="10")
    assert await left() == 10.0
    clock.now += 4
    assert await left() == 4.0
    assert (await caller.task(succeeded["task_id"]))["final_unit_deduction"] == "6"
    task = await caller.task(failed["task_id"])
    assert task["task_status"] == "failed"
    assert task["task_status_msg"] == "Failure to pass the risk control system"
    assert task["final_unit_deduction"] == "0"
    answer = await caller.create(duration="15")
    assert (answer.status_code, answer.json()["code"]) == (429, 1102)
    assert answer.json()["message"] == "Account balance not enough"


async def test_costs_need_a_span_of_time(open_sandbox: Any) -> None:
    answer = await (await open_sandbox()).http.get("/account/costs")
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/v1/videos/no-product"),
        ("GET", "/v1/videos/no-product"),
        ("POST", "/v1/videos/image2video/"),
        ("DELETE", "/v1/videos/image2video/1"),
        ("POST", "/account/costs"),
    ],
)
async def test_a_path_or_method_that_is_not_there_is_1202(
    open_sandbox: Any, method: str, path: str
) -> None:
    answer = await (await open_sandbox()).http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, 1202)


@pytest.mark.parametrize("body", ["", "nonsense", "[1]", '"x"', '{"a": NaN}', "\udcff"])
async def test_a_body_that_is_no_json_object_is_1200(open_sandbox: Any, body: str) -> None:
    caller = await open_sandbox()
    answer = await caller.http.post(
        "/v1/videos/image2video", content=body.encode("utf-8", "surrogateescape")
    )
    assert (answer.status_code, answer.json()["code"]) == (400, 1200)


async def test_equal_requests_are_counted_as_one_request_made_twice(open_sandbox: Any) -> None:
    caller = await open_sandbox()
    await caller.created(external_task_id="a", callback_url="https://example.com/hook")
    await caller.created(external_task_id="b")
    await caller.created(prompt="something else")
    await caller.create(prompt="")
    counts = caller.store.counts()
    assert sorted(counts.accepted_per_request.values()) == [1, 2]
    assert counts.accepted == 3
    assert counts.requests == {"creates": 4, "creates_refused": 1}
    stats = (await caller.http.get("/sandbox/stats")).json()
    assert stats["accepted"] == 3
    assert stats["tasks"] == {"submitted": 3, "processing": 0, "succeed": 0, "failed": 0}


async def test_the_body_is_kept_as_it_was_sent_but_for_its_long_pictures(
    open_sandbox: Any, encode: Any
) -> None:
    caller = await open_sandbox()
    noise = encode(400, 300, "NOISE")
    await caller.created(external_task_id="a", image_tail=noise, element_list=[{"element_id": 160}])
    body = caller.store.body("a")
    assert body["element_list"] == [{"element_id": 160}]
    assert body["image"] == caller.image
    raw = base64.b64decode(noise)
    assert body["image_tail"] == {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


async def test_nothing_of_a_request_is_left_behind_but_its_picture(
    open_sandbox: Any, tmp_path: Any
) -> None:
    caller = await open_sandbox()
    await caller.created()
    await caller.created(prompt="again")
    await caller.create(image="A" * 100_000)
    home = tmp_path / "home"
    assert len(list((home / "pictures").iterdir())) == 1
    assert list((home / "incoming").iterdir()) == []


async def test_no_folder_is_made_before_the_first_request(open_sandbox: Any, tmp_path: Any) -> None:
    caller = await open_sandbox()
    assert not (tmp_path / "home").exists()
    await caller.http.get("/v1/videos/image2video")
    assert (tmp_path / "home").exists()


def test_the_package_loads_its_names_when_they_are_used() -> None:
    for name in kling_sandbox.__all__:
        assert getattr(kling_sandbox, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kling_sandbox.nothing


def test_the_sandbox_takes_nothing_from_what_it_judges() -> None:
    """It may not import the contract or the client: it is the second opinion on them."""
    folder = Path(kling_sandbox.__file__).parent
    for module in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith("kling_tools"), module
                assert not name.startswith("kling_mcp") or name.startswith("kling_sandbox")
