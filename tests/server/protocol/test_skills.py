"""The skill, served by the protocol's extension io.modelcontextprotocol/skills (SEP-2640)."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client
from mcp.server import MCPServer
from mcp_types import TextResourceContents
from tests.server.protocol.raw_client import RawClient, handshaken, modern
from tests.server.serving import sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_mcp.protocol.skills import skill_folder

SKILLS = "io.modelcontextprotocol/skills"
URI = "skill://kling-video/SKILL.md"
FOLDER = skill_folder() or Path("missing")
Opened = Callable[[MCPServer[Any]], AbstractAsyncContextManager[RawClient]]
ERAS = pytest.mark.parametrize("opened", [handshaken, modern], ids=["2025-11-25", "2026-07-28"])


@ERAS
@pytest.mark.anyio
async def test_each_file_is_read_as_the_list_describes_it(tmp_path: Path, opened: Opened) -> None:
    async with opened(build_server(sandbox_settings(tmp_path))) as client:
        (skill,) = (await client.ask("skills/list"))["result"]["skills"]
        got = (await client.ask("skills/get", uri=URI))["result"]["skill"]
        read = {}
        for resource in skill["resources"]:
            answer = await client.ask("resources/read", uri=resource["uri"])
            (content,) = answer["result"]["contents"]
            read[resource["uri"]] = content["text"].encode()

    assert skill == got
    assert skill["uri"] == URI
    for resource in skill["resources"]:
        text = read[resource["uri"]]
        assert resource["size"] == len(text)
        assert resource["digest"] == f"sha256:{hashlib.sha256(text).hexdigest()}"
    files = {f"skill://kling-video/{p.relative_to(FOLDER)}" for p in FOLDER.rglob("*.*")}
    assert set(read) == files
    head = read[URI].decode().split("---\n")[1]
    assert skill["frontmatter"] == yaml.safe_load(head)


@ERAS
@pytest.mark.anyio
async def test_an_unknown_skill_is_refused_with_the_way_to_the_known_one(
    tmp_path: Path, opened: Opened
) -> None:
    async with opened(build_server(sandbox_settings(tmp_path))) as client:
        for uri in ("skill://other/SKILL.md", "skill://kling-video", "kling://models", "x" * 9000):
            error = (await client.ask("skills/get", uri=uri))["error"]
            assert error["code"] == -32602
            assert "skills/list" in error["message"] or "2,048" in error["message"]
            assert len(error["message"]) < 200
        assert (await client.ask("skills/list", cursor="2"))["error"]["code"] == -32602
        away = await client.ask("resources/read", uri="skill://kling-video/references/none.md")
        assert away["error"]["code"] in (-32602, -32002)


@pytest.mark.anyio
async def test_who_sees_the_extension_declared_may_keep_its_answers(tmp_path: Path) -> None:
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        found = (await client.ask("server/discover"))["result"]["capabilities"]
        answers = [
            (await client.ask(method, **params))["result"]
            for method, params in (
                ("skills/list", {}),
                ("skills/get", {"uri": URI}),
                ("resources/read", {"uri": URI}),
            )
        ]

    assert found["extensions"][SKILLS] == {}
    assert "resources" in found
    for answer in answers:
        assert (answer["ttlMs"], answer["cacheScope"]) == (300_000, "public")
        assert answer["resultType"] == "complete"


@pytest.mark.anyio
async def test_its_files_keep_their_digest_where_tools_are_switched_off(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, tools=("core",), read_only=True)
    async with Client(build_server(settings)) as client:
        (content,) = (await client.read_resource(URI)).contents

    assert isinstance(content, TextResourceContents)
    assert content.text == (FOLDER / "SKILL.md").read_bytes().decode()


@pytest.mark.anyio
async def test_the_list_of_resources_names_it_as_its_head_does(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        listed = {str(one.uri): one for one in (await client.list_resources()).resources}
        described = [one for one in listed.values() if one.mime_type == "text/markdown"]

    head = yaml.safe_load((FOLDER / "SKILL.md").read_text().split("---\n")[1])
    assert (listed[URI].name, listed[URI].description) == (head["name"], head["description"])
    assert {uri for uri in listed if uri.startswith("skill://")} <= {
        str(one.uri) for one in described
    }
