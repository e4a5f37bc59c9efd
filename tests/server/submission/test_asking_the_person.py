"""A refusal names no price that does not exist, every way out with its price, and the question for
the person, the same on a dry run and on a submit."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.sampling import sampled
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

MAKER = "kling_image_to_video"
SAYS = 'She smiles and says "Hello there."'


def words(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def facts(result: CallToolResult) -> dict[str, Any]:
    assert result.structured_content is not None
    return result.structured_content


async def refused(folder: Path, **asked: Any) -> list[CallToolResult]:
    """The answers to the call as a dry run and as a submit, then to each way out that it names."""
    wish = {"image": picture(folder), "prompt": "Zoom", **asked}
    async with Client(build_server(sandbox_settings(folder), sleep=no_sleep)) as client:
        dry = await client.call_tool(MAKER, wish | {"dry_run": True})
        sent = await client.call_tool(MAKER, wish)
        ways = [facts(sent).get("would_pass")]
        ways += [way.get("cheaper") for way in ways if way]
        then = [await client.call_tool(MAKER, wish | way["change"]) for way in ways if way]
    assert facts(dry)["faults"]
    assert sent.is_error
    assert not [words(answer) for answer in then if answer.is_error]
    return [dry, sent, *then]


@pytest.mark.parametrize(
    ("asked", "nearest", "cheaper"),
    [
        ({"sound": "on"}, {"model_name": "kling-v3-turbo"}, {"sound": "off"}),
        ({"duration": 12}, {"model_name": "kling-v3"}, {"duration": "10"}),
        ({"cfg_scale": 0.5}, {"model_name": "kling-v3"}, {"cfg_scale": ""}),
        ({"prompt": SAYS}, {"model_name": "kling-v3-turbo", "sound": "on"}, {"sound": "off"}),
        ({"mode": "hd"}, {"mode": "pro"}, None),
        ({"model_name": "kling-v1"}, {"model_name": "kling-v2-5-turbo"}, None),
        ({"shot_type": "customize"}, {"shot_type": ""}, None),
        ({"seed": 7}, {"seed": ""}, None),
    ],
)
async def test_each_way_out_is_named_with_its_price_and_works_as_it_stands(
    asked: dict[str, Any], nearest: dict[str, Any], cheaper: dict[str, Any] | None, tmp_path: Path
) -> None:
    dry, sent, *then = await refused(tmp_path, **asked)

    passes = facts(sent)["would_pass"]
    assert passes == facts(dry)["would_pass"]
    assert passes["change"] == nearest
    assert passes.get("cheaper", {}).get("change") == cheaper
    assert facts(sent)["next"] == facts(dry)["next"]
    assert facts(sent)["next"].startswith("Ask the person, then submit with")
    assert words(sent).endswith(facts(sent)["next"])
    told = [way["estimate_units"] for way in (passes, passes.get("cheaper")) if way]
    assert told == [facts(answer)["estimate_units"] for answer in then]
    assert told == sorted(told, reverse=True)


@pytest.mark.parametrize(
    ("asked", "priced"),
    sampled(
        [
            ({"duration": 12}, False),
            ({"duration": "1 minute"}, False),
            ({"sound": "on"}, False),
            ({"mode": "4k"}, False),
            ({"mode": "hd"}, False),
            ({"model_name": "kling-v1"}, False),
            ({"model_name": "best"}, False),
            ({"cfg_scale": 0.5}, True),
            ({"prompt": SAYS}, True),
        ],
        2,
    ),
)
async def test_a_refusal_is_headed_by_no_price_that_cannot_be_had(
    asked: dict[str, Any], priced: bool, tmp_path: Path
) -> None:
    dry, *_ = await refused(tmp_path, **asked)

    assert ("estimate_units" in facts(dry)) is priced
    assert ("estimate_usd" in facts(dry)) is priced
    head = words(dry).partition(" Pictures:")[0]
    assert ("units" in head) is priced
    assert "unknown price" not in words(dry)


async def test_of_spoken_words_is_asked_once_and_never_beside_a_voice(tmp_path: Path) -> None:
    dry, *_ = await refused(tmp_path, prompt=SAYS)
    assert [fault["field"] for fault in facts(dry)["faults"]] == ["sound"]

    voiced = f"<<<voice_1>>> {SAYS}"
    dry, *_ = await refused(tmp_path, prompt=voiced, voice_list=["829836039416651001"])
    assert "off" not in str([fault.get("use") for fault in facts(dry)["faults"]])
    assert facts(dry)["would_pass"]["change"]["sound"] == "on"


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ({"max_units": "$1"}, 7.1),
        ({"max_units": "1 USD"}, 7.1),
        ({"max_usd": 1}, 7.1),
        ({"budget": "2.10"}, 15.0),
    ],
)
async def test_a_cap_in_dollars_is_put_into_units_in_one_step(
    asked: dict[str, Any], most: float, tmp_path: Path
) -> None:
    _, sent, *_ = await refused(tmp_path, **asked)

    assert facts(sent)["would_pass"]["change"]["max_units"] == most


async def test_a_cap_in_dollars_holds_for_what_is_suggested(tmp_path: Path) -> None:
    _, sent, *_ = await refused(tmp_path, max_units="$0.30", duration=10)

    assert facts(sent)["would_pass"]["change"] == {"max_units": 2.1, "duration": "5"}


async def test_0_units_mean_to_spend_nothing(tmp_path: Path) -> None:
    dry, sent = await refused(tmp_path, max_units=0)

    assert facts(sent)["error"] == "spend_cap_reached"
    way = "Ask the person, then submit with max_units: 1.5."
    assert facts(dry)["next"] == facts(sent)["next"] == way
    assert words(sent).count("max_units") == 2, "one cause, one way"
