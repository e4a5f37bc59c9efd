"""`kling_generate_image`: words, or pictures too, become pictures; judged and priced beforehand."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.scripted import facts
from tests.server.serving import hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

MAKE = "kling_generate_image"
WISH = {"prompt": "A lighthouse in a storm"}


async def answer(folder: Path, **wish: Any) -> dict[str, Any]:
    async with Client(build_server(sandbox_settings(folder), **hurried())) as client:
        return facts(await client.call_tool(MAKE, WISH | {"dry_run": "full"} | wish))


@pytest.mark.parametrize(
    ("wish", "path", "units", "usd"),
    [
        ({}, "/v1/images/omni-image", 8.0, 0.028),
        ({"resolution": "4k", "n": 2}, "/v1/images/omni-image", 32.0, 0.112),
        ({"model_name": "kling-image-o1"}, "/v1/images/omni-image", 8.0, 0.028),
        ({"model_name": "kling-v3", "n": 3}, "/v1/images/generations", 24.0, 0.084),
        ({"model_name": "kling-v2-1"}, "/v1/images/generations", 4.0, 0.014),
    ],
)
async def test_the_model_decides_the_endpoint_and_the_price(
    tmp_path: Path, wish: dict[str, Any], path: str, units: float, usd: float
) -> None:
    dry = await answer(tmp_path, **wish)

    assert dry["request"]["path"] == path
    assert (dry["estimate_units"], dry["estimate_usd"]) == (units, usd)
    assert dry["unit"] == "image unit"
    assert "duration_s" not in dry
    assert not dry["request"]["body"].keys() & {"mode", "duration", "sound", "cfg_scale"}


async def test_pictures_are_a_list_for_omni_image_and_one_field_for_generations(
    tmp_path: Path,
) -> None:
    photo, other = picture(tmp_path), picture(tmp_path, "other.png")
    omni = await answer(tmp_path, image_list=[photo, other])
    one = await answer(tmp_path, image_list=[photo], model_name="kling-v2-1", image_fidelity=0.7)

    assert len(omni["request"]["body"]["image_list"]) == 2
    assert (
        omni["request"]["body"]["prompt"] == f"With <<<image_1>>>, <<<image_2>>>: {WISH['prompt']}"
    )
    assert "image" in one["request"]["body"]
    assert one["request"]["body"]["image_fidelity"] == 0.7
    assert one["estimate_units"] == 8.0


@pytest.mark.parametrize(
    ("wish", "field", "use"),
    [
        ({"prompt": ""}, "prompt", "a sentence that says what is in it"),
        ({"n": 10}, "n", "9 or less"),
        ({"resolution": "8k"}, "resolution", "'1k', '2k' or '4k'"),
        ({"negative_prompt": "rain"}, "negative_prompt", "a request without negative_prompt"),
        ({"model_name": "kling-v2-6"}, "model_name", "kling-v2-1 or kling-v3 or kling-v3-omni"),
        ({"image": "a.png"}, "image", "image_list"),
        ({"image_url": "https://host.example/a.png"}, "image_url", "image_list"),
        ({"duration": "5"}, "duration", "no duration, a picture has none"),
        (
            {"image_reference": "face", "model_name": "kling-v2-1"},
            "image_reference",
            "a picture in",
        ),
        ({"human_fidelity": 0.5, "model_name": "kling-v2-1"}, "human_fidelity", "a picture in"),
        ({"element_list": ["Fox"]}, "element_list", "image_list, with pictures of it"),
        ({"prompt": "<<<image_2>>> at night"}, "prompt", "plain words"),
        (
            {"prompt": "<<<image_2>>> at night", "image_list": ["https://example.org/a.png"]},
            "prompt",
            "a number of the list, counted from 1",
        ),
    ],
)
async def test_a_fault_is_told_before_anything_is_sent(
    tmp_path: Path, wish: dict[str, Any], field: str, use: str
) -> None:
    dry = await answer(tmp_path, **wish)

    fault = next(fault for fault in dry["faults"] if fault["field"] == field)
    assert use in fault["use"]


@pytest.mark.parametrize(
    ("wish", "message", "change"),
    [
        (
            {"resolution": "4k", "model_name": "kling-v3"},
            "kling-v3 has no resolution 4k.",
            {"model_name": "kling-v3-omni"},
        ),
        (
            {"aspect_ratio": "auto", "model_name": "kling-v3"},
            "kling-v3 has no aspect_ratio auto.",
            {"model_name": "kling-v3-omni"},
        ),
        (
            {"image_fidelity": 0.5, "image_list": ["https://host.example/a.png"]},
            "kling-v3-omni (1k) does not take image_fidelity.",
            {"model_name": "kling-v2-1"},
        ),
    ],
)
async def test_what_a_model_cannot_do_another_one_is_named_for(
    tmp_path: Path, wish: dict[str, Any], message: str, change: dict[str, Any]
) -> None:
    dry = await answer(tmp_path, **wish)

    assert [fault["message"] for fault in dry["faults"]] == [message]
    assert dry["would_pass"]["change"] == change


async def test_the_nearest_request_keeps_the_number_of_pictures(tmp_path: Path) -> None:
    photos = [picture(tmp_path, f"{n}.png") for n in range(2)]
    dry = await answer(tmp_path, image_list=photos, model_name="kling-v3", n=2)
    cheaper = await answer(tmp_path, resolution="4k", max_units=8)

    assert dry["would_pass"]["change"] == {"model_name": "kling-v3-omni"}
    assert cheaper["would_pass"]["change"] == {"resolution": "2k"}


async def test_the_same_pictures_are_paid_once_and_another_take_is_another_task(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        first = facts(await client.call_tool(MAKE, WISH | {"n": 2}))
        again = facts(await client.call_tool(MAKE, WISH | {"n": 2}))
        take = facts(await client.call_tool(MAKE, {"another_take_of": first["task_id"]}))
        wrong = await client.call_tool(
            "kling_image_to_video", {"another_take_of": first["task_id"]}
        )

    assert again["repeated"] is True
    assert again["task_id"] == first["task_id"]
    assert (take["take"], take["n"]) == (2, 2)
    assert take["task_id"] != first["task_id"]
    assert "was made with kling_generate_image" in facts(wrong)["faults"][0]["message"]


async def test_a_provider_without_pictures_is_refused_and_one_that_has_them_named(
    tmp_path: Path,
) -> None:
    settings = sandbox_settings(
        tmp_path, provider="cometapi", cometapi_base_url="sandbox", kling_base_url="sandbox"
    )
    async with Client(build_server(settings, **hurried())) as client:
        refused = facts(await client.call_tool(MAKE, WISH))

    (fault,) = refused["faults"]
    assert fault["message"] == "cometapi makes no pictures."
    assert fault["use"] == 'provider "kling"'


async def test_a_played_provider_without_pictures_names_those_that_can_be_played(
    tmp_path: Path,
) -> None:
    settings = sandbox_settings(tmp_path, provider="anyfast", anyfast_base_url="sandbox")
    async with Client(build_server(settings, **hurried())) as client:
        refused = facts(await client.call_tool(MAKE, WISH))

    (fault,) = refused["faults"]
    assert fault["use"].startswith("kling, once KLING_BASE_URL is sandbox")
    settings = sandbox_settings(tmp_path, anyfast_base_url="sandbox", kling_base_url="sandbox")
    settings = settings.model_copy(update={"provider": "kling"})
    async with Client(build_server(settings, **hurried())) as client:
        made = await client.call_tool(MAKE, WISH)
    assert not made.is_error


async def test_the_number_of_pictures_is_the_one_asked_for_or_none_is_told(tmp_path: Path) -> None:
    none = await answer(tmp_path, n=0)
    many = await answer(tmp_path, n=12)
    large = await answer(tmp_path, n=2, model_name="kling-v2-1", resolution="4k")

    assert (none["n"], none["warnings"]) == (1, ["n: 0 is read as left out: 1 picture."])
    assert "n" not in many
    assert "video" not in large
    assert "4k 2 pictures, about 32 image units" in large["would_pass"]["makes"]
