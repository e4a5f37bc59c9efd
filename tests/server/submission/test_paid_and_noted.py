"""A task that was made while the ledger was locked is noted beside it, and found again."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import Client
from tests.server.scripted import BASE, CREATE, KEY, Scripted, facts, words
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.ledger import sqlite as database
from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]


class Gateway(Scripted):
    """One that cannot be asked by our ids; while it answers a create, somebody locks the ledger,
    or does whatever else a test has in mind."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(self._answer)
        self.folder = folder
        self.home = folder / "home"
        self.creates = 0
        self.locked: sqlite3.Connection | None = None
        self.image = picture(folder)
        monkeypatch.setattr("kling_mcp.providers.transport.connect", self.connect)
        monkeypatch.setattr(database, "BUSY_S", 0.01)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.creates += 1
            self.lock()
        fields = {"task_id": "t-paid", "task_status": "submitted"}
        return httpx.Response(200, json={"code": 0, "message": "SUCCEED", "data": fields})

    def lock(self) -> None:
        self.locked = sqlite3.connect(self.home / "ledger.sqlite3", isolation_level=None)
        self.locked.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        assert self.locked is not None
        self.locked.close()

    @asynccontextmanager
    async def server(self) -> AsyncIterator[Client]:
        settings = sandbox_settings(
            self.folder, provider="newapi", newapi_api_key=KEY, newapi_base_url=BASE
        )
        async with Client(build_server(settings, **hurried())) as client:
            yield client

    async def make(self, client: Client) -> tuple[dict[str, object], str]:
        result = await client.call_tool(CREATE, {"image": self.image, "prompt": "Zoom"})
        return facts(result), words(result)

    def rows(self) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.home / "ledger.sqlite3")) as db:
            return list(db.execute("SELECT task_id, status FROM tasks"))


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    return Gateway(tmp_path, monkeypatch)


@pytest.mark.parametrize("started_anew", [True, False])
async def test_a_task_made_while_the_ledger_was_locked_is_taken_up_and_not_paid_again(
    started_anew: bool, gateway: Gateway
) -> None:
    async with gateway.server() as client:
        told, text = await gateway.make(client)
        gateway.unlock()
        if not started_anew:
            again, _ = await gateway.make(client)
    if started_anew:
        async with gateway.server() as client:
            again, _ = await gateway.make(client)

    assert told["charged"] == "yes"
    assert "Task t-paid was made" in text
    assert "A note of it is kept; the server enters it into the ledger later." in text
    assert again["task_id"] == "t-paid"
    assert gateway.rows() == [("t-paid", "submitted")]
    assert gateway.creates == 1
    assert list((gateway.home / "made").iterdir()) == []


async def test_a_new_server_takes_notes_up_whatever_it_is_asked_first(gateway: Gateway) -> None:
    async with gateway.server() as client:
        await gateway.make(client)
    gateway.unlock()

    async with gateway.server() as client:
        await client.call_tool("kling_list_tasks", {})
        waited = await client.call_tool("kling_get_task", {"task_id": "t-paid"})
        for _ in range(1000):  # what takes notes up runs beside the calls
            if gateway.rows() == [("t-paid", "submitted")]:
                break
            await anyio.sleep(0.01)

    assert facts(waited)["task_id"] == "t-paid"
    assert gateway.rows() == [("t-paid", "submitted")]


async def test_a_ledger_that_can_be_written_in_time_leaves_no_note(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unlocking(_: float) -> None:
        with suppress(sqlite3.ProgrammingError):
            gateway.unlock()

    settings = sandbox_settings(
        gateway.folder, provider="newapi", newapi_api_key=KEY, newapi_base_url=BASE
    )
    async with Client(build_server(settings, sleep=unlocking)) as client:
        told, _ = await gateway.make(client)

    assert told["task_id"] == "t-paid"
    assert list((gateway.home / "made").iterdir()) == []


async def test_a_note_that_cannot_be_read_stands_in_nobody_s_way(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway.server() as client:
        await gateway.make(client)
    gateway.unlock()
    (note,) = (gateway.home / "made").iterdir()
    note.write_text(json.dumps({"task_id": 5}))

    async with gateway.server() as client:
        listed = await client.call_tool("kling_list_tasks", {})
        again, _ = await gateway.make(client)

    assert not listed.is_error
    assert again["charged"] == "unknown"
    assert gateway.creates == 1
    assert caplog.text.count(f"The note {note} of a task that was made cannot be read") == 1


async def test_where_no_note_can_be_kept_the_answer_says_which_id_to_keep(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.home.mkdir()
    (gateway.home / "made").write_text("a file in the way")

    async with gateway.server() as client:
        told, text = await gateway.make(client)
    gateway.unlock()

    assert told["charged"] == "yes"
    assert "Keep the id t-paid" in text
    assert "A note" not in text
    assert "Task t-paid was made, and no note can be kept" in caplog.text
