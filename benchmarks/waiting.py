"""`python -m benchmarks.waiting`: what it costs to wait, in virtual time.

A host waits for tasks of three minutes as hosts do, with calls of 50 s, through the server and the
real client. The figures are counts and virtual seconds: they are the same on every machine.
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest.mock import patch

import anyio
from mcp import Client

from benchmarks.played_provider import PlayedProvider
from benchmarks.saving import small_clip
from benchmarks.virtual_time import VirtualTimeLoop, virtual_clock
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings

__all__ = [
    "MIXED",
    "NEW",
    "Cancelled",
    "Saved",
    "Waited",
    "Wishes",
    "cancelled",
    "handed_over",
    "saved",
    "waited",
]

COUNTS = (1, 20, 100, 500, 1_000)
SAMPLES, RUNS = 300, 20
"""Tasks from which a median is taken, and the most runs for them: the ends of one run hang
together, as its tasks are asked for in one rhythm."""

WISH = {"image": "https://pictures.example/1.png", "mode": "pro"}
SEVERAL = {"image_list": [WISH["image"]] * 2}
Wishes = tuple[tuple[str, dict[str, Any]], ...]
LEGACY: Wishes = (("kling_image_to_video", WISH),)
NEW: Wishes = (("kling_image_to_video", {**WISH, "model_name": "kling-v3-turbo"}),)
MIXED: Wishes = (*LEGACY, *NEW, ("kling_multi_image_to_video", SEVERAL))

PROVIDERS: dict[str, Wishes] = {
    "kling": LEGACY,
    "kling, new": NEW,
    "kling, mixed": MIXED,
    "newapi": LEGACY,
}
"""What is made at each provider: on Kling's legacy standard, on its new one, and on both, of two
products."""

TASK_S = 180.0
CALL_S = 50
IN_ONE_CALL = 500
"""Tasks that one call waits for at most."""
NAIVE_S = 5.0
"""Seconds between two queries of a client that asks for each task by itself."""

LATE_S = 3.0
"""Seconds within which a finished task is to be noticed in the median."""
MANY, EACH = 1_000, 2.5
"""So many tasks or more are to cost so many requests each at most, also without a list."""
QUIET_S = 300.0
"""Seconds for which nothing may be asked after a cancel."""


@dataclass(frozen=True, slots=True)
class Waited:
    """What it cost to wait for `tasks`: requests, those of asking for each every 5 s, and the
    seconds from the end of a task to when it was seen."""

    provider: str
    tasks: int
    requests: float
    naive: float
    median_s: float
    p95_s: float
    most_at_once: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What was asked for after a wait was cancelled, and what was under way then."""

    provider: str
    tasks: int
    requests: int
    under_way: int


@asynccontextmanager
async def handed_over(
    played: PlayedProvider, count: int, folder: Path, wishes: Wishes = LEGACY
) -> AsyncIterator[tuple[Client, list[str]]]:
    """A client of a server that has submitted so many tasks, one wish after the other, and their
    ids."""
    provider = "kling" if played.lists else "newapi"
    settings = load_settings(
        provider=provider,
        home=folder / "home",
        output_dir=folder / "videos",
        save=False,
        **{f"{provider}_api_key": "a-key", f"{provider}_base_url": "https://provider.example"},
    )
    with patch("kling_mcp.providers.transport.connect", played.connect):
        async with Client(build_server(settings, clock=virtual_clock())) as client:
            ids = []
            for number in range(count):
                tool, wish = wishes[number % len(wishes)]
                made = await client.call_tool(tool, {**wish, "prompt": f"Zoom {number}"})
                assert not made.is_error, made.content
                assert made.structured_content is not None
                ids.append(made.structured_content["task_id"])
            yield client, ids


async def wait(client: Client, ids: list[str]) -> None:
    """Call again and again until all have ended, as a host does."""
    done = False
    while not done:
        arguments = {"task_ids": ids, "timeout_s": CALL_S}
        answer = await client.call_tool("kling_wait_for_tasks", arguments)
        assert answer.structured_content is not None
        done = answer.structured_content["done"]


def waited(
    provider: str, count: int, folder: Path, task_s: float = TASK_S, runs: int = 1
) -> Waited:
    """Wait for so many tasks until all have ended; requests are those of one run, on average."""
    late_s: list[float] = []
    requests = naive = most_at_once = 0
    for number in range(runs):
        played = PlayedProvider(provider.startswith("kling"), task_s, first=number * count)
        home = folder / str(number)
        _in_virtual_time(partial(_wait_for_all, played, count, home, PROVIDERS[provider]))
        late_s += _late_s(played, home)
        requests += len(played.reads)
        naive += sum(math.ceil(task.lasts_s / NAIVE_S) for task in played.tasks.values())
        most_at_once = max(most_at_once, played.most_at_once)
    p95_s = quantiles(late_s, n=20, method="inclusive")[-1]
    return Waited(
        provider, count, requests / runs, naive / runs, median(late_s), p95_s, most_at_once
    )


async def _wait_for_all(played: PlayedProvider, count: int, folder: Path, wishes: Wishes) -> None:
    async with (
        handed_over(played, count, folder, wishes) as (client, ids),
        anyio.create_task_group() as group,
    ):
        for place in range(0, count, IN_ONE_CALL):
            group.start_soon(wait, client, ids[place : place + IN_ONE_CALL])


def cancelled(provider: str, count: int, folder: Path) -> Cancelled:
    """Cancel a wait while a request is under way, and see what is asked for after that."""
    played = PlayedProvider(provider.startswith("kling"), TASK_S)
    under_way = asked = 0

    async def run() -> None:
        nonlocal under_way, asked
        async with handed_over(played, count, folder, PROVIDERS[provider]) as (client, ids):
            async with anyio.create_task_group() as group:
                group.start_soon(wait, client, ids)
                await played.asked.wait()
                under_way, before = played.under_way, len(played.reads)
                group.cancel_scope.cancel()
            await anyio.sleep(QUIET_S)
            asked = len(played.reads) - before

    _in_virtual_time(run)
    return Cancelled(provider, count, asked, under_way)


@dataclass(frozen=True, slots=True)
class Saved:
    """What it cost to wait for `tasks` and to save their videos: requests of the wait, and those
    after it."""

    provider: str
    tasks: int
    waited: int
    more: int


def saved(provider: str, count: int, folder: Path) -> Saved:
    """Wait for so many tasks, then save each."""
    played = PlayedProvider(provider.startswith("kling"), TASK_S)
    played.clip = small_clip(folder / "clip.mp4")
    waited = 0

    async def run() -> None:
        nonlocal waited
        async with handed_over(played, count, folder, PROVIDERS[provider]) as (client, ids):
            await wait(client, ids)
            waited = len(played.reads)
            for task_id in ids:
                answer = await client.call_tool("kling_save_video", {"task_id": task_id})
                assert not answer.is_error, answer.content

    _in_virtual_time(run)
    return Saved(provider, count, waited, len(played.reads) - waited)


def _in_virtual_time(run: Callable[[], Awaitable[None]]) -> None:
    anyio.run(run, backend_options={"loop_factory": VirtualTimeLoop})


def _late_s(played: PlayedProvider, folder: Path) -> list[float]:
    """Seconds from the end of each task to when the ledger first knew of it."""
    with closing(sqlite3.connect(folder / "home" / "ledger.sqlite3")) as db:
        rows = db.execute("SELECT task_id, ended_at FROM tasks").fetchall()
    return [ended_at - played.tasks[task_id].ends_at for task_id, ended_at in rows]


def main() -> int:
    """Print the tables; with `--check`, the exit code is 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when a promise is not kept")
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="most tasks (default: 1000)")
    parser.add_argument("--task-s", type=float, default=TASK_S, help="length of a task (180 s)")
    arguments = parser.parse_args()
    kept = True
    print(
        "provider      tasks  requests  every 5 s each  share  noticed: median    p95  side by side"
    )
    for provider in PROVIDERS:
        for count in (count for count in COUNTS if count <= arguments.most):
            with tempfile.TemporaryDirectory(prefix="kling-mcp-waiting-") as folder:
                runs = min(RUNS, math.ceil(SAMPLES / count))
                row = waited(provider, count, Path(folder), arguments.task_s, runs)
            if count < MANY:
                kept = kept and row.median_s <= LATE_S and row.requests < row.naive
            else:
                kept = kept and row.requests <= EACH * count
            print(
                f"{row.provider:12}  {row.tasks:5}  {row.requests:8.1f}  {row.naive:14.0f}  "
                f"{row.requests / row.naive:5.1%}  {row.median_s:13.1f} s  {row.p95_s:3.1f} s  "
                f"{row.most_at_once:12}"
            )
    print("\nprovider      tasks  requests of the wait  more to save all")
    for provider in PROVIDERS:
        with tempfile.TemporaryDirectory(prefix="kling-mcp-waiting-") as folder:
            kept_all = saved(provider, min(100, arguments.most), Path(folder))
        kept = kept and kept_all.more == 0
        print(
            f"{kept_all.provider:12}  {kept_all.tasks:5}  {kept_all.waited:20}  {kept_all.more:16}"
        )
    print("\nprovider      tasks  under way when cancelled  requests in the 300 s after it")
    for provider in PROVIDERS:
        with tempfile.TemporaryDirectory(prefix="kling-mcp-waiting-") as folder:
            gone = cancelled(provider, min(100, arguments.most), Path(folder))
        kept = kept and gone.requests == 0
        print(f"{gone.provider:12}  {gone.tasks:5}  {gone.under_way:24}  {gone.requests:30}")
    return int(arguments.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
