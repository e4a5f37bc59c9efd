"""What the provider refuses about a picture is known before, or answered with advice that works."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from PIL import Image
from tests.server.scripted import CREATE, Scripted, is_create, talking_to, task
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server

RATIO = "The resolution or aspect ratio of the input image is invalid. Please ensure it meets the "
PIXELS = "Image pixel is invalid"
RISK = "Failure to pass the risk control system"
pytestmark = pytest.mark.anyio

NO_USE = ("Leave out optional arguments", "Submit again to make it")


@pytest.mark.parametrize("field", ["image", "image_tail"])
async def test_a_vast_picture_is_taken_as_a_dry_run_says(tmp_path: Path, field: str) -> None:
    """Kling limits bytes, the shortest side and the ratio, and no number of pixels."""
    vast = tmp_path / "vast.png"
    Image.new("1", (12000, 9000)).save(vast)
    request: dict[str, Any] = {"image": picture(tmp_path), "prompt": "x", "mode": "pro"}
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        for dry_run in (True, False):
            told = await client.call_tool(CREATE, request | {field: str(vast), "dry_run": dry_run})
            assert not told.is_error, told.content
            assert not (told.structured_content or {}).get("faults")


async def test_the_shape_of_an_end_frame_is_judged_before_it_is_sent(tmp_path: Path) -> None:
    wide = picture(tmp_path, "wide.png", (1600, 400))
    request = {"image": picture(tmp_path), "image_tail": wide, "mode": "pro", "prompt": "x"}
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        told = await client.call_tool(CREATE, request)
        assert told.is_error
        assert "image_ratio" in str(told.structured_content)
        fitted = await client.call_tool(CREATE, request | {"fit": "16:9"})
        assert not fitted.is_error, fitted.content


@pytest.mark.parametrize(
    ("says", "advice"), [(RATIO, "JPEG copy"), (PIXELS, "JPEG copy"), (RISK, "another prompt")]
)
async def test_a_refused_picture_gets_advice_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, advice: str
) -> None:
    def api(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            return httpx.Response(400, json={"code": 1201, "message": says})
        return httpx.Response(200, json={"code": 0, "data": []})

    async with talking_to(Scripted(api), tmp_path, monkeypatch) as client:
        told = await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "x"})
        listed = await client.call_tool("kling_list_tasks", {})
        row = (listed.structured_content or {})["tasks"][0]
        got = await client.call_tool("kling_get_task", {"task_id": row["task_id"]})

        for answer in (told, listed, got):
            text = str(answer.structured_content) + str(answer.content)
            assert advice in text
            assert not any(useless in text for useless in NO_USE)
        assert "another_take" not in (got.structured_content or {})


async def test_a_task_that_failed_for_its_picture_is_not_offered_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def api(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            return task()
        return task(task_status="failed", task_status_msg=PIXELS, final_unit_deduction="0")

    async with talking_to(Scripted(api), tmp_path, monkeypatch) as client:
        await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "x"})
        got = await client.call_tool("kling_get_task", {"task_id": "t-1"})

    assert "JPEG copy" in str(got.structured_content)
    assert "another_take" not in (got.structured_content or {})
