"""The life of a film over restarts, refusals and calls in between: it is made as it was agreed to,
or it stops and says why."""

import base64
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from mcp import Client
from tests.made_sounds import tone
from tests.server.films.filming import accepted, film, made, over, serving, words_shots
from tests.server.loopback import served_sandbox
from tests.server.scripted import facts, words
from tests.server.serving import picture

from kling_mcp.cli.main import main
from kling_mcp.films.making import FilmMaking
from kling_mcp.outputs.film_check import Sidecar
from kling_sandbox import SandboxStore

pytestmark = pytest.mark.anyio


def forget_what_was_sent(folder: Path) -> None:
    """As if the server of a film had been killed before it sent anything."""
    with closing(sqlite3.connect(folder / "home" / "ledger.sqlite3")) as db:
        db.execute("DELETE FROM tasks WHERE id IN (SELECT record_id FROM film_tasks)")
        db.execute("DELETE FROM film_tasks")
        db.execute("UPDATE film_shots SET record_id = ''")
        db.commit()


async def left_unsent(folder: Path, **settings: Any) -> str:
    """A film of two shots that a server left before it sent any; its id."""
    async with serving(folder, sandbox_render_s=600, **settings) as client:
        film_id = str(facts(await film(client, shots=words_shots(2), join=False))["task_id"])
    forget_what_was_sent(folder)
    return film_id


async def until_accepted(folder: Path, count: int) -> None:
    with anyio.fail_after(30):
        while accepted(folder) < count:  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def taken_up(client: Client, film_id: str) -> dict[str, Any]:
    await client.call_tool("kling_list_tasks", {})
    return await over(client, film_id)


async def test_a_film_of_a_sandbox_is_never_paid_by_the_next_server(tmp_path: Path) -> None:
    film_id = await left_unsent(tmp_path)
    with served_sandbox(tmp_path / "kling") as url:
        key = {"provider": "kling", "kling_api_key": "sandbox-key", "kling_base_url": url}
        async with serving(tmp_path, **key) as client:
            ended = await taken_up(client, film_id)

    assert ended["status"] == "failed"
    assert "agreed to at sandbox, which is not configured" in ended["next"]
    assert "Call kling_film with the same name and shots" in ended["next"]
    assert SandboxStore(tmp_path / "kling").counts().accepted == 0


async def test_a_film_stays_with_its_provider_where_another_one_is_the_default_now(
    tmp_path: Path,
) -> None:
    both = {f"{name}_base_url": "sandbox" for name in ("kling", "cometapi")}
    film_id = await left_unsent(tmp_path, provider="kling", **both)
    async with serving(tmp_path, provider="cometapi", **both) as client:
        ended = await taken_up(client, film_id)
        ids = [shot["task_id"] for shot in ended["shots"]]
        shots = [facts(await client.call_tool("kling_get_task", {"task_id": i})) for i in ids]
        again = facts(await film(client, shots=words_shots(2), join=False, dry_run=True))

    assert ended["status"] == "succeed"
    assert [shot["provider"] for shot in shots] == ["kling", "kling"]
    assert again["estimate_units"] == 0


async def test_shots_whose_providers_were_chosen_are_made_as_they_were_agreed_to(
    tmp_path: Path,
) -> None:
    both = {f"{name}_base_url": "sandbox" for name in ("kling", "cometapi")}
    image, other = picture(tmp_path), picture(tmp_path, "other.png", (480, 360))
    shots = [
        {"image_list": [image, other], "prompt": "Both"},
        {"image": image, "prompt": "Turbo", "model_name": "2.5 turbo", "mode": "pro"},
        {"prompt": "Sea", "sound": "on", "model_name": "kling-v2-6", "mode": "pro"},
    ]
    async with serving(tmp_path, provider="auto", **both) as client:
        planned = facts(await film(client, shots=shots, join=False, dry_run=True))
        ended = await made(client, shots=shots, join=False)

    assert ended["status"] == "succeed"
    assert ended["units"] == planned["estimate_units"]


async def test_a_mistake_of_this_server_ends_the_film_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(making: FilmMaking, rows: Any) -> None:
        raise RuntimeError("a secret of this server")

    async with serving(tmp_path) as client:
        with monkeypatch.context() as patched:
            patched.setattr(FilmMaking, "_joined", broken)
            ended = await made(client, shots=words_shots(1))
        again = await made(client, shots=words_shots(1))

    assert ended["status"] == "failed"
    assert "This server made a mistake, which its log shows." in ended["next"]
    assert "secret" not in str(ended)
    assert again["status"] == "succeed"
    assert accepted(tmp_path) == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"confirm_above_units": 1}, "KLING_MCP_CONFIRM_ABOVE_UNITS (1) requires"),
        ({"max_units_per_day": 1}, "The day's cap is 1 unit"),
    ],
)
async def test_a_film_stops_where_the_next_server_would_have_asked_or_refused(
    settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    film_id = await left_unsent(tmp_path)
    async with serving(tmp_path, **settings) as client:
        ended = await taken_up(client, film_id)
    async with serving(tmp_path) as client:
        again = await made(client, shots=words_shots(2), join=False)

    assert ended["status"] == "failed"
    assert told in ended["next"]
    assert again["status"] == "succeed"


@pytest.mark.parametrize("settings", [{"read_only": True}, {"tools": "core"}])
async def test_a_server_that_cannot_be_called_for_films_makes_none(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    film_id = await left_unsent(tmp_path)
    paid = accepted(tmp_path)
    async with serving(tmp_path, **settings) as client:
        await client.call_tool("kling_list_tasks", {})
        await anyio.sleep(0.2)
        shown = facts(await client.call_tool("kling_get_task", {"task_id": film_id}))

    assert shown["status"] == "processing"
    assert accepted(tmp_path) == paid


async def test_a_shot_whose_answer_was_lost_is_looked_for_at_its_own_provider(
    tmp_path: Path,
) -> None:
    shots, played = words_shots(1), {"kling_base_url": "sandbox", "cometapi_base_url": "sandbox"}
    async with serving(tmp_path, provider="kling", sandbox_render_s=600, **played) as client:
        film_id = facts(await film(client, shots=shots, join=False))["task_id"]
        await until_accepted(tmp_path, 1)
    paid = accepted(tmp_path)
    with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
        db.execute("UPDATE tasks SET task_id = NULL, status = 'unknown' WHERE product <> 'film'")
        db.commit()
    del played["kling_base_url"]
    async with serving(tmp_path, provider="cometapi", **played) as client:
        ended = await taken_up(client, film_id)
        planned = facts(await film(client, shots=shots, join=False, dry_run=True))

    assert ended["status"] == "failed"
    assert "without an answer: 1" in ended["next"]
    assert "Whether it was charged is unknown" in ended["next"]
    assert "may have been made and paid" in " ".join(planned["warnings"])
    assert accepted(tmp_path) == paid == 1


async def test_a_picture_that_changed_after_the_yes_is_not_paid(tmp_path: Path) -> None:
    shots = [{"image": picture(tmp_path), "prompt": "A"}, {"prompt": "B"}]
    async with serving(tmp_path, sandbox_render_s=600) as client:
        film_id = str(facts(await film(client, shots=shots, join=False))["task_id"])
    forget_what_was_sent(tmp_path)
    picture(tmp_path, size=(480, 640))
    paid = accepted(tmp_path)
    async with serving(tmp_path) as client:
        ended = await taken_up(client, film_id)
        again = await made(client, shots=shots, join=False)

    assert "1 shot of 2 not made: 1." in ended["next"]
    assert "its picture has changed since" in ended["next"]
    assert accepted(tmp_path) == paid + 2
    assert again["status"] == "succeed"


async def test_a_picture_that_changes_while_the_film_is_made_makes_it_a_film_of_other_shots(
    tmp_path: Path,
) -> None:
    shots = [{"image": picture(tmp_path), "prompt": "A"}]
    async with serving(tmp_path, sandbox_render_s=600) as client:
        await film(client, shots=shots)
        picture(tmp_path, size=(480, 640))
        again = await film(client, shots=shots)

    assert again.is_error
    assert "of other shots is being made" in words(again)


async def test_a_withdrawn_film_goes_on_at_once_with_the_same_shots_or_with_others(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, sandbox_render_s=0.5) as client:
        film_id = facts(await film(client, shots=words_shots(3), join=False))["task_id"]
        await client.call_tool("kling_cancel_task", {"task_ids": [film_id]})
        other = await film(client, shots=words_shots(2, duration="10"), join=False)
        await client.call_tool("kling_cancel_task", {"task_ids": [film_id]})
        ended = await made(client, shots=words_shots(3), join=False)

    assert not other.is_error, words(other)
    assert ended["status"] == "succeed"
    assert accepted(tmp_path) <= 5


async def test_of_two_calls_at_once_with_other_shots_one_is_refused(tmp_path: Path) -> None:
    answers = []

    async def call(client: Client, count: int) -> None:
        answers.append(await film(client, shots=words_shots(count), join=False))

    async with (
        serving(tmp_path, sandbox_render_s=600) as one,
        serving(tmp_path, sandbox_render_s=600) as other,
        anyio.create_task_group() as group,
    ):
        for client, count in ((one, 2), (one, 3), (other, 4)):
            group.start_soon(call, client, count)

    refused = [answer for answer in answers if answer.is_error]
    assert len(refused) == 2
    assert all("of other shots is being made" in words(answer) for answer in refused)


async def test_a_refused_shot_is_asked_for_again_while_the_others_are_made(tmp_path: Path) -> None:
    shots = words_shots(3)
    faults = {"sandbox_faults": "no-balance:1@creates", "sandbox_render_s": 1.5}
    async with serving(tmp_path, **faults) as client:
        film_id = facts(await film(client, shots=shots, join=False))["task_id"]
        await until_accepted(tmp_path, 2)
        again = facts(await film(client, shots=shots, join=False))
        ended = await over(client, film_id)

    assert again["estimate_units"] == 1.5
    assert ended["status"] == "succeed"
    assert accepted(tmp_path) == 3


async def test_another_crossfade_is_taken_while_the_film_is_made(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_render_s=0.5) as client:
        film_id = facts(await film(client, shots=words_shots(2)))["task_id"]
        again = await film(client, shots=words_shots(2), crossfade_s=1)
        ended = await over(client, film_id)

    assert not again.is_error, words(again)
    assert ", 9.083 s (" in ended["next"]


async def test_the_end_of_a_film_says_why_and_what_is_unknown(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_faults="no-balance@creates") as client:
        refused = await made(client, shots=words_shots(2))
    async with serving(tmp_path / "other", sandbox_faults="html-login@creates") as client:
        lost = await made(client, shots=words_shots(1))

    assert "2 shots of 2 not made: 1-2." in refused["next"]
    assert "Shots 1-2: " in refused["next"]
    assert "This call cost nothing" not in refused["next"]
    assert "1 shot of 1 without an answer: 1." in lost["next"]
    assert "Whether it was charged is unknown" in lost["next"]


async def test_a_clip_that_cannot_be_fetched_ends_the_film_with_words(
    tmp_path: Path,
) -> None:
    shots = words_shots(2)
    async with serving(tmp_path) as client:
        first = await made(client, shots=shots[:1], join=False)
        path = facts(
            await client.call_tool("kling_get_task", {"task_id": first["shots"][0]["task_id"]})
        )["path"]
    Path(path).unlink()
    async with serving(tmp_path, sandbox_faults="download-404@downloads") as client:
        ended = await made(client, shots=shots, join=False)
    async with serving(tmp_path) as client:
        again = await made(client, shots=shots, join=False)

    assert ended["status"] == "failed"
    assert "2 shots of 2 made, and not saved: 1-2." in ended["next"]
    assert "take: 2 of the shot makes it anew for 1.5 units a shot" in ended["next"]
    assert again["status"] == "succeed"
    assert accepted(tmp_path) == 2


async def test_a_film_outlasts_an_outage_of_minutes(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_faults="maintenance:30@creates") as client:
        ended = await made(client, shots=words_shots(1), join=False)

    assert ended["status"] == "succeed"
    assert accepted(tmp_path) == 1


async def test_a_film_that_cannot_be_made_anew_keeps_its_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        first = await made(client, shots=words_shots(1))
    async with serving(tmp_path, sandbox_faults="no-balance@creates") as client:
        await made(client, shots=[*words_shots(1), {"prompt": "More"}])
    async with serving(tmp_path) as client:
        again = await made(client, shots=words_shots(1))
    with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
        known = db.execute("SELECT path FROM tasks WHERE product = 'film'").fetchall()

    assert again["path"] == first["path"]
    assert known == [(first["path"],)]


async def test_a_film_costs_all_that_was_paid_for_it_and_nothing_that_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    retake = [*words_shots(1), {"prompt": "Scene 2 again"}]
    async with serving(tmp_path) as client:
        await made(client, shots=words_shots(2))
        ended = await made(client, shots=retake)
        listed = facts(await client.call_tool("kling_list_tasks", {"product": "film"}))
        other = await made(client, name="Again", shots=[{"prompt": "Own"}, *retake])
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    assert await to_thread.run_sync(main, ["tasks", ended["task_id"]]) == 0
    sidecar = Sidecar.model_validate_json(Path(ended["path"]).with_suffix(".json").read_bytes())

    assert ended["units"] == 4.5
    assert listed["tasks"][0]["units"] == 4.5
    assert sidecar.units == 4.5
    assert "4.5 in all" in capsys.readouterr().out
    assert other["units"] == 1.5
    assert "Shots 2-3 were there before, and not paid again." in other["next"]


async def test_a_film_that_is_made_says_so_when_it_is_called_again(tmp_path: Path) -> None:
    song = tone(tmp_path / "song.wav", 1)
    wish = {"shots": words_shots(1), "music": song}
    async with serving(tmp_path) as client:
        first = await made(client, **wish)
        planned = facts(await film(client, **wish, dry_run=True))
        again = facts(await film(client, **wish))
        shown = facts(await client.call_tool("kling_get_task", {"task_id": first["task_id"]}))
        Path(first["path"]).unlink()
        gone = facts(await film(client, **wish, dry_run=True))

    told = f"Already made, and nothing is left to pay or to join: {first['path']}."
    assert planned["next"] == again["next"] == told
    assert again["status"] == shown["status"] == "succeed"
    assert gone["next"].startswith("Tell the person")


async def test_a_version_that_replaces_another_one_says_so_before_and_after(
    tmp_path: Path,
) -> None:
    shots = words_shots(3)
    changed = [shots[0], {"prompt": "Slower"}]
    async with serving(tmp_path) as client:
        first = await made(client, shots=shots)
        clips = [{"video": shot["task_id"]} for shot in first["shots"][:2]]
        shorter = facts(await film(client, shots=clips, dry_run=True))
        planned = facts(await film(client, shots=changed, dry_run=True))
        started = facts(await film(client, shots=changed))
        ended = await over(client, first["task_id"])

    for answer in (planned, started):
        assert f'Takes the place of "Holiday" of 3 shots ({first["path"]})' in answer["note"]
        assert "that file stays, and another name keeps both films." in answer["note"]
        assert "It had 3 shots: without 2-3." in answer["note"]
    assert "It had 3 shots: without 3." in shorter["note"]
    assert f"The version before it stays: {first['path']}." in ended["next"]


async def test_nothing_of_a_joining_that_was_killed_stays_and_no_music_of_before(
    tmp_path: Path,
) -> None:
    songs = [tone(tmp_path / f"{n}.wav", n) for n in (1, 2)]
    wish = {"shots": words_shots(1)}
    async with serving(tmp_path) as client:
        first = await made(client, **wish, music=songs[0])
        (kept,) = (tmp_path / "home" / "music").iterdir()
        os.utime(kept, (0, 0))
        Path(first["path"]).unlink()
        part = Path(first["path"]).with_name(f".{Path(first['path']).name}.0123abcd.part")
        part.write_bytes(b"half")
        await made(client, **wish, music=songs[1])

    assert not part.exists()
    assert not kept.exists()
    assert len([*(tmp_path / "home" / "music").iterdir()]) == 1


async def test_a_shot_is_kept_wherever_it_stands_though_its_picture_is_gone(tmp_path: Path) -> None:
    photo = picture(tmp_path)
    shots = [{"prompt": "Words"}, {"image": photo, "prompt": "A"}]
    async with serving(tmp_path) as client:
        await made(client, shots=shots, join=False)
        Path(photo).unlink()
        planned = facts(await film(client, shots=shots[::-1], join=False, dry_run=True))

    assert planned["estimate_units"] == 0
    assert not planned.get("faults")


async def test_a_known_name_alone_goes_on_with_the_shots_and_the_wish_of_before(
    tmp_path: Path,
) -> None:
    song = tone(tmp_path / "song.wav", 3)
    shots = [
        {"image": picture(tmp_path), "prompt": "Held"},
        {"image": "previous", "prompt": "On"},
        *words_shots(1, mode="pro"),
    ]
    short = {"defaults": {"model_name": "kling-v3", "duration": "3"}}
    wish = {"aspect_ratio": "1:1", "crossfade_s": 0.5, "fit": "pad", "music": song, **short}
    async with serving(tmp_path, sandbox_side_px=300) as client:
        first = await made(client, shots=shots, **wish)
        again = facts(await film(client, dry_run=True))
        batch = facts(await film(client, join=False, dry_run=True))
        unknown = await film(client, name="Unknown")

    assert again["estimate_units"] == 0
    assert first["path"] in again["next"]
    assert batch["batch"]
    assert "shots: is required" in words(unknown)
    assert accepted(tmp_path) == 3


async def test_a_known_name_alone_has_the_clip_of_a_picture_that_is_not_kept(
    tmp_path: Path,
) -> None:
    shots = [{"image": data_uri(tmp_path), "prompt": "Held"}, *words_shots(1)]
    async with serving(tmp_path) as client:
        await made(client, shots=shots, join=False)
        again = facts(await film(client, dry_run=True))
    with served_sandbox(tmp_path / "kling", keys=("a-key-of-an-account",)) as url:
        key = {"provider": "kling", "kling_api_key": "a-key-of-an-account", "kling_base_url": url}
        async with serving(tmp_path, **key) as client:
            real = await film(client, dry_run=True)

    assert again["estimate_units"] == 0
    assert again["batch"]
    assert "shots: is required" in words(real)


async def test_a_film_whose_picture_is_not_kept_asks_for_its_shots(tmp_path: Path) -> None:
    shots = [{"image": data_uri(tmp_path), "prompt": "Held"}]
    async with serving(tmp_path, sandbox_render_s=600) as client:
        film_id = facts(await film(client, shots=shots))["task_id"]
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [film_id], "timeout_s": 5})
        await client.call_tool("kling_cancel_task", {"task_ids": [film_id]})
        refused = await film(client)

    assert "shots: is required" in words(refused)


def data_uri(folder: Path) -> str:
    encoded = base64.b64encode(Path(picture(folder)).read_bytes()).decode()
    return f"data:image/png;base64,{encoded}"


async def test_a_film_is_joined_anew_when_a_film_in_it_has_changed(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        inner = await made(client, name="Inner", shots=words_shots(1))
        shots = [{"video": inner["task_id"]}]
        await made(client, shots=shots)
        same = facts(await film(client, shots=shots))
        await made(client, name="Inner", shots=words_shots(2))
        changed = await made(client, shots=shots)

    assert "Already made" in same["next"]
    assert "10.083 s" in changed["next"]


async def test_a_batch_that_was_a_film_once_has_no_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        joined = await made(client, shots=words_shots(1))
        batch = await made(client, shots=words_shots(1), join=False)

    assert joined["path"]
    assert "path" not in batch
    assert batch["kind"] == "batch"


async def test_a_video_that_failed_is_not_promised_anew(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_faults="task-fails:1") as client:
        video = await client.call_tool("kling_text_to_video", {"prompt": "A river"})
        ended = await made(client, shots=[{"video": facts(video)["task_id"]}])

    assert ended["shots"][0]["next"] == "there is no video of this task; requires another one"
    assert "another video for shot 1" in ended["next"]


async def test_a_shot_that_runs_at_a_provider_without_a_key_is_warned_of(tmp_path: Path) -> None:
    there = {"provider": "cometapi", "cometapi_base_url": "sandbox", "sandbox_render_s": 600}
    async with serving(tmp_path, **there) as client:
        await film(client, shots=words_shots(2))
        await until_accepted(tmp_path, 2)
    async with serving(tmp_path) as client:
        told = facts(await film(client, shots=words_shots(2), dry_run=True))

    assert "shots 1-2: runs at cometapi, which is not configured now" in told["warnings"][0]


async def test_nothing_takes_the_place_of_clips_that_are_joined_or_named_or_left_apart(
    tmp_path: Path,
) -> None:
    shots = words_shots(2)
    async with serving(tmp_path) as client:
        batch = await made(client, shots=shots, join=False)
        named = [{"video": shot["task_id"]} for shot in batch["shots"]]
        joined = facts(await film(client, shots=shots, dry_run=True))
        same = facts(await film(client, shots=named, join=False, dry_run=True))
        await made(client, shots=shots)
        apart = facts(await film(client, shots=shots, join=False, dry_run=True))
        other = facts(await film(client, shots=shots[:1], dry_run=True))

    assert "Takes the place" not in str([joined, same, apart])
    assert "Takes the place" in other["note"]


async def test_what_a_lost_clip_makes_anew_names_the_shots_behind_it(tmp_path: Path) -> None:
    shots = [*words_shots(1), {"image": "previous", "prompt": "On"}]
    async with serving(tmp_path, sandbox_faults="download-404@downloads:1") as client:
        ended = await made(client, shots=shots, join=False)

    assert "for 1.5 units a shot; shot 2 continues it and is made anew, too." in ended["next"]
