"""`kling-mcp tasks ID --dossier`: all that a provider's support asks for, and no secret."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from tests.server.scripted import KEY, Scripted, facts, make, talking_to
from tests.server.serving import hurried, sandbox_settings

from kling_mcp.cli.main import main
from kling_mcp.protocol.server import build_server
from kling_mcp.tasks.dossier import as_markdown

pytestmark = pytest.mark.anyio

SIGNED = "https://cdn.example/a.mp4?Expires=1800000000&Signature=c2VjcmV0LXNpZ25hdHVyZQ"


def refunded(request: httpx.Request) -> httpx.Response:
    """A provider whose task fails, was charged in cash, and says why in its own words."""
    data: dict[str, Any] = {"task_id": "t-1", "task_status": "submitted"}
    asked = "r-create" if request.method == "POST" else "r-query"
    if request.method == "GET":
        data |= {
            "task_status": "failed",
            "task_status_msg": f"risk | control\n{KEY}",
            "task_result": {"videos": [{"url": SIGNED}]},
            "final_unit_deduction": "0",
            "final_balance_deduction": {"quota": "0.15", "list_price": "0.21"},
        }
    return httpx.Response(200, json={"code": 0, "request_id": asked, "data": data})


@pytest.fixture
async def task_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> str:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLING_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    async with talking_to(Scripted(refunded), tmp_path, monkeypatch) as client:
        made = facts(await make(client, tmp_path))
        await client.call_tool("kling_get_task", {"task_id": made["task_id"]})
        await client.call_tool("kling_get_task", {"task_id": made["task_id"]})
    task: str = made["task_id"]
    return task


async def run(*words: str) -> int:
    code: int = await to_thread.run_sync(main, ["tasks", *words])
    return code


async def test_it_has_the_times_the_ids_the_cost_and_the_answers(
    task_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(task_id, "--dossier", "--json") == 0

    shown = capsys.readouterr().out
    told = json.loads(shown)
    assert told["ids"]["task_id"] == "t-1"
    assert told["ids"]["external_task_id"].startswith("kmcp-")
    assert told["ids"]["request_ids"] == ["r-create", "r-query"]
    assert told["cost"] == {
        "estimated_units": 1.5,
        "estimated_usd": 0.21,
        "charged_money": 0.15,
        "list_price": 0.21,
    }
    assert told["task"]["status"] == "failed"
    assert told["times"].keys() >= {"asked_for", "ended"}
    assert told["provider_says"].startswith("risk | control")
    assert [answer["status"] for answer in told["answers"]] == ["submitted", "failed"]
    assert told["answers"][1]["answer"]["data"]["final_balance_deduction"]["quota"] == "0.15"
    assert told["request"]["image"] == "photo.png"
    assert KEY not in shown
    assert "Signature" not in shown
    assert "cdn.example/a.mp4?..." in shown


async def test_as_a_page_it_says_the_same_and_cannot_be_broken_out_of(
    task_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(task_id, "--dossier") == 0

    page = capsys.readouterr().out
    assert page.startswith("# Task t-1\n")
    assert "| charged money | 0.15 |" in page
    assert "| request ids | r-create, r-query |" in page
    assert "> risk \\| control" in page
    assert page.count("```") == 4
    assert KEY not in page


async def test_an_external_id_that_the_provider_never_got_is_not_told_as_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    settings = sandbox_settings(tmp_path, models_preview=True)
    async with Client(build_server(settings, **hurried())) as client:
        made = facts(
            await client.call_tool(
                "kling_text_to_video", {"prompt": "A fox", "model_name": "kling-4.0"}
            )
        )

    assert await run(made["task_id"], "--dossier", "--json") == 0
    ids = json.loads(capsys.readouterr().out)["ids"]
    assert "external_task_id" not in ids
    assert ids["task_id"] == made["task_id"]
    assert ids["name_known_here_alone"]


async def test_a_saved_file_is_named_with_its_hash_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kling_mcp.ledger import Ledger, NewRow

    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLING_MCP_PROVIDER", "sandbox")
    monkeypatch.chdir(tmp_path)
    video = tmp_path / "a.mp4"
    video.write_bytes(b"film")
    ledger = Ledger(tmp_path / "home")
    row, _ = await ledger.reserve(
        NewRow(
            provider="kling",
            base_url="https://kling.example",
            product="image2video",
            digest="d",
            take=1,
            model_name="kling-v3",
            prompt="p",
            request={},
            estimate_units=1,
        )
    )
    await ledger.saved(row.id, video, 4, hashlib.sha256(b"film").hexdigest())
    await ledger.close()

    await run(row.id, "--dossier")
    same = capsys.readouterr().out
    video.write_bytes(b"another")
    await run(row.id, "--dossier")
    changed = capsys.readouterr().out
    video.unlink()
    await run(row.id, "--dossier")
    gone = capsys.readouterr().out

    assert hashlib.sha256(b"film").hexdigest() in same
    assert "| now | unchanged |" in same
    assert "| now | changed: SHA-256 " in changed
    assert "| now | cannot be read on this computer |" in gone


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (
            httpx.Response(400, json={"code": 1301, "message": "risk", "request_id": "r-9"}),
            "refused",
        ),
        (
            httpx.Response(500, json={"code": 5000, "message": "oops", "request_id": "r-9"}),
            "unknown",
        ),
    ],
    ids=["refused", "lost"],
)
async def test_a_create_without_a_task_has_the_provider_s_answer(
    answer: httpx.Response,
    status: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLING_MCP_PROVIDER", "sandbox")
    monkeypatch.chdir(tmp_path)

    def broken(request: httpx.Request) -> httpx.Response:
        gone = {"code": 1201, "message": "Task not found by external id"}
        return answer if request.method == "POST" else httpx.Response(400, json=gone)

    async with talking_to(Scripted(broken), tmp_path, monkeypatch) as client:
        assert (await make(client, tmp_path)).is_error
    await run("--json")
    ours = json.loads(capsys.readouterr().out)["external_task_id"]

    assert await run(ours, "--dossier", "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["ids"]["request_ids"] == ["r-9"]
    first = told["answers"][0]
    assert first["status"] == status
    assert first["answer"]["code"] in ("1301", "5000")


async def test_an_unknown_id_is_refused_with_the_way_to_find_one(
    task_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = await run("t-2", "--dossier")
    missing = await run("--dossier")

    told = capsys.readouterr()
    assert (unknown, missing, told.out) == (1, 1, "")
    assert "No task with the id 't-2': kling-mcp tasks lists" in told.err
    assert "--dossier needs ID" in told.err


async def test_an_id_alone_shows_that_task(
    task_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(task_id, "--json") == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["task_id"] == "t-1"


@given(
    st.dictionaries(
        st.sampled_from(("task", "ids", "provider_says", "request", "answers")),
        st.text(max_size=20) | st.dictionaries(st.sampled_from(("a", "b_c")), st.text(max_size=20)),
    )
)
async def test_no_text_of_a_provider_opens_a_block_or_steers_the_terminal(
    facts: dict[str, Any],
) -> None:
    if "ids" in facts and not isinstance(facts["ids"], dict):
        facts["ids"] = {"task_id": facts["ids"]}
    page = as_markdown(facts)

    assert page.count("```") == 2 * len({"request", "answers"} & facts.keys())
    assert all(line.isprintable() for line in page.split("\n"))
