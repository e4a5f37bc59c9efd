"""A server whose one provider, at https://kling.example, answers what a test tells it to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.virtual_time import virtual_clock
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.server.serving import hurried, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.retries import TIME_LIMITS, TimeLimits
from kling_mcp.providers.transport import Connection
from kling_mcp.settings.settings import Settings

KEY = "a-key-that-nobody-may-see"
BASE = "https://kling.example"
CREATE = "kling_image_to_video"

Answer = Callable[[httpx.Request], httpx.Response]


class Scripted:
    """`api` answers the provider's routes, `files` everything else; `asked` are the URLs of
    files."""

    def __init__(self, api: Answer, files: Answer | None = None, *, loopback: bool = False) -> None:
        self.asked: list[str] = []
        self._api = api
        self._files = files
        self._loopback = loopback

    @asynccontextmanager
    async def connect(
        self, provider: Configured, _: Settings, __: object = None
    ) -> AsyncIterator[Connection]:
        """In place of `kling_mcp.providers.transport.connect`."""
        async with (
            httpx.AsyncClient(base_url=BASE, transport=httpx.MockTransport(self._api)) as api,
            httpx.AsyncClient(transport=httpx.MockTransport(self._file)) as files,
        ):
            yield Connection(api, files, provider.credentials, self._loopback)

    def _file(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        assert self._files is not None
        return self._files(request)


def is_create(request: httpx.Request) -> bool:
    """Whether it makes a task: the new standard asks for its history with a POST, too."""
    return request.method == "POST" and request.url.path != "/tasks"


def task(**fields: Any) -> httpx.Response:
    """Kling's answer with a task in it."""
    shown = {"task_id": "t-1", "task_status": "submitted"} | fields
    return httpx.Response(200, json={"code": 0, "message": "SUCCEED", "data": shown})


def ends(**fields: Any) -> Answer:
    """A provider that takes each create, and whose task then looks like this."""
    return lambda request: task() if is_create(request) else task(**fields)


def ends_with_video(url: str) -> Answer:
    """A provider whose task has this video."""
    return ends(task_status="succeed", task_result={"videos": [{"url": url, "duration": "5.0"}]})


def lasting(lasts_s: Callable[[str], float], *, told_late_s: float | None = 0.0) -> Answer:
    """A provider whose tasks, t-1 and so on, end so many virtual seconds after their creates. It
    lists none, and tells when, by a clock that is so many seconds late (None: it does not tell)."""
    ends_at: dict[str, float] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        now = virtual_clock()()
        if is_create(request):
            task_id = f"t-{len(ends_at) + 1}"
            ends_at[task_id] = now + lasts_s(task_id)
            return task(task_id=task_id)
        task_id = request.url.path.rsplit("/", 1)[1]
        if task_id not in ends_at:
            return httpx.Response(200, json={"code": 0, "data": []})
        if now < ends_at[task_id]:
            return task(task_id=task_id, task_status="processing")
        result: dict[str, Any] = {
            "videos": [{"url": "https://files.example/1.mp4", "duration": "5"}],
            "images": [{"index": 0, "url": "https://files.example/1.png"}],
        }
        shown = {"task_id": task_id, "task_status": "succeed", "task_result": result}
        if told_late_s is not None:
            shown["updated_at"] = round(1000 * (ends_at[task_id] - told_late_s))
        return task(**shown)

    return answer


@asynccontextmanager
async def talking_to(
    provider: Scripted,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: TimeLimits = TIME_LIMITS,
    **more: Any,
) -> AsyncIterator[Client]:
    """A client of a server with that provider."""
    monkeypatch.setattr("kling_mcp.providers.transport.connect", provider.connect)
    of_kling = {"provider": "kling", "kling_api_key": KEY, "kling_base_url": BASE}
    settings = sandbox_settings(folder, **(of_kling | more))
    async with Client(build_server(settings, **hurried(), limits=limits)) as client:
        yield client


async def make(client: Client, folder: Path) -> CallToolResult:
    """The answer to a create."""
    return await client.call_tool(CREATE, {"image": picture(folder), "prompt": "Zoom"})


def words(result: CallToolResult) -> str:
    """The one text of an answer."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def facts(result: CallToolResult) -> dict[str, Any]:
    """The structured answer."""
    assert result.structured_content is not None
    return result.structured_content
