"""The bundle for Claude Desktop: validated, packed and unpacked by the official tool, started."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundle.folder import make_folder, manifest
from mcp import Client, StdioServerParameters, stdio_client
from pydantic import SecretStr
from tests.outside_suites import node, node_modules
from tests.server.serving import picture
from tests.shipping.uv_offline import offline, uv

from kling_mcp.settings.settings import Settings, environment_name, load_settings

RESOLVE = """
import { readFileSync } from "node:fs";
import { getMcpConfigForManifest } from "@anthropic-ai/mcpb";
const [extensionPath, userConfig] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(`${extensionPath}/manifest.json`, "utf8"));
const systemDirs = { HOME: "/home/ada", DESKTOP: "/home/ada/Desktop", DOCUMENTS: "/home/ada/Doc" };
const config = await getMcpConfigForManifest({
  manifest, extensionPath, systemDirs, userConfig: JSON.parse(userConfig), pathSeparator: "/",
});
console.log(JSON.stringify(config));
"""
"""Does what a host does with the manifest, by the function that the official package has."""


def mcpb(folder: Path, *words: str) -> str:
    """What the official tool prints; AssertionError when it objects."""
    tool = str(node_modules() / "@anthropic-ai/mcpb/dist/cli/cli.js")
    ran = subprocess.run(
        [node(), tool, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a host has on its disk: the folder packed by the tool, and unpacked again."""
    work = tmp_path_factory.mktemp("bundle")
    make_folder(work / "laid-out", wheel)
    assert "validation passes" in mcpb(work, "validate", "laid-out")
    mcpb(work, "pack", "laid-out", "kling-mcp.mcpb")
    mcpb(work, "unpack", "kling-mcp.mcpb", "unpacked")
    return work / "unpacked"


def resolved(unpacked: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Command, arguments and environment that a host makes of the manifest and of what a person
    gave."""
    program = unpacked.parent / "resolve.mjs"
    program.write_text(RESOLVE, encoding="utf-8")
    modules = unpacked.parent / "node_modules"
    if not modules.exists():
        modules.symlink_to(node_modules().resolve(), target_is_directory=True)
    ran = subprocess.run(
        [node(), str(program), str(unpacked), json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
    )
    config: dict[str, Any] = json.loads(ran.stdout)
    return config


@pytest.mark.campaign
def test_the_bundle_holds_the_manifest_the_wheel_and_how_to_start_it(
    unpacked: Path, wheel: Path
) -> None:
    expected = {"manifest.json", "icon.png", "start.py", "pyproject.toml", wheel.name}

    assert {path.name for path in unpacked.iterdir()} == expected


@pytest.mark.campaign
@pytest.mark.anyio
async def test_what_was_packed_starts_without_a_network_and_makes_a_video(
    unpacked: Path, tmp_path: Path
) -> None:
    given = {"output_dir": str(tmp_path / "videos"), "image_folder": str(tmp_path)}
    config = resolved(unpacked, given)
    assert config["command"] == "uv"
    launcher, *words = [*uv(), *config["args"]]
    server = StdioServerParameters(
        command=launcher, args=words, env={**offline(tmp_path), **config["env"]}
    )
    async with Client(stdio_client(server), read_timeout_seconds=60) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        wish = {"image": picture(tmp_path), "prompt": "Slow zoom"}
        made = (await client.call_tool("kling_image_to_video", wish)).structured_content or {}
        ids = {"task_ids": [made["task_id"]]}
        waited = (await client.call_tool("kling_wait_for_tasks", ids)).structured_content or {}

    assert tools == [tool["name"] for tool in manifest()["tools"]]
    assert waited["done"] is True
    assert list((tmp_path / "videos").glob("*.mp4"))


@pytest.mark.campaign
def test_a_person_who_fills_in_nothing_gets_the_defaults(
    unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = resolved(unpacked, {})["env"]
    assert not [value for value in environment.values() if "${" in value]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    filled = load_settings().model_dump()
    for name in environment:
        monkeypatch.delenv(name)

    assert filled == {**load_settings().model_dump(), "max_units_per_day": 100}


def test_every_option_reaches_a_setting_and_every_secret_is_masked() -> None:
    about = manifest()
    environment = about["server"]["mcp_config"]["env"]
    used = {
        name: re.fullmatch(r"\$\{user_config\.(\w+)\}", environment[name]) for name in environment
    }
    options = {name: match[1] for name, match in used.items() if match}
    settings = {environment_name(name): field for name, field in Settings.model_fields.items()}

    assert sorted(options.values()) == sorted(about["user_config"])
    for name, option in options.items():
        masked = about["user_config"][option].get("sensitive", False)
        assert masked == (settings[name].annotation == SecretStr | None)
