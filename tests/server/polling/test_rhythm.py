"""When a running task is looked at, and how long is usual."""

import itertools
import re
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.scripted import Scripted, facts, is_create, talking_to, task
from tests.server.serving import virtual_time

from kling_mcp.polling.pace import RAREST_S, Rhythm, usual_rows, usual_s

ages = st.floats(min_value=0, max_value=1e6)
usual = st.floats(min_value=0, max_value=2_000)
polls = st.floats(min_value=0.1, max_value=30)


def looks(rhythm: Rhythm, until_s: float) -> list[float]:
    """The ages at which a task is looked at that runs for so long."""
    age = rhythm.first_s
    found = [age]
    while (age := age + rhythm.wait_s(age)) < until_s:
        found.append(age)
    return found


@given(ages, usual, polls, st.booleans())
def test_there_is_always_a_next_look_and_never_a_burst(
    age: float, usually: float, poll: float, local: bool
) -> None:
    wait = Rhythm(usually, poll, local=local).wait_s(age)

    assert wait <= max(RAREST_S, 2 * poll, usually)
    assert wait > 0
    if not local and age >= Rhythm(usually, poll).first_s:
        assert wait >= poll


@given(usual, polls)
def test_nobody_is_asked_before_half_of_the_usual_time_is_over(usually: float, poll: float) -> None:
    rhythm = Rhythm(usually, poll)

    assert rhythm.first_s == usually / 2
    assert rhythm.wait_s(0.0) >= min(rhythm.first_s, poll)


def test_the_looks_are_densest_where_the_end_is_likely_and_rare_after_long_silence() -> None:
    ages = looks(Rhythm(160, 5), 3_600)
    gaps = [(age, after - age) for age, after in itertools.pairwise(ages)]

    assert ages[0] == 80
    assert {gap for age, gap in gaps if 140 <= age < 480} == {5}
    assert all(gap >= 10 for age, gap in gaps if age >= 480)
    assert max(gap for _, gap in gaps) == RAREST_S
    assert len(ages) < 3_600 / 5 / 4


def test_a_sandbox_is_looked_at_at_once_and_often() -> None:
    ages = looks(Rhythm(4, 0.5, local=True), 5)

    assert ages[0] == 0
    assert {round(after - age, 6) for age, after in itertools.pairwise(ages)} == {0.5}


@pytest.mark.parametrize(
    ("model", "request_", "seconds"),
    [
        ("kling-v2-5-turbo", {}, 70),
        ("kling-v2-5-turbo", {"mode": "pro", "duration": "5"}, 160),
        ("kling-v2-6", {"mode": "pro", "duration": "10"}, 170),
        ("kling-v2-5-turbo", {"mode": "pro", "duration": "10"}, 164),
        ("a-model-of-tomorrow", {}, 164),
    ],
)
def test_the_usual_time_is_that_of_model_mode_and_duration_or_a_default(
    model: str, request_: dict[str, object], seconds: float
) -> None:
    assert usual_s(model, request_) == seconds


def test_every_usual_time_has_a_source_and_a_date_and_the_last_one_fits_all() -> None:
    rows = usual_rows()

    assert all(row.source and row.date for row in rows)
    assert (rows[-1].model, rows[-1].mode, rows[-1].duration) == ("", "", "")
    assert len({(row.model, row.mode, row.duration) for row in rows}) == len(rows)


@pytest.mark.anyio
@virtual_time
async def test_a_wait_says_how_long_such_videos_took_last_at_this_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: dict[str, float] = {}

    def kling(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            began[f"t-{len(began) + 1}"] = anyio.current_time()
            return task(task_id=f"t-{len(began)}")
        task_id = request.url.path.rsplit("/", 1)[1]
        if anyio.current_time() < began[task_id] + 400:
            return task(task_id=task_id, task_status="processing")
        videos = [{"url": "https://files.example/1.mp4", "duration": "5"}]
        return task(task_id=task_id, task_status="succeed", task_result={"videos": videos})

    said: list[str] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        said.append(message or "")

    async def told(**wish: Any) -> str:
        """What the first wait for it says, which is then waited for to its end."""
        said.clear()
        wish = {"prompt": "A fox", **wish}
        row = facts(await client.call_tool("kling_text_to_video", wish))["task_id"]
        with anyio.fail_after(3600):
            while True:
                asked = {"task_ids": [row], "timeout_s": 60}
                waited = await client.call_tool(
                    "kling_wait_for_tasks", asked, progress_callback=hear
                )
                if facts(waited)["done"]:
                    return said[0]

    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        table = [await told(take=take) for take in (1, 2, 3)]
        measured = await told(take=4)
        longer = await told(take=5, duration="10")

    assert all(words.endswith("usually about 70 s") for words in table)
    (seconds,) = re.findall(r"usually about (\d+) s", measured)
    assert 400 <= int(seconds) <= 440
    assert not re.search("usually about 4[0-4]0 s", longer)
