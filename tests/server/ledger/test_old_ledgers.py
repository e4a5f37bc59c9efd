"""A ledger of the first days is opened by today's code, with all that stands in it.

`data/ledger-2026-11-20.sqlite3` was made by `make_first_ledger` below, which uses nothing of the
product but the text of its first migration, and is never made again.
"""

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from kling_mcp.ledger import DayCaps, Ledger, Wish
from kling_mcp.ledger.sqlite import MIGRATIONS
from kling_mcp.providers.task import Task, Video

FIRST = Path(__file__).parents[1] / "data" / "ledger-2026-11-20.sqlite3"
NOON = 1_795_176_000.0
URL = "https://cdn.example/v.mp4?sign=s"

STATES: tuple[tuple[str, str | None, str, float | None, str | None], ...] = (
    ("unknown", None, "", None, None),
    ("unknown", "860000000000000001", "", None, None),
    ("submitted", "860000000000000002", "", None, None),
    ("processing", "860000000000000003", "", None, None),
    ("succeed", "860000000000000004", "", 1.5, None),
    ("succeed", "860000000000000005", "", 1.5, "/home/ada/Videos/kling-mcp/waves.mp4"),
    ("failed", "860000000000000006", "Failure to pass the risk control system", 0.0, None),
    ("failed", None, "Resource pack exhausted", 0.0, None),
)
"""status, task_id, message, units and path of each row, in the order of their making."""


def make_first_ledger(path: Path) -> None:
    """What the first version had written after a day with every kind of luck."""
    name, script = MIGRATIONS[0]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at REAL)")
        db.executescript(script)
        db.execute("INSERT INTO migrations VALUES (?, ?)", (name, NOON))
        for number, (status, task_id, message, units, saved) in enumerate(STATES):
            video = {"url": URL, "duration_s": 5.041, "watermark_url": "", "id": f"v-{number}"}
            row: dict[str, Any] = {
                "id": f"{number:032x}",
                "provider": "kling",
                "base_url": "https://api-singapore.klingai.com",
                "product": "image2video",
                "digest": f"{number:064x}",
                "take": 1,
                "attempt": 1,
                "external_task_id": f"kmcp-{number:032x}",
                "task_id": task_id,
                "status": status,
                "model_name": "kling-v2-5-turbo",
                "prompt": f"waves {number}",
                "request": json.dumps({"prompt": f"waves {number}", "image": "photo.png 640x480"}),
                "estimate_units": 1.5,
                "units": units,
                "message": message,
                "videos": json.dumps([video] if status == "succeed" else []),
                "path": saved,
                "created_at": NOON + number,
                "updated_at": NOON + number + 60,
            }
            marks = ", ".join("?" * len(row))
            db.execute(
                f"INSERT INTO tasks ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
            )


def everything(path: Path) -> list[str]:
    """The file as SQL."""
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with a copy of the old file."""
    shutil.copyfile(FIRST, tmp_path / "ledger.sqlite3")
    return tmp_path


@pytest.fixture
def ledger(old: Path) -> Iterator[Ledger]:
    opened = Ledger(old, lambda: NOON + 3600)
    yield opened
    anyio.run(opened.close)


def applied(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "ledger.sqlite3")) as db:
        return [name for (name,) in db.execute("SELECT name FROM migrations ORDER BY rowid")]


def test_the_first_file_is_what_the_first_step_makes(tmp_path: Path) -> None:
    make_first_ledger(tmp_path / "made.sqlite3")

    assert everything(FIRST) == everything(tmp_path / "made.sqlite3")
    assert FIRST.stat().st_size < 50_000


@pytest.mark.anyio
async def test_every_row_of_the_first_file_is_read_by_todays_code(ledger: Ledger) -> None:
    rows = (await ledger.page(limit=99, offset=0))[::-1]

    seen = [(row.status, row.task_id, row.message, row.units, row.path) for row in rows]
    assert seen == list(STATES)
    assert [row.request["image"] for row in rows] == ["photo.png 640x480"] * len(STATES)
    assert rows[4].videos == (Video(URL, 5.041, "", "v-4"),)
    for row in rows:
        assert (row.lease_owner, row.lease_until, row.due_at, row.tries) == ("", 0.0, 0.0, 0)
        assert (row.bytes, row.sha256) == (None, None)
        ended = row.task_id is not None and row.status in ("succeed", "failed")
        assert row.ended_at == (row.updated_at if ended else None)
        kept = row.status == "succeed"
        assert row.expires_at == (row.updated_at + 30 * 86_400 if kept else None)


@pytest.mark.anyio
async def test_steps_are_recorded_once_each_however_often_the_file_is_opened(
    ledger: Ledger, old: Path
) -> None:
    for _ in range(3):
        await ledger.find("kmcp-x")
        await ledger.close()

    assert applied(old) == [name for name, _ in MIGRATIONS]


@pytest.mark.anyio
async def test_work_goes_on_where_the_first_version_left_it(ledger: Ledger) -> None:
    (lost,) = await ledger.open_rows()
    assert await ledger.claim(lost.id, "heir")
    found = await ledger.record(lost.id, Task("860000000000000009", "succeed"))
    again = Wish(
        provider="kling",
        base_url="https://api-singapore.klingai.com",
        product="image2video",
        digest=f"{7:064x}",
        take=1,
        model_name="kling-v2-5-turbo",
        prompt="waves 7",
        request={},
        estimate_units=1.5,
    )
    retry, new = await ledger.reserve(again, caps=DayCaps(20), owner="heir")

    assert (found.status, found.ended_at) == ("succeed", NOON + 3600)
    assert (new, retry.attempt) == (True, 2)


def test_servers_that_open_the_first_file_together_run_it_forward_once(old: Path) -> None:
    counts: list[int] = []
    together = threading.Barrier(6)

    async def read() -> None:
        own = Ledger(old)
        together.wait()
        counts.append(len(await own.page(limit=99, offset=0)))
        await own.close()

    threads = [threading.Thread(target=anyio.run, args=(read,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == [len(STATES)] * 6
    assert applied(old) == [name for name, _ in MIGRATIONS]


@pytest.mark.anyio
async def test_a_server_of_the_first_version_goes_on_writing_after_the_file_was_run_forward(
    ledger: Ledger, old: Path
) -> None:
    with closing(sqlite3.connect(old / "ledger.sqlite3", isolation_level=None)) as first_version:
        first_version.execute("SELECT count(*) FROM tasks").fetchone()
        await ledger.open_rows()
        first_version.execute(
            "INSERT INTO tasks (id, provider, base_url, product, digest, take, attempt, "
            "external_task_id, status, model_name, prompt, request, estimate_units, created_at, "
            "updated_at) VALUES ('x', 'kling', 'b', 'image2video', 'd', 1, 1, 'kmcp-x', "
            "'unknown', 'm', 'p', '{}', 1.5, ?, ?)",
            (NOON, NOON),
        )

    found = await ledger.find("x")
    assert found is not None
    assert await ledger.claim("x", "heir")


@pytest.mark.anyio
async def test_a_copy_that_is_made_while_the_ledger_is_in_use_is_whole(
    ledger: Ledger, old: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await ledger.open_rows()
    copy = tmp_path_factory.mktemp("copy")
    writes = iter(range(3))

    def somebody_writes(*_: int) -> None:
        for number in writes:
            writing.execute("UPDATE tasks SET message = ? WHERE status = 'submitted'", (number,))
            break

    with (
        closing(sqlite3.connect(old / "ledger.sqlite3", isolation_level=None)) as writing,
        closing(sqlite3.connect(old / "ledger.sqlite3")) as source,
        closing(sqlite3.connect(copy / "ledger.sqlite3")) as target,
    ):
        source.backup(target, pages=1, progress=somebody_writes)
        assert target.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    copied = Ledger(copy)
    assert await copied.page(limit=99, offset=0) == await ledger.page(limit=99, offset=0)
    (message,) = {row.message for row in await copied.page(limit=9, offset=0, status="submitted")}
    assert message == "2"
    assert applied(copy) == [name for name, _ in MIGRATIONS]
    await copied.close()
