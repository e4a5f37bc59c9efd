"""The README, and the pages that it sends its readers to, say what is true of this version."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mcp import Client
from PIL import Image
from tests.docs.moving_picture import PHOTO, PICTURE, play, words, words_of

from kling_mcp.cli.client_configs.clients import CLIENTS
from kling_mcp.hosting.team_settings import HostSettings
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.settings.settings import Settings, environment_name, load_settings
from kling_tools.products import PRODUCTS
from kling_tools.requests.requests import Setting
from kling_tools.rules.capabilities import ProductRow, built_in_capabilities, estimate
from kling_tools.tools.toolset import SETS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (
    "python -m pip install . && kling-mcp demo",
    "python -m pip install -e '.[dev]' && python -m pytest",
)
PRICED = ("std", "pro", "4k", "std, sound", "pro, sound")
SECONDS = "5"
SOME_ID = re.compile(r"\b\d{15,}\b")
OF_VIDEOS = [name for name, row in PRODUCTS.items() if row.result == "video"]
OF_PICTURES = [name for name, row in PRODUCTS.items() if row.result == "picture"]


def section(title: str, page: str = "README.md") -> str:
    """The text below one heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str, page: str = "README.md") -> list[list[str]]:
    """The cells of the table in one section, without its head."""
    lines = [line for line in section(title, page).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_two_commands_stand_there_word_for_word() -> None:
    found = [line for line in README.splitlines() if line.startswith("python -m pip install ")]
    assert tuple(found) == COMMANDS


def test_it_explains_the_settings_that_most_people_want_and_names_the_page_of_all() -> None:
    explained = re.findall(r"`([A-Z_]+)`", "".join(row[0] for row in rows("Settings")))
    assert set(explained) < set(map(environment_name, Settings.model_fields))
    assert "(docs/settings.md)" in section("Settings")


def test_it_names_no_setting_that_does_not_exist() -> None:
    known = {str(f.validation_alias) for f in HostSettings.model_fields.values()}
    known |= set(map(environment_name, Settings.model_fields))
    assert set(re.findall(r"\bKLING_[A-Z_]+\b", README)) <= known


@pytest.mark.anyio
async def test_its_tools_are_those_of_the_server(tmp_path: Path) -> None:
    async with Client(build_server(load_settings(provider="sandbox", home=tmp_path))) as client:
        tools = (await client.list_tools()).tools
    described = {row[0].strip("`"): row[2] == "yes" for row in rows("Tools")}
    spends = {tool.name: "dry_run" in tool.input_schema["properties"] for tool in tools}
    assert described == spends


def test_the_sets_of_tools_are_those_of_the_server() -> None:
    page = section("Choosing the tools", "docs/tools.md")
    told = page.split("`KLING_MCP_TOOLS` chooses")[1].split("keep")[0]
    listed = dict(re.findall(r"`(\w+)`\s\((`kling_[^)]+)\)", told))

    for name in SETS.keys() - {"core"}:
        assert tuple(re.findall(r"`(\w+)`", listed[name])) == SETS[name]
    assert tuple(row[0].strip("`") for row in rows("Tools")[-4:]) == SETS["assets"]
    assert all(f"`{name}`" in told for name in SETS)


@pytest.mark.anyio
async def test_the_prompts_are_those_of_the_server(tmp_path: Path) -> None:
    async with Client(build_server(load_settings(provider="sandbox", home=tmp_path))) as client:
        prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
    page = section("Choosing the tools", "docs/tools.md")
    offered = page.split("Hosts that show prompts offer")[1].split("Subscribe")[0]
    assert set(re.findall(r"`(\w+)`", offered)) == prompts


def test_it_says_what_no_gateway_makes() -> None:
    gateways = [row for name, row in PROVIDERS.items() if name not in ("kling", "sandbox")]
    anywhere = {PRODUCTS[product].tool for row in gateways for product in row.products}
    told = {
        "kling_generate_image": "Pictures",
        "kling_edit_video": "edited videos",
        "kling_motion_control": "motion control",
        "kling_talking_photo": "talking photos",
        "kling_lip_sync": "lip-sync",
    }
    alone = {row.tool for row in PRODUCTS.values()} - anywhere
    sentence = section("Providers").split("are made by `kling` alone")[0]
    assert {*told} <= alone
    assert all(told.get(tool, f"`{tool}`") in sentence for tool in alone)


def test_its_configuration_is_the_one_among_the_examples() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    example = (ROOT / "examples" / "claude_desktop_config.json").read_text(encoding="utf-8")
    assert json.loads(block) == json.loads(example)


def test_its_prices_are_those_of_the_table_for_every_living_model() -> None:
    living = built_in_capabilities().living(OF_VIDEOS, PROVIDERS["kling"].wires)
    written = {row[0].split("`")[1]: row[1:] for row in rows("What it costs")}
    assert written == {name: [price(name, column) for column in PRICED] for name in living}


def test_its_prices_by_the_second_are_those_of_the_table() -> None:
    table, wires = built_in_capabilities(), PROVIDERS["kling"].wires
    written = {
        (row[0].strip("`"), row[1].split("`")[1]): [
            float(cell) if cell else None for cell in row[2:]
        ]
        for row in rows("What is made of a video", "docs/prices.md")
    }
    expected = {}
    for name, entry in PRODUCTS.items():
        if "video" not in entry.inputs or entry.steps:  # its sound sets the price
            continue
        for model in table.living([name], wires):
            row = table.models[model].products[name]
            expected[entry.tool, model] = [
                estimate(table, name, Setting(mode, "1"), model_name=model).units
                if mode in row.modes
                else None
                for mode in ("std", "pro", "4k")
            ]
    assert written == expected


def price(model_name: str, column: str) -> str:
    """Units of five seconds as the table writes them; empty where the model cannot do it."""
    table = built_in_capabilities()
    mode, _, sound = column.partition(", ")
    uses = table.models[model_name].products
    product, row = next((name, uses[name]) for name in OF_VIDEOS if name in uses)
    has_mode = mode in row.modes if row.modes else column == PRICED[0]
    if not has_mode or (sound and not has_sound(row, mode)):
        return ""
    setting = Setting(mode, SECONDS, "on" if sound else "off")
    cost = estimate(table, product, setting, model_name=model_name)
    return f"{cost.units:g}"


def test_its_prices_of_pictures_are_those_of_the_table() -> None:
    table = built_in_capabilities()
    written = {
        row[0].split("`")[1]: row[1:] for row in rows("What a picture costs", "docs/prices.md")
    }

    assert {*written} == {*table.living(OF_PICTURES)}
    for name, (usual, in_4k) in written.items():
        uses = table.models[name].products
        product, row = next((each, uses[each]) for each in OF_PICTURES if each in uses)
        for mode, cell in (("1k", usual), ("2k", usual), ("4k", in_4k)):
            settings = [Setting(mode, from_pictures=given) for given in (False, True)]
            costs = [estimate(table, product, each, model_name=name).units for each in settings]
            told = [float(number) for number in re.findall(r"\d+", cell)]
            assert told == ([*dict.fromkeys(costs)] if mode in row.modes else []), name


def has_sound(row: ProductRow, mode: str) -> bool:
    return any(p == "*" or p.startswith(f"{mode}/") for p in row.patterns("sound"))


def test_every_file_it_links_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    files = [t.partition("#")[0] for t in targets if not t.startswith("https://")]
    missing = [name for name in files if not (ROOT / name).is_file()]
    assert missing == []


@pytest.mark.parametrize(
    ("name", "kib"), [("demo-contact-sheet.jpg", 200), ("player.jpg", 200), (PICTURE.name, 1465)]
)
def test_its_pictures_are_small_enough_for_a_page(name: str, kib: int) -> None:
    assert (ROOT / "examples" / "pictures" / name).stat().st_size <= kib * 1024


@pytest.mark.anyio
async def test_its_moving_picture_shows_what_the_server_answers(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    settings = load_settings(
        provider="sandbox",
        home=tmp_path / "home",
        output_dir=videos,
        image_roots=(PHOTO.parent,),
        sandbox_queue_s=0,
        sandbox_render_s=0,
        sandbox_side_px=300,
    )
    lines = await play(build_server(settings), videos)

    assert words(lines) == words_of(PICTURE), "python -m tests.docs.moving_picture draws it anew"
    with Image.open(PICTURE) as picture:
        assert picture.n_frames > 20
    assert f"]({PICTURE.relative_to(ROOT).as_posix()})" in README


@pytest.mark.anyio
async def test_its_conversation_quotes_what_the_server_answers(tmp_path: Path) -> None:
    coffee = str(ROOT / "examples" / "pictures" / "coffee.jpg")
    wish = {"image": coffee, "prompt": "Steam rises from the cup"}
    calls = [
        ("kling_image_to_video", {**wish, "dry_run": True}),
        (
            "kling_image_to_video",
            {**wish, "duration": 4, "model_name": "kling-v2-6", "sound": "on"},
        ),
        ("kling_image_to_video", wish),
    ]
    block = section("A conversation").replace("\n> ", "\n")
    quotes = [
        " ".join(one.split()) for one in re.findall(r"^→ (.+?)(?=\n>?\n|\Z)", block, re.M | re.S)
    ]
    told = [SOME_ID.sub("ID", quote) for quote in quotes if not re.match(r"\d+: succeed", quote)]

    settings = load_settings(
        provider="sandbox", home=tmp_path, image_roots=(Path(coffee).parent,), save=False
    )
    async with Client(build_server(settings)) as client:
        answers = [(await client.call_tool(*call)).content[0].text for call in calls]

    assert len(told) == len(answers)
    for quote, answer in zip(told, answers, strict=True):
        rest = SOME_ID.sub("ID", answer)
        for part in filter(None, map(str.strip, quote.split("…"))):
            assert part in rest, answer
            rest = rest.partition(part)[2]


def test_it_says_which_provider_takes_another_model_for_a_request_that_names_none() -> None:
    usual = PROVIDERS["kling"].default_models["text2video"]
    others = {
        name: row.default_models["text2video"]
        for name, row in PROVIDERS.items()
        if row.default_models.get("text2video", usual) != usual
    }
    (row,) = [row[0] for row in rows("What it costs") if row[0].startswith(f"`{usual}`")]

    assert dict(re.findall(r"words at `(\w+)`: `([\w-]+)`", row)) == others


def test_it_names_the_clients_that_keep_a_key_only_in_their_file() -> None:
    (told,) = re.findall(
        r"the entry\. (.+?) can keep a key only in their file", section("Put it into your client")
    )
    titles = {row.title for row in CLIENTS.values() if row.keys == "none"}

    assert {*re.split(r", | and ", told)} == titles
    assert "`--with-key`" in section("Put it into your client")


@pytest.mark.parametrize("page", ["docs/media.md", "docs/providers.md"])
def test_a_next_shot_has_its_two_ways_and_prices(page: str) -> None:
    table = built_in_capabilities()
    goes_on = estimate(table, "image2video", Setting("std", "5"), model_name="kling-v2-5-turbo")
    another = estimate(table, "omni-edit", Setting("std", "5"), model_name="kling-v3-omni")
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())

    assert re.findall(r"frames/last`[^.]*?(\d+\.\d)", text)[-1] == f"{goes_on.units:g}"
    assert re.findall(r"refer_type: \"?feature\"?`[^.]*?(\d+\.\d)", text) == [f"{another.units:g}"]
