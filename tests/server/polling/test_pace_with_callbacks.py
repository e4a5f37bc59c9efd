"""Polling is a safety net where a provider tells of itself when a task ends."""

from pathlib import Path

from tests.server.serving import sandbox_settings

from kling_mcp.polling.pace import SAFETY_NET, TRUSTED_S, Pace
from kling_mcp.polling.watched import Watched
from kling_mcp.providers.configured import configured_providers
from kling_mcp.providers.task import Task
from kling_mcp.tasks.lookup import Found

NOW = 1_790_000_000.0


def test_looks_are_rarer_for_a_while_after_a_callback_that_told_the_truth(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, provider="kling", kling_api_key="a-key")
    pace = Pace(configured_providers(settings), 0.0)
    made_at = NOW - 150
    task = Task(task_id="t", status="processing", created_at=made_at)
    watched = Watched("t", Found("kling", task=task, product="image2video"), 0.0)
    before_s = pace.next_at(watched, NOW) - NOW
    pace.called_back("kling", NOW)
    after_s = pace.next_at(watched, NOW) - NOW
    later = NOW + TRUSTED_S + 1
    watched.found = Found(
        "kling", task=Task(task_id="t", status="processing", created_at=later - 150)
    )
    later_s = pace.next_at(watched, later) - later

    assert after_s == before_s * SAFETY_NET
    assert later_s == before_s
    assert pace.poll_s("kling") == before_s
