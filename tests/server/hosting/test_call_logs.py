"""What a hosted server writes down of its calls: who, what and how long, never the content."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.server.hosting.team import ERAS, META, Team, give_token, picture_data, post, served_team
from tests.server.serving import picture

from kling_mcp.hosting.logs import TOOLS
from kling_tools.tools.toolset import build_toolset

PROMPT = "A secret plan that no log may hold"


@pytest.fixture
def team(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Team]:
    give_token(tmp_path / "tokens", "first")
    with served_team(tmp_path, tokens=tmp_path / "tokens", rate_per_minute=0) as team:
        caplog.set_level(logging.INFO, "kling_mcp.calls")
        yield team


def calls(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [r.__dict__["facts"] for r in caplog.records if r.name == "kling_mcp.calls"]


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_s_line_says_who_called_what_and_how_it_ended(
    era: str, team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    wish = {"image": picture_data(team.folder), "prompt": PROMPT}
    async with team.client(give_token(team.folder / "tokens", "ann"), era) as client:
        made = await client.call_tool("kling_image_to_video", wish)
        await client.call_tool("kling_get_task", {"task_id": "no-such-task"})
        await client.call_tool("kling_get_task", {})

    assert made.structured_content is not None
    first, second, third = calls(caplog)
    assert first["principal"] == "token:ann"
    assert first["tool"] == "kling_image_to_video"
    assert first["outcome"] == "ok"
    assert first["task"] == made.structured_content["task_id"]
    assert 0 <= first["ms"] < 30_000
    assert first["protocol"] == ("2026-07-28" if era == "2026-07-28" else "2025-11-25")
    assert (second["outcome"], second["task"]) == ("task_not_found", None)
    assert third["outcome"] == "invalid_request"


def test_a_name_that_a_caller_makes_up_does_not_get_into_the_log(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    token = give_token(team.folder / "tokens", "ann")
    forged = 'x", "outcome": "ok"} line two'
    post(team.url, token, "tools/call", name=forged, arguments={})

    (call,) = calls(caplog)
    assert (call["tool"], call["outcome"]) == ("unknown", "code -32602")
    assert forged not in caplog.text


def test_a_task_s_handle_is_told_where_the_answer_is_a_task_of_the_protocol(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    token = give_token(team.folder / "tokens", "ann")
    wish = {"image": picture_data(team.folder), "prompt": PROMPT}
    extensions: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    answer = post(
        team.url,
        token,
        "tools/call",
        name="kling_image_to_video",
        arguments=wish,
        _meta={**META, "io.modelcontextprotocol/clientCapabilities": extensions},
    )

    (call,) = calls(caplog)
    assert answer.json()["result"]["taskId"] == call["task"]
    assert call["outcome"] == "ok"


ENVIRONMENT = {
    "KLING_MCP_SANDBOX_QUEUE_S": "0",
    "KLING_MCP_SANDBOX_SIDE_PX": "300",
    "KLING_MCP_SANDBOX_RENDER_S": "0",
    "KLING_MCP_LOG_FORMAT": "json",
}


@contextmanager
def serve_process(folder: Path, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`kling-mcp serve --http` as a process that writes JSON lines; its URL."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **ENVIRONMENT, **more}
    command = [sys.executable, "-m", "kling_mcp", "serve", "--http", "--port", "0"]
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said = ""
        while "serves MCP at" not in said:
            said = json.loads(process.stderr.readline())["message"]
        yield process, said.split()[-1]
    finally:
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.campaign
def test_every_line_of_a_process_is_json_and_holds_no_token_prompt_or_link(tmp_path: Path) -> None:
    token = give_token(tmp_path / "tokens", "ann")
    settings = {
        "KLING_MCP_TOKENS": str(tmp_path / "tokens"),
        "KLING_MCP_PUBLIC_URL": "https://team.example",
        "KLING_MCP_HOME": str(tmp_path / "home"),
        "KLING_MCP_OUTPUT_DIR": str(tmp_path / "videos"),
        "KLING_MCP_LOG_LEVEL": "INFO",
    }
    with serve_process(tmp_path, **settings) as (process, url):
        team = Team(tmp_path, url.removesuffix("/mcp"), None, None)  # type: ignore[arg-type]
        wish = {"image": picture_data(tmp_path), "prompt": PROMPT}
        made = team.call(token, "kling_image_to_video", **wish)["structuredContent"]
        waited = team.call(token, "kling_wait_for_tasks", task_ids=[made["task_id"]])
        saved = team.call(token, "kling_save_video", task_id=made["task_id"])
        refused = team.status(f"{token}x"), team.status(token, host="evil.example")
        with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as connection:
            connection.sendall(b"what is this\r\n\r\n")
            connection.recv(1000)
        process.terminate()
        _, rest = process.communicate(timeout=60)

    lines = [json.loads(line) for line in rest.splitlines()]
    tools = [line["tool"] for line in lines if line["logger"] == "kling_mcp.calls"]
    assert refused == (401, 421)
    assert tools == ["kling_image_to_video", "kling_wait_for_tasks", "kling_save_video"]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert "A token is refused" in rest
    assert "Invalid HTTP request" in rest
    assert waited["structuredContent"]["done"] is True
    assert "signature=" in json.dumps(saved)
    for secret in (token, token[5:15], PROMPT, "signature=", "data:image", picture(tmp_path)):
        assert secret not in rest


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """What is told to OpenTelemetry, which keeps one provider for the life of a process."""
    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def test_a_call_is_a_span_named_after_its_tool(team: Team, spans: InMemorySpanExporter) -> None:
    token = give_token(team.folder / "tokens", "ann")
    team.call(token, "kling_get_task", task_id="no-such-task")
    (span,) = [s for s in spans.get_finished_spans() if s.name == "tools/call kling_get_task"]

    assert span.attributes is not None
    assert span.attributes["gen_ai.tool.name"] == "kling_get_task"
    assert span.attributes["error.type"] == "tool_error"
    assert token not in span.to_json()


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_the_log_at_debug_holds_no_prompt_no_signed_link_and_no_login(
    era: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = give_token(tmp_path / "tokens", "ann")
    more: dict[str, Any] = {"tokens": tmp_path / "tokens", "rate_per_minute": 0}
    with served_team(tmp_path, provider={"log_level": "DEBUG"}, **more) as team:
        wish = {"image": picture_data(team.folder), "prompt": PROMPT}
        async with team.client(token, era) as client:
            made = await client.call_tool("kling_image_to_video", wish)
            assert made.structured_content is not None
            task = {"task_id": made.structured_content["task_id"]}
            saved = await client.call_tool("kling_save_video", task)
            listed = await client.call_tool("kling_list_tasks", {})
            offer = await client.call_tool("kling_upload_picture", {})
    assert saved.structured_content is not None
    assert offer.structured_content is not None
    signature = saved.structured_content["url"].partition("signature=")[2]

    assert len(signature) > 20
    assert PROMPT in str(listed.structured_content)
    assert caplog.text
    for secret in (
        PROMPT,
        signature,
        token,
        offer.structured_content["upload_url"].rpartition("=")[2],
    ):
        assert secret not in caplog.text


def test_the_log_knows_every_tool() -> None:
    tools = build_toolset(["kling"], models={}, hosted=True)

    assert {tool.name for tool in tools} == TOOLS
