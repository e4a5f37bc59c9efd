"""A face of a video speaks other words: its faces are found and its text is spoken once each,
before the create, and seen in the sandbox."""

import base64
import io
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import av
import httpx
import pytest
from benchmarks.virtual_time import virtual_clock
from mcp import Client
from mcp_types import CallToolResult
from tests.made_clips import make_clip
from tests.sampling import sampled
from tests.server.scripted import Scripted, facts, is_create, talking_to, task
from tests.server.serving import hurried, picture, sandbox_by, sandbox_settings, virtual_time
from tests.server.submission.test_talking_photo import mouths_and_sounds, served, speech, white

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

TOOL = "kling_lip_sync"
CLIP = "https://host.example/talk.mp4"
SOUND = {"sound_file": "https://host.example/words.mp3", "sound_end_time": 4000}
TEXT = "Hello there, how are you today, my friend?"


def words(result: CallToolResult) -> str:
    """The text of an answer, which may have pictures behind it."""
    return result.content[0].text  # type: ignore[union-attr]


async def made(client: Client, tool: str = TOOL, **wish: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, wish)
    assert not result.is_error, words(result)
    return facts(result)


async def refused(client: Client, **wish: Any) -> CallToolResult:
    result = await client.call_tool(TOOL, wish)
    assert result.is_error, words(result)
    return result


async def clip(client: Client, folder: Path) -> str:
    """The address of a finished video of a white picture."""
    first = await made(client, "kling_image_to_video", image=white(folder), prompt="She smiles")
    await client.call_tool("kling_wait_for_tasks", {"task_ids": [first["task_id"]]})
    return f"kling://tasks/{first['task_id']}/video"


def ordered(folder: Path) -> Counter[str]:
    """How often the sandbox was paid for each product."""
    file = folder / "home" / "sandbox" / "sandbox.sqlite3"
    if not file.exists():
        return Counter()
    with closing(sqlite3.connect(file)) as db:
        return Counter(row[0] for row in db.execute("SELECT product FROM tasks"))


def grow_old(folder: Path, seconds: float) -> None:
    """Have the face checks been made so much earlier."""
    with closing(sqlite3.connect(folder / "home" / "ledger.sqlite3")) as db, db:
        changed = "UPDATE tasks SET created_at = created_at - ? WHERE product = 'face-check'"
        assert db.execute(changed, (seconds,)).rowcount


async def test_the_mouth_moves_with_the_sound_which_the_video_then_carries(tmp_path: Path) -> None:
    async with served(tmp_path, sandbox_side_px=300) as client:
        wish = {"video": await clip(client, tmp_path), "sound_file": speech(tmp_path, 3)}
        receipt = await made(client, **wish, sound_insert_time=1000)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        file = await made(client, "kling_save_video", task_id=receipt["task_id"])

    assert (file["duration_s"], file["audio"]) == (pytest.approx(5.04, abs=0.01), True)
    mouths, loud = mouths_and_sounds(file["path"])
    for second in range(1, 4):
        speaks, rests = 24 * second + 6, 24 * second + 18
        assert mouths[speaks] > 20 > 3 >= mouths[rests], second
        assert loud[speaks] > 0.3 > 0.05 > loud[rests], second
    assert max(mouths[:20] + mouths[100:]) <= 3


@pytest.mark.campaign
async def test_the_sound_of_the_video_stays_as_loud_as_it_is_wished(tmp_path: Path) -> None:
    async with served(tmp_path, sandbox_side_px=600) as client:
        first = await made(
            client,
            "kling_image_to_video",
            image=white(tmp_path),
            prompt="She hums",
            model_name="kling-v3",
            sound="on",
        )
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [first["task_id"]]})
        wish = {
            "video": f"kling://tasks/{first['task_id']}/video",
            "sound_file": speech(tmp_path, 2),
        }
        loudness = []
        for kept in ("no", "yes"):
            receipt = await made(client, **wish, keep_original_sound=kept)
            await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
            file = await made(client, "kling_save_video", task_id=receipt["task_id"])
            loudness.append(max(mouths_and_sounds(file["path"])[1][84:96]))

    assert loudness[0] < 0.01 < 0.03 < loudness[1]


async def test_the_price_is_that_of_the_sound_the_face_check_and_the_speech(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        video = await clip(client, tmp_path)
        sound = {"video": video, "sound_file": speech(tmp_path, 4)}
        dry = await made(client, **sound, dry_run="full")
        spoken = await made(client, video=video, text=TEXT, voice_id="Melody", dry_run=True)
        assert ordered(tmp_path)["identify-face"] == 0
        receipt = await made(client, **sound)
        after = await made(client, video=video, text=TEXT, voice_id="Melody", dry_run=True)
        long = await made(
            client, video=CLIP, sound_file=SOUND["sound_file"], sound_end_time=6000, dry_run=True
        )
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [receipt["task_id"]]})
        listed = facts(await client.call_tool("kling_list_tasks", {"product": "lip-sync"}))
        every = facts(await client.call_tool("kling_list_tasks", {}))

    assert (dry["estimate_units"], receipt["estimate_units"]) == (0.55, 0.55)
    assert "Of its units, 0.05 for the face check." in dry["note"]
    assert spoken["estimate_units"] == 0.6
    assert "0.05 for the face check and 0.05 for the speech" in spoken["note"]
    assert after["estimate_units"] == 0.55
    assert long["estimate_units"] == 1.05
    body = dry["request"]["body"]
    assert dry["request"]["path"].endswith("/v1/videos/advanced-lip-sync")
    assert body["session_id"] == "<session of the face check>"
    assert listed["tasks"][0]["units"] == 0.5
    assert every["total"] == {
        "tasks": 2,
        "play_units": 2.05,
        "play_usd": 0.29,
        "play_step_units": 0.05,
    }


async def test_one_face_speaks_by_itself_and_the_answer_tells_it(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        receipt = await made(client, video=CLIP, **SOUND)

    assert "The one face of it speaks, seen from 0 to 10 s." in receipt["note"]


async def test_of_several_faces_the_caller_is_shown_each_and_chooses_one(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": f"{CLIP}?faces=3", **SOUND}
        shown = await client.call_tool(TOOL, wish)
        again = await client.call_tool(TOOL, wish)
        dry = await made(client, **wish, dry_run=True)
        unknown = await refused(client, **wish, face=4)
        before = ordered(tmp_path)
        second = await made(client, **wish, face=2)
        third = await made(client, **wish, face=3)
        same = await made(client, **wish, face=2)

    answer = facts(shown)
    assert not shown.is_error
    assert "task_id" not in answer
    assert [face["face"] for face in answer["faces"]] == [1, 2, 3]
    assert [part.type for part in shown.content] == ["text", *["image"] * 3]
    assert "face, its number" in answer["next"]
    assert "The face check would have cost 0.05 units and is kept" in answer["note"]
    assert (answer["estimate_units"], facts(again)["faces"]) == (0.5, answer["faces"])
    assert "was paid" not in facts(again)["note"]
    assert dry["faces"] == answer["faces"]
    assert "There is no face 4: the video has 3 faces." in words(unknown)
    assert facts(unknown)["charged"] == "no"
    assert before == {"identify-face": 1}
    assert ordered(tmp_path) == {"identify-face": 1, "lip-sync": 2}
    assert "Face 2 of 3 speaks" in second["note"]
    assert "Face 3 of 3 speaks" in third["note"]
    assert (same["task_id"], same["repeated"]) == (second["task_id"], True)


@pytest.mark.parametrize(
    ("prompt", "faces"),
    sampled(
        [
            ("Two women talk in a kitchen", 2),
            ("One man and two old friends laugh", 3),
            ("An empty beach, nobody is there", 0),
            ("Waves, without people", 0),
            ("A lighthouse in a storm at 10 o'clock", 1),
        ],
        2,
    ),
)
async def test_a_played_video_has_as_many_faces_as_its_prompt_counts(
    tmp_path: Path, prompt: str, faces: int
) -> None:
    async with served(tmp_path, sandbox_side_px=300) as client:
        video = await made(client, "kling_text_to_video", prompt=prompt)
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [video["task_id"]]})
        wish = {"video": f"kling://tasks/{video['task_id']}/video", **SOUND}
        result = await client.call_tool(TOOL, wish)

    shown = facts(result).get("faces", [])
    assert result.is_error == (not faces)
    assert len(shown) == (faces if faces > 1 else 0)
    assert faces or "Kling finds no face in the video." in words(result)


async def test_a_video_without_a_face_is_refused_and_the_check_is_paid_once(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": f"{CLIP}?faces=0", **SOUND}
        first = await refused(client, **wish)
        second = await refused(client, **wish)

    assert "Kling finds no face in the video. The video was not made." in words(first)
    assert (facts(first)["charged"], facts(second)["charged"]) == ("no", "no")
    assert ordered(tmp_path) == {"identify-face": 1}


async def test_a_text_is_spoken_once_for_all_faces_and_takes(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": f"{CLIP}?faces=2", "text": TEXT, "voice_id": "anchor"}
        first = await made(client, **wish, face=1)
        await made(client, **wish, face=2)
        await made(client, another_take_of=first["task_id"])
        faster = await made(client, **wish, face=1, voice_speed=1.2)

    assert "The text lasts 3 s." in first["note"]
    assert first["estimate_units"] == 0.6
    assert "The text lasts 2.5 s." in faster["note"]
    assert ordered(tmp_path) == {"identify-face": 1, "tts": 2, "lip-sync": 4}


async def test_a_speech_that_does_not_fit_is_told_with_its_length(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        video = await clip(client, tmp_path)
        long = await refused(client, video=video, text=TEXT * 2, voice_id="Melody")
        surely = await refused(client, video=video, text="word " * 100, voice_id="Melody")
        short = await refused(client, video=video, text="Hi", voice_id="Melody")

    assert "The text lasts 6 s; 2 to 5.04" in words(long)
    assert facts(long)["charged"] == "no"
    assert "The face check and speech would have cost 0.1 units and are kept" in words(long)
    assert "fewer words" in words(long)
    assert "it would last more than 23.8 s, the video 5.04" in words(surely)
    assert facts(surely)["charged"] == facts(short)["charged"] == "no"
    assert "Kling takes 2 s at least" in words(short)
    assert "more words" in words(short)
    assert ordered(tmp_path)["lip-sync"] == 0


async def test_a_speech_that_begins_too_late_is_told_with_the_time_that_fits(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        spoken = {"video": await clip(client, tmp_path), "text": TEXT, "voice_id": "Melody"}
        (warned,) = (await made(client, **spoken, sound_insert_time=2500, dry_run=True))["warnings"]
        late = await refused(client, **spoken, sound_insert_time=2500)
        await made(client, **spoken, sound_insert_time=2000)

    assert "and it begins after 2.5 s." in warned
    assert "a lower sound_insert_time" in warned
    assert "The text lasts 3 s; 2 to 2.54" in words(late)
    assert "s fit here from 2.5 s on." in words(late)
    assert "or a lower sound_insert_time" in words(late)
    assert ordered(tmp_path) == {"image2video": 1, "identify-face": 1, "tts": 1, "lip-sync": 1}


async def test_a_speech_that_may_not_fit_is_told_with_what_it_would_lose(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        spoken = {"video": await clip(client, tmp_path), "voice_id": "Melody", "dry_run": True}
        (surely,) = (await made(client, **spoken, text="word " * 25))["faults"]
        (perhaps,) = (await made(client, **spoken, text=TEXT * 2))["warnings"]
        (short,) = (await made(client, **spoken, text="How are you today, friend?"))["warnings"]
        (year,) = (await made(client, **spoken, text="1999, 2001, 2005, 2011!"))["warnings"]
        fits = await made(client, **spoken, text=TEXT)
        cut = await made(client, **spoken, text="word " * 25, sound_end_time=4000)
        sure = await refused(client, **{**spoken, "dry_run": False}, text="word " * 25)
        await refused(client, **{**spoken, "dry_run": False}, text=TEXT * 2)
        (known,) = (await made(client, **spoken, text=TEXT * 2))["faults"]
        again = await refused(client, **{**spoken, "dry_run": False}, text=TEXT * 2)

    assert "more than 5.9 s, the video 5.04" in surely["message"]
    assert "about 50 of its 124 letters" in surely["use"]
    assert "it may last 4.7 to 8.4 s, about 6; the video 5.04" in perhaps
    assert "If it does not fit, 0.05 units for the speech are lost." in perhaps
    assert "it may last 1.4 to 2.6 s, about 1.9; Kling takes 2 s at least." in short
    assert "the video 5.04" in year
    assert not fits.get("warnings")
    assert not cut.get("faults")
    assert facts(sure)["charged"] == facts(again)["charged"] == "no"
    assert "The text lasts 6 s; 2 to 5.04" in known["message"]
    assert ordered(tmp_path) == {"image2video": 1, "identify-face": 1, "tts": 1}


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"text": TEXT, "voice_id": "Melody"}, "text", "the sound is spoken already"),
        ({"sound_file": ""}, "sound_file", "a text in a voice"),
        ({"video": ""}, "video", "kling_talking_photo"),
        ({"sound_end_time": None}, "sound_end_time", "its length is not known"),
        ({"sound_end_time": 1500}, "sound_end_time", "Kling takes 2 to 60 s"),
        ({"face": -1}, "face", "1"),
        ({"face": True}, "face", ""),
        ({"sound_end_time": True}, "sound_end_time", ""),
        ({"model_name": "kling-v3"}, "model_name", ""),
        ({"prompt": "Hi"}, "prompt", ""),
        ({"sound_file": "kling://tasks/1/video"}, "sound_file", "is a video"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_paid(
    tmp_path: Path, wrong: dict[str, Any], field: str, said: str
) -> None:
    async with served(tmp_path) as client:
        wish = {
            name: value
            for name, value in {"video": CLIP, **SOUND, **wrong}.items()
            if value is not None
        }
        answer = await refused(client, **wish)

    assert field in {fault["field"] for fault in facts(answer)["faults"]}
    assert said in words(answer)
    assert facts(answer)["charged"] == "no"
    assert ordered(tmp_path) == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "a text is spoken in a voice"),
        ({"voice_id": "829824296385843234"}, "is no voice that speaks texts"),
        ({"voice_id": "mengwa-v1"}, "mengwa-v1 speaks Chinese, the text is English."),
        (
            {"voice_id": "melody", "text": "你好, 世界。今天天气很好"},
            "Melody speaks English, the text is Chinese. Use",
        ),
        (
            {"voice_id": "Melody", "text": "Good morning. 早上好, 今天天气很好"},
            "the text is English and Chinese in one, so a voice of both fits. Use Tender, Sprite",
        ),
        ({"voice_id": "nobody"}, "Melody, Tender, Sprite, Grace"),
        ({"voice_id": "nobody"}, "(women); Anchor, Zippy, Bud"),
    ],
)
async def test_a_voice_that_does_not_speak_the_text_is_refused(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    async with served(tmp_path) as client:
        answer = await refused(client, **{"video": CLIP, "text": TEXT, **wrong})

    assert said in words(answer)
    assert [fault["field"] for fault in facts(answer)["faults"]] == ["voice_id"]
    assert ordered(tmp_path) == {}


def encoded(folder: Path, seconds: float, name: str) -> str:
    """The sound of `speech` in the format of that name; its path."""
    codec = {"mp3": "libmp3lame", "wav": "pcm_s16le"}.get(name.rpartition(".")[2], "aac")
    writer = {"m4a": "ipod", "aac": "adts"}.get(name.rpartition(".")[2])
    with (
        av.open(speech(folder, seconds)) as sound,
        av.open(str(folder / name), "w", format=writer) as file,
    ):
        stream = file.add_stream(codec, rate=16_000)
        for frame in sound.decode(audio=0):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return str(folder / name)


@pytest.mark.parametrize("name", sampled(["long.wav", "long.mp3", "long.m4a", "long.aac"], 4))
async def test_of_a_sound_that_is_too_long_the_wished_beginning_is_sent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling, sound = Kling(), encoded(tmp_path, 75, name)
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        wish = {"video": CLIP, "sound_file": sound}
        whole = await refused(client, **wish)
        late = await refused(client, **wish, sound_end_time=70_000)
        part = await made(client, **wish, sound_end_time=4000)
        same = await made(client, **wish, sound_end_time=4000)

    (fault,) = facts(whole)["faults"]
    assert fault["message"].startswith(f"{name} lasts 75")
    assert "sound_end_time" in fault["use"]
    assert "60000" in words(late)
    assert (part["estimate_units"], same["repeated"]) == (0.55, True)
    (choice,) = kling.asked[1][1]["face_choose"]
    assert choice["sound_end_time"] == 4000
    with av.open(io.BytesIO(base64.b64decode(choice["sound_file"]))) as sent:
        heard = sum(frame.samples / frame.sample_rate for frame in sent.decode(audio=0))
    assert heard == pytest.approx(4.1, abs=0.15)


async def test_a_sound_of_too_many_bytes_may_be_sent_in_part(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": CLIP, "sound_file": speech(tmp_path, 400)}
        whole = await refused(client, **wish)
        await made(client, **wish, sound_end_time=4000)

    assert "lasts 400 s" in words(whole)
    assert all("sound_end_time" in fault["use"] for fault in facts(whole)["faults"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Guten Morgen, wie geht es dir heute? Schön, dich zu sehen.", "German"),
        ("Доброе утро, как дела сегодня, мой друг?", "Cyrillic"),
        ("Bonjour, comment est la journée pour vous ?", "French"),
        ("おはようございます。今日はとてもいい天気ですね", "Hiragana"),
        (TEXT, ""),
        ("Good morning! We met at the café of Zoë.", ""),
    ],
)
async def test_a_text_in_another_language_is_warned_of(
    tmp_path: Path, text: str, said: str
) -> None:
    voice = "tiexin_nanyou" if "今" in text else "Melody"
    async with served(tmp_path) as client:
        dry = await made(client, video=CLIP, text=text, voice_id=voice, dry_run=True)

    warned = [w for w in dry.get("warnings", ()) if "speak English and Chinese alone" in w]
    assert len(warned) == bool(said)
    assert not said or f"it looks like {said}" in warned[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "Other words are spoken here, friend"}, 'text was "Hello there, how'),
        ({"voice_id": "Anchor"}, 'voice_id was "Melody", is "Anchor".'),
        ({"sound_insert_time": 500}, "sound_insert_time was not given, is 500."),
        ({"face": 1}, ""),
        ({"video": f"{CLIP}?2"}, f'video was "{CLIP}", is "{CLIP}?2".'),
        (
            {"text": "", "voice_id": "", **SOUND},
            "is not given; voice_id was",
        ),
    ],
)
async def test_another_take_tells_which_arguments_differ(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    async with served(tmp_path) as client:
        first = await made(client, video=CLIP, text=TEXT, voice_id="Melody")
        again = await made(client, another_take_of=first["task_id"], **change, dry_run=True)
        await made(client, another_take_of=first["task_id"], **change)
        same = await made(client, another_take_of=first["task_id"], **change, take=2)

    assert said in again["note"]
    assert ("Differs from" in again["note"]) == bool(said)
    assert "face_choose" not in again["note"]
    assert "Add take" not in same["next"]


async def test_a_picture_is_led_to_the_tool_that_takes_one_with_the_same_words(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        spoken = {"text": TEXT, "voice_id": "Melody"}
        as_image = await refused(client, image=white(tmp_path), **spoken)
        as_video = await refused(client, video=white(tmp_path), **spoken)
        told = await made(client, "kling_talking_photo", image=white(tmp_path), **spoken)
        prompted = await made(
            client,
            "kling_talking_photo",
            image=white(tmp_path),
            prompt='She says "hello my friend!"',
            **spoken,
            dry_run=True,
        )

    assert "kling_talking_photo takes the same with a picture as image" in words(as_image)
    assert "Use a video; or kling_talking_photo, which takes the picture" in words(as_video)
    assert told["task_id"]
    assert "the prompt is not spoken. Use text with voice_id" in prompted["warnings"][0]
    assert "a kept sound" not in prompted["warnings"][0]


async def test_lengths_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    local = str(make_clip(tmp_path / "small.mp4"))
    async with served(tmp_path) as client:
        video = await clip(client, tmp_path)
        longer = await refused(client, video=video, sound_file=speech(tmp_path, 8))
        late = await refused(
            client, video=video, sound_file=speech(tmp_path, 4), sound_insert_time=3000
        )
        end = await refused(
            client, video=video, sound_file=speech(tmp_path, 4), sound_end_time=4500
        )
        part = await made(
            client, video=video, sound_file=speech(tmp_path, 8), sound_end_time=3000, dry_run=True
        )
        small = await refused(client, video=local, **SOUND)

    assert "the sound lasts 8 s and the video 5.04" in words(longer)
    assert "the sound lasts 4 s, from 3 s on," in words(late)
    assert "the sound ends after 4000 ms" in words(end)
    assert part["estimate_units"] == 0.55
    assert "video" in {fault["field"] for fault in facts(small)["faults"]}
    assert ordered(tmp_path) == {"image2video": 1}


async def test_caps_hold_the_whole_before_the_first_step(tmp_path: Path) -> None:
    async with served(tmp_path, max_units_per_day=0.6) as client:
        own = await refused(client, video=CLIP, **SOUND, max_units=0.5)
        day = await refused(client, video=CLIP, sound_file=SOUND["sound_file"], sound_end_time=6000)
        assert ordered(tmp_path) == {}
        await made(client, video=CLIP, **SOUND, max_units=0.55)
        other = await refused(client, video=CLIP, **SOUND, take=2)

    assert facts(own)["error"] == facts(day)["error"] == "spend_cap_reached"
    assert facts(other)["error"] == "spend_cap_reached"
    assert ordered(tmp_path) == {"identify-face": 1, "lip-sync": 1}


async def test_a_session_serves_a_day_and_is_then_renewed_without_paying_the_create_twice(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as client:
        wish = {"video": CLIP, **SOUND}
        first = await made(client, **wish)
        grow_old(tmp_path, 22 * 3600)
        second = await made(client, **wish, take=2)
        assert ordered(tmp_path) == {"identify-face": 1, "lip-sync": 2}
        grow_old(tmp_path, 2 * 3600)
        third = await made(client, **wish, take=3)
        same = await made(client, **wish)

    assert (same["task_id"], same["repeated"]) == (first["task_id"], True)
    assert (second["estimate_units"], third["estimate_units"]) == (0.5, 0.55)
    assert ordered(tmp_path) == {"identify-face": 2, "lip-sync": 3}


LATE = "less than 2 s of the video are left"


@pytest.mark.parametrize(
    ("part", "field", "said"),
    [
        ({"sound_insert_time": 2500}, "text", "2 to 2.54"),
        ({"sound_insert_time": 9000}, "sound_insert_time", LATE),
        ({"sound_end_time": 4900}, "sound_end_time", "the text ends after 3000 ms"),
        ({"sound_end_time": 1000}, "sound_end_time", "Kling takes 2 to 60 s"),
        ({"sound_end_time": 2500, "sound_insert_time": 2600}, "sound_insert_time", "2541 or less"),
        ({"face": 3}, "face", "There is no face 3: the video has 1 face."),
    ],
)
async def test_what_is_known_of_a_speech_and_the_faces_refuses_the_dry_run_and_the_submit(
    part: dict[str, Any], field: str, said: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as client:
        wish = {"video": await clip(client, tmp_path), "text": TEXT, "voice_id": "Melody"}
        await made(client, **wish)
        dry = await made(client, **wish, **part, dry_run=True)
        answer = await refused(client, **wish, **part)

    (fault,) = dry["faults"]
    assert (fault["field"], facts(answer)["charged"]) == (field, "no")
    assert said in f"{fault['message']} {fault['use']}"
    assert said in words(answer)
    assert ordered(tmp_path)["lip-sync"] == 1


@pytest.mark.parametrize(
    ("text", "part", "field"),
    [
        (TEXT, {"sound_insert_time": 9000}, "sound_insert_time"),
        (TEXT, {"sound_end_time": 9000}, "sound_end_time"),
        (TEXT, {"sound_end_time": 1000}, "sound_end_time"),
        ("word " * 25, {"sound_end_time": 5300}, "sound_end_time"),
    ],
)
async def test_a_part_of_a_speech_that_surely_does_not_fit_is_refused_before_it_is_paid(
    text: str, part: dict[str, Any], field: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as client:
        wish = {"video": await clip(client, tmp_path), "text": text, "voice_id": "Melody", **part}
        dry = await made(client, **wish, dry_run=True)
        await refused(client, **wish)

    assert [fault["field"] for fault in dry["faults"]] == [field]
    assert ordered(tmp_path)["tts"] == 0


async def test_of_a_long_speech_the_wished_beginning_is_spoken(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        video = await clip(client, tmp_path)
        wish = {"video": video, "text": TEXT * 2, "voice_id": "Melody", "sound_end_time": 4000}
        dry = await made(client, **wish, dry_run=True)
        receipt = await made(client, **wish)

    assert not dry.get("faults")
    assert not dry.get("warnings")
    assert (dry["estimate_units"], receipt["estimate_units"]) == (0.6, 0.6)
    assert ordered(tmp_path)["lip-sync"] == 1


async def test_the_usual_speed_is_one_speech_with_no_speed(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
        first = await made(client, **wish)
        same = await made(client, **wish, voice_speed=1)

    assert (same["task_id"], same["repeated"]) == (first["task_id"], True)
    assert ordered(tmp_path) == {"identify-face": 1, "tts": 1, "lip-sync": 1}


async def test_two_people_who_are_seen_at_the_same_times_are_shown_again_after_a_new_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    kling.faces = [(0, 5000), (0, 5000)]
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        await made(client, video=CLIP, **SOUND, face=2)
        grow_old(tmp_path, 24 * 3600)
        shown = await made(client, video=CLIP, **SOUND, face=2, take=2)
        again = await made(client, video=CLIP, **SOUND, face=2, take=2)

    assert [face["face"] for face in shown["faces"]] == [1, 2]
    assert again["task_id"]
    assert kling.kinds == ["identify-face", "advanced-lip-sync"] * 2


class Kling:
    """A provider with `faces` (each from when to when, in ms) that keeps the bodies of its creates
    by path, and answers them in the order of `answers` (None: as it should)."""

    def __init__(self, *answers: httpx.Response | Exception | None) -> None:
        self.faces = [(0, 5000)]
        self.speech_s = "3.25"
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answers: Iterator[httpx.Response | Exception | None] = iter(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not is_create(request):
            return httpx.Response(200, json={"code": 0, "data": []})
        kind = request.url.path.rpartition("/")[2]
        self.asked.append((kind, json.loads(request.content)))
        answer = next(self._answers, None)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        if kind == "identify-face":
            shown = [
                {"face_id": number, "face_image": "", "start_time": begins, "end_time": ends}
                for number, (begins, ends) in enumerate(self.faces)
            ]
            data: dict[str, Any] = {"session_id": f"s-{len(self.asked)}", "face_data": shown}
            return httpx.Response(200, json={"code": 0, "data": data})
        if kind == "tts":
            sound = {"id": "a-1", "url": "https://cdn.example/a.mp3", "duration": self.speech_s}
            data = {"task_id": "x", "task_result": {"audios": [sound]}}
            return httpx.Response(200, json={"code": 0, "data": data})
        return task(task_id=f"t-{len(self.asked)}")

    @property
    def kinds(self) -> list[str]:
        """What was asked for, in order."""
        return [kind for kind, _ in self.asked]


def no(message: str) -> httpx.Response:
    """Kling's refusal."""
    return httpx.Response(400, json={"code": 1201, "message": message})


LOST = httpx.ReadTimeout("no answer")


async def test_kling_gets_the_session_the_face_and_the_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    kling.faces = [(500, 9000), (0, 2500)]
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        sound = speech(tmp_path, 4)
        await made(client, video=CLIP, sound_file=sound, face=2, keep_original_sound="no")
        await made(client, video=CLIP, text=TEXT, voice_id="Melody", voice_speed=1.5, face=1)

    (_, check), (_, by_bytes), (_, spoken), (_, by_id) = kling.asked
    assert kling.kinds == ["identify-face", "advanced-lip-sync", "tts", "advanced-lip-sync"]
    assert check == {"video_url": CLIP}
    (choice,) = by_bytes["face_choose"]
    assert by_bytes["session_id"] == by_id["session_id"] == "s-1"
    assert by_bytes.keys() == {"session_id", "face_choose", "external_task_id"}
    assert choice.pop("sound_file")
    assert choice == {
        "face_id": "0",
        "sound_start_time": 0,
        "sound_end_time": 4000,
        "sound_insert_time": 500,
        "original_audio_volume": 0,
    }
    assert spoken == {
        "text": TEXT,
        "voice_id": "girlfriend_4_speech02",
        "voice_language": "en",
        "voice_speed": 1.5,
    }
    assert by_id["face_choose"] == [
        {
            "face_id": "1",
            "audio_id": "a-1",
            "sound_start_time": 0,
            "sound_end_time": 3250,
            "sound_insert_time": 0,
        }
    ]


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_step_whose_answer_was_lost_is_not_paid_again_unless_take_is_raised(
    lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling(*[None] * lost, LOST)
    wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        first = await refused(client, **wish)
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        await client.call_tool("kling_list_tasks", {})
        again = await refused(client, **wish)
        asked = kling.kinds
        dry = await made(client, **wish, dry_run=True)
        other = await made(client, **wish, take=2)
        first_again = await made(client, **wish)
        told = await made(client, **wish, dry_run=True)

    (fault,) = dry["faults"]
    assert fault["field"] == "take"
    assert "with take 2 it does" in fault["message"]
    assert (first_again["task_id"], first_again["repeated"]) == (other["task_id"], True)
    assert "was made before" in told["next"]
    step = ("face check", "speech")[lost]
    assert asked == ["identify-face", "tts"][: lost + 1]
    assert (facts(first)["charged"], facts(again)["charged"]) == ("unknown", "unknown")
    assert f"The {step} was asked of kling before, and its answer was lost." in words(again)
    assert "with take 2 it does" in words(again)
    assert kling.kinds == ["identify-face", "tts", "tts", "advanced-lip-sync"][:4] or lost == 0
    assert kling.kinds.count("advanced-lip-sync") == 1
    assert kling.kinds.count(asked[-1]) == 2
    assert other["task_id"]


async def test_a_speech_that_lasts_longer_than_priced_stops_before_the_video_at_its_true_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    kling.speech_s = "17"
    wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        priced = (await made(client, **wish, dry_run=True))["estimate_units"]
        stopped = await refused(client, **wish, max_units=priced)
        again = await refused(client, **wish, max_units=priced)
        assert kling.kinds == ["identify-face", "tts"]
        receipt = await made(client, **wish, max_units=2)

    assert priced < 2
    assert facts(stopped)["charged"] == "yes"
    assert "The face check and speech (0.1 units) were paid and" in words(stopped)
    assert "This video would cost about 2 units" in words(stopped)
    assert f"max_units is {priced:g}" in words(stopped)
    assert "with max_units: 2" in words(stopped)
    assert (facts(again)["error"], facts(again)["charged"]) == ("spend_cap_reached", "no")
    assert receipt["estimate_units"] == 2


async def test_a_speech_that_lasts_longer_than_priced_stops_without_a_cap_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    kling.speech_s = "17"
    wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        stopped = await refused(client, **wish)
        await made(client, **wish)

    assert "This video would cost about 2 units" in words(stopped)
    assert kling.kinds == ["identify-face", "tts", "advanced-lip-sync"]


async def test_the_ledger_keeps_the_price_of_the_true_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
    async with talking_to(Scripted(Kling()), tmp_path, monkeypatch) as client:
        receipt = await made(client, **wish)

    assert receipt["estimate_units"] == 0.6
    with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
        kept = "SELECT estimate_units FROM tasks WHERE product = 'lip-sync'"
        assert db.execute(kept).fetchall() == [(0.5,)]


def full(status: int, code: int) -> httpx.Response:
    """Kling's refusal where no slot is free."""
    return httpx.Response(status, json={"code": code, "message": "too many"})


@pytest.mark.parametrize("code", [1302, 1303])
@pytest.mark.parametrize("before", [0, 1])
async def test_a_step_that_finds_no_slot_is_sent_again_within_the_call(
    before: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling(*[None] * before, *[full(429, code)] * 3)
    wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        receipt = await made(client, **wish)
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert receipt["task_id"]
    assert Counter(kling.kinds) - Counter({["identify-face", "tts"][before]: 3}) == Counter(
        ["identify-face", "tts", "advanced-lip-sync"]
    )
    assert len(listed["tasks"]) == 1


async def test_a_step_that_never_finds_a_slot_says_so_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling(*[full(429, 1303)] * 7, None)
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        answer = await refused(client, video=CLIP, **SOUND)
        asked = len(kling.kinds)
        await made(client, video=CLIP, **SOUND)

    assert (facts(answer)["error"], facts(answer)["charged"]) == ("concurrency_full", "no")
    assert asked == 7
    assert kling.kinds[asked:] == ["identify-face", "advanced-lip-sync"]


async def test_steps_that_were_paid_are_told_when_the_create_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling(None, None, no("sound is bad"), None)
    wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        answer = await refused(client, **wish)
        await made(client, **wish)

    assert facts(answer)["charged"] == "yes"
    assert "Leave out optional arguments; dry_run shows the request." in words(answer)
    assert "model_name" not in words(answer)
    assert "The face check and speech (0.1 units) were paid" in words(answer)
    assert kling.kinds == ["identify-face", "tts", "advanced-lip-sync", "advanced-lip-sync"]


async def test_a_session_that_kling_forgot_is_found_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling(None, no("session_id has expired"))
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        answer = await refused(client, video=CLIP, **SOUND)
        await made(client, video=CLIP, **SOUND)

    assert "Call again: the faces are found anew (0.05 units)." in words(answer)
    assert kling.kinds == ["identify-face", "advanced-lip-sync"] * 2
    assert [body["session_id"] for kind, body in kling.asked if "sync" in kind] == ["s-1", "s-3"]


async def test_a_session_that_ends_while_the_request_is_queued_is_found_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = httpx.Response(429, json={"code": 1303, "message": "parallel task over resource pack"})
    kling = Kling(None, full, no("session_id has expired"))
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        queued = await made(client, video=CLIP, **SOUND)
        wait = {"task_ids": [queued["task_id"]], "timeout_s": 60}
        ended = await client.call_tool("kling_wait_for_tasks", wait)
        dry = await made(client, video=CLIP, **SOUND, dry_run=True)
        again = await made(client, video=CLIP, **SOUND)

    assert queued["status"] == "queued"
    assert "session_id has expired" in words(ended)
    assert (dry["estimate_units"], again["status"]) == (0.55, "submitted")
    sent = [body["session_id"] for kind, body in kling.asked if "sync" in kind]
    assert sent == ["s-1", "s-1", "s-4"]


async def test_two_queued_requests_that_are_refused_are_told_each_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = httpx.Response(429, json={"code": 1303, "message": "parallel task over resource pack"})
    gone = no("session_id has expired")
    kling = Kling(None, full, full, gone, gone)
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        ids = [(await made(client, video=CLIP, **SOUND, take=n))["task_id"] for n in (1, 2)]
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        wait = {"task_ids": ids, "timeout_s": 60}
        ended = await client.call_tool("kling_wait_for_tasks", wait)

    assert not ended.is_error
    assert [(t["task_id"], t["status"]) for t in facts(ended)["tasks"]] == [
        (task_id, "failed") for task_id in ids
    ]


async def test_a_sandbox_of_its_own_gets_the_address_of_a_video_that_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, kling = "http://127.0.0.1:8899", Kling()
    videos = {"videos": [{"url": f"{at}/videos/a.mp4", "duration": "5.0"}]}

    def api(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            return kling(request)
        return task(task_id="t-1", task_status="succeed", task_result=videos)

    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(api).connect)
    settings = sandbox_settings(
        tmp_path, provider="kling", kling_api_key="sandbox-key", kling_base_url=at, save=False
    )
    async with Client(build_server(settings, **hurried())) as client:
        first = await made(client, "kling_image_to_video", image=white(tmp_path), prompt="Hi")
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [first["task_id"]]})
        await made(client, video=f"kling://tasks/{first['task_id']}/video", **SOUND)

    assert kling.asked[1] == ("identify-face", {"video_url": f"{at}/videos/a.mp4"})


async def test_a_video_that_the_sandbox_made_small_counts_as_large_as_it_was_asked_for(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, sandbox_side_px=300) as client:
        video = await clip(client, tmp_path)
        await made(client, "kling_save_video", task_id=video.split("/")[3])
        receipt = await made(client, video=video, **SOUND)

    assert receipt["task_id"]


@pytest.mark.parametrize("damage", ["{", "[1]", '{"seconds"'])
async def test_a_damaged_row_of_a_step_is_made_anew(damage: str, tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
        await made(client, **wish)
        with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db, db:
            steps = "product IN ('face-check', 'speech')"
            db.execute(f"UPDATE tasks SET message = ? WHERE {steps}", (damage,))
        again = await made(client, **wish, take=2)

    assert again["estimate_units"] == 0.6
    assert ordered(tmp_path) == {"identify-face": 2, "tts": 2, "lip-sync": 2}


@pytest.mark.parametrize("step", ["face-check", "speech"])
async def test_a_list_of_steps_asks_no_provider(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def api(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(404, json={"code": 1203, "message": "no such resource"})

    async with talking_to(Scripted(api), tmp_path, monkeypatch) as client:
        answer = await client.call_tool("kling_list_tasks", {"product": step})

    assert not answer.is_error, words(answer)
    assert asked == []


async def test_a_sound_of_a_file_is_sent_to_its_last_millisecond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        await made(client, video=CLIP, sound_file=speech(tmp_path, 3))

    assert kling.asked[1][1]["face_choose"][0]["sound_end_time"] == 3000


async def test_a_choice_does_not_hold_when_other_faces_are_found_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    kling.faces = [(0, 5000), (0, 8000)]
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        await made(client, video=CLIP, **SOUND, face=2)
        grow_old(tmp_path, 24 * 3600)
        kling.faces = [(0, 3000), (0, 8000)]
        shown = await made(client, video=CLIP, **SOUND, face=2, take=2)
        await made(client, video=CLIP, **SOUND, face=2, take=2)

    assert [face["to_s"] for face in shown["faces"]] == [3, 8]
    assert kling.kinds == ["identify-face", "advanced-lip-sync"] * 2


async def test_a_face_that_the_sound_hardly_meets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Kling()
    kling.faces = [(6000, 9000)]
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        early = await refused(client, video=CLIP, **SOUND, sound_insert_time=1)
        await made(client, video=CLIP, **SOUND)

    assert "The face is seen from 6 to 9 s: the sound meets it for 0 s" in words(early)
    assert "Use sound_insert_time 6000." in words(early)
    assert kling.asked[-1][1]["face_choose"][0]["sound_insert_time"] == 6000


async def test_two_equal_calls_at_once_pay_each_step_once(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}
        answers: list[dict[str, Any]] = []

        async def ask() -> None:
            answers.append(await made(client, **wish))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(ask)

    assert len({answer["task_id"] for answer in answers}) == 1
    assert sum("0.05 for the face check" in answer["note"] for answer in answers) == 1
    assert ordered(tmp_path) == {"identify-face": 1, "tts": 1, "lip-sync": 1}


async def test_it_is_queued_when_the_house_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kling_mcp.providers.transport.connect", sandbox_by(virtual_clock()))
    async with served(tmp_path, sandbox_slots=1, sandbox_render_s=0.4) as client:
        await made(client, "kling_image_to_video", image=picture(tmp_path), prompt="Zoom")
        queued = await made(client, video=CLIP, **SOUND)
        ended = {"done": False}
        while not ended["done"]:
            ended = await made(client, "kling_wait_for_tasks", task_ids=[queued["task_id"]])

    assert queued["status"] == "queued"
    assert ended["tasks"][0]["status"] == "succeed"
    assert ordered(tmp_path) == {"image2video": 1, "identify-face": 1, "lip-sync": 1}


async def test_a_gateway_without_it_names_the_provider_that_has_it(tmp_path: Path) -> None:
    async with served(
        tmp_path, provider="cometapi", cometapi_base_url="sandbox", kling_base_url="sandbox"
    ) as client:
        answer = await refused(client, video=CLIP, **SOUND, provider="cometapi")

    assert "cometapi makes no video in which a face speaks other words" in words(answer)
    assert 'provider "kling"' in words(answer)


async def test_the_speech_of_the_sandbox_is_heard(tmp_path: Path) -> None:
    from kling_sandbox.film.talking import spoken

    spoken("Hello you", 3000, 1.0, tmp_path / "a.wav")

    with av.open(str(tmp_path / "a.wav")) as sound:
        lasts = sum(frame.samples / frame.sample_rate for frame in sound.decode(audio=0))
    assert lasts == pytest.approx(3.0, abs=0.01)


async def test_takes_that_are_asked_for_at_once_pay_each_step_once(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        wish = {"video": CLIP, "text": TEXT, "voice_id": "Melody"}

        async def ask(take: int) -> None:
            await made(client, **wish, take=take)

        async with anyio.create_task_group() as group:
            for take in (1, 2, 3):
                group.start_soon(ask, take)

    assert ordered(tmp_path) == {"identify-face": 1, "tts": 1, "lip-sync": 3}
