"""Providers and hosts that are slow, or ask to be left alone for days: in virtual time.

They keep no call waiting, no other provider's videos, and no request for ever.
"""

import itertools
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import httpx
import pytest
from benchmarks.virtual_time import VirtualTimeLoop, virtual_clock
from mcp import Client
from mcp_types import CallToolResult
from tests.made_clips import make_clip
from tests.server.scripted import KEY, facts, is_create, words
from tests.server.serving import sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.retries import TIME_LIMITS
from kling_mcp.providers.transport import Connection
from kling_mcp.settings.settings import Settings

IN_TIME_S = 45.0
WISH = {"image": "https://pictures.example/1.png", "prompt": "Zoom"}
Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Play:
    """Providers that take creates and whose tasks have ended, at `https://NAME.example`; `files`
    answers what is asked for at `https://cdn.example/PROVIDER-NUMBER.mp4`.

    `creates` and `reads` may answer in place of the provider; `asked` are the URLs of files.
    """

    def __init__(self, files: Handler) -> None:
        self.files = files
        self.creates: Handler | None = None
        self.reads: Handler | None = None
        self.made = 0
        self.asked: list[str] = []

    @asynccontextmanager
    async def connect(
        self, provider: Configured, _: Settings, __: object = None
    ) -> AsyncIterator[Connection]:
        """In place of `kling_mcp.providers.transport.connect`."""

        async def api(request: httpx.Request) -> httpx.Response:
            instead = self.creates if is_create(request) else self.reads
            if instead is not None:
                return await instead(request)
            return self._api(provider.name, request)

        async def files(request: httpx.Request) -> httpx.Response:
            self.asked.append(str(request.url))
            return await self.files(request)

        async with (
            httpx.AsyncClient(
                base_url=f"https://{provider.name}.example", transport=httpx.MockTransport(api)
            ) as first,
            httpx.AsyncClient(transport=httpx.MockTransport(files)) as second,
        ):
            yield Connection(first, second, provider.credentials, loopback=False)

    def _api(self, provider: str, request: httpx.Request) -> httpx.Response:
        if is_create(request):
            self.made += 1
            data: Any = {"task_id": f"{provider}-{self.made}", "task_status": "submitted"}
        elif request.method == "POST":
            data = {"result": [], "has_more": False}
        elif "pageNum" in request.url.params:
            data = []
        else:
            task_id = request.url.path.rpartition("/")[2]
            video = {"url": f"https://cdn.example/{task_id}.mp4", "duration": "5.0"}
            data = {
                "task_id": task_id,
                "task_status": "succeed",
                "task_result": {"videos": [video]},
            }
        return httpx.Response(200, json={"code": 0, "data": data})


@asynccontextmanager
async def talking(play: Play, folder: Path, **more: Any) -> AsyncIterator[Client]:
    """A client of a server with both providers."""
    settings = sandbox_settings(
        folder,
        provider="kling",
        kling_api_key=KEY,
        kling_base_url="https://kling.example",
        cometapi_api_key=KEY,
        cometapi_base_url="https://cometapi.example",
        **{"save": True, **more},
    )
    with patch("kling_mcp.providers.transport.connect", play.connect):
        async with Client(build_server(settings, clock=virtual_clock())) as client:
            yield client


async def made(client: Client, provider: str = "kling", number: int = 1) -> str:
    wish = {**WISH, "provider": provider, "prompt": f"Zoom {number}"}
    receipt = await client.call_tool("kling_image_to_video", wish)
    assert not receipt.is_error, words(receipt)
    task_id: str = facts(receipt)["task_id"]
    return task_id


async def called(client: Client, tool: str, **arguments: Any) -> tuple[CallToolResult, float]:
    """An answer, and after how many seconds it came."""
    began = anyio.current_time()
    answer = await client.call_tool(tool, arguments)
    return answer, anyio.current_time() - began


def in_virtual_time(play: Callable[[], Awaitable[None]]) -> None:
    anyio.run(play, backend_options={"loop_factory": VirtualTimeLoop})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4").read_bytes()


async def asks_for_days(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "1000000"})


async def says_nothing(_: httpx.Request) -> httpx.Response:
    await anyio.sleep_forever()
    raise AssertionError


def video(content: bytes) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(content))


class _Dripping(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"\0"
            await anyio.sleep(3)


async def drips(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=_Dripping())


async def cannot_be_reached(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("[Errno -2] Name or service not known", request=request)


SLOW = [asks_for_days, says_nothing, drips]


@pytest.mark.parametrize("files", SLOW)
def test_slow_hosts_of_one_provider_keep_no_other_waiting(
    files: Handler, clip: bytes, tmp_path: Path
) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if "cometapi" in request.url.path:
            return video(clip)
        return await files(request)

    async def play() -> None:
        async with talking(Play(answer), tmp_path) as client:
            slow = [await made(client, "kling", number) for number in range(6)]
            await called(client, "kling_wait_for_tasks", task_ids=slow, timeout_s=20)
            other = await made(client, "cometapi")
            waited, took_s = await called(
                client, "kling_wait_for_tasks", task_ids=[other], timeout_s=9
            )
        assert took_s < 10, words(waited)
        assert Path(facts(waited)["tasks"][0]["path"]).read_bytes() == clip

    in_virtual_time(play)


@pytest.mark.parametrize("files", SLOW)
def test_a_slow_download_is_given_up_told_and_tried_anew_when_asked(
    files: Handler, clip: bytes, tmp_path: Path
) -> None:
    async def play() -> None:
        played = Play(files)
        async with talking(played, tmp_path) as client:
            task_id = await made(client)
            got, _ = await called(client, "kling_get_task", task_id=task_id)
            assert facts(got)["file"].startswith("being saved: ")
            await anyio.sleep(1_500)
            listed, _ = await called(client, "kling_list_tasks")
            (row,) = facts(listed)["tasks"]
            assert re.search(r"could not be saved: The download (failed|was given up)", row["next"])
            played.files = served(clip)
            saved, _ = await called(client, "kling_save_video", task_id=task_id)
            listed, _ = await called(client, "kling_list_tasks")
        assert Path(facts(saved)["path"]).read_bytes() == clip
        assert "next" not in facts(listed)["tasks"][0]

    in_virtual_time(play)


def served(content: bytes) -> Handler:
    async def answer(_: httpx.Request) -> httpx.Response:
        return video(content)

    return answer


@pytest.mark.parametrize("files", SLOW)
def test_a_save_is_answered_in_time_and_the_next_call_joins_it(
    files: Handler, tmp_path: Path
) -> None:
    async def play() -> None:
        played = Play(files)
        async with talking(played, tmp_path, save=False) as client:
            task_id = await made(client)
            answer, took_s = await called(client, "kling_save_video", task_id=task_id)
            asked = len(played.asked)
            again, again_s = await called(client, "kling_save_video", task_id=task_id)
            assert answer.is_error
            assert "not saved yet" in words(answer)
            assert "joins what is under way" in words(answer)
            assert "This call cost nothing." in words(answer)
            assert again.is_error
            assert took_s <= IN_TIME_S
            assert again_s <= IN_TIME_S
            assert len(played.asked) <= asked + 1

    in_virtual_time(play)


def test_a_call_that_is_joined_ends_with_the_file(clip: bytes, tmp_path: Path) -> None:
    async def late(_: httpx.Request) -> httpx.Response:
        await anyio.sleep(60)
        return video(clip)

    async def play() -> None:
        played = Play(late)
        async with talking(played, tmp_path, save=False) as client:
            task_id = await made(client)
            await called(client, "kling_save_video", task_id=task_id)
            saved, took_s = await called(client, "kling_save_video", task_id=task_id)
        assert Path(facts(saved)["path"]).read_bytes() == clip
        assert took_s < 20
        assert len(played.asked) == 1

    in_virtual_time(play)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("kling_get_task", {"task_id": "kling-1"}),
        ("kling_get_task", {"task_id": "made-elsewhere"}),
        ("kling_wait_for_tasks", {"task_ids": ["kling-1"], "timeout_s": 45}),
        ("kling_wait_for_tasks", {"task_ids": ["made-elsewhere"], "timeout_s": 45}),
        ("kling_save_video", {"task_id": "kling-1"}),
        ("kling_list_tasks", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("task_id", ""),
)
@pytest.mark.parametrize("reads", SLOW)
def test_every_tool_is_answered_in_time_by_a_slow_provider(
    reads: Handler, tool: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    async def play() -> None:
        played = Play(says_nothing)
        async with talking(played, tmp_path) as client:
            await made(client)
            played.reads = reads
            answer, took_s = await called(client, tool, **arguments)
        assert took_s <= IN_TIME_S + 0.001
        assert "charged" not in facts(answer) or facts(answer)["charged"] == "no"

    in_virtual_time(play)


def test_a_task_whose_provider_is_silent_is_shown_as_last_seen(tmp_path: Path) -> None:
    async def play() -> None:
        played = Play(says_nothing)
        async with talking(played, tmp_path) as client:
            task_id = await made(client)
            played.reads = says_nothing
            answer, _ = await called(client, "kling_get_task", task_id=task_id)
        assert facts(answer)["status"] == "submitted"
        assert "last known state" in facts(answer)["next"]

    in_virtual_time(play)


def test_a_list_names_the_provider_that_is_silent_and_shows_the_others(tmp_path: Path) -> None:
    async def reads(request: httpx.Request) -> httpx.Response:
        assert "pageNum" in request.url.params
        return await says_nothing(request)

    async def play() -> None:
        played = Play(says_nothing)
        async with talking(played, tmp_path) as client:
            await made(client)
            played.reads = reads
            answer, took_s = await called(client, "kling_list_tasks")
        assert took_s <= IN_TIME_S
        assert "kling's own list is missing" in facts(answer)["note"]
        assert len(facts(answer)["tasks"]) == 1

    in_virtual_time(play)


def test_a_task_made_elsewhere_is_told_as_soon_as_one_provider_knows_it(tmp_path: Path) -> None:
    async def play() -> None:
        played = Play(says_nothing)

        async def reads(request: httpx.Request) -> httpx.Response:
            if request.url.host != "cometapi.example":
                return await says_nothing(request)
            data = {"task_id": "elsewhere", "task_status": "processing"}
            return httpx.Response(200, json={"code": 0, "data": data})

        played.reads = reads
        async with talking(played, tmp_path) as client:
            answer, took_s = await called(client, "kling_get_task", task_id="elsewhere")
        assert facts(answer)["status"] == "processing"
        assert took_s < 1

    in_virtual_time(play)


@pytest.mark.parametrize("files", SLOW)
def test_a_clip_that_begins_with_a_frame_still_on_its_way_is_answered_in_time_and_not_paid(
    files: Handler, tmp_path: Path
) -> None:
    async def play() -> None:
        played = Play(files)
        async with talking(played, tmp_path) as client:
            ids = [await made(client, number=number) for number in range(4)]
            for task_id in ids:
                played.reads = None
                await called(client, "kling_wait_for_tasks", task_ids=[task_id], timeout_s=0)
            before = played.made
            pictures = [f"kling://tasks/{task_id}/frames/last" for task_id in ids]
            answer, took_s = await called(
                client,
                "kling_multi_image_to_video",
                image_list=pictures,
                prompt="They meet",
            )
        assert answer.is_error
        assert took_s <= IN_TIME_S
        assert "still being saved" in words(answer)
        assert played.made == before

    in_virtual_time(play)


def test_a_create_is_answered_in_time_also_after_waiting_for_its_pictures(tmp_path: Path) -> None:
    async def play() -> None:
        played = Play(says_nothing)
        async with talking(played, tmp_path) as client:
            played.creates = says_nothing
            answer, took_s = await called(client, "kling_image_to_video", **WISH)
        assert took_s <= TIME_LIMITS.answer_s
        assert facts(answer)["charged"] == "unknown"

    in_virtual_time(play)


def test_a_queued_request_is_tried_again_within_half_a_minute_whatever_is_asked_for(
    tmp_path: Path,
) -> None:
    tried: list[float] = []

    async def full(_: httpx.Request) -> httpx.Response:
        tried.append(anyio.current_time())
        headers = {"Retry-After": "86400"}
        body = {"code": 1303, "message": "parallel task over resource pack limit"}
        return httpx.Response(429, json=body, headers=headers)

    async def play() -> None:
        played = Play(says_nothing)
        async with talking(played, tmp_path) as client:
            played.creates = full
            await called(client, "kling_image_to_video", **WISH)
            await anyio.sleep(100)
            played.creates = None
            await anyio.sleep(35)
            listed, _ = await called(client, "kling_list_tasks")
        gaps = [after - before for before, after in itertools.pairwise(tried)]
        assert len(gaps) >= 3
        assert max(gaps) <= 32
        assert played.made == 1
        assert facts(listed)["tasks"][0]["status"] == "submitted"

    in_virtual_time(play)


UNREACHABLE = "cannot be reached"
TOOLS = {
    "kling_get_task": {"task_id": "kling-1"},
    "kling_wait_for_tasks": {"task_ids": ["kling-1"], "timeout_s": 5},
    "kling_list_tasks": {},
    "kling_save_video": {"task_id": "kling-1"},
}


def test_a_host_out_of_reach_is_told_alike_by_every_tool_and_keeps_no_wait_going(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        async with talking(Play(cannot_be_reached), tmp_path) as client:
            await made(client)
            first, took_s = await called(
                client, "kling_wait_for_tasks", **TOOLS["kling_wait_for_tasks"]
            )
            assert took_s <= 6
            assert facts(first)["done"] is True
            assert facts(first)["tasks"][0]["status"] == "succeed"
            assert UNREACHABLE in facts(first)["tasks"][0]["next"]
            assert "still running" not in words(first)
            await anyio.sleep(10)
            for _ in range(2):
                for tool, arguments in TOOLS.items():
                    answer, took_s = await called(client, tool, **arguments)
                    assert took_s < 10, tool
                    assert UNREACHABLE in words(answer), tool
                    assert "URL (kling_get_task) is valid until" in words(answer), tool
                    assert facts(answer).get("done", True) is True
                    assert "kling_save_video" in words(answer), tool

    in_virtual_time(play)


def test_what_could_not_be_saved_is_tried_again_by_itself_more_and_more_rarely(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        played = Play(cannot_be_reached)
        async with talking(played, tmp_path) as client:
            task_id = await made(client)
            for _ in range(60):
                await called(client, "kling_get_task", task_id=task_id)
                await anyio.sleep(20)
        attempts = len(played.asked)
        assert 5 * 3 <= attempts <= 5 * 5

    in_virtual_time(play)


def test_what_killed_downloads_left_is_swept_and_what_others_write_is_not(
    clip: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    left = [folder / ".zoom-1.mp4.0123abcd.part", folder / "deep" / ".clip.mp4.89abcdef.part"]
    kept = [
        folder / ".zoom-2.mp4.0123abcd.part",
        folder / "notes.part",
        folder / ".mp4.part",
        folder / "holiday.mp4",
    ]
    long_ago = time.time() - 2 * 3_600
    for path in (*left, *kept):
        path.write_bytes(b"x")
    for path in (*left, *kept[1:]):
        os.utime(path, (long_ago, long_ago))

    async def play() -> None:
        async with talking(Play(served(clip)), tmp_path) as client:
            await called(client, "kling_save_video", task_id=await made(client))

    in_virtual_time(play)

    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells what is open")
@pytest.mark.parametrize("files", SLOW)
def test_downloads_that_wait_hold_no_files_open(files: Handler, tmp_path: Path) -> None:
    async def play() -> None:
        async with talking(Play(files), tmp_path) as client:
            ids = [await made(client, number=number) for number in range(12)]
            await called(client, "kling_wait_for_tasks", task_ids=ids, timeout_s=5)
            for _ in range(10):
                await anyio.sleep(20)
                assert len(open_parts(tmp_path)) <= 4

    in_virtual_time(play)

    assert list((tmp_path / "videos").iterdir()) == []


def open_parts(folder: Path) -> list[str]:
    """Part files below the folder that this process has open."""
    names = []
    for opened in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            names.append(str(opened.readlink()))
    return [name for name in names if name.startswith(str(folder)) and name.endswith(".part")]


def test_the_account_of_a_silent_provider_is_told_in_time(tmp_path: Path) -> None:
    async def play() -> None:
        played = Play(says_nothing)
        async with talking(played, tmp_path) as client:
            played.reads = says_nothing
            began = anyio.current_time()
            read = await client.read_resource("kling://account")
            took_s = anyio.current_time() - began
        assert took_s <= IN_TIME_S
        assert "kling" in read.contents[0].text  # type: ignore[union-attr]

    in_virtual_time(play)
