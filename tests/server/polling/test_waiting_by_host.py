"""How long one wait lasts: as the host allows, as the setting says, or as the caller asks."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp_types import Implementation
from tests.sampling import sampled
from tests.server.scripted import BASE, CREATE, KEY, Scripted, ends, facts
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

ERAS = ("legacy", "2026-07-28")
CLAUDE_CODE = ("claude-code", "2.1.263")
CLAUDE_DESKTOP = ("claude-ai", "0.1.0")
UNKNOWN = ("some-host", "1.0")


class Host:
    """A host with one running task, and the progress that it heard."""

    def __init__(self, client: Client, task_id: str) -> None:
        self._client = client
        self._task_id = task_id
        self.heard_at: list[float] = []

    async def waits(self, **arguments: int) -> int:
        """How many seconds a wait for the task lasts."""
        began = anyio.current_time()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            self.heard_at.append(anyio.current_time() - began)

        answer = await self._client.call_tool(
            "kling_wait_for_tasks",
            {"task_ids": [self._task_id], **arguments},
            progress_callback=hear,
        )
        assert facts(answer)["done"] is False
        return round(anyio.current_time() - began)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    provider = Scripted(ends(task_status="processing"))
    monkeypatch.setattr("kling_mcp.providers.transport.connect", provider.connect)
    return tmp_path


@asynccontextmanager
async def host(
    folder: Path, named: tuple[str, str], era: str = ERAS[1], setting: int | None = None
) -> AsyncIterator[Host]:
    settings = sandbox_settings(
        folder, provider="kling", kling_api_key=KEY, kling_base_url=BASE, wait_s=setting
    )
    name, version = named
    info = Implementation(name=name, version=version)
    server = build_server(settings, **hurried())
    async with Client(server, client_info=info, mode=era) as client:
        made = await client.call_tool(CREATE, {"image": picture(folder), "prompt": "Zoom"})
        yield Host(client, facts(made)["task_id"])


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("named", "seconds"),
    sampled(
        [
            (UNKNOWN, 50),
            (CLAUDE_DESKTOP, 50),
            (CLAUDE_CODE, 900),
            (("claude-code", "2.1.211"), 50),
            (("claude-code", "of no number"), 50),
        ],
        2,
    ),
)
async def test_a_wait_lasts_as_long_as_its_host_allows(
    named: tuple[str, str], seconds: int, era: str, folder: Path
) -> None:
    async with host(folder, named, era) as waiting:
        assert await waiting.waits() == seconds


async def test_the_caller_may_ask_for_less_or_more(folder: Path) -> None:
    async with host(folder, CLAUDE_CODE) as waiting:
        assert await waiting.waits(timeout_s=20) == 20
    async with host(folder, UNKNOWN) as waiting:
        assert await waiting.waits(timeout_s=600) == 600


async def test_a_host_that_gives_up_is_answered_before_whatever_is_asked_for(folder: Path) -> None:
    async with host(folder, CLAUDE_DESKTOP) as waiting:
        assert await waiting.waits(timeout_s=600) == 50


@pytest.mark.parametrize("named", [UNKNOWN, CLAUDE_DESKTOP, CLAUDE_CODE])
async def test_the_setting_stands_above_what_is_known_of_hosts(
    named: tuple[str, str], folder: Path
) -> None:
    async with host(folder, named, setting=25) as waiting:
        assert await waiting.waits() == 25
        assert await waiting.waits(timeout_s=600) == 25
    async with host(folder, named, setting=300) as waiting:
        assert await waiting.waits() == 300


async def test_progress_goes_on_through_a_long_wait(folder: Path) -> None:
    async with host(folder, CLAUDE_CODE) as waiting:
        await waiting.waits()
        heard = waiting.heard_at

    assert heard[-1] >= 890
    assert max(after - before for before, after in itertools.pairwise(heard)) <= 6
