"""docs/ledger.md describes the file as it is, and its commands run."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from kling_mcp.ledger.sqlite import open_database
from kling_tools.products import MADE
from kling_tools.results import TaskStatus

DOCUMENT = Path(__file__).parents[3] / "docs" / "ledger.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def first_cells(heading: str) -> list[str]:
    """The first cells of the table whose columns begin with that heading."""
    table = TEXT.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite3"
    open_database(path).close()
    return path


def test_every_column_is_described_in_its_order(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(tasks)")]
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}

    assert first_cells("column") == [f"`{column}`" for column in columns]
    assert all(f"`{table}`" in TEXT for table in tables)


def test_the_version_of_the_tables_is_told(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()

    assert f"`PRAGMA user_version` shows it, and it is {version} today." in TEXT


def test_every_status_is_described() -> None:
    assert set(re.findall(r"`(\w+)`", " ".join(first_cells("`status` | `task_id`")))) == set(
        get_args(TaskStatus)
    )


def test_every_product_is_named() -> None:
    (told,) = re.findall(r"^\| `product` \| (.+) \|$", TEXT, re.MULTILINE)

    assert re.findall(r"`([\w-]+)`", told) == list(MADE)


def test_the_queries_run(ledger: Path) -> None:
    (queries,) = blocks("sql")
    statements = [statement for statement in queries.split(";") if statement.strip()]
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        for statement in statements:
            assert db.execute(statement).fetchall() == []

    assert len(statements) == 3


def test_the_backup_is_a_whole_ledger_also_while_it_is_in_use(ledger: Path, tmp_path: Path) -> None:
    (command,) = blocks("sh")
    statement = re.findall(r'"(.*)"', command)[0]
    copy = tmp_path / "ledger-backup.sqlite3"
    with closing(open_database(ledger)) as in_use:
        in_use.execute("CREATE TABLE newest (word TEXT)")
        with closing(sqlite3.connect(ledger)) as db:
            db.execute(statement.replace("ledger-backup.sqlite3", str(copy)))
        with closing(sqlite3.connect(copy)) as db:
            names = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}

    assert "newest" in names
