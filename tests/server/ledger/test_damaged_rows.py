"""A damaged row of the ledger is told as one, alone: whatever stands in it, the others go on."""

import math
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mcp import Client
from psycopg.rows import dict_row
from tests.postgres import Postgres
from tests.sampling import sampled
from tests.server.scripted import facts, words
from tests.server.serving import no_sleep, picture, sandbox_settings, tasks_of

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

CREATE = "kling_image_to_video"

TEXTS = (
    "provider",
    "base_url",
    "product",
    "external_task_id",
    "status",
    "model_name",
    "prompt",
    "request",
    "message",
    "videos",
    "lease_owner",
    "file_note",
    "principal",
)
NUMBERS = (
    "take",
    "attempt",
    "estimate_units",
    "units",
    "created_at",
    "updated_at",
    "lease_until",
    "due_at",
    "tries",
    "ended_at",
    "bytes",
    "expires_at",
)
FLOATS = tuple(name for name in NUMBERS if name.endswith(("_at", "units", "_until")))
JSON = ("{", "[1]", "null", "NaN", "[" * 100_000, '{"url": 1}', '[{"url": 1}]', '[{"id": "v"}]')
DAMAGE: tuple[tuple[str, Any], ...] = (
    *(("request", text) for text in (*JSON[:5], "[]", '{"duration": 1e999}')),
    *(("videos", text) for text in (*JSON, "{}", '[{"url": "u", "duration_s": 1e999}]')),
    ("status", "paused by a newer version"),
    ("product", "a product of a newer version"),
    *((column, b"\xff\x00") for column in (*TEXTS, "path", "sha256", "task_id")),
    *((column, value) for column in NUMBERS for value in ("soon", b"\x00", -5)),
    *((column, 9e999) for column in NUMBERS),
    *((f"{name}_at", 1e18) for name in ("created", "updated", "due", "ended", "expires")),
    ("lease_until", 1e18),
)
IN_POSTGRES = (
    *((column, value) for column, value in DAMAGE if isinstance(value, str) and column in TEXTS),
    *((column, value) for column in FLOATS for value in (-5.0, math.nan, math.inf)),
)


def _change(place: Path | str, sql: str, *values: Any) -> None:
    """Run a statement as another program does."""
    if isinstance(place, str):
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(sql.replace("?", "%s").encode(), values)
    else:
        with closing(sqlite3.connect(place, isolation_level=None)) as db:
            db.execute(sql, values)


def _rows(place: Path | str) -> list[dict[str, Any]]:
    everything = "SELECT * FROM tasks ORDER BY rowid"
    if isinstance(place, str):
        with psycopg.connect(place, row_factory=dict_row) as connection:
            return connection.execute(everything).fetchall()
    with closing(sqlite3.connect(place)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(everything)]


OPENED = (
    "task_id = NULL, status = 'queued', tries = 1, ended_at = NULL, expires_at = NULL, "
    "videos = '[]'"
)


class House:
    """A folder, the ledger of its servers, and a request that is sent each time it is asked."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder = folder
        self.ledger: Path | str = database or folder / "home" / "ledger.sqlite3"
        self.more: dict[str, Any] = {"database": database} if database else {}
        self._image = picture(folder)

    @asynccontextmanager
    async def server(self) -> AsyncIterator[Client]:
        """One that is started now."""
        settings = sandbox_settings(self.folder, **self.more)
        async with Client(build_server(settings, sleep=no_sleep)) as client:
            yield client

    async def make(self, client: Client, prompt: str) -> dict[str, Any]:
        result = await client.call_tool(CREATE, {"image": self._image, "prompt": prompt})
        assert not result.is_error, words(result)
        return facts(result)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def shared_house(tmp_path: Path, postgres: Postgres) -> House:
    return House(tmp_path, postgres.new_schema())


async def _damaged(house: House, column: str, value: Any, *, opened: bool) -> tuple[str, str]:
    """The task ids of a row with this damage, and of one without."""
    async with house.server() as client:
        bad, good = [(await house.make(client, name))["task_id"] for name in ("bad", "good")]
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [bad, good]})
    if opened:
        _change(house.ledger, f"UPDATE tasks SET {OPENED} WHERE prompt = 'bad'")
    _change(house.ledger, f"UPDATE tasks SET {column} = ? WHERE prompt = 'bad'", value)
    return bad, good


def _copy(house: House, number: int, column: str, value: Any) -> str:
    """One more row like the bad one, with this damage; its id."""
    row = _rows(house.ledger)[0]
    row.pop("rowid", None)
    row |= {name: f"{row[name]}-{number}" for name in ("id", "digest", "external_task_id")}
    row |= {"task_id": row["task_id"] and f"t-{number}", "request": "{}"}
    row |= {"callback_key": "", column: value}
    marks = ", ".join("?" * len(row))
    _change(house.ledger, f"INSERT INTO tasks ({', '.join(row)}) VALUES ({marks})", *row.values())
    return str(row["id"])


async def _others_go_on(house: House, client: Client, bad: list[str], good: str) -> None:
    seen = await client.call_tool("kling_get_task", {"task_id": good})
    assert facts(seen)["status"] == "succeed", words(seen)
    for some in (bad[place : place + 20] for place in range(0, len(bad), 20)):
        waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [good, *some]})
        assert not waited.is_error, words(waited)
        assert tasks_of(facts(waited))[0]["status"] == "succeed"
        assert facts(waited)["done"], words(waited)
    new = await house.make(client, "new")
    ended = await client.call_tool("kling_wait_for_tasks", {"task_ids": [new["task_id"]]})
    assert facts(ended)["tasks"][0]["status"] == "succeed", words(ended)
    listed = await client.call_tool("kling_list_tasks", {"page_size": 100})
    assert not listed.is_error, words(listed)
    shown = tasks_of(facts(listed))
    assert {good, new["task_id"]} <= {task["task_id"] for task in shown}
    whole = [task for task in shown if "damaged in" not in task.get("next", "")]
    assert {task["task_id"] for task in whole if task["source"] == "ledger"} <= {
        *(good, new["task_id"]),
        *(f"kmcp-{row['id']}" for row in _rows(house.ledger) if row["due_at"] == 0),
    }


@pytest.mark.parametrize("opened", [True, False], ids=["open", "made"])
@pytest.mark.parametrize("engine", sampled(["sqlite", "postgres"], 2))
async def test_damaged_rows_stand_in_nobody_s_way(
    opened: bool, engine: str, request: pytest.FixtureRequest
) -> None:
    sqlite = engine == "sqlite"
    house: House = request.getfixturevalue("house" if sqlite else "shared_house")
    first, good = await _damaged(house, "request", "{", opened=opened)
    damage = DAMAGE if sqlite else IN_POSTGRES
    bad = [_copy(house, number, *each) for number, each in enumerate(damage)]

    async with house.server() as client:
        await _others_go_on(house, client, [first, *bad], good)


@pytest.mark.parametrize(
    ("column", "value"), [("request", "{"), ("videos", "[1]"), ("lease_until", "soon")]
)
async def test_a_damaged_open_row_is_told_as_one_and_neither_sent_nor_paid_again(
    column: str, value: str, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await _damaged(house, column, value, opened=True)

    async with house.server() as client:
        listed = await client.call_tool("kling_list_tasks", {"status": "queued"})
        (row,) = [task for task in facts(listed)["tasks"] if task.get("source") == "ledger"]
        seen = await client.call_tool("kling_get_task", {"task_id": row["task_id"]})
        again = await client.call_tool(
            CREATE, {"image": str(house.folder / "photo.png"), "prompt": "bad"}
        )

    told = f"is damaged in {column}: it can be neither sent nor looked up."
    for text in (row["next"], words(seen), words(again)):
        assert told in text
        assert "raise take" in text
    assert facts(seen)["charged"] == facts(again)["charged"] == "unknown"
    assert caplog.text.count(told) == 1


async def test_what_the_provider_tells_again_mends_a_damaged_row(house: House) -> None:
    bad, _ = await _damaged(house, "videos", "[1]", opened=False)

    async with house.server() as client:
        before = await client.call_tool("kling_get_task", {"task_id": bad})
        saved = await client.call_tool("kling_save_video", {"task_id": bad})
        after = await client.call_tool("kling_get_task", {"task_id": bad})

    assert "Its row in the ledger is damaged in videos." in facts(before)["next"]
    assert not saved.is_error, words(saved)
    assert "damaged" not in words(after)


async def test_what_a_newer_version_adds_to_a_video_is_no_damage(house: House) -> None:
    newer = '[{"url": "https://cdn.example/v.mp4", "duration_s": 5, "hdr": true}]'
    made, _ = await _damaged(house, "videos", newer, opened=False)

    async with house.server() as client:
        seen = await client.call_tool("kling_get_task", {"task_id": made})

    assert facts(seen)["videos"][0]["url"] == "https://cdn.example/v.mp4"
    assert "damaged" not in words(seen)


async def test_a_damaged_number_of_units_does_not_lift_the_day_s_cap(shared_house: House) -> None:
    await _damaged(shared_house, "units", math.nan, opened=False)
    shared_house.more["max_units_per_day"] = 1

    async with shared_house.server() as client:
        arguments = {"image": str(shared_house.folder / "photo.png"), "prompt": "new"}
        refused = await client.call_tool(CREATE, arguments)

    assert facts(refused)["error"] == "spend_cap_reached"
    assert "an unknown number were spent" in words(refused)
