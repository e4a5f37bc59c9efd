"""What waiting costs, and how soon an end is seen: counts in virtual time, the same everywhere."""

import itertools
import math
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from benchmarks.played_provider import PlayedProvider
from benchmarks.virtual_time import VirtualTimeLoop, virtual_clock
from benchmarks.waiting import MIXED, NEW, Wishes, cancelled, handed_over, saved, wait, waited
from mcp import Client
from mcp_types import CallToolResult
from tests.sampling import sampled
from tests.server.serving import tasks_of
from tests.server.tasks.rows import made_before

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.changes import Changes
from kling_mcp.polling.watched import Watched
from kling_mcp.providers.task import Task
from kling_mcp.tasks.lookup import Found

POLL_S = 5.0
TASK_S = 180.0


def in_virtual_time(play: Callable[[], Awaitable[None]]) -> None:
    anyio.run(play, backend_options={"loop_factory": VirtualTimeLoop})


def facts(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    found: dict[str, Any] | None = result.structured_content
    assert found is not None
    return found


async def wait_once(client: Client, ids: list[str], timeout_s: int = 50) -> dict[str, Any]:
    arguments = {"task_ids": ids, "timeout_s": timeout_s}
    return facts(await client.call_tool("kling_wait_for_tasks", arguments))


@pytest.mark.parametrize(
    "tasks", [40, *(pytest.param(tasks, marks=pytest.mark.campaign) for tasks in (100, 500))]
)
def test_a_hundred_tasks_and_more_cost_one_list_request_a_sweep(tasks: int, tmp_path: Path) -> None:
    played = PlayedProvider(lists=True, usual_s=TASK_S)

    async def play() -> None:
        async with handed_over(played, tasks, tmp_path) as (client, ids):
            await wait(client, ids)

    in_virtual_time(play)

    gaps = [after - before for before, after in zip(played.reads, played.reads[1:], strict=False)]
    assert played.pages == len(played.reads)
    assert min(gaps) >= POLL_S - 0.001
    assert len(played.reads) <= 20


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("wishes", [NEW, MIXED], ids=["new standard", "both, two products"])
def test_tasks_of_both_standards_and_several_products_cost_one_line_of_requests(
    wishes: Wishes, count: int, tmp_path: Path
) -> None:
    played = PlayedProvider(lists=True, usual_s=TASK_S)

    async def play() -> None:
        async with handed_over(played, count, tmp_path, wishes) as (client, ids):
            await wait(client, ids)

    in_virtual_time(play)

    gaps = [after - before for before, after in zip(played.reads, played.reads[1:], strict=False)]
    assert min(gaps) >= POLL_S - 0.001
    assert played.most_at_once == 1
    assert len(played.reads) <= 20


@pytest.mark.parametrize("provider", ["kling, mixed", "newapi"])
def test_saving_what_was_waited_for_asks_for_nothing_more(provider: str, tmp_path: Path) -> None:
    assert saved(provider, 4, tmp_path).more == 0


@pytest.mark.parametrize("provider", ["kling", "newapi"])
def test_an_end_is_seen_within_three_seconds_in_the_median(provider: str, tmp_path: Path) -> None:
    figures = waited(provider, 20, tmp_path)

    assert figures.median_s <= 3
    assert figures.p95_s <= POLL_S + 1
    assert figures.requests < figures.naive * (0.05 if provider == "kling" else 0.45)


@pytest.mark.parametrize("tasks", [20, pytest.param(60, marks=pytest.mark.campaign)])
def test_single_queries_are_spread_over_time(tasks: int, tmp_path: Path) -> None:
    played = PlayedProvider(lists=False, usual_s=TASK_S)

    async def play() -> None:
        async with handed_over(played, tasks, tmp_path) as (client, ids):
            await wait(client, ids)

    in_virtual_time(play)

    assert played.pages == 0
    in_each_second: dict[int, int] = {}
    for at in played.reads:
        in_each_second[int(at)] = in_each_second.get(int(at), 0) + 1
    assert max(in_each_second.values()) <= 2 * tasks / POLL_S
    assert played.most_at_once <= 16


@pytest.mark.parametrize(
    ("tasks", "lasts_s", "each"),
    [
        (28, TASK_S, 11),
        (22, 300, 36),
        pytest.param(40, TASK_S, 9, marks=pytest.mark.campaign),
        pytest.param(40, 2.5 * TASK_S, 60, marks=pytest.mark.campaign),
        pytest.param(400, TASK_S, 3.5, marks=pytest.mark.campaign),
    ],
)
def test_some_of_many_like_tasks_are_asked_for_until_one_of_them_has_ended(
    tasks: int, lasts_s: float, each: float, tmp_path: Path
) -> None:
    figures = waited("newapi", tasks, tmp_path, lasts_s)

    assert figures.requests <= tasks * each
    assert figures.median_s <= 4
    assert figures.p95_s <= 2 * POLL_S


@pytest.mark.parametrize("alone", [1, 3])
def test_who_waits_for_few_tasks_hears_of_them_as_if_there_were_no_others(
    alone: int, tmp_path: Path
) -> None:
    played = PlayedProvider(lists=False, usual_s=TASK_S)
    late_s: list[float] = []

    async def play() -> None:
        async with (
            handed_over(played, 26, tmp_path) as (client, ids),
            anyio.create_task_group() as group,
        ):
            soonest = sorted(ids, key=lambda task_id: played.tasks[task_id].ends_at)
            behind = [task_id for task_id in soonest if task_id in ids[20:]][:alone]
            group.start_soon(wait, client, [task_id for task_id in ids if task_id not in behind])
            await wait(client, behind)
            last = max(played.tasks[task_id].ends_at for task_id in behind)
            late_s.append(virtual_clock()() - last)
            group.cancel_scope.cancel()

    in_virtual_time(play)

    assert late_s[0] <= POLL_S + 1


@pytest.mark.campaign
def test_all_tasks_together_have_one_budget_of_queries_a_second(tmp_path: Path) -> None:
    played = PlayedProvider(lists=False, usual_s=TASK_S)

    async def play() -> None:
        async with (
            handed_over(played, 600, tmp_path) as (client, ids),
            anyio.create_task_group() as group,
        ):
            for place in range(0, len(ids), 300):
                group.start_soon(wait, client, ids[place : place + 300])

    in_virtual_time(play)

    assert max(Counter(math.floor(at) for at in played.reads).values()) <= 80 + 16


@pytest.mark.anyio
async def test_an_open_task_takes_little_memory(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    task_id = await made_before(ledger, 0, tmp_path)
    tracemalloc.start()
    try:
        watched = []
        for number in range(200):
            rows = await ledger.several([task_id])
            record = replace(rows[task_id], prompt=f"{number} waves roll " * 20)
            watched.append(Watched(record.id, Found("sandbox", record), 0.5))
        took, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await ledger.close()

    assert took / len(watched) < 2_000


@pytest.mark.parametrize("provider", ["kling", "newapi"])
def test_nothing_is_asked_for_after_a_cancel(provider: str, tmp_path: Path) -> None:
    gone = cancelled(provider, 20, tmp_path)

    assert gone.under_way > 0
    assert gone.requests == 0


def test_a_query_whose_only_waiter_went_away_is_not_waited_for(tmp_path: Path) -> None:
    played = PlayedProvider(lists=False, usual_s=TASK_S)

    async def play() -> None:
        async with (
            handed_over(played, 1, tmp_path) as (client, ids),
            anyio.create_task_group() as group,
        ):
            group.start_soon(wait, client, ids)
            await played.asked.wait()
            assert played.under_way == 1
            group.cancel_scope.cancel()
        assert played.under_way == 0

    in_virtual_time(play)


@pytest.mark.parametrize("lists", sampled([True, False], 2))
def test_ten_waiters_cost_what_one_costs(lists: bool, tmp_path: Path) -> None:
    async def play(played: PlayedProvider, waiters: int, folder: Path) -> None:
        async with (
            handed_over(played, 3, folder) as (client, ids),
            anyio.create_task_group() as group,
        ):
            for _ in range(waiters):
                group.start_soon(wait, client, ids)

    one, ten = PlayedProvider(lists, TASK_S), PlayedProvider(lists, TASK_S)
    in_virtual_time(partial(play, one, 1, tmp_path / "one"))
    in_virtual_time(partial(play, ten, 10, tmp_path / "ten"))

    assert len(ten.reads) == len(one.reads)


def test_news_that_come_while_the_ledger_is_read_do_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call of this process may look at the row just then."""
    played = PlayedProvider(lists=False, usual_s=TASK_S)
    read = Ledger.several
    every_other_time = itertools.cycle([True, False])

    async def read_while_it_changes(ledger: Ledger, any_ids: Collection[str]) -> dict[str, Record]:
        rows = await read(ledger, any_ids)
        changes: Changes = cast(Any, ledger)._seen._changes
        for row in rows.values() if next(every_other_time) else ():
            changes.publish(row.handle)
        for _ in range(10):
            await checkpoint()
        return rows

    monkeypatch.setattr(Ledger, "several", read_while_it_changes)

    async def play() -> None:
        async with handed_over(played, 1, tmp_path) as (client, ids):
            await anyio.sleep(TASK_S - 25)
            assert (await wait_once(client, ids, 50))["done"] is True

    in_virtual_time(play)


def test_who_still_waits_is_answered_when_another_one_goes(tmp_path: Path) -> None:
    played = PlayedProvider(lists=False, usual_s=TASK_S)

    async def play() -> None:
        async with handed_over(played, 1, tmp_path) as (client, ids):
            async with anyio.create_task_group() as group:

                async def goes() -> None:
                    with anyio.CancelScope() as scope:
                        leaving.append(scope)
                        await wait(client, ids)

                leaving: list[anyio.CancelScope] = []
                group.start_soon(goes)
                group.start_soon(wait, client, ids)
                await played.asked.wait()
                leaving[0].cancel()
            assert (await wait_once(client, ids, 0))["done"] is True

    in_virtual_time(play)


def test_what_another_process_saw_done_costs_no_request(tmp_path: Path) -> None:
    played = PlayedProvider(lists=True, usual_s=TASK_S)

    async def play() -> None:
        other = Ledger(tmp_path / "home")
        async with (
            handed_over(played, 2, tmp_path) as (client, ids),
            anyio.create_task_group() as group,
        ):

            async def see_them_done() -> None:
                await anyio.sleep(20)
                for task_id in ids:
                    record = await other.find(task_id)
                    assert record is not None
                    await other.record(record.id, Task(task_id, "failed"))

            group.start_soon(see_them_done)
            began = anyio.current_time()
            answer = await wait_once(client, ids)
            assert answer["done"] is True
            assert anyio.current_time() - began <= 26
        await other.close()

    in_virtual_time(play)

    assert played.reads == []


class Forgetful(PlayedProvider):
    """Its list does not show the oldest task."""

    def _page(self, asked: httpx.QueryParams) -> list[dict[str, Any]]:
        return super()._page(asked)[:-1]


def test_a_task_that_the_list_does_not_show_is_asked_for_by_itself(tmp_path: Path) -> None:
    played = Forgetful(lists=True, usual_s=TASK_S)

    async def play() -> None:
        async with handed_over(played, 3, tmp_path) as (client, ids):
            await wait(client, ids)

    in_virtual_time(play)

    assert played.pages > 0
    assert len(played.reads) - played.pages > 0


def test_tasks_behind_newer_ones_are_found_on_a_larger_page(tmp_path: Path) -> None:
    played = PlayedProvider(lists=True, usual_s=TASK_S)

    async def play() -> None:
        async with handed_over(played, 40, tmp_path) as (client, ids):
            await wait(client, ids[:3])

    in_virtual_time(play)

    assert played.pages >= len(played.reads) - 1, "the last one may be asked for by itself"
    assert len(played.reads) <= 20


class Troubled(PlayedProvider):
    """Answers reads with an error at first."""

    trouble: Callable[[], httpx.Response]
    until = 0

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        troubled = request.method == "GET" and len(self.reads) < self.until
        answer = await super()._answer(request)
        return self.trouble() if troubled else answer


def refusing(status: int, code: int, headers: dict[str, str]) -> Callable[[], httpx.Response]:
    body = {"code": code, "message": "no"}
    return lambda: httpx.Response(status, json=body, headers=headers)


@pytest.mark.parametrize("lists", [True, False])
def test_nobody_is_asked_before_the_time_that_the_provider_names(
    lists: bool, tmp_path: Path
) -> None:
    played = Troubled(lists=lists, usual_s=TASK_S)
    played.trouble, played.until = refusing(429, 1302, {"Retry-After": "45"}), 1
    answers: list[dict[str, Any]] = []

    async def play() -> None:
        async with handed_over(played, 2, tmp_path) as (client, ids):
            answers.append(await wait_once(client, ids, 0))
            answers.append(await wait_once(client, ids, 0))
            await wait(client, ids)

    in_virtual_time(play)

    refused_at, next_at = played.reads[0], played.reads[1 if lists else 2]
    assert next_at - refused_at >= 45
    for answer in answers:
        assert [task["status"] for task in answer["tasks"]] == ["processing"] * 2
        assert any("next" in task for task in answer["tasks"])
        assert not any("error" in task for task in answer["tasks"])


def test_a_provider_that_is_down_is_asked_ever_more_rarely_and_the_last_state_stands(
    tmp_path: Path,
) -> None:
    played = Troubled(lists=False, usual_s=TASK_S)
    played.trouble, played.until = refusing(503, 5000, {}), 10_000

    async def play() -> None:
        async with handed_over(played, 20, tmp_path) as (client, ids):
            for _ in range(12):
                answer = await wait_once(client, ids)
                assert answer["done"] is False
                assert {task["status"] for task in tasks_of(answer)} <= {"submitted", "processing"}

    in_virtual_time(play)

    last = [at for at in played.reads if at > played.reads[-1] - 300]
    assert len(last) < 300 / POLL_S * 20 / 4


def test_progress_tells_the_state_how_long_it_lasts_and_how_long_is_usual(tmp_path: Path) -> None:
    played = PlayedProvider(lists=True, usual_s=100)
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async def play() -> None:
        async with handed_over(played, 3, tmp_path) as (client, ids):
            for _ in range(3):
                await client.call_tool(
                    "kling_wait_for_tasks",
                    {"task_ids": ids, "timeout_s": 45},
                    progress_callback=hear,
                )

    in_virtual_time(play)

    first = "900000000000000000"
    assert heard[0].startswith(f"0 of 3 done, {first} processing for 0 s, usually about 160 s, ")
    assert any(f"{first} processing for 80 s, usually about 160 s" in words for words in heard)
    assert heard[-1] == "3 of 3 done"


def test_a_refused_key_is_told_at_once_with_one_request(tmp_path: Path) -> None:
    played = Troubled(lists=True, usual_s=TASK_S)
    played.trouble, played.until = refusing(401, 1000, {}), 10_000

    async def play() -> None:
        async with handed_over(played, 30, tmp_path) as (client, ids):
            answer = await client.call_tool(
                "kling_wait_for_tasks", {"task_ids": ids, "timeout_s": 0}
            )
            assert answer.is_error
            assert answer.structured_content is not None
            assert answer.structured_content["error"] == "auth_failed"

    in_virtual_time(play)

    assert len(played.reads) <= 2
