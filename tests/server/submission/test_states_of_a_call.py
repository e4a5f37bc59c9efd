"""A create goes the way that is drawn in `submission.submission`."""

from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from tests.drawings import Arrow, drawn, states
from tests.server.scripted import CREATE, Scripted, facts, make, talking_to, task
from tests.server.serving import picture

from kling_mcp.providers.retries import TimeLimits
from kling_mcp.submission import submission
from kling_mcp.submission.new_videos import VideoCreate
from kling_mcp.submission.sender import Sender
from kling_mcp.submission.submission import AnsweredInstead, Submission
from kling_tools.errors import KlingError

pytestmark = pytest.mark.anyio

DRAWN = drawn(submission.__doc__)

METHODS: dict[type, tuple[str, ...]] = {
    VideoCreate: ("judge", "refusal", "prepare", "receipt"),
    Submission: ("_dry_run", "_agree", "_refuse_dearer", "_not_answered_yet"),
    Sender: ("send",),
}
"""What is drawn, without `submit`: it calls all of these, and leads on where none has to."""


class Walk:
    """The states through which a create goes, as each of the methods ends. Of the arrows of a
    method the upper one is that of a call which goes well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone = list[Arrow]()
        self._now = "asked"
        self._inside = ContextVar("inside", default=False)
        for owner, names in METHODS.items():
            for name in names:
                monkeypatch.setattr(owner, name, self._noting(name, getattr(owner, name)))

    def _noting(self, name: str, method: Any) -> Any:
        upper = next(arrow.end for arrow in DRAWN if arrow.by == name)

        async def called(*args: Any, **more: Any) -> Any:
            if self._inside.get():  # a step before the create, which is sent as one
                return await method(*args, **more)
            token = self._inside.set(True)
            try:
                result = await method(*args, **more)
            except (AnsweredInstead, KlingError) as ended:
                self._go(name, "answered" if isinstance(ended, AnsweredInstead) else "refused")
                raise
            finally:
                self._inside.reset(token)
            if name != "_refuse_dearer":
                self._go(name, upper)
            return result

        return called

    def _go(self, by: str, end: str) -> None:
        if self._now == "answered":  # the call; its create goes on in the background
            return
        if not any(arrow[:2] == (self._now, by) for arrow in DRAWN):
            self._go("submit", "agreed")
        (arrow,) = [arrow for arrow in DRAWN if arrow[:3] == (self._now, by, end)]
        self.gone.append(arrow)
        self._now = end

    @property
    def methods(self) -> list[str]:
        """Which methods led from state to state, to the last one."""
        return [*(arrow.by for arrow in self.gone), self._now]


def test_every_method_that_is_drawn_is_followed_here() -> None:
    named = {name for names in METHODS.values() for name in names}

    assert {arrow.by for arrow in DRAWN} == {"submit", *named}
    assert states(DRAWN) == {"asked", "judged", "agreed", "ready", "sent", "answered", "refused"}


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        ({}, ["judge", "submit", "prepare", "send", "receipt", "answered"]),
        ({"max_units": 9}, ["judge", "_agree", "prepare", "send", "receipt", "answered"]),
        ({"max_units": 0.1}, ["judge", "_agree", "refused"]),
        ({"dry_run": True}, ["judge", "_dry_run", "answered"]),
        ({"duration": 12}, ["judge", "refusal", "refused"]),
        ({"another_take_of": "nobody"}, ["judge", "refused"]),
    ],
)
async def test_a_call_goes_as_it_is_drawn(
    asked: dict[str, Any], way: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(monkeypatch)
    wish = {"image": picture(tmp_path), "prompt": "Zoom", **asked}
    async with talking_to(Scripted(lambda _: task()), tmp_path, monkeypatch) as client:
        answer = await client.call_tool(CREATE, wish)

    assert walk.methods == way
    assert answer.is_error == (way[-1] == "refused")


async def test_what_was_made_before_goes_the_same_way_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    playing = Scripted(lambda _: task())
    async with talking_to(playing, tmp_path, monkeypatch) as client:
        await make(client, tmp_path)
    walk = Walk(monkeypatch)
    async with talking_to(playing, tmp_path, monkeypatch, confirm_above_units=0.1) as client:
        again = await make(client, tmp_path)

    assert facts(again)["repeated"]
    assert walk.methods == ["judge", "submit", "prepare", "send", "receipt", "answered"]


async def test_a_provider_that_refuses_ends_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(monkeypatch)
    refuses = httpx.Response(400, json={"code": 1201, "message": "no"})
    async with talking_to(Scripted(lambda _: refuses), tmp_path, monkeypatch) as client:
        assert (await make(client, tmp_path)).is_error

    assert walk.methods == ["judge", "submit", "prepare", "send", "refused"]


async def test_a_call_that_is_out_of_time_is_answered_while_its_create_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk, answers = Walk(monkeypatch), anyio.Event()

    async def silent(_: httpx.Request) -> httpx.Response:
        await answers.wait()
        return task()

    soon = TimeLimits(answer_s=0.2)
    async with talking_to(Scripted(silent), tmp_path, monkeypatch, soon) as client:  # type: ignore[arg-type]
        await make(client, tmp_path)
        answers.set()

    assert walk.methods == ["judge", "submit", "prepare", "_not_answered_yet", "answered"]
