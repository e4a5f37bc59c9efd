"""What a server does that nobody kills: once before all the others, and once after them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
from mcp import Client
from PIL import Image
from tests.server.crash.lives import PICTURES, Ground, Wish, ask, hasty, products_at

from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings

__all__ = ["rehearse", "settle"]

TAKEN_UP_WITHIN_S = 3
SETTLED_WITHIN_S = 300
THREADS_END_WITHIN_S = 5


def rehearse() -> None:
    """Do once what every process does, so that those forked from this one need not import."""

    async def once(folder: Path) -> None:
        for name in PICTURES:
            Image.new("RGB", (320, 320)).save(folder / name)
        settings = load_settings(
            provider="sandbox",
            home=folder / "home",
            output_dir=folder / "videos",
            image_roots=(folder,),
            sandbox_queue_s=0,
            sandbox_render_s=0,
        )
        async with Client(build_server(settings, sleep=hasty)) as client, httpx.AsyncClient():
            ground = Ground(folder, "", "", folder)
            for product in products_at("kling"):
                receipt = await ask(client, Wish(product, product, 1, ""), ground, folder / "log")
                assert receipt is not None, f"no wish of lives.py makes {product}"
            await client.call_tool("kling_list_tasks", {})
            await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(once, Path(folder))
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(THREADS_END_WITHIN_S)


async def settle(ground: Ground, wishes: Sequence[Wish], log: Path) -> dict[str, Any]:
    """A server that nobody kills: what it takes up by itself, then every wish asked once more."""
    async with Client(build_server(ground.settings(), sleep=hasty)) as client:
        ids = [task["task_id"] for task in await _all_tasks(client)]
        await _wait(client, ids, TAKEN_UP_WITHIN_S)
        taken_up = Counter(task["status"] for task in await _all_tasks(client))
        receipts = [await ask(client, wish, ground, log) for wish in wishes]
        known = [receipt["task_id"] for receipt in receipts if receipt]
        await _wait(client, known, SETTLED_WITHIN_S)
        return {"taken_up": dict(taken_up), "answered": len(known)}


async def _all_tasks(client: Client) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    page, more = 1, True
    while more:
        result = await client.call_tool("kling_list_tasks", {"page": page, "page_size": 100})
        facts = result.structured_content or {}
        tasks += [task for task in _whole(facts) if task["source"] == "ledger"]
        page, more = page + 1, facts["more"]
    return tasks


def _whole(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks of an answer, each with the fields that most of them share."""
    tasks = [{**facts.get("unless_stated", {}), **task} for task in facts["tasks"]]
    return [{n: value for n, value in task.items() if value is not None} for task in tasks]


async def _wait(client: Client, ids: Sequence[str], seconds: float) -> None:
    """Until all have ended and are saved: a wait tells of the end of those that are still being
    saved when its time is over."""
    until = time.monotonic() + seconds
    left = list(ids)
    while left and time.monotonic() < until:
        result = await client.call_tool("kling_wait_for_tasks", {"task_ids": left, "timeout_s": 2})
        if not result.is_error:
            tasks = _whole(result.structured_content or {})
            left = [task["task_id"] for task in tasks if not _is_over(task)]


def _is_over(task: dict[str, Any]) -> bool:
    return task["status"] in ("failed", "cancelled") or not {"path", "asset_id"}.isdisjoint(task)
