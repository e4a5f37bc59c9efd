"""What is given as a picture and is none, or stands in the wrong form, is named for what it is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image
from tests.made_clips import make_film
from tests.server.serving import SIDE_PX, no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

CREATE, SEVERAL = "kling_image_to_video", "kling_multi_image_to_video"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    settings = sandbox_settings(tmp_path, save=True, sandbox_side_px=SIDE_PX)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        yield client


async def judged(client: Client, tool: str = CREATE, **wish: Any) -> dict[str, Any]:
    """The dry run of a wish."""
    answer = await client.call_tool(tool, {"prompt": "Zoom", "dry_run": True, **wish})
    assert answer.structured_content is not None
    return answer.structured_content


async def fault(client: Client, tool: str = CREATE, **wish: Any) -> tuple[str, str]:
    """What is wrong with the only fault of a wish, and what to use."""
    (found,) = (await judged(client, tool, **wish))["faults"]
    return found["message"], found.get("use", "")


async def test_a_video_is_no_picture_and_one_of_ours_names_its_last_frame(
    client: Client, tmp_path: Path
) -> None:
    other = make_film(
        tmp_path / "other.mp4", [Image.new("RGB", (320, 240), (n, 0, 0)) for n in range(9)]
    )
    made = await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "Zoom"})
    assert made.structured_content is not None
    task = made.structured_content["task_id"]
    waited = await client.call_tool("kling_wait_for_tasks", {"task_ids": [task]})
    assert waited.structured_content is not None
    ours = waited.structured_content["tasks"][0]["path"]
    last = f"kling://tasks/{task}/frames/last"

    message, use = await fault(client, image=ours)
    assert message.endswith(".mp4 is a video; Kling takes JPEG and PNG only.")
    assert use.startswith(last)
    assert (await fault(client, image=str(other)))[1].startswith("kling://tasks/ID/frames/last")
    assert (await fault(client, image=task))[1].startswith(last)
    assert last in (await fault(client, image=f"kling://tasks/{task}/video"))[1]
    assert (await judged(client, image=last)).get("faults", []) == []
    look = await client.call_tool("kling_look", {"task_id": task, "image": ours})
    assert look.is_error
    assert look.structured_content is not None
    assert look.structured_content["faults"][0]["use"].startswith(last)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty (0 bytes)"), (b"hello", "is a text file")]
)
async def test_a_file_without_a_picture_says_what_it_is(
    content: bytes, said: str, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(content)

    message, use = await fault(client, image=str(tmp_path / "photo.png"))

    assert said in message
    assert use == "a JPEG or PNG picture"


async def test_several_pictures_for_one_name_the_tool_that_takes_them(
    client: Client, tmp_path: Path
) -> None:
    two = [picture(tmp_path, name) for name in ("hat.png", "cat.png")]

    assert SEVERAL in (await fault(client, image=two))[1]
    assert SEVERAL in (await fault(client, image=" ".join(two)))[1]


@pytest.mark.parametrize("joint", [", ", "; ", "\n"])
async def test_several_paths_in_one_text_are_several_pictures(
    joint: str, client: Client, tmp_path: Path
) -> None:
    two = [picture(tmp_path, name) for name in ("hat.png", "cat.png")]

    dry = await judged(client, SEVERAL, image_list=joint.join(two))

    assert dry.get("faults", []) == []
    assert [told.split(" ")[1] for told in dry["pictures"]] == ["hat.png", "cat.png"]


async def test_a_folder_names_its_pictures_in_the_words_of_a_dry_run(
    client: Client, tmp_path: Path
) -> None:
    picture(tmp_path / "trip", "rome.png")
    wish = {"image": str(tmp_path / "trip"), "prompt": "Zoom", "dry_run": True}

    answer = await client.call_tool(CREATE, wish)

    assert "There are: rome.png 640x480." in str(answer.content)


async def test_a_crop_is_told_with_the_picture_s_true_size(client: Client, tmp_path: Path) -> None:
    Image.new("RGB", (12_000, 9_000), (90, 90, 90)).save(tmp_path / "vast.jpg")

    dry = await judged(client, image=str(tmp_path / "vast.jpg"), fit="16:9")

    assert "cropped to 16:9 from 12000x9000" in dry["pictures"][0]


async def test_an_end_picture_of_another_shape_is_warned_of(client: Client, tmp_path: Path) -> None:
    wide, tall = picture(tmp_path, "wide.png", (900, 600)), picture(tmp_path, "t.png", (600, 800))
    wish = {"image": wide, "image_tail": tall, "model_name": "kling-v3"}

    (warning,) = (await judged(client, **wish))["warnings"]
    assert "the video has the shape of image, so image_tail is cropped" in warning
    assert 'fit "16:9"' in warning
    fitted = await judged(client, **wish, fit="16:9")
    assert not [said for said in fitted.get("warnings", []) if "the shape of image" in said]


@pytest.mark.parametrize("tool", ["kling_save_video", "kling_look", "kling_get_task"])
async def test_several_tasks_for_a_tool_of_one_are_named_so(tool: str, client: Client) -> None:
    for asked in ({"task_id": ["a-task-1", "a-task-2"]}, {"task_id": "a-task-1, a-task-2"}):
        answer = await client.call_tool(tool, asked)

        assert answer.is_error
        assert "call once for each task" in str(answer.content)


async def test_a_provider_that_is_not_there_is_to_be_left_out_where_there_is_but_one(
    client: Client, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "provider": "klingai"}

    dry = await judged(client, **wish)

    assert dry["faults"][0]["use"] == "no provider, as there is but one"
    assert dry["would_pass"]["change"] == {"provider": ""}


async def test_the_sandbox_says_that_a_private_address_is_refused_with_a_key(
    client: Client,
) -> None:
    (warning,) = (await judged(client, image="https://localhost/cat.jpg"))["warnings"]

    assert "it is not on the internet. With a key this is refused." in warning
