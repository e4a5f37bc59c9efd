"""The whole way of a call, as a client of either protocol era sees it, against the sandbox."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import av
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent
from tests.server.serving import ALL_BYTES, CORE_BYTES, SIDE_PX, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore

PENDING_BYTES = 340
"""Of a running task: its state, and which one it is."""


WHOLE_PX = 2160
SHAPES = {WHOLE_PX: ((960, 720), (720, 1280)), SIDE_PX: ((400, 300), (300, 534))}
"""Of a clip of a picture of 4:3, and of one in 9:16, by the most px of the shorter side."""


@pytest.fixture(
    params=[
        pytest.param(("legacy", WHOLE_PX), marks=pytest.mark.campaign),
        ("2026-07-28", SIDE_PX),
    ],
    ids=["legacy", "2026-07-28"],
)
def played(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The era of the protocol, and the most px of the shorter side of a clip."""
    found: tuple[str, int] = request.param
    return found


@pytest.fixture
async def client(
    played: tuple[str, int], tmp_path: Path, anyio_backend: str
) -> AsyncIterator[Client]:
    era, side_px = played
    server = build_server(sandbox_settings(tmp_path, sandbox_side_px=side_px))
    async with Client(server, mode=era) as connected:
        yield connected


def words(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def ok(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, words(result)
    assert result.structured_content is not None
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, words(result)
    assert result.structured_content is not None
    assert result.structured_content["message"] in words(result) or "faults" in (
        result.structured_content
    )
    return result.structured_content


def creates(tmp_path: Path) -> int:
    """How many tasks the sandbox has accepted."""
    return int(SandboxStore(tmp_path / "home" / "sandbox").counts().accepted)


@pytest.mark.anyio
async def test_a_picture_becomes_a_saved_video(
    client: Client, played: tuple[str, int], tmp_path: Path
) -> None:
    receipt = await ok(
        client, "kling_image_to_video", image=picture(tmp_path), prompt="Slow zoom", duration=5
    )
    waited = await ok(client, "kling_wait_for_tasks", task_ids=[receipt["task_id"]])
    saved = await ok(client, "kling_save_video", task_id=receipt["task_id"])

    assert (receipt["estimate_units"], receipt["estimate_usd"]) == (1.5, 0.21)
    assert receipt["pictures"] == ["image: photo.png 640x480"]
    assert waited["done"] is True
    assert waited["tasks"][0]["units"] == 1.5
    path = Path(saved["path"])
    assert path.parent == tmp_path / "videos"
    assert path.name == f"photo-slow-zoom-{receipt['task_id']}.mp4"
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == SHAPES[played[1]][0]
        assert video.duration is not None
        assert abs(video.duration / av.time_base - 5) < 0.1


@pytest.mark.anyio
async def test_several_pictures_become_one_video(
    client: Client, played: tuple[str, int], tmp_path: Path
) -> None:
    pictures = [picture(tmp_path, f"{n}.png", (400 + n, 400)) for n in range(3)]

    receipt = await ok(
        client,
        "kling_multi_image_to_video",
        image_list=pictures,
        prompt="they meet",
        aspect_ratio="9:16",
    )
    saved = await ok(client, "kling_save_video", task_id=receipt["task_id"])

    assert receipt["model_name"] == "kling-v3-omni"
    assert (saved["width"], saved["height"]) == SHAPES[played[1]][1]


@pytest.mark.anyio
async def test_the_same_request_is_made_once_and_another_take_is_another_video(
    client: Client, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Slow zoom"}

    first = await ok(client, "kling_image_to_video", **wish)
    again = await ok(client, "kling_image_to_video", **wish, mode="std", duration="5s")
    other = await ok(client, "kling_image_to_video", **wish, take=2)

    assert again["task_id"] == first["task_id"]
    assert again["repeated"] is True
    assert again["status"] == "succeed"
    assert other["task_id"] != first["task_id"]
    assert creates(tmp_path) == 2


@pytest.mark.anyio
async def test_ten_equal_calls_at_once_make_one_video(client: Client, tmp_path: Path) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Slow zoom"}
    ids: list[str] = []

    async def submit() -> None:
        ids.append((await ok(client, "kling_image_to_video", **wish))["task_id"])

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(submit)

    assert len(ids) == 10
    assert len(set(ids)) == 1
    assert creates(tmp_path) == 1


@pytest.mark.anyio
async def test_a_full_dry_run_shows_the_body_and_the_price_and_sends_nothing(
    client: Client, tmp_path: Path
) -> None:
    result = await client.call_tool(
        "kling_image_to_video",
        {"image": picture(tmp_path), "prompt": "Zoom", "duration": 10, "dry_run": "full"},
    )

    assert result.structured_content is not None
    call = result.structured_content["request"]
    assert (call["method"], call["path"]) == ("POST", "/v1/videos/image2video")
    assert call["body"]["duration"] == "10"
    assert call["body"]["model_name"] == "kling-v2-5-turbo"
    assert call["body"]["image"].startswith("<base64 of photo.png")
    assert result.structured_content["estimate_units"] == 3
    assert json.dumps(call["body"], ensure_ascii=False) in words(result)
    assert result.structured_content["dry_run"] is True
    assert "sent" not in result.structured_content
    assert "Sent:" not in words(result)
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()
    assert not (tmp_path / "home" / "sandbox").exists()


@pytest.mark.anyio
async def test_a_dry_run_does_not_repeat_what_the_caller_said(
    client: Client, tmp_path: Path
) -> None:
    prompt = "A heron lands, folds its wings and waits at the water's edge."
    asked = {"image": picture(tmp_path), "prompt": prompt, "negative_prompt": "no rain"}

    result = await client.call_tool("kling_image_to_video", {**asked, "dry_run": "true"})

    whole = result.model_dump_json()
    assert "nothing sent" in words(result)
    assert "1.5 units" in words(result)
    assert "heron" not in whole
    assert "no rain" not in whole
    assert "/v1/videos" not in whole


@pytest.mark.anyio
async def test_a_dry_run_of_a_bad_request_names_every_fault(client: Client, tmp_path: Path) -> None:
    receipt = await ok(
        client, "kling_image_to_video", image="nowhere.png", duration=4, promt="x", dry_run=True
    )

    assert {fault["field"] for fault in receipt["faults"]} == {
        "image",
        "prompt",
        "duration",
        "promt",
    }


@pytest.mark.anyio
async def test_a_status_says_where_the_task_is_and_stays_small(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_queue_s=100, sandbox_render_s=100)
    async with Client(build_server(settings)) as client:
        receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")

        status = await client.call_tool("kling_get_task", {"task_id": receipt["task_id"]})

    assert status.structured_content is not None
    assert status.structured_content["status"] == "submitted"
    assert len(words(status)) + len(json.dumps(status.structured_content)) <= PENDING_BYTES


@pytest.mark.anyio
async def test_a_wait_that_ends_early_tells_the_state_so_far(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_queue_s=100)
    async with Client(build_server(settings)) as client:
        receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")
        heard: list[str | None] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append(message)

        result = await client.call_tool(
            "kling_wait_for_tasks",
            {"task_ids": [receipt["task_id"]], "timeout_s": 0},
            progress_callback=hear,
        )

    assert result.structured_content is not None
    assert result.structured_content["done"] is False
    assert result.structured_content["tasks"][0]["status"] == "submitted"
    assert "call kling_wait_for_tasks again" in words(result)
    (said,) = heard
    assert said is not None
    assert said.startswith(f"0 of 1 done, {receipt['task_id']} submitted for ")
    assert said.endswith(" s, usually about 100 s")


@pytest.mark.anyio
async def test_a_cancelled_wait_asks_no_more(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_queue_s=100)
    store = SandboxStore(tmp_path / "home" / "sandbox")
    async with Client(build_server(settings)) as client:
        receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")
        looked = anyio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            looked.set()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:

                async def wait() -> None:
                    await client.call_tool(
                        "kling_wait_for_tasks",
                        {"task_ids": [receipt["task_id"]], "timeout_s": 50},
                        progress_callback=hear,
                    )

                group.start_soon(wait)
                await looked.wait()
                group.cancel_scope.cancel()
        before = store.counts().requests
        await anyio.wait_all_tasks_blocked()

        assert store.counts().requests == before


@pytest.mark.anyio
async def test_a_task_is_found_by_either_id(client: Client, tmp_path: Path) -> None:
    receipt = await ok(
        client,
        "kling_image_to_video",
        image=picture(tmp_path),
        prompt="Zoom",
        external_task_id="my-own-id",
    )

    by_ours = await ok(client, "kling_get_task", external_task_id="my-own-id")
    by_theirs = await ok(client, "kling_get_task", task_id=receipt["task_id"])

    assert by_ours == by_theirs
    assert by_ours["task_id"] == receipt["task_id"]


@pytest.mark.anyio
async def test_an_external_id_of_another_request_is_refused(client: Client, tmp_path: Path) -> None:
    wish = {"image": picture(tmp_path), "external_task_id": "my-own-id"}
    await ok(client, "kling_image_to_video", **wish, prompt="Zoom")

    facts = await refused(client, "kling_image_to_video", **wish, prompt="Pan")

    assert "belongs to another request" in facts["message"]
    assert facts["charged"] == "no"
    assert creates(tmp_path) == 1


@pytest.mark.anyio
async def test_tasks_are_listed_newest_first_in_pages(client: Client, tmp_path: Path) -> None:
    image = picture(tmp_path)
    ids = [
        (await ok(client, "kling_image_to_video", image=image, prompt=f"take {n}"))["task_id"]
        for n in range(3)
    ]

    first = await ok(client, "kling_list_tasks", page_size=2)
    second = await ok(client, "kling_list_tasks", page_size=2, page=2)
    none = await ok(client, "kling_list_tasks", product="omni-video")

    assert [task["task_id"] for task in first["tasks"]] == [ids[2], ids[1]]
    assert (first["more"], second["more"]) == (True, False)
    assert [task["task_id"] for task in second["tasks"]] == [ids[0]]
    assert first["tasks"][0]["prompt"] == "take 2"
    assert none["tasks"] == []


@pytest.mark.anyio
async def test_without_a_key_every_answer_says_that_it_is_the_sandbox(
    client: Client, tmp_path: Path
) -> None:
    receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")
    task_id = receipt["task_id"]

    for tool, arguments in (
        ("kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}),
        ("kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom", "dry_run": True}),
        ("kling_get_task", {"task_id": task_id}),
        ("kling_wait_for_tasks", {"task_ids": [task_id]}),
        ("kling_list_tasks", {}),
        ("kling_save_video", {"task_id": task_id}),
    ):
        result = await client.call_tool(tool, arguments)

        assert "sandbox" in words(result).lower(), tool
        assert "sandbox" in json.dumps(result.structured_content).lower(), tool


@pytest.mark.anyio
@pytest.mark.parametrize(("tools", "most_bytes"), [("core", CORE_BYTES), ("all", ALL_BYTES)])
async def test_the_list_of_tools_is_small(tools: str, most_bytes: int, tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, tools=tools))) as client:
        listed = await client.list_tools()
    wire = listed.model_dump_json(by_alias=True, exclude_none=True)

    assert len(wire.encode()) <= most_bytes


@pytest.mark.anyio
async def test_an_unknown_tool_is_a_protocol_error(client: Client) -> None:
    with pytest.raises(MCPError, match="Unknown tool: kling_cancel") as caught:
        await client.call_tool("kling_cancel", {})

    assert caught.value.error.code == -32602


@pytest.mark.anyio
async def test_a_task_that_is_not_there_is_told_with_what_to_do(client: Client) -> None:
    facts = await refused(client, "kling_get_task", task_id="123")

    assert facts["error"] == "task_not_found"
    assert facts["charged"] == "no"
    assert "kling_list_tasks" in facts["next"]


@pytest.mark.anyio
async def test_a_failed_task_is_an_answer_and_its_video_an_error(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults="task-fails")
    async with Client(build_server(settings)) as client:
        receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")
        task = await ok(client, "kling_get_task", task_id=receipt["task_id"])
        facts = await refused(client, "kling_save_video", task_id=receipt["task_id"])

    assert task["status"] == "failed"
    assert task["provider_says"] == "Failure to pass the risk control system"
    assert facts["error"] == "task_failed"
    assert facts["provider_says"] == "Failure to pass the risk control system"


@pytest.mark.anyio
async def test_after_a_failure_the_same_request_is_sent_again(tmp_path: Path) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with Client(build_server(sandbox_settings(tmp_path, sandbox_faults="task-fails:1"))) as c:
        failed = await ok(c, "kling_image_to_video", **wish)
        await ok(c, "kling_get_task", task_id=failed["task_id"])
        made = await ok(c, "kling_image_to_video", **wish)
        task = await ok(c, "kling_get_task", task_id=made["task_id"])

    assert made["task_id"] != failed["task_id"]
    assert task["status"] == "succeed"


@pytest.mark.anyio
async def test_a_video_is_not_saved_before_it_is_made(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_queue_s=100)
    async with Client(build_server(settings)) as client:
        receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")
        facts = await refused(client, "kling_save_video", task_id=receipt["task_id"])

    assert "kling_wait_for_tasks" in facts["next"]
    assert not (tmp_path / "videos").exists()


@pytest.mark.anyio
async def test_the_instructions_say_that_it_is_the_sandbox(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path)), mode="legacy") as client:
        assert "sandbox" in (client.instructions or "")


@pytest.mark.anyio
async def test_a_dry_run_of_an_unknown_model_says_that_the_price_is_not_known(
    client: Client, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v9"}
    dry = await ok(client, "kling_image_to_video", **wish, dry_run=True)

    assert dry["next"].startswith("Tell the person that the price is not known")


@pytest.mark.anyio
async def test_a_watermarked_copy_is_told_in_words_too(client: Client, tmp_path: Path) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "watermark_info": True}
    receipt = await ok(client, "kling_image_to_video", **wish)
    result = await client.call_tool("kling_get_task", {"task_id": receipt["task_id"]})

    assert result.structured_content is not None
    (video,) = result.structured_content["videos"]
    assert f"watermarked copy {video['watermark_url']}" in words(result)


@pytest.mark.anyio
@pytest.mark.parametrize("task_id", ["../../x", "1/frames/last", "kling://tasks/1"])
async def test_what_cannot_be_an_id_is_a_task_that_is_not_there(
    client: Client, task_id: str
) -> None:
    told = await refused(client, "kling_get_task", task_id=task_id)

    assert told["error"] == "task_not_found"
    assert "model_name" not in told["next"]


@pytest.mark.anyio
async def test_null_among_ids_is_not_called_a_number(client: Client) -> None:
    told = await refused(client, "kling_wait_for_tasks", task_ids=[None])

    assert told["faults"][0]["message"] == "must be text, not null."


@pytest.mark.anyio
async def test_a_text_that_is_too_long_is_counted_in_characters(client: Client) -> None:
    told = await refused(client, "kling_get_task", task_id="x" * 300)

    assert told["faults"][0]["message"] == "at most 128 characters, this has 300."


@pytest.mark.anyio
async def test_a_dry_run_says_what_a_cap_would_refuse(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, max_units_per_day=1)
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "dry_run": True}
    async with Client(build_server(settings)) as client:
        daily = await ok(client, "kling_image_to_video", **wish)
        own = await ok(client, "kling_image_to_video", **wish, max_units=0.5)

    assert ["day's cap is 1" in fault["message"] for fault in daily["faults"]] == [True]
    assert ["max_units is 0.5" in fault["message"] for fault in own["faults"]] == [True]
    assert daily["next"] == "Have KLING_MCP_MAX_UNITS_PER_DAY raised."


@pytest.mark.anyio
async def test_a_dry_run_of_what_is_made_says_that_it_costs_nothing(
    client: Client, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    made = await ok(client, "kling_image_to_video", **wish)

    again = await ok(client, "kling_image_to_video", **wish, dry_run=True)

    assert made["task_id"] in again["next"]
    assert "costs nothing" in again["next"]


@pytest.mark.anyio
async def test_a_list_is_brought_up_to_date(client: Client, tmp_path: Path) -> None:
    receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")

    done = await ok(client, "kling_list_tasks", status="succeed")

    assert [task["task_id"] for task in done["tasks"]] == [receipt["task_id"]]


@pytest.mark.anyio
async def test_one_task_that_cannot_be_found_does_not_spoil_the_others(
    client: Client, tmp_path: Path
) -> None:
    receipt = await ok(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")

    waited = await ok(client, "kling_wait_for_tasks", task_ids=["nobody", receipt["task_id"]])

    assert waited["done"] is True
    lost, found = waited["tasks"]
    assert lost["error"] == "task_not_found"
    assert found["status"] == "succeed"
