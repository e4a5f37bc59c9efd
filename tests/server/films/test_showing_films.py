"""Films where other tasks are shown: found by their names, saved, looked at, stopped and listed."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from PIL import Image
from tests.made_clips import make_film
from tests.made_sounds import tone
from tests.server.films.filming import accepted, film, made, over, serving, words_shots
from tests.server.hosting.team import give_token, served_team
from tests.server.scripted import facts, words
from tests.server.serving import SIDE_PX, tasks_of

from kling_mcp.outputs.film_check import Sidecar

pytestmark = pytest.mark.anyio


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    return await client.call_tool(tool, arguments)


async def read(client: Client, uri: str) -> str:
    """What a resource answers, or says is wrong."""
    try:
        await client.read_resource(uri)
    except MCPError as error:
        return str(error)
    return ""


async def listed(client: Client, count: int) -> None:
    """Wait until so many tasks are known."""
    with anyio.fail_after(10):
        while len(tasks_of(facts(await call(client, "kling_list_tasks")))) < count:
            pass


async def test_a_film_is_known_by_its_name_however_it_is_written(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        first = await made(client, name="Our Trip", shots=words_shots(1), join=False)
        film_id = first["task_id"]
        asked = [{"name": name} for name in ("our  TRIP", film_id)]
        again = [facts(await film(client, shots=words_shots(1), join=False, **a)) for a in asked]
        shown = facts(await call(client, "kling_get_task", task_id="our trip"))
        waited = facts(await call(client, "kling_wait_for_tasks", task_ids=["OUR TRIP"]))
        stopped = facts(await call(client, "kling_cancel_task", task_ids=["our trip"]))
        found = tasks_of(facts(await call(client, "kling_list_tasks", product="film")))

    assert {each["task_id"] for each in again} == {film_id}
    assert {each["name"] for each in again} == {"Our Trip"}
    assert shown["task_id"] == waited["tasks"][0]["task_id"] == film_id
    assert stopped["tasks"][0]["task_id"] == film_id
    assert len(found) == 1


async def test_the_film_of_before_is_not_handed_out_as_the_new_one(tmp_path: Path) -> None:
    """While it is made anew, and after it was stopped, its file is named as that of before."""
    shots = words_shots(1)
    async with serving(tmp_path, sandbox_render_s=0.01) as client:
        before = await made(client, shots=shots)
    async with serving(tmp_path, sandbox_render_s=600) as client:
        started = await film(client, shots=[*shots, {"prompt": "More"}])
        film_id = facts(started)["task_id"]
        wish = {"task_id": film_id}
        running = [await call(client, tool, **wish) for tool in ("kling_save_video", "kling_look")]
        frame = await read(client, f"kling://tasks/{film_id}/frames/last")
        clip = await read(client, f"kling://tasks/{film_id}/video")
        used = await call(
            client, "kling_image_to_video", image=f"kling://tasks/{film_id}/frames/last"
        )
        now = facts(await call(client, "kling_get_task", **wish))
        await call(client, "kling_cancel_task", task_ids=[film_id])
        stopped = await call(client, "kling_save_video", **wish)
        after = facts(await call(client, "kling_get_task", **wish))

    assert all(answer.is_error for answer in (*running, used, stopped))
    for said in (*map(words, running), frame, clip, words(used)):
        assert "is being made now" in said
        assert "kling_wait_for_tasks" in said
    assert "was stopped before it was joined" in words(stopped)
    for said in (*map(words, (*running, stopped)), now["next"], after["next"]):
        assert before["path"] in said
        assert "as it was before" in said
    assert "path" not in now
    assert "path" not in after


async def test_a_batch_says_where_its_clips_are(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ended = await made(client, shots=words_shots(2), join=False)
        wish = {"task_id": ended["task_id"]}
        looked = await call(client, "kling_look", **wish)
        frame = await read(client, f"kling://tasks/{ended['task_id']}/frames/last")
        clip = await read(client, f"kling://tasks/{ended['task_id']}/video")

    for said in (words(looked), frame, clip):
        assert "it is a batch" in said
        assert 'kling_look with at ["shot 1"] shows a shot.' in said
        assert "joins it again" not in said
        assert all(shot["task_id"] in said for shot in ended["shots"])


async def test_a_film_that_failed_is_not_said_to_cost_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_faults="task-fails:1") as client:
        failed = await made(client, shots=words_shots(2))
        saved = await call(client, "kling_save_video", task_id=failed["task_id"])

    assert saved.is_error
    assert "It cost nothing" not in words(saved)
    assert "provider says" not in words(saved)
    assert "makes what is missing" in words(saved)


async def test_stopping_says_what_runs_on_and_is_paid_and_what_was_withdrawn_for_nothing(
    tmp_path: Path,
) -> None:
    shots = words_shots(4)
    async with serving(tmp_path, sandbox_render_s=600, sandbox_slots=2) as client:
        single = facts(await call(client, "kling_text_to_video", **shots[3]))
        started = facts(await film(client, shots=shots))
        await listed(client, 5)
        stopped = await call(client, "kling_cancel_task", task_ids=[started["task_id"]])
        shown = await call(client, "kling_get_task", task_id=started["task_id"])
        again = await call(client, "kling_cancel_task", task_ids=[started["task_id"]])
        other = facts(await call(client, "kling_get_task", task_id=single["task_id"]))

    with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
        (told,) = db.execute("SELECT message FROM tasks WHERE product = 'film'").fetchone()
    assert told == "stopped while 1 shot of its own ran, paid once made"
    assert facts(stopped)["withdrawn"] == 2
    assert "Shots 1, 4 run on and are paid (about 3 units of the sandbox)" in words(stopped)
    assert "Shots 2-3 were never sent and cost nothing" in words(stopped)
    assert "Shots 2-3 were never sent" in words(shown)
    assert ". waits" not in words(shown)
    assert "made again" not in words(shown)
    assert facts(again)["withdrawn"] == 0
    assert "been stopped before: nothing to stop" in words(again)
    assert other["status"] in ("submitted", "processing")
    assert accepted(tmp_path) == 2


async def test_stopping_a_film_withdraws_nothing_that_others_wait_for(tmp_path: Path) -> None:
    shots = words_shots(3)
    async with serving(tmp_path, sandbox_render_s=600, sandbox_slots=1) as client:
        await call(client, "kling_text_to_video", prompt="First")
        single = facts(await call(client, "kling_text_to_video", **shots[0]))
        first = facts(await film(client, shots=shots[:2], join=False))
        other = facts(await film(client, name="Other", shots=shots[1:], join=False))
        await listed(client, 6)
        stopped = facts(await call(client, "kling_cancel_task", task_ids=[first["task_id"]]))
        states = [
            tasks_of(facts(await call(client, "kling_list_tasks", text=prompt)))[0]["status"]
            for prompt in ("Scene 1", "Scene 2", "Scene 3")
        ]
        ended = await call(client, "kling_cancel_task", task_ids=[other["task_id"]])

    assert single["status"] == "queued"
    assert stopped["withdrawn"] == 0
    assert states == ["queued"] * 3
    assert facts(ended)["withdrawn"] == 1


async def test_stopping_a_finished_film_says_that_there_was_nothing_to_stop(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ended = await made(client, shots=words_shots(1), join=False)
        stopped = await call(client, "kling_cancel_task", task_ids=[ended["task_id"]])

    assert facts(stopped)["withdrawn"] == 0
    assert "It had been made before: nothing to stop" in words(stopped)


async def test_a_film_shows_each_shot_with_its_words_and_its_file(tmp_path: Path) -> None:
    shots = [{"prompt": "A red boat on the sea"}, {"prompt": "Hills"}]
    async with serving(tmp_path) as client:
        ended = await made(client, shots=shots, join=False)
        folder = Path(ended["shots_in"])
        files = [folder / shot["file"] for shot in ended["shots"]]
        there = [file.exists() for file in files]
        moved = {"task_id": ended["shots"][1]["task_id"], "path": "kept/my-hills.mp4"}
        await call(client, "kling_save_video", **moved)
        after = await call(client, "kling_get_task", task_id=ended["task_id"])

    assert there == [True, True]
    assert "a-red-boat" in files[0].name
    assert facts(after)["shots"][1]["what"] == "Hills"
    assert facts(after)["shots"][1]["file"].endswith("kept/my-hills.mp4")
    assert str(folder) in words(after)


async def test_a_film_that_nobody_makes_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_render_s=600) as client:
        film_id = facts(await film(client, shots=words_shots(2)))["task_id"]
    async with serving(tmp_path, read_only=True) as client:
        with anyio.fail_after(20):
            wish = {"task_ids": [film_id], "timeout_s": 60}
            waited = await call(client, "kling_wait_for_tasks", **wish)

    assert facts(waited)["done"]
    assert "no server makes it now" in words(waited)
    assert "kling_wait_for_tasks again" not in words(waited)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], ids=["newest first"])
async def test_a_list_of_films_says_which_is_a_batch_and_what_all_cost(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await made(client, shots=words_shots(2))
        await made(client, name="Tries", shots=words_shots(3), join=False)
        films = await call(client, "kling_list_tasks", product="film")
        named = await call(client, "kling_list_tasks", text="tries")
        page = await call(client, "kling_list_tasks")

    assert [task["kind"] for task in tasks_of(facts(films))] == ["batch", "film"]
    assert facts(films)["total"]["play_units"] == 4.5
    assert facts(films)["total"]["tasks"] == 2
    assert facts(named)["total"]["play_units"] == 1.5
    assert facts(named)["total"]["tasks"] == 1
    assert tasks_of(facts(page))[0]["kind"] == "batch"
    assert facts(page)["total"]["play_units"] == 4.5
    for answer in (films, page):
        assert "(film" not in words(answer)
        assert "no model" not in words(answer)
        assert "nothing amiss" not in words(answer)


def test_on_a_team_server_a_film_is_there_for_its_owner_alone(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    ann, bob = (give_token(tokens, name) for name in ("ann", "bob"))
    with served_team(tmp_path, tokens=tokens) as team:
        wish = {"name": "Holiday", "shots": words_shots(1)}
        film_id = team.call(ann, "kling_film", **wish)["structuredContent"]["task_id"]
        team.call(ann, "kling_wait_for_tasks", task_ids=[film_id], timeout_s=60)
        listed = json.dumps(team.call(ann, "kling_list_tasks", product="film"))
        of_others = [
            team.call(bob, tool, task_id="holiday")["structuredContent"]
            for tool in ("kling_get_task", "kling_save_video", "kling_look")
        ]

    assert "gone" not in listed
    assert [answer["error"] for answer in of_others] == ["task_not_found"] * 3


async def test_a_wait_tells_each_step_and_never_more_than_the_answer(tmp_path: Path) -> None:
    said: list[str] = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        said.append(message or "")

    async with serving(tmp_path) as client:
        film_id = facts(await film(client, shots=words_shots(2)))["task_id"]
        for seconds in (0, 60):
            wish = {"task_ids": [film_id], "timeout_s": seconds}
            waited = await client.call_tool("kling_wait_for_tasks", wish, progress_callback=heard)
            counts = [int(n) for n in re.findall(r"(\d) of 2 shots made", " ".join(said))]
            answer = re.search(r"(\d) of 2 shots made", words(waited))
            assert counts == sorted(counts)
            assert not answer or int(answer[1]) >= max(counts, default=0)
        await over(client, film_id)

    told = " ".join(said)
    assert "2 of 2 shots made, waiting to be joined" in told
    assert "2 of 2 shots made, joining, " in told


async def test_a_shot_of_a_film_can_be_looked_at_by_its_number(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ended = await made(client, shots=words_shots(2), join=False)
        wish = {"task_id": "holiday", "at": ["shot 2", "first"]}
        looked = facts(await call(client, "kling_look", **wish))
        asked = [{**wish, "at": at} for at in (["shot 3"], ["shot 1", "shot 2"])]
        refused = [words(await call(client, "kling_look", **each)) for each in asked]

    assert looked["task_id"] == ended["shots"][1]["task_id"]
    assert looked["prompt"] == "Scene 2"
    assert "has 2 shots, none with the number 3" in refused[0]
    assert "names several shots" in refused[1]


async def test_a_frame_is_told_by_the_id_that_its_task_is_known_by(tmp_path: Path) -> None:
    shots = [*words_shots(1), {"image": "previous", "prompt": "On"}]
    async with serving(tmp_path, sandbox_side_px=SIDE_PX) as client:
        ended = await made(client, shots=shots, join=False)
        first, second = (shot["task_id"] for shot in ended["shots"])
        wish = {"task_id": "holiday", "at": ["shot 2"]}
        looked = await call(client, "kling_look", **wish)
        said = " ".join(each.text for each in looked.content if each.type == "text")
        shown = facts(await call(client, "kling_get_task", task_id=second))
        with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
            rows = [row for (row,) in db.execute("SELECT id FROM tasks WHERE product != 'film'")]
        planned = [
            facts(await call(client, "kling_image_to_video", image=image, prompt="A", dry_run=True))
            for image in (f"kling://tasks/{row}/{at}" for row in rows for at in WITH_FRAMES)
        ]

    assert facts(looked)["pictures"] == [shown["picture"]]
    assert f"from last frame of {first}" in said
    assert len(planned) == 4
    for answer in (said, json.dumps(shown), *map(json.dumps, planned)):
        assert not any(row in answer for row in rows)
    for each in planned:
        assert any(f" of {task} " in json.dumps(each) for task in (first, second))


WITH_FRAMES = ("frames/1", "contact-sheet")
"""What a video has beside its first and its last frame."""


async def test_what_a_film_was_made_of_goes_where_the_film_goes(tmp_path: Path) -> None:
    shots = [{"prompt": "A"}, {"prompt": "A"}]
    song = tone(tmp_path / "song.wav", 12)
    async with serving(tmp_path) as client:
        ended = await made(client, shots=shots, music=song)
        before = Path(ended["path"]).with_suffix(".json")
        wish = {"task_id": ended["task_id"]}
        moved = await call(client, "kling_save_video", **wish, path="kept/trip.mp4")
        copied = await call(client, "kling_save_video", **wish, path="kept/again.mp4")
        shown = facts(await call(client, "kling_get_task", **wish))

    assert Path(shown["shots_in"]) == before.parent
    assert not before.exists()
    for answer, name in ((moved, "trip"), (copied, "again")):
        assert f"{name}.json beside it" in words(answer)
        beside = Path(facts(answer)["path"]).with_name(f"{name}.json")
        sidecar = Sidecar.model_validate_json(beside.read_bytes())
        assert sidecar.file == f"{name}.mp4"
        assert sidecar.music is not None
        assert sidecar.music.file == "song.wav"
        assert sidecar.units == 1.5
        assert sidecar.sandbox
    assert ".json beside it" in shown["next"]


async def test_a_film_tells_of_the_json_beside_the_file_that_it_tells_of(tmp_path: Path) -> None:
    """Its first name is taken by the shots of the film; a copy has a JSON of its own."""
    kept, other = tmp_path / "videos" / "kept", tmp_path / "videos" / "other"
    kept.mkdir(parents=True)
    (kept / "tea.json").write_text("[]")
    told: list[str] = []
    async with serving(tmp_path) as client:
        ended = await made(client, shots=words_shots(1))
        wish = {"task_id": ended["task_id"]}
        for place in ("kept/tea.mp4", "other/", "kept/last.mp4"):
            saved = await call(client, "kling_save_video", **wish, path=place)
            assert not saved.is_error, words(saved)
            shown = facts(await call(client, "kling_get_task", **wish))
            beside = re.search(r"(\S+\.json) beside it", shown["next"])
            assert beside, shown["next"]
            film = Path(shown["path"])
            told.append(beside[1])
            sidecar = Sidecar.model_validate_json(film.with_name(beside[1]).read_bytes())
            assert sidecar.file == film.name
        film.with_name("last.json").unlink()
        without = facts(await call(client, "kling_get_task", **wish))

    assert (told[0], told[2]) == ("tea-2.json", "last.json")
    assert {each.name for each in kept.iterdir()} == {
        *("tea.json", "tea.mp4", "tea-2.json", "last.mp4")
    }
    assert {each.suffix for each in other.iterdir()} == {".mp4", ".json"}
    assert ".json" not in without["next"]


async def test_the_clips_of_a_batch_are_saved_into_a_folder_in_one_step(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await made(client, shots=[*words_shots(2), {"prompt": "Scene 1"}], join=False)
        wish = {"task_id": "holiday"}
        saved = await call(client, "kling_save_video", **wish, path="tries")
        again = await call(client, "kling_save_video", **wish, path="tries")
        one = await call(client, "kling_save_video", **wish, path="tries/one.mp4")
        shown = facts(await call(client, "kling_get_task", **wish))

    clips = [Path(clip) for clip in facts(saved)["clips"]]
    assert [clip.parent.name for clip in clips] == ["tries", "tries"]
    assert [clip.name[: len("shot-1-scene-1-")] for clip in clips] == [
        *("shot-1-scene-1-", "shot-2-scene-2-")
    ]
    assert all(clip.exists() for clip in clips)
    assert "Saved 2 clips" in words(saved)
    assert facts(again)["clips"] == facts(saved)["clips"]
    assert "kling_save_video with a folder" in shown["next"]
    assert one.is_error
    assert "do not go into one file" in words(one)


async def test_a_shot_whose_clip_is_made_is_not_said_to_have_failed(tmp_path: Path) -> None:
    """Its file cannot be written: it is made and paid, and its row says so."""
    (tmp_path / "videos").write_text("no folder")
    async with serving(tmp_path) as client:
        ended = await made(client, shots=words_shots(1), join=False)
        listed = json.loads((await client.read_resource("kling://tasks")).contents[0].text)  # type: ignore[union-attr]

    shot = ended["shots"][0]
    assert ended["status"] == "failed"
    assert (shot["status"], shot["units"]) == ("succeed", 1.5)
    assert shot["next"]
    assert [
        task.get("kind") for task in listed["tasks"] if task["task_id"] == ended["task_id"]
    ] == ["batch"]


def have_clip(folder: Path, film_id: str, pictures: Sequence[Image.Image]) -> None:
    """Put another clip in the place of the first one of a film, as if that had been made."""
    with closing(sqlite3.connect(folder / "home" / "ledger.sqlite3")) as db:
        (row_id, path) = db.execute(
            "SELECT id, path FROM tasks WHERE id = (SELECT record_id FROM film_shots "
            "WHERE film_id = ? AND number = 1)",
            (film_id,),
        ).fetchone()
        clip = make_film(Path(path), pictures).read_bytes()
        seen = (len(clip), hashlib.sha256(clip).hexdigest(), row_id)
        db.execute("UPDATE tasks SET bytes = ?, sha256 = ? WHERE id = ?", seen)
        db.commit()


async def test_a_film_says_what_is_black_in_it_and_in_which_shot(tmp_path: Path) -> None:
    shots = words_shots(2)
    black = [Image.new("RGB", (64, 48))] * 24
    async with serving(tmp_path) as client:
        batch = await made(client, shots=shots, join=False)
    have_clip(tmp_path, batch["task_id"], black)
    async with serving(tmp_path) as client:
        ended = await made(client, shots=shots)
        listed = await client.call_tool("kling_list_tasks", {"product": "film"})

    assert "It is black from 0 to 1 s, in shot 1." in ended["next"]
    assert "take: 2 of the shot keeps the others." in ended["next"]
    assert "nothing amiss" not in ended["next"]
    assert ".." not in ended["next"]
    assert "It is black" in words(listed)


async def test_the_prices_of_the_shots_sum_to_that_of_the_film(tmp_path: Path) -> None:
    shots = [*words_shots(2), *words_shots(1)]
    async with serving(tmp_path) as client:
        await made(client, name="First", shots=words_shots(1), join=False)
        ended = await made(client, shots=shots, join=False)

    assert [shot["units"] for shot in ended["shots"]] == [0, 1.5, 0]
    assert ended["units"] == 1.5
