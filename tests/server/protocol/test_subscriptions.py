"""Who subscribes hears of changes, in both protocol eras, and nothing is asked for afterwards."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from tests.server.protocol.raw_client import RawClient, handshaken, modern
from tests.server.scripted import CREATE, Scripted, task
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

UPDATED = "notifications/resources/updated"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class Provider:
    """A provider whose one task has the status that a test gives it; `looks` counts the GETs."""

    def __init__(self) -> None:
        self.status = "processing"
        self.looks = 0
        self.looked_at_thrice = anyio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return task()
        self.looks += 1
        if self.looks == 3:
            self.looked_at_thrice.set()
        if request.url.path.endswith("/image2video"):
            data = {"task_id": "t-1", "task_status": self.status}
            return httpx.Response(200, json={"code": 0, "message": "SUCCEED", "data": [data]})
        return task(task_status=self.status)


Connect = Callable[[MCPServer[Any]], AbstractAsyncContextManager[RawClient]]


@asynccontextmanager
async def listening(server: MCPServer[Any]) -> AsyncIterator[RawClient]:
    """A client of the newer era."""
    async with modern(server, tasks=False) as client:
        yield client


async def subscribe(client: RawClient, *uris: str) -> Callable[[], Any]:
    """Subscribe as the client's era wants it; what ends the subscription."""
    if client.modern:
        number = await client.begin(
            "subscriptions/listen", notifications={"resourceSubscriptions": list(uris)}
        )
        (acknowledged,) = await client.hear(ACKNOWLEDGED)
        assert acknowledged["notifications"] == {"resourceSubscriptions": list(uris)}
        return lambda: client.notify("notifications/cancelled", requestId=number)
    for uri in uris:
        assert "error" not in await client.ask("resources/subscribe", uri=uri)

    async def end() -> None:
        for uri in uris:
            assert "error" not in await client.ask("resources/unsubscribe", uri=uri)

    return end


async def settle() -> None:
    """Let everything that is under way go on, for an hour."""
    await anyio.sleep(3_600)


ERAS = pytest.mark.parametrize("connect", [handshaken, listening], ids=["2025", "2026"])


def server_at(provider: Provider, folder: Path, monkeypatch: pytest.MonkeyPatch) -> MCPServer[Any]:
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(provider).connect)
    settings = sandbox_settings(
        folder, provider="kling", kling_api_key="k", kling_base_url="https://kling.example"
    )
    return build_server(settings, **hurried())


async def make(client: RawClient, folder: Path, **more: Any) -> None:
    arguments = {"image": picture(folder), "prompt": "Zoom", **more}
    answer = await client.ask("tools/call", name=CREATE, arguments=arguments)
    assert answer["result"]["structuredContent"]["task_id"] == "t-1"


@ERAS
async def test_a_subscriber_hears_when_its_task_ends_though_nobody_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    provider = Provider()
    async with connect(server_at(provider, tmp_path, monkeypatch)) as client:
        await make(client, tmp_path)
        await subscribe(client, "kling://tasks/t-1", "kling://tasks")
        provider.status = "failed"
        heard = await client.hear(UPDATED, 2)
        assert {params["uri"] for params in heard} == {"kling://tasks/t-1", "kling://tasks"}
        while True:
            read = await client.ask("resources/read", uri="kling://tasks/t-1")
            if '"failed"' in read["result"]["contents"][0]["text"]:
                break
            await client.hear(UPDATED, len(heard) + 1)


@ERAS
async def test_the_list_of_tasks_watches_those_that_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    provider = Provider()
    async with connect(server_at(provider, tmp_path, monkeypatch)) as client:
        await subscribe(client, "kling://tasks")
        await make(client, tmp_path)
        await client.hear(UPDATED)
        provider.status = "failed"
        with anyio.fail_after(3_600):
            while True:
                read = await client.ask("resources/read", uri="kling://tasks")
                if '"failed"' in read["result"]["contents"][0]["text"]:
                    break
                await anyio.sleep(1)


@ERAS
async def test_whoever_ends_the_subscription_causes_no_more_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    provider = Provider()
    async with connect(server_at(provider, tmp_path, monkeypatch)) as client:
        await make(client, tmp_path)
        end = await subscribe(client, "kling://tasks/t-1", "kling://tasks")
        with anyio.fail_after(3_600):
            await provider.looked_at_thrice.wait()
        await end()
        await client.ask("tools/list")
        await settle()
        before = provider.looks
        await settle()
        assert provider.looks == before


@ERAS
async def test_another_tasks_change_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Connect
) -> None:
    async with connect(server_at(Provider(), tmp_path, monkeypatch)) as client:
        await subscribe(client, "kling://models", "kling://elsewhere/t-1")
        await make(client, tmp_path)
        await settle()
        await client.ask("tools/list")
        assert not [message for message in client.heard if message["method"] == UPDATED]


@ERAS
async def test_a_subscription_without_a_ledger_does_no_harm(
    tmp_path: Path, connect: Connect
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite3").write_text("not a database" * 100)
    async with connect(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        await subscribe(client, "kling://tasks", "kling://tasks/x")
        await settle()
        assert "result" in await client.ask("tools/list")


async def test_taskids_that_are_no_list_of_texts_are_refused(tmp_path: Path) -> None:
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        for wrong in ("x", [1], ["x"] * 501):
            answer = await client.ask("subscriptions/listen", notifications={"taskIds": wrong})
            assert answer["error"]["code"] == -32602


async def test_a_stream_names_so_many_resources_and_no_more(tmp_path: Path) -> None:
    """Each of them is looked up: one request must not keep the ledger busy for minutes."""
    uris = [f"kling://tasks/{number}" for number in range(501)]
    async with listening(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        refused = await client.ask(
            "subscriptions/listen", notifications={"resourceSubscriptions": uris}
        )
        await subscribe(client, *uris[:500])

    assert refused["error"]["code"] == -32602
    assert "At most 500" in refused["error"]["message"]


async def test_what_others_publish_still_reaches_the_stream(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path))

    @server.resource("test://{name}")
    async def touched(name: str, ctx: Context[Any, Any]) -> str:
        await ctx.notify_tools_changed()
        return name

    async with modern(server) as client:
        await client.begin("subscriptions/listen", notifications={"toolsListChanged": True})
        await client.hear(ACKNOWLEDGED)
        await client.ask("resources/read", uri="test://x")
        await client.hear("notifications/tools/list_changed")
