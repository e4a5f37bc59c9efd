"""kling_account: who is paid, what is left, what was spent, and what is wrong."""

from pathlib import Path

import httpx
import pytest
from mcp import Client
from tests.server.scripted import KEY, Scripted, facts, make, talking_to, task, words
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_pauses")]

PACKS = {
    "code": 0,
    "data": {
        "resource_pack_subscribe_infos": [
            {"resource_pack_name": "p", "remaining_quantity": 120.5, "status": "online"}
        ]
    },
}


def kling(request: httpx.Request) -> httpx.Response:
    """A provider that tells what is left, takes each create, and charges 2 units."""
    if request.url.path.endswith("/costs"):
        return httpx.Response(200, json=PACKS)
    if request.method == "POST":
        return task()
    if "doctor" in request.url.path:
        return httpx.Response(400, json={"code": 1201, "message": "task not found"})
    video = {"url": "https://cdn.example/a.mp4", "duration": "5.0"}
    return task(task_status="succeed", final_unit_deduction="2", task_result={"videos": [video]})


async def test_the_sandbox_counts_as_no_money_and_says_so(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        await make(client, tmp_path)
        answer = await client.call_tool("kling_account", {})

    (provider,) = facts(answer)["providers"]
    assert provider["provider"] == "sandbox"
    assert "nothing is charged" in provider["note"]
    assert "Nothing was spent in the last 30 days." in words(answer)
    played = "In the sandbox, which charges nothing: Today: 1 video, 1.5 units (0.21 USD)."
    assert played in words(answer)
    assert "KLING_MCP_MAX_UNITS_PER_DAY or KLING_MCP_MAX_USD_PER_DAY caps" in words(answer)
    assert facts(answer).get("spent", []) == []
    assert [(row["span"], row["units"]) for row in facts(answer)["played"]] == [
        ("today", 1.5),
        ("7 days", 1.5),
        ("30 days", 1.5),
    ]
    assert facts(answer)["saves_to"] == str(tmp_path / "videos")
    assert facts(answer)["pictures_from"] == [str(tmp_path)]


async def test_a_provider_is_told_with_its_host_its_setting_and_what_is_left_but_never_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(
        Scripted(kling), tmp_path, monkeypatch, max_units_per_day=30, max_units_per_task=5
    ) as client:
        await make(client, tmp_path)
        answer = await client.call_tool("kling_account", {})

    told = facts(answer)
    assert told["providers"] == [
        {
            "provider": "kling",
            "by": "KLING_API_KEY from an option",
            "host": "kling.example",
            "key": "API key",
            "units_left": 120.5,
        }
    ]
    assert [(cap["of"], cap["units"], cap.get("used")) for cap in told["caps"]] == [
        ("one video", 5, None),
        ("24 hours", 30, 1.5),
    ]
    assert KEY not in answer.model_dump_json()


async def test_what_was_charged_and_what_is_estimated_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        wish = {"image": picture(tmp_path)}
        first = await client.call_tool("kling_image_to_video", {**wish, "prompt": "One"})
        estimated = await client.call_tool("kling_account", {})
        await client.call_tool("kling_get_task", {"task_id": facts(first)["task_id"]})
        charged = await client.call_tool("kling_account", {})

    today = facts(estimated)["spent"][0]
    assert (today["span"], today["videos"]) == ("today", 1)
    assert (today["units"], today["estimated_units"]) == (0, 1.5)
    assert "about 1.5 units estimated" in words(estimated)
    today = facts(charged)["spent"][0]
    assert (today["units"], today["estimated_units"]) == (2, 0)
    assert "2 units charged (0.28 USD list price)" in words(charged)
    assert {spent["span"] for spent in facts(charged)["spent"]} == {"today", "7 days", "30 days"}


async def test_what_is_wrong_with_the_set_up_is_told_in_the_doctor_s_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"code": 1002, "message": "access key not found"})

    gone = tmp_path / "gone"
    async with talking_to(Scripted(refuses), tmp_path, monkeypatch, image_roots=(gone,)) as client:
        answer = await client.call_tool("kling_account", {})

    wrong = facts(answer)["wrong"]
    assert any("refused the key" in said or "(code 1002)" in said for said in wrong), wrong
    assert f"Pictures may come from {gone}, which is not a folder. Correct " in "\n".join(wrong)
    assert "Wrong: " in words(answer)


async def test_providers_are_asked_once_in_a_minute_and_for_nothing_that_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def counted(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return kling(request)

    async with talking_to(Scripted(counted), tmp_path, monkeypatch) as client:
        await client.call_tool("kling_account", {})
        await client.call_tool("kling_account", {})

    assert {method for method, _ in asked} == {"GET"}
    assert len(asked) == 2


async def test_what_is_left_is_asked_anew_once_something_was_made_or_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def counted(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += request.url.path.endswith("/costs")
        return kling(request)

    async with talking_to(Scripted(counted), tmp_path, monkeypatch) as client:
        seen = []

        async def look() -> None:
            await client.call_tool("kling_account", {})
            seen.append(asked)

        await look()
        wish = {"image": picture(tmp_path), "prompt": "One"}
        made = await client.call_tool("kling_image_to_video", wish)
        await look()
        await look()
        await client.call_tool("kling_get_task", {"task_id": facts(made)["task_id"]})
        await look()
        await look()

    assert seen == [1, 2, 2, 3, 3]
