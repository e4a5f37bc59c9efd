"""Equal calls in several processes: one create, and everybody gets the same task."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from tests.server.loopback import served_sandbox, settings_of
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings
from kling_sandbox import SandboxStore
from kling_sandbox.state import Counts

FEW = (4, 4)
FIFTY = (13, 13, 12, 12)
"""How many calls each process makes."""
CAMPAIGN = pytest.mark.campaign
MANY = pytest.mark.parametrize(
    "calls", [FEW, pytest.param(FIFTY, marks=CAMPAIGN)], ids=["few", "fifty"]
)

OTHER_PROCESS = """
import json, sys
import anyio
from mcp import Client
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings

settings, arguments, calls = json.loads(sys.argv[1])
answers = []

async def main():
    async def call():
        result = await client.call_tool("kling_image_to_video", arguments)
        answers.append(result.structured_content)

    async with Client(build_server(load_settings(**settings))) as client:
        await client.list_tools()
        print("ready", flush=True)
        sys.stdin.readline()
        async with anyio.create_task_group() as group:
            for _ in range(calls):
                group.start_soon(call)
    print(json.dumps(answers), flush=True)

anyio.run(main)
"""


def equal_calls(
    folder: Path, provider: str, *faults: str, calls: tuple[int, ...] = FIFTY
) -> tuple[list[dict[str, Any]], Counts]:
    """What calls that begin together are answered, and what the sandbox counted. The first of the
    processes is this one."""
    first, *others = calls
    answers: list[dict[str, Any]] = []
    arguments = {"image": picture(folder, size=(320, 320)), "prompt": "Zoom"}
    with served_sandbox(folder / "sandbox", *faults) as url:
        settings = settings_of(folder, url, provider)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", OTHER_PROCESS, json.dumps([settings, arguments, number])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in others
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

        async def call(client: Client) -> None:
            result = await client.call_tool("kling_image_to_video", arguments)
            assert result.structured_content is not None
            answers.append(result.structured_content)

        async def go() -> None:
            async with Client(build_server(load_settings(**settings))) as client:
                for process in processes:
                    assert process.stdin is not None
                    process.stdin.write("go\n")
                    process.stdin.flush()
                async with anyio.create_task_group() as group:
                    for _ in range(first):
                        group.start_soon(call, client)

        anyio.run(go)
        for process in processes:
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            answers += json.loads(output)
    assert len(answers) == sum(calls)
    return answers, SandboxStore(folder / "sandbox").counts()


@pytest.mark.parametrize("provider", ["kling", pytest.param("newapi", marks=CAMPAIGN)])
@MANY
@pytest.mark.campaign
def test_equal_calls_in_several_processes_make_one_create(
    calls: tuple[int, ...], provider: str, tmp_path: Path
) -> None:
    answers, counts = equal_calls(tmp_path, provider, "slow@creates:0.5", calls=calls)

    assert len({answer["task_id"] for answer in answers}) == 1
    assert [answer.get("repeated", False) for answer in answers].count(False) == 1
    assert counts.requests["creates"] == counts.accepted == 1


@pytest.mark.anyio
@virtual_time
async def test_a_lost_answer_among_calls_of_two_servers_changes_nothing(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults="drop-after-accept:1")
    wish = {"image": picture(tmp_path, size=(320, 320)), "prompt": "Zoom"}
    answers: list[dict[str, Any]] = []

    async def call(client: Client) -> None:
        result = await client.call_tool("kling_image_to_video", wish)
        assert result.structured_content is not None
        answers.append(result.structured_content)

    async with (
        Client(build_server(settings, **hurried())) as one,
        Client(build_server(settings, **hurried())) as other,
        anyio.create_task_group() as group,
    ):
        for client in (one, other) * FEW[0]:
            group.start_soon(call, client)

    counts = SandboxStore(tmp_path / "home" / "sandbox").counts()
    assert len({answer["task_id"] for answer in answers}) == 1
    assert counts.requests["creates"] == counts.accepted == 1


@CAMPAIGN
@MANY
def test_a_lost_answer_among_them_changes_nothing(calls: tuple[int, ...], tmp_path: Path) -> None:
    answers, counts = equal_calls(tmp_path, "kling", "drop-after-accept:1", calls=calls)

    assert len({answer["task_id"] for answer in answers}) == 1
    assert counts.requests["creates"] == counts.accepted == 1


@CAMPAIGN
def test_fifty_calls_into_a_full_house_wait_as_one(tmp_path: Path) -> None:
    answers, counts = equal_calls(tmp_path, "kling", "concurrency")

    assert {answer["status"] for answer in answers} == {"queued"}
    assert len({answer["task_id"] for answer in answers}) == 1
    assert counts.accepted == 0


@CAMPAIGN
def test_at_a_gateway_that_lost_the_answer_nobody_sends_it_again(tmp_path: Path) -> None:
    answers, counts = equal_calls(tmp_path, "newapi", "drop-after-accept:1")

    assert {answer["charged"] for answer in answers} == {"unknown"}
    assert counts.requests["creates"] == counts.accepted == 1
