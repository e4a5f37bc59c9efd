"""When a running task is looked at, and how long is usual."""

import itertools
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from tests.server.scripted import Scripted, facts, lasting, talking_to
from tests.server.serving import virtual_time

from kling_mcp.ledger import Ledger, Record
from kling_mcp.polling.pace import RAREST_S, Rhythm, usual_rows, usual_s
from kling_mcp.providers.configured import SANDBOX_KEY

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

    async with talking_to(Scripted(lasting(lambda _: 400)), tmp_path, monkeypatch) as client:
        table = [await told(take=take) for take in (1, 2, 3)]
        measured = await told(take=4)
        longer = await told(take=5, duration="10")

    assert all(words.endswith("usually about 70 s") for words in table)
    (seconds,) = re.findall(r"usually about (\d+) s", measured)
    assert 400 <= int(seconds) <= 440
    assert not re.search("usually about 4[0-4]0 s", longer)


async def made(client: Client, take: int, tool: str = "kling_text_to_video") -> str:
    """The id of a new take."""
    task_id: str = facts(await client.call_tool(tool, {"prompt": "A fox", "take": take}))["task_id"]
    return task_id


async def told_until_over(client: Client, *task_ids: str) -> list[str]:
    """What the waits for these tasks say on their way to the end."""
    said: list[str] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        said.append(message or "")

    asked = {"task_ids": list(task_ids), "timeout_s": 60}
    with anyio.fail_after(3600):
        waited = {"done": False}
        while not waited["done"]:
            answer = await client.call_tool("kling_wait_for_tasks", asked, progress_callback=hear)
            waited = facts(answer)
    return said


def usual_told(said: list[str]) -> set[str]:
    """The usual times in these sentences."""
    return set(re.findall(r"(?:usually about|usual) (\d+) s", " ".join(said)))


@pytest.mark.anyio
@virtual_time
async def test_the_end_of_one_video_does_not_change_how_long_the_others_usually_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Scripted(lasting(lambda task_id: 800 if task_id == "t-5" else 400))
    async with talking_to(kling, tmp_path, monkeypatch) as client:
        for take in (1, 2, 3):
            await told_until_over(client, await made(client, take))
        said = await told_until_over(client, await made(client, 4), await made(client, 5))

    assert any("1 of 2 done" in words for words in said)
    assert usual_told(said) == {"400"}


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize(
    ("told_late_s", "seconds"),
    [(0.0, "400"), (None, "70"), (390.0, "70"), (3_600.0, "70"), (-3 * 86_400.0, "70")],
    ids=[
        "told",
        "not told",
        "by a clock that is late by nearly all of it",
        "by a clock that is late by more than all of it",
        "by a clock that is early",
    ],
)
async def test_a_video_did_not_take_until_somebody_looked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told_late_s: float | None,
    seconds: str,
) -> None:
    kling = Scripted(lasting(lambda _: 400, told_late_s=told_late_s))
    async with talking_to(kling, tmp_path, monkeypatch) as client:
        before = [await made(client, take) for take in (1, 2, 3)]
        await anyio.sleep(1_000)
        await told_until_over(client, *before)
        await anyio.sleep(60)
        said = await told_until_over(client, await made(client, 4))

    assert usual_told(said) == {seconds}


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize(
    ("tool", "settings"),
    [
        ("kling_generate_image", {}),
        (
            "kling_text_to_video",
            {"kling_api_key": SANDBOX_KEY, "kling_base_url": "https://10.0.0.7"},
        ),
    ],
    ids=["images", "the videos of a sandbox"],
)
async def test_what_is_no_video_of_a_provider_may_be_made_sooner_than_the_table_says(
    tool: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Scripted(lasting(lambda _: 10))
    async with talking_to(kling, tmp_path, monkeypatch, **settings) as client:
        for take in (1, 2, 3):
            await told_until_over(client, await made(client, take, tool))
        said = await told_until_over(client, await made(client, 4, tool))

    assert usual_told(said) == {"10"}


@pytest.mark.anyio
@virtual_time
async def test_a_wait_begins_before_it_is_read_how_long_is_usual_which_is_read_once_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    page = Ledger.page

    async def slow(ledger: Ledger, **wanted: Any) -> list[Record]:
        if wanted.get("status") == "succeed":
            read.append(wanted["model_name"])
            await anyio.sleep(300)
        return await page(ledger, **wanted)

    monkeypatch.setattr(Ledger, "page", slow)
    async with talking_to(Scripted(lasting(lambda _: 100)), tmp_path, monkeypatch) as client:
        tasks = [await made(client, take) for take in (1, 2, 3)]
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for task_id in tasks:
                group.start_soon(told_until_over, client, task_id)
        took_s = anyio.current_time() - began

    assert 100 <= took_s < 110
    assert len(read) == 1
