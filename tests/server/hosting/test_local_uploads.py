"""Uploads to a server of one person over HTTP: at its own address, from no other site's page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents
from tests.made_sounds import tone
from tests.server.hosting.public_server import said
from tests.server.hosting.team import ERAS, Team, served_team
from tests.server.serving import ALL_BYTES, no_sleep, picture, sandbox_settings

from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.hosting.uploads import MOST
from kling_mcp.protocol.server import build_server
from kling_tools.tools.toolset import PLAYER_URI

URL = "http://127.0.0.1:9"
CHAT = "/mnt/user-data/uploads/photo.png"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("local")
    with served_team(folder, public_url="", allowed_origins="https://chat.example") as team:
        yield team


def called(local: Team, tool: str, **given: Any) -> dict[str, Any]:
    result = local.call("nobody", tool, **given)
    assert not result.get("isError"), result
    facts: dict[str, Any] = result["structuredContent"]
    return facts


def address(local: Team) -> dict[str, Any]:
    return called(local, "kling_upload_picture")


def test_a_picture_from_the_chat_is_sent_to_the_server_itself_and_becomes_a_video(
    local: Team,
) -> None:
    where = address(local)
    data = Path(picture(local.folder)).read_bytes()
    page = httpx.get(where["upload_url"])
    sent = httpx.put(where["upload_url"], content=data)
    again = httpx.put(where["upload_url"], content=data)
    made = called(local, "kling_image_to_video", image=where["image"], prompt="wind")

    assert where["upload_url"].startswith(f"{local.base}/uploads/")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (sent.status_code, sent.json()) == (201, {"image": where["image"]})
    assert again.status_code == 409
    assert made["pictures"][0].endswith("640x480")


def test_paths_of_this_machine_are_taken_and_shown_as_before(local: Team) -> None:
    given = picture(local.folder, "own.png")
    made = called(local, "kling_image_to_video", image=given, prompt="rain")
    called(local, "kling_wait_for_tasks", task_ids=[made["task_id"]])
    saved = called(local, "kling_save_video", task_id=made["task_id"])

    assert Path(saved["path"]).is_file()
    assert "url" not in saved


def test_a_sound_is_sent_there_too(local: Team) -> None:
    where = address(local)
    sound = Path(tone(local.folder / "tone.wav")).read_bytes()
    sent = httpx.put(where["upload_url"], content=sound)
    wish = {"image": picture(local.folder), "sound_file": where["image"], "dry_run": True}
    priced = called(local, "kling_talking_photo", **wish)

    assert sent.status_code == 201
    assert "faults" not in priced


@pytest.mark.parametrize("content", [b"", b"<html>", b"GIF89a" + b"\0" * 64, b"#!/bin/sh\n"])
def test_nothing_else_is_kept(content: bytes, local: Team) -> None:
    assert httpx.put(address(local)["upload_url"], content=content).status_code == 422


FOREIGN = (
    ({"host": "evil.example"}, 421),
    ({"host": "127.0.0.1.evil.example"}, 421),
    ({"origin": "https://evil.example"}, 403),
    ({"origin": "http://127.0.0.1.evil.example"}, 403),
    ({"origin": "null"}, 403),
)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize(("headers", "status"), FOREIGN)
def test_a_page_of_another_site_can_use_no_address_even_if_it_knows_one(
    method: str, headers: dict[str, str], status: int, local: Team
) -> None:
    where = address(local)["upload_url"]
    data = Path(picture(local.folder)).read_bytes()
    refused = httpx.request(method, where, headers=headers, content=data)
    then = httpx.put(where, content=data, headers={"origin": local.base})

    assert refused.status_code == status
    assert then.status_code == 201


@pytest.mark.parametrize(
    ("origin", "status"), [("https://chat.example", 200), ("https://evil.example", 400)]
)
def test_only_pages_of_configured_origins_may_send_from_elsewhere(
    origin: str, status: int, local: Team
) -> None:
    asked = {"origin": origin, "access-control-request-method": "PUT"}
    answer = httpx.options(address(local)["upload_url"], headers=asked)

    assert answer.status_code == status


def test_without_uploads_of_others_there_are_no_public_addresses(local: Team) -> None:
    paths = ("/callbacks/x", "/inputs/x", "/videos/x/y")

    assert {httpx.get(f"{local.base}{path}").status_code for path in paths} == {404}


def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    with served_team(tmp_path, public_url="") as local:
        folder = tmp_path / "home" / "uploads" / "local"
        folder.mkdir(parents=True)
        for number in range(MOST):
            (folder / f"{number}").touch()
        data = Path(picture(tmp_path)).read_bytes()
        refused = httpx.put(address(local)["upload_url"], content=data)

    assert refused.status_code == 429


def test_the_address_of_an_ipv6_server_is_its_own(tmp_path: Path) -> None:
    with served_team(tmp_path, host="::1") as local:
        where = address(local)
        sent = httpx.put(where["upload_url"], content=Path(picture(tmp_path)).read_bytes())

    assert urlsplit(where["upload_url"]).hostname == "::1"
    assert sent.status_code == 201


def test_a_path_of_the_chat_is_refused_with_the_address_that_helps(local: Team) -> None:
    wish = {"image": CHAT, "prompt": "wind", "dry_run": True}
    (fault,) = called(local, "kling_image_to_video", **wish)["faults"]

    assert "kling_upload_picture" in fault["use"]
    assert "ask the person" in fault["use"]


@pytest.mark.anyio
async def test_the_player_may_send_pictures_there_and_knows_from_where(local: Team) -> None:
    async with local.client("nobody", ERAS[-1]) as client:
        (page,) = (await client.read_resource(PLAYER_URI)).contents

    assert isinstance(page, TextResourceContents)
    assert page.meta is not None
    assert page.meta["ui"]["csp"]["connectDomains"] == [local.base]
    assert f'["{local.base}", "https://chat.example"]' in page.text


@pytest.mark.anyio
async def test_over_stdio_there_is_no_address_and_what_works_instead_is_said(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        with pytest.raises(MCPError, match="a path on this computer"):
            await client.call_tool("kling_upload_picture", {})
        wish = {"image": CHAT, "prompt": "wind"}
        refused = said(await client.call_tool("kling_image_to_video", wish))
        wish["image"] = "kling://uploads/" + "A" * 22
        elsewhere = said(await client.call_tool("kling_image_to_video", wish))

    assert "kling_upload_picture" not in names
    assert "the path of the picture on this computer (ask the person)" in refused
    assert "kling_upload_picture" not in refused
    assert "uploads lie at the server over HTTP that took them" in elsewhere
    assert "Use the path of the file" in elsewhere


@pytest.mark.anyio
async def test_the_list_of_tools_stays_small_beside_a_gateway(tmp_path: Path) -> None:
    keys = {f"{name}_api_key": "a-key" for name in ("kling", "cometapi", "anyfast", "powertokens")}
    gateway = {"newapi_api_key": "a-key", "newapi_base_url": "https://gateway.example"}
    settings = sandbox_settings(tmp_path, **keys, **gateway, provider="newapi", save=True)
    hosting = Hosting.create(settings, load_host_settings()).reached_at(URL, settings)
    server = build_server(settings, sleep=no_sleep, team=hosting.team(settings))
    async with Client(server) as client:
        listed = await client.list_tools()
        told = client.instructions or ""

    assert listed.tools[-1].name == "kling_upload_picture"
    assert len(listed.model_dump_json(by_alias=True, exclude_none=True).encode()) <= ALL_BYTES
    assert "A picture in the chat, without a path: kling_upload_picture." in told
    assert "reads no local files" not in told
