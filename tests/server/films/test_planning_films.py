"""What a film answers before anything is paid: its faults, its price, its shape and its time."""

import errno
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.made_sounds import tone
from tests.server.films.filming import accepted, film, made, over, serving, words_shots
from tests.server.scripted import Answer, Scripted, ends, facts, lasting, talking_to, words
from tests.server.serving import picture, virtual_time

from kling_mcp.films.caps import price_of
from kling_mcp.outputs.part import Part
from kling_tools.rules.capabilities import Estimate

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arguments", "told", "untold"),
    [
        ({"shots": words_shots(41)}, "at most 40 entries", "is required"),
        ({"shots": words_shots(1), "name": "x" * 140}, "at most 80", "is required"),
        ({"shots": ["A beach"]}, "shots[1]: must be an object, not text. Use {", "is required"),
        (
            {"shots": ["holiday/01.jpg"]},
            'Use {"image": "holiday/01.jpg", "prompt": ',
            "is required",
        ),
        (
            {"shots": [{"image": "photo.png", "text": "Hi"}]},
            "Use kling_talking_photo",
            "Use prompt",
        ),
        ({"shots": words_shots(2), "crossfade_s": 6}, "Use at most 2.5 s, or 0 to cut.", "5.0"),
        ({"shots": words_shots(1, duration="10"), "crossfade_s": 6}, "Use at most 5 s", "half"),
        ({"shots": words_shots(1), "fade": 1}, "Use crossfade_s", "seconds"),
        ({"shots": words_shots(1), "format": "9:16"}, "Use aspect_ratio, such as 9:16", "seconds"),
        ({"shots": words_shots(1), "title": "Sea"}, "Use name.", "seconds"),
        ({"shots": words_shots(1), "music": {"file": "a.wav", "fade": 2}}, "Use fade_s", "seconds"),
        (
            {"shots": words_shots(1), "music": {"file": "a.wav", "volume": 80}},
            "music.volume: is a factor up to 4, and not 80: 0.8 is that %.",
            "seconds",
        ),
        ({"shots": words_shots(1), "aspect_ratio": "9:1"}, '"9:1" is no shape', "seconds"),
        ({"shots": words_shots(1), "aspect_ratio": "0:1"}, '"0:1" is no shape', "seconds"),
        ({"shots": words_shots(1), "aspect_ratio": "16:9 pad"}, "16:9 and fit: pad", "seconds"),
        ({"shots": words_shots(2), "crossfade_s": 4}, "Use at most 2.5 s, or 0 to cut.", ".."),
        (
            {"shots": words_shots(1), "crossfade_s": 1, "join": False},
            "crossfade_s: a batch is not joined",
            "fit",
        ),
        (
            {"shots": words_shots(3), "defaults": {"model_name": "kling-v1"}},
            "shots 1-3, model_name: kling-v1",
            "shots[2]",
        ),
        (
            {"shots": words_shots(1, external_task_id="mine")},
            "shots[1].external_task_id: is not an argument of a shot",
            "this call.",
        ),
        (
            {"shots": words_shots(1, text="Hello", voice_id="kind")},
            "kling_talking_photo for a clip of its own, then its task_id as video",
            "which takes it",
        ),
        (
            {"shots": [{"image": "photo.png", "image_list": ["photo.png"], "prompt": "A"}]},
            "shots[1].image: a shot begins with one picture",
            "Use image_list",
        ),
        (
            {"shots": [{"image": ".", "prompt": "A"}]},
            "Use one shot for each of them",
            "this call.",
        ),
        (
            {"shots": [{"image_list": ["previous", "photo.png"], "prompt": "A"}]},
            "shots[1].image_list: there is no shot before",
            "no file",
        ),
    ],
)
async def test_a_fault_is_told_once_in_words_for_a_film(
    arguments: dict[str, Any], told: str, untold: str, tmp_path: Path
) -> None:
    picture(tmp_path)
    async with serving(tmp_path) as client:
        refused = await film(client, **arguments)

    assert refused.is_error
    assert told in words(refused)
    assert untold not in words(refused)
    assert words(refused).count("is not an argument") <= 2
    assert accepted(tmp_path) == 0


@pytest.mark.parametrize("ratio", ["2.39:1", "9x16", "portrait", "4/3"])
async def test_shapes_are_read_as_people_write_them(ratio: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        planned = await film(client, shots=words_shots(1), aspect_ratio=ratio, dry_run=True)

    assert not planned.is_error
    assert "faults" not in facts(planned)


async def test_previous_counts_in_any_case_and_in_each_argument_for_pictures(
    tmp_path: Path,
) -> None:
    shots = [
        {"image": picture(tmp_path), "prompt": "A"},
        {"image": " Previous", "prompt": "B"},
        {"image_list": ["PREVIOUS", picture(tmp_path)], "prompt": "C"},
    ]
    async with serving(tmp_path, sandbox_side_px=300) as client:
        planned = facts(await film(client, shots=shots, dry_run=True))
        ended = await made(client, shots=shots, join=False)

    assert "faults" not in planned
    assert [shot["status"] for shot in ended["shots"]] == ["succeed"] * 3
    assert accepted(tmp_path) == 3


async def test_a_shot_that_cannot_be_made_has_no_price_and_the_sum_says_so(
    tmp_path: Path,
) -> None:
    shots = [*words_shots(2), {"prompt": "Long", "duration": "60"}]
    async with serving(tmp_path) as client:
        some = await film(client, shots=shots, dry_run=True)
        none = await film(client, shots=shots[2:], dry_run=True)

    assert "3 units (0.42 USD list price) for the shots that can be made" in words(some)
    assert "units" not in facts(some)["shots"][2]
    assert facts(some)["estimate_units"] == 3
    assert "estimate_units" not in facts(none)
    assert "units (" not in words(none)


async def test_a_default_belongs_to_every_shot_that_can_take_it(tmp_path: Path) -> None:
    image = picture(tmp_path)
    shots = [{"image": image, "prompt": "A"}, {"prompt": "B", "sound": "off"}]
    async with serving(tmp_path) as client:
        takes = await film(client, shots=shots, defaults={"take": 2}, dry_run=True)
        lists = await film(client, shots=shots, defaults={"image_list": [image]}, dry_run=True)
        wrong = await film(client, shots=shots, defaults={"mode": "8k"}, dry_run=True)

    assert "faults" not in facts(takes)
    assert "faults" not in facts(lists)
    assert "in the defaults" in words(wrong)


async def test_a_fault_of_all_shots_is_told_once_whatever_tool_makes_them(tmp_path: Path) -> None:
    shots = [{"image": picture(tmp_path), "prompt": "A"}, *words_shots(2)]
    async with serving(tmp_path) as client:
        long = await film(client, shots=shots, defaults={"duration": "60"})
        texts = await film(client, shots=["A beach", "A boat"])

    assert words(long).count("makes 5 or 10 s") == 1
    assert "shots 1-3, duration" in words(long)
    assert 'Use "10" in the defaults' in words(long)
    assert words(texts).count("must be an object") == 1


async def test_a_shot_that_cannot_be_made_is_in_the_list_and_the_film_without_it_has_a_price(
    tmp_path: Path,
) -> None:
    wrong = {"prompt": "Long", "duration": "60"}
    shots = [*words_shots(1), wrong, {"image": "previous", "prompt": "On"}, {"prompt": "End"}]
    async with serving(tmp_path) as client:
        planned = await film(client, shots=shots, dry_run=True)
        refused = await film(client, shots=shots)
        none = facts(await film(client, shots=[wrong], dry_run=True))
        more = facts(await film(client, shots=shots, music="/no/song.mp3", dry_run=True))
        rest = facts(await film(client, shots=[shots[0], shots[3]], dry_run=True))

    assert "2: cannot be made" in words(planned)
    assert "Without shots 2-3 it costs 3 units." in facts(planned)["next"]
    assert "Without shots 2-3 it costs 3 units." in words(refused)
    assert rest["estimate_units"] == 3
    assert "Without" not in none["next"]
    assert "Without" not in more["next"]


async def test_a_full_dry_run_shows_what_would_be_sent(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        planned = facts(await film(client, shots=words_shots(2), dry_run="full"))

    assert [sent["body"]["prompt"] for sent in planned["requests"]] == ["Scene 1", "Scene 2"]
    assert accepted(tmp_path) == 0


async def test_a_batch_is_called_a_batch_and_a_film_a_film(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        batch = await film(client, shots=words_shots(2), join=False, dry_run=True)
        faulty = await film(client, shots=words_shots(2), crossfade_s=4, dry_run=True)

    assert 'Batch "Holiday"' in words(batch)
    assert 'Film "Holiday"' in words(faulty)


async def test_a_plan_that_fits_is_said_once(tmp_path: Path) -> None:
    shots = [{"prompt": f"Scene {n} {'word ' * 90}"} for n in range(12)]
    async with serving(tmp_path) as client:
        planned = await film(client, shots=shots, max_units=15, dry_run=True)

    assert "It fits so: without shots 11-12; 15 units for 50 s." in words(planned)
    assert "All shots cost 18 units at least." in words(planned)
    assert "fits" not in facts(planned)
    assert words(planned).count("Scene") == 0


async def test_music_is_named_by_its_path_too(tmp_path: Path) -> None:
    song = tone(tmp_path / "song.wav", 9)
    async with serving(tmp_path) as client:
        planned = await film(
            client, shots=words_shots(1), music={"path": song, "volume": 0.5}, dry_run=True
        )

    assert "faults" not in facts(planned)
    assert "volume changes nothing" in words(planned)


async def test_music_whose_file_is_gone_is_the_copy_that_the_film_has(tmp_path: Path) -> None:
    song = tone(tmp_path / "song.wav", 1)
    async with serving(tmp_path) as client:
        first = await made(client, shots=words_shots(1), music=song)
        Path(song).unlink()
        again = await made(client, shots=words_shots(1), music=song)
        other = await film(client, name="Other", shots=words_shots(1), music=song, dry_run=True)

    assert again["path"] == first["path"]
    assert "https" not in words(other)
    assert "the path of a sound file" in words(other)


async def test_fades_that_are_cut_short_are_told(tmp_path: Path) -> None:
    music = {"file": tone(tmp_path / "song.wav", 9), "fade_s": 20}
    async with serving(tmp_path) as client:
        planned = await film(client, shots=words_shots(1), music=music, dry_run=True)

    assert "Its fades take 2.5 s each" in words(planned)


def picture_of(folder: Path, width: int, height: int) -> str:
    path = folder / f"{width}x{height}.png"
    Image.new("RGB", (width, height), "teal").save(path)
    return str(path)


async def test_the_shape_of_a_film_is_told_and_what_it_cuts_off(tmp_path: Path) -> None:
    upright, wide = picture_of(tmp_path, 360, 640), picture_of(tmp_path, 640, 480)
    shots = [{"image": image, "prompt": "A"} for image in (upright, wide, wide)]
    shots[2]["prompt"] = "B"
    async with serving(tmp_path) as client:
        cut = await film(client, shots=shots, dry_run=True)
        padded = await film(client, shots=shots, fit="pad", dry_run=True)
        turned = await film(client, shots=shots, aspect_ratio="4:3", dry_run=True)

    assert "15 s, 720x1280, about" in words(cut)
    assert facts(cut)["warnings"] == [
        "shots 2-3: the film is 9:16 and keeps 42% of the picture. Use fit: pad of the whole film "
        "for black bars instead, or aspect_ratio 4:3."
    ]
    assert "shots 2-3: black bars fill 58%" in words(padded)
    assert "720p, 4:3" in words(turned)
    assert "shots[1]: the film is 4:3 and keeps 42%" in words(turned)


async def test_a_shot_of_words_is_asked_for_in_the_shape_of_the_film(tmp_path: Path) -> None:
    upright = picture_of(tmp_path, 360, 640)
    shots = [
        {"prompt": "A wide river"},
        {"image": upright, "prompt": "A"},
        {"image": "previous", "prompt": "On"},
        {"image_list": [upright], "prompt": "B"},
        {"prompt": "Its own", "aspect_ratio": "1:1"},
    ]
    async with serving(tmp_path) as client:
        planned = facts(await film(client, shots=shots, dry_run="full"))
        named = facts(await film(client, shots=shots, aspect_ratio="2.39:1", dry_run="full"))
        batch = facts(await film(client, shots=shots, join=False, dry_run="full"))

    def asked(answer: dict[str, Any]) -> list[str | None]:
        return [sent["body"].get("aspect_ratio") for sent in answer["requests"]]

    assert planned["size"] == "720x1280"
    assert asked(planned) == ["9:16", None, None, "9:16", "1:1"]
    assert asked(named) == ["16:9", None, None, "16:9", "1:1"]
    assert asked(batch) == ["16:9", None, None, "16:9", "1:1"]
    assert len(planned["warnings"]) == 1
    assert "56%" in planned["warnings"][0]


async def test_a_film_whose_first_picture_is_gone_pays_for_no_shot_again(tmp_path: Path) -> None:
    upright = picture_of(tmp_path, 360, 640)
    shots = [{"image": upright, "prompt": "A"}, {"prompt": "B"}]
    async with serving(tmp_path) as client:
        await made(client, shots=shots)
        Path(upright).unlink()
        again = facts(await film(client, shots=shots, dry_run=True))

    assert again["estimate_units"] == 0


async def test_a_shot_whose_pictures_are_gone_is_kept_only_behind_the_same_shot(
    tmp_path: Path,
) -> None:
    gone = picture_of(tmp_path, 360, 640)
    shots = [
        {"prompt": "A"},
        {"image": "previous", "image_tail": gone, "prompt": "B", "mode": "pro"},
    ]
    async with serving(tmp_path, sandbox_side_px=320) as client:
        await made(client, shots=shots, join=False)
        Path(gone).unlink()
        same = facts(await film(client, shots=shots, join=False, dry_run=True))
        other = [{"prompt": "Another"}, shots[1]]
        behind = facts(await film(client, shots=other, join=False, dry_run=True))
        Path(gone).write_text("no picture")
        unusable = facts(await film(client, shots=shots, join=False, dry_run=True))

    assert same["estimate_units"] == 0
    assert [fault["field"] for fault in behind["faults"]] == ["shots[2].image_tail"]
    assert [fault["field"] for fault in unusable["faults"]] == ["shots[2].image_tail"]


@virtual_time
async def test_the_time_is_the_one_that_such_videos_took_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"name": "Holiday", "join": False, "dry_run": True}
    times = []
    async with talking_to(Scripted(lasting(lambda _: 400)), tmp_path, monkeypatch) as client:
        for take in (1, 2, 3):
            wish = {"prompt": "A fox", "duration": "5", "take": take}
            made_one = facts(await client.call_tool("kling_text_to_video", wish))
            plan = await client.call_tool("kling_film", {**asked, "shots": words_shots(2)})
            times.append(facts(plan)["usual_s"])
            await over(client, made_one["task_id"])
        two = await client.call_tool("kling_film", {**asked, "shots": words_shots(2)})
        longer = words_shots(2, duration="10")
        long = await client.call_tool("kling_film", {**asked, "shots": longer})

    assert times == [70] * 3
    assert 400 <= facts(two)["usual_s"] < 440
    assert facts(long)["usual_s"] == 164


@virtual_time
async def test_the_time_of_a_shot_is_that_of_its_own_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = lasting(lambda task_id: 40 if int(task_id[2:]) <= 3 else 400)
    photo = picture(tmp_path, "photo.png")
    model = {"model_name": "kling-v2-6", "mode": "std", "duration": "5"}
    shots = [{"prompt": "A fox", **model}, {"prompt": "A fox", "image": photo, **model}]
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        for tool, more in (("text", {}), ("image", {"image": photo})):
            for take in (1, 2, 3):
                wish = {"prompt": "A hare", "take": take, **more, **model}
                made_one = facts(await client.call_tool(f"kling_{tool}_to_video", wish))
                await over(client, made_one["task_id"])
        asked = {"name": "Holiday", "join": False, "dry_run": True}
        words_first = facts(await client.call_tool("kling_film", {**asked, "shots": shots}))
        photo_first = facts(await client.call_tool("kling_film", {**asked, "shots": shots[::-1]}))

    assert words_first["usual_s"] == photo_first["usual_s"] == pytest.approx(400, abs=5)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (Estimate(1.0, 0.2, price_from="paid last"), "at the prices of its shots"),
        (Estimate(1.0, 0.2, price_from="its row"), "at the prices of its shots"),
        (Estimate(1.0, 0.2), "list price"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.price_from,
)
async def test_a_sum_names_a_source_of_its_price_only_where_it_is_the_one_of_all(
    second: Estimate, told: str
) -> None:
    real = SimpleNamespace(sandbox=False)
    shots: list[Any] = [
        SimpleNamespace(faults=(), is_paid=False, new_row=real, price=price)
        for price in (Estimate(100.0, 14.0), second)
    ]

    assert str(price_of(shots)) == f"about 101 units (14.20 USD {told})"
    assert str(price_of(shots[::-1])) == str(price_of(shots))


@virtual_time
async def test_a_clip_that_the_provider_has_deleted_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [{"url": "https://files.example/1.mp4", "duration": "5"}]
    ended = ends(task_status="succeed", updated_at=10**12, task_result={"videos": videos})
    provider = Scripted(ended, lambda _: httpx.Response(404))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        failed = await made(client, shots=words_shots(1))

    assert "deleted it after 30 days. Take: 2 of the shot makes it anew" in failed["next"]
    assert "fails again" not in failed["next"]


@virtual_time
@pytest.mark.parametrize("status", [403, 503])
async def test_a_clip_that_may_be_deleted_is_made_anew_in_one_way(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [{"url": "https://files.example/1.mp4", "duration": "5"}]
    ended = ends(task_status="succeed", updated_at=10**12, task_result={"videos": videos})
    provider = Scripted(ended, lambda _: httpx.Response(status))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        failed = await made(client, shots=words_shots(1))

    assert "so it may be deleted;" in failed["next"]
    assert "If it cannot be had, take: 2 of the shot makes it anew for 1.5 units" in failed["next"]
    assert "another_take_of" not in failed["next"]
    assert failed["next"].count("anew") == 1


@virtual_time
@pytest.mark.parametrize("past", [False, True])
async def test_a_clip_for_which_the_disk_has_no_space_is_not_paid_again(
    past: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Part, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Part, "append", full)
    videos = [{"url": "https://files.example/1.mp4", "duration": "5"}]
    at = {"updated_at": 10**12} if past else {}
    ended = ends(task_status="succeed", task_result={"videos": videos}, **at)
    clip = httpx.ByteStream(b"0" * 100)
    provider = Scripted(ended, lambda _: httpx.Response(200, stream=clip))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        failed = await made(client, shots=words_shots(1))

    assert "free some space" in failed["next"]
    assert "anew" not in failed["next"]


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Name or service not known", request=request)


def too_large(request: httpx.Request) -> httpx.Response:
    return httpx.Response(
        200, headers={"Content-Length": str(10**13)}, stream=httpx.ByteStream(b"0")
    )


@virtual_time
@pytest.mark.parametrize(
    ("files", "lost"),
    [
        (unreachable, False),
        (too_large, False),
        (lambda _: httpx.Response(403), False),
        (lambda _: httpx.Response(503), False),
        (lambda _: httpx.Response(410), True),
        (lambda _: httpx.Response(200, stream=httpx.ByteStream(b"no clip" * 9)), True),
    ],
    ids=["no network", "too large", "refused", "busy", "not there", "no clip"],
)
async def test_within_its_days_only_a_clip_that_is_lost_is_offered_as_another_take(
    files: Answer, lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [{"url": "https://files.example/1.mp4", "duration": "5"}]
    ended = ends(task_status="succeed", task_result={"videos": videos})
    async with talking_to(Scripted(ended, files), tmp_path, monkeypatch) as client:
        failed = await made(client, shots=words_shots(1))

    take = "If it cannot be had, take: 2 of the shot makes it anew for 1.5 units a shot."
    assert failed["next"].startswith("1 shot of 1 made, and not saved: 1.")
    assert (take in failed["next"]) == ("anew" in failed["next"]) == lost


async def test_the_joining_takes_as_long_as_this_machine_took_last(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await made(client, shots=words_shots(1))
        before = facts(await film(client, name="Sea", shots=words_shots(3), dry_run=True))
    with sqlite3.connect(tmp_path / "home" / "ledger.sqlite3") as ledger:
        ledger.execute("UPDATE films SET facts = ?", ('{"joined_px_s": 3e4}',))
    ledger.close()
    async with serving(tmp_path) as client:
        after = facts(await film(client, name="Sea", shots=words_shots(3), dry_run=True))

    assert "usual_s" not in before
    assert 40 < after["usual_s"] < 60


async def test_a_shot_that_the_rules_refuse_now_names_the_way_that_keeps_its_clip(
    tmp_path: Path,
) -> None:
    photo = picture_of(tmp_path, 360, 640)
    shots = [{"image": photo, "prompt": "A", "mode": "pro"}, *words_shots(1)]
    async with serving(tmp_path) as client:
        before = await made(client, shots=shots, join=False)
        Image.new("RGB", (90, 160)).save(photo)
        refused = facts(await film(client, shots=shots, join=False, dry_run=True))
        shots[0] = {"video": before["shots"][0]["task_id"]}
        kept = facts(await film(client, shots=shots, join=False, dry_run=True))

    (fault,) = refused["faults"]
    assert f'the shot {{"video": "{before["shots"][0]["task_id"]}"}}, which keeps' in fault["use"]
    assert kept["estimate_units"] == 0


async def test_a_picture_added_at_the_end_leaves_the_shots_of_words_as_they_are_made(
    tmp_path: Path,
) -> None:
    added = {"image": picture_of(tmp_path, 360, 640), "prompt": "Added"}
    async with serving(tmp_path) as client:
        await made(client, shots=words_shots(2))
        told = facts(await film(client, shots=[*words_shots(2), added], dry_run=True))
        upright = await made(client, name="Upright", shots=words_shots(1), aspect_ratio="9:16")
        again = facts(await film(client, name="Upright", shots=words_shots(1), dry_run=True))

    assert [shot["units"] for shot in told["shots"]] == [0, 0, 1.5]
    assert "shots[3]: the film is 16:9 and keeps" in told["warnings"][0]
    assert upright["status"] == "succeed"
    assert again["estimate_units"] == 0
    assert again["size"] == "720x1280"


async def test_a_video_that_is_there_joins_for_nothing_whatever_made_it(tmp_path: Path) -> None:
    image = picture(tmp_path)
    async with serving(tmp_path) as client:
        talks = {
            "image": image,
            "text": "Hello there, how are you this fine morning",
            "voice_id": "Melody",
        }
        told = await client.call_tool("kling_talking_photo", {**talks, "prompt": "She smiles"})
        assert not told.is_error, words(told)
        talking = facts(told)["task_id"]
        await over(client, talking)
        paid = accepted(tmp_path)
        shots = [{"video": talking}, *words_shots(1), {"video": f"kling://tasks/{talking}/video"}]
        planned = await film(client, shots=shots, dry_run=True)
        ended = await made(client, shots=shots)
        joined = await film(
            client, name="Joined", shots=[{"video": ended["task_id"]}], dry_run=True
        )
        within = await film(client, name="Both", shots=[{"video": ended["task_id"]}], dry_run=True)
        itself = await film(client, shots=[{"video": ended["task_id"]}])

    assert facts(planned)["estimate_units"] == 1.5
    assert [shot["units"] for shot in facts(planned)["shots"]] == [0, 1.5, 0]
    assert f"{facts(joined)['size']}," in ended["next"]
    assert facts(planned)["seconds"] > 5
    assert [shot["status"] for shot in ended["shots"]] == ["succeed"] * 3
    assert "nothing amiss" in ended["next"]
    assert accepted(tmp_path) == paid + 1
    assert "faults" not in facts(within)
    assert "is this very film" in words(itself)


@pytest.mark.parametrize(
    ("shot", "told"),
    [
        ({"video": "/home/ann/holiday.mp4"}, "shots[1].video: /home/ann/holiday.mp4 is no video"),
        ({"video": "12345678901234567"}, "a film joins no others. Use the task_id of a video"),
        ({"video": "12345678901234567", "prompt": "A"}, "shots[1].prompt: a shot with video is"),
        ({"task_id": "12345678901234567"}, "Use video with that id"),
        ({"video": "film-cf3c9147/3"}, "Use the task_id of its shot: kling_get_task with film-cf3"),
        ({"video": "kling://tasks/film-cf3c9147/zzz"}, "names a part of a film"),
    ],
)
async def test_only_videos_of_this_server_are_shots(
    shot: dict[str, Any], told: str, tmp_path: Path
) -> None:
    async with serving(tmp_path) as client:
        refused = await film(client, shots=[shot])

    assert refused.is_error
    assert told in words(refused)


async def test_shots_of_which_the_same_is_said_share_a_line(tmp_path: Path) -> None:
    shots = [*words_shots(6), {"prompt": "Long", "duration": "10"}, {"prompt": "End"}]
    async with serving(tmp_path) as client:
        told = words(await film(client, shots=shots, dry_run=True))
        broken = await film(client, shots=[*shots, {"image": "none.png"}], dry_run=True)

    assert "\n2-6: 1.5 units each\n7: " in told
    assert "usual_s" not in facts(broken)
    assert "usually made" not in words(broken)


async def test_the_pictures_of_a_folder_are_named_in_the_order_of_a_film(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "1.png"):
        picture(tmp_path, name)
    async with serving(tmp_path) as client:
        refused = await film(client, shots=[{"image": ".", "prompt": "A"}])

    told = words(refused)
    assert "Use one shot for each of them" in told
    assert told.rindex(" 1.png") < told.rindex(" 2.png") < told.rindex(" 10.png")


async def test_a_task_of_pictures_is_no_clip(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        drawn = facts(await client.call_tool("kling_generate_image", {"prompt": "A fox"}))
        refused = await film(client, shots=[{"video": drawn["task_id"]}])

    assert "makes no video. Use image: kling://tasks/" in words(refused)


async def test_the_joining_is_part_of_the_time_and_progress_says_the_same(tmp_path: Path) -> None:
    said = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        said.append(message or "")

    shots = words_shots(12)
    slow = {"sandbox_render_s": 30, "sandbox_slots": 12}
    async with serving(tmp_path, **slow) as client:
        batch = facts(await film(client, shots=shots, join=False, dry_run=True))
    async with serving(tmp_path, **slow, sandbox_side_px=720) as client:
        joined = facts(await film(client, shots=shots, dry_run=True))
        film_id = facts(await film(client, shots=shots))["task_id"]
        asked = {"task_ids": [film_id], "timeout_s": 6}
        await client.call_tool("kling_wait_for_tasks", asked, progress_callback=heard)
        await client.call_tool("kling_cancel_task", {"task_ids": [film_id]})

    assert batch["usual_s"] == 30
    assert joined["usual_s"] == 74
    assert any("usually about 70 s" in words for words in said), said
