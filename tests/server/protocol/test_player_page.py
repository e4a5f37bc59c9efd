"""The player as a host gets it: one page, small, that may load nothing but videos."""

import re
from base64 import b64decode
from pathlib import Path

import pytest
from mcp import Client
from mcp_types import TextResourceContents
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_tools.products import PRODUCTS_BY_TOOL

URI = "ui://kling/player.html"
MOST_BYTES = 40_000
HOSTS = [
    "https://*.inkwai.com",
    "https://*.kechuangai.com",
    "https://*.kling.ai",
    "https://*.klingai.com",
    "https://*.kwimgs.com",
]

pytestmark = pytest.mark.anyio


async def test_the_create_tools_name_a_page_that_is_whole_and_small(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        tools = (await client.list_tools()).tools
        (page,) = (await client.read_resource(URI)).contents

    shown = {tool.name: tool.meta["ui"] for tool in tools if tool.meta}
    assert shown == {name: {"resourceUri": URI} for name in (*PRODUCTS_BY_TOOL, "kling_film")}
    assert isinstance(page, TextResourceContents)
    assert page.mime_type == "text/html;profile=mcp-app"
    assert len(page.text.encode()) < MOST_BYTES
    assert not re.search(r"https?://|@import|src=|href=|/\*s(tyle|cript)\*/", page.text)
    assert page.meta == {
        "ui": {
            "csp": {"resourceDomains": HOSTS},
            "permissions": {"clipboardWrite": {}},
            "prefersBorder": True,
        }
    }


@pytest.mark.parametrize("span", ["", "5", "a-b", "9-3", "-1-5", "0-" + "9" * 30])
async def test_a_span_that_is_none_is_refused_in_words(span: str, tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        with pytest.raises(Exception, match=r"no span of bytes|[Uu]nknown resource|not found"):
            await client.read_resource(f"kling://tasks/t/video/{span}")


async def test_the_parts_of_a_saved_video_make_up_the_file(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, save=True)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        receipt = (await client.call_tool("kling_image_to_video", wish)).structured_content
        assert receipt is not None
        task_id = receipt["task_id"]
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [task_id]})
        assert waited.structured_content is not None
        path = Path(waited.structured_content["tasks"][0]["path"])
        parts = b""
        while True:
            span = f"{len(parts)}-{len(parts) + 9_999}"
            read = await client.read_resource(f"kling://tasks/{task_id}/video/{span}")
            data = b64decode(read.contents[0].blob)  # type: ignore[union-attr]
            parts += data
            if len(data) < 10_000:
                break

    assert parts == path.read_bytes()
