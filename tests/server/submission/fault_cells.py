"""The cells of the fault matrix: one tool, called at one provider while one fault strikes."""

import json
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.server.serving import hurried, least_wish, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore
from kling_sandbox.faults import FAULTS
from kling_tools.products import PRODUCTS_BY_TOOL

NEW = "kling_new"
"""A row of the user's own: Kling's new standard alone."""
PROVIDERS = ("kling", NEW, "cometapi", "anyfast", "powertokens", "newapi")
CREATES = tuple(PRODUCTS_BY_TOOL)
READS = ("kling_get_task", "kling_wait_for_tasks", "kling_save_video", "kling_list_tasks")
"""The list comes last: it brings the ledger up to date, so that less is asked afterwards."""
STRUCK = ("once", "always")
"""How often the fault strikes in a cell."""
TIMES = (*STRUCK, "afterwards")
"""The same create again, without the fault: what a person does who does not trust the answer."""

STRUCK_WISH = "Zoom"
"""The prompt of the create that is struck."""

TEXT_LIMIT = 500
"""Characters of an error's text."""

MONEY = {
    "no": "This call cost nothing.",
    "yes": "This was charged.",
    "unknown": "Whether it was charged is unknown.",
}
MONEY_IN_ADVICE = ("It cost nothing.", "It was charged")
"""Advice on a failed task says itself what the task cost."""

NEVER_SHOWN = re.compile(
    r"<!doctype|<html|<head|<body|Traceback|File \"|sandbox-key|Bearer ", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one call answered, and how many tasks the provider made meanwhile; `doubtful` when
    the task that it is about was made and its answer was lost."""

    name: str
    result: CallToolResult
    made: int
    doubtful: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The structured answer."""
        assert self.result.structured_content is not None, self.name
        return self.result.structured_content

    @property
    def text(self) -> str:
        """The one text of the answer."""
        (content,) = self.result.content
        assert isinstance(content, TextContent), self.name
        return content.text

    @property
    def outcome(self) -> str:
        """The cell in a word, or the kind of its error and whether that was charged."""
        facts = self.facts
        if self.result.is_error:
            return f"{facts['error']}, {facts['charged']}"
        if "estimate_units" in facts:
            state = _state(facts["status"]).replace("ok", "made")
            return f"same task, {state}" if facts.get("repeated") else state
        if "page" in facts:
            return "without its list" if "own list is missing" in facts.get("note", "") else "ok"
        if "done" in facts:
            return _state(facts["tasks"][0]["status"])
        return "ok" if "bytes" in facts else _state(facts["status"])


def _state(status: str) -> str:
    return "ok" if status in ("submitted", "processing", "succeed") else status


def on_all_providers(folder: Path, **more: Any) -> Any:
    """Settings of a server with all providers, played by one sandbox."""
    played = {f"{name}_base_url": "sandbox" for name in PROVIDERS if name != NEW}
    rows = folder / "providers.json"
    row = {"like": "kling", "base_url": "sandbox", "wires": ["new"]}
    rows.write_text(json.dumps({NEW: row}), encoding="utf-8")
    return sandbox_settings(folder, provider="kling", providers=rows, **played, **more)


def create(tool: str, folder: Path, provider: str, prompt: str) -> dict[str, Any]:
    """The arguments of a create."""
    wish = {**least_wish(tool, folder, prompt), "provider": provider}
    if tool == "kling_talking_photo":  # with a text, so that both kinds of steps are struck
        del wish["sound_file"]
        wish |= {"text": f"{prompt}, as loud and as slow as you can.", "voice_id": "Melody"}
    return wish


def read(tool: str, task_id: str, provider: str) -> dict[str, Any]:
    """The arguments of a tool that spends nothing."""
    return {
        "kling_get_task": {"task_id": task_id},
        "kling_list_tasks": {"provider": provider},
        "kling_wait_for_tasks": {"task_ids": [task_id], "timeout_s": 0},
        "kling_save_video": {"task_id": task_id},
    }[tool]


async def prepare(folder: Path) -> dict[str, str]:
    """A folder in which each provider runs a healthy task for each read; their ids by provider
    and tool."""
    ids = {}
    async with Client(build_server(on_all_providers(folder), **hurried())) as client:
        for provider in PROVIDERS:
            for tool in READS:
                arguments = create(CREATES[0], folder, provider, tool)
                result = await client.call_tool(CREATES[0], arguments)
                assert result.structured_content is not None
                ids[f"{provider} {tool}"] = result.structured_content["task_id"]
    return ids


class FaultRun:
    """All cells of one fault that strikes `times`, in a copy of the prepared folder."""

    def __init__(
        self,
        fault: str,
        times: str,
        providers: tuple[str, ...],
        creates: tuple[str, ...],
        prepared: Path,
        folder: Path,
        ids: dict[str, str],
    ) -> None:
        shutil.copytree(prepared, folder)
        self._providers = providers
        self._creates = creates
        self._fault = fault
        self._times = times
        self._folder = folder
        self._ids = ids
        self._store = SandboxStore(folder / "home" / "sandbox")
        self._doubtful: set[str] = set()

    async def cells(self) -> AsyncIterator[tuple[str, str, str, Cell]]:
        """Tool, time, provider and cell."""
        async with self._server(self._switch()) as client:
            for provider in self._providers:
                for tool in (*self._creates, *READS):
                    yield tool, self._times, provider, await self._cell(client, tool, provider)
        if self._times == STRUCK[-1]:
            async with self._server("") as client:
                for provider in self._providers:
                    for tool in self._creates:
                        yield tool, TIMES[-1], provider, await self._cell(client, tool, provider)

    def paid_twice(self) -> list[str]:
        """Wishes for which more than one task was made that did not fail."""
        with closing(sqlite3.connect(self._folder / "home" / "sandbox" / "sandbox.sqlite3")) as db:
            found = db.execute(
                "SELECT body_json FROM tasks WHERE failure = '' "
                "GROUP BY fingerprint HAVING count(*) > 1"
            )
            return [str(body) for (body,) in found]

    def _switch(self) -> str:
        seconds = ":600" if FAULTS[self._fault].takes_seconds else ""
        return f"{self._fault}{seconds}" + (":1" if self._times == "once" else "")

    @asynccontextmanager
    async def _server(self, faults: str) -> AsyncIterator[Client]:
        settings = on_all_providers(self._folder, sandbox_faults=faults)
        async with Client(build_server(settings, **hurried())) as client:
            yield client

    def _arguments(self, tool: str, provider: str) -> dict[str, Any]:
        if tool in CREATES:
            return create(tool, self._folder, provider, STRUCK_WISH)
        return read(tool, self._subject(provider, tool), provider)

    def _subject(self, provider: str, tool: str) -> str:
        """The task to look at: a healthy one, or where only creates are struck the one that was
        struck."""
        if FAULTS[self._fault].targets != ("creates",):
            return self._ids[f"{provider} {tool}"]
        with closing(sqlite3.connect(self._folder / "home" / "ledger.sqlite3")) as db:
            ((found,),) = db.execute(
                "SELECT coalesce(task_id, external_task_id) FROM tasks "
                "WHERE provider = ? AND product = 'image2video' AND prompt = ?",
                (provider, STRUCK_WISH),
            ).fetchall()
        return str(found)

    async def _cell(self, client: Client, tool: str, provider: str) -> Cell:
        self._store.forget_strikes()
        before = self._made(provider)
        result = await client.call_tool(tool, self._arguments(tool, provider))
        name = f"{self._fault} {self._times} {tool} {provider}"
        doubtful = provider in self._doubtful and tool in READS
        cell = Cell(name, result, self._made(provider) - before, doubtful)
        if tool == CREATES[0] and cell.made and cell.result.is_error:
            self._doubtful.add(provider)
        return cell

    def _made(self, provider: str) -> int:
        account = "kling" if provider == NEW else provider
        return self._store.counts().per_provider.get(account, {}).get("accepted", 0)


def assert_honest(cell: Cell) -> None:
    """What holds for every answer: it can be read, it is one thing twice, the money is right."""
    text, facts = cell.text, cell.facts
    assert not NEVER_SHOWN.search(f"{text} {facts}"), cell.name
    assert cell.made <= 1, cell.name
    if not cell.result.is_error:
        assert str(facts.get("task_id", "")) in text, cell.name
        return
    assert len(text) <= TEXT_LIMIT, (cell.name, len(text), text)
    assert "\n" not in text, cell.name
    assert "  " not in text, text
    charged = facts["charged"]
    assert charged != "no" or not (cell.made or cell.doubtful), cell.name
    if "faults" in facts:
        assert text.startswith("Refused, nothing was sent or charged."), cell.name
        assert all(fault["message"] in text for fault in facts["faults"]), cell.name
        return
    assert text.startswith(facts["message"]), cell.name
    said = facts["next"].startswith(MONEY_IN_ADVICE)
    assert said or MONEY[charged] in text, cell.name
    assert facts["next"] in text, cell.name
    assert facts.get("provider_says", "") in text, cell.name
