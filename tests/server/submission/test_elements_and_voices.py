"""Elements and voices: listed, made once, found again, named in requests, and deleted."""

import math
import struct
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp_types import CallToolResult, ElicitResult, ImageContent
from tests.made_clips import make_clip
from tests.server.scripted import KEY, Scripted, facts, talking_to
from tests.server.serving import hurried, no_sleep, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

MIA = {"name": "Mia", "description": "A girl with red hair"}
SAMPLE = "https://example.com/grandma.mp3"


@asynccontextmanager
async def sandboxed(folder: Path, faults: str = "", **more: Any) -> AsyncIterator[Client]:
    settings = sandbox_settings(folder, sandbox_faults=faults, **more)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        yield client


def pictures(folder: Path, *sizes: tuple[int, int]) -> list[str]:
    """Several pictures, none like another."""
    wanted = sizes or ((640, 480), (480, 640))
    return [picture(folder, f"mia-{n}.png", size) for n, size in enumerate(wanted)]


def says(answer: CallToolResult) -> str:
    return str(answer.content[0].text)  # type: ignore[union-attr]


async def element(client: Client, folder: Path, **more: Any) -> CallToolResult:
    images = {} if "images" in more else {"images": pictures(folder)}
    return await client.call_tool("kling_create_element", {**MIA, **images, **more})


async def listed(client: Client, kind: str, **more: Any) -> list[dict[str, Any]]:
    answer = await client.call_tool("kling_list_assets", {"kind": kind, **more})
    assert not answer.is_error, says(answer)
    found: list[dict[str, Any]] = facts(answer)["assets"]
    return found


def voiced(folder: Path, name: str, seconds: float, loud: float = 0.4) -> str:
    """A wav file with a tone; its path."""
    path, rate = folder / name, 8_000
    values = (
        int(32_767 * loud * math.sin(2 * math.pi * 220 * n / rate))
        for n in range(int(seconds * rate))
    )
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{int(seconds * rate)}h", *values))
    return str(path)


async def test_kling_s_elements_are_listed_with_where_they_can_be_used(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        answer = await client.call_tool("kling_list_assets", {"kind": "elements"})
        voices = await listed(client, "voice", text="sailor")

    first = facts(answer)["assets"][0]
    assert (first["id"], first["name"], first["owner"]) == ("160", "Rosa", "kling")
    assert first["preview"].startswith("http")
    assert "element_list" in facts(answer)["used_in"]
    assert "Rosa (160)" in says(answer)
    assert [voice["name"] for voice in voices] == ["Old Sailor"]


async def test_a_few_elements_come_with_their_pictures(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        few = await client.call_tool("kling_list_assets", {"kind": "element", "text": "fox"})
        many = await client.call_tool("kling_list_assets", {"kind": "element"})

    shown = [part for part in few.content if isinstance(part, ImageContent)]
    assert [part.mime_type for part in shown] == ["image/jpeg"]
    assert not [part for part in many.content if isinstance(part, ImageContent)]


async def test_an_element_is_ready_at_the_end_of_the_call_and_costs_nothing(
    tmp_path: Path,
) -> None:
    async with sandboxed(tmp_path) as client:
        made = await element(client, tmp_path, tags=["character"])
        again = await element(client, tmp_path)
        (mia,) = await listed(client, "element", text="mia")

    assert not made.is_error, says(made)
    assert facts(made)["status"] == "succeed"
    assert facts(made)["units"] == 0
    assert facts(made)["id"] == mia["id"] == facts(again)["id"]
    assert mia["owner"] == "own"
    assert mia["tags"] == ["Character"]
    assert facts(again)["repeated"] is True
    assert "Already made" in says(again)


async def test_an_element_is_named_in_a_video(tmp_path: Path) -> None:
    asked = {
        "image": picture(tmp_path),
        "prompt": "<<<element_1>>> runs",
        "model_name": "kling-v3",
    }
    async with sandboxed(tmp_path) as client:
        made = facts(await element(client, tmp_path))
        named = await client.call_tool("kling_image_to_video", {**asked, "element_list": ["Mia"]})
        by_id = await client.call_tool(
            "kling_image_to_video", {**asked, "element_list": [made["id"]]}
        )
        kling_s = await client.call_tool(
            "kling_image_to_video", {**asked, "element_list": ["Rosa"], "dry_run": "full"}
        )

    assert not named.is_error, says(named)
    assert facts(named)["task_id"] == facts(by_id)["task_id"]
    assert facts(by_id)["repeated"] is True
    assert facts(kling_s)["request"]["body"]["element_list"] == [{"element_id": 160}]
    assert facts(kling_s)["uses"] == ["element Rosa (160)"]
    assert facts(named)["uses"] == [f"element Mia ({made['id']})"]


async def test_an_unknown_name_is_refused_and_an_unknown_id_is_warned_of(tmp_path: Path) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Run", "model_name": "kling-v3"}
    async with sandboxed(tmp_path) as client:
        named = await client.call_tool("kling_image_to_video", {**asked, "element_list": ["Rosi"]})
        by_id = await client.call_tool(
            "kling_image_to_video", {**asked, "element_list": ["999"], "dry_run": True}
        )

    fault = facts(named)["faults"][0]
    assert (fault["field"], fault["rule"]) == ("element_list[0]", "element_name_unknown")
    assert "Rosa" in fault["choices"]
    assert any("no list of elements knows the id 999" in w for w in facts(by_id)["warnings"])


async def test_a_name_that_stands_for_several_is_answered_with_their_ids(tmp_path: Path) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Run", "model_name": "kling-v3"}
    async with sandboxed(tmp_path) as client:
        one = facts(await element(client, tmp_path))
        other = pictures(tmp_path, (640, 480), (500, 500))
        two = facts(await element(client, tmp_path, images=other))
        answer = await client.call_tool("kling_image_to_video", {**asked, "element_list": ["Mia"]})

    fault = facts(answer)["faults"][0]
    assert one["id"] != two["id"]
    assert fault["rule"] == "element_ambiguous"
    assert one["id"] in fault["use"]
    assert two["id"] in fault["use"]


async def test_a_deleted_element_is_refused_and_can_be_made_anew(tmp_path: Path) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Run", "model_name": "kling-v3"}
    async with sandboxed(tmp_path) as client:
        made = facts(await element(client, tmp_path))
        wish = {"kind": "element", "id": "Mia"}
        cannot_ask = await client.call_tool("kling_delete_asset", wish)
        gone = await client.call_tool("kling_delete_asset", {**wish, "confirm": True})
        twice = await client.call_tool(
            "kling_delete_asset", {"kind": "element", "id": made["id"], "confirm": True}
        )
        used = await client.call_tool(
            "kling_image_to_video", {**asked, "element_list": [made["id"]]}
        )
        anew = facts(await element(client, tmp_path))
        task = await client.call_tool("kling_get_task", {"task_id": made["task_id"]})

    assert "confirm true" in says(cannot_ask)
    assert facts(gone)["deleted"] is True
    assert "already" not in facts(gone)
    assert facts(twice)["already"] is True
    assert facts(used)["faults"][0]["rule"] == "element_deleted"
    assert anew["id"] != made["id"]
    assert "repeated" not in anew
    assert "is deleted" in says(task)


async def test_a_video_that_was_made_with_a_deleted_element_is_found_again(tmp_path: Path) -> None:
    asked = {"image": picture(tmp_path), "prompt": "Run", "model_name": "kling-v3"}
    async with sandboxed(tmp_path) as client:
        mia = facts(await element(client, tmp_path))["id"]
        wish = {**asked, "element_list": [mia]}
        made = facts(await client.call_tool("kling_image_to_video", wish))
        await client.call_tool(
            "kling_delete_asset", {"kind": "element", "id": mia, "confirm": True}
        )
        again = facts(await client.call_tool("kling_image_to_video", wish))
        other = facts(await client.call_tool("kling_image_to_video", {**wish, "take": 2}))

    assert (again["task_id"], again["repeated"]) == (made["task_id"], True)
    assert other["faults"][0]["rule"] == "element_deleted"


@pytest.mark.parametrize("agrees", [True, False])
async def test_the_person_is_asked_before_something_is_deleted(
    tmp_path: Path, agrees: bool
) -> None:
    asked: list[str] = []

    async def answer(_: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"agree": agrees})

    server = build_server(sandbox_settings(tmp_path), sleep=no_sleep)
    async with Client(server, elicitation_callback=answer) as client:
        await element(client, tmp_path)
        await client.call_tool("kling_delete_asset", {"kind": "element", "id": "Mia"})
        left = await listed(client, "element", text="mia")

    assert "Mia" in asked[0]
    assert bool(left) is not agrees


async def test_what_is_kling_s_cannot_be_deleted(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        answer = await client.call_tool(
            "kling_delete_asset", {"kind": "element", "id": "160", "confirm": True}
        )
        unknown = await client.call_tool(
            "kling_delete_asset", {"kind": "voice", "id": "nobody", "confirm": True}
        )

    assert facts(answer)["faults"][0]["rule"] == "element_of_kling"
    assert facts(unknown)["faults"][0]["rule"] == "voice_unknown"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": ""}, "missing"),
        ({"name": "n" * 21}, "string_too_long"),
        ({"description": "d" * 101}, "string_too_long"),
        ({"images": []}, "too_few_pictures"),
        ({"images": ["a.png"]}, "too_few_pictures"),
        ({"images": ["a.png"] * 5}, "too_long"),
        ({"video": "https://example.com/a.mp4"}, "pictures_or_video"),
        ({"tags": ["hero"]}, "tag_unknown"),
        ({"voice": "Nobody"}, "voice_name_unknown"),
        ({"images": [], "video": "mia.mp4"}, "path_missing"),
    ],
)
async def test_an_element_is_refused_with_advice_and_nothing_is_sent(
    tmp_path: Path, change: dict[str, Any], rule: str
) -> None:
    async with sandboxed(tmp_path) as client:
        answer = await element(client, tmp_path, **change)
        tasks = facts(await client.call_tool("kling_list_tasks", {}))["tasks"]

    assert answer.is_error
    assert rule in {fault["rule"] for fault in facts(answer)["faults"]}
    assert tasks == []


async def test_the_pictures_of_an_element_are_checked_like_all_pictures(tmp_path: Path) -> None:
    small = pictures(tmp_path, (640, 480), (299, 400))
    async with sandboxed(tmp_path, fix_images=False) as client:
        answer = await element(client, tmp_path, images=small)
    async with sandboxed(tmp_path) as client:
        mended = await element(client, tmp_path, images=small)

    fault = facts(answer)["faults"][0]
    assert (fault["field"], fault["rule"]) == ("images[1]", "image_side")
    assert not mended.is_error, says(mended)


async def test_a_dry_run_tells_the_faults_and_makes_nothing(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        good = facts(await element(client, tmp_path, dry_run=True))
        bad = facts(await element(client, tmp_path, dry_run=True, tags=["hero"]))
        own = await listed(client, "element", text="mia")

    assert "task_id" not in good
    assert "faults" not in good
    assert bad["faults"][0]["rule"] == "tag_unknown"
    assert own == []


async def test_a_voice_is_made_once_of_an_address_and_costs_what_it_says(tmp_path: Path) -> None:
    wish = {"name": "Grandma", "sample": SAMPLE}
    async with sandboxed(tmp_path) as client:
        made = await client.call_tool("kling_create_voice", wish)
        again = await client.call_tool("kling_create_voice", wish)
        dear = await client.call_tool(
            "kling_create_voice", {"name": "Grandpa", "sample": SAMPLE, "max_units": 0.01}
        )
        mia = facts(await element(client, tmp_path, voice="grandma"))
        (shown,) = await listed(client, "element", text="mia")

    assert not made.is_error, says(made)
    assert facts(made)["units"] == 0.05
    assert "0.05 units (sandbox: nothing is charged)" in says(made)
    assert facts(again)["repeated"] is True
    assert dear.is_error
    assert "This voice would cost" in says(dear)
    assert mia["status"] == "succeed"
    assert shown["voice"] == "Grandma"


async def test_the_cap_of_a_day_counts_voices(tmp_path: Path) -> None:
    async with sandboxed(tmp_path, max_units_per_day=0.07) as client:
        first = await client.call_tool("kling_create_voice", {"name": "A", "sample": SAMPLE})
        second = await client.call_tool("kling_create_voice", {"name": "B", "sample": SAMPLE})

    assert not first.is_error
    assert "this voice would cost 0.05" in says(second)


@pytest.mark.parametrize(
    ("seconds", "loud", "rule"),
    [
        (3, 0.4, "sound_length"),
        (40, 0.4, "sound_length"),
        (8, 0.0, "sound_silent"),
    ],
)
async def test_a_sample_on_this_disk_is_checked_before_it_is_sent(
    tmp_path: Path, seconds: float, loud: float, rule: str
) -> None:
    sample = voiced(tmp_path, "sample.wav", seconds, loud)
    async with sandboxed(tmp_path) as client:
        answer = await client.call_tool("kling_create_voice", {"name": "A", "sample": sample})

    (fault,) = facts(answer)["faults"]
    assert fault["rule"] == rule
    assert rule != "sound_length" or f"lasts {seconds} s" in fault["message"]


async def test_a_voice_is_made_once_of_a_file_on_this_disk(tmp_path: Path) -> None:
    sample = voiced(tmp_path, "sample.wav", 8, 0.4)
    async with sandboxed(tmp_path) as client:
        made = await client.call_tool("kling_create_voice", {"name": "A", "sample": sample})
        again = await client.call_tool("kling_create_voice", {"name": "A", "sample": sample})

    assert not made.is_error, says(made)
    assert facts(again)["repeated"] is True
    assert facts(again)["task_id"] == facts(made)["task_id"]


async def test_kling_fetches_a_sample_so_a_local_one_is_refused_with_every_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = voiced(tmp_path, "sample.wav", 8, 0.4)
    kling = Scripted(lambda request: httpx.Response(500))
    async with talking_to(kling, tmp_path, monkeypatch) as client:
        answer = await client.call_tool("kling_create_voice", {"name": "A", "sample": sample})

    assert facts(answer)["charged"] == "no"
    assert [fault["rule"] for fault in facts(answer)["faults"]] == ["address_missing"]
    assert "an https URL of it" in says(answer)


async def test_a_text_file_is_no_sample(tmp_path: Path) -> None:
    (tmp_path / "sample.mp3").write_text("no sound at all")
    async with sandboxed(tmp_path) as client:
        answer = await client.call_tool(
            "kling_create_voice", {"name": "A", "sample": str(tmp_path / "sample.mp3")}
        )
        absent = await client.call_tool(
            "kling_create_voice", {"name": "A", "sample": str(tmp_path / "none.mp3")}
        )

    assert facts(answer)["faults"][0]["rule"] == "sound_type"
    assert absent.is_error
    assert "Use an https URL, a path" in says(absent)


async def test_a_video_of_ours_gives_a_voice_and_an_element(tmp_path: Path) -> None:
    spoken = {
        "image": picture(tmp_path),
        "prompt": 'She says "Hello"',
        "model_name": "kling-v2-6",
        "mode": "pro",
        "sound": "on",
    }
    silent = {"image": picture(tmp_path), "prompt": "Run"}
    async with sandboxed(tmp_path) as client:
        ids = []
        for asked in (spoken, silent):
            made = facts(await client.call_tool("kling_image_to_video", asked))
            ids.append(made["task_id"])
        await client.call_tool("kling_wait_for_tasks", {"task_ids": ids})
        voice = await client.call_tool("kling_create_voice", {"name": "Her", "sample": ids[0]})
        mute = await client.call_tool("kling_create_voice", {"name": "It", "sample": ids[1]})
        mia = await client.call_tool("kling_create_element", {**MIA, "video": ids[1]})
        (shown,) = await listed(client, "element", text="mia")

    assert not voice.is_error, says(voice)
    assert facts(mute)["faults"][0]["rule"] == "sample_of_model"
    assert not mia.is_error, says(mia)
    assert shown["of_video"] is True


@virtual_time
@pytest.mark.parametrize(
    "fault",
    [
        "drop-after-accept",
        "html-502-after-accept",
        "empty-body-after-accept",
        "no-id",
        "drop-before-accept",
        "html-502",
        "internal",
        "concurrency",
        "rate-limit@creates",
        "token-expired@creates",
    ],
)
async def test_whatever_breaks_an_element_is_made_once(tmp_path: Path, fault: str) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults=f"{fault}:1")
    async with Client(build_server(settings, **hurried())) as client:
        await element(client, tmp_path)
        again = await element(client, tmp_path)
        own = await listed(client, "element", text="mia")

    assert not again.is_error, says(again)
    assert [mia["id"] for mia in own] == [facts(again)["id"]]


@virtual_time
async def test_a_server_that_ended_before_it_heard_of_an_element_leaves_it_to_the_next(
    tmp_path: Path,
) -> None:
    deaf = sandbox_settings(tmp_path, sandbox_faults="drop-after-accept:1,maintenance@queries")
    async with Client(build_server(deaf, **hurried())) as client:
        lost = await element(client, tmp_path)
    async with Client(build_server(sandbox_settings(tmp_path), **hurried())) as client:
        found = await element(client, tmp_path)
        own = await listed(client, "element", text="mia")

    assert facts(lost)["charged"] == "unknown"
    assert not found.is_error, says(found)
    assert [mia["id"] for mia in own] == [facts(found)["id"]]


@virtual_time
async def test_a_server_that_ended_while_an_element_was_made_finds_it_again(
    tmp_path: Path,
) -> None:
    settings = sandbox_settings(tmp_path, sandbox_render_s=600)
    async with Client(build_server(settings, **hurried())) as client:
        made = facts(await element(client, tmp_path))
    async with Client(build_server(settings, **hurried())) as client:
        again = facts(await element(client, tmp_path))

    assert made["status"] in ("submitted", "processing")
    assert again["repeated"] is True
    assert again["task_id"] == made["task_id"]


async def test_the_task_of_an_element_is_shown_as_what_it_made(tmp_path: Path) -> None:
    async with sandboxed(tmp_path, save=True) as client:
        made = facts(await element(client, tmp_path))
        task = facts(await client.call_tool("kling_get_task", {"task_id": made["task_id"]}))
        page = facts(await client.call_tool("kling_list_tasks", {}))
        saved = await client.call_tool("kling_save_video", {"task_id": made["task_id"]})
        another = await client.call_tool(
            "kling_image_to_video", {"another_take_of": made["task_id"]}
        )

    assert task["asset_id"] == made["id"]
    assert "element_list" in task["next"]
    assert len(page["tasks"]) == 1
    assert saved.is_error
    assert "makes no video, but the element Mia" in says(saved)
    assert "element_list" in says(saved)
    assert "kling_create_element" in says(another)


async def test_a_gateway_without_elements_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sandbox_settings(
        tmp_path, provider="cometapi", cometapi_api_key=KEY, cometapi_base_url="sandbox"
    )
    async with Client(build_server(settings, **hurried())) as client:
        answers = [
            await client.call_tool("kling_list_assets", {"kind": "element"}),
            await element(client, tmp_path),
            await client.call_tool(
                "kling_delete_asset", {"kind": "voice", "id": "x", "confirm": True}
            ),
        ]
        named = await client.call_tool(
            "kling_image_to_video",
            {
                "image": picture(tmp_path),
                "prompt": "Run",
                "model_name": "kling-v3",
                "element_list": ["Mia"],
            },
        )

    for answer in answers:
        assert "passes no elements and voices on" in says(answer)
    assert facts(named)["faults"][0]["rule"] == "element_unread"


def library(request: httpx.Request) -> httpx.Response:
    """A provider with empty lists, which refuses every create."""
    if request.method == "POST":
        return httpx.Response(400, json={"code": 1201, "message": "refused"})
    return httpx.Response(200, json={"code": 0, "data": []})


async def test_lists_are_read_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        return library(request)

    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        for _ in range(3):
            await listed(client, "voice")

    assert asked == ["GET /v1/general/custom-voices", "GET /v1/general/presets-voices"]


async def test_an_element_goes_out_as_on_kling_s_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            sent.append(json.loads(request.read()))
        return library(request)

    urls = [f"https://example.com/{n}.png" for n in range(3)]
    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        refused = await client.call_tool(
            "kling_create_element", {**MIA, "images": urls, "tags": ["animal"]}
        )

    (body,) = sent
    assert body.pop("external_task_id").startswith("kmcp-")
    assert body == {
        "element_name": "Mia",
        "element_description": "A girl with red hair",
        "reference_type": "image_refer",
        "element_image_list": {
            "frontal_image": urls[0],
            "refer_images": [{"image_url": url} for url in urls[1:]],
        },
        "tag_list": [{"tag_id": "o_103"}],
    }
    assert refused.is_error


async def test_a_read_only_server_only_lists(tmp_path: Path) -> None:
    async with sandboxed(tmp_path, read_only=True) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
    async with sandboxed(tmp_path, tools="assets") as client:
        own = {tool.name for tool in (await client.list_tools()).tools}

    assert "kling_list_assets" in names
    assert names.isdisjoint({"kling_create_element", "kling_create_voice", "kling_delete_asset"})
    assert own - names == {"kling_create_element", "kling_create_voice", "kling_delete_asset"}


async def test_the_old_signed_keys_reach_elements_too(tmp_path: Path) -> None:
    settings = sandbox_settings(
        tmp_path,
        provider="kling",
        kling_access_key="access-key-of-a-test",
        kling_secret_key="secret-key-of-a-test-that-is-long-enough",
        kling_base_url="sandbox",
    )
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        made = await element(client, tmp_path)
        found = await listed(client, "element", text="mia")

    assert not made.is_error, says(made)
    assert found[0]["id"] == facts(made)["id"]


@pytest.mark.parametrize("wish", ["Old Sailor", "no such voice"])
@pytest.mark.parametrize(
    "more",
    [
        {"provider": "anyfast", "anyfast_api_key": KEY, "anyfast_base_url": "sandbox"},
        {"sandbox_faults": "html-502@queries"},
    ],
    ids=["a gateway", "an outage"],
)
@pytest.mark.usefixtures("no_pauses")
async def test_a_voice_by_name_is_refused_where_no_list_is_read(
    tmp_path: Path, wish: str, more: dict[str, Any]
) -> None:
    settings = sandbox_settings(tmp_path, **more)
    asked = {
        "image": picture(tmp_path),
        "prompt": 'the man<<<voice_1>>> says: "Hello"',
        "model_name": "kling-v2-6",
        "mode": "pro",
        "sound": "on",
    }
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        named = await client.call_tool("kling_image_to_video", {**asked, "voice_list": [wish]})
        by_id = facts(
            await client.call_tool(
                "kling_image_to_video",
                {**asked, "voice_list": ["829824295735410756"], "dry_run": True},
            )
        )

    fault = facts(named)["faults"][0]
    assert (fault["field"], fault["rule"]) == ("voice_list[0]", "voice_unread")
    assert "its id" in fault["use"]
    assert "would_pass" not in facts(named)
    assert "faults" not in by_id
    assert any("could not be checked that these voices exist" in w for w in by_id["warnings"])


def spoken(folder: Path, voice: str, **more: Any) -> dict[str, Any]:
    """A request in which a voice speaks."""
    return {
        "image": picture(folder),
        "prompt": 'the man<<<voice_1>>> says: "Hello"',
        "model_name": "kling-v2-6",
        "mode": "pro",
        "sound": "on",
        "voice_list": [voice],
        **more,
    }


async def test_a_deleted_voice_is_gone_from_lists_and_names(tmp_path: Path) -> None:
    wish = {"name": "Grandma", "sample": SAMPLE}
    dry = spoken(tmp_path, "Grandma", dry_run=True)
    async with sandboxed(tmp_path) as client:
        first = facts(await client.call_tool("kling_create_voice", wish))
        await client.call_tool(
            "kling_delete_asset", {"kind": "voice", "id": "Grandma", "confirm": True}
        )
        left = await listed(client, "voice", text="Grandma")
        gone = facts(await client.call_tool("kling_image_to_video", dry))
        second = facts(await client.call_tool("kling_create_voice", wish))
    async with sandboxed(tmp_path) as client:
        again = await listed(client, "voice", text="Grandma")
        named = facts(await client.call_tool("kling_image_to_video", dry))

    assert left == []
    assert gone["faults"][0]["rule"] == "voice_deleted"
    assert first["id"] != second["id"]
    assert [voice["id"] for voice in again] == [second["id"]]
    assert named["uses"] == [f"voice Grandma ({second['id']})"]
    assert "faults" not in named


async def test_a_voice_that_the_provider_calls_deleted_is_deleted_here_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"voice_id": "829824295735410756", "voice_name": "Uncle", "owned_by": "me"}
    made = {"task_id": "1", "task_status": "succeed", "task_result": {"voices": [mine]}}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            said = "Voice 829824295735410756 already be deleted"
            return httpx.Response(400, json={"code": 1201, "message": said})
        own = request.url.path.endswith("custom-voices")
        return httpx.Response(200, json={"code": 0, "data": [made] if own else []})

    wish = spoken(tmp_path, "Uncle")
    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        refused = await client.call_tool("kling_image_to_video", wish)
        left = await listed(client, "voice")
        again = facts(await client.call_tool("kling_image_to_video", wish))

    assert "is deleted at" in says(refused)
    assert "Use another one of kling_list_assets, or make it anew" in says(refused)
    assert left == []
    assert again["faults"][0]["rule"] == "voice_deleted"


RUN = {"prompt": "<<<element_1>>> runs", "model_name": "kling-v3"}


async def test_a_video_by_an_element_s_name_is_found_while_it_is_deleted_and_told_of_later(
    tmp_path: Path,
) -> None:
    asked = {**RUN, "image": picture(tmp_path), "element_list": ["Mia"]}
    async with sandboxed(tmp_path) as client:
        old = facts(await element(client, tmp_path))["id"]
        made = facts(await client.call_tool("kling_image_to_video", asked))
        await client.call_tool(
            "kling_delete_asset", {"kind": "element", "id": "Mia", "confirm": True}
        )
        again = facts(await client.call_tool("kling_image_to_video", asked))
        new = facts(await element(client, tmp_path))["id"]
        dry = facts(await client.call_tool("kling_image_to_video", {**asked, "dry_run": True}))
        take = facts(
            await client.call_tool(
                "kling_image_to_video", {"another_take_of": made["task_id"], "dry_run": True}
            )
        )

    assert (again["task_id"], again["repeated"]) == (made["task_id"], True)
    (warning,) = (w for w in dry["warnings"] if w.startswith("element_list"))
    assert f"made with the element Mia ({old}), deleted since ({made['task_id']})" in warning
    assert take["faults"][0]["use"] == f'"{new}", which is called Mia now'
    assert take["would_pass"]["change"]["element_list"] == [new]


async def test_a_misspelt_name_passes_under_the_near_one_with_all_other_faults(
    tmp_path: Path,
) -> None:
    asked = {**RUN, "image": picture(tmp_path), "element_list": ["Rosi"], "duration": 99}
    async with sandboxed(tmp_path) as client:
        refused = facts(await client.call_tool("kling_image_to_video", asked))
        passes = {**asked, **refused["would_pass"]["change"], "dry_run": True}
        mended = facts(await client.call_tool("kling_image_to_video", passes))

    assert {fault["field"] for fault in refused["faults"]} == {"duration", "element_list[0]"}
    assert refused["would_pass"]["change"]["element_list"] == ["Rosa"]
    assert "faults" not in mended
    assert mended["uses"] == ["element Rosa (160)"]


@pytest.mark.parametrize("wish", [["Zyxwv"], ["Rosa", 160], ["Rosa", "rosa"]])
async def test_nobody_is_asked_to_do_without_an_element_that_a_name_does_not_find(
    tmp_path: Path, wish: list[Any]
) -> None:
    asked = {**RUN, "image": picture(tmp_path), "element_list": wish}
    async with sandboxed(tmp_path) as client:
        answer = await client.call_tool("kling_image_to_video", asked)

    assert answer.is_error
    assert "would_pass" not in facts(answer)
    assert "without element_list" not in says(answer)
    assert facts(answer)["faults"][0]["use"]


async def test_a_prompt_without_its_elements_names_none(tmp_path: Path) -> None:
    asked = {**RUN, "image": picture(tmp_path), "element_list": ["Rosa"]}
    spoken_too = {**asked, "voice_list": ["Old Sailor"], "sound": "on"}
    spoken_too["prompt"] = 'Look: <<<element_1>>> runs, the man<<<voice_1>>> says: "Go"'
    async with sandboxed(tmp_path) as client:
        refused = facts(await client.call_tool("kling_image_to_video", spoken_too))

    change = refused["would_pass"]["change"]
    gone = [name for name in ("element", "voice") if change.get(f"{name}_list") == ""]
    assert gone
    assert not [name for name in gone if name in change["prompt"]]


async def test_a_name_of_digits_is_refused_and_receipts_name_ids(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        digits = facts(await element(client, tmp_path, name="160", dry_run=True))
        made = facts(await element(client, tmp_path))

    assert [fault["rule"] for fault in digits["faults"]] == ["name_of_digits"]
    assert made["next"].startswith(f'Put "{made["id"]}" (Mia) in element_list')


async def test_a_voice_may_be_given_as_a_number(tmp_path: Path) -> None:
    dry = spoken(tmp_path, "", voice_list=[829824295735410756], dry_run="full")
    async with sandboxed(tmp_path) as client:
        answer = facts(await client.call_tool("kling_image_to_video", dry))

    body = answer["request"]["body"]
    assert body["voice_list"] == [{"voice_id": "829824295735410756"}]


async def test_the_tool_that_takes_elements_is_named_by_the_one_that_does_not(
    tmp_path: Path,
) -> None:
    async with sandboxed(tmp_path) as client:
        answer = facts(
            await client.call_tool(
                "kling_text_to_video", {"prompt": "A fox runs", "element_list": ["Rosa"]}
            )
        )

    (fault,) = answer["faults"]
    assert fault["field"] == "element_list"
    assert fault["use"].startswith("kling_multi_image_to_video")


async def test_elements_and_voices_are_no_videos_of_the_account(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        await element(client, tmp_path)
        await client.call_tool("kling_create_voice", {"name": "Grandma", "sample": SAMPLE})
        answer = await client.call_tool("kling_account", {})

    today = facts(answer)["played"][0]
    assert (today["videos"], today["assets"]) == (0, 2)
    assert "Today: 2 elements and voices, 0.05 units" in says(answer)


@pytest.mark.parametrize(
    ("more", "used_in"),
    [
        ({"tools": "assets"}, None),
        ({"read_only": True}, None),
        ({"tools": "assets,kling_edit_video"}, "Or element_list of kling_edit_video."),
    ],
)
async def test_a_list_names_only_tools_that_are_here(
    tmp_path: Path, more: dict[str, Any], used_in: str | None
) -> None:
    async with sandboxed(tmp_path, **more) as client:
        offered = {tool.name for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("kling_list_assets", {"kind": "element", "text": "Rosa"})

    named = {word.strip(".,") for word in says(answer).split() if word.startswith("kling_")}
    assert named <= offered
    assert (facts(answer)["used_in"] or None) == used_in
    if not used_in:
        assert "This server offers no tool that takes them." in says(answer)


async def test_elements_are_listed_as_tasks_by_their_plain_name(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        made = facts(await element(client, tmp_path))
        await client.call_tool("kling_create_voice", {"name": "Grandma", "sample": SAMPLE})
        found = facts(await client.call_tool("kling_list_tasks", {"product": "Elements"}))

    assert [row["task_id"] for row in found["tasks"]] == [made["task_id"]]


async def test_a_model_of_videos_is_answered_with_one_that_makes_pictures(tmp_path: Path) -> None:
    asked = {"prompt": "A fox", "model_name": "kling-v3-turbo"}
    async with sandboxed(tmp_path, tools="images") as client:
        refused = facts(await client.call_tool("kling_generate_image", asked))
        passes = {**asked, **refused["would_pass"]["change"], "dry_run": True}
        mended = facts(await client.call_tool("kling_generate_image", passes))

    assert "faults" not in mended


async def test_names_that_are_like_a_wrong_one_are_called_the_nearest(tmp_path: Path) -> None:
    async with sandboxed(tmp_path) as client:
        assert not (await element(client, tmp_path, name="Foxy")).is_error
        wish = {"prompt": "They meet", "dry_run": True}
        tool = "kling_multi_image_to_video"
        near = await client.call_tool(tool, wish | {"element_list": ["Fo"]})
        far = await client.call_tool(tool, wish | {"element_list": ["Zzzzzz"]})
        gone = {"kind": "element", "id": "Fox1", "confirm": True}
        own = await client.call_tool("kling_delete_asset", gone)

    assert "Nearest: " in says(near)
    assert "Nearest" not in says(far)
    assert says(own).split("Nearest: ")[1].startswith("Foxy.")


@pytest.mark.parametrize("ending", ["ogg", "FLAC", "m4a"])
async def test_a_sample_at_an_address_that_ends_in_another_type_is_refused(
    tmp_path: Path, ending: str
) -> None:
    async with sandboxed(tmp_path) as client:
        wish = {"name": "Her", "sample": f"https://host.example/a.{ending}?x=1"}
        answer = await client.call_tool("kling_create_voice", wish)

    assert answer.is_error
    (fault,) = facts(answer)["faults"]
    assert (fault["field"], fault["use"]) == ("sample", "an mp3, wav, mp4 or mov")


async def test_the_first_of_too_many_elements_is_suggested_only_where_it_is_there(
    tmp_path: Path,
) -> None:
    clip = str(make_clip(tmp_path / "clip.mp4", frames=120, size=(1280, 720)))
    wish = {"image": picture(tmp_path), "video": clip, "dry_run": True}
    async with sandboxed(tmp_path) as client:
        lost = await client.call_tool("kling_motion_control", {**wish, "element_list": ["a", "b"]})
        there = await client.call_tool(
            "kling_motion_control", {**wish, "element_list": ["Rosa", "b"]}
        )

    assert "would_pass" not in facts(lost)
    assert "no element is called 'a'" in says(lost)
    assert facts(there)["would_pass"]["change"]["element_list"] == ["Rosa"]
