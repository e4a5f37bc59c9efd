"""Caps in US dollars: over units and cash, over restarts and several servers, with the price that
the account pays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from tests.server.scripted import CREATE, Answer, Scripted, facts, talking_to, task, words
from tests.server.serving import picture, sandbox_settings

from kling_mcp.ledger import DayCaps, Ledger, NewRow
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.task import Task
from kling_tools.errors import SpendCapReached

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def one_attempt() -> Any:
    with stamina.set_testing(True, attempts=1, cap=True):
        yield


def cash_account(quota: str, **more: str) -> Answer:
    """A provider whose accounts pay each video from their balance."""
    made: list[str] = []

    def answer(request: Any) -> Any:
        if request.method == "POST":
            made.append(f"t-{len(made) + 1}")
            return task(task_id=made[-1])
        return task(
            task_id=request.url.path.rsplit("/", 1)[1],
            task_status="succeed",
            task_result={"videos": [{"url": "https://v.example/a.mp4", "duration": "5"}]},
            final_unit_deduction="0",
            final_balance_deduction={"quota": quota, **more},
        )

    return answer


async def make(client: Client, folder: Path, take: int, **more: Any) -> Any:
    """The answer to a create of 1.5 units, whose task is looked at once."""
    arguments = {"image": picture(folder), "prompt": "Zoom", "take": take, **more}
    made = await client.call_tool(CREATE, arguments)
    if not made.is_error and not more.get("dry_run"):
        await client.call_tool("kling_get_task", {"task_id": facts(made)["task_id"]})
    return made


@pytest.mark.anyio
async def test_a_cap_in_dollars_counts_what_the_balance_paid_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(cash_account("0.30"))
    for take in (1, 2):
        async with talking_to(provider, tmp_path, monkeypatch, max_usd_per_day=0.7) as client:
            assert not (await make(client, tmp_path, take)).is_error

    async with talking_to(provider, tmp_path, monkeypatch, max_usd_per_day=0.7) as client:
        refused = await make(client, tmp_path, 3)
        dry = await make(client, tmp_path, 3, dry_run=True)
        account = await client.call_tool("kling_account", {})

    for answer in (refused, dry):
        assert (
            "The day's cap is 0.7 USD; 0.60 USD were spent in the last 24 hours, and this video "
            "would cost about 0.30 USD (0.2 USD a unit, as its balance paid last)."
        ) in words(answer)
        assert "free again in 24 h 0 min; or have KLING_MCP_MAX_USD_PER_DAY raised" in words(answer)
    cap = next(cap for cap in facts(account)["caps"] if "usd" in cap)
    assert cap == {
        "of": "24 hours",
        "usd": 0.7,
        "used": 0.6,
        "frees": 0.3,
        "frees_in": "24 h 0 min",
        "setting": "KLING_MCP_MAX_USD_PER_DAY",
    }


@pytest.mark.anyio
async def test_a_cap_in_dollars_on_one_video_takes_the_account_s_own_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(cash_account("0.15", list_price="0.60"))
    async with talking_to(provider, tmp_path, monkeypatch, max_usd_per_task=0.25) as client:
        assert not (await make(client, tmp_path, 1)).is_error
        refused = await make(client, tmp_path, 2)

    assert (
        "This video would cost about 0.60 USD (0.4 USD a unit, as its balance paid last); the cap "
        "for one video (KLING_MCP_MAX_USD_PER_TASK) is 0.25 USD."
    ) in words(refused)


@pytest.mark.anyio
async def test_an_answer_tells_the_price_that_the_balance_paid_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(Scripted(cash_account("0.30")), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
        dry = await make(client, tmp_path, 2, dry_run=True)
        made = await make(client, tmp_path, 2)

    for answer in (dry, made):
        assert "about 1.5 units (0.30 USD as its balance paid last)" in words(answer)
        assert facts(answer)["price_from"] == "paid last"


@pytest.mark.anyio
async def test_the_cap_of_a_film_takes_the_price_that_the_balance_paid_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = [{"image": picture(tmp_path), "prompt": f"Scene {n}"} for n in (1, 2)]
    asked = {"name": "Holiday", "shots": shots, "dry_run": True, "max_usd": 0.5}
    async with talking_to(Scripted(cash_account("0.30")), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
        over = await client.call_tool("kling_film", asked)

    assert "about 3 units (0.60 USD as its balance paid last)" in words(over)
    assert "costs about 0.60 USD (0.2 USD a unit, as its balance paid last)" in words(over)


@pytest.mark.anyio
async def test_a_cap_in_dollars_names_what_fits_under_it(tmp_path: Path) -> None:
    capped = sandbox_settings(tmp_path, max_usd_per_day=0.25)
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v2-5-turbo"}
    async with Client(build_server(capped)) as client:
        refused = await client.call_tool(CREATE, {**wish, "duration": 10})
        passes = facts(refused)["would_pass"]["change"]
        made = await client.call_tool(CREATE, {**wish, "duration": 10, **passes})

    assert "(0.14 USD a unit, the public price)" in words(refused)
    assert "Have KLING_MCP_MAX_USD_PER_DAY raised." in words(refused)
    assert not made.is_error, words(made)


def wish(digest: str, units: float | None = 2.0, **more: Any) -> NewRow:
    return NewRow(
        provider="kling",
        base_url="https://kling.example",
        product="image2video",
        digest=digest,
        take=1,
        model_name="kling-v2-6",
        prompt="waves",
        request={},
        estimate_units=units,
        **more,
    )


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def refusal(ledger: Ledger, new_row: NewRow, caps: DayCaps) -> SpendCapReached:
    with pytest.raises(SpendCapReached) as raised:
        await ledger.reserve(new_row, caps=caps)
    return raised.value


@pytest.mark.anyio
async def test_yuan_count_as_dollars_at_a_rate_that_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, Clock())
    row, _ = await ledger.reserve(wish("a"))
    await ledger.record(row.id, Task("t-1", "succeed", money=14.0, currency="CNY"))

    told = await refusal(ledger, wish("b"), DayCaps(team_usd=3.0))

    assert "2.00 USD were spent" in told.message
    assert "about 2.00 USD (1 USD a unit, as its balance paid last, 7 CNY counted as 1 USD)" in (
        told.message
    )
    await ledger.close()


@pytest.mark.anyio
async def test_a_refusal_says_when_enough_of_the_cap_is_free_again(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(tmp_path, clock)
    for digest in "abc":
        await ledger.reserve(wish(digest))
        clock.now += HOUR_S

    two = await refusal(ledger, wish("d", 4.0), DayCaps(6.0))
    one = await refusal(ledger, wish("d"), DayCaps(team_usd=0.84))
    never = await refusal(ledger, wish("d", 9.0), DayCaps(6.0))
    unknown = await refusal(ledger, wish("d", None), DayCaps(team_usd=100.0))

    assert two.advice.startswith("Enough of it is free again in 22 h 0 min;")
    assert one.advice.startswith("Enough of it is free again in 21 h 0 min;")
    assert never.advice == "Have KLING_MCP_MAX_UNITS_PER_DAY raised."
    assert "price of this video is not known" in unknown.message
    await ledger.close()


@pytest.mark.anyio
async def test_each_login_has_a_cap_in_dollars_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, Clock())
    caps = DayCaps(principal_usd=0.3)
    await ledger.reserve(wish("a", principal="ann"), caps=caps)
    await ledger.reserve(wish("b", principal="bob"), caps=caps)

    told = await refusal(ledger, wish("c", principal="ann"), caps)

    assert told.message.startswith("Your cap for a day is 0.3 USD; 0.28 USD were spent")
    assert "KLING_MCP_MAX_USD_PER_DAY_USER" in told.advice
    await ledger.close()


steps = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from((0.5, 1.5, 3.0)),
        st.sampled_from((None, "units", "USD", "CNY")),
    ),
    max_size=14,
)


@given(steps, st.sampled_from((0.3, 1.0, 2.5)))
def test_two_servers_never_promise_more_dollars_than_the_cap(
    tmp_path_factory: pytest.TempPathFactory,
    steps: Sequence[tuple[int, float, str | None]],
    cap: float,
) -> None:
    """Each video costs what was expected, in units or in cash."""

    async def spend() -> None:
        folder = tmp_path_factory.mktemp("ledger")
        servers = [Ledger(folder, Clock()), Ledger(folder, Clock())]
        promised = 0.0
        for number, (server, units, paid) in enumerate(steps):
            try:
                row, _ = await servers[server].reserve(
                    wish(str(number), units), caps=DayCaps(team_usd=cap)
                )
            except SpendCapReached:
                continue
            assert row.estimate_usd is not None
            promised += row.estimate_usd
            assert promised <= cap + 1e-6
            cost: dict[str, Any] = {"units": units} if paid == "units" else {}
            if paid in ("USD", "CNY"):
                rate = 7 if paid == "CNY" else 1
                cost = {"money": row.estimate_usd * rate, "currency": paid}
            if paid:
                await servers[1 - server].record(row.id, Task(f"t-{number}", "succeed", **cost))
        spent = await servers[0].spent_in_a_day(None, sandbox=False, usd_per_unit=0.14)
        assert spent == pytest.approx(promised)
        for ledger in servers:
            await ledger.close()

    anyio.run(spend)
