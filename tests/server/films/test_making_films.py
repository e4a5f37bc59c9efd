"""A film: several clips for one price and one yes, made once, and joined to one file."""

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from tests.made_sounds import tone
from tests.postgres import Postgres
from tests.server.films.filming import accepted, film, made, over, serving, words_shots
from tests.server.hosting.team import give_token, served_team
from tests.server.scripted import facts, words
from tests.server.serving import SIDE_PX, picture, tasks_of

from kling_mcp.cli.main import main
from kling_mcp.outputs.film_check import Sidecar
from kling_mcp.principal import READ

pytestmark = pytest.mark.anyio


async def test_pictures_words_and_the_frame_before_become_one_file_with_music(
    tmp_path: Path,
) -> None:
    shots = [
        {"image": picture(tmp_path), "prompt": "She turns"},
        {"image": "previous", "prompt": "She walks on"},
        {"prompt": "The sea"},
    ]
    async with serving(tmp_path, sandbox_side_px=SIDE_PX) as client:
        ended = await made(
            client,
            shots=shots,
            defaults={"model_name": "kling-v3", "duration": "3"},
            music={"file": tone(tmp_path / "song.wav", 1), "loop": True},
            aspect_ratio="16:9",
            crossfade_s=0.5,
        )
        looked = facts(await client.call_tool("kling_look", {"task_id": ended["task_id"]}))
        one = await client.call_tool("kling_get_task", {"task_id": ended["shots"][1]["task_id"]})
        page = await client.read_resource(f"kling://tasks/{ended['task_id']}")

    assert ended["status"] == "succeed"
    assert "nothing amiss" in ended["next"]
    assert [shot["status"] for shot in ended["shots"]] == ["succeed"] * 3
    assert accepted(tmp_path) == 3
    assert looked["findings"] == []
    assert looked["audio"] is True
    assert abs(looked["duration_s"] - (3 * 3.04 - 2 * 0.5)) < 0.1
    assert "last frame of" in words(one)
    assert json.loads(page.contents[0].text)["shots"]  # type: ignore[union-attr]
    sidecar = Sidecar.model_validate_json(Path(ended["path"]).with_suffix(".json").read_bytes())
    assert [shot.prompt for shot in sidecar.shots] == ["She turns", "She walks on", "The sea"]
    assert sidecar.units == ended["units"]
    with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
        paid = {row[0] for row in db.execute("SELECT record_id FROM film_tasks")}
        shown = {row[0] for row in db.execute("SELECT record_id FROM film_shots")}
    assert paid == shown
    assert len(paid) == 3


async def test_a_dry_run_prices_every_shot_and_writes_nothing(tmp_path: Path) -> None:
    shots = [*words_shots(2), {"prompt": "Long", "duration": "10"}]
    async with serving(tmp_path, sandbox_render_s=30) as client:
        planned = facts(await film(client, shots=shots, dry_run=True))

    assert [shot["units"] for shot in planned["shots"]] == [1.5, 1.5, 3.0]
    assert planned["estimate_units"] == 6.0
    assert planned["seconds"] == 20
    assert planned["usual_s"] == 30
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()


async def test_the_time_counts_slots_and_shots_that_continue_one_another(tmp_path: Path) -> None:
    async with serving(
        tmp_path, sandbox_side_px=SIDE_PX, sandbox_render_s=10, sandbox_slots=2
    ) as client:
        apart = facts(await film(client, shots=words_shots(5), join=False, dry_run=True))
        image = picture(tmp_path)
        chain = [{"image": image, "prompt": "A"}, *[{"image": "previous", "prompt": "B"}] * 4]
        chained = facts(await film(client, shots=chain, join=False, dry_run=True))

    assert apart["usual_s"] == 30
    assert chained["usual_s"] == 50


async def test_a_film_called_again_goes_on_and_a_changed_shot_alone_is_made_anew(
    tmp_path: Path,
) -> None:
    shots = words_shots(3)
    async with serving(tmp_path) as client:
        first = await made(client, shots=shots)
        paid = accepted(tmp_path)
        same = await made(client, shots=shots)
        assert accepted(tmp_path) == paid
        other = await made(client, shots=[shots[0], {"prompt": "Another"}, shots[2]])

    assert same["path"] == first["path"]
    assert accepted(tmp_path) == paid + 1
    ids = [[shot["task_id"] for shot in each["shots"]] for each in (first, other)]
    assert [a == b for a, b in zip(*ids, strict=True)] == [True, False, True]
    assert other["path"] != first["path"]
    assert Path(first["path"]).exists()


async def test_a_shot_that_fails_is_told_while_the_others_are_made_and_is_made_when_called_again(
    tmp_path: Path,
) -> None:
    shots = words_shots(3)
    async with serving(tmp_path, sandbox_faults="task-fails:1") as client:
        failed = await made(client, shots=shots)
        states = sorted(shot["status"] for shot in failed["shots"])
        again = await made(client, shots=shots)

    assert failed["status"] == "failed"
    assert "1 shot of 3 not made" in failed["next"]
    assert "kling_film with the same name" in failed["next"]
    (refused,) = (shot for shot in failed["shots"] if shot["status"] == "failed")
    assert f"another prompt or picture for shot {refused['shot']} makes only" in failed["next"]
    assert refused["next"] == "cost nothing; requires another prompt or picture for 1.5 units"
    assert states == ["failed", "succeed", "succeed"]
    assert again["status"] == "succeed"
    assert accepted(tmp_path) == 4


async def test_a_cap_below_the_price_names_the_best_plan_that_fits(tmp_path: Path) -> None:
    shots = words_shots(4, mode="pro", duration="10")
    async with serving(tmp_path) as client:
        whole = facts(await film(client, shots=shots, dry_run=True))
        cap = whole["estimate_units"] / 2
        planned = facts(await film(client, shots=shots, max_units=cap, dry_run=True))
        refused = await film(client, shots=shots, max_units=cap)
        fitting = {"shots": shots, **planned["fits"], "max_units": cap}
        fits = facts(await film(client, **fitting, dry_run=True))
        fewer = facts(await film(client, shots=shots, max_units=3, dry_run=True))
        none = facts(await film(client, shots=shots, max_units=0.1, dry_run=True))
        ended = await made(client, **fitting)

    assert refused.is_error
    assert "It fits so: shots 1-4 with" in words(refused)
    assert "This call cost nothing" in words(refused)
    assert len(fitting["shots"]) == 4
    assert fits["estimate_units"] <= cap
    assert not fits.get("faults")
    assert 0 < len(fewer["fits"]["shots"]) < 4
    assert "fits" not in none
    assert "Not even one shot fits" in none["next"]
    assert ended["units"] <= cap


async def test_a_cap_in_dollars_holds_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        over_it = facts(await film(client, shots=words_shots(4), max_usd=0.5, dry_run=True))
        below = facts(await film(client, shots=words_shots(4), max_usd=0.9, dry_run=True))

    assert over_it["faults"]
    assert not below.get("faults")


async def test_the_cap_counts_what_the_film_paid_before_over_restarts(tmp_path: Path) -> None:
    shots = words_shots(2)
    async with serving(tmp_path) as client:
        await made(client, shots=shots, max_units=4)
    async with serving(tmp_path) as client:
        more = await film(client, shots=[*shots, {"prompt": "A third"}], max_units=4)
        enough = await film(client, shots=[*shots, {"prompt": "A third"}], max_units=4.5)

    assert more.is_error
    assert "leaves 1 unit" in words(more)
    assert not enough.is_error


async def test_a_batch_makes_clips_and_no_film(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ended = await made(client, shots=words_shots(3), join=False)
        listed = tasks_of(facts(await client.call_tool("kling_list_tasks", {})))
        saved = await client.call_tool("kling_save_video", {"task_id": ended["task_id"]})

    assert ended["status"] == "succeed"
    assert "path" not in ended
    assert len([task for task in listed if task.get("path")]) == 3
    assert len(facts(saved)["clips"]) == 3


async def test_one_question_is_asked_for_the_whole(tmp_path: Path) -> None:
    from mcp_types import ElicitResult

    asked = []

    async def answer(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"agree": True})

    async with serving(tmp_path, answer=answer, confirm_above_units=1.0) as client:
        ended = await made(client, shots=words_shots(3))

    assert ended["status"] == "succeed"
    assert len(asked) == 1
    assert "4.5 units" in asked[0]


async def test_a_person_who_refuses_pays_nothing(tmp_path: Path) -> None:
    from mcp_types import ElicitResult

    async def answer(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    async with serving(tmp_path, answer=answer, confirm_above_units=1.0) as client:
        refused = await film(client, shots=words_shots(3))

    assert refused.is_error
    assert "did not agree" in words(refused)
    assert accepted(tmp_path) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"shots": [{"image": "previous", "prompt": "A"}]}, "no shot before the first"),
        ({"shots": words_shots(41)}, "at most 40 entries"),
        ({"shots": []}, "shots: is required"),
        ({"shots": words_shots(1), "name": ""}, "name: is required"),
        ({"shots": words_shots(2, duration="99")}, "shots 1-2, duration"),
        ({"shots": words_shots(2), "defaults": {"modle": "pro"}}, "defaults.modle"),
        ({"shots": words_shots(2), "crossfade_s": 4}, "crossfade_s"),
        ({"shots": words_shots(1, max_units=2)}, "shots[1].max_units"),
        ({"shots": words_shots(1), "music": "gone.mp3"}, "music.file"),
        ({"shots": words_shots(1), "music": "photo.png"}, "a sound"),
        ({"shots": words_shots(1), "music": "clip.mp4"}, "a film takes MP3, WAV, M4A or AAC"),
        ({"shots": words_shots(1), "music": "notes.mp3"}, "music.file"),
        ({"shots": words_shots(1), "music": {"file": "photo.png", "volume": 9}}, "music.volume"),
        ({"shots": words_shots(1), "music": "https://example.com/a.mp3"}, "a local sound file"),
        ({"shots": words_shots(1), "music": "song.wav", "join": False}, "a batch is not joined"),
        ({"shots": words_shots(1), "aspect_ratio": "wide"}, "aspect_ratio"),
        ({"shots": ["A beach"]}, "shots[1]"),
    ],
)
async def test_what_is_wrong_is_named_before_anything_is_paid(
    arguments: dict[str, Any], told: str, tmp_path: Path
) -> None:
    picture(tmp_path)
    tone(tmp_path / "song.wav", 1)
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(200))
    (tmp_path / "notes.mp3").write_text("la la la")
    async with serving(tmp_path) as client:
        refused = await film(client, **arguments)

    assert refused.is_error
    assert told in words(refused)
    assert accepted(tmp_path) == 0


async def test_music_that_is_shorter_than_the_film_is_told(tmp_path: Path) -> None:
    song = tone(tmp_path / "song.wav", 3)
    async with serving(tmp_path) as client:
        short = facts(await film(client, shots=words_shots(2), music=song, dry_run=True))
        looped = facts(
            await film(
                client, shots=words_shots(2), music={"file": song, "loop": True}, dry_run=True
            )
        )

    assert "The music lasts 3 s and the film 10 s" in short["note"]
    assert "music" not in looped["note"]


async def test_a_name_is_not_taken_from_a_film_that_is_being_made(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_render_s=600) as client:
        first = facts(await film(client, shots=words_shots(2)))
        same = await film(client, shots=words_shots(2))
        other = await film(client, shots=words_shots(3))
        listed = await client.call_tool("kling_list_tasks", {})
        withdrawn = await client.call_tool("kling_cancel_task", {"task_ids": [first["task_id"]]})

    assert facts(same)["task_id"] == first["task_id"]
    assert other.is_error
    assert "of other shots is being made" in words(other)
    assert "0 of 2 shots made" in words(listed)
    assert facts(withdrawn)["withdrawn"] == 0
    assert "run on and are paid" in words(withdrawn)


async def test_two_servers_that_make_one_film_at_once_pay_each_shot_once(tmp_path: Path) -> None:
    shots = words_shots(3)
    async with serving(tmp_path) as one, serving(tmp_path) as other:
        async with anyio.create_task_group() as group:
            for client in (one, other):
                group.start_soon(lambda client=client: film(client, shots=shots))
        film_id = facts(await film(one, shots=shots))["task_id"]
        ended = [await over(client, film_id) for client in (one, other)]

    assert [each["status"] for each in ended] == ["succeed", "succeed"]
    assert accepted(tmp_path) == 3


async def test_a_server_that_starts_takes_up_what_another_one_left(tmp_path: Path) -> None:
    shots = words_shots(2)
    async with serving(tmp_path, sandbox_render_s=0.3) as client:
        film_id = facts(await film(client, shots=shots))["task_id"]
    async with serving(tmp_path, sandbox_render_s=0.3) as client:
        await client.call_tool("kling_list_tasks", {})
        ended = await over(client, film_id)

    assert ended["status"] == "succeed"
    assert accepted(tmp_path) == 2


async def test_a_server_that_only_reads_takes_up_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, sandbox_render_s=600) as client:
        film_id = facts(await film(client, shots=words_shots(2)))["task_id"]
    async with serving(tmp_path, read_only=True) as client:
        shown = facts(await client.call_tool("kling_get_task", {"task_id": film_id}))

    assert shown["status"] == "processing"


@pytest.mark.parametrize("shots", [5, pytest.param(40, marks=pytest.mark.campaign)])
async def test_an_answer_about_many_shots_is_short(shots: int, tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        planned = facts(await film(client, shots=words_shots(shots), dry_run=True))
        ended = await made(client, shots=words_shots(shots), join=False)

    assert len(json.dumps(planned)) < shots * 150
    assert len(json.dumps(ended["shots"])) < shots * 150
    assert len(json.dumps(ended).replace(str(tmp_path), "")) < max(1_000, shots * 150)


async def test_a_wait_reports_how_many_shots_are_made(tmp_path: Path) -> None:
    said = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        said.append(message or "")

    async with serving(tmp_path, sandbox_side_px=SIDE_PX, sandbox_render_s=0.5) as client:
        shots = [{"image": picture(tmp_path), "prompt": "A"}, {"image": "previous", "prompt": "B"}]
        film_id = facts(await film(client, shots=shots))["task_id"]
        asked = {"task_ids": [film_id], "timeout_s": 60}
        await client.call_tool("kling_wait_for_tasks", asked, progress_callback=heard)

    assert any("1 of 2 shots made" in words for words in said), said


async def test_a_withdrawn_film_makes_no_more_shots_and_goes_on_when_called_again(
    tmp_path: Path,
) -> None:
    shots = [{"image": picture(tmp_path), "prompt": "A"}, {"image": "previous", "prompt": "B"}]
    async with serving(tmp_path, sandbox_side_px=SIDE_PX, sandbox_render_s=0.4) as client:
        film_id = facts(await film(client, shots=shots))["task_id"]
        await client.call_tool("kling_cancel_task", {"task_ids": [film_id]})
        shown = facts(await client.call_tool("kling_get_task", {"task_id": film_id}))
        await anyio.sleep(1.0)
        paid = accepted(tmp_path)
        again = await made(client, shots=shots)

    assert shown["status"] == "cancelled"
    assert paid <= 1
    assert again["status"] == "succeed"
    assert accepted(tmp_path) == 2


async def test_the_same_request_twice_is_one_clip_and_is_paid_once(tmp_path: Path) -> None:
    shots = [{"prompt": "A"}, {"prompt": "A"}, {"prompt": "A", "take": 2}]
    async with serving(tmp_path) as client:
        planned = facts(await film(client, shots=shots, dry_run=True))
        ended = await made(client, shots=shots)

    assert planned["estimate_units"] == 3.0
    assert "the same request as shot 1" in planned["warnings"][0]
    assert ended["units"] == 3.0
    assert accepted(tmp_path) == 2


async def test_a_picture_that_came_as_bytes_is_not_kept_once_its_shot_is_made(
    tmp_path: Path,
) -> None:
    data = base64.b64encode(Path(picture(tmp_path)).read_bytes()).decode()
    shots = [{"image": f"data:image/png;base64,{data}", "prompt": "A"}]
    async with serving(tmp_path) as client:
        await made(client, shots=shots)
        again = facts(await film(client, shots=shots, dry_run=True))
    with closing(sqlite3.connect(tmp_path / "home" / "ledger.sqlite3")) as db:
        kept = "".join(row[0] for row in db.execute("SELECT request FROM film_shots"))

    assert data not in kept
    assert again["estimate_units"] == 0


async def test_a_film_whose_file_is_gone_is_joined_again_for_free(tmp_path: Path) -> None:
    shots = words_shots(2)
    async with serving(tmp_path) as client:
        first = await made(client, shots=shots)
        Path(first["path"]).unlink()
        gone = facts(await client.call_tool("kling_get_task", {"task_id": first["task_id"]}))
        saved = await client.call_tool("kling_save_video", {"task_id": first["task_id"]})
        again = await made(client, shots=shots)

    assert "joins it again" in gone["next"]
    assert "for free" in words(saved)
    assert Path(again["path"]).exists()
    assert accepted(tmp_path) == 2


@pytest.mark.campaign
async def test_two_servers_on_one_database_make_a_film_once(
    tmp_path: Path, postgres: Postgres
) -> None:
    url = postgres.new_schema()
    shots = [*words_shots(2), {"image": "previous", "prompt": "On"}]
    async with (
        serving(tmp_path, sandbox_side_px=SIDE_PX, database=url) as one,
        serving(tmp_path, sandbox_side_px=SIDE_PX, database=url) as other,
    ):
        film_id = facts(await film(one, shots=shots, max_units=4.5))["task_id"]
        same = facts(await film(other, shots=shots, max_units=4.5))["task_id"]
        ended = [await over(client, film_id) for client in (one, other)]

    assert same == film_id
    assert [each["status"] for each in ended] == ["succeed", "succeed"]
    assert accepted(tmp_path) == 3


def test_people_of_a_team_have_films_of_their_own(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    ann, bob, reader = (
        give_token(tokens, name, *scopes)
        for name, scopes in (("ann", ()), ("bob", ()), ("reader", (READ,)))
    )
    with served_team(tmp_path, tokens=tokens) as team:
        wish = {"name": "Holiday", "shots": [{"prompt": "A secret plan"}]}
        of_ann = team.call(ann, "kling_film", **wish)["structuredContent"]["task_id"]
        asked = {"task_ids": [of_ann], "timeout_s": 60}
        waited = team.call(ann, "kling_wait_for_tasks", **asked)["structuredContent"]
        seen = [
            team.call(who, "kling_get_task", task_id=of_ann)["structuredContent"]
            for who in (ann, bob)
        ]
        of_bob = team.call(bob, "kling_film", **wish)["structuredContent"]["task_id"]
        listed = json.dumps(team.call(reader, "kling_list_tasks"))
        refused = team.call(reader, "kling_film", **wish)

    assert waited["tasks"][0]["status"] == "succeed"
    assert seen[0]["url"].startswith("http")
    assert "path" not in seen[0]
    assert seen[1]["error"] == "task_not_found"
    assert of_bob != of_ann
    assert "secret" not in listed
    assert refused["isError"]


async def test_the_terminal_shows_a_film_with_its_shots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    async with serving(tmp_path) as client:
        ended = await made(client, shots=words_shots(2))
    assert await to_thread.run_sync(main, ["tasks", "holiday"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("film: Holiday")
    assert lines[2].strip() == ended["path"]
    assert [line.rpartition("  ")[2] for line in lines[3:7:2]] == [
        "text to video: Scene 1",
        "text to video: Scene 2",
    ]
    assert "would have cost 3 units" in lines[-1]


async def test_a_task_that_is_only_called_like_a_film_is_a_task(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        wish = {"prompt": "A", "external_task_id": "film-0000"}
        receipt = facts(await client.call_tool("kling_text_to_video", wish))
        asked = {"task_ids": ["film-0000", "film-1111"], "timeout_s": 60}
        waited = facts(await client.call_tool("kling_wait_for_tasks", asked))

    assert receipt["status"] == "submitted"
    assert [task["status"] for task in tasks_of(waited)] == ["succeed", "unknown"]
