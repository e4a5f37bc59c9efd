"""A face speaks a sound: priced by the sound's length, sent once, and seen in the sandbox."""

import base64
import json
import math
import sqlite3
import wave
from array import array
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from mcp import Client
from tests.server.scripted import Scripted, facts, is_create, talking_to, task, words
from tests.server.serving import SIDE_PX, hurried, picture, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

TOOL = "kling_talking_photo"
URL = "https://host.example/speech.mp3"
RATE = 8000


@cache
def beep(quiet: bool) -> bytes:
    """A second whose first half is a tone."""
    heard = 0 if quiet else RATE // 2
    tone = array("h", (round(20_000 * math.sin(n * 0.35)) for n in range(heard)))
    return tone.tobytes().ljust(2 * RATE, b"\0")


def speech(folder: Path, seconds: float = 4, name: str = "speech.wav", quiet: bool = False) -> str:
    """A tone that is heard in each first half of a second, or never; its path."""
    samples = beep(quiet) * math.ceil(seconds)
    path = folder / name
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples[: 2 * round(RATE * seconds)])
    return str(path)


@asynccontextmanager
async def served(folder: Path, **more: Any) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(folder, **more), **hurried())) as client:
        yield client


async def made(client: Client, **wish: Any) -> dict[str, Any]:
    result = await client.call_tool(TOOL, wish)
    assert not result.is_error, words(result)
    return facts(result)


async def saved(client: Client, task_id: str) -> dict[str, Any]:
    result = await client.call_tool("kling_save_video", {"task_id": task_id})
    assert not result.is_error, words(result)
    return facts(result)


def mouths_and_sounds(path: str) -> tuple[list[int], list[float]]:
    """How many points of each frame are the dark red of an open mouth, and how loud it is then."""
    mouths = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            small = frame.reformat(width=64, height=64, format="rgb24")
            line, plane = small.planes[0].line_size, bytes(small.planes[0])
            points = (plane[y * line + 3 * x :][:3] for y in range(56) for x in range(64))
            mouths.append(sum(r < 110 and g < 60 and b < 70 and r > g + 25 for r, g, b in points))
    loud = [0.0] * (len(mouths) + 2)
    with av.open(path) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        heard = array("f")
        for sound in container.decode(audio=0):
            for part in resampler.resample(sound):
                heard.extend(array("f", bytes(part.planes[0])[: 4 * part.samples]))
    for place, value in enumerate(heard):
        number = min(place * 24 // RATE, len(loud) - 1)
        loud[number] = max(loud[number], abs(value))
    return mouths, loud[: len(mouths)]


def white(folder: Path) -> str:
    """A plain white picture, in which nothing but a drawn mouth is red; its path."""
    from PIL import Image

    path = folder / "face.png"
    Image.new("RGB", (400, 500), "white").save(path)
    return str(path)


async def test_the_mouth_opens_while_the_sound_is_heard_and_the_video_carries_the_sound(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, sandbox_side_px=SIDE_PX) as client:
        receipt = await made(client, image=white(tmp_path), sound_file=speech(tmp_path))
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        file = await saved(client, receipt["task_id"])

    assert (file["duration_s"], file["audio"]) == (4.0, True)
    assert file["width"] / file["height"] == pytest.approx(400 / 500, abs=0.02)
    mouths, loud = mouths_and_sounds(file["path"])
    assert len(mouths) == 96
    for second in range(4):
        speaks, rests = 24 * second + 6, 24 * second + 18
        assert mouths[speaks] > 20 > 3 >= mouths[rests], second
        assert loud[speaks] > 0.3 > 0.05 > loud[rests], second


async def test_it_costs_what_the_length_of_the_sound_costs(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "sound_file": speech(tmp_path, 4.5), "dry_run": "full"}
        dry = await made(client, **wish, prompt="She is glad")
        pro = await made(client, **wish, mode="pro")

    assert (dry["duration_s"], dry["estimate_units"]) == (5, 2.0)
    assert pro["estimate_units"] == 4.0
    body = dry["request"]["body"]
    assert {name: body[name] for name in body if name not in ("image", "sound_file")} == {
        "prompt": "She is glad",
        "mode": "std",
        "external_task_id": "<made from the ledger's row>",
    }
    assert dry["pictures"][1] == "sound_file: speech.wav, 4.5 s"
    assert not (tmp_path / "home" / "sandbox").exists()


async def test_it_is_charged_as_it_was_priced(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        receipt = await made(client, image=picture(tmp_path), sound_file=speech(tmp_path, 2.5))
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        ended = facts(await client.call_tool("kling_get_task", {"task_id": receipt["task_id"]}))

    assert (ended["status"], ended["units"]) == ("succeed", receipt["estimate_units"])
    assert ended["units"] == pytest.approx(1.2)


async def test_a_sound_of_unknown_length_is_priced_and_capped_as_the_longest(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, max_units_per_task=6) as client:
        wish = {"image": picture(tmp_path)}
        refused = await client.call_tool(TOOL, wish | {"sound_file": URL})
        known = await made(client, **wish, sound_file=speech(tmp_path, 4))

    assert facts(refused)["error"] == "spend_cap_reached"
    assert "120 units" in words(refused)
    assert (known["estimate_units"], known.get("warnings", [])) == (1.6, [])


async def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_sent(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        empty = await client.call_tool(TOOL, {"prompt": "Hello!"})
        wrong = await client.call_tool(
            TOOL,
            {
                "image": speech(tmp_path, 3),
                "sound_file": picture(tmp_path),
                "duration": "5",
                "model_name": "kling-v3",
                "mode": "4k",
            },
        )
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert {f["field"] for f in facts(empty)["faults"]} == {"image", "sound_file"}
    assert "a recording, or a text in a voice" in words(empty)
    assert {f["field"] for f in facts(wrong)["faults"]} == {
        *("image", "sound_file", "duration", "model_name", "mode"),
    }
    assert facts(wrong)["charged"] == "no"
    assert listed["tasks"] == []


@pytest.mark.parametrize(
    ("seconds", "quiet", "said"),
    [
        (1.0, False, "Kling takes 2 to 300 s"),
        (301.5, False, "Kling takes 2 to 300 s"),
        (3.0, True, "speech.wav is silent"),
    ],
)
async def test_a_sound_that_kling_would_refuse_is_refused_before_it_is_paid(
    tmp_path: Path, seconds: float, quiet: bool, said: str
) -> None:
    async with served(tmp_path) as client:
        sound = speech(tmp_path, seconds, quiet=quiet)
        refused = await client.call_tool(TOOL, {"image": picture(tmp_path), "sound_file": sound})

    assert said in words(refused)
    assert facts(refused)["charged"] == "no"


async def test_the_video_of_a_task_is_no_sound(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        first = await made(client, image=picture(tmp_path), sound_file=speech(tmp_path, 2))
        video = f"kling://tasks/{first['task_id']}/video"
        refused = await client.call_tool(TOOL, {"image": picture(tmp_path), "sound_file": video})

    assert "is a video; Kling takes MP3, WAV, M4A or AAC here" in words(refused)


async def test_the_same_request_is_one_video_and_another_take_of_it_a_second(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "sound_file": speech(tmp_path, 2)}
        first = await made(client, **wish)
        same = await made(client, **wish)
        other = await made(client, another_take_of=first["task_id"])
        said = await made(client, **wish | {"sound_file": speech(tmp_path, 3, "other.wav")})

    assert (same["task_id"], same["repeated"]) == (first["task_id"], True)
    assert len({first["task_id"], other["task_id"], said["task_id"]}) == 3
    assert other["take"] == 2


async def test_kling_gets_the_sound_itself_or_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []

    def kling(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            sent.append((request.url.path, json.loads(request.content)))
        return task()

    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        wish = {"image": "https://host.example/girl.png", "mode": "pro"}
        local = speech(tmp_path, 2)
        await made(client, **wish, sound_file=local)
        await made(client, **wish, sound_file=URL, watermark_info=True)

    (path, by_bytes), (_, by_url) = sent
    assert path == "/v1/videos/avatar/image2video"
    assert base64.b64decode(by_bytes["sound_file"]) == Path(local).read_bytes()
    assert set(by_bytes) == {"image", "sound_file", "mode", "external_task_id"}
    assert by_url["sound_file"] == URL
    assert by_url["watermark_info"] == {"enabled": True}


async def test_a_gateway_without_it_names_the_provider_that_has_it(tmp_path: Path) -> None:
    async with served(
        tmp_path, provider="cometapi", cometapi_base_url="sandbox", kling_base_url="sandbox"
    ) as client:
        wish = {"image": picture(tmp_path), "sound_file": URL, "provider": "cometapi"}
        refused = await client.call_tool(TOOL, wish)

    assert "cometapi makes no video of a face" in words(refused)
    assert 'provider "kling"' in words(refused)


TEXT = "Hello there, how are you today, my friend?"
SPOKEN = {"text": TEXT, "voice_id": "Melody"}


def ordered(folder: Path) -> dict[str, int]:
    """How often the sandbox was paid for each product."""
    file = folder / "home" / "sandbox" / "sandbox.sqlite3"
    if not file.exists():
        return {}
    with closing(sqlite3.connect(file)) as db:
        return Counter(row[0] for row in db.execute("SELECT product FROM tasks"))


async def test_a_text_is_spoken_and_the_mouth_moves_with_it(tmp_path: Path) -> None:
    async with served(tmp_path, sandbox_side_px=SIDE_PX) as client:
        receipt = await made(client, image=white(tmp_path), **SPOKEN, prompt="Glad")
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        file = await saved(client, receipt["task_id"])
        ended = facts(await client.call_tool("kling_get_task", {"task_id": receipt["task_id"]}))

    assert "The text lasts 3 s." in receipt["note"]
    assert (file["duration_s"], file["audio"]) == (3.0, True)
    mouths, loud = mouths_and_sounds(file["path"])
    assert max(mouths) > 20
    assert max(loud) > 0.3
    assert (receipt["estimate_units"], ended["units"]) == (1.25, 1.2)
    assert ordered(tmp_path) == {"tts": 1, "avatar": 1}


async def test_the_price_of_a_text_is_that_of_the_longest_speech_until_it_is_spoken(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), **SPOKEN}
        dry = await made(client, **wish, dry_run="full")
        capped = await client.call_tool(TOOL, {**wish, "max_units": 2})
        assert ordered(tmp_path) == {}
        first = await made(client, **wish)
        after = await made(client, another_take_of=first["task_id"], dry_run=True)
        other = await made(client, another_take_of=first["task_id"], mode="pro")

    assert dry["estimate_units"] == 2.85
    assert "0.05 for the speech. The rest is for 7 s, the longest; such" in dry["note"]
    assert "often lasts 3 s." in dry["note"]
    assert dry["request"]["body"]["audio_id"] == "<id of the speech>"
    assert facts(capped)["error"] == "spend_cap_reached"
    assert first["estimate_units"] == 1.25
    assert after["estimate_units"] == 1.2
    assert other["estimate_units"] == 2.4
    assert ordered(tmp_path) == {"tts": 1, "avatar": 2}


async def test_a_speech_is_one_for_a_photo_and_for_a_video(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        await made(client, image=picture(tmp_path), **SPOKEN)
        dubbed = await client.call_tool(
            "kling_lip_sync", {"video": "https://host.example/talk.mp4", **SPOKEN}
        )

    assert not dubbed.is_error, words(dubbed)
    assert ordered(tmp_path) == {"tts": 1, "avatar": 1, "identify-face": 1, "lip-sync": 1}


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"text": TEXT}, "voice_id", "a text is spoken in a voice"),
        ({**SPOKEN, "voice_id": "mengwa-v1"}, "voice_id", "speaks Chinese, the text is English"),
        ({**SPOKEN, "sound_file": URL}, "text", "the sound is spoken already"),
        ({**SPOKEN, "voice_speed": 3}, "voice_speed", "2"),
        ({**SPOKEN, "text": "word " * 300}, "text", "1000"),
    ],
)
async def test_words_that_cannot_be_spoken_are_refused_before_anything_is_paid(
    tmp_path: Path, wrong: dict[str, Any], field: str, said: str
) -> None:
    async with served(tmp_path) as client:
        refused = await client.call_tool(TOOL, {"image": picture(tmp_path), **wrong})

    assert field in {fault["field"] for fault in facts(refused)["faults"]}
    assert said in words(refused)
    assert ordered(tmp_path) == {}


async def test_a_speech_that_is_too_short_is_told_and_is_paid_once(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"image": picture(tmp_path), "voice_id": "Melody"}
        surely = await client.call_tool(TOOL, {**wish, "text": "Hello"})
        wish["text"] = "Hello, hello you two"
        dry = await made(client, **wish, dry_run=True)
        refused = [await client.call_tool(TOOL, wish) for _ in range(2)]

    assert "Kling takes 2 s at least" in words(surely)
    assert facts(surely)["charged"] == "no"
    assert "it may last" in dry["warnings"][0]
    assert "0.05 units for the speech are lost" in dry["warnings"][0]
    assert "The text lasts 1.43 s; 2 to 300 s fit here." in words(refused[0])
    assert [facts(answer)["charged"] for answer in refused] == ["no", "no"]
    assert ordered(tmp_path) == {"tts": 1}


@pytest.mark.parametrize("seconds", ["30", "400"])
async def test_a_speech_that_is_longer_than_was_priced_ends_the_call_before_its_create(
    seconds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[str] = []

    def kling(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            kinds.append(request.url.path.rpartition("/")[2])
        if request.url.path.endswith("/tts"):
            data = {"task_result": {"audios": [{"id": "a-1", "duration": seconds}]}}
            return httpx.Response(200, json={"code": 0, "data": data})
        return task()

    wish = {"image": "https://host.example/girl.png", **SPOKEN, "max_units": 4}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        first = await client.call_tool(TOOL, wish)
        capped = await client.call_tool(TOOL, wish)
        again = await client.call_tool(TOOL, {**wish, "max_units": 20})

    assert facts(first)["charged"] == "yes"
    assert "then submit with max_units: 12." in words(first) or seconds == "400"
    expected = "spend_cap_reached" if seconds == "30" else "invalid_request"
    assert facts(capped)["error"] == expected
    assert kinds == (["tts", "image2video"] if seconds == "30" else ["tts"])
    assert again.is_error == (seconds == "400")


async def test_kling_gets_the_id_of_the_speech_in_place_of_a_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []

    def kling(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            sent.append((request.url.path, json.loads(request.content)))
        if request.url.path.endswith("/tts"):
            sound = {"id": "a-1", "url": "https://cdn.example/a.mp3", "duration": "3.25"}
            data = {"task_id": "x", "task_result": {"audios": [sound]}}
            return httpx.Response(200, json={"code": 0, "data": data})
        return task()

    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        image = "https://host.example/girl.png"
        first = await made(client, image=image, **SPOKEN, voice_speed=1.5)

    (spoken_at, spoken), (path, body) = sent
    assert spoken_at == "/v1/audio/tts"
    assert spoken == {
        "text": TEXT,
        "voice_id": "girlfriend_4_speech02",
        "voice_language": "en",
        "voice_speed": 1.5,
    }
    assert path == "/v1/videos/avatar/image2video"
    assert body.pop("external_task_id")
    assert body == {"image": image, "audio_id": "a-1", "mode": "std"}
    assert first["estimate_units"] == pytest.approx(0.4 * 4 + 0.05)
