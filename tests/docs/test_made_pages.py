"""The parts of docs/*.md that are made from the program are as the program is."""

import os
import re
from collections.abc import Callable

import pytest
from tests.docs import (
    command_line_page,
    facts_table,
    install_links,
    providers_page,
    settings_page,
    skill_page,
    standards_page,
    tools_page,
)
from tests.docs.pages import DOCS, made_part, with_part

from kling_mcp.hosting.team_settings import HostSettings
from kling_mcp.settings.environment import LOCAL_MAY_SET
from kling_mcp.settings.settings import Settings
from kling_tools.requests.host_habits import ADDED_BY_HOSTS

ROOT = DOCS.parent
SKILL = "../plugin/skills/kling-video"

PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("tools.md", "tools"): tools_page.reference,
    ("tools.md", "answers"): tools_page.answers,
    ("tools.md", "errors"): tools_page.every_error,
    ("settings.md", "settings"): settings_page.reference,
    ("settings.md", "host settings"): settings_page.host_reference,
    ("providers.md", "providers"): providers_page.overview,
    ("providers.md", "products"): providers_page.products,
    ("providers.md", "losses"): providers_page.losses,
    ("providers.md", "models"): providers_page.models,
    ("providers.md", "row"): providers_page.row_fields,
    ("standards.md", "fields"): standards_page.fields,
    ("standards.md", "models"): standards_page.models,
    ("command-line.md", "exit codes"): command_line_page.exit_codes,
    ("command-line.md", "commands"): command_line_page.commands,
    ("../README.md", "facts"): facts_table.in_english,
    ("../README.md", "install links"): install_links.badges,
    ("../README.zh-CN.md", "facts"): facts_table.in_chinese,
    ("../README.zh-CN.md", "install links"): install_links.badges,
    (f"{SKILL}/SKILL.md", "needs"): skill_page.needs,
    (f"{SKILL}/references/models.md", "models"): skill_page.models,
}


@pytest.mark.parametrize(("page", "part"), PARTS, ids=lambda value: value.replace(" ", "-"))
def test_a_made_part_is_what_the_program_says(
    page: str, part: str, request: pytest.FixtureRequest
) -> None:
    now = PARTS[page, part]()
    if request.config.getoption("--update-snapshots"):
        (DOCS / page).write_text(with_part(DOCS / page, part, now), encoding="utf-8")

    assert made_part(DOCS / page, part) == now, "see --update-snapshots"


def test_no_part_is_left_uncompared() -> None:
    marked = {
        (os.path.relpath(page, DOCS), part)
        for page in (*DOCS.glob("*.md"), *ROOT.glob("README*.md"), *(DOCS / SKILL).rglob("*.md"))
        for part in re.findall(r"<!-- made: (.+) -->", page.read_text(encoding="utf-8"))
        if part != "end"
    }

    assert marked == set(PARTS)


def test_the_page_of_tools_names_the_arguments_that_are_passed_over() -> None:
    page = (DOCS / "tools.md").read_text(encoding="utf-8")

    assert [name for name in sorted(ADDED_BY_HOSTS) if f"`{name}`" not in page] == []


VARIABLE = re.compile(r"\b(?:KLING|COMETAPI|ANYFAST|POWERTOKENS|NEWAPI)_[A-Z][A-Z_]*[A-Z]\b(?!_)")
PREFIXES = {"KLING_MCP_MAX", "KLING_MCP_CONFIRM", "KLING_MCP_SANDBOX"}
"""Beginnings of names, not names."""

KNOWN = {
    str(field.validation_alias)
    for model in (Settings, HostSettings)
    for field in model.model_fields.values()
}


def test_the_page_of_settings_has_every_setting_that_the_program_reads() -> None:
    tables = made_part(DOCS / "settings.md", "settings")
    tables += made_part(DOCS / "settings.md", "host settings")

    assert set(re.findall(r"^\| `(\w+)` \|", tables, re.MULTILINE)) == KNOWN


@pytest.mark.parametrize(
    "folder", ["server/kling_mcp", "tools", "docs", "examples", "README.md", "README.zh-CN.md"]
)
def test_no_code_and_no_page_names_a_setting_that_does_not_exist(folder: str) -> None:
    place = ROOT / folder
    files = [place] if place.is_file() else [*place.rglob("*.py"), *place.rglob("*.md")]
    named = {name for file in files for name in VARIABLE.findall(file.read_text(encoding="utf-8"))}

    assert named - PREFIXES <= KNOWN | OTHERS
    assert named & KNOWN


OTHERS = {"KLING_MCP_TOKEN", "KLING_MCP_CRASH_KILLS", "KLING_MEDIA"}
"""A variable of an example, one of the tests, and a constant."""


def test_the_page_of_settings_names_what_a_stray_file_may_set() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"It may set only (.+?)\. It cannot", page, re.DOTALL)
    names = set(re.findall(r"`(\w+)`", told))

    sandbox = {name for name in LOCAL_MAY_SET if name.startswith("KLING_MCP_SANDBOX_")}
    assert names == LOCAL_MAY_SET - sandbox
    assert "all `KLING_MCP_SANDBOX_…`" in told
    assert sandbox == {name for name in KNOWN if name.startswith("KLING_MCP_SANDBOX_")}


def test_every_install_line_of_the_examples_takes_this_project_from_its_clone() -> None:
    files = [
        *(ROOT / "examples").rglob("*.py"),
        *(ROOT / "examples").glob("*.md"),
        *ROOT.glob("README*.md"),
    ]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)

    assert re.findall(r"(?:pip|pipx|tool) install[^`\n(&]*\bkling-mcp\b", text) == []
