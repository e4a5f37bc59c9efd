"""Nothing that runs beside the calls of a server ends it; each task says why it stands still."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from tests.sampling import sampled
from tests.server.scripted import BASE, Scripted, ends_with_video, facts, make, talking_to, words
from tests.server.serving import virtual_time

from kling_mcp.background import Background
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.transport import Connection
from kling_mcp.settings.settings import Settings

pytestmark = pytest.mark.anyio


NO_CONNECTION_CAN_BE_MADE_TO = (
    "http://127.0.0.1:99999/v.mp4",
    "http://127.0.0.1:65536/v.mp4",
    "http://127.0.0.1:99999999999999999999/v.mp4",
    "http://127.0.0.1:-1/v.mp4",
    "http://127.0.0.1:0/v.mp4",
    "http://user:word@127.0.0.1:99999/v.mp4",
    "http://xn--.invalid/v.mp4",
    "https://xn--.invalid/v.mp4",
    "https://cdn.example:70000/v.mp4",
    "http://[::1]:99999/v.mp4",
)
LOOK = ("kling_get_task", "kling_wait_for_tasks")


async def _looked_at(client: Client, tool: str, task_id: str) -> dict[str, Any]:
    """The task as one of the two tools tells of it."""
    one = tool == "kling_get_task"
    result = await client.call_tool(tool, {"task_id": task_id} if one else {"task_ids": [task_id]})
    assert not result.is_error, words(result)
    found: dict[str, Any] = facts(result) if one else facts(result)["tasks"][0]
    return found


async def _lives(client: Client) -> None:
    assert not (await client.call_tool("kling_list_tasks", {})).is_error


@pytest.mark.parametrize(
    ("url", "redirected"), sampled(product(NO_CONNECTION_CAN_BE_MADE_TO, [False, True]), 3)
)
async def test_a_video_at_an_impossible_url_is_told_as_not_saved(
    url: str, redirected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = "http://127.0.0.1:8/first.mp4" if redirected else url
    provider = Scripted(
        ends_with_video(first),
        lambda _: httpx.Response(302, headers={"Location": url}),
        loopback=True,
    )
    async with talking_to(provider, tmp_path, monkeypatch, save=True) as client:
        task_id = facts(await make(client, tmp_path))["task_id"]
        looks = [await _looked_at(client, tool, task_id) for tool in LOOK]
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})
        await _lives(client)

    for seen in looks:
        assert seen["status"] == "succeed"
        assert seen["next"].startswith("It could not be saved: "), seen
    assert facts(saved)["error"] in ("unsafe_url", "save_failed"), words(saved)
    assert url not in provider.asked


class _NoFiles(Scripted):
    """A provider whose files cannot even be asked for: a mistake of ours."""

    @asynccontextmanager
    async def connect(
        self, provider: Configured, _: Settings, __: object = None
    ) -> AsyncIterator[Connection]:
        transport = httpx.MockTransport(self._api)
        async with httpx.AsyncClient(base_url=BASE, transport=transport) as api:
            yield Connection(api, None, provider.credentials, loopback=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("tool", LOOK)
async def test_a_mistake_in_saving_is_told_by_its_task_and_ends_nothing(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = _NoFiles(ends_with_video("https://cdn.example/v.mp4"))
    async with talking_to(provider, tmp_path, monkeypatch, save=True) as client:
        task_id = facts(await make(client, tmp_path))["task_id"]
        seen = await _looked_at(client, tool, task_id)
        await _lives(client)

    assert "It could not be saved: This server made a mistake" in seen["next"]
    assert "AttributeError" in caplog.text


async def test_a_client_that_breaks_in_an_unknown_way_is_told_as_a_broken_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: httpx.Request) -> httpx.Response:
        raise ExceptionGroup("unhandled errors in a TaskGroup", [OverflowError("port")])

    provider = Scripted(ends_with_video("https://cdn.example/v.mp4"), breaks)
    async with talking_to(provider, tmp_path, monkeypatch, save=True) as client:
        task_id = facts(await make(client, tmp_path))["task_id"]
        seen = await _looked_at(client, "kling_get_task", task_id)

    assert "The download failed" in seen["next"]


@virtual_time
async def test_a_create_that_breaks_in_an_unknown_way_says_that_it_may_have_been_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: httpx.Request) -> httpx.Response:
        raise OverflowError

    async with talking_to(Scripted(breaks), tmp_path, monkeypatch) as client:
        result = await make(client, tmp_path)

    assert result.is_error
    assert facts(result)["charged"] == "unknown"


async def test_work_that_breaks_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    done = anyio.Event()

    async def break_down() -> None:
        raise ExceptionGroup("two", [ZeroDivisionError(), KeyError("x")])

    async def go_on() -> None:
        await anyio.lowlevel.checkpoint()
        done.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            background = Background(group)
            background.start_soon(break_down)
            background.start_soon(go_on)

    assert done.is_set()
    assert "break_down broke; the server goes on." in caplog.text


async def test_work_that_is_kept_up_begins_anew_after_longer_and_longer_pauses() -> None:
    pauses: list[float] = []
    tries = 0

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise OSError

    async with anyio.create_task_group() as group:
        Background(group, sleep, (1.0, 5.0, 30.0)).keep_up(work)

    assert pauses == [1.0, 5.0, 30.0, 30.0]
