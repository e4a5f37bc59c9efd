"""A studio's minute: three servers behind nginx, one of them killed every few seconds, and two
hundred videos that are all made once."""

import base64
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psycopg
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from psycopg.rows import dict_row
from tests.nginx import behind_nginx
from tests.postgres import Postgres
from tests.server.replicas.fleet import Fleet, fleet, sandbox_process

from kling_sandbox import SandboxStore
from kling_sandbox.app import bound_socket

pytestmark = pytest.mark.campaign

ERAS = ("legacy", "2026-07-28")
REPLICAS = 3
VIDEOS = 200
AT_ONCE = 14
KILL_EVERY_S = 3.0
SANDBOX = ("--queue", "1", "--render", "2", "--slots", "40")
PATIENCE_S = 100.0
"""Seconds within which somebody who waits for a video is told, with all that dies on the way."""


@asynccontextmanager
async def caller(url: str, token: str, era: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=90) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=era) as client:
            yield client


async def persistently(url: str, token: str, era: str, tool: str, given: dict[str, Any]) -> Any:
    """Call as people's programs do: again after an error of the network."""
    until = anyio.current_time() + PATIENCE_S
    while True:
        try:
            with anyio.fail_after(80):
                async with caller(url, token, era) as client:
                    result = await client.call_tool(tool, given)
        except Exception:
            if anyio.current_time() > until:
                raise
        else:
            if not result.is_error:
                return result.structured_content
            facts = result.structured_content or {}
            assert anyio.current_time() < until, facts
            assert facts.get("error") in ("provider_down", "kling_error", "not_configured"), facts
        await anyio.sleep(0.3)


def small_picture(folder: Path) -> str:
    path = folder / "photo.png"
    Image.effect_mandelbrot((320, 320), (-2, -1, 1, 1), 30).convert("RGB").save(path)
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


@pytest.mark.anyio
async def test_two_hundred_videos_are_made_once_while_servers_die(
    tmp_path: Path, postgres: Postgres
) -> None:
    database = postgres.new_schema()
    image = small_picture(tmp_path)
    told: list[str] = []
    kills = 0
    ports = []
    for _ in range(REPLICAS):
        with closing(bound_socket("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    with (
        sandbox_process(
            tmp_path / "sandbox", "--queue", "1", "--render", "2", "--slots", "40"
        ) as kling,
        behind_nginx(ports, tmp_path / "nginx") as url,
        fleet(REPLICAS, ports, tmp_path, database, kling, url) as servers,
    ):

        async def make(numbers: list[int]) -> None:
            while numbers:
                number = numbers.pop()
                era = ERAS[number % 2]
                wish = {"image": image, "prompt": f"Video {number}"}
                made = await persistently(url, servers.token, era, "kling_image_to_video", wish)
                waited: dict[str, Any] = {"done": False}
                while not waited["done"]:
                    given = {"task_ids": [made["task_id"]], "timeout_s": 30}
                    waited = await persistently(
                        url, servers.token, era, "kling_wait_for_tasks", given
                    )
                told.append(waited["tasks"][0]["status"])

        async def kill(servers: Fleet) -> None:
            nonlocal kills
            chance = random.Random(1)
            while True:
                await anyio.sleep(KILL_EVERY_S)
                victim = chance.choice(servers.replicas)
                await anyio.to_thread.run_sync(victim.kill)
                kills += 1
                await anyio.sleep(0.5)
                victim.start()

        numbers = list(range(VIDEOS))
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(kill, servers)
            async with anyio.create_task_group() as makers:
                for _ in range(AT_ONCE):
                    makers.start_soon(make, numbers)
            group.cancel_scope.cancel()
        lasted = time.monotonic() - began
        with psycopg.connect(database, row_factory=dict_row) as connection:
            rows = connection.execute("SELECT status, task_id, principal FROM tasks").fetchall()
        print(f"{VIDEOS} videos, {kills} kills, {lasted:.0f} s")

    assert told == ["succeed"] * VIDEOS
    assert len(rows) == VIDEOS
    assert {row["status"] for row in rows} == {"succeed"}
    assert len({row["task_id"] for row in rows}) == VIDEOS
    assert {row["principal"] for row in rows} == {"token:studio"}
    assert SandboxStore(tmp_path / "sandbox").counts().accepted == VIDEOS
    assert kills >= 10
