"""Films where other tasks are shown: found by their names, saved, looked at, stopped and listed."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from tests.server.films.filming import film, made, serving, words_shots
from tests.server.scripted import facts, words
from tests.server.serving import tasks_of

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


async def test_a_film_is_known_by_its_name_however_it_is_written(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        first = await made(client, name="Our Trip", shots=words_shots(1), join=False)
        film_id = first["task_id"]
        asked = [{"name": name} for name in ("our  TRIP", film_id)]
        again = [facts(await film(client, shots=words_shots(1), join=False, **a)) for a in asked]
        shown = facts(await call(client, "kling_get_task", task_id="our trip"))
        waited = facts(await call(client, "kling_wait_for_tasks", task_ids=["OUR TRIP"]))
        stopped = facts(await call(client, "kling_cancel_task", task_ids=["our trip"]))
        listed = tasks_of(facts(await call(client, "kling_list_tasks", product="film")))

    assert {each["task_id"] for each in again} == {film_id}
    assert {each["name"] for each in again} == {"Our Trip"}
    assert shown["task_id"] == waited["tasks"][0]["task_id"] == film_id
    assert stopped["tasks"][0]["task_id"] == film_id
    assert len(listed) == 1


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
        assert "is a batch" in said
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
