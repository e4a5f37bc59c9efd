"""What a provider says and cannot be true, or says in words of its own, through the tools."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from anyio import to_thread
from mcp import Client
from mcp_types import TextResourceContents
from tests.sampling import sampled
from tests.server.scripted import CREATE, Scripted, ends, facts, make, talking_to, task, words
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.cli.main import main
from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

VIDEO = {"url": "https://cdn.example/v.mp4", "duration": "5.041"}
DONE: dict[str, Any] = {"task_status": "succeed", "task_result": {"videos": [VIDEO]}}
BALANCE = {"final_unit_deduction": "0", "final_balance_deduction": {"quota": "0.21"}}


@pytest.fixture(autouse=True)
def no_waiting_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1, cap=True):
        yield


class Clock:
    """Seconds since the epoch, by which a test lets time pass."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await no_sleep(seconds)


@asynccontextmanager
async def at_newapi(
    answer: Callable[[httpx.Request], httpx.Response],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> AsyncIterator[Client]:
    """A client of a server whose one provider is a new-api gateway with these answers."""
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(answer).connect)
    settings = sandbox_settings(
        folder, provider="newapi", newapi_api_key="k" * 20, newapi_base_url="https://kling.example"
    )
    async with Client(build_server(settings, sleep=clock.sleep, clock=clock)) as client:
        yield client


async def look(client: Client, task_id: str = "t-1") -> Any:
    return await client.call_tool("kling_get_task", {"task_id": task_id})


async def how_many_fit(client: Client, folder: Path, of: int) -> int:
    """How many of so many takes, each looked at once, are sent before the cap refuses one."""
    for take in range(1, of + 1):
        arguments = {"image": picture(folder), "prompt": "Zoom", "take": take}
        made = await client.call_tool(CREATE, arguments)
        if made.is_error:
            assert facts(made)["error"] == "spend_cap_reached", words(made)
            return take - 1
        await look(client, facts(made)["task_id"])
    return of


def numbered(**shown: Any) -> Callable[[httpx.Request], httpx.Response]:
    """A provider that gives each task an id of its own, and shows each of them like this."""
    made: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return task(task_id=request.url.path.rsplit("/", 1)[1], **shown)
        made.append(f"t-{len(made) + 1}")
        return task(task_id=made[-1])

    return answer


@pytest.mark.parametrize(
    "shown",
    sampled(
        [
            {"task_status": "processing", "final_unit_deduction": "0"},
            {"task_status": "submitted", "final_unit_deduction": 0},
            {"task_status": "REVIEWING", "final_unit_deduction": "0.0"},
            {**DONE, **BALANCE},
            {**DONE, "final_unit_deduction": "0", "final_balance_deduction": "0.21"},
            {**DONE, "final_unit_deduction": "0", "final_balance_deduction": {"quota": "$0.21"}},
            {**DONE, "final_unit_deduction": "-1"},
            {**DONE, "final_unit_deduction": "nan"},
            {**DONE, "final_unit_deduction": False},
            {**DONE, "final_unit_deduction": None},
            {"task_status": "failed", **BALANCE},
        ],
        2,
    ),
)
async def test_the_estimate_counts_against_the_day_s_cap_until_the_true_cost_is_known(
    shown: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(numbered(**shown))
    async with talking_to(provider, tmp_path, monkeypatch, max_units_per_day=4) as client:
        assert await how_many_fit(client, tmp_path, of=4) == 2  # 1.5 units each


async def test_no_units_for_a_video_at_a_gateway_are_no_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {"code": 0, "data": {"task_id": "t-1", **DONE, "final_unit_deduction": "0"}}
    async with at_newapi(gateway(shown), tmp_path, monkeypatch, Clock()) as client:
        await make(client, tmp_path)
        seen = await look(client)

    assert facts(seen)["status"] == "succeed"
    assert "nothing" not in words(seen)


async def test_a_true_cost_takes_the_estimate_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(numbered(**DONE, final_unit_deduction="0.5"))
    async with talking_to(provider, tmp_path, monkeypatch, max_units_per_day=4) as client:
        assert await how_many_fit(client, tmp_path, of=6) == 6


async def test_what_the_balance_paid_is_told_as_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    provider = Scripted(ends(**DONE, **BALANCE))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
        seen = await look(client)
        listed = await client.call_tool("kling_list_tasks", {})
        elsewhere = await look(client)

    for answer in (seen, listed, elsewhere):
        assert "nothing" not in words(answer)
        assert "0.21 of the account's balance" in words(answer)
    await to_thread.run_sync(main, ["tasks"])
    shown = capsys.readouterr().out
    assert "1 shown; 0.21 of the balance in the last 24 hours" in shown
    assert facts(seen)["money"] == 0.21
    assert "units" not in facts(seen)


@pytest.mark.parametrize(
    ("told", "next_words", "charged"),
    [
        ({"final_unit_deduction": "0"}, "It cost nothing", "no"),
        ({"final_unit_deduction": "1.5"}, "It was charged although it failed", "yes"),
        (BALANCE, "It was charged although it failed", "yes"),
        ({}, "failed tasks are not charged", "unknown"),
    ],
)
async def test_a_failed_task_is_told_with_what_it_cost(
    told: dict[str, Any],
    next_words: str,
    charged: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = Scripted(ends(task_status="failed", task_status_msg="no", **told))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
        seen = await look(client)
        saved = await client.call_tool("kling_save_video", {"task_id": "t-1"})

    assert next_words in facts(seen)["next"]
    assert next_words in facts(saved)["next"]
    assert facts(saved)["charged"] == charged
    money = ("This call cost nothing.", "This was charged.", "It cost nothing.", "It was charged")
    assert sum(words(saved).count(sentence) for sentence in money) == (charged != "unknown")


GATEWAY_CREATED = {"id": "t-1", "object": "video", "status": "queued"}


def gateway(shown: dict[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(
        200, json=GATEWAY_CREATED if request.method == "POST" else shown
    )


def wrapped(status: str, **data: Any) -> dict[str, Any]:
    return {"code": "success", "data": {"task_id": "t-1", "status": status, **data}}


@pytest.mark.parametrize(
    ("shown", "reason"),
    sampled(
        [
            ({"id": "t-1", "status": "cancelled"}, "cancelled"),
            ({"id": "t-1", "status": "canceled", "error": {"message": "by hand"}}, "by hand"),
            ({"id": "t-1", "status": "expired"}, "expired"),
            ({"id": "t-1", "status": "Timed-Out"}, "Timed-Out"),
            ({"id": "t-1", "status": "failed", "error": "bad picture"}, "bad picture"),
            ({"id": "t-1", "status": "failed", "detail": [{"msg": "bad picture"}]}, "bad picture"),
            ({"id": "t-1", "status": "error", "msg": "bad picture"}, "bad picture"),
            (wrapped("TIMEOUT", fail_reason="task timeout"), "task timeout"),
            (wrapped("REJECTED", fail_reason="bad"), "bad"),
            (wrapped("ABORTED"), "aborted"),
            (wrapped("TASK_STATUS_FAILED", fail_reason="bad"), "bad"),
            (
                wrapped(
                    "SUCCESS", data={"data": {"task_status": "failed", "task_status_msg": "bad"}}
                ),
                "bad",
            ),
        ],
        2,
    ),
)
async def test_what_a_gateway_ended_has_failed_with_its_reason(
    shown: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_newapi(gateway(shown), tmp_path, monkeypatch, Clock()) as client:
        await make(client, tmp_path)
        seen = facts(await look(client))
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": ["t-1"]})

    assert facts(waited)["done"], words(waited)
    assert (seen["status"], seen["provider_says"]) == ("failed", reason)


@pytest.mark.parametrize(
    "error",
    [
        *({"code": 0, "message": ""}, {"code": "0", "message": "success"}, {"code": None}, {}),
        *("", None, [], False, {"code": "", "message": None, "type": ""}),
    ],
)
async def test_an_error_that_says_there_is_none_is_none(
    error: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {"task_id": "t-1", "status": "completed", "url": VIDEO["url"], "error": error}
    async with at_newapi(gateway(shown), tmp_path, monkeypatch, Clock()) as client:
        await make(client, tmp_path)
        seen = facts(await look(client))

    assert (seen["status"], seen["videos"][0]["url"]) == ("succeed", VIDEO["url"])


NO_FILE: tuple[dict[str, Any], ...] = (
    wrapped("SUCCESS", data=None),
    wrapped("SUCCESS", result_url="javascript:alert(1)"),
    {"id": "t-1", "status": "completed"},
    {"code": 0, "data": {"task_id": "t-1", "task_status": "succeed"}},
    {
        "code": 0,
        "data": {"task_id": "t-1", "task_status": "succeed", "task_result": {"videos": []}},
    },
)


@pytest.mark.parametrize("shown", NO_FILE)
async def test_a_success_without_a_video_is_looked_at_for_two_minutes_and_then_told(
    shown: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with at_newapi(gateway(shown), tmp_path, monkeypatch, clock) as client:
        await make(client, tmp_path)
        first = facts(await look(client))
        save = await client.call_tool("kling_save_video", {"task_id": "t-1"})
        clock.now += 119
        last = facts(await look(client))
        clock.now += 2
        ended = await look(client)
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": ["t-1"]})
        lost = await client.call_tool("kling_save_video", {"task_id": "t-1"})
        again = await make(client, tmp_path)

    for seen in (first, last):
        assert (seen["status"], "not there yet" in seen["next"]) == ("processing", True)
    assert "not there yet" in words(save)
    assert facts(ended)["status"] == "succeed"
    assert "names no video" in words(ended)
    assert "the estimate was 1.5 units" in words(ended)
    assert facts(waited)["done"]
    assert "names no video" in words(lost)
    assert facts(again)["repeated"]


async def test_a_success_without_a_video_is_told_with_what_was_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    shown = {"code": 0, "data": {"task_id": "t-1", "task_status": "succeed", **BALANCE}}
    async with at_newapi(gateway(shown), tmp_path, monkeypatch, clock) as client:
        await make(client, tmp_path)
        await look(client)
        clock.now += 121
        ended = await look(client)
        lost = await client.call_tool("kling_save_video", {"task_id": "t-1"})

    assert "cost 0.21 of the account's balance" in words(ended)
    assert "is not told" not in words(ended)
    assert facts(lost)["charged"] == "yes"


async def test_a_video_that_comes_late_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    shown = wrapped("SUCCESS")
    async with at_newapi(gateway(shown), tmp_path, monkeypatch, clock) as client:
        await make(client, tmp_path)
        await look(client)
        shown["data"] |= {"status": "IN_PROGRESS"}
        assert "not there yet" in facts(await look(client))["next"]
        shown["data"] |= {"status": "SUCCESS", "result_url": VIDEO["url"]}
        clock.now += 60
        there = facts(await look(client))
        shown["data"] |= {"result_url": ""}
        await client.call_tool("kling_save_video", {"task_id": "t-1"})
        still = facts(await look(client))

    for seen in (there, still):
        assert (seen["status"], seen["videos"][0]["url"]) == ("succeed", VIDEO["url"])


@pytest.mark.parametrize(
    "shown",
    [
        {"task_id": "t-2", **DONE},
        {"task_id": "t-2", "task_info": {"external_task_id": "somebody-s"}, **DONE},
    ],
)
async def test_an_answer_about_another_task_is_not_believed(
    shown: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(ends(**shown)), tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
        seen = await look(client)
        elsewhere = await look(client, "t-9")

    for answer in (seen, elsewhere):
        assert "it tells of another task" in words(answer)
        assert VIDEO["url"] not in words(answer)


@pytest.mark.parametrize(
    "task_id", ["../../x", "[a](b)", "**t-1**", "t 1", "t.1", "<b>", "t" * 129]
)
async def test_an_id_that_a_path_or_markdown_would_take_apart_is_none(
    task_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(lambda _: task(task_id=task_id))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        made = await make(client, tmp_path)

    assert facts(made)["charged"] == "unknown"
    assert task_id not in words(made)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "data:a,b", "//cdn"])
async def test_what_is_no_address_of_the_web_is_not_shown_as_the_video(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [{"url": url, "watermark_url": url}]
    provider = Scripted(ends(task_status="succeed", task_result={"videos": videos}))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
        answers = [
            await look(client),
            await client.call_tool("kling_wait_for_tasks", {"task_ids": ["t-1"], "timeout_s": 0}),
            await client.call_tool("kling_list_tasks", {}),
        ]

    for answer in answers:
        assert url not in f"{words(answer)} {facts(answer)}"
        assert "about:" not in f"{words(answer)} {facts(answer)}"


NO_TIMES = (1e18, "9" * 30, -1, True, "soon", 253_402_300_800_000, 10**400)


@pytest.mark.parametrize(("standard", "when"), sampled(product(["legacy", "new"], NO_TIMES), 3))
async def test_a_time_that_no_calendar_has_does_not_break_the_list(
    standard: str, when: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {"task_id": "t-7", "task_status": "processing", "created_at": when, "updated_at": when}
    record = {"id": "t-7", "status": "processing", "create_time": when, "update_time": when}

    def answer(request: httpx.Request) -> httpx.Response:
        mine = request.url.path.endswith("/videos/image2video")
        data: object = [shown] * 1_000 if mine else []
        if request.url.path == "/tasks":
            data = {"result": [record] * 1_000, "has_more": True, "next_cursor": ""}
        return httpx.Response(200, text=json.dumps({"code": 0, "data": data}))

    provider = Scripted(answer)
    async with talking_to(provider, tmp_path, monkeypatch, standard=standard) as client:
        listed = await client.call_tool("kling_list_tasks", {"page_size": 5})

    assert not listed.is_error, words(listed)
    assert [seen["task_id"] for seen in facts(listed)["tasks"]] == ["t-7"]


async def test_an_account_with_endless_packs_and_units_is_told_in_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = {"status": "online", "remaining_quantity": 1e308, "invalid_time": 1e18}
    packs = [{**pack, "resource_pack_name": "x" * 1_000}] * 9_999
    packs.insert(0, {"status": "online", "remaining_quantity": 3})
    document = {"code": 0, "data": {"resource_pack_subscribe_infos": packs}}
    provider = Scripted(lambda _: httpx.Response(200, json=document))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        (content,) = (await client.read_resource("kling://account")).contents

    assert isinstance(content, TextResourceContents)
    assert len(content.text) < 40_000
    assert json.loads(content.text)["providers"]["kling"]["units_left"] == 3


async def test_a_task_with_ten_thousand_videos_is_told_in_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(ends(task_status="succeed", task_result={"videos": [VIDEO] * 10_000}))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
        seen = await look(client)

    assert len(words(seen)) < 4_000
    assert 1 <= len(facts(seen)["videos"]) <= 16


@pytest.mark.parametrize(
    ("http_status", "document"),
    [
        (400, {"code": 400, "msg": "image invalid"}),
        (422, {"detail": [{"loc": ["body", "image"], "msg": "invalid"}]}),
        (400, {"detail": "image invalid"}),
        (400, {"detail": {"message": "image invalid"}}),
        (400, {"error": "image invalid"}),
        (400, {"error": {"message": {"text": "", "detail": "image invalid"}}}),
        (400, {"error": {"detail": "image invalid"}}),
        (400, {"errors": [{"message": "image invalid"}, {"message": "prompt too long"}]}),
        (400, {"errors": ["image invalid"]}),
        (400, {"message": {"message": "image invalid"}}),
        (400, {"code": 1201, "message": "", "msg": "image invalid"}),
        (400, {"error_description": "image invalid"}),
        (400, {"title": "image invalid", "status": 400}),
    ],
)
async def test_the_reason_of_a_refusal_is_told_wherever_it_stands(
    http_status: int, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(lambda _: httpx.Response(http_status, json=document))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        made = await make(client, tmp_path)

    said = facts(made)["provider_says"]
    assert facts(made)["error"] == "request_refused"
    assert "image" in said
    assert "invalid" in said


CLOUDFLARE = "<!DOCTYPE html><title>Attention Required! | Cloudflare</title>"


@pytest.mark.parametrize("body", [CLOUDFLARE, "error code: 1020", ""])
@pytest.mark.parametrize("http_status", [403, 402, 451, 503])
async def test_a_firewall_s_page_is_no_verdict_about_key_or_account(
    http_status: int, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(lambda _: httpx.Response(http_status, text=body))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        made = await make(client, tmp_path)

    told = facts(made)
    assert told["error"] == "provider_down"
    assert told["charged"] == ("unknown" if http_status == 503 else "no")
    assert "no right" not in words(made)
    assert "Cloudflare" not in words(made)


async def test_a_refusal_that_names_the_task_it_made_is_believed_and_paid_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    creates: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            creates.append(request.url.path)
            made = {"task_id": "task_abc1", "status": "SUBMITTED"}
            return httpx.Response(400, json={"code": "success", "data": made})
        return httpx.Response(200, json={"code": "success", "data": {"task_id": "task_abc1"}})

    async with at_newapi(answer, tmp_path, monkeypatch, Clock()) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        made = await client.call_tool(CREATE, wish)
        again = await client.call_tool(CREATE, wish)

    assert facts(made)["task_id"] == facts(again)["task_id"] == "task_abc1"
    assert len(creates) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
        (400, "read tcp 10.0.0.1: connection reset by peer"),
        (400, "unexpected EOF"),
        (499, "client closed request"),
    ],
)
async def test_a_gateway_that_lost_kling_s_answer_does_not_make_a_create_free(
    status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"code": "fail_to_fetch_task", "message": message}
    async with at_newapi(
        lambda _: httpx.Response(status, json=lost), tmp_path, monkeypatch, Clock()
    ) as client:
        made = await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "Zoom"})

    assert facts(made)["charged"] == "unknown"
    assert "cost nothing" not in words(made)


@pytest.mark.parametrize("message", ["no such task", "task not found", "task_not_exist"])
async def test_a_create_whose_task_the_gateway_does_not_find_may_be_paid_and_is_sent_once(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    creates: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            creates.append(request.url.path)
            return httpx.Response(200, json={"code": 7001, "message": message})
        return httpx.Response(503)

    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with at_newapi(answer, tmp_path, monkeypatch, Clock()) as client:
        made = await client.call_tool(CREATE, wish)
        await client.call_tool(CREATE, wish)

    assert facts(made)["charged"] == "unknown"
    assert len(creates) == 1


async def test_a_provider_in_trouble_does_not_end_the_wait_by_words_about_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([httpx.Response(503, json={"code": "error", "message": "no such task queue"})])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return task()
        return next(looks, None) or task(**DONE)

    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        task_id = facts(await make(client, tmp_path))["task_id"]
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})

    assert facts(waited)["tasks"][0]["status"] == "succeed", words(waited)
