"""What a program of one's own may import from `kling_mcp`, and that this is all."""

import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client

import kling_mcp


def test_the_public_surface_is_two_functions() -> None:
    everything: dict[str, object] = {}
    exec("from kling_mcp import *", everything)

    assert set(everything) - {"__builtins__"} == {"build_server", "load_settings"}
    assert kling_mcp.__all__ == sorted(kling_mcp.__all__)
    assert all(callable(getattr(kling_mcp, name)) for name in kling_mcp.__all__)


@pytest.mark.anyio
async def test_both_together_are_a_server_that_answers(tmp_path: Path) -> None:
    settings = kling_mcp.load_settings(provider="sandbox", home=tmp_path)

    async with Client(kling_mcp.build_server(settings)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]

    assert "kling_image_to_video" in tools


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'kling_mcp' has no attribute 'build_servers'"):
        kling_mcp.build_servers  # noqa: B018


def test_importing_the_package_loads_none_of_its_modules_and_no_library() -> None:
    code = "import sys; was = {*sys.modules}; import kling_mcp; print(*{*sys.modules} - was)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {n for n in ran.stdout.split() if n.split(".")[0] not in sys.stdlib_module_names}

    assert loaded == {"kling_mcp"}
