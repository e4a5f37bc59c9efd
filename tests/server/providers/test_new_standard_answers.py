"""Tasks read on the new standard: the record, queries of twenty, pages of the history."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from kling_mcp.providers.auth import ApiKey, Credentials, SignedToken
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.dialects import read_history, read_records, read_task
from kling_mcp.providers.json_body import JsonBody
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.providers.task import Video
from kling_mcp.providers.transport import Connection
from kling_tools.errors import (
    AuthFailed,
    ContentRefused,
    DuplicateTask,
    PaymentRequired,
    ProviderDown,
    ProviderError,
    RateLimited,
    RequestRefused,
    TaskNotFound,
)

pytestmark = pytest.mark.anyio

MADE: dict[str, Any] = {
    "id": "9001",
    "status": "succeeded",
    "message": "",
    "create_time": 1781080778802,
    "update_time": 1781080794151,
    "external_id": "kmcp-1",
    "outputs": [
        {"type": "image", "url": "https://p1-kling.klingai.com/1.png"},
        {
            "type": "video",
            "id": "v-1",
            "url": "https://v15-kling.klingai.com/1.mp4?Expires=1783672794",
            "watermark_url": "https://v15-kling.klingai.com/1-w.mp4",
            "duration": "5.041",
        },
    ],
    "billing": [
        {"charge_type": "unit", "amount": "4.0", "package_type": "video"},
    ],
}
CREATED = {"id": "9001", "status": "submitted", "create_time": 1781080778802, "external_id": "x"}


def test_a_record_has_its_video_its_times_its_ids_and_its_cost() -> None:
    task = read_task({"code": 0, "data": MADE}, ("record",), "kling")

    assert (task.task_id, task.status, task.external_task_id) == ("9001", "succeed", "kmcp-1")
    assert task.videos == (
        Video(
            "https://v15-kling.klingai.com/1.mp4?Expires=1783672794",
            5.041,
            "https://v15-kling.klingai.com/1-w.mp4",
            "v-1",
        ),
    )
    assert (task.created_at, task.updated_at) == (1781080778.802, 1781080794.151)
    assert (task.units, task.money) == (4.0, None)


@pytest.mark.parametrize(
    ("billing", "units", "money", "currency"),
    [
        ([], None, None, ""),
        (None, None, None, ""),
        (
            [
                {"charge_type": "cash", "amount": "0.56", "currency": "USD", "list_price": "0.7"},
            ],
            None,
            0.56,
            "USD",
        ),
    ],
)
def test_a_bill_may_be_cash_or_still_to_come(
    billing: Any, units: float | None, money: float | None, currency: str
) -> None:
    task = read_task({"code": 0, "data": MADE | {"billing": billing}}, ("record",), "kling")

    assert (task.units, task.money, task.currency) == (units, money, currency)


def test_a_failed_task_without_a_bill_cost_nothing_and_tells_why() -> None:
    failed = {"id": "1", "status": "failed", "message": "Image pixel is invalid", "billing": []}

    task = read_task({"code": 0, "data": failed}, ("record",), "kling")

    assert (task.status, task.message, task.units) == ("failed", "Image pixel is invalid", 0.0)


def test_a_task_without_its_file_still_runs() -> None:
    (task,) = read_records({"code": 0, "data": [MADE | {"outputs": []}]})

    assert (task.status, task.lacks_file) == ("processing", True)


def test_a_page_of_the_history_has_videos_alone_and_a_cursor_while_it_goes_on() -> None:
    image = {"id": "2", "status": "succeeded", "outputs": [{"type": "image", "url": "https://a/b"}]}
    data = {"result": [MADE, image, "?", {}], "has_more": True, "next_cursor": "c1", "count": 2}

    tasks, cursor = read_history({"code": 0, "data": data})
    _, last = read_history({"code": 0, "data": data | {"has_more": False}})

    assert [task.task_id for task in tasks] == ["9001"]
    assert (cursor, last) == ("c1", "")


@pytest.mark.parametrize("data", [None, [], {}, {"result": None}, "x", 5, [None, 1, {"id": ""}]])
def test_an_answer_of_another_shape_is_read_as_no_task(data: Any) -> None:
    assert read_records({"code": 0, "data": data}) == []
    assert read_history({"code": 0, "data": data}) == ([], "")


@asynccontextmanager
async def asking(
    answer: Callable[[httpx.Request], httpx.Response],
    credentials: Credentials | None = None,
) -> AsyncIterator[tuple[KlingClient, list[httpx.Request]]]:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer(request)

    transport = httpx.MockTransport(handle)
    async with httpx.AsyncClient(base_url="https://kling.example", transport=transport) as api:
        connection = Connection(api, api, credentials or ApiKey("a-key"), False)
        yield KlingClient(PROVIDERS["kling"], connection, attempts=1), asked


def ok(data: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, json={"code": 0, "message": "", "data": data})


async def test_a_create_goes_to_its_endpoint_and_a_record_comes_back() -> None:
    async with asking(ok(CREATED)) as (client, asked):
        task = await client.create("image2video", JsonBody({"a": 1}), "/image-to-video/kling-3.0")

    assert (asked[0].method, asked[0].url.path) == ("POST", "/image-to-video/kling-3.0")
    assert (task.task_id, task.status) == ("9001", "submitted")


async def test_a_task_is_asked_for_by_its_id_or_by_ours() -> None:
    async with asking(ok([MADE])) as (client, asked):
        await client.task("image2video", "9001", "new")
        await client.task("image2video", "kmcp-1", "new")

    assert [dict(request.url.params) for request in asked] == [
        {"task_ids": "9001"},
        {"external_task_ids": "kmcp-1"},
    ]
    assert {request.url.path for request in asked} == {"/tasks"}


async def test_an_empty_answer_means_that_there_is_no_such_task() -> None:
    async with asking(ok([])) as (client, asked):
        with pytest.raises(TaskNotFound) as missing:
            await client.task("image2video", "mine", "new")

    assert missing.value.charged == "no"
    assert len(asked) == 2  # an id of the caller's own looks like any other


async def test_an_answer_about_another_task_is_not_believed() -> None:
    async with asking(ok([MADE])) as (client, _):
        with pytest.raises(ProviderDown, match="another task"):
            await client.task("image2video", "9002", "new")


async def test_the_history_is_asked_for_videos_since_a_time_and_then_by_its_cursor() -> None:
    page = {"result": [MADE], "has_more": True, "next_cursor": "c1"}
    async with asking(ok(page)) as (client, asked):
        _, cursor = await client.history(limit=500, since=1781080000.0)
        await client.history(limit=100, cursor=cursor)

    videos = [{"key": "product_type", "values": ["video"]}]
    assert [json.loads(request.content) for request in asked] == [
        {"limit": 500, "filters": videos, "start_time": 1781080000000},
        {"limit": 100, "filters": videos, "cursor": "c1"},
    ]


REFUSALS: tuple[tuple[int, int, str, type[ProviderError]], ...] = (
    (401, 1002, "AK/SK cannot be used here; get an API key at the console", AuthFailed),
    (401, 1001, "Authorization is empty", AuthFailed),
    (400, 1201, "contents cannot be empty", RequestRefused),
    (400, 1201, "contents[0].text: size must be between 0 and 3072", RequestRefused),
    (400, 1201, "video resolution value '4k' is invalid", RequestRefused),
    (400, 1201, "File is not in a valid base64 format", RequestRefused),
    (
        400,
        1201,
        "The number of images and elements exceeds the limit, max number is 7",
        RequestRefused,
    ),
    (400, 1201, "External_task_id kmcp-1 already exists", DuplicateTask),
    (429, 1102, "Account balance not enough", PaymentRequired),
    (400, 1201, "Account balance not enough", PaymentRequired),
    (400, 1301, "Failure to pass the risk control system", ContentRefused),
    (400, 1201, "Failure to pass the risk control system", ContentRefused),
    (429, 1302, "too many requests", RateLimited),
)


@pytest.mark.parametrize(("status", "code", "text", "error"), REFUSALS)
async def test_a_refusal_of_the_new_standard_is_told_in_its_class_and_cost_nothing(
    status: int, code: int, text: str, error: type[ProviderError]
) -> None:
    answer = httpx.Response(status, json={"code": code, "message": text, "request_id": "r"})
    async with asking(lambda _: answer) as (client, _):
        with pytest.raises(error) as refused:
            await client.create("image2video", JsonBody({}), "/image-to-video/kling-3.0")

    assert type(refused.value) is error
    assert refused.value.charged == "no"


async def test_a_key_pair_is_refused_before_anything_is_sent() -> None:
    async with asking(ok([MADE]), SignedToken("access", "secret")) as (client, asked):
        for ask in (
            lambda: client.task("image2video", "9001", "new"),
            lambda: client.create("image2video", JsonBody({}), "/image-to-video/kling-3.0"),
            lambda: client.history(limit=1),
        ):
            with pytest.raises(AuthFailed) as refused:
                await ask()
            assert refused.value.charged == "no"
            assert "KLING_API_KEY in place of" in refused.value.advice

    assert asked == []
