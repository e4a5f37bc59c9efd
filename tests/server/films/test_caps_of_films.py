"""The caps of a film, and the plan that fits below them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import ElicitResult
from tests.server.films.filming import accepted, film, made, serving, words_shots
from tests.server.loopback import served_sandbox
from tests.server.scripted import facts, words
from tests.server.serving import SIDE_PX, no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore

pytestmark = pytest.mark.anyio

MADE = words_shots(2)
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"mode": "pro"},
    {"duration": "10"},
    {"mode": "pro", "duration": "10"},
    {"sound": ""},
)
DEFAULTS: tuple[dict[str, Any], ...] = ({}, {}, {"mode": "pro"}, {"sound": "on"})


def shots_by(chance: random.Random) -> list[dict[str, Any]]:
    """Shots of which some are made, some are the same, and some are dearer than others."""
    shots = [
        chance.choice(MADE)
        if chance.random() < 0.3
        else {"prompt": chance.choice("ABC"), **chance.choice(CHANGES)}
        for _ in range(chance.randint(1, 6))
    ]
    continued = chance.randrange(len(shots))
    if continued and chance.random() < 0.5:
        shots[continued] = {"image": "previous", "prompt": "On", **chance.choice(CHANGES)}
    return shots


async def dry(client: Client, **arguments: Any) -> dict[str, Any]:
    return facts(await film(client, dry_run=True, **arguments))


async def fits_when_copied(client: Client, chance: random.Random, spent: float) -> bool:
    """Whether a random plan was above a random cap and a plan was told that fits; that one passes
    as it stands, and has all that is made."""
    wish = {"shots": shots_by(chance), "defaults": chance.choice(DEFAULTS)}
    whole = await dry(client, **wish)
    if whole.get("faults"):
        return False
    cap = round(spent + chance.random() * whole["estimate_units"], 2)
    told = await dry(client, **wish, max_units=cap)
    if not told.get("fits"):
        return False
    copied = {**wish, **told["fits"]}
    passes = await dry(client, **copied, max_units=cap)
    assert not passes.get("faults"), (wish, cap, told["fits"], passes)
    assert passes["estimate_units"] <= cap - spent + 1e-6
    assert passes["estimate_units"] == pytest.approx(float(of_words(told["next"])))
    paid = [shot["shot"] for shot in whole["shots"] if shot.get("status") == "succeed"]
    kept = [shot["shot"] for shot in passes["shots"] if shot.get("status") == "succeed"]
    assert len(kept) >= len(paid), (wish, cap, told["fits"])
    return True


def of_words(next_step: str) -> str:
    """The units of the plan that fits."""
    return next_step.partition("It fits so: ")[2].split("; ")[-1].partition(" unit")[0]


@pytest.mark.parametrize("rounds", [7, pytest.param(300, marks=pytest.mark.campaign)])
async def test_a_plan_that_is_told_passes_as_it_stands_and_keeps_what_is_paid(
    rounds: int, tmp_path: Path
) -> None:
    chance, told = random.Random(rounds), 0
    async with serving(tmp_path, sandbox_side_px=SIDE_PX) as client:
        await made(client, shots=MADE, join=False)
        for _ in range(rounds):
            told += await fits_when_copied(client, chance, 3.0)

    assert told > rounds / 3


async def test_equal_shots_become_cheaper_together(tmp_path: Path) -> None:
    one, two = picture(tmp_path), picture(tmp_path, "other.png", (480, 360))
    shots = [{"image": image, "prompt": "A", "mode": "pro"} for image in (one, two, one)]
    async with serving(tmp_path) as client:
        told = await dry(client, shots=shots, max_units=3)
        passes = await dry(client, **{"shots": shots, **told["fits"]}, max_units=3)

    assert "shots 1-3 with mode: std" in told["next"]
    assert passes["estimate_units"] == 3


async def test_a_cap_of_a_film_says_what_is_spent_and_what_passes(tmp_path: Path) -> None:
    shots = words_shots(4)
    changed = [*shots[:2], {"prompt": "Slower"}, {"prompt": "Night"}]
    async with serving(tmp_path) as client:
        await made(client, shots=shots, join=False)
        told = await dry(client, shots=changed, join=False, max_units=3)
        passes = await dry(client, shots=changed, join=False, max_units=9)
        usd = await dry(client, shots=changed, join=False, max_usd=1)

    assert "max_units 3 leaves 0 units; 6 units are spent for this film before" in str(told)
    assert "without shots 3-4" in told["next"]
    assert len(told["fits"]["shots"]) == 2
    assert "Left as before, shots 3-4 cost nothing" in told["next"]
    assert "it passes with max_units: 9" in told["next"]
    assert not passes.get("faults")
    assert [fault["field"] for fault in usd["faults"]] == ["max_usd"]
    assert "it passes with max_usd: 1.26" in usd["next"]


async def test_a_cap_of_nothing_holds_and_one_that_a_host_filled_in_is_told(
    tmp_path: Path,
) -> None:
    filled = dict.fromkeys(("aspect_ratio", "fit", "music"), "")
    async with serving(tmp_path) as client:
        nothing = await film(client, shots=words_shots(1), max_usd=0)
        told = await dry(client, shots=words_shots(1), max_usd=0, max_units="", **filled)

    assert "max_usd 0 leaves 0.00 USD" in words(nothing)
    assert told["warnings"][0].startswith("max_usd: 0 beside other blank arguments is read")


async def test_a_cap_of_a_day_names_its_variable(tmp_path: Path) -> None:
    async with serving(tmp_path, max_units_per_day=4) as client:
        told = await dry(client, shots=words_shots(4, mode="pro"), join=False)
        refused = await film(client, shots=words_shots(4, mode="pro"), join=False)

    assert [fault["field"] for fault in told["faults"]] == ["price"]
    assert "KLING_MCP_MAX_UNITS_PER_DAY" in told["next"]
    assert "The day's cap is 4 units" in words(refused)
    assert told["fits"]


async def test_a_cap_of_one_video_tells_a_plan_that_fits(tmp_path: Path) -> None:
    shots = [*words_shots(2, duration="10"), {"prompt": "Short"}]
    async with serving(tmp_path, max_units_per_task=2) as client:
        told = await dry(client, shots=shots, join=False)
        refused = await film(client, shots=shots, join=False)
        passes = await made(client, **{"shots": shots, **told["fits"]}, join=False)

    assert "Shots 1-2: This video would cost about 3 units" in words(refused)
    assert "It fits so: shots 1-2 with duration: 5" in words(refused)
    assert "As it is, it passes after KLING_MCP_MAX_UNITS_PER_TASK is raised" in words(refused)
    assert passes["status"] == "succeed"
    assert accepted(tmp_path) == 3


def mixed(url: str) -> dict[str, Any]:
    """Settings with a provider that charges beside one that a sandbox plays."""
    return {
        "provider": "kling",
        "kling_api_key": KEY,
        "kling_base_url": url,
        "cometapi_base_url": "sandbox",
    }


PLAYED = {"provider": "cometapi"}
KEY = "a-key-of-an-account"


async def test_beside_real_shots_those_of_a_sandbox_count_in_no_price_cap_or_question(
    tmp_path: Path,
) -> None:
    shots = [{"prompt": "Free", **PLAYED}, *words_shots(2)]
    asked: list[str] = []

    async def answer(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"agree": True})

    with served_sandbox(tmp_path / "kling", keys=(KEY,)) as url:
        settings = sandbox_settings(
            tmp_path, **mixed(url), confirm_above_units=1, sandbox_side_px=SIDE_PX
        )
        server = build_server(settings, sleep=no_sleep)
        async with Client(server, elicitation_callback=answer) as client:
            planned = await film(client, shots=shots, join=False, dry_run=True)
            above = await dry(client, shots=shots, join=False, max_units=2)
            ended = await made(client, shots=shots, join=False, max_units=3)

    assert facts(planned)["estimate_units"] == 3
    assert "about 3 units (0.42 USD list price)" in words(planned)
    assert "in the sandbox nothing" not in words(planned)
    assert "Shot 1: sandbox, nothing is charged for it" in words(planned)
    assert "max_units 2 leaves 2 units" in above["faults"][0]["message"]
    assert "without shot 3; 1.5 units" in above["next"]
    assert [shot.get("provider") for shot in above["fits"]["shots"]] == ["cometapi", None]
    assert len(asked) == 1
    assert 'batch "Holiday" for about 3 units (0.42 USD list price)?' in asked[0]
    assert "Shot 1: sandbox" in asked[0]
    assert ended["status"] == "succeed"
    assert ended["units"] == 3
    assert "Shot 1 was made by the sandbox." in ended["next"]
    assert accepted(tmp_path) == 1
    assert SandboxStore(tmp_path / "kling").counts().accepted == 2


async def test_a_film_that_is_being_made_offers_no_other_plan(tmp_path: Path) -> None:
    shots = words_shots(3)
    async with serving(tmp_path, sandbox_render_s=600, sandbox_slots=1) as client:
        await film(client, shots=shots, join=False)
        other = await dry(client, shots=shots[:2], join=False)

    assert [fault["field"] for fault in other["faults"]] == ["name"]
    assert "of other shots is being made" in other["faults"][0]["message"]
    assert "fits" not in other


DEAR = {"mode": "pro", "duration": "10"}


async def test_a_plan_that_fits_has_what_is_made_with_other_settings(tmp_path: Path) -> None:
    shots = words_shots(3)
    async with serving(tmp_path) as client:
        await made(client, shots=shots[:2], join=False)
        asked = {"shots": shots, "defaults": DEAR, "join": False}
        free = await dry(client, **asked, max_units=1)
        refused = await film(client, **asked, max_units=4.5)
        whole = await dry(client, **asked, max_units=4.5)
        uncapped = await dry(client, **asked)
        passes = await made(client, **{**asked, **whole["fits"]}, max_units=4.5)

    assert "shots 1-2 without duration and mode; without shot 3; 0 units" in free["next"]
    assert "All shots cost 1.5 units at least." in free["next"]
    assert free["fits"] == {"defaults": {}, "shots": shots[:2]}
    said = words(refused).partition("As arguments: ")[2]
    assert json.JSONDecoder().raw_decode(said)[0] == whole["fits"]
    assert "1.5 units" in whole["next"]
    assert "without shot 3" not in whole["next"]
    assert "Nothing is paid for shots 1-2 without duration and mode." in uncapped["note"]
    assert passes["status"] == "succeed"
    assert accepted(tmp_path) == 3


async def test_clips_in_the_shape_of_before_are_free_in_another_shape(tmp_path: Path) -> None:
    shots = words_shots(2)
    async with serving(tmp_path) as client:
        await made(client, shots=shots)
        asked = {"shots": shots, "aspect_ratio": "9:16"}
        told = await dry(client, **asked, max_units=4)
        passes = await dry(client, **{**asked, **told["fits"]}, max_units=4)

    assert "shots 1-2 with aspect_ratio: 16:9; 0 units" in told["next"]
    assert "Not even one shot fits" not in told["next"]
    assert told["fits"] == {"defaults": {"aspect_ratio": "16:9"}}
    assert passes["estimate_units"] == 0


async def test_a_shape_that_is_left_out_is_told(tmp_path: Path) -> None:
    shots = words_shots(1)
    async with serving(tmp_path) as client:
        await made(client, shots=shots, aspect_ratio="9:16")
        told = await dry(client, shots=shots)
        kept = await dry(client, shots=shots, aspect_ratio="9:16")

    assert "It was 9:16: aspect_ratio: 9:16 keeps that." in told["note"]
    assert "keeps that" not in kept.get("note", "")


async def test_a_frame_that_has_changed_is_told_and_the_clips_of_before_are_named(
    tmp_path: Path,
) -> None:
    on = [{"image": "previous", "prompt": f"On {n}"} for n in range(3)]
    shots = [*words_shots(1), *on]
    async with serving(tmp_path, sandbox_side_px=SIDE_PX) as client:
        ended = await made(client, shots=shots, join=False)
        without = [shots[0], *shots[2:]]
        told = await dry(client, shots=without, join=False)
        capped = await dry(client, shots=without, join=False, max_units=6)
        passes = await dry(client, **{"shots": without, **capped["fits"]}, join=False)

    clips = [shot["task_id"] for shot in ended["shots"]]
    assert "Shots 2-3: the frame before them has changed" in told["note"]
    assert f"shot 2 with video: {clips[2]}; shot 3 with video: {clips[3]}" in told["note"]
    assert [shot.get("video") for shot in capped["fits"]["shots"]] == [None, *clips[2:]]
    assert "at least" not in capped["next"]
    assert "Left as before" not in capped["next"]
    assert passes["estimate_units"] == 0


@pytest.mark.parametrize("first", ["the sandbox", "the provider"])
async def test_between_a_sandbox_and_a_provider_nothing_is_taken_for_paid_or_for_free(
    first: str, tmp_path: Path
) -> None:
    shots = words_shots(2)
    with served_sandbox(tmp_path / "kling", keys=(KEY,)) as url:
        real = {"provider": "kling", "kling_api_key": KEY, "kling_base_url": url}
        played = {**real, "kling_base_url": "sandbox"}
        ways = [played, real] if first == "the sandbox" else [real, played]
        for way in ways:
            server = build_server(sandbox_settings(tmp_path, **way), sleep=no_sleep)
            async with Client(server) as client:
                told = await dry(client, shots=shots, max_units=3)
                other = await dry(client, shots=shots, defaults=DEAR, max_units=0)
                ended = await made(client, shots=shots, max_units=3)
                listed = words(await client.call_tool("kling_list_tasks", {}))

    assert not told.get("faults")
    assert told["estimate_units"] == 3
    assert "without duration and mode" not in str(other)
    assert "Left as before" not in str(other)
    assert ended["units"] == 3
    made_of = json.loads(Path(ended["path"]).with_suffix(".json").read_text())
    assert made_of["units"] == 3
    assert made_of["sandbox"] is (ways[-1] is played)
    assert "3 units (0.42 USD), those of the sandbox would have cost 3 units" in listed
