"""Once a task is made, nothing that follows turns its receipt into an error."""

import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp_types import CallToolResult
from PIL import Image
from tests.sampling import sampled
from tests.server.protocol.raw_client import modern
from tests.server.scripted import CREATE, Scripted, ends, facts, talking_to, task, words
from tests.server.serving import no_sleep, picture, sandbox_settings, virtual_time

from kling_mcp.ledger import Ledger
from kling_mcp.ledger.changes import Noticing
from kling_mcp.protocol.server import build_server
from kling_mcp.protocol.tasks_extension import VideoTasks
from kling_mcp.service import Service
from kling_mcp.submission import new_videos
from kling_mcp.submission.queue import FolderQueue
from kling_tools.errors import KlingError
from kling_tools.results import Receipt

pytestmark = [pytest.mark.anyio, virtual_time]


PLAYER = [advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})]


def odd(type_code: int, count: int, value: bytes, tag: int = 0x0112) -> bytes:
    """EXIF with one entry that is not what its tag asks for."""
    entry = struct.pack("<HHI4s", tag, type_code, count, value)
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


ODD_EXIF = {
    "orientation as text": odd(2, 3, b"up\0\0"),
    "orientation as an endless number": odd(4, 1, b"\xff\xff\xff\xff"),
    "orientation as two numbers": odd(3, 2, b"\x06\0\x08\0"),
    "orientation as a fraction of nothing": odd(5, 1, b"\0\0\0\0"),
    "resolution as text": odd(2, 4, b"abc\0", 0x011A),
    "resolution that lies outside": odd(5, 1, b"\xff\xff\xff\x7f", 0x011A),
    "GPS as a number": odd(4, 1, b"\x07\0\0\0", 0x8825),
    "a table that holds itself": odd(4, 1, b"\x08\0\0\0", 0x8769),
    "a table of 65,535 entries": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(24),
    "cut short": b"Exif\0\0II*\0",
    "of no kind": b"Exif\0\0" + b"\xff" * 40,
    "text": b"Exif\0\0<html>not found</html>",
}


async def create(client: Client, path: str) -> CallToolResult:
    return await client.call_tool(CREATE, {"image": path, "prompt": "Zoom"})


@pytest.mark.parametrize(("odd", "suffix"), sampled(product(ODD_EXIF, ["jpg", "png"]), 3))
async def test_odd_exif_costs_no_receipt_in_a_host_with_the_player(
    odd: str, suffix: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(path, exif=ODD_EXIF[odd])

    async with Client(build_server(sandbox_settings(tmp_path)), extensions=PLAYER) as client:
        receipt = await create(client, str(path))

    assert not receipt.is_error, words(receipt)
    assert facts(receipt)["task_id"]
    assert receipt.meta is not None
    assert receipt.meta["kling-mcp/thumbnail"].startswith("data:image/jpeg;base64,")


def breaks(error: Exception) -> Callable[..., Any]:
    def broken(*_: object, **__: object) -> Any:
        raise error

    return broken


STEPS: list[tuple[Any, str]] = [
    (Service, "thumbnail"),
    (Service, "posters"),
    (Receipt, "show_in_player"),
    (Receipt, "text"),
    (Receipt, "structured"),
    (Receipt, "finished"),
    (Receipt, "for_apps"),
    (new_videos, "receipt"),
    (Noticing, "__call__"),
]


ERRORS = TypeError("odd"), KlingError("It is broken.")


@pytest.mark.parametrize(
    ("error", "step"),
    sampled(product(ERRORS, STEPS), 2),
    ids=lambda value: value[1] if isinstance(value, tuple) else type(value).__name__,
)
async def test_a_step_after_the_create_that_breaks_is_left_out_and_logged(
    step: tuple[Any, str],
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = picture(tmp_path)
    server = build_server(sandbox_settings(tmp_path, poster=True), sleep=no_sleep)
    async with Client(server, extensions=PLAYER) as client:
        monkeypatch.setattr(*step, breaks(error))
        receipt = await create(client, path)
        monkeypatch.undo()
        again = await create(client, path)

    assert not receipt.is_error, words(receipt)
    assert facts(receipt)["task_id"] == facts(again)["task_id"]
    assert facts(receipt)["task_id"] in words(receipt)
    assert facts(again)["repeated"] is True
    assert "The answer goes out without" in caplog.text


async def test_a_step_that_takes_too_long_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def endless(*_: object) -> str:
        await anyio.sleep_forever()
        return ""

    monkeypatch.setattr(Service, "thumbnail", endless)
    monkeypatch.setattr("kling_tools.decorations.DECORATION_S", 0.01)
    async with Client(build_server(sandbox_settings(tmp_path)), extensions=PLAYER) as client:
        receipt = await create(client, picture(tmp_path))

    assert facts(receipt)["task_id"]
    assert "it took too long" in caplog.text


async def test_a_handle_that_cannot_be_made_gives_way_to_the_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VideoTasks, "begun", breaks(TypeError("odd")))
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        arguments = {"image": picture(tmp_path), "prompt": "Zoom"}
        answer = await client.ask("tools/call", name=CREATE, arguments=arguments)

    assert answer["result"]["structuredContent"]["task_id"]


async def test_a_ledger_that_breaks_after_the_create_still_tells_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "record", breaks(TypeError("odd")))
    async with talking_to(Scripted(ends()), tmp_path, monkeypatch) as client:
        told = await create(client, picture(tmp_path))

    assert facts(told)["charged"] == "yes"
    assert "t-1" in words(told)
    assert "odd" not in words(told)


@pytest.mark.parametrize(
    "step", [(FolderQueue, "drop"), (Ledger, "release")], ids=lambda step: step[1]
)
async def test_a_queued_request_that_is_sent_is_not_lost_over_its_tidying(
    step: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"code": 1303, "message": "parallel task over resource pack limit"}
    answers = [httpx.Response(429, json=refused), task()]

    def api(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return answers.pop(0) if answers else task()
        return task(task_status="processing")

    async with talking_to(Scripted(api), tmp_path, monkeypatch) as client:
        queued = await create(client, picture(tmp_path))
        assert facts(queued)["status"] == "queued"
        monkeypatch.setattr(*step, breaks(OSError("no space left")))
        again = facts(
            await client.call_tool(
                "kling_wait_for_tasks", {"task_ids": [facts(queued)["task_id"]], "timeout_s": 5}
            )
        )

    assert again["tasks"][0]["status"] in ("queued", "submitted", "processing")
