"""A stage for a conversation: a server on the sandbox, a real client, and all that it writes down.

Time is virtual, and what differs from run to run gets a stand-in, so that the same conversation
always gives the same document.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp_types import TextContent

from kling_mcp.protocol.server import build_server
from kling_mcp.providers.configured import SANDBOX_URL
from kling_mcp.settings.settings import load_settings

SIZE_BYTES = 1_000_000
TASK_ID = re.compile(r"\b\d{15,}\b|\bkmcp-[0-9a-f]{32}\b|\bfilm-[0-9a-f]{8}\b")
SIGNED_URL = re.compile(rf"{re.escape(SANDBOX_URL)}/[^\s\"?]*\?[^\s\",]*[^\s\",.]")
HASH = re.compile(r"\b[0-9a-f]{64}\b")
STRUCTURED_BYTES = re.compile(r'"bytes": \d+')
SAID_BYTES = re.compile(r"\b\d+\.\d MB\b|\b\d+ kB\b")


class Stage:
    """One person's computer with the home folder `home`. `lines` is the document so far; no video
    is larger than `side_px`."""

    def __init__(self, home: Path, clock: Callable[[], float], side_px: int) -> None:
        self.lines: list[str] = []
        self._home = home
        self._clock = clock
        self._side_px = side_px
        self._tasks: dict[str, str] = {}
        self._client: Client | None = None

    @asynccontextmanager
    async def session(
        self, title: str, *faults: str, render_s: float, slots: int = 20
    ) -> AsyncIterator[None]:
        """A new start of the server by its host; `faults` are the sandbox's, whose tasks take
        `render_s` seconds, as many as `slots` at once."""
        self.lines += [f"## {title}", ""]
        settings = load_settings(
            provider="sandbox",
            home=self._home / ".local" / "share" / "kling-mcp",
            output_dir=self._home / "Videos" / "kling-mcp",
            image_roots=(self._home,),
            sandbox_queue_s=0,
            sandbox_render_s=render_s,
            sandbox_faults=faults,
            sandbox_slots=slots,
            sandbox_side_px=self._side_px,
            timezone="Europe/Berlin",
        )
        server = build_server(settings, clock=self._clock)
        async with Client(server) as self._client:
            yield

    def you(self, text: str) -> None:
        """The person says something."""
        self.lines += [f"> **You:** {text}", ""]

    def assistant(self, text: str) -> None:
        """The assistant says something."""
        self.lines += [f"> **Assistant:** {self._stable(text)}", ""]

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The assistant calls a tool: its structured answer. Both are written down."""
        assert self._client is not None
        answer = await self._client.call_tool(tool, arguments)
        content, *pictures = answer.content
        assert isinstance(content, TextContent)
        fields = answer.structured_content
        assert fields is not None
        self.lines += [
            f"`{tool}`",
            "",
            *_block("json", self._stable(_json(arguments))),
            "The answer is an error:" if answer.is_error else "The answer:",
            "",
            *_block("text", self._stable(content.text)),
            *(["A JPEG comes with it, which the model sees.", ""] if pictures else []),
            *_block("json", self._stable(_json(fields))),
        ]
        return fields

    def _stable(self, text: str) -> str:
        """The text with a stand-in for each thing that differs from run to run."""
        text = text.replace(str(self._home), "~")
        text = TASK_ID.sub(lambda match: self._stand_in(match[0]), text)
        text = SIGNED_URL.sub(
            lambda url: (
                f"{SANDBOX_URL}/{'PICTURE.png' if '.png?' in url[0] else 'VIDEO.mp4'}?SIGNATURE"
            ),
            text,
        )
        text = HASH.sub("SHA-256", text)
        text = STRUCTURED_BYTES.sub(f'"bytes": {SIZE_BYTES}', text)
        return SAID_BYTES.sub(f"{SIZE_BYTES / 1e6:.1f} MB", text)

    def _stand_in(self, task_id: str) -> str:
        return self._tasks.setdefault(task_id, f"TASK-{len(self._tasks) + 1}")


async def later(days: float) -> None:
    """Lets virtual time pass."""
    await anyio.sleep(days * 86_400)


def _block(language: str, text: str) -> list[str]:
    return [f"```{language}", text, "```", ""]


def _json(value: Any, indent: int = 0, width: int = 100) -> str:
    """JSON with each object that fits on one line there."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= width or not isinstance(value, dict | list) or not value:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [
            f"{pad}{json.dumps(name)}: {_json(item, indent + 2, width)}"
            for name, item in value.items()
        ]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    rows = [f"{pad}{_json(item, indent + 2, width)}" for item in value]
    return "[\n" + ",\n".join(rows) + "\n" + " " * indent + "]"
