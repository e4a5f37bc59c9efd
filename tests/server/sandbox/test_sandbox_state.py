"""The state file: one from before there were providers is carried over."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kling_sandbox import SandboxStore
from kling_sandbox.orders import Order
from kling_sandbox.state import StateFile

pytestmark = pytest.mark.anyio

BEFORE = """
CREATE TABLE tasks (
    task_id TEXT PRIMARY KEY, external_id TEXT UNIQUE, product TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL NOT NULL, ended_at REAL NOT NULL,
    units REAL NOT NULL, failure TEXT NOT NULL, order_json TEXT NOT NULL,
    body_json TEXT NOT NULL, fingerprint TEXT NOT NULL
);
CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
INSERT INTO counters VALUES ('creates', 2);
"""
ORDER = Order("image2video", "kling-v3", "std", 5, prompt="wind", external_task_id="mine-1")


def old_file(home: Path, now: float) -> None:
    home.mkdir()
    with sqlite3.connect(home / "sandbox.sqlite3") as db:
        db.executescript(BEFORE)
        order, body = json.dumps(ORDER.to_json()), json.dumps({"prompt": "wind"})
        row = ("41", "mine-1", "image2video", now, now, now + 1, 3.0, "", order, body, "f")
        db.execute(f"INSERT INTO tasks VALUES ({', '.join('?' * len(row))})", row)
    db.close()


async def test_tasks_from_before_there_were_providers_are_kling_s(
    open_sandbox: Any, clock: Any, tmp_path: Path
) -> None:
    old_file(tmp_path / "home", clock.now)
    caller = await open_sandbox()
    assert (await caller.task("mine-1"))["task_id"] == "41"
    assert (await caller.query("41")).status_code == 200
    assert (await caller.at("cometapi").query("41")).status_code == 400
    assert (await caller.create(external_task_id="mine-1")).status_code == 400
    assert (await caller.at("cometapi").create(external_task_id="mine-1")).status_code == 200
    assert caller.store.counts().requests["creates"] == 4


def test_a_file_is_carried_over_once_though_many_open_it(tmp_path: Path) -> None:
    old_file(tmp_path / "home", 1.0)

    def accepted(_: int) -> int:
        return SandboxStore(tmp_path / "home").counts().accepted

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(accepted, range(16))) == {1}


def test_what_breaks_off_halfway_leaves_nothing_behind(tmp_path: Path) -> None:
    file = StateFile(tmp_path)
    with pytest.raises(RuntimeError, match="halfway"), file.writing() as db:  # noqa: PT012
        db.execute("INSERT INTO counters VALUES ('creates', 1)")
        raise RuntimeError("halfway")
    assert SandboxStore(tmp_path).counts().requests == {}
