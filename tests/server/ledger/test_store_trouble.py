"""A ledger that cannot be written is told before money is spent: one clear error, nothing sent."""

import functools
import json
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import TextContent
from tests.server.loopback import served_sandbox, settings_of
from tests.server.serving import picture

from kling_mcp.ledger import sqlite
from kling_mcp.ledger import sqlite as database
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings
from kling_sandbox import SandboxStore

NOBODY = 65_534
OTHER_FOLDER = "KLING_MCP_HOME"


class Desk:
    """A folder with a ledger that has one task, a picture, and a sandbox that counts."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.settings = settings_of(folder, url)
        self.ledger = folder / "home" / "ledger.sqlite3"
        self.image = picture(folder, size=(320, 320))

    def creates(self) -> int:
        return SandboxStore(self.folder / "sandbox").counts().requests.get("creates", 0)

    async def submit(self, prompt: str) -> tuple[dict[str, Any], str]:
        """The fields of the answer and its text."""
        async with Client(build_server(load_settings(**self.settings))) as client:
            result = await client.call_tool(
                "kling_image_to_video", {"image": self.image, "prompt": prompt}
            )
        (content,) = result.content
        assert isinstance(content, TextContent)
        return result.structured_content or {}, content.text

    async def refused(
        self, why: str, advice: str, user: AbstractContextManager[None] | None = None
    ) -> None:
        """A submit by the user is refused for that reason, with that advice, and nothing reaches
        Kling, which any user could reach."""
        before = self.creates()
        for path in (self.folder / "sandbox", *(self.folder / "sandbox").rglob("*")):
            path.chmod(0o777)
        with user or nullcontext():
            facts, text = await self.submit("what cannot be written down")
        assert facts["error"] == "not_configured", text
        assert facts["charged"] == "no"
        assert str(self.ledger) in facts["message"]
        assert why in facts["message"]
        assert advice in facts["next"]
        assert "This call cost nothing." in text
        assert self.creates() == before


@pytest.fixture
def desk() -> Iterator[Desk]:
    """In a folder that any user of this machine may enter, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        with served_sandbox(folder / "sandbox") as url:
            yield Desk(folder, url)


@contextmanager
def somebody_who_may_not() -> Iterator[None]:
    """Rights do not bind root, who is nobody for a while; anybody else stays who they are."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def without_room(connect: Callable[[Path], sqlite3.Connection], path: Path) -> sqlite3.Connection:
    """The database on a disk that has room for not one page more."""
    db = connect(path)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    return db


@pytest.mark.anyio
@pytest.mark.campaign
async def test_on_a_full_disk_nothing_is_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.submit("what was made when there was room")
    full = functools.partial(without_room, database.open_database)
    monkeypatch.setattr(sqlite, "open_database", full)
    for number in range(99):
        facts, _ = await desk.submit(f"what fills the last pages, {number}")
        if "error" in facts:
            break

    await desk.refused("database or disk is full", "Free some space")

    monkeypatch.undo()
    facts, text = await desk.submit("what cannot be written down")
    assert facts["status"] == "submitted", text


DISK_THAT_TAKES_NOTHING = """
import json, resource, sys
import anyio
from mcp import Client
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings

settings, arguments = json.loads(sys.argv[1])

async def main():
    async with Client(build_server(load_settings(**settings))) as client:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        result = await client.call_tool("kling_image_to_video", arguments)
    print(json.dumps(result.structured_content))

anyio.run(main)
"""


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform == "win32", reason="the limit is one of POSIX")
@pytest.mark.parametrize("there", [pytest.param(False, marks=pytest.mark.campaign), True])
async def test_on_a_disk_that_takes_not_one_byte_nothing_is_sent(desk: Desk, there: bool) -> None:
    if there:
        await desk.submit("what was made when there was room")
    before = desk.creates()
    asked = json.dumps([desk.settings, {"image": desk.image, "prompt": "no room"}])
    done = await anyio.run_process([sys.executable, "-c", DISK_THAT_TAKES_NOTHING, asked])

    facts = json.loads(done.stdout)
    assert (facts["error"], facts["charged"]) == ("not_configured", "no")
    assert str(desk.ledger) in facts["message"]
    assert OTHER_FOLDER in facts["next"]
    assert desk.creates() == before


@pytest.mark.anyio
async def test_in_a_folder_that_may_not_be_written_nothing_is_sent(desk: Desk) -> None:
    await desk.submit("what was made when it could be written")
    for path in desk.ledger.parent.iterdir():
        path.unlink()
    desk.ledger.parent.chmod(0o555)

    await desk.refused("unable to open database file", OTHER_FOLDER, somebody_who_may_not())


@pytest.mark.anyio
async def test_with_a_ledger_that_may_only_be_read_nothing_is_sent(desk: Desk) -> None:
    await desk.submit("what was made when it could be written")
    desk.ledger.chmod(0o444)
    desk.ledger.parent.chmod(0o555)

    await desk.refused("readonly database", "Allow this user to write", somebody_who_may_not())


@pytest.mark.anyio
async def test_in_a_folder_that_may_not_be_entered_nothing_is_sent(desk: Desk) -> None:
    await desk.submit("what was made when it could be entered")
    desk.ledger.parent.chmod(0o000)

    await desk.refused("unable to open database file", OTHER_FOLDER, somebody_who_may_not())

    desk.ledger.parent.chmod(0o755)


@pytest.mark.anyio
async def test_with_a_file_where_the_folder_should_be_nothing_is_sent(desk: Desk) -> None:
    desk.ledger.parent.write_text("in the way")

    await desk.refused("exists", OTHER_FOLDER)


@pytest.mark.anyio
async def test_with_a_damaged_ledger_nothing_is_sent_and_it_is_left_as_it_is(desk: Desk) -> None:
    desk.ledger.parent.mkdir()
    desk.ledger.write_bytes(b"notes of somebody\n" * 1000)

    await desk.refused("not a database", "Put back a copy of it")

    assert desk.ledger.read_bytes() == b"notes of somebody\n" * 1000


@pytest.mark.anyio
async def test_an_emptied_ledger_is_not_taken_for_a_new_one(desk: Desk) -> None:
    desk.ledger.parent.mkdir()
    desk.ledger.write_bytes(b"")

    await desk.refused("it is empty", "Put back a copy of it, or move the file away")
    await desk.refused("it is empty", "Put back a copy of it, or move the file away")


def break_a_page(ledger: Path) -> None:
    """Damage the chain of pages that holds a long text, which no create goes through."""
    mark = b"w" * 96
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute("UPDATE tasks SET prompt = ?", ("w" * 20_000,))
    data = bytearray(ledger.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    page = next(at for at in range(0, len(data), size) if data[at + 4 : at + 100] == mark)
    data[page : page + 4] = b"\xff" * 4
    ledger.write_bytes(data)


@pytest.mark.anyio
async def test_with_a_ledger_whose_pages_are_damaged_nothing_is_sent(desk: Desk) -> None:
    await desk.submit("what was made when it was whole")
    break_a_page(desk.ledger)

    await desk.refused("it is damaged", "Put back a copy of it")
    await desk.refused("it is damaged", "without it the server does not know what was paid before")


def set_to_null(ledger: Path, column: str) -> None:
    """Put a NULL where none may stand, as a broken disk can."""
    rule, no_rule = f"{column:16} TEXT NOT NULL", f"{column:16} TEXT         "
    for before, after in ((rule, no_rule), (no_rule, rule)):
        with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
            db.execute("PRAGMA writable_schema = ON")
            db.execute("UPDATE sqlite_schema SET sql = replace(sql, ?, ?)", (before, after))
        with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
            if after == no_rule:
                db.execute(f"UPDATE tasks SET {column} = NULL")


@pytest.mark.anyio
async def test_a_value_that_does_not_fit_its_column_does_not_stop_the_ledger(desk: Desk) -> None:
    await desk.submit("what was made when it was whole")
    set_to_null(desk.ledger, "model_name")
    with closing(sqlite3.connect(desk.ledger)) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("NULL value in tasks.model_name",)

    facts, text = await desk.submit("another")

    assert facts["status"] == "submitted", text


HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", end="", flush=True)
sys.stdin.readline()
"""


@pytest.mark.anyio
async def test_while_another_process_holds_the_ledger_nothing_is_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.submit("what was made when it was free")
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    command = [sys.executable, "-c", HOLDER, str(desk.ledger)]
    async with await anyio.open_process(command, stderr=None) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert (await holder.stdout.receive()).startswith(b"held")
        await desk.refused("database is locked", "close what has the file open")
        await holder.stdin.send(b"\n")
        await holder.wait()

    facts, text = await desk.submit("what cannot be written down")
    assert facts["status"] == "submitted", text


@pytest.mark.anyio
async def test_a_request_that_cannot_be_queued_is_refused_and_may_be_sent_again() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with served_sandbox(folder / "sandbox", "concurrency:1") as url:
            desk = Desk(folder, url)
            desk.ledger.parent.mkdir()
            (desk.ledger.parent / "spool").write_text("in the way")

            facts, text = await desk.submit("Zoom")
            again, _ = await desk.submit("Zoom")

        assert (facts["error"], facts["charged"]) == ("not_configured", "no"), text
        assert "for waiting requests cannot be used" in facts["message"]
        assert again["status"] == "submitted"
        assert SandboxStore(folder / "sandbox").counts().accepted == 1
        with closing(sqlite3.connect(desk.ledger)) as db:
            states = [status for (status,) in db.execute("SELECT status FROM tasks ORDER BY rowid")]
        assert states == ["failed", "submitted"]
