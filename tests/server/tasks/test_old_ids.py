"""Ids of other days, providers and machines spoil no call, and a link or a path is understood."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.sampling import sampled
from tests.server.serving import no_sleep, picture, sandbox_settings, tasks_of
from tests.server.tasks.rows import made_before

from kling_mcp.ledger import Ledger, NewRow, open_ledger
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.task import Task
from kling_mcp.settings.settings import Settings
from kling_mcp.tasks.reader import ids_in
from kling_sandbox import SandboxStore
from kling_tools.requests import normalize

pytestmark = pytest.mark.anyio

GONE = NewRow(
    provider="kling",
    base_url="https://api-singapore.klingai.com",
    product="image2video",
    digest="long ago",
    take=1,
    model_name="kling-v2-6",
    prompt="A boat",
    request={"mode": "pro", "duration": "10", "sound": "on"},
    estimate_units=5,
    pictures=("boat.jpg",),
)
"""A request to a provider whose key is set no more."""


async def running(ledger: Ledger, number: int = 0) -> str:
    row, _ = await ledger.reserve(replace(GONE, digest=f"long ago {number}"))
    await ledger.record(row.id, Task(f"75{number:08}", "processing"))
    return f"75{number:08}"


def facts(answer: CallToolResult) -> dict[str, Any]:
    assert isinstance(answer.content[0], TextContent)
    assert not answer.is_error, answer.content[0].text
    assert answer.structured_content is not None
    return answer.structured_content


@pytest.fixture
async def house(tmp_path: Path) -> tuple[Settings, str, list[str]]:
    """Settings of a sandbox's server, an id of its own, and two of a provider without a key."""
    settings = sandbox_settings(tmp_path)
    ledger = open_ledger(settings)
    own = await made_before(ledger, 0, settings.output_dir)
    lost = [await running(ledger, number) for number in range(2)]
    await ledger.close()
    return settings, own, lost


async def test_a_provider_without_a_key_spoils_no_wait(
    house: tuple[Settings, str, list[str]],
) -> None:
    settings, own, lost = house
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"task_ids": [*lost, own, "not-of-this-ledger"], "timeout_s": 5}
        mixed = tasks_of(facts(await client.call_tool("kling_wait_for_tasks", wish)))
        alone = facts(await client.call_tool("kling_wait_for_tasks", {"task_ids": lost}))
        got = facts(await client.call_tool("kling_get_task", {"task_id": lost[0]}))

    assert [task["status"] for task in mixed] == [*["processing"] * 2, "succeed", "unknown"]
    assert Path(mixed[2]["path"].replace("{task_id}", own)).exists()
    assert mixed[3]["error"] == "task_not_found"
    for task in (*mixed[:2], *alone["tasks"], got):
        assert (task["status"], task["error"]) == ("processing", "not_configured")
        assert task["picture"] == "boat.jpg"
        assert "kling" in task["next"]


async def test_what_is_on_the_disk_requires_no_provider(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        task_id = facts(await client.call_tool("kling_image_to_video", wish))["task_id"]
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
    elsewhere = sandbox_settings(tmp_path, provider="kling", kling_api_key="another")
    async with Client(build_server(elsewhere)) as client:
        saved = facts(await client.call_tool("kling_save_video", {"task_id": task_id}))
        waited = facts(await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]}))

    assert Path(saved["path"]).exists()
    assert waited["tasks"][0]["path"] == saved["path"]


TOOLS = ("kling_get_task", "kling_wait_for_tasks", "kling_save_video")
FORMS: dict[str, Callable[[str, Path, str], str]] = {
    "quoted": lambda task_id, path, url: f' "{task_id}" ',
    "backticks": lambda task_id, path, url: f"`{task_id}`",
    "uri": lambda task_id, path, url: f"kling://tasks/{task_id}",
    "frame uri": lambda task_id, path, url: f"kling://tasks/{task_id}/frames/last",
    "path": lambda task_id, path, url: str(path),
    "file url": lambda task_id, path, url: path.as_uri(),
    "name": lambda task_id, path, url: path.name,
    "moved": lambda task_id, path, url: f"/elsewhere/{path.name}",
    "copied": lambda task_id, path, url: f"C:\\Users\\anna\\{path.stem}-2.mp4",
    "link": lambda task_id, path, url: url,
    "link without its signature": lambda task_id, path, url: url.partition("?")[0],
}


@pytest.mark.parametrize(("tool", "form"), sampled(product(TOOLS, FORMS), 3))
async def test_a_task_is_known_by_its_link_its_file_and_its_quoted_id(
    tool: str, form: str, house: tuple[Settings, str, list[str]]
) -> None:
    settings, own, _ = house
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        known = facts(await client.call_tool("kling_get_task", {"task_id": own}))
        given = FORMS[form](own, Path(known["path"]), known["videos"][0]["url"])
        wish = {"task_ids": given} if "wait" in tool else {"task_id": given}
        answer = await client.call_tool(tool, wish)

    assert isinstance(answer.content[0], TextContent)
    assert "no task" not in answer.content[0].text
    assert own in answer.content[0].text


async def test_a_file_that_the_person_named_is_known_by_its_name(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        task_id = facts(await client.call_tool("kling_image_to_video", wish))["task_id"]
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
        wish = {"task_id": task_id, "path": "anna/Cat, (2).mp4"}
        await client.call_tool("kling_save_video", wish)
        got = facts(await client.call_tool("kling_get_task", {"task_id": "anna/Cat, (2).mp4"}))
        none = await client.call_tool("kling_get_task", {"task_id": "anna/dog.mp4"})

    assert got["task_id"] == task_id
    assert none.is_error


@given(st.text(max_size=200))
def test_parts_of_any_address_are_short_and_few(address: str) -> None:
    parts = ids_in(address)

    assert len(parts) <= 24
    assert all(6 <= len(part) <= 128 for part in parts)
    assert parts == list(dict.fromkeys(parts))


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("a1, b2;c3\nd4", ["a1", "b2", "c3", "d4"]),
        (["a1,b2", "c3"], ["a1", "b2", "c3"]),
        ('["a1", "b2"]', ["a1", "b2"]),
        ("kling://tasks/a1, kling://tasks/b2", ["kling://tasks/a1", "kling://tasks/b2"]),
        ("/home/anna/Cat, (2).mp4", ["/home/anna/Cat, (2).mp4"]),
        ("https://a.example/v.mp4?x=1,2", ["https://a.example/v.mp4?x=1,2"]),
    ],
)
def test_ids_in_one_text_are_parted(given: Any, ids: list[str]) -> None:
    assert normalize.task_ids(given) == ids


@pytest.mark.parametrize("name", ["beach.mp4", "beach.mov", "photo.JPG", "films\\beach", "a/beach"])
@pytest.mark.parametrize(
    "tool", ["kling_look", "kling_get_task", "kling_save_video", "kling_wait_for_tasks"]
)
async def test_a_file_name_is_never_sent_to_a_provider(
    tool: str, name: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"task_ids": [name]} if "wait" in tool else {"task_id": name}
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        answer = await client.call_tool(tool, given)

    assert isinstance(answer.content[0], TextContent)
    said = answer.content[0].text
    assert f"You have no saved video {name}" in said
    assert "Give a task_id: kling_list_tasks shows your tasks." in said
    assert "queries" not in SandboxStore(tmp_path / "home" / "sandbox").counts().requests


async def test_cancelling_by_no_id_says_what_to_give(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        answer = await client.call_tool("kling_cancel_task", {"task_ids": ["last"]})

    assert isinstance(answer.content[0], TextContent)
    assert "Give a task_id: kling_list_tasks shows your tasks." in answer.content[0].text
