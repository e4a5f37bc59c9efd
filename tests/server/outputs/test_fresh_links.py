"""A link that was told just now is used as it is; one that ended or leads nowhere is replaced."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from tests.made_clips import make_clip
from tests.server.films.filming import serving
from tests.server.scripted import Scripted, facts, is_create, make, talking_to, task, words
from tests.server.serving import virtual_time

from kling_mcp.ledger import Ledger, Record
from kling_mcp.outputs.part import Part
from kling_mcp.outputs.storage import FolderStorage

pytestmark = [pytest.mark.anyio, virtual_time]

LATER, EARLIER = "?Expires=4000000000", "?Expires=1000000000"


class Linked:
    """A provider whose task is done at once; each query tells a link of its own, with `ending`,
    and `more` about the task. `instead` is what it answers from then on."""

    def __init__(self, ending: str = "", **more: object) -> None:
        self.ending = ending
        self.instead: httpx.Response | None = None
        self._more = more
        self.queries = 0
        self._links: Iterator[int] = count(1)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if is_create(request):
            return task()
        if request.method == "POST":
            return httpx.Response(200, json={"code": 0, "data": {"result": []}})
        if self.instead:
            return self.instead
        self.queries += 1
        url = f"https://files.example/{next(self._links)}.mp4{self.ending}"
        videos = [{"url": url, "duration": "1.0"}]
        return task(task_status="succeed", task_result={"videos": videos}, **self._more)


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


GATE = httpx.Response(403, html="<html>Blocked by the firewall</html>")
WRONG_BASE = httpx.Response(404, html="<html>Not found</html>")
NO_RIGHT = httpx.Response(403, json={"code": 1103, "message": "no right"})


@pytest.mark.parametrize("answer", [GATE, WRONG_BASE, NO_RIGHT], ids=["gate", "base", "right"])
async def test_what_stands_before_the_provider_is_not_taken_for_a_deleted_video(
    answer: httpx.Response, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Linked(EARLIER, updated_at=10**12)
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        kling.instead = answer
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))

    assert "delete" not in failed
    assert "anew" not in failed
    assert "base URL" in failed or "have the right added" in failed


@pytest.mark.parametrize("status", [401, 403])
async def test_of_a_link_that_is_refused_after_its_days_it_is_said_that_it_may_be_deleted(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(Linked(updated_at=10**12), lambda _: httpx.Response(status))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))

    assert "so it may be deleted; in a few minutes call kling_save_video" in failed
    assert "If it cannot be had, kling_image_to_video with another_take_of" in failed
    assert "has deleted" not in failed


async def test_a_video_that_was_made_twice_is_made_anew_as_a_third_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(Linked(updated_at=10**12), lambda _: httpx.Response(404))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        await client.call_tool("kling_image_to_video", {"another_take_of": task_id})
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))

    assert f'another_take_of "{task_id}", take 3 makes it anew, and is charged.' in failed


async def test_a_saved_video_that_cannot_be_copied_is_not_paid_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Part) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    clip = make_clip(tmp_path / "made.mp4").read_bytes()
    files = Scripted(
        Linked(updated_at=10**12), lambda _: httpx.Response(200, stream=httpx.ByteStream(clip))
    )
    async with talking_to(files, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})
        monkeypatch.setattr(Part, "sync", full)
        other = {"task_id": task_id, "path": "other/fox.mp4"}
        failed = words(await client.call_tool("kling_save_video", other))

    place = facts(saved)["path"]
    assert f"The video is saved at {place}; free some space, then call kling_save_video" in failed
    assert "anew" not in failed
    assert "provider" not in failed


async def test_a_saved_video_that_meets_a_mistake_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Part) -> None:
        raise ZeroDivisionError

    clip = make_clip(tmp_path / "made.mp4").read_bytes()
    files = Scripted(
        Linked(updated_at=10**12), lambda _: httpx.Response(200, stream=httpx.ByteStream(clip))
    )
    async with talking_to(files, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        await client.call_tool("kling_save_video", {"task_id": task_id})
        monkeypatch.setattr(Part, "sync", broken)
        other = {"task_id": task_id, "path": "other/fox.mp4"}
        failed = words(await client.call_tool("kling_save_video", other))

    assert "The saved file is still there." in failed
    assert "anew" not in failed


async def test_a_file_that_is_gone_is_not_said_to_be_there_after_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, file, find = list[Record](), FolderStorage.file, Ledger.find

    async def looked_for(self: FolderStorage, record: Record) -> Path | None:
        looked.append(record)
        return await file(self, record)

    async def broken(self: Ledger, any_id: str, **more: Any) -> Record | None:
        if looked:
            raise ZeroDivisionError
        return await find(self, any_id, **more)

    clip = make_clip(tmp_path / "made.mp4").read_bytes()
    files = Scripted(Linked(), lambda _: httpx.Response(200, stream=httpx.ByteStream(clip)))
    async with talking_to(files, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})
        Path(facts(saved)["path"]).unlink()
        monkeypatch.setattr(FolderStorage, "file", looked_for)
        monkeypatch.setattr(Ledger, "find", broken)
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))

    assert "a mistake of its own (ZeroDivisionError)" in failed
    assert "The video still exists at the provider." in failed


async def test_why_a_video_was_not_saved_is_not_told_any_more_once_its_days_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Part, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Part, "__init__", full)
    async with talking_to(Scripted(Linked()), tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        one, several = {"task_id": task_id}, {"task_ids": [task_id]}
        await client.call_tool("kling_save_video", one)
        before = words(await client.call_tool("kling_get_task", one))
        with closing(sqlite3.connect(next(tmp_path.rglob("ledger.sqlite3")))) as db:
            db.execute("UPDATE tasks SET expires_at = 1")
            db.commit()
        after = [
            words(await client.call_tool("kling_get_task", one)),
            words(await client.call_tool("kling_wait_for_tasks", several)),
        ]
        await client.call_tool("kling_save_video", one)
        tried = words(await client.call_tool("kling_get_task", one))

    assert "still exists at the provider" in before
    assert "is valid until" in before
    for told in after:
        assert "may be deleted; kling_save_video saves it if it is still there" in told
        assert "still exists" not in told
        assert "is valid until" not in told
    assert "may be deleted; free some space, then call kling_save_video" in tried
    assert "anew" not in tried


async def test_a_task_whose_days_are_over_may_still_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "made.mp4").read_bytes()
    files = Scripted(
        Linked(updated_at=10**12), lambda _: httpx.Response(200, stream=httpx.ByteStream(clip))
    )
    async with talking_to(files, tmp_path, monkeypatch) as client:
        task_id = await finished(client, tmp_path)
        shown = facts(await client.call_tool("kling_get_task", {"task_id": task_id}))
        saved = await client.call_tool("kling_save_video", {"task_id": task_id})

    assert "may be deleted; kling_save_video saves it if it is still there" in shown["next"]
    assert not saved.is_error, words(saved)


async def test_in_the_sandbox_a_video_is_made_anew_without_a_charge(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_faults="download-404@downloads") as client:
        task_id = await finished(client, tmp_path)
        with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
            db.execute("UPDATE tasks SET expires_at = 1")
            db.commit()
        failed = words(await client.call_tool("kling_save_video", {"task_id": task_id}))

    assert failed.endswith(f'another_take_of "{task_id}" makes it anew.')
