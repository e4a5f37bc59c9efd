"""`completion/complete` for prompts and resources, as a client of either era asks for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server

ERAS = ("legacy", "2026-07-28")
MODEL = ResourceTemplateReference(uri="kling://models/{model_name}")
TASK = ResourceTemplateReference(uri="kling://tasks/{task_id}")
VIDEO = ResourceTemplateReference(uri="kling://tasks/{task_id}/video")
FRAME = ResourceTemplateReference(uri="kling://tasks/{task_id}/frames/{which}")
IMAGE = ResourceTemplateReference(uri="kling://tasks/{task_id}/images/{number}")
LIVING = ["kling-v2-5-turbo", "kling-v2-6", "kling-v3"]


@pytest.fixture(params=ERAS)
async def client(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(tmp_path)), mode=request.param) as connected:
        yield connected


async def values(
    client: Client,
    ref: PromptReference | ResourceTemplateReference,
    name: str,
    typed: str = "",
    **chosen: str,
) -> list[str]:
    argument = {"name": name, "value": typed}
    done = await client.complete(ref, argument, context_arguments=chosen or None)
    return done.completion.values


async def submitted(client: Client, folder: Path, prompt: str) -> str:
    result = await client.call_tool(
        "kling_image_to_video", {"image": picture(folder), "prompt": prompt}
    )
    assert result.structured_content is not None
    return str(result.structured_content["task_id"])


@pytest.mark.anyio
async def test_models_are_completed_the_living_first(client: Client) -> None:
    everything = await values(client, MODEL, "model_name")
    animate = await values(client, PromptReference(name="animate_picture"), "model_name")
    typed = await values(client, MODEL, "model_name", "V3")

    assert "kling-video-o1" in everything
    assert animate[:3] == LIVING
    assert "kling-video-o1" not in animate
    assert typed == ["kling-v3", "kling-v3-turbo", "kling-v3-omni"]


@pytest.mark.anyio
async def test_a_prompt_is_offered_only_models_that_can_do_it(client: Client) -> None:
    shots = await values(client, PromptReference(name="storyboard"), "model_name")
    frames = await values(client, PromptReference(name="first_to_last_frame"), "model_name")

    assert shots == ["kling-v3", "kling-v3-turbo"]
    assert frames[:3] == LIVING
    assert "kling-v2-master" not in frames


@pytest.mark.anyio
async def test_modes_and_seconds_follow_the_model_that_was_chosen(client: Client) -> None:
    prompt = PromptReference(name="animate_picture")

    assert await values(client, prompt, "mode") == ["std", "pro", "4k"]
    assert await values(client, prompt, "mode", model_name="kling-v2-6") == ["std", "pro"]
    assert await values(client, prompt, "mode", model_name="kling-v2-master") == []
    assert await values(client, prompt, "duration", model_name="kling-v2-6") == ["5", "10"]
    every = [str(seconds) for seconds in range(3, 16)]
    assert await values(client, prompt, "duration") == every
    assert await values(client, prompt, "duration", "1") == every[7:]


@pytest.mark.anyio
async def test_no_more_shots_are_offered_than_the_seconds_hold(client: Client) -> None:
    prompt = PromptReference(name="storyboard")

    assert await values(client, prompt, "shots") == ["1", "2", "3", "4", "5", "6"]
    assert await values(client, prompt, "shots", duration="3") == ["1", "2", "3"]


@pytest.mark.anyio
async def test_elements_are_offered_by_name(client: Client) -> None:
    offered = await values(client, PromptReference(name="storyboard"), "element")

    assert offered[:2] == ["Rosa", "Otto"]


@pytest.mark.anyio
async def test_task_ids_come_newest_first_and_videos_only_of_finished_ones(
    client: Client, tmp_path: Path
) -> None:
    first = await submitted(client, tmp_path, "one")
    second = await submitted(client, tmp_path, "two")
    await client.call_tool("kling_get_task", {"task_id": first})

    assert await values(client, TASK, "task_id") == [second, first]
    assert await values(client, TASK, "task_id", first[-6:]) == [first]
    assert await values(client, VIDEO, "task_id") == [first]
    assert await values(client, FRAME, "task_id") == [first]
    assert await values(client, FRAME, "which") == ["first", "last"]


@pytest.mark.anyio
async def test_completing_makes_no_ledger(client: Client, tmp_path: Path) -> None:
    assert await values(client, TASK, "task_id") == []
    assert not (tmp_path / "home").exists()


@pytest.mark.anyio
async def test_a_ledger_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger.sqlite3").write_bytes(b"this is not a ledger" * 300)
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        with pytest.raises(MCPError, match="ledger"):
            await values(client, TASK, "task_id")


@pytest.mark.anyio
async def test_there_is_nothing_to_complete_for_free_texts(client: Client) -> None:
    assert await values(client, PromptReference(name="animate_picture"), "wish", "a") == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "ref", [PromptReference(name="nobody"), ResourceTemplateReference(uri="kling://nothing/{x}")]
)
async def test_what_is_not_there_is_a_protocol_error(
    client: Client, ref: PromptReference | ResourceTemplateReference
) -> None:
    with pytest.raises(MCPError, match="nothing to complete") as caught:
        await values(client, ref, "x")
    assert caught.value.error.code == -32602


@pytest.mark.anyio
async def test_each_prompt_is_offered_the_models_modes_and_shapes_of_its_product(
    client: Client,
) -> None:
    words, edit = PromptReference(name="text_to_video"), PromptReference(name="edit_video")
    pictures = PromptReference(name="generate_image")

    assert (await values(client, words, "model_name"))[:3] == LIVING
    assert await values(client, edit, "model_name") == ["kling-v3-omni", "kling-video-o1"]
    assert (await values(client, pictures, "model_name"))[-1] == "kling-v2-1"
    assert await values(client, pictures, "resolution") == ["1k", "2k", "4k"]
    assert await values(client, pictures, "resolution", model_name="kling-v2-1") == ["1k", "2k"]
    assert "auto" in await values(client, pictures, "aspect_ratio")
    assert "auto" not in await values(client, pictures, "aspect_ratio", model_name="kling-v2-1")
    assert await values(client, words, "aspect_ratio", "9") == ["9:16", "16:9"]
    assert await values(client, edit, "refer_type") == ["base", "feature"]
    motion = PromptReference(name="motion_control")
    assert await values(client, motion, "character_orientation") == ["image", "video"]


@pytest.mark.anyio
async def test_finished_tasks_are_offered_as_pictures_and_videos(
    client: Client, tmp_path: Path
) -> None:
    video = await submitted(client, tmp_path, "one")
    made = await client.call_tool("kling_generate_image", {"prompt": "A fox"})
    assert made.structured_content is not None
    picture_task = made.structured_content["task_id"]
    running = await submitted(client, tmp_path, "two")
    for task_id in (video, picture_task):
        await client.call_tool("kling_get_task", {"task_id": task_id})

    frame, image = f"kling://tasks/{video}/frames/last", f"kling://tasks/{picture_task}/images/1"
    edit = PromptReference(name="edit_video")
    assert await values(client, edit, "video") == [f"kling://tasks/{video}/video"]
    assert await values(client, edit, "image_list", "a.png,kling") == [
        f"a.png, {image}",
        f"a.png, {frame}",
    ]
    assert await values(client, PromptReference(name="animate_picture"), "image", "imag") == [image]
    assert await values(client, IMAGE, "task_id") == [picture_task]
    assert await values(client, VIDEO, "task_id") == [video]
    assert running not in str(await values(client, edit, "image_list"))


@pytest.mark.anyio
async def test_the_providers_that_make_it_with_the_model_are_offered(tmp_path: Path) -> None:
    keys = {"kling_api_key": "k", "kling_base_url": "sandbox", "powertokens_api_key": "k"}
    settings = sandbox_settings(tmp_path, provider="kling", powertokens_base_url="sandbox", **keys)
    async with Client(build_server(settings)) as client:
        words = PromptReference(name="text_to_video")

        assert await values(client, words, "provider") == ["kling"]
        assert await values(client, words, "provider", model_name="kling-v3") == ["kling"]
        assert await values(client, words, "provider", model_name="kling-video-o1") == []

    with_gateway = settings.model_copy(update={"cometapi_base_url": "sandbox"})
    with_gateway.cometapi_api_key = with_gateway.kling_api_key
    async with Client(build_server(with_gateway)) as client:
        offered = await values(client, words, "provider")

    assert offered == ["kling", "cometapi", "auto"]
