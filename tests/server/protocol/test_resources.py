"""What can be read of tasks without a tool: the list, one task, its video."""

import base64
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp_types import BlobResourceContents, TextResourceContents
from tests.server.protocol.raw_client import handshaken, modern
from tests.server.scripted import CREATE, Scripted, facts, make, talking_to, task
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.resources import tasks as task_resources
from kling_mcp.protocol.server import build_server
from kling_tools.products import PRODUCTS


async def read(client: Client, uri: str) -> dict[str, Any]:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    fields: dict[str, Any] = json.loads(content.text)
    return fields


async def ended(client: Client, folder: Path) -> dict[str, Any]:
    """A task of the sandbox that has ended."""
    made = facts(
        await client.call_tool(CREATE, {"image": picture(folder), "prompt": "Zoom", "take": 1})
    )
    waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [made["task_id"]]})
    (view,) = facts(waited)["tasks"]
    fields: dict[str, Any] = view
    return fields


@pytest.mark.anyio
async def test_reading_resources_before_anything_was_made_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        assert (await read(client, "kling://tasks"))["tasks"] == []
        with pytest.raises(MCPError, match="no task"):
            await client.read_resource("kling://tasks/nothing/video")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_the_list_and_the_task_are_what_the_tools_say(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        view = await ended(client, tmp_path)
        (listed,) = (await read(client, "kling://tasks"))["tasks"]
        assert (listed["task_id"], listed["status"]) == (view["task_id"], "succeed")
        assert listed["prompt"] == "Zoom"
        told = await client.call_tool("kling_get_task", {"task_id": view["task_id"]})
        assert await read(client, f"kling://tasks/{view['task_id']}") == told.structured_content


@pytest.mark.anyio
async def test_the_list_asks_no_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Any:
        asked.append(request.method)
        return task()

    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
        asked.clear()
        assert len((await read(client, "kling://tasks"))["tasks"]) == 1
        assert asked == []


@pytest.mark.anyio
async def test_the_sheet_of_a_model_says_in_words_when_it_can_do_what(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        sheets = [
            (await client.read_resource(f"kling://models/{name}")).contents[0]
            for name in ("kling-v1-5", "kling-v3")
        ]

    old, new = (sheet.text for sheet in sheets if isinstance(sheet, TextResourceContents))
    assert "- camera: pro 5 s with type simple\n" in old
    assert "- end frame without a first frame: pro 5 s, pro 10 s\n" in old
    assert "- end frame with multi-shot: always\n" in new
    assert "- cfg_scale: always (sources disagree)\n" in new


async def told(client: Client, uri: str) -> str:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.text


@pytest.mark.anyio
async def test_the_table_of_models_has_a_part_for_each_product_with_its_tool_and_default(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        parts = (await told(client, "kling://models")).split("## ")[1:]

    assert [part.partition(":")[0] for part in parts] == list(PRODUCTS)
    for part, (name, entry) in zip(parts, PRODUCTS.items(), strict=True):
        assert part.startswith(f"{name}: {entry.makes}\n{entry.tool} makes it. Default: "), part
        assert ("image units" in part.splitlines()[3]) is (entry.result == "picture")
    pictures = parts[list(PRODUCTS).index("image-generation")]
    assert "| kling-v2-1 | 1k 2k | - | of pictures 8, 4 | sandbox |" in pictures
    assert not re.search(r"\b0/s", "".join(parts))


@pytest.mark.anyio
async def test_the_price_of_a_lip_sync_is_told_with_what_is_paid_before_it(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        sheet = await told(client, "kling://models/kling-lip-sync")
        table = await told(client, "kling://models")

    price = "0.5 for each 5 s begun + 0.05 for the face check + 0.05 for the speech of a text"
    assert f"Units: {price}." in sheet
    assert price in table


@pytest.mark.anyio
async def test_the_table_of_models_names_no_tool_that_is_not_there(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, read_only=True))) as client:
        table = await told(client, "kling://models")
        sheet = await told(client, "kling://models/kling-v3-omni")

    assert "kling_" not in table + sheet
    assert table.count("## ") == table.count("\nDefault: ") == len(PRODUCTS)


@pytest.mark.anyio
async def test_the_sheet_of_a_model_says_what_each_product_takes(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        omni = await told(client, "kling://models/kling-v3-omni")
        three = await told(client, "kling://models/kling-v3")

    assert "kling_edit_video makes it." in omni
    assert "pictures up to 4; video of 3 to 15.5 s, at most 200 MB, MP4 or MOV." in omni
    assert "Resolutions 1k, 2k, 4k; pictures to refer to: up to 10.\nImage units: 4k 16, 8." in omni
    assert "video of 3 to 10 s, at most 100 MB, MP4 or MOV with character_orientation image" in (
        three
    )
    assert "Modes std, pro, 4k; seconds 3-15.\n- sound" in three


@pytest.mark.anyio
async def test_an_unknown_task_is_not_found(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        with pytest.raises(MCPError) as raised:
            await client.read_resource("kling://tasks/nothing")
        assert raised.value.code == -32602


@pytest.mark.anyio
async def test_a_saved_video_is_handed_over_byte_by_byte(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        view = await ended(client, tmp_path)
        (video,) = (await client.read_resource(f"kling://tasks/{view['task_id']}/video")).contents
        assert isinstance(video, BlobResourceContents)
        assert video.mime_type == "video/mp4"
        assert base64.b64decode(video.blob) == Path(view["path"]).read_bytes()


@pytest.mark.anyio
async def test_a_video_that_cannot_be_handed_over_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        view = await ended(client, tmp_path)
        uri = f"kling://tasks/{view['task_id']}/video"
        with pytest.raises(MCPError, match="kling_save_video") as unsaved:
            await client.read_resource(uri)
        assert view["videos"][0]["url"] in str(unsaved.value)
        saved = facts(await client.call_tool("kling_save_video", {"task_id": view["task_id"]}))
        path = Path(saved["path"])
        monkeypatch.setattr(task_resources, "INLINE_BYTES", 1000)
        with pytest.raises(MCPError, match="more than the 1000") as large:
            await client.read_resource(uri)
        assert str(path) in str(large.value)
        path.write_bytes(b"somebody's diary")
        with pytest.raises(MCPError, match="has changed since it was saved"):
            await client.read_resource(uri)
        path.unlink()
        with pytest.raises(MCPError, match="cannot be read"):
            await client.read_resource(uri)


@pytest.mark.anyio
async def test_a_task_without_a_video_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(lambda _: task()), tmp_path, monkeypatch) as client:
        made = facts(await make(client, tmp_path))
        with pytest.raises(MCPError, match="there is no video"):
            await client.read_resource(f"kling://tasks/{made['task_id']}/video")


@pytest.mark.anyio
async def test_a_broken_ledger_is_told_and_the_server_lives(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite3").write_text("not a database" * 100)
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        for uri in ("kling://tasks", "kling://tasks/x", "kling://tasks/x/video"):
            with pytest.raises(MCPError, match="cannot be used"):
                await client.read_resource(uri)
        assert (await client.list_tools()).tools


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "params", "ttl_ms", "scope"),
    [
        ("server/discover", {}, 300_000, "public"),
        ("tools/list", {}, 300_000, "public"),
        ("prompts/list", {}, 300_000, "public"),
        ("resources/list", {}, 300_000, "public"),
        ("resources/templates/list", {}, 300_000, "public"),
        ("resources/read", {"uri": "kling://models"}, 300_000, "public"),
        ("resources/read", {"uri": "kling://tasks"}, 0, "private"),
    ],
)
async def test_clients_are_told_how_long_an_answer_keeps(
    tmp_path: Path, method: str, params: dict[str, str], ttl_ms: int, scope: str
) -> None:
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        result = (await client.ask(method, **params))["result"]
        assert (result["ttlMs"], result["cacheScope"]) == (ttl_ms, scope)


@pytest.mark.anyio
async def test_the_older_protocol_knows_no_such_hints(tmp_path: Path) -> None:
    async with handshaken(build_server(sandbox_settings(tmp_path))) as client:
        for method, params in (("tools/list", {}), ("resources/read", {"uri": "kling://models"})):
            assert "ttlMs" not in (await client.ask(method, **params))["result"]


@pytest.mark.anyio
async def test_the_list_holds_the_newest_and_says_that_there_are_more(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        await ended(client, tmp_path)
        with sqlite3.connect(tmp_path / "home" / "ledger.sqlite3") as db:
            columns = [row[1] for row in db.execute("PRAGMA table_info(tasks)")]
            copied = ", ".join(
                {
                    "id": "'c' || n",
                    "take": "n",
                    "external_task_id": "'e' || n",
                    "task_id": "'t' || n",
                }.get(c, c)
                for c in columns
            )
            db.execute(
                "WITH RECURSIVE k(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM k WHERE n < 60) "
                f"INSERT INTO tasks SELECT {copied} FROM tasks, k"
            )
        page = await read(client, "kling://tasks")
        assert (len(page["tasks"]), page["more"]) == (50, True)
