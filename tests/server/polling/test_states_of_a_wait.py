"""The states of a wait change as the drawing in `polling.scheduler` says."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from mcp import Client
from tests.drawings import drawn, states
from tests.server.scripted import Scripted, facts, make, talking_to, task

from kling_mcp.polling import poller, scheduler
from kling_mcp.polling.watched import WaitState, Watched

DRAWN = {arrow[:3] for arrow in drawn(scheduler.__doc__)}
"""State, method and next state, as drawn."""

IDLE = "idle"
"""The state while nobody waits."""

METHODS = {
    scheduler.Scheduler: ("_enter", "_send", "_ask", "_leave"),
    poller.Poller: ("answered", "_save"),
}


class Seen:
    """The states through which tasks went, each with the method that led to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: set[tuple[str, str, str]] = set()
        self._states: dict[Watched, str] = {}
        for owner, names in METHODS.items():
            for name in names:
                monkeypatch.setattr(owner, name, self._noting(owner, name))

    def _noting(self, owner: Any, name: str) -> Any:
        method = getattr(owner, name)

        def called(machine: Any, *args: Any, **more: Any) -> Any:
            result = method(machine, *args, **more)
            if not hasattr(result, "__await__"):
                self._note(name, machine, args)
                return result

            async def awaited() -> None:
                await result
                self._note(name, machine, args)

            return awaited()

        return called

    def _note(self, name: str, machine: Any, args: Iterable[Any]) -> None:
        named = [arg for arg in args if isinstance(arg, Watched)]
        watched = getattr(machine, "_watched", {}).values()
        for one in {*self._states, *watched, *named}:
            before, after = self._states.get(one, IDLE), one.state if one.watches else IDLE
            if before != after:
                self.steps.add((before, name, after))
                self._states[one] = after


def provider(*states: str) -> Scripted:
    """One whose task is in these states when asked, the last one from then on; its file is gone."""
    left = list(states)

    def api(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return task()
        if "/t-1" not in request.url.path:
            return httpx.Response(404, json={"code": 1203, "message": "not found"})
        state = left.pop(0) if len(left) > 1 else left[0]
        videos = [{"url": "https://files.example/a.mp4", "duration": "5.0"}]
        return task(task_status=state, task_result={"videos": videos if state == "succeed" else []})

    return Scripted(api, lambda _: httpx.Response(404))


async def wait(client: Client, task_id: str) -> dict[str, Any]:
    arguments = {"task_ids": [task_id], "timeout_s": 50}
    return facts(await client.call_tool("kling_wait_for_tasks", arguments))


def test_the_drawing_names_the_states_and_the_methods() -> None:
    assert states(drawn(scheduler.__doc__)) == {IDLE, *get_args(WaitState)}
    assert {name for names in METHODS.values() for name in names} == {by for _, by, _ in DRAWN}
    for owner, names in METHODS.items():
        assert all(callable(getattr(owner, name)) for name in names)


@pytest.mark.anyio
async def test_a_task_goes_through_the_states_as_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    playing = provider("submitted", "processing", "succeed")
    async with talking_to(playing, tmp_path, monkeypatch, save=True) as client:
        await make(client, tmp_path)
        assert (await wait(client, "t-1"))["done"]
        await wait(client, "nobodys-task")
        await wait(client, "nobodys-task")
        await wait(client, "t-1")

    assert seen.steps <= DRAWN
    assert seen.steps >= {
        (IDLE, "_enter", "waiting"),
        ("waiting", "_send", "asking"),
        ("asking", "_ask", "waiting"),
        ("asking", "answered", "saving"),
        ("saving", "_save", "over"),
        ("asking", "answered", "over"),
        ("over", "_leave", IDLE),
        (IDLE, "_enter", "over"),
    }


@pytest.mark.anyio
async def test_a_refused_key_ends_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    refused = httpx.Response(401, json={"code": 1002, "message": "access key not found"})
    playing = Scripted(lambda request: task() if request.method == "POST" else refused)
    async with talking_to(playing, tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
        assert (await wait(client, "t-1"))["error"] == "auth_failed"

    assert ("asking", "answered", "over") in seen.steps <= DRAWN


@pytest.mark.anyio
async def test_a_video_that_another_server_saw_finished_is_saved_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(monkeypatch)
    async with talking_to(provider("succeed"), tmp_path, monkeypatch, save=False) as client:
        await make(client, tmp_path)
        await wait(client, "t-1")
    async with talking_to(provider("succeed"), tmp_path, monkeypatch, save=True) as client:
        await wait(client, "t-1")

    assert seen.steps <= DRAWN
    assert (IDLE, "_enter", "saving") in seen.steps
