"""The skill of plugin/skills says what is true of this version, and what it calls works."""

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest
from mcp import Client
from mcp_types import TextContent
from tests.docs.pages import DOCS
from tests.docs.test_snippets import LINK
from tests.docs.tools_page import every_error
from tests.server.serving import SIDE_PX, no_sleep, sandbox_settings

from kling_mcp.cli import main as cli
from kling_mcp.cli.client_configs.clients import CLIENTS
from kling_mcp.cli.tool_commands import COMMANDS
from kling_mcp.protocol.server import build_server
from kling_mcp.protocol.skills import skill_folder
from kling_mcp.providers.rows import PROVIDERS
from kling_tools.requests.arguments import TalkingPhotoArguments
from kling_tools.requests.requests import Setting
from kling_tools.results import TaskStatus
from kling_tools.rules.capabilities import built_in_capabilities, estimate
from kling_tools.rules.prompt_warnings import language_warning

ROOT = DOCS.parent
FOLDER = ROOT / "plugin" / "skills" / "kling-video"
SKILL = FOLDER / "SKILL.md"
PAGES = (SKILL, *sorted((FOLDER / "references").glob("*.md")))
TEXT = SKILL.read_text(encoding="utf-8")
CALL = re.compile(
    r"`(kling_\w+)`((?:(?!`kling_|```).)*?)\n\n```json\n(.*?)```(?=(.{0,160}))", re.DOTALL
)
IN_PATHS = "/path/to/"
MADE = "TASK_ID"
AGREED = "make the same call with `max_units` in the place of `dry_run`"
UNSCHEMED = ("done", "provider_says", "voice", "previous", "kling_")
"""Words that no schema lists: fields of answers, a kind of asset, a place in a film, a prefix."""


CALLS = [
    (tool, arguments, AGREED in " ".join(after.split()))
    for tool, _, arguments, after in CALL.findall(TEXT)
]
"""The tool and the arguments of each call, and whether the text goes on to have it made."""


def test_the_installed_skill_is_the_one_of_the_plugin() -> None:
    assert skill_folder() == FOLDER


def prose(page: Path) -> str:
    """The text without what is made of the tables, and without calls."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- made: .+? -->.*?<!-- made: end -->", "", text, flags=re.DOTALL)
    return re.sub(r"```json\n.*?```", "", text, flags=re.DOTALL)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", text)


def test_its_prose_has_no_figures_but_those_of_the_program() -> None:
    told = "\n".join(without_code(prose(page)) for page in PAGES)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    known = {
        f"One unit lists at {built_in_capabilities().usd_per_unit:g} USD",
        f"Python {oldest} or newer",
        f"Python has to be {oldest} or newer",
    }
    for sentence in known:
        assert sentence in told
        told = told.replace(sentence, "")

    assert re.findall(r"(?m)^(?!\d\. ).*\b\d.*|(?<=^\d\. ).*\b\d.*", told) == []


def test_what_it_says_of_prices_without_figures_is_so() -> None:
    """Twice as long costs twice as much; the default model is the cheapest."""
    table, official = built_in_capabilities(), PROVIDERS["kling"]
    for product in ("image2video", "text2video", "omni-video"):
        prices = {}
        for name in table.living([product], official.wires):
            for mode in table.models[name].products[product].modes:
                five, ten = (
                    estimate(table, product, Setting(mode, seconds), model_name=name).units
                    for seconds in ("5", "10")
                )
                assert five
                assert ten == pytest.approx(2 * five)
                prices[name, mode] = five
        assert prices[official.default_models[product], "std"] == min(prices.values())


def test_its_languages_of_voices_are_those_that_the_server_warns_of() -> None:
    wish = {"image": "https://example.com/a.jpg", "text": "Guten Morgen, wie geht es dir heute?"}
    (warning,) = language_warning(TalkingPhotoArguments.model_validate(wish))

    assert "voices speak English and Chinese alone" in warning.message
    assert "speak English and Chinese alone" in TEXT


def test_it_names_the_clients_that_install_knows() -> None:
    install = (FOLDER / "references" / "install.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"adds\s+it: (.+?)\.", install, re.DOTALL)

    assert {*re.split(r", | or |\n", told.strip())} - {""} == {
        name for name, row in CLIENTS.items() if row.format == "json"
    }


COMMAND = re.compile(r"`kling-mcp ([^`]+)`")


@pytest.mark.parametrize("command", sorted({*COMMAND.findall("".join(map(prose, PAGES)))}))
def test_each_command_it_names_is_one_that_the_program_takes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*shlex.split(command.replace("CLIENT", "cursor")), "--help"])

    assert ended.value.code == 0, capsys.readouterr().err


def test_every_file_it_links_to_is_there_and_every_file_is_linked() -> None:
    linked = set(LINK.findall(TEXT))

    assert {str(page.relative_to(FOLDER)) for page in PAGES} == linked | {SKILL.name}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of the sandbox, with the pictures that the skill speaks of."""
    for name in ("coffee.jpg", "astronaut.png"):
        shutil.copy(ROOT / "examples" / "pictures" / name, tmp_path)
    settings = sandbox_settings(tmp_path, save_roots=(tmp_path,), sandbox_side_px=SIDE_PX)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        yield client


def strings(value: Any, at: str = "enum") -> set[str]:
    """All texts under a key of a schema."""
    if isinstance(value, dict):
        own = {text for text in value.get(at, ()) if isinstance(text, str)}
        return own.union(*(strings(part, at) for part in value.values()))
    return set().union(*(strings(part, at) for part in value)) if isinstance(value, list) else set()


@pytest.mark.anyio
async def test_each_word_of_code_is_one_of_the_program(client: Client) -> None:
    tools = (await client.list_tools()).tools
    schemas = [tool.input_schema for tool in tools]
    known = {tool.name for tool in tools} | {name for s in schemas for name in s["properties"]}
    known |= strings(schemas) | {*COMMANDS} | {*get_args(TaskStatus), *UNSCHEMED}
    known |= {*built_in_capabilities().models, *re.findall(r"^### (\w+)$", every_error(), re.M)}
    told = {word for page in PAGES for word in re.findall(r"`([a-z][\w-]+)`", prose(page))}

    assert told - known == set()


CROPS = re.compile(r"^Warning: shots\S* [^.]*keeps \d+% of the picture\.")


def on_this_computer(arguments: str, folder: Path) -> dict[str, Any]:
    """The arguments of a call, with the paths of the skill in this folder."""
    given: dict[str, Any] = json.loads(arguments.replace(IN_PATHS, f"{folder}/"))
    return given


async def answered(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The facts of an answer in which nothing is refused or warned of, but that a film crops."""
    answer = await client.call_tool(tool, arguments)
    text = "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
    assert not answer.is_error, (tool, arguments, text)
    warned = [line for line in text.splitlines() if "Warning" in line]
    assert [line for line in warned if not CROPS.search(line)] == [], (tool, arguments, text)
    assert "would be refused" not in text, (tool, arguments, text)
    return answer.structured_content or {}


@pytest.mark.anyio
async def test_each_call_that_makes_something_passes_as_a_dry_run(
    client: Client, tmp_path: Path
) -> None:
    asked = [call for call in CALLS if '"dry_run": true' in call[1] and MADE not in call[1]]
    for tool, arguments, _ in asked:
        facts = await answered(client, tool, on_this_computer(arguments, tmp_path))
        assert facts["dry_run"] is True

    assert len(asked) >= 5


@pytest.mark.campaign
@pytest.mark.anyio
async def test_an_assistant_that_follows_it_gets_a_clip_and_a_film_at_the_first_try(
    client: Client, tmp_path: Path
) -> None:
    """Each call, in its order, as it stands. What the text then tells to make is made, for no more
    than the price that was told."""
    task_id = MADE
    for tool, arguments, made in CALLS:
        wish = on_this_computer(arguments.replace(MADE, task_id), tmp_path)
        facts = await answered(client, tool, wish)
        if made:
            agreed = {"max_units": facts["estimate_units"]}
            del wish["dry_run"]
            task_id = (await answered(client, tool, {**wish, **agreed}))["task_id"]
        if tool == "kling_wait_for_tasks":
            assert facts["done"] is True
            assert facts["tasks"][0]["status"] == "succeed"

    assert [tool for tool, _, made in CALLS if made] == ["kling_image_to_video", "kling_film"]
    assert (tmp_path / "steam.mp4").is_file()
