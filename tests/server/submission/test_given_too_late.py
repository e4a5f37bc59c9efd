"""Arguments that a request which was made before can no longer get are named, never dropped in
silence."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.scripted import CREATE, facts, words
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

URL, ID = {"callback_url": "https://me.example/done"}, {"external_task_id": "mine"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        yield client


async def note(client: Client, **arguments: Any) -> str:
    result = await client.call_tool(CREATE, arguments)
    assert not result.is_error, words(result)
    told: str = facts(result)["note"]
    assert told in words(result)
    return told


@pytest.mark.parametrize("dry", [{}, {"dry_run": True}], ids=["sent", "dry run"])
@pytest.mark.parametrize(
    ("late", "sentence"),
    [
        (URL, "callback_url has no effect: the task was made before without it."),
        (ID, "external_task_id has no effect: the task was made before without it."),
        (URL | ID, "callback_url and external_task_id have no effect"),
    ],
    ids=["callback", "id", "both"],
)
async def test_what_comes_too_late_for_a_request_is_named(
    late: dict[str, Any], sentence: str, dry: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom"}
    await note(client, **asked)

    assert sentence in await note(client, **asked, **late, **dry)


async def test_what_the_request_had_from_the_start_is_not_named(
    client: Client, tmp_path: Path
) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom", **URL, **ID}
    await note(client, **asked)

    assert "no effect" not in await note(client, **asked)
    assert "no effect" not in await note(client, image=asked["image"], prompt="Zoom")


async def test_a_watermarked_copy_is_another_request(client: Client, tmp_path: Path) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Zoom"}
    await note(client, **asked)

    result = await client.call_tool(CREATE, {**asked, "watermark_info": True})

    assert "repeated" not in facts(result)
    assert "watermark_info" in facts(result)["sent"]
