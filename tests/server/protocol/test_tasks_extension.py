"""The extension io.modelcontextprotocol/tasks: handles that outlive the process that gave them."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import jsonschema
import pytest
from mcp import Client
from mcp.server import MCPServer
from tests.server.protocol.raw_client import RawClient, handshaken, modern
from tests.server.scripted import CREATE, Scripted, ends, ends_with_video, task
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "ext-tasks" / "schema.json").read_text())

VIDEO = "https://files.example/v.mp4"
CAPABILITY = {"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


def fits(kind: str, fields: dict[str, Any]) -> None:
    """Raises unless this is what the extension's published schema calls by that name."""
    jsonschema.validate(
        fields,
        {"$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{kind}"},
    )


def at(provider: Scripted, folder: Path, monkeypatch: pytest.MonkeyPatch) -> MCPServer[Any]:
    """A server whose one provider is this one."""
    monkeypatch.setattr("kling_mcp.providers.transport.connect", provider.connect)
    settings = sandbox_settings(
        folder, provider="kling", kling_api_key="k", kling_base_url="https://kling.example"
    )
    return build_server(settings, **hurried())


async def create(client: RawClient, folder: Path, **more: Any) -> dict[str, Any]:
    arguments = {"image": picture(folder), "prompt": "Zoom", **more}
    answer = await client.ask("tools/call", name=CREATE, arguments=arguments)
    result: dict[str, Any] = answer["result"]
    return result


async def finished(client: RawClient, task_id: str) -> dict[str, Any]:
    """The task once it has ended, asked for as often as it takes."""
    with anyio.fail_after(60):
        while True:
            answer = (await client.ask("tasks/get", taskId=task_id))["result"]
            if answer["status"] != "working":
                return answer
            await anyio.sleep(answer["pollIntervalMs"] / 1000)


@asynccontextmanager
async def later(server: MCPServer[Any], folder: Path) -> AsyncIterator[RawClient]:
    """A client of the next process that serves the same ledger, a minute later."""
    with sqlite3.connect(folder / "home" / "ledger.sqlite3") as db:
        db.execute("UPDATE tasks SET updated_at = updated_at - 60")
    async with modern(server) as client:
        yield client


def statuses(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "home" / "ledger.sqlite3") as db:
        return [status for (status,) in db.execute("SELECT status FROM tasks")]


async def test_a_create_is_answered_with_a_handle_and_the_video_comes_with_tasks_get(
    tmp_path: Path,
) -> None:
    async with modern(build_server(sandbox_settings(tmp_path, save=True))) as client:
        begun = await create(client, tmp_path)
        fits("CreateTaskResult", begun)
        assert begun["resultType"] == "task"
        assert begun["status"] == "working"
        assert "units" in begun["statusMessage"]
        done = await finished(client, begun["taskId"])
        fits("GetTaskResult", done)
        assert done["resultType"] == done["result"]["resultType"] == "complete"
        facts = done["result"]["structuredContent"]
        assert facts["status"] == "succeed"
        assert Path(facts["path"]).is_file()
        assert facts["videos"][0]["url"] in str(done)
        assert facts["path"] in done["result"]["content"][0]["text"]


async def test_the_final_result_keeps_the_promise_of_the_tools_schema(tmp_path: Path) -> None:
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        tools = (await client.ask("tools/list"))["result"]["tools"]
        (schema,) = [tool["outputSchema"] for tool in tools if tool["name"] == CREATE]
        done = await finished(client, (await create(client, tmp_path))["taskId"])
        jsonschema.validate(done["result"]["structuredContent"], schema)


@pytest.mark.parametrize("era", ["without the extension", "2025-11-25"])
async def test_other_clients_get_a_receipt(tmp_path: Path, era: str) -> None:
    server = build_server(sandbox_settings(tmp_path))
    connected = handshaken(server) if era == "2025-11-25" else modern(server, tasks=False)
    async with connected as client:
        receipt = await create(client, tmp_path)
        assert "taskId" not in receipt
        assert receipt["structuredContent"]["task_id"]


@pytest.mark.parametrize(
    ("more", "says"),
    [({"dry_run": True}, "Dry run"), ({"duration": "99"}, "Refused"), ({"max_units": 0.1}, "0.1")],
)
async def test_what_begins_no_task_is_answered_at_once(
    tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        answer = await create(client, tmp_path, **more)
        assert answer["resultType"] == "complete"
        assert says in answer["content"][0]["text"]


async def test_the_row_is_written_before_the_answer_and_any_process_serves_the_handle(
    tmp_path: Path,
) -> None:
    settings = sandbox_settings(tmp_path)
    async with modern(build_server(settings)) as client:
        task_id = (await create(client, tmp_path))["taskId"]
        with sqlite3.connect(tmp_path / "home" / "ledger.sqlite3") as db:
            assert db.execute("SELECT id FROM tasks").fetchall() == [(task_id,)]
    async with modern(build_server(settings)) as another:
        done = await finished(another, task_id)
        assert done["result"]["structuredContent"]["videos"]


async def test_a_handle_cannot_be_guessed_from_what_others_see(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path))
    async with modern(server) as client:
        begun = await create(client, tmp_path, external_task_id="holiday-1")
        assert len(begun["taskId"]) == 32
        listed = await client.ask("tools/call", name="kling_list_tasks", arguments={})
        assert begun["taskId"] not in json.dumps(listed)
        (seen,) = listed["result"]["structuredContent"]["tasks"]
        for other in (seen["task_id"], "holiday-1", "", "%", "nothing"):
            for method in ("tasks/get", "tasks/cancel"):
                refused = await client.ask(method, taskId=other)
                assert refused["error"]["code"] == -32602
            refused = await client.ask("tasks/update", taskId=other, inputResponses={})
            assert refused["error"]["code"] == -32602


async def test_the_same_request_again_gets_the_same_handle(tmp_path: Path) -> None:
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        first = await create(client, tmp_path)
        await finished(client, first["taskId"])
        again = await create(client, tmp_path)
        assert again["taskId"] == first["taskId"]
        assert "Nothing was sent or charged" in again["statusMessage"]
        assert again["status"] == "completed"


async def test_a_client_that_does_not_declare_it_is_told_what_is_missing(tmp_path: Path) -> None:
    server = build_server(sandbox_settings(tmp_path))
    async with modern(server, tasks=False) as client:
        for method, more in (
            ("tasks/get", {"taskId": "x"}),
            ("tasks/cancel", {"taskId": "x"}),
            ("tasks/update", {"taskId": "x", "inputResponses": {}}),
            ("subscriptions/listen", {"notifications": {"taskIds": ["x"]}}),
        ):
            error = (await client.ask(method, **more))["error"]
            assert (error["code"], error["data"]) == (-32021, CAPABILITY)
    async with handshaken(server) as old:
        assert (await old.ask("tasks/get", taskId="x"))["error"]["code"] == -32601


async def test_a_failed_video_is_a_completed_task_with_an_error_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(ends(task_status="failed", task_status_msg="too dark"))
    server = at(provider, tmp_path, monkeypatch)
    async with modern(server) as client:
        begun = await create(client, tmp_path)
    async with later(server, tmp_path) as client:
        done = (await client.ask("tasks/get", taskId=begun["taskId"]))["result"]
        fits("GetTaskResult", done)
        assert done["status"] == "completed"
        assert done["result"]["isError"] is True
        assert "too dark" in done["result"]["content"][0]["text"]


async def test_looks_in_quick_succession_cost_the_provider_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return task(task_status="processing")

    server = at(Scripted(answer), tmp_path, monkeypatch)
    async with modern(server) as client:
        begun = await create(client, tmp_path)
    async with later(server, tmp_path) as client:
        asked.clear()
        for _ in range(10):
            now = (await client.ask("tasks/get", taskId=begun["taskId"]))["result"]
            assert now["status"] == "working"
            assert "processing" in now["statusMessage"]
            assert "usually takes" in now["statusMessage"]
        assert asked == ["GET"]


async def test_while_the_provider_is_down_the_task_goes_on_working_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return task() if request.method == "POST" else httpx.Response(503)

    server = at(Scripted(answer), tmp_path, monkeypatch)
    async with modern(server) as client:
        begun = await create(client, tmp_path)
    async with later(server, tmp_path) as client:
        now = (await client.ask("tasks/get", taskId=begun["taskId"]))["result"]
        fits("GetTaskResult", now)
        assert now["status"] == "working"
        assert "HTTP 503" in now["statusMessage"]


async def test_a_refused_key_is_an_error_of_the_call_not_the_end_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return task() if request.method == "POST" else httpx.Response(401, json={"code": 1000})

    server = at(Scripted(answer), tmp_path, monkeypatch)
    async with modern(server) as client:
        begun = await create(client, tmp_path)
    async with later(server, tmp_path) as client:
        assert (await client.ask("tasks/get", taskId=begun["taskId"]))["error"]["code"] == -32603
        assert statuses(tmp_path) == ["submitted"]


def full(request: httpx.Request) -> httpx.Response:
    """A provider without a free slot."""
    return httpx.Response(429, json={"code": 1303, "message": "parallel task over resource limit"})


async def test_cancelling_a_queued_request_withdraws_it_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = at(Scripted(full), tmp_path, monkeypatch)
    async with modern(server) as client:
        begun = await create(client, tmp_path)
        assert statuses(tmp_path) == ["queued"]
        cancelled = (await client.ask("tasks/cancel", taskId=begun["taskId"]))["result"]
        fits("CancelTaskResult", cancelled)
        assert "withdrawn" in cancelled["_meta"]["kling-mcp/note"]
        now = (await client.ask("tasks/get", taskId=begun["taskId"]))["result"]
        fits("GetTaskResult", now)
        assert now["status"] == "cancelled"
        assert "cost nothing" in now["statusMessage"]
        assert statuses(tmp_path) == ["cancelled"]
        assert list((tmp_path / "home" / "spool").iterdir()) == []
        assert (await create(client, tmp_path))["taskId"] != begun["taskId"]


async def test_cancelling_a_running_job_says_that_it_goes_on_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = at(Scripted(ends_with_video(VIDEO)), tmp_path, monkeypatch)
    async with modern(server) as client:
        begun = await create(client, tmp_path)
        cancelled = (await client.ask("tasks/cancel", taskId=begun["taskId"]))["result"]
        assert "goes on and is paid" in cancelled["_meta"]["kling-mcp/note"]
    async with later(server, tmp_path) as client:
        now = (await client.ask("tasks/get", taskId=begun["taskId"]))["result"]
        assert VIDEO in now["result"]["content"][0]["text"]
        over = (await client.ask("tasks/cancel", taskId=begun["taskId"]))["result"]
        assert "ended before" in over["_meta"]["kling-mcp/note"]


async def test_answers_to_questions_that_are_not_open_are_ignored(tmp_path: Path) -> None:
    async with modern(build_server(sandbox_settings(tmp_path))) as client:
        task_id = (await create(client, tmp_path))["taskId"]
        answer = await client.ask(
            "tasks/update", taskId=task_id, inputResponses={"x": {"action": "accept"}}
        )
        fits("UpdateTaskResult", answer["result"])
        assert (await finished(client, task_id))["status"] == "completed"


async def test_the_person_is_asked_before_there_is_a_handle(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, confirm_above_units=0.1)
    async with modern(build_server(settings), elicitation={"form": {}}) as client:
        asked = await create(client, tmp_path)
        assert asked["resultType"] == "input_required"
        again = await client.ask(
            "tools/call",
            name=CREATE,
            arguments={"image": str(tmp_path / "photo.png"), "prompt": "Zoom"},
            requestState=asked["requestState"],
            inputResponses={
                key: {"action": "accept", "content": {"agree": True}}
                for key in asked["inputRequests"]
            },
        )
        assert again["result"]["resultType"] == "task"
        assert "requestState" not in again["result"]


async def test_a_listener_hears_of_its_task_until_the_video_is_there(tmp_path: Path) -> None:
    async with modern(build_server(sandbox_settings(tmp_path, save=True))) as client:
        task_id = (await create(client, tmp_path))["taskId"]
        number = await client.begin(
            "subscriptions/listen", notifications={"taskIds": [task_id, "unknown"]}
        )
        (acknowledged,) = await client.hear("notifications/subscriptions/acknowledged")
        assert acknowledged["notifications"] == {"taskIds": [task_id]}
        while (told := await client.hear("notifications/tasks"))[-1]["status"] != "completed":
            await client.hear("notifications/tasks", len(told) + 1)
        for params in told:
            fits(
                "TaskStatusNotification",
                {"jsonrpc": "2.0", "method": "notifications/tasks", "params": params},
            )
            assert params["_meta"]["io.modelcontextprotocol/subscriptionId"] == number
        assert Path(told[-1]["result"]["structuredContent"]["path"]).is_file()


async def test_after_a_cancel_nobody_asks_the_provider_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    thrice = anyio.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if asked.count("GET") == 3:
            thrice.set()
        return task(task_status="processing")

    async with modern(at(Scripted(answer), tmp_path, monkeypatch)) as client:
        begun = await create(client, tmp_path)
        await client.begin("subscriptions/listen", notifications={"taskIds": [begun["taskId"]]})
        with anyio.fail_after(3_600):
            await thrice.wait()
        await client.ask("tasks/cancel", taskId=begun["taskId"])
        while (
            "goes on and is paid"
            not in (told := await client.hear("notifications/tasks"))[-1]["statusMessage"]
        ):
            await client.hear("notifications/tasks", len(told) + 1)
        await client.ask("tools/list")
        asked.clear()
        await anyio.sleep(3_600)
        assert asked == []


async def test_a_client_that_asks_all_the_time_costs_no_more_than_one_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return task(task_status="processing")

    async with modern(at(Scripted(answer), tmp_path, monkeypatch)) as client:
        begun = await create(client, tmp_path)
        with sqlite3.connect(tmp_path / "home" / "ledger.sqlite3") as db:
            db.execute("UPDATE tasks SET updated_at = updated_at - 60")
        for _ in range(20):
            now = (await client.ask("tasks/get", taskId=begun["taskId"]))["result"]
            assert now["status"] == "working"
        assert asked == ["POST"]


async def test_the_extension_is_advertised_in_the_newer_protocol(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        assert "io.modelcontextprotocol/tasks" in (client.server_capabilities.extensions or {})
