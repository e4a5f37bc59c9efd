"""A provider behind the real client, in virtual time: what it was asked, and when."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from benchmarks.virtual_time import virtual_clock
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.transport import Connection
from kling_mcp.settings.settings import Settings

__all__ = ["Played", "PlayedProvider"]

QUERY_S = 0.2
LIST_S = 0.6
"""Virtual seconds that an answer takes."""

SPREAD_S = 10.0
"""Seconds by which durations differ from the middle at most."""


@dataclass(frozen=True, slots=True)
class Played:
    """A task; `made_at` and `ends_at` are seconds since the epoch."""

    task_id: str
    made_at: float
    ends_at: float
    path: str = ""

    @property
    def lasts_s(self) -> float:
        """Seconds from its create to its end."""
        return self.ends_at - self.made_at

    def kling(self) -> dict[str, Any]:
        """As Kling tells of it."""
        now = virtual_clock()()
        shown: dict[str, Any] = {
            "task_id": self.task_id,
            "task_status": "succeed" if now >= self.ends_at else "processing",
            "created_at": int(self.made_at * 1000),
            "updated_at": int(min(now, self.ends_at) * 1000),
        }
        if now >= self.ends_at:
            url = f"https://videos.example/{self.task_id}.mp4"
            shown["task_result"] = {"videos": [{"id": "1", "url": url, "duration": "5.1"}]}
        return shown

    def record(self) -> dict[str, Any]:
        """As Kling's new standard tells of it, whatever made it."""
        told = self.kling()
        word = {"succeed": "succeeded"}.get(told["task_status"], told["task_status"])
        videos = told.get("task_result", {}).get("videos", [])
        return {
            "id": self.task_id,
            "status": word,
            "message": "",
            "create_time": told["created_at"],
            "update_time": told["updated_at"],
            "outputs": [{"type": "video", **video} for video in videos],
        }

    def gateway(self) -> dict[str, Any]:
        """As a new-api gateway tells of it."""
        status = "SUCCESS" if virtual_clock()() >= self.ends_at else "IN_PROGRESS"
        inner = {"code": 0, "data": self.kling()}
        return {
            "task_id": self.task_id,
            "status": status,
            "submit_time": int(self.made_at),
            "data": inner,
        }


@dataclass(slots=True)
class PlayedProvider:
    """Kling, or with `lists` False a gateway without a list. Its tasks take about `usual_s`
    seconds; `first` is the number of the first one. `reads` are the times at which it was
    asked for a task or a page, `pages` how many were pages, `under_way` the reads that
    are not answered yet; `asked` is set by the first one. `clip` is the file of
    every video."""

    lists: bool
    usual_s: float
    first: int = 0
    tasks: dict[str, Played] = field(default_factory=dict)
    reads: list[float] = field(default_factory=list)
    pages: int = 0
    under_way: int = 0
    most_at_once: int = 0
    asked: anyio.Event = field(default_factory=anyio.Event)
    clip: bytes = b""

    @asynccontextmanager
    async def connect(
        self, provider: Configured, _: Settings, __: object = None
    ) -> AsyncIterator[Connection]:
        """In place of `kling_mcp.providers.transport.connect`."""
        transport = httpx.MockTransport(self._answer)
        async with (
            httpx.AsyncClient(base_url=provider.base_url, transport=transport) as api,
            httpx.AsyncClient(transport=transport) as files,
        ):
            yield Connection(api, files, provider.credentials, loopback=False)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith(".mp4"):
            return httpx.Response(200, stream=httpx.ByteStream(self.clip))
        of_all = path == "/tasks"
        if request.method == "POST" and not of_all:
            made = self._made(path)
            shown = made.kling() if path.startswith("/v1/") else made.record()
            return httpx.Response(200, json={"code": 0, "data": shown})
        self.reads.append(virtual_clock()())
        last = path.rpartition("/")[2]
        page = last not in self.tasks
        self.pages += page
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        self.asked.set()
        try:
            await anyio.sleep(LIST_S if page else QUERY_S)
        finally:
            self.under_way -= 1
        if of_all:
            return httpx.Response(200, json={"code": 0, "data": self._records(request)})
        if not page:
            task = self.tasks[last]
            shown = (
                {"code": 0, "data": task.kling()}
                if self.lists
                else {"code": "success", "data": task.gateway()}
            )
            return httpx.Response(200, json=shown)
        return httpx.Response(200, json={"code": 0, "data": self._page(path, request.url.params)})

    def _made(self, path: str) -> Played:
        """A new task, made at this path; the durations lie evenly around the usual one."""
        number, now = self.first + len(self.tasks), virtual_clock()()
        lasts_s = self.usual_s + SPREAD_S * (2 * (number * 0.618034 % 1) - 1)
        task = Played(f"{900_000_000_000_000_000 + number}", now, now + lasts_s, path)
        self.tasks[task.task_id] = task
        return task

    def _records(self, request: httpx.Request) -> Any:
        """The tasks with the ids of a query of the new standard, or a page of its history."""
        if request.method == "GET":
            ids = request.url.params["task_ids"].split(",")
            assert len(ids) <= 20
            return [self.tasks[task_id].record() for task_id in ids]
        asked = json.loads(request.content)
        start, limit = int(asked.get("cursor", 0)), asked["limit"]
        newest_first = list(self.tasks.values())[::-1]
        more = start + limit < len(newest_first)
        return {
            "result": [task.record() for task in newest_first[start : start + limit]],
            "has_more": more,
            "next_cursor": str(start + limit) if more else "",
        }

    def _page(self, path: str, asked: httpx.QueryParams) -> list[dict[str, Any]]:
        number, size = int(asked["pageNum"]), int(asked["pageSize"])
        newest_first = [task for task in self.tasks.values() if task.path == path][::-1]
        return [task.kling() for task in newest_first[(number - 1) * size : number * size]]
