"""What tasks cost: units of a resource pack or dollars of a balance, told alike everywhere."""

from __future__ import annotations

import base64
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

FIRST = [
    {"type": "prompt", "text": "wind"},
    {"type": "first_frame", "url": "https://example.com/cat.png"},
]
ODD = base64.b64encode(b'{"since": "x", "until": null}').decode()
TURBO = "/image-to-video/kling-3.0-turbo"


async def billed(caller: Any, kind: str, **asked: Any) -> dict[str, Any]:
    times = {} if "cursor" in asked else {"start_time": "0", "end_time": 2_000_000_000_000}
    answer = await caller.http.post(f"/account/billing/{kind}", json=times | asked)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def two_tasks(caller: Any, clock: Any) -> list[str]:
    """A task of each standard, finished; 3.6 and 4 units."""
    old = await caller.created(sound="on", duration="4")
    clock.now += 10
    answer = await caller.http.post(TURBO, json={"contents": FIRST})
    clock.now += 10
    return [old["task_id"], answer.json()["data"]["id"]]


async def test_the_charges_of_a_pack_agree_with_the_tasks(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox(pack_units=100)
    ids = await two_tasks(caller, clock)
    detail = (await billed(caller, "package"))["result"]["detail"]
    assert [row["task_id"] for row in detail] == ids
    assert [row["deduction_amount"] for row in detail] == ["3.6", "4"]
    assert [row["unit_before_deduction"] for row in detail] == ["100", "96.4"]
    assert detail[1]["unit_after_deduction"] == "92.4"
    first = {name: detail[0][name] for name in ("model_name", "resolution", "duration")}
    assert first == {"model_name": "kling-v3", "resolution": "720p", "duration": "4.04"}
    costs = await caller.http.get("/account/costs?start_time=1&end_time=2")
    (pack,) = costs.json()["data"]["resource_pack_subscribe_infos"]
    assert pack["remaining_quantity"] == 92.4
    assert (await billed(caller, "balance"))["result"]["detail"] == []


async def test_an_account_can_pay_from_a_balance(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox(cash=True, pack_units=100)
    old, new = await two_tasks(caller, clock)
    legacy = await caller.task(old)
    assert "final_unit_deduction" not in legacy
    assert legacy["final_balance_deduction"] == {"quota": "0.504", "list_price": "0.504"}
    (record,) = (await caller.http.get("/tasks", params={"task_ids": new})).json()["data"]
    assert record["billing"] == [
        {
            "charge_type": "cash",
            "cash_type": "balance",
            "amount": "0.56",
            "currency": "USD",
            "list_price": "0.56",
        }
    ]
    detail = (await billed(caller, "balance"))["result"]["detail"]
    assert [row["deduction_amount"] for row in detail] == ["0.504", "0.56"]
    assert detail[1]["balance_before_deduction"] == "13.496"
    assert detail[1]["balance_after_deduction"] == "12.936"
    assert (await billed(caller, "package"))["result"]["detail"] == []
    costs = await caller.http.get("/account/costs?start_time=1&end_time=2")
    assert costs.json()["data"]["resource_pack_subscribe_infos"] == []


@pytest.mark.parametrize("cash", [False, True])
async def test_pictures_are_charged_in_image_units_or_what_those_cost(
    cash: bool, open_sandbox: Any, clock: Any
) -> None:
    caller = await open_sandbox(cash=cash, pack_units=100)
    order = {"model_name": "kling-v3-omni", "prompt": "a fox", "n": 2}
    answer = await caller.http.post("/v1/images/omni-image", json=order)
    task_id = answer.json()["data"]["task_id"]
    await two_tasks(caller, clock)
    shown = (await caller.http.get(f"/v1/images/omni-image/{task_id}")).json()["data"]
    detail = (await billed(caller, "balance" if cash else "package"))["result"]["detail"]
    if cash:
        assert shown["final_balance_deduction"]["quota"] == "0.056"
        assert [row["deduction_amount"] for row in detail] == ["0.504", "0.056", "0.56"]
        assert detail[2]["balance_before_deduction"] == "13.44"
    else:
        assert shown["final_unit_deduction"] == "16"
        assert [row["deduction_amount"] for row in detail] == ["3.6", "16", "4"]
        assert [row["unit_before_deduction"] for row in detail] == ["100", "100", "96.4"]


async def test_an_empty_balance_is_refused(open_sandbox: Any) -> None:
    caller = await open_sandbox(cash=True, pack_units=2)
    answer = await caller.http.post(TURBO, json={"contents": FIRST})
    assert (answer.status_code, answer.json()["code"]) == (429, 1102)
    assert answer.json()["message"] == "Account balance not enough"


async def test_charges_come_in_pages_and_can_be_filtered(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox()
    ids = await two_tasks(caller, clock)
    first = await billed(caller, "package", limit=1)
    second = await billed(caller, "package", limit=1, cursor=first["next_cursor"])
    pages = [page["result"]["detail"][0]["task_id"] for page in (first, second)]
    assert (pages, second["has_more"]) == (ids, False)
    for key, value, count in (
        ("product_type", "video", 2),
        ("product_type", "image", 0),
        ("package_id", "sandbox-pack-1", 2),
        ("api_key_name", "other", 0),
    ):
        page = await billed(caller, "package", filters=[{"key": key, "values": [value]}])
        assert len(page["result"]["detail"]) == count


async def test_failed_and_running_tasks_are_not_charged(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox("task-fails:1")
    await caller.created()
    clock.now += 10
    await caller.created()
    assert (await billed(caller, "package"))["result"]["detail"] == []


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({}, "start_time and end_time can not be null"),
        ({"start_time": 1, "end_time": "soon"}, "end_time value 'soon' is invalid"),
        ({"start_time": 1, "end_time": 2, "limit": 501}, "limit value '501' is invalid"),
        ({"cursor": "AAAA"}, "cursor value 'AAAA' is invalid"),
        ({"cursor": ODD}, f"cursor value '{ODD}' is invalid"),
    ],
)
async def test_a_question_about_charges_is_refused(
    open_sandbox: Any, asked: dict[str, Any], text: str
) -> None:
    answer = await (await open_sandbox()).http.post("/account/billing/balance", json=asked)
    assert (answer.status_code, answer.json()["message"]) == (400, text)
