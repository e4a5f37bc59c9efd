"""The price of a unit in a provider's row is the one that caps hold and that every answer tells."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.scripted import KEY, facts, words
from tests.server.serving import hurried, sandbox_settings, virtual_time

from kling_mcp.protocol.server import build_server

pytestmark = [pytest.mark.anyio, virtual_time]

TEXT, PICTURES = "kling_text_to_video", "kling_generate_image"
WISH = {"prompt": "A lighthouse in a storm"}


@asynccontextmanager
async def serving(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: dict[str, float], **more: Any
) -> AsyncIterator[Client]:
    """A client of a server with these providers, played by the sandbox; each is like kling, and its
    row has this price of a unit."""
    table = {
        name: {"like": "kling", "base_url": "sandbox", "usd_per_unit": usd}
        if name == "mine"
        else {"usd_per_unit": usd}
        for name, usd in rows.items()
    }
    folder.mkdir(exist_ok=True)
    (folder / "rows.json").write_text(json.dumps(table))
    known: dict[str, Any] = {}
    for name in rows:
        if name == "mine":
            monkeypatch.setenv("MINE_API_KEY", KEY)
        else:
            known |= {f"{name}_api_key": KEY, f"{name}_base_url": "sandbox"}
    settings = sandbox_settings(folder, providers=folder / "rows.json", **known, **more)
    async with Client(build_server(settings, **hurried())) as client:
        yield client


async def both(client: Client, tool: str = TEXT, **wish: Any) -> tuple[Any, Any]:
    """The answers to a dry run and to the submit of the same request."""
    asked = {**WISH, **wish}
    dry = await client.call_tool(tool, {**asked, "dry_run": True})
    return dry, await client.call_tool(tool, asked)


async def test_every_answer_tells_the_price_of_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, {"mine": 5}, provider="mine") as client:
        dry, made = await both(client)
        ids = {"task_ids": [facts(made)["task_id"]]}
        await client.call_tool("kling_wait_for_tasks", ids)
        done = await client.call_tool("kling_get_task", {"task_id": facts(made)["task_id"]})
        account = await client.call_tool("kling_account", {})

    for answer in (dry, made):
        assert facts(answer)["estimate_usd"] == 7.5
        assert "about 1.5 units (7.50 USD by the price in its row)" in words(answer)
    assert "costs about 1.5 units (7.50 USD by the price in its row)" in words(done)
    assert facts(account)["played"][0]["usd"] == 7.5


@pytest.mark.parametrize(
    ("cap", "told"),
    [
        ("max_usd_per_task", "the cap for one video (KLING_MCP_MAX_USD_PER_TASK) is 0.3 USD"),
        ("max_usd_per_day", "The day's cap is 0.3 USD; 0.00 USD"),
    ],
)
async def test_a_cap_of_dollars_holds_the_price_of_the_row(
    cap: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = {"mine": 5.0}
    async with serving(tmp_path, monkeypatch, prices, provider="mine", **{cap: 0.3}) as client:
        dry, refused = await both(client)

    assert refused.is_error
    for answer in (dry, refused):
        assert "would cost about 7.50 USD (5 USD a unit, by the price in its row)" in words(answer)
        assert told in words(answer)


async def test_a_day_s_cap_counts_what_was_made_at_the_price_of_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capped = {"provider": "mine", "max_usd_per_day": 10}
    async with serving(tmp_path, monkeypatch, {"mine": 5}, **capped) as client:
        _, made = await both(client)
        ids = {"task_ids": [facts(made)["task_id"]]}
        await client.call_tool("kling_wait_for_tasks", ids)
        dry, refused = await both(client, take=2)
        account = await client.call_tool("kling_account", {})

    assert not made.is_error
    assert refused.is_error
    for answer in (dry, refused):
        assert "The day's cap is 10 USD; 7.50 USD" in words(answer)
    assert facts(account)["caps"][0]["used"] == 7.5


async def test_the_cap_of_a_film_holds_the_price_of_the_row_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = [{"prompt": f"Scene {n}"} for n in (1, 2)]
    asked = {"name": "Holiday", "shots": shots, "dry_run": True}
    async with serving(tmp_path, monkeypatch, {"mine": 5}, provider="mine") as client:
        over = await client.call_tool("kling_film", {**asked, "max_usd": 14.99})
        below = await client.call_tool("kling_film", {**asked, "max_usd": 15})

    for answer in (over, below):
        assert "about 3 units (15.00 USD by the price in its row)" in words(answer)
    assert "costs about 15.00 USD (5 USD a unit, by the price in its row)" in words(over)
    assert "refused" not in words(below)


@pytest.mark.parametrize("cap", ["max_usd_per_task", "max_usd_per_day"])
async def test_the_cheapest_of_dear_rows_is_refused_by_a_cap(
    cap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"cometapi": 0.5, "anyfast": 0.4}
    async with serving(tmp_path, monkeypatch, rows, provider="cometapi", **{cap: 0.25}) as client:
        dry, refused = await both(client, provider="auto")

    assert refused.is_error
    for answer in (dry, refused):
        assert "about 0.60 USD (0.4 USD a unit, by the price in its row)" in words(answer)
    assert "anyfast 0.60 USD (its row, chosen)" in words(dry)


@pytest.mark.parametrize("cap", ["max_usd_per_task", "max_usd_per_day"])
async def test_a_cap_lets_pass_what_a_cheap_row_makes(
    cap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"cometapi": 0.01, "kling": 0.14}
    async with serving(tmp_path, monkeypatch, rows, provider="kling", **{cap: 0.1}) as client:
        dry, made = await both(client, provider="auto")

    assert not made.is_error, words(made)
    assert "cometapi 0.01 USD (its row, chosen)" in words(dry)
    assert "faults" not in facts(dry)
    assert facts(made)["estimate_usd"] == 0.015
    assert "no cap here holds its bill" not in words(made)


@pytest.mark.parametrize("cap", ["max_usd_per_task", "max_usd_per_day"])
async def test_pictures_cost_their_part_of_the_price_of_the_row(
    cap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch, {"mine": 5}, provider="mine") as client:
        dry, _ = await both(client, PICTURES)
    usd = facts(dry)["estimate_usd"]
    capped = {"provider": "mine", cap: usd * 0.9}
    async with serving(tmp_path, monkeypatch, {"mine": 5}, **capped) as client:
        over, refused = await both(client, PICTURES, take=2)
    capped[cap] = usd * 1.1
    async with serving(tmp_path / "a", monkeypatch, {"mine": 5}, **capped) as client:
        _, made = await both(client, PICTURES)

    assert usd == pytest.approx(facts(dry)["estimate_units"] * 5 * 0.0035 / 0.14)
    assert f"({usd:.2f} USD by the price in its row)" in words(dry)
    assert refused.is_error
    for answer in (over, refused):
        assert "an image unit, by the price in its row" in words(answer)
    assert not made.is_error, words(made)
