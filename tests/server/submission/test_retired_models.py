"""A model that its provider has ended: nothing was made or paid, one that lives is named, and for a
day the provider is not asked for it again."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from tests.server.scripted import CREATE, KEY, Scripted, facts, talking_to, task, words
from tests.server.serving import hurried, picture, sandbox_settings

from kling_mcp.ledger import Ledger
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.rows import PROVIDERS, ProviderRow
from kling_tools.rules.capabilities import built_in_capabilities

pytestmark = pytest.mark.anyio

ENDED = {"code": 1203, "message": "resource not found", "request_id": "r-1"}
"""Kling's answer to a create with a retired model, with HTTP 404."""


class Ending:
    """A provider that has ended some models; `sent` are the models of the creates that it got."""

    def __init__(self, *ended: str, answer: dict[str, Any] = ENDED, status: int = 404) -> None:
        self.sent: list[str] = []
        self._ended = ended
        self._answer = httpx.Response(status, json=answer)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return task(task_status="processing")
        model = json.loads(request.content)["model_name"]
        self.sent.append(model)
        return self._answer if model in self._ended else task()


async def test_a_retired_model_costs_nothing_and_names_one_that_takes_the_whole_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Ending("kling-v2-6")
    wish = {
        "image": picture(tmp_path),
        "image_tail": picture(tmp_path, "end.png"),
        "prompt": "Zoom",
        "model_name": "kling-v2-6",
        "mode": "pro",
        "duration": 10,
    }
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        refused = await client.call_tool(CREATE, wish)
        told = facts(refused)
        assert refused.is_error
        assert (told["error"], told["charged"]) == ("model_retired", "no")
        assert told["would_pass"]["change"] == {"model_name": "kling-v2-5-turbo"}
        assert "This call cost nothing." in words(refused)

        made = await client.call_tool(CREATE, wish | told["would_pass"]["change"])

    assert not made.is_error, words(made)
    assert kling.sent == ["kling-v2-6", "kling-v2-5-turbo"]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_the_next_call_is_refused_before_it_is_sent_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool
) -> None:
    kling = Ending("kling-v2-5-turbo")
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        await client.call_tool(CREATE, wish)
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        again = wish | {"prompt": "Another wish", "dry_run": dry_run}
        told = facts(await client.call_tool(CREATE, again))
        spelled = await client.call_tool(CREATE, again | {"model_name": "Kling 2.5 Turbo"})
        other = await client.call_tool(CREATE, wish | {"model_name": "kling-v3"})

    (fault,) = told["faults"]
    assert fault["rule"] == "model_retired"
    assert "within the last day" in fault["message"]
    assert told["would_pass"]["change"] == {"model_name": "kling-v2-6"}
    assert facts(spelled)["faults"][0]["rule"] == "model_retired"
    assert not other.is_error
    assert kling.sent == ["kling-v2-5-turbo", "kling-v3"]


async def test_after_a_day_the_provider_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Ending("kling-v2-5-turbo")
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        await client.call_tool(CREATE, wish)

    def places(after_s: float) -> Callable[[], float]:
        return lambda: time.time() + after_s

    for after_s, found in ((86_000, 1), (86_500, 0)):
        ledger = Ledger(tmp_path / "home", places(after_s))
        assert len(await ledger.retired_models()) == found
        await ledger.close()


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, {"code": 1203, "message": "model is not supported for this API"}),
        (400, {"code": 1203, "message": "not supported for this API"}),
        (400, {"code": 1201, "message": "model is not supported"}),
        (404, {"code": 1202, "message": "method not found"}),
        (404, {"code": 1203, "message": "The model 'kling-v2-6' does not exist"}),
    ],
)
async def test_a_model_at_the_wrong_address_is_not_taken_for_a_retired_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, answer: dict[str, Any]
) -> None:
    kling = Ending("kling-v2-6", answer=answer, status=status)
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v2-6"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        told = facts(await client.call_tool(CREATE, wish))
        await client.call_tool(CREATE, wish)

    assert (told["error"], told["charged"]) == ("request_refused", "no")
    assert kling.sent == ["kling-v2-6"] * 2


async def test_a_model_that_never_was_is_not_said_to_be_retired(tmp_path: Path) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v9"}
    settings = sandbox_settings(tmp_path, standard="new")
    async with Client(build_server(settings, **hurried())) as client:
        refused = await client.call_tool(CREATE, wish)
        again = await client.call_tool(CREATE, wish)

    for told in map(facts, (refused, again)):
        assert (told["error"], told["charged"]) == ("request_refused", "no")
        assert "has no model of this name" in told["message"]
        assert "does not exist" in told["provider_says"]
    assert "retired" not in words(refused) + words(again)


async def test_a_refusal_that_may_be_about_a_deleted_element_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Ending("kling-v3")
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v3"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        await client.call_tool(CREATE, wish | {"element_list": ["160"]})
        await client.call_tool(CREATE, wish)

    assert kling.sent == ["kling-v3", "kling-v3"]


async def test_a_task_that_is_not_found_is_no_retired_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kling(request: httpx.Request) -> httpx.Response:
        return task() if request.method == "POST" else httpx.Response(404, json=ENDED)

    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        made = await client.call_tool(CREATE, {"image": picture(tmp_path), "prompt": "Zoom"})
        looked = await client.call_tool("kling_get_task", {"task_id": facts(made)["task_id"]})

    assert "retired" not in words(looked)


async def test_a_video_that_was_made_before_its_model_ended_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kling = Ending()
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v2-6"}
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        made = facts(await client.call_tool(CREATE, wish))
    ledger = Ledger(tmp_path / "home")
    row = await ledger.find(made["task_id"])
    assert row is not None
    await ledger.retire(row)
    await ledger.close()
    async with talking_to(Scripted(kling), tmp_path, monkeypatch) as client:
        again = facts(await client.call_tool(CREATE, wish))
        planned = facts(await client.call_tool(CREATE, wish | {"dry_run": True}))
        another = await client.call_tool(CREATE, {"another_take_of": made["task_id"]})

    assert (again["task_id"], again["repeated"]) == (made["task_id"], True)
    assert "faults" not in planned
    assert [fault["rule"] for fault in facts(another)["faults"]] == ["model_retired"]
    assert kling.sent == ["kling-v2-6"]


async def test_two_spellings_of_a_model_are_one_request(tmp_path: Path) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        made = [
            facts(await client.call_tool(CREATE, wish | {"model_name": name}))
            for name in ("kling-v2-6", "kling-2.6", "Kling 2.6", "kling_v2_6")
        ]

    assert {receipt["model_name"] for receipt in made} == {"kling-v2-6"}
    assert len({receipt["task_id"] for receipt in made}) == 1


async def test_a_preview_without_a_price_is_refused_by_any_cap(tmp_path: Path) -> None:
    rows = tmp_path / "providers.json"
    rows.write_text(json.dumps({"kling": {"wires": ["legacy", "new"]}}), encoding="utf-8")
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "Kling 4", "dry_run": True}

    async def told(**more: Any) -> dict[str, Any]:
        settings = sandbox_settings(
            tmp_path, provider="kling", kling_api_key=KEY, providers=rows, **more
        )
        async with Client(build_server(settings, **hurried())) as client:
            return facts(await client.call_tool(CREATE, wish))

    off = await told()
    on = await told(models_preview=True)
    capped = await told(models_preview=True, max_units_per_day=100)

    assert off["faults"][0]["rule"] == "model_preview"
    assert "faults" not in on
    assert "estimate_units" not in on
    assert "the price is not known" in on["next"]
    assert [fault["rule"] for fault in capped["faults"]] == ["spend_cap"]
    assert "A cap takes only models whose price is known." in capped["faults"][0]["message"]


async def test_a_row_of_the_user_turns_a_preview_on(tmp_path: Path) -> None:
    rows = tmp_path / "models.json"
    prices = [{"mode": "std", "per_second": 1.2}]
    mine = {"kling-4.0": {"products": {"image2video": {"units": prices}}}}
    rows.write_text(json.dumps({"models": mine}), encoding="utf-8")
    kling = tmp_path / "providers.json"
    kling.write_text(json.dumps({"sandbox": {"wires": ["legacy", "new"]}}), encoding="utf-8")
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-4.0"}
    settings = sandbox_settings(tmp_path, capabilities=rows, providers=kling, max_units_per_day=9)
    async with Client(build_server(settings)) as client:
        told = facts(await client.call_tool(CREATE, wish | {"dry_run": True}))

    assert "faults" not in told
    assert told["estimate_units"] == 6


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=PROVIDERS)
async def test_the_default_models_live(row: ProviderRow) -> None:
    table = built_in_capabilities()

    for product, name in row.default_models.items():
        end = table.retirement(name, product)
        assert end is None or not (row.official or end.certain), name
        assert set(row.wires) & set(table.models[name].products[product].wires)
