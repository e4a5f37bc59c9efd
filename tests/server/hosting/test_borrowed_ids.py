"""Ids are no secrets: whoever takes another's id for their own request gains and spoils nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server.hosting.team import META, Team, give_token, picture_data, served_team
from tests.server.protocol.raw_client import MODERN
from tests.server.serving import tasks_of

CREATE = "kling_image_to_video"


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    return {name: give_token(tmp_path / "tokens", name) for name in ("ann", "bob")}


@pytest.fixture
def team(tmp_path: Path, tokens: dict[str, str]) -> Iterator[Team]:
    with served_team(tmp_path, tokens=tmp_path / "tokens", rate_per_minute=0) as team:
        yield team


def made(team: Team, token: str, prompt: str, **more: Any) -> str:
    """The task_id of a new video."""
    wish = {"image": picture_data(team.folder), "prompt": prompt}
    result = team.call(token, CREATE, **wish, **more)
    assert not result.get("isError"), result
    task_id: str = result["structuredContent"]["task_id"]
    return task_id


def row_of(team: Team, task_id: str) -> str:
    """The id of the row, which stands in links and in handles of the protocol's tasks."""
    with closing(sqlite3.connect(team.folder / "home" / "ledger.sqlite3")) as db:
        (row_id,) = db.execute("SELECT id FROM tasks WHERE task_id = ?", (task_id,)).fetchone()
    return str(row_id)


def test_a_row_s_id_that_somebody_else_takes_still_means_the_row(
    team: Team, tokens: dict[str, str]
) -> None:
    ann, bob = tokens["ann"], tokens["bob"]
    task_id = made(team, ann, "Ann's")
    link = team.call(ann, "kling_save_video", task_id=task_id)["structuredContent"]["url"]
    before = team.call(ann, "kling_get_task", task_id=task_id)["structuredContent"]
    made(team, bob, "Bob's", external_task_id=row_of(team, task_id))

    after = team.call(ann, "kling_get_task", task_id=task_id)["structuredContent"]
    waited = team.call(ann, "kling_wait_for_tasks", task_ids=[task_id], timeout_s=5)
    assert after == before
    assert [task["task_id"] for task in waited["structuredContent"]["tasks"]] == [task_id]
    assert httpx.get(link).status_code == 200


def test_a_task_id_that_somebody_else_takes_does_not_keep_its_video_from_being_saved(
    team: Team, tokens: dict[str, str]
) -> None:
    task_id = made(team, tokens["ann"], "Ann's")
    other = made(team, tokens["bob"], "Bob's", external_task_id=task_id)
    frame = f"kling://tasks/{task_id}/frames/last"
    tried = team.call(tokens["ann"], CREATE, image=frame, prompt="On", dry_run=True)

    assert "rejected" not in str(tried), tried
    with closing(sqlite3.connect(team.folder / "home" / "ledger.sqlite3")) as db:
        saved = db.execute("SELECT task_id FROM tasks WHERE path IS NOT NULL").fetchall()
    assert saved == [(task_id,)]
    assert other != task_id


def test_a_lost_answer_gives_nobody_the_task_whose_id_they_took(
    tmp_path: Path, team: Team, tokens: dict[str, str]
) -> None:
    task_id = made(team, tokens["ann"], "Ann's")
    loses = {"sandbox_faults": "drop-before-accept@creates:1"}
    with served_team(tmp_path, tokens=tmp_path / "tokens", provider=loses) as second:
        other = made(second, tokens["bob"], "Bob's", external_task_id=task_id)

    assert other != task_id


def test_who_takes_a_task_s_id_does_not_hear_when_that_task_changes(
    team: Team, tokens: dict[str, str]
) -> None:
    ann, bob = tokens["ann"], tokens["bob"]
    task_id = made(team, ann, "Ann's")
    own = made(team, bob, "Bob's", external_task_id=task_id)
    last = made(team, bob, "The last")
    ended = team.call(bob, "kling_wait_for_tasks", task_ids=[own, last])["structuredContent"]
    assert [task["status"] for task in tasks_of(ended)] == ["succeed", "succeed"]
    told: list[str] = []
    with listening(team, bob, f"kling://tasks/{task_id}", f"kling://tasks/{last}") as lines:
        assert "acknowledged" in next(lines)
        for token, any_id in ((ann, task_id), (bob, own), (bob, last)):
            saved = team.call(token, "kling_save_video", task_id=any_id)
            assert not saved.get("isError")
        for line in lines:
            told.append(line)
            if last in line:
                break

    assert len(told) == 2


@contextmanager
def listening(team: Team, token: str, *uris: str) -> Iterator[Iterator[str]]:
    """What a stream tells of these resources, the acknowledgement first."""
    method = "subscriptions/listen"
    params = {"_meta": META, "notifications": {"resourceSubscriptions": list(uris)}}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": method,
        "authorization": f"Bearer {token}",
    }
    with httpx.stream("POST", team.url, json=message, headers=headers, timeout=60) as stream:
        yield (line for line in stream.iter_lines() if line.startswith("data: "))
