"""What a task cost, as Kling's two standards tell it: units and money, each as it was charged."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st
from tests.server.scripted import Scripted, ends, facts, make, talking_to, words

from kling_mcp.cli.main import main
from kling_mcp.providers.auth import ApiKey
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.dialects import read_task, read_tasks
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.providers.task import Task
from kling_mcp.providers.transport import Connection

VIDEO = {"videos": [{"url": "https://v.example/a.mp4", "duration": "5"}]}
CENTS = st.integers(0, 10**7).map(lambda cents: f"{cents / 100:.2f}")

units = st.fixed_dictionaries({"charge_type": st.just("unit"), "amount": CENTS})
cash = st.fixed_dictionaries(
    {
        "charge_type": st.just("cash"),
        "amount": CENTS,
        "currency": st.just("USD"),
        "cash_type": st.just("balance"),
        "list_price": CENTS,
    }
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(
            st.sampled_from(("charge_type", "amount", "currency", "list_price", "quota", "x"))
            | st.text(max_size=3),
            parts | st.sampled_from(("unit", "cash", "USD", "1e309", "-1", "nan")),
            max_size=4,
        )
    ),
    max_leaves=8,
)


def told(**fields: Any) -> Task:
    """The task that Kling's answer with these fields names."""
    data = {"task_id": "t-1", "task_status": "succeed", "task_result": VIDEO, **fields}
    return read_task({"code": 0, "request_id": "r-1", "data": data}, ["envelope"], "kling")


@given(st.lists(units, max_size=4), st.lists(cash, max_size=4))
def test_units_and_cash_are_summed_apart(
    packs: list[dict[str, str]], balance: list[dict[str, str]]
) -> None:
    task = told(billing=[*packs, *balance])
    paid = round(sum(float(charge["amount"]) for charge in balance), 2)

    counted = sum(float(charge["amount"]) for charge in packs)
    assert task.units == (pytest.approx(counted) if packs and counted <= 100_000 else None)
    assert (task.money or 0) == pytest.approx(paid)
    assert task.currency == ("USD" if balance else "")
    if balance:
        listed = sum(float(charge["list_price"]) for charge in balance)
        assert task.list_price == pytest.approx(listed)
        assert task.cash_type == "balance"


@given(anything, anything, anything)
def test_whatever_is_told_of_a_cost_it_is_read_as_an_amount_or_as_nothing(
    billing: Any, deducted: Any, balance: Any
) -> None:
    told_so = {"final_unit_deduction": deducted, "final_balance_deduction": balance}
    for task in (told(billing=billing, **told_so), told(**told_so)):
        for amount in (task.units, task.money, task.list_price):
            assert amount is None or 0 <= amount < 1e300
        assert task.currency == "" or (len(task.currency) == 3 and task.currency.isupper())


def test_the_legacy_standard_tells_the_list_price_beside_what_was_taken() -> None:
    task = told(
        final_unit_deduction="0", final_balance_deduction={"quota": "0.15", "list_price": "0.21"}
    )

    assert (task.units, task.money, task.list_price) == (None, 0.15, 0.21)


def test_only_money_of_the_first_currency_is_added_up() -> None:
    charges = [
        {"charge_type": "cash", "amount": "1", "currency": currency}
        for currency in ("CNY", "USD", "CNY")
    ]

    task = told(billing=charges)

    assert (task.money, task.currency) == (2, "CNY")


def test_a_task_keeps_the_answer_that_told_of_it() -> None:
    listed = read_tasks(
        {"request_id": "r-2", "data": [{"task_id": "t-2", "task_status": "failed"}]}
    )

    assert told().told["request_id"] == "r-1"
    assert listed[0].told == {
        "request_id": "r-2",
        "data": {"task_id": "t-2", "task_status": "failed"},
    }


CASH = {
    "charge_type": "cash",
    "cash_type": "test_balance",
    "amount": "0.15",
    "currency": "USD",
    "list_price": "0.21",
}


@pytest.mark.anyio
@pytest.mark.usefixtures("no_pauses")
async def test_cash_is_told_with_its_currency_its_list_price_and_which_balance_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    provider = Scripted(ends(task_status="succeed", task_result=VIDEO, billing=[CASH]))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        made = facts(await make(client, tmp_path))
        seen = await client.call_tool("kling_get_task", {"task_id": made["task_id"]})
        listed = await client.call_tool("kling_list_tasks", {})
        account = await client.call_tool("kling_account", {})
    await to_thread.run_sync(main, ["tasks"])

    paid = {"money": 0.15, "currency": "USD", "list_price": 0.21, "cash_type": "test_balance"}
    assert paid.items() <= facts(seen).items()
    assert "units" not in facts(seen)
    assert "cost 0.15 USD of the account's test balance (list price 0.21 USD)" in words(seen)
    assert "0.15 USD of the balance at kling" in words(listed)
    assert facts(listed)["total"]["money"] == {"kling USD": 0.15}
    assert "kling 1 video, 0.15 USD of the account's balance" in words(account)
    assert "0.15 USD of the balance" in capsys.readouterr().out


@pytest.mark.anyio
@pytest.mark.parametrize(("region", "currency"), [("global", "USD"), ("china", "CNY")])
async def test_where_no_currency_is_told_it_is_that_of_the_account_s_region(
    region: str, currency: str
) -> None:
    row = PROVIDERS["kling"]
    data = {
        "task_id": "t-1",
        "task_status": "succeed",
        "task_result": VIDEO,
        "final_unit_deduction": "0",
        "final_balance_deduction": {"quota": "1.50"},
    }
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json={"code": 0, "data": data}))
    async with httpx.AsyncClient(base_url=row.regions[region], transport=answers) as api:
        client = KlingClient(row, Connection(api, api, ApiKey("k" * 20), False))
        task = await client.task("image2video", "t-1")

    assert (task.units, task.money, task.currency) == (None, 1.5, currency)


@pytest.mark.anyio
@pytest.mark.usefixtures("no_pauses")
async def test_no_units_and_no_cash_for_a_video_are_an_unknown_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(ends(task_status="succeed", task_result=VIDEO, final_unit_deduction="0"))
    async with talking_to(provider, tmp_path, monkeypatch) as client:
        made = facts(await make(client, tmp_path))
        seen = await client.call_tool("kling_get_task", {"task_id": made["task_id"]})
        account = await client.call_tool("kling_account", {})

    assert "units" not in facts(seen)
    for answer in (seen, account):
        assert "nothing was" not in words(answer)
        assert "free" not in words(answer)
    assert "about 1.5 units estimated" in words(account)
