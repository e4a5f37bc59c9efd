"""`kling-mcp demo`: a real MCP client that makes one video from one picture."""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kling_mcp.outputs.frames import make_contact_sheet
from kling_tools.quoting import counted

if TYPE_CHECKING:
    from mcp import Client
    from mcp.shared.dispatcher import ProgressFnT

__all__ = ["add_arguments", "run_from", "shipped_picture"]

PICTURE = "astronaut.png"
"""NASA's portrait of Eileen Collins; its source is in examples/pictures/SOURCES.md."""

PROMPT = "Slow zoom on the astronaut while she keeps smiling"
OTHER_PROMPT = "Slow zoom into the picture"
OUTPUT = Path("videos")
SANDBOX = "sandbox"

_CALL_LIMIT_S = 90
_WAIT_S = 20
_WHOLE_WAIT_S = 15 * 60
_SILENCE_S = 5.0
"""Least seconds between two progress lines."""

_LOG_LINES = 8
_INTERRUPTED = 130


class _Stopped(Exception):
    """The demo cannot continue; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `run_from` reads."""
    parser.add_argument(
        "picture",
        nargs="?",
        type=Path,
        metavar="PICTURE",
        help="a JPEG or PNG of at least 300 px a side (default: NASA's portrait of an astronaut)",
    )
    parser.add_argument("--prompt", help="what should happen in the video")
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="DIR",
        help="the folder for the video and its contact sheet (default: %(default)s)",
    )
    parser.add_argument(
        "--provider",
        default=SANDBOX,
        help="who makes the video; any but the default, %(default)s, costs money",
    )


def run_from(args: argparse.Namespace) -> int:
    """Run the demo and return the exit code: 0, 1 when it stopped, 130 when it was interrupted."""
    try:
        return _run(args)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return _INTERRUPTED


def shipped_picture() -> Path:
    """The photograph that comes with the project: in the package, or in its source tree.

    Raises `FileNotFoundError` when neither holds it.
    """
    here = Path(__file__).resolve().parents[1]
    places = (here / "pictures", here.parents[1] / "examples" / "pictures")
    for place in places:
        if (place / PICTURE).is_file():
            return place / PICTURE
    raise FileNotFoundError(f"{PICTURE} is in none of {', '.join(map(str, places))}")


def _run(args: argparse.Namespace) -> int:
    import anyio

    started = time.monotonic()
    try:
        picture = (args.picture or shipped_picture()).expanduser().resolve()
        prompt = args.prompt or (OTHER_PROMPT if args.picture else PROMPT)
        output = args.output.expanduser().resolve()
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kling-mcp-", ignore_cleanup_errors=True) as home:
            settings = _settings(args.provider, picture, output, Path(home))
            saved = anyio.run(_make_video, picture, prompt, settings)
        video = Path(saved["path"])
        sheet = video.with_suffix(".png")
        make_contact_sheet(video, sheet)
    except (_Stopped, OSError) as error:
        print(f"\nThe demo stopped. {error}", file=sys.stderr)
        return 1
    size = f"{saved['width']}x{saved['height']}, {saved['bytes'] / 1e6:.1f} MB"
    _say("Video", str(video), f"{saved['duration_s']:g} s, {size}")
    _say("Frames", str(sheet))
    _say("Done", f"in {time.monotonic() - started:.0f} s")
    _say(
        "Next",
        "kling-mcp install CLIENT adds this server to Claude Desktop, Cursor, VS Code and others.",
        "The demo's own ledger is removed: kling-mcp tasks does not list this video."
        if args.provider == SANDBOX
        else "kling-mcp tasks lists this video and what it cost.",
    )
    return 0


def _settings(provider: str, picture: Path, output: Path, home: Path) -> dict[str, str]:
    """The server's environment. The sandbox gets a temporary ledger; paid tasks go to the user's
    own."""
    settings = {
        "KLING_MCP_PROVIDER": provider,
        "KLING_MCP_OUTPUT_DIR": str(output),
        "KLING_MCP_IMAGE_ROOTS": str(picture.parent),
        "KLING_MCP_TOOLS": "all",
    }
    if provider == SANDBOX:
        settings |= {"KLING_MCP_HOME": str(home), "KLING_MCP_READ_ONLY": "false"}
    return {**os.environ, **settings}


async def _make_video(picture: Path, prompt: str, settings: dict[str, str]) -> dict[str, Any]:
    """The answer of `kling_save_video` at the end; raises `_Stopped` when a step before fails."""
    from mcp import Client, MCPError, StdioServerParameters, stdio_client

    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=settings)
    saved: dict[str, Any] = {}
    stopped: _Stopped | None = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            transport = stdio_client(server, errlog=log)
            async with Client(transport, read_timeout_seconds=_CALL_LIMIT_S) as client:
                saved = await _go_through(client, picture, prompt)
        except* _Stopped as group:
            stopped = _Stopped(str(_first(group)))
        except* MCPError as group:
            stopped = _Stopped(f"The server does not answer: {_first(group)}.\n{_tail(log)}")
    if stopped is not None:
        raise stopped
    return saved


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _tail(log: TextIO) -> str:
    """The last lines that the server wrote to stderr."""
    log.seek(0)
    return "".join(log.readlines()[-_LOG_LINES:]).rstrip()


async def _go_through(client: Client, picture: Path, prompt: str) -> dict[str, Any]:
    """Submit, wait, save. Each step is a call that any assistant could make."""
    about = client.server_info
    name = f"{about.name} {about.version}" if about else "unnamed"
    _say("Server", f"{name}, over stdio, MCP {client.protocol_version}")
    _say("Tools", *(tool.name for tool in (await client.list_tools()).tools))
    _say("Picture", str(picture))
    _say("Prompt", prompt)
    task = await _call(
        client,
        "kling_image_to_video",
        {"image": str(picture), "prompt": prompt, "duration": "5", "mode": "std"},
    )
    _say("Task", f"{task['task_id']}, {task['model_name']}, {task['status']}")
    _say("Price", _price(task))
    await _wait(client, task["task_id"])
    return await _call(client, "kling_save_video", {"task_id": task["task_id"]})


async def _wait(client: Client, task_id: str) -> None:
    """Wait for the task and print the server's progress messages."""
    began = time.monotonic()
    task = await _until_ended(client, task_id)
    if task["status"] != "succeed":
        words = task.get("provider_says") or task.get("next") or "no reason given"
        raise _Stopped(f"The task ended as {task['status']}: {words}")
    _say("Wait", f"the video is made, after {time.monotonic() - began:.0f} s")


async def _until_ended(client: Client, task_id: str) -> dict[str, Any]:
    said_at = -math.inf

    async def report(progress: float, total: float | None, message: str | None) -> None:
        nonlocal said_at
        if message and time.monotonic() - said_at >= _SILENCE_S:
            said_at = time.monotonic()
            _say("Wait", message)

    until = time.monotonic() + _WHOLE_WAIT_S
    while time.monotonic() < until:
        arguments = {"task_ids": [task_id], "timeout_s": _WAIT_S}
        answer = await _call(client, "kling_wait_for_tasks", arguments, report)
        if answer["done"]:
            task: dict[str, Any] = answer["tasks"][0]
            return task
    raise _Stopped(f"Task {task_id} still runs after {counted(_WHOLE_WAIT_S // 60, 'minute')}.")


async def _call(
    client: Client, tool: str, arguments: dict[str, Any], report: ProgressFnT | None = None
) -> dict[str, Any]:
    """The structured answer of a tool; raises `_Stopped` with the text of an error."""
    answer = await client.call_tool(tool, arguments, progress_callback=report)
    if answer.is_error:
        raise _Stopped(" ".join(part.text for part in answer.content if part.type == "text"))
    content: dict[str, Any] = answer.structured_content
    return content


def _price(task: dict[str, Any]) -> str:
    if "estimate_units" not in task:
        return "unknown"
    usd = f" ({task['estimate_usd']:.2f} USD list price)" if "estimate_usd" in task else ""
    paid = "; the sandbox charges nothing" if task["provider"] == SANDBOX else ""
    return f"{counted(task['estimate_units'], 'unit')}{usd}{paid}"


def _say(label: str, *lines: str) -> None:
    """Print lines under one label, and flush them."""
    for number, line in enumerate(lines):
        print(f"{'' if number else label:<9}{line}", flush=True)
