"""The bill of an account held against the ledger, by `kling_account` and by the command."""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from tests.server.scripted import BASE, CREATE, KEY, Scripted, facts, talking_to, task, words
from tests.server.serving import no_sleep, picture, sandbox_settings, virtual_time

from kling_mcp.cli import tasks as command
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.balance import read_deductions
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.transport import Connection
from kling_sandbox import SandboxConfig, create_app
from kling_tools.errors import KlingError, ProviderDown

VIDEO = {"videos": [{"url": "https://v.example/a.mp4", "duration": "5"}]}
NO_ROUTE = httpx.Response(404, json={"code": 1203, "message": "no such path"})


class Bookkeeper:
    """A provider that makes videos and tells what was charged for them: 1.5 units each, or cash."""

    def __init__(self, *, cash: bool = False) -> None:
        self.cash = cash
        self.asked: list[tuple[float, str, dict[str, Any]]] = []
        self.packs: list[dict[str, Any]] = []
        self.balance: list[dict[str, Any]] = []
        self.told: dict[str, Any] = {}
        self.page = 500

    def charge(self, task_id: str, amount: str, *, key: str = "studio", cash: bool = False) -> None:
        """Enter a charge into the bill."""
        entry = {
            "task_id": task_id,
            "api_key_name": key,
            "model_name": "kling-v2-5-turbo",
            "deduction_time": "1800000000000",
            "deduction_amount": amount,
        }
        money = {"currency": "USD", "balance_after_deduction": "9.50", "cash_type": "balance"}
        (self.balance if cash else self.packs).append({**entry, **money} if cash else entry)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/account/billing/"):
            body = json.loads(request.content)
            self.asked.append((anyio.current_time(), path, body))
            return self._bill(self.balance if path.endswith("balance") else self.packs, body)
        if path == "/account/costs":
            return httpx.Response(200, json={"code": 0, "data": {}})
        if request.method == "POST":
            made = f"t-{len(self.packs) + len(self.balance) + 1}"
            self.charge(made, "0.21" if self.cash else "1.50", cash=self.cash)
            return task(task_id=made)
        if "doctor" in path:
            return httpx.Response(400, json={"code": 1201, "message": "task not found"})
        cost: dict[str, Any] = {"final_unit_deduction": "1.5"}
        if self.cash:
            cost = {"final_balance_deduction": {"quota": "0.21", "list_price": "0.21"}}
        told = {"task_status": "succeed", "task_result": VIDEO, **cost, **self.told}
        return task(task_id=path.rsplit("/", 1)[1], **told)

    def _bill(self, entries: list[dict[str, Any]], asked: dict[str, Any]) -> httpx.Response:
        start = int(asked.get("cursor", 0))
        more = start + self.page < len(entries)
        data = {
            "result": {"detail": entries[start : start + self.page]},
            "next_cursor": str(start + self.page) if more else "",
            "has_more": more,
        }
        return httpx.Response(200, json={"code": 0, "data": data})


@pytest.fixture(autouse=True)
def one_attempt() -> Any:
    with stamina.set_testing(True, attempts=1, cap=True):
        yield


async def make(client: Client, folder: Path, takes: int) -> None:
    """Make so many takes, and look at each once."""
    for take in range(1, takes + 1):
        arguments = {"image": picture(folder), "prompt": "Zoom", "take": take}
        made = await client.call_tool(CREATE, arguments)
        await client.call_tool("kling_get_task", {"task_id": facts(made)["task_id"]})


async def bill(client: Client) -> tuple[dict[str, Any], str]:
    answer = await client.call_tool("kling_account", {})
    (told,) = facts(answer)["bills"]
    return told, words(answer)


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize("cash", [False, True])
async def test_a_bill_that_says_the_same_is_told_in_one_clear_sentence(
    cash: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Bookkeeper(cash=cash)
    async with talking_to(Scripted(books), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 2)
        told, text = await bill(client)

    assert told["charged"] == 2
    assert "2 tasks charged; the ledger says the same." in text
    assert told.keys() <= {"provider", "since", "charged", "left"}
    assert ("Balance after its last charge: 9.5 USD." in text) == cash
    if cash:
        assert "2 videos, 0.42 of the account's balance" in text
        assert "free" not in text


@pytest.mark.anyio
@virtual_time
async def test_every_kind_of_difference_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Bookkeeper()
    async with talking_to(Scripted(books), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 3)
        books.packs[0]["deduction_amount"] = "2.5"
        del books.packs[1]
        books.charge("t-of-another", "3", key="colleague")
        books.charge("t-of-another", "0.5", key="colleague")
        books.charge("t-in-cash", "0.70", cash=True)
        told, text = await bill(client)

    assert told["charged"] == 4
    assert told["without_row"] == [
        {"task_id": "t-of-another", "key": "colleague", "units": 3.5},
        {"task_id": "t-in-cash", "key": "studio", "money": 0.7, "currency": "USD"},
    ]
    (missing,) = told["without_charge"]
    assert missing["task_id"] == "t-2"
    assert "may still come" in missing["here"]
    assert told["different"] == [
        {"task_id": "t-1", "key": "studio", "units": 2.5, "here": "here succeed, 1.5 units"}
    ]
    assert "charged without a row here: t-of-another (3.5 units, key colleague)" in text
    assert "succeeded here, not charged there: t-2" in text
    assert "told differently: t-1 (2.5 units, key studio, here succeed, 1.5 units)" in text


@pytest.mark.anyio
@virtual_time
async def test_a_failure_that_was_charged_is_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Bookkeeper()
    books.told = {"task_status": "failed", "final_unit_deduction": "0", "task_status_msg": "risk"}
    async with talking_to(Scripted(books), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
        told, _ = await bill(client)

    assert told["different"][0]["here"] == "here failed, 0 units"


@pytest.mark.anyio
@virtual_time
async def test_the_bill_is_asked_for_at_most_once_a_second_and_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Bookkeeper()
    books.page = 2
    async with talking_to(Scripted(books), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 5)
        told, _ = await bill(client)
        await bill(client)

    times = [at for at, _, _ in books.asked]
    assert [path.rsplit("/", 1)[1] for _, path, _ in books.asked] == ["package"] * 3 + ["balance"]
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))
    first, second = books.asked[0][2], books.asked[1][2]
    assert first["end_time"] - first["start_time"] == pytest.approx(7 * 86_400_000, abs=5000)
    assert second == {"limit": 500, "cursor": "2"}
    assert told["charged"] == 5


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize(
    "refusal",
    [
        NO_ROUTE,
        httpx.Response(401, json={"code": 1002, "message": "API key needed"}),
        httpx.Response(200, json={"code": 0, "data": {"result": "soon"}}),
    ],
)
async def test_an_account_without_a_bill_says_so_and_tells_the_rest(
    refusal: httpx.Response, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Bookkeeper()

    def answer(request: httpx.Request) -> httpx.Response:
        return refusal if "billing" in request.url.path else books(request)

    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
        told, text = await bill(client)

    assert told["note"].startswith("It does not tell its charges: ")
    assert "the ledger says the same" not in text
    assert "1.5 units charged" in text


@asynccontextmanager
async def at_the_sandbox(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pair: bool = False,
    played: bool = False,
    **more: Any,
) -> AsyncIterator[Client]:
    """A client of a server for which a sandbox of its own, with a key or a `pair` of keys that are
    not the sandbox's, is Kling; where it is `played`, the server knows that it is a sandbox."""
    keys = {"access_key": "ak-of-somebody", "secret_key": "s" * 32}
    config = SandboxConfig(
        home=folder / "sandbox",
        api_keys=(KEY, "sandbox-key"),
        **keys,
        queue_s=0,
        render_s=0,
        **more,
    )
    app = httpx.ASGITransport(create_app(config))

    @asynccontextmanager
    async def connect(provider: Configured, *_: object) -> AsyncIterator[Connection]:
        async with httpx.AsyncClient(base_url=BASE, transport=app) as api:
            yield Connection(api, api, provider.credentials, True)

    monkeypatch.setattr("kling_mcp.providers.transport.connect", connect)
    given = {f"kling_{name}": key for name, key in keys.items()} if pair else {"kling_api_key": KEY}
    given |= {} if played else {"provider": "kling", "kling_base_url": BASE}
    settings = sandbox_settings(folder, **given)
    async with Client(build_server(settings, sleep=anyio.sleep)) as client:
        yield client


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize("pair", [False, True], ids=["API key", "JWT"])
@pytest.mark.parametrize("cash", [False, True], ids=["units", "cash"])
async def test_kling_as_the_sandbox_plays_it_charges_what_the_ledger_says(
    cash: bool, pair: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_the_sandbox(tmp_path, monkeypatch, cash=cash, pair=pair) as client:
        await make(client, tmp_path, 2)
        told, text = await bill(client)

    assert told["charged"] == 2, text
    assert "2 tasks charged; the ledger says the same." in text
    (provider,) = [line for line in text.splitlines() if line.startswith("kling at")]
    assert ("units left" in provider) != cash
    assert ("It has no resource pack: its balance pays." in provider) == cash
    paid = "0.42 of the account's balance" if cash else "3 units charged (0.42 USD list price)"
    assert f"kling 2 videos, {paid}" in text


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize("cash", [False, True], ids=["units", "cash"])
async def test_a_task_of_the_new_standard_costs_what_its_billing_says(
    cash: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_the_sandbox(tmp_path, monkeypatch, cash=cash) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v3-turbo"}
        made = await client.call_tool(CREATE, wish)
        seen = await client.call_tool("kling_get_task", {"task_id": facts(made)["task_id"]})
        _, text = await bill(client)

    paid = "cost 0.56 USD of the account's balance" if cash else "cost 4 units"
    assert paid in words(seen)
    assert "1 task charged; the ledger says the same." in text
    assert ("kling 1 video, 0.56 USD of the account's balance" in text) == cash


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize("played", [False, True])
async def test_a_day_of_an_account_without_a_pack_is_told_in_its_money_whatever_standard_told_it(
    played: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_the_sandbox(tmp_path, monkeypatch, cash=True, played=played) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        for model in ("kling-v3", "kling-v3-turbo"):
            made = await client.call_tool(CREATE, {**wish, "model_name": model, "sound": "off"})
            await client.call_tool("kling_get_task", {"task_id": facts(made)["task_id"]})
        drawn = await client.call_tool("kling_generate_image", {"prompt": "A fox", "n": 2})
        await client.call_tool("kling_get_task", {"task_id": facts(drawn)["task_id"]})
        account = await client.call_tool("kling_account", {})
        listed = await client.call_tool("kling_list_tasks", {})

    name = "sandbox" if played else "kling"
    total = facts(listed)["total"]
    assert total["play_money" if played else "money"] == {f"{name} USD": 1.036}, total
    assert {"units", "play_units", "image_units", "play_image_units"}.isdisjoint(total), total
    assert f"1.036 USD of the balance at {name}" in words(listed)
    spent = facts(account)["played" if played else "spent"]
    (today,) = [row for row in spent if row["span"] == "today"]
    assert (today["money"], today["currency"]) == (1.036, "USD")
    assert (today["videos"], today["pictures"]) == (2, 1)
    made = "2 videos and 1 request for pictures, 1.036 USD of the account's balance"
    assert made in words(account)


def asked_for(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["--reconcile", *words])


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLING_MCP_PROVIDER", "kling")
    monkeypatch.setenv("KLING_API_KEY", "a-key-that-nobody-may-see")
    monkeypatch.setenv("KLING_BASE_URL", BASE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.anyio
async def test_the_command_names_every_difference_and_fails_when_there_is_one(
    owner: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    books = Bookkeeper()
    async with talking_to(Scripted(books), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)

    same = await command.reconcile(asked_for(), no_sleep)
    agreed = capsys.readouterr().out
    for number in range(9):
        books.charge(f"t-other-{number}", "1")
    differs = await command.reconcile(asked_for("--json", "--since", "2 days"), no_sleep)
    told = json.loads(capsys.readouterr().out)

    assert (same, differs) == (0, 1)
    assert agreed.endswith("1 task charged; the ledger says the same.\n")
    assert len(told["without_row"]) == 9
    body = books.asked[-1][2]
    assert body["end_time"] - body["start_time"] == pytest.approx(2 * 86_400_000, abs=5000)


@pytest.mark.anyio
async def test_the_command_says_that_a_gateway_has_no_bill(
    owner: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    books = Bookkeeper()
    async with talking_to(Scripted(books), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
    monkeypatch.setenv("KLING_MCP_PROVIDER", "cometapi")
    monkeypatch.setenv("COMETAPI_API_KEY", "another-key-of-somebody")
    monkeypatch.delenv("KLING_API_KEY")

    assert await command.reconcile(asked_for(), no_sleep) == 0

    assert "It has no list of charges: compare its console" in capsys.readouterr().out
    assert not books.asked


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words_", "code", "told"),
    [
        (["--provider", "nope"], 2, "There is no provider 'nope', only kling."),
        (["--since", "2099-01-01"], None, "2099-01-01 is still to come"),
    ],
)
async def test_a_bill_of_nobody_or_of_the_future_is_refused(
    words_: list[str],
    code: int | None,
    told: str,
    owner: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with talking_to(Scripted(Bookkeeper()), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
    if code is None:
        with pytest.raises(KlingError, match=told):
            await command.reconcile(asked_for(*words_), no_sleep)
        return
    assert await command.reconcile(asked_for(*words_), no_sleep) == code
    assert told in capsys.readouterr().err


@pytest.mark.anyio
async def test_a_provider_that_cannot_be_reached_is_no_bill_that_agrees(
    owner: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    books = Bookkeeper()

    def unreachable(request: httpx.Request) -> httpx.Response:
        if "billing" in request.url.path:
            raise httpx.ConnectError("no route")
        return books(request)

    async with talking_to(Scripted(unreachable), tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
    assert await command.reconcile(asked_for(), no_sleep) == 1
    shown = capsys.readouterr()
    assert "tasks charged" not in shown.out
    assert "It does not tell its charges" in shown.out
    assert shown.err == ""


@pytest.mark.anyio
async def test_a_task_whose_end_was_not_seen_is_no_difference(
    owner: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with talking_to(Scripted(Bookkeeper()), tmp_path, monkeypatch) as client:
        await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "Zoom"})

    assert await command.reconcile(asked_for(), no_sleep) == 0
    told = "1 task charged, 1 of them not seen to end here yet; the ledger says the same."
    assert told in capsys.readouterr().out


@pytest.mark.anyio
@virtual_time
async def test_what_is_free_needs_no_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_the_sandbox(tmp_path, monkeypatch) as client:
        await make(client, tmp_path, 1)
        fox = {"name": "Fox", "description": "A red fox", "images": [picture(tmp_path)] * 2}
        made = await client.call_tool("kling_create_element", fox)
        told, text = await bill(client)

    assert not made.is_error, words(made)
    assert told["charged"] == 1, text
    assert "the ledger says the same" in text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(
            st.sampled_from(("result", "detail", "task_id", "deduction_amount", "next_cursor")),
            parts,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(anything)
def test_whatever_a_bill_looks_like_it_is_read_or_refused(data: Any) -> None:
    for source in ("package", "balance"):
        try:
            found, cursor = read_deductions({"data": data}, source, "kling")  # type: ignore[arg-type]
        except ProviderDown:
            continue
        assert isinstance(cursor, str)
        for paid in found:
            amount = paid.money if source == "balance" else paid.units
            assert paid.task_id
            assert amount is not None
            assert 0 < amount <= 1e9


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_the_sum_of_a_bill_is_the_sum_of_its_charges(cents: list[int]) -> None:
    detail = [{"task_id": "t", "deduction_amount": f"{amount / 100:.2f}"} for amount in cents]

    found, _ = read_deductions({"data": {"result": {"detail": detail}}}, "package", "kling")

    assert sum(paid.units or 0 for paid in found) == pytest.approx(sum(cents) / 100)
