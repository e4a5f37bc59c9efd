"""What may be imported from `kling_tools`: enough to put another machine behind the tools."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any, cast

import pytest
from mcp import Client
from mcp.server import MCPServer

import kling_tools


class Machine:
    """A `VideoService` that knows one task."""

    may_spend = True

    async def task(self, task_id: str) -> kling_tools.TaskView:
        if task_id != "t-1":
            raise kling_tools.KlingError("No such task.")
        return kling_tools.TaskView(task_id=task_id, status="processing")

    async def posters(self, _: Sequence[str]) -> Sequence[Any]:
        return ()


def test_the_contract_is_the_tools_their_service_its_answers_and_its_errors() -> None:
    everything: dict[str, object] = {}
    exec("from kling_tools import *", everything)

    assert set(everything) - {"__builtins__"} == {
        "KlingError",
        "Receipt",
        "SavedVideo",
        "TaskPage",
        "TaskView",
        "UploadAddress",
        "VideoService",
        "WaitResult",
        "build_toolset",
    }
    assert kling_tools.__all__ == sorted(kling_tools.__all__)


@pytest.mark.anyio
async def test_another_machine_answers_behind_the_tools() -> None:
    tools = kling_tools.build_toolset(["mine"], models={}, service=cast("Any", Machine))
    async with Client(MCPServer[Any](name="mine", tools=[*tools])) as client:
        known = await client.call_tool("kling_get_task", {"task_id": "t-1"})
        unknown = await client.call_tool("kling_get_task", {"task_id": "t-2"})

    assert known.structured_content is not None
    assert known.structured_content["status"] == "processing"
    assert unknown.is_error


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'kling_tools' has no attribute 'TaskViews'"):
        kling_tools.TaskViews  # noqa: B018


def test_importing_the_package_loads_none_of_its_modules_and_no_library() -> None:
    code = "import sys; was = {*sys.modules}; import kling_tools; print(*{*sys.modules} - was)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {n for n in ran.stdout.split() if n.split(".")[0] not in sys.stdlib_module_names}

    assert loaded == {"kling_tools"}
