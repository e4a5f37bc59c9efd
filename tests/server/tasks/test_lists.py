"""A list is asked by day, words, picture, model and provider, and ends with a sum."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.sampling import sampled
from tests.server.serving import picture, sandbox_settings, tasks_of
from tests.server.tasks.rows import made_before

from kling_mcp.ledger import NewRow, open_ledger
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.configured import SANDBOX_URL
from kling_mcp.settings.settings import Settings
from kling_tools.requests.times import moment, zone_named

pytestmark = pytest.mark.anyio

BERLIN = zone_named("Europe/Berlin")
NOW = moment("2026-11-29T09:30", 0, BERLIN)
HOURS = (0, 10, 24, 120, 500)
"""How long ago each task was made: on Sunday, Saturday, Saturday, Tuesday, and weeks before."""


@pytest.fixture
async def house(tmp_path: Path) -> tuple[Settings, list[str]]:
    """Settings of a server whose ledger has tasks of several days, and their ids."""
    settings = sandbox_settings(tmp_path, timezone="Europe/Berlin")
    ids = []
    for number, hours in enumerate(HOURS):
        ledger = open_ledger(settings, lambda hours=hours: NOW - hours * 3600)
        ids.append(await made_before(ledger, number, settings.output_dir))
        await ledger.close()
    return settings, ids


async def listed(settings: Settings, **asked: Any) -> CallToolResult:
    async with Client(build_server(settings, clock=lambda: NOW)) as client:
        return await client.call_tool("kling_list_tasks", asked)


async def test_a_time_that_ends_before_it_begins_is_told(house: tuple[Settings, list[str]]) -> None:
    answer = await listed(house[0], since="2026-11-28", until="2026-11-24")

    assert answer.is_error
    assert isinstance(answer.content[0], TextContent)
    assert "2026-11-24 ends before 2026-11-28 begins" in answer.content[0].text


async def test_what_a_tool_or_a_kind_of_result_is_called_finds_all_its_tasks(
    tmp_path: Path,
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=False))) as client:
        made = {
            "text": await client.call_tool("kling_text_to_video", {"prompt": "A fox"}),
            "omni": await client.call_tool("kling_generate_image", {"prompt": "A fox"}),
            "plain": await client.call_tool(
                "kling_generate_image", {"prompt": "A fox", "model_name": "kling-v2-1"}
            ),
        }
        ids = {name: (one.structured_content or {})["task_id"] for name, one in made.items()}

        async def found(word: str) -> set[str]:
            page = await client.call_tool("kling_list_tasks", {"product": word})
            assert page.structured_content is not None
            assert "tasks" in page.structured_content, page.content
            return {task["task_id"] for task in page.structured_content["tasks"]}

        pictures = {ids["omni"], ids["plain"]}
        for word in ("pictures", "Images", "kling_generate_image", "generate image"):
            assert await found(word) == pictures, word
        for word in ("videos", "text to video", "text-to-video", "text2video"):
            assert await found(word) == {ids["text"]}, word
        assert await found("image-generation") == {ids["plain"]}
        unknown = await client.call_tool("kling_list_tasks", {"product": "songs"})

    assert unknown.is_error
    assert "'songs' names nothing that is made here: there are pictures, videos" in str(
        unknown.content
    )
    assert "edit video, motion control, talking photo" in str(unknown.content)


@pytest.mark.parametrize("word", ["element", "Voices", "text2video"])
async def test_products_have_the_names_that_people_use(
    word: str, house: tuple[Settings, list[str]]
) -> None:
    answer = await listed(house[0], product=word)

    assert not answer.is_error, answer.content


@pytest.mark.parametrize(
    ("asked", "found"),
    sampled(
        [
            ({"since": "today"}, [0]),
            ({"since": "yesterday", "until": "yesterday"}, [1, 2]),
            ({"since": "tuesday", "until": "tuesday"}, [3]),
            ({"since": "2026-11-24", "until": "2026-11-28"}, [1, 2, 3]),
            ({"since": "3 days"}, [0, 1, 2]),
            ({"until": "2026-11-29T00:00+01:00"}, [1, 2, 3, 4]),
            ({"text": "TURNS her"}, [1]),
            ({"text": "coffee"}, [0, 4]),
            ({"text": "100%"}, []),
            ({"picture": "Rocket.JPG"}, [2]),
            ({"picture": "steam"}, []),
            ({"picture": "/home/anna/Pictures/rocket.jpg"}, [2]),
            ({"picture": "C:\\Users\\anna\\rocket.jpg"}, [2]),
            ({"picture": "file:///home/anna/rocket.jpg"}, [2]),
            ({"picture": "/home/anna/Pictures/other.jpg"}, []),
            ({"model_name": "Kling-v2-5-Turbo", "since": "today"}, [0]),
            ({"model_name": "kling-v3"}, []),
            ({"model_name": "2.5 Turbo", "since": "today"}, [0]),
            ({"text": "head turns"}, [1]),
            ({"text": "calmly rocket.jpg"}, [2]),
            ({"text": "calmly waves"}, []),
            ({"status": "done", "since": "today"}, [0]),
            ({"status": "error"}, []),
            ({"status": "running"}, []),
            ({"provider": "sandbox", "text": "waves"}, [3]),
        ],
        2,
    ),
)
async def test_a_list_holds_what_was_asked_for(
    asked: dict[str, Any], found: list[int], house: tuple[Settings, list[str]]
) -> None:
    settings, ids = house
    answer = (await listed(settings, **asked)).structured_content

    assert answer is not None
    assert [task["task_id"] for task in answer["tasks"]] == [ids[number] for number in found]
    assert answer["total"]["tasks"] == len(found)


async def test_a_list_ends_with_the_sum_of_all_pages(house: tuple[Settings, list[str]]) -> None:
    answer = await listed(house[0], page_size=2)

    assert isinstance(answer.content[0], TextContent)
    last = answer.content[0].text.splitlines()[-1]
    assert last == (
        "In all: 5 tasks made here, those of the sandbox would have cost 7.5 units (1.05 USD)."
    )
    assert answer.structured_content is not None
    assert answer.structured_content["total"] == {
        "tasks": 5,
        "play_units": 7.5,
        "play_usd": 1.05,
    }


async def test_dates_are_those_of_the_person(house: tuple[Settings, list[str]]) -> None:
    here = (await listed(house[0], since="today")).structured_content
    there = (await listed(house[0], since="today", timezone="America/New_York")).structured_content

    assert here is not None
    assert there is not None
    assert tasks_of(here)[0]["created"] == "Sun 2026-11-29 09:30 +01:00"
    assert [task["created"] for task in tasks_of(there)] == ["Sun 2026-11-29 03:30 -05:00"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"since": "soonish"}, "since: 'soonish' is no time such as today, yesterday, tuesday"),
        ({"timezone": "Mars/Base"}, "timezone: 'Mars/Base' is no time zone such as Europe/Berlin"),
    ],
)
async def test_a_time_that_nobody_can_read_is_named(
    asked: dict[str, Any], said: str, tmp_path: Path
) -> None:
    answer = await listed(sandbox_settings(tmp_path), **asked)

    assert answer.is_error
    assert isinstance(answer.content[0], TextContent)
    assert said in answer.content[0].text


async def test_what_is_queued_is_told_apart_from_what_was_spent(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_slots=1, sandbox_render_s=600)
    async with Client(build_server(settings)) as client:
        ids = []
        for take in (1, 2, 3):
            wish = {"image": picture(tmp_path), "prompt": "Zoom", "take": take}
            receipt = (await client.call_tool("kling_image_to_video", wish)).structured_content
            assert receipt is not None
            ids.append(receipt["task_id"])
        await client.call_tool("kling_cancel_task", {"task_ids": ids[2:]})
        answer = await client.call_tool("kling_list_tasks", {})

    assert isinstance(answer.content[0], TextContent)
    assert answer.content[0].text.splitlines()[-1] == (
        "In all: 3 tasks made here, those of the sandbox would have cost 1.5 units "
        "(0.21 USD), 1.5 units (0.21 USD) still queued in the sandbox."
    )
    assert answer.structured_content is not None
    assert answer.structured_content["total"] == {
        "tasks": 3,
        "play_units": 1.5,
        "play_queued_units": 1.5,
        "play_usd": 0.21,
        "play_queued_usd": 0.21,
    }


async def test_a_full_page_of_the_sandbox_announces_no_tasks_made_elsewhere(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        for take in (1, 2):
            wish = {"image": picture(tmp_path), "prompt": "Zoom", "take": take}
            await client.call_tool("kling_image_to_video", wish)
        answer = await client.call_tool("kling_list_tasks", {"page_size": 2})

    assert isinstance(answer.content[0], TextContent)
    assert "elsewhere" not in answer.content[0].text
    assert "without this server" not in answer.content[0].text


@pytest.mark.parametrize("said", ["3.0", "v3", "Kling 3", "kling-v3"])
async def test_a_model_is_found_by_any_of_its_names(said: str, tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        for model in ("kling-v3", "kling-v2-6"):
            wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": model}
            await client.call_tool("kling_image_to_video", wish)
        answer = await client.call_tool("kling_list_tasks", {"model_name": said})

    assert answer.structured_content is not None
    assert [task["model_name"] for task in answer.structured_content["tasks"]] == ["kling-v3"]


async def test_a_misspelt_model_is_refused_with_the_nearest(
    house: tuple[Settings, list[str]],
) -> None:
    answer = await listed(house[0], model_name="kling-v2-5-tubro")

    assert answer.is_error
    assert isinstance(answer.content[0], TextContent)
    assert "no model is called 'kling-v2-5-tubro'" in answer.content[0].text
    assert "Use kling-v2-5-turbo." in answer.content[0].text


async def test_an_empty_list_says_what_there_is_without_each_filter(
    house: tuple[Settings, list[str]],
) -> None:
    answer = await listed(house[0], text="harbour", since="2 days")

    assert isinstance(answer.content[0], TextContent)
    assert "None matches; without text 3 tasks." in answer.content[0].text


async def test_a_path_finds_the_tasks_of_that_file_alone(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        paths = [picture(tmp_path, f"{folder}/cup.png") for folder in ("a", "b")]
        made = {}
        for path in paths:
            wish = {"image": path, "prompt": f"From {path}"}
            receipt = await client.call_tool("kling_image_to_video", wish)
            assert receipt.structured_content is not None
            made[path] = receipt.structured_content["task_id"]
        found = await client.call_tool("kling_list_tasks", {"picture": paths[1]})
        by_url = await client.call_tool("kling_list_tasks", {"picture": f"file://{paths[0]}"})
        both = await client.call_tool("kling_list_tasks", {"picture": "cup.png"})

    for answer, path in ((found, paths[1]), (by_url, paths[0])):
        assert answer.structured_content is not None
        (task,) = answer.structured_content["tasks"]
        assert task["picture"] == "cup.png"
        assert task["task_id"] == made[path]
    assert both.structured_content is not None
    assert len(both.structured_content["tasks"]) == 2


async def test_a_running_task_is_listed_as_running(tmp_path: Path) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, sandbox_render_s=600))) as client:
        await client.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "Zoom"}
        )
        answer = await client.call_tool("kling_list_tasks", {"status": "in progress"})

    assert answer.structured_content is not None
    assert len(answer.structured_content["tasks"]) == 1


async def test_a_request_that_was_refused_again_and_again_is_one_row(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path)
    ledger = open_ledger(settings)
    for prompt in ("One", "One", "One", "Two"):
        row, _ = await ledger.reserve(
            NewRow(
                provider="sandbox",
                base_url=SANDBOX_URL,
                product="image2video",
                digest=prompt,
                take=1,
                model_name="kling-v3",
                prompt=prompt,
                request={},
                estimate_units=1.5,
                sandbox=True,
            )
        )
        await ledger.refused(row.id, "the picture was refused")
    await ledger.close()
    answer = await listed(settings)

    assert isinstance(answer.content[0], TextContent)
    assert answer.structured_content is not None
    told = [task["next"] for task in answer.structured_content["tasks"]]
    assert sorted(told) == [
        'Never made, refused 3 times: "the picture was refused"',
        'Never made: "the picture was refused"',
    ]
    assert answer.content[0].text.count("never made cost nothing; submit it again") == 1
