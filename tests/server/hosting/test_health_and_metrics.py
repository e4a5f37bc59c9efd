"""What those who run a server see of it: whether it lives, whether it is of use, what it counts."""

import builtins
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.server.hosting.team import ERAS, Team, give_token, picture_data, post, served_team

from kling_mcp.ledger import Ledger
from kling_mcp.principal import METRICS, READ
from kling_mcp.version import __version__


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    give_token(tmp_path / "tokens", "ann")
    with served_team(tmp_path, tokens=tmp_path / "tokens", rate_per_minute=0) as team:
        yield team


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """One for tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("team")
    give_token(folder / "tokens", "ann")
    with served_team(folder, tokens=folder / "tokens", rate_per_minute=0) as team:
        yield team


def numbers(team: Team, **labels: str) -> dict[str, float]:
    """The samples of the page that have all of these labels, by their names."""
    page = httpx.get(f"{team.base}/metrics", verify=False)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain")
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
        if labels.items() <= sample.labels.items() and "le" not in sample.labels
    }


def status(team: Team, path: str, **headers: str) -> int:
    return httpx.get(f"{team.base}{path}", headers=headers, verify=False).status_code


def test_a_fresh_server_lives_and_is_ready(shared: Team) -> None:
    assert status(shared, "/healthz") == 200
    assert status(shared, "/readyz") == 200


def test_a_server_whose_service_has_ended_does_not_say_that_it_lives(team: Team) -> None:
    team.hosting.state.runtime = None

    assert status(team, "/healthz") == 503
    assert status(team, "/readyz") == 503


def test_without_its_ledger_a_server_lives_and_is_not_ready(team: Team) -> None:
    (team.folder / "home").mkdir()
    (team.folder / "home" / "ledger.sqlite3").write_text("no database at all, but long enough")
    answer = httpx.get(f"{team.base}/readyz")

    assert status(team, "/healthz") == 200
    assert (answer.status_code, answer.text) == (503, "the ledger cannot be read\n")
    assert status(team, "/metrics") == 200


def test_whoever_asks_whether_a_server_is_ready_does_not_have_every_task_counted(
    shared: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask, as often as they like."""

    async def counted(ledger: Ledger) -> None:
        raise AssertionError(ledger)

    monkeypatch.setattr(Ledger, "counts", counted)

    assert status(shared, "/readyz") == 200


def test_a_server_that_stops_wants_no_more_requests(team: Team) -> None:
    team.hosting.state.stopping = True
    answer = httpx.get(f"{team.base}/readyz")

    assert (answer.status_code, answer.text) == (503, "stopping\n")
    assert status(team, "/healthz") == 200


def test_whoever_stops_the_server_turns_readiness_off(tmp_path: Path) -> None:
    with served_team(tmp_path, public_url="") as team:
        before = team.hosting.state.stopping, team.hosting.state.runtime
    after = team.hosting.state.stopping, team.hosting.state.runtime

    assert before[0] is False
    assert before[1] is not None
    assert after == (True, None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_can_only_be_read(path: str, shared: Team) -> None:
    assert httpx.head(f"{shared.base}{path}").status_code == 200
    assert httpx.post(f"{shared.base}{path}", verify=False).status_code == 405


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_calls_are_counted_by_tool_and_outcome(era: str, team: Team) -> None:
    wish = {"image": picture_data(team.folder), "prompt": "Slow zoom"}
    token = give_token(team.folder / "tokens", "reader", READ)
    async with team.client(give_token(team.folder / "tokens", "bob"), era) as client:
        await client.call_tool("kling_image_to_video", wish)
        await client.call_tool("kling_get_task", {"task_id": "no-such-task"})
        await client.call_tool("kling_get_task", {"task_id": "no-such-task"})
    async with team.client(token, era) as client:
        await client.call_tool("kling_image_to_video", wish)

    create, look = "kling_image_to_video", "kling_get_task"
    assert numbers(team, tool=create, outcome="ok")["kling_mcp_calls_total"] == 1
    assert numbers(team, tool=create, outcome="not_allowed")["kling_mcp_calls_total"] == 1
    assert numbers(team, tool=look, outcome="task_not_found")["kling_mcp_calls_total"] == 2
    assert numbers(team, tool=look)["kling_mcp_call_seconds_count"] == 2
    assert numbers(team, method="POST", outcome="200")["kling_mcp_provider_seconds_count"] == 1
    assert numbers(team, version=__version__)["kling_mcp_build_info"] == 1
    tasks = numbers(team, provider="sandbox")
    assert tasks["kling_mcp_tasks"] == 1
    assert tasks["kling_mcp_units"] > 0


def test_names_that_callers_make_up_are_no_labels(team: Team) -> None:
    token = give_token(team.folder / "tokens", "bob")
    for name in ("evil-1", "evil-2"):
        post(team.url, token, "tools/call", name=name, arguments={})
    page = httpx.get(f"{team.base}/metrics", verify=False).text

    assert numbers(team, tool="unknown", outcome="code -32602")["kling_mcp_calls_total"] == 2
    assert "evil" not in page


def test_the_numbers_name_no_person_task_or_prompt(team: Team) -> None:
    token = give_token(team.folder / "tokens", "secret-person")
    wish = {"image": picture_data(team.folder), "prompt": "secret-prompt"}
    made = team.call(token, "kling_image_to_video", **wish)
    page = httpx.get(f"{team.base}/metrics", verify=False).text

    assert "secret" not in page
    assert made["structuredContent"]["task_id"] not in page


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Real-IP": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
    ],
    ids=str,
)
def test_who_comes_through_a_proxy_needs_a_token_for_the_numbers(
    header: dict[str, str], shared: Team
) -> None:
    monitor = give_token(shared.folder / "tokens", "monitor", METRICS)
    person = give_token(shared.folder / "tokens", "person")

    assert status(shared, "/metrics", **header) == 403
    assert status(shared, "/metrics", **header, Authorization=f"Bearer {person}") == 403
    assert status(shared, "/metrics", **header, Authorization=f"Basic {monitor}") == 403
    assert status(shared, "/metrics", **header, Authorization="Bearer x") == 403
    assert status(shared, "/metrics", **header, Authorization=f"Bearer {monitor}") == 200
    assert shared.status(monitor) == 403


@pytest.mark.parametrize("name", ["videos.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_the_numbers_are_not_told_under_another_name_than_this_machine_s(
    name: str, shared: Team
) -> None:
    """A proxy may say no word of whom it asks for, and a page may call this machine what it likes
    (DNS rebinding)."""
    monitor = give_token(shared.folder / "tokens", "monitor", METRICS)

    assert status(shared, "/metrics", host=name) == 403
    assert status(shared, "/metrics", host=name, Authorization=f"Bearer {monitor}") == 200
    assert status(shared, "/metrics", host="localhost:9") == 200


def test_without_the_library_for_numbers_all_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "prometheus_client":
            raise ImportError(name)
        return real_import(name, *rest)

    real_import = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    for name in ("kling_mcp.hosting.metrics", "kling_mcp.hosting.logs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    token = give_token(tmp_path / "tokens", "ann")
    with served_team(tmp_path, tokens=tmp_path / "tokens") as team:
        listed = team.call(token, "kling_list_tasks")
        page = httpx.get(f"{team.base}/metrics", verify=False)

    assert listed["structuredContent"]["tasks"] == []
    assert page.status_code == 501
    assert "kling-mcp[serve]" in page.text
