"""`server.json`, which names the server to the MCP registry, and the versions of all that ships."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from bundle.folder import manifest
from pydantic import SecretStr
from tests.outside_suites import outside_python

from kling_mcp.providers.rows import read_providers
from kling_mcp.settings.settings import Settings, environment_name
from kling_mcp.version import __version__
from kling_tools.requests.arguments import AUTO

ROOT = Path(__file__).resolve().parents[2]
SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
(PACKAGE,) = SERVER["packages"]
PLUGIN: dict[str, Any] = json.loads((ROOT / "plugin" / "plugin.json").read_text(encoding="utf-8"))
MARKETPLACE: dict[str, Any] = json.loads(
    (ROOT / ".claude-plugin" / "marketplace.json").read_text(encoding="utf-8")
)
DESCRIPTION_LIMIT = 100
"""Characters; from the registry's schema of 2025-12-11."""


def linted(folder: Path) -> list[dict[str, Any]]:
    """What skillsaw, which carries the registry's schemas, has to say of a folder's server.json."""
    command = [outside_python(), "-m", "skillsaw", "lint", str(folder), "--format", "json"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = json.loads(ran.stdout)
    found: list[dict[str, Any]] = [
        one for one in said["violations"] if one["rule_id"].startswith("mcp-registry")
    ]
    return found


@pytest.mark.campaign
def test_the_registrys_schema_has_nothing_against_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "server.json", tmp_path)

    assert linted(tmp_path) == []


@pytest.mark.campaign
@pytest.mark.parametrize(
    "change", [{"description": "x" * (DESCRIPTION_LIMIT + 1)}, {"name": "kling-mcp"}]
)
def test_that_check_finds_what_is_wrong(tmp_path: Path, change: dict[str, str]) -> None:
    (tmp_path / "server.json").write_text(json.dumps(SERVER | change), encoding="utf-8")

    assert linted(tmp_path)


def test_the_readme_proves_to_the_registry_whose_package_it_is() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert re.findall(r"mcp-name: (\S+)", readme) == [SERVER["name"]]


def test_the_repository_is_the_one_that_the_package_names() -> None:
    """`url` and `source` are what the registry's schema requires of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert SERVER["repository"] == {"url": project["urls"]["Source"], "source": "github"}
    assert SERVER["name"] == "io.github." + project["urls"]["Source"].partition("github.com/")[2]


def test_one_version_stands_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["project"]["name"] == PACKAGE["identifier"]
    assert project["tool"]["hatch"]["version"]["path"] == "server/kling_mcp/version.py"
    (listed,) = MARKETPLACE["plugins"]
    versions = {SERVER["version"], PACKAGE["version"], manifest()["version"]}
    assert versions | {PLUGIN["version"], listed["version"]} == {__version__}


def test_the_description_is_short_enough_and_every_provider_can_be_chosen() -> None:
    (choices,) = [one["choices"] for one in PACKAGE["environmentVariables"] if "choices" in one]

    assert choices == [*read_providers(None), AUTO]
    assert len(SERVER["description"]) <= DESCRIPTION_LIMIT


def test_the_variables_are_settings_and_every_secret_is_marked() -> None:
    secret = {
        environment_name(name): field.annotation == SecretStr | None
        for name, field in Settings.model_fields.items()
    }
    named = {one["name"]: one.get("isSecret", False) for one in PACKAGE["environmentVariables"]}

    assert named == {name: secret[name] for name in named}
