"""What can be made to go wrong in the sandbox, each by its switch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_sandbox import ConnectionDropped, Fault, SandboxStore, fault_help, parse_faults
from kling_sandbox.faults import FAULTS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("html-502", Fault("html-502")),
        ("html-502:2", Fault("html-502", times=2)),
        ("html-502@queries:3", Fault("html-502", "queries", 3)),
        ("html-502:3@queries", Fault("html-502", "queries", 3)),
        ("slow:0.1:1@downloads", Fault("slow", "downloads", 1, 0.1)),
        ("slow:2.5", Fault("slow", seconds=2.5)),
        (" slow@downloads:0.1:1 ", Fault("slow", "downloads", 1, 0.1)),
    ],
)
def test_a_switch_says_which_requests_how_late_and_how_often(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert Fault.parse(str(fault)) == fault


@given(
    name=st.sampled_from([*FAULTS, "", "none"]),
    target=st.sampled_from(["", "@creates", "@queries", "@downloads", "@", "@all"]),
    numbers=st.one_of(st.text(":.0123456789", max_size=8), st.text(max_size=8)),
    late=st.sampled_from(["", "@creates", "@downloads", "@"]),
)
@example(name="slow", target="", numbers=":1.2.3", late="")
@example(name="slow", target="", numbers=":.", late="")
@example(name="slow", target="", numbers=":" + "9" * 400, late="")
@example(name="html-502", target="", numbers=":" + "9" * 5_000, late="")
def test_any_switch_is_a_fault_that_reads_the_same_again_or_is_refused(
    name: str, target: str, numbers: str, late: str
) -> None:
    fault = None
    with suppress(ValueError):
        fault = Fault.parse(name + target + numbers + late)

    assert fault is None or Fault.parse(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("html-503", "unknown fault"),
        ("", "unknown fault"),
        ("html-502@downloads", "strikes only creates, queries"),
        ("html-502@everything", "strikes only creates, queries"),
        ("html-502:2@downloads", "strikes only creates, queries"),
        ("html-502@queries:2@queries", "names two targets"),
        ("html-502:1:2", "the number of times must be"),
        ("html-502:1.5", "the number of times must be"),
        ("slow", "requires seconds"),
    ],
)
def test_a_wrong_switch_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Fault.parse(text)


def test_the_help_has_a_line_for_every_switch() -> None:
    lines = fault_help().splitlines()
    for name, row in FAULTS.items():
        (line,) = [line for line in lines if line.split()[0].split(":")[0] == name]
        assert row.text in line
        assert all(len(line) <= 120 for line in lines)


ANSWERS = {
    "rate-limit": (429, 1302, None),
    "rate-limit-retry-after": (429, 1302, "1"),
    "concurrency": (429, 1303, None),
    "concurrency-retry-after": (429, 1303, "1"),
    "ok-with-error": (200, 1201, None),
    "internal": (500, 5000, None),
    "maintenance": (503, 5001, None),
    "backlog": (504, 5002, None),
    "token-expired": (401, 1004, None),
    "no-balance": (429, 1102, None),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_error_answer_comes_once_and_makes_nothing(open_sandbox: Any, name: str) -> None:
    caller = await open_sandbox(f"{name}:1")
    answer = await caller.create()
    retry_after = answer.headers.get("retry-after")
    assert (answer.status_code, answer.json()["code"], retry_after) == ANSWERS[name]
    assert "data" not in answer.json()
    assert caller.store.counts().accepted == 0
    await caller.created()


@pytest.mark.parametrize(("name", "made"), [("html-502", 0), ("html-502-after-accept", 1)])
async def test_a_page_of_html_comes_before_or_after_the_task(
    open_sandbox: Any, name: str, made: int
) -> None:
    caller = await open_sandbox(f"{name}:1")
    answer = await caller.create(external_task_id="x")
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>502 Bad Gateway</h1>" in answer.text
    assert caller.store.counts().accepted == made
    again = await caller.http.get("/v1/videos/image2video/x")
    assert again.status_code == (200 if made else 400)


@pytest.mark.parametrize(("name", "made"), [("drop-before-accept", 0), ("drop-after-accept", 1)])
async def test_the_connection_breaks_before_or_after_the_task(
    open_sandbox: Any, name: str, made: int
) -> None:
    caller = await open_sandbox(f"{name}@creates:1")
    with pytest.raises(ConnectionDropped) as broken:
        await caller.create(external_task_id="x")
    assert not broken.value.answered
    assert caller.store.counts().accepted == made
    again = await caller.create(external_task_id="x")
    assert again.status_code == (400 if made else 200)


async def test_a_fault_strikes_only_its_target(open_sandbox: Any) -> None:
    caller = await open_sandbox("internal@queries")
    created = await caller.created()
    answer = await caller.http.get(f"/v1/videos/image2video/{created['task_id']}")
    assert answer.status_code == 500
    assert (await caller.http.get("/account/costs")).status_code == 500


async def test_a_slow_answer_can_be_given_up(open_sandbox: Any) -> None:
    caller = await open_sandbox("slow:60:1")
    with anyio.move_on_after(0.05) as given_up:
        await caller.create()
    assert given_up.cancelled_caught
    assert caller.store.counts().accepted == 0
    await caller.created()


async def test_strikes_are_counted_over_all_processes(open_sandbox: Any) -> None:
    answers = [await (await open_sandbox("internal:2")).create() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 500, 200]


def test_of_many_claims_at_once_only_so_many_strike(tmp_path: Any) -> None:
    (fault,) = parse_faults(["internal:7"])

    def claim(_: int) -> int:
        return SandboxStore(tmp_path).claim(fault)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(40))) == 7
    SandboxStore(tmp_path).forget_strikes()
    assert SandboxStore(tmp_path).claim(fault)


def test_many_servers_at_once_may_make_the_state_file(tmp_path: Any) -> None:
    (fault,) = parse_faults(["internal:8"])
    with ThreadPoolExecutor(8) as pool:
        for folder in (tmp_path / str(number) for number in range(20)):
            stores = [SandboxStore(folder) for _ in range(8)]
            assert all(pool.map(SandboxStore.claim, stores, [fault] * 8))


async def test_a_task_that_fails_fails_by_risk_control(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox("task-fails")
    created = await caller.created()
    clock.now += 10
    task = await caller.task(created["task_id"])
    assert task["task_status"] == "failed"
    assert task["task_status_msg"] == "Failure to pass the risk control system"
    assert "task_result" not in task


async def test_a_video_may_be_missing_once(open_sandbox: Any, clock: Any) -> None:
    caller = await open_sandbox("download-404:1")
    created = await caller.created()
    clock.now += 10
    url = (await caller.task(created["task_id"]))["task_result"]["videos"][0]["url"]
    answer = await caller.http.get(url)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/xml")
    assert "<Code>NoSuchKey</Code>" in answer.text
