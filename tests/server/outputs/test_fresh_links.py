"""A link that was told just now is used as it is; one that ended or leads nowhere is replaced."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from mcp import Client
from tests.made_clips import make_clip
from tests.server.scripted import Scripted, facts, is_create, make, talking_to, task, words
from tests.server.serving import virtual_time

pytestmark = [pytest.mark.anyio, virtual_time]

LATER, EARLIER = "?Expires=4000000000", "?Expires=1000000000"


class Linked:
    """A provider whose task is done at once; each query tells a link of its own, with `ending`."""

    def __init__(self, ending: str = "") -> None:
        self.ending = ending
        self.queries = 0
        self._links: Iterator[int] = count(1)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if is_create(request):
            return task()
        if request.method == "POST":
            return httpx.Response(200, json={"code": 0, "data": {"result": []}})
        self.queries += 1
        url = f"https://files.example/{next(self._links)}.mp4{self.ending}"
        videos = [{"url": url, "duration": "1.0"}]
        return task(task_status="succeed", task_result={"videos": videos})


async def finished(client: Client, folder: Path) -> str:
    task_id: str = facts(await make(client, folder))["task_id"]
    waited = facts(await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]}))
    assert waited["done"] is True
    return task_id


@pytest.mark.parametrize(("ending", "queries"), [("", 1), (LATER, 1), (EARLIER, 2)])
async def test_saving_asks_for_another_link_only_if_the_known_one_has_ended(
    ending: str, queries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "made.mp4").read_bytes()
    kling = Linked(ending)
    provider = Scripted(kling, lambda _: httpx.Response(200, stream=httpx.ByteStream(clip)))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})

    assert not saved.is_error, words(saved)
    assert kling.queries == queries
    assert provider.asked == [f"https://files.example/{queries}.mp4{ending}"]


async def test_a_fresh_link_that_leads_nowhere_is_replaced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "made.mp4").read_bytes()
    kling = Linked(LATER)

    def files(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/1.mp4":
            return httpx.Response(403)
        return httpx.Response(200, stream=httpx.ByteStream(clip))

    provider = Scripted(kling, files)
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})

    assert not saved.is_error, words(saved)
    assert kling.queries == 2
    assert [httpx.URL(url).path for url in provider.asked] == ["/1.mp4", "/2.mp4"]


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_of_a_link_that_is_dead_although_it_is_fresh_it_is_said_when_to_ask_for_another_one(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Linked()
    provider = Scripted(kling, lambda _: httpx.Response(status))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))

    assert kling.queries == 2
    assert "This call cost nothing. The video is not paid again: in a few minutes call" in failed
    assert "30 days" not in failed


@pytest.mark.parametrize("forgets", [False, True], ids=["its video", "the task, too"])
async def test_of_a_video_that_the_provider_has_deleted_it_is_said_how_it_is_made_anew(
    forgets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [{"url": f"https://files.example/1.mp4{EARLIER}", "duration": "1.0"}]
    ended = task(task_status="succeed", updated_at=10**12, task_result={"videos": videos})
    unknown = httpx.Response(404, json={"code": 1203, "message": "no such task"})
    queries = iter([ended, unknown if forgets else ended])

    def kling(request: httpx.Request) -> httpx.Response:
        return task() if is_create(request) else next(queries)

    provider = Scripted(kling, lambda _: httpx.Response(404))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))
        anew = await client.call_tool("kling_image_to_video", {"another_take_of": task_id})

    assert "This call cost nothing. The provider has deleted it after 30 days." in failed
    assert f'kling_image_to_video with another_take_of "{task_id}" makes it anew' in failed
    assert facts(anew)["take"] == 2, words(anew)


@pytest.mark.parametrize("url", ["https://files.example/1.mp4", "https://127.0.0.1/1.mp4"])
@pytest.mark.parametrize("past", [False, True])
async def test_of_a_video_that_cannot_be_had_after_its_days_it_is_said_that_it_may_be_deleted(
    url: str, past: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = {"updated_at": 10**12} if past else {}
    result = {"videos": [{"url": f"{url}{EARLIER}", "duration": "1.0"}]}
    ended = task(task_status="succeed", task_result=result, **at)

    def kling(request: httpx.Request) -> httpx.Response:
        return task() if is_create(request) else ended

    provider = Scripted(kling, lambda _: httpx.Response(503))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))

    anew = f'kling_image_to_video with another_take_of "{task_id}" makes it anew, and is charged.'
    maybe = "The provider keeps it for 30 days, which are over, so it may be deleted"
    assert "This call cost nothing." in failed
    assert ("still exists at the provider" in failed) == (not past)
    assert (maybe in failed) == (f"If it cannot be had, {anew}" in failed) == past
