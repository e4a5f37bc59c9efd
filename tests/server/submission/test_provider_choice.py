"""`provider: "auto"` takes the cheapest configured provider that can make a request, once."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp_types import CallToolResult
from tests.server.scripted import KEY, Scripted, ends, facts, is_create, words
from tests.server.serving import (
    hurried,
    least_wish,
    sandbox_settings,
    tasks_of,
    virtual_time,
)

from kling_mcp.ledger import Ledger
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.providers.task import Task
from kling_mcp.settings.settings import Settings
from kling_tools.errors import NotConfigured
from kling_tools.products import PRODUCTS_BY_TOOL

pytestmark = [pytest.mark.anyio, virtual_time]

TEXT = "kling_text_to_video"
WISH = {"prompt": "A lighthouse in a storm"}
SHOTS = WISH | {"model_name": "kling-v3", "multi_shot": True, "shot_type": "intelligence"}
ALL = ("kling", "cometapi", "anyfast", "powertokens", "newapi")


def settings(
    folder: Path,
    names: tuple[str, ...] = ("kling", "cometapi", "newapi"),
    prices: dict[str, float] | None = None,
    at: str = "sandbox",
    **more: Any,
) -> Settings:
    """The settings of these providers; `prices` are those of a unit in their rows (USD)."""
    rows = folder / "rows.json"
    rows.write_text(json.dumps({n: {"usd_per_unit": usd} for n, usd in (prices or {}).items()}))
    played = {f"{name}_base_url": at for name in names}
    keys = {f"{name}_api_key": f"{KEY}-{name}" for name in names}
    return sandbox_settings(folder, **{"provider": "", "providers": rows, **keys, **played, **more})


@asynccontextmanager
async def serving(folder: Path, *args: Any, **more: Any) -> AsyncIterator[Client]:
    """A client of a server with several providers, all played by the sandbox."""
    async with Client(build_server(settings(folder, *args, **more), **hurried())) as client:
        yield client


async def ask(client: Client, tool: str = TEXT, **wish: Any) -> CallToolResult:
    return await client.call_tool(tool, {**WISH, "provider": "auto", **wish})


async def made(client: Client) -> list[dict[str, Any]]:
    return tasks_of(facts(await client.call_tool("kling_list_tasks", {})))


async def test_the_cheapest_provider_is_taken_and_the_answer_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path, prices={"cometapi": 0.1, "newapi": 0.12}) as client:
        dry = await ask(client, dry_run=True)
        answer = await ask(client)

    assert facts(dry)["prices"] == [
        {"provider": "kling", "units": 1.5, "cost": 0.21, "currency": "USD"}
        | {"price_from": "list price"},
        {"provider": "cometapi", "units": 1.5, "cost": 0.15, "currency": "USD"}
        | {"price_from": "its row", "taken": True},
        {"provider": "newapi", "units": 1.5, "cost": 0.18, "currency": "USD"}
        | {"price_from": "its row"},
    ]
    assert (
        "Prices: kling 0.21 USD (list price); cometapi 0.15 USD (its row, chosen); newapi 0.18 USD "
        "(its row). "
    ) in words(dry)
    assert facts(answer)["provider"] == "cometapi"
    assert "cometapi was chosen: the cheapest of 3." in words(answer)
    assert "prices" not in facts(answer)


async def test_a_provider_that_loses_a_field_is_not_taken(tmp_path: Path) -> None:
    async with serving(tmp_path, prices={"newapi": 0.01}) as client:
        dry = await ask(client, **SHOTS, dry_run=True)

    assert facts(dry)["provider"] == "kling"
    lost = next(p for p in facts(dry)["prices"] if p["provider"] == "newapi")
    assert lost == {
        "provider": "newapi",
        "why_not": "multi_shot: a stock new-api gateway drops it in silence",
    }


async def test_a_provider_whose_price_is_unknown_is_never_the_cheapest(tmp_path: Path) -> None:
    async with serving(tmp_path, provider="cometapi") as client:
        dry = await ask(client, dry_run=True)
    async with serving(tmp_path, ("cometapi", "anyfast")) as client:
        unknown = await ask(client, dry_run=True)

    assert facts(dry)["provider"] == "kling"
    assert "kling was chosen: the only one whose price is known." in words(dry)
    assert "cometapi at a price that is not known;" in words(dry)
    assert facts(unknown)["provider"] == "cometapi"
    assert "no price is known, so the first of those that can make it" in words(unknown)


@pytest.mark.parametrize("default", ["kling", "cometapi"])
async def test_of_two_that_cost_the_same_the_default_one_is_taken(
    default: str, tmp_path: Path
) -> None:
    async with serving(tmp_path, provider=default, prices={"cometapi": 0.14}) as client:
        answer = await ask(client)

    assert facts(answer)["provider"] == default
    assert "no other costs less, and it comes first" in words(answer)


async def test_the_only_configured_provider_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path, ("anyfast",)) as client:
        answer = await ask(client, dry_run=True)

    assert facts(answer)["provider"] == "anyfast"
    assert "prices" not in facts(answer)
    assert "no other provider is configured" in words(answer)


@pytest.mark.parametrize("said", ["Auto", " AUTO ", "automatic", "cheapest"])
async def test_the_choice_may_be_spelled_in_other_ways(said: str, tmp_path: Path) -> None:
    async with serving(tmp_path, prices={"cometapi": 0.1}) as client:
        assert facts(await ask(client, provider=said))["provider"] == "cometapi"


async def test_a_call_that_names_no_provider_is_open_by_a_setting(tmp_path: Path) -> None:
    async with serving(tmp_path, prices={"cometapi": 0.1}, provider="auto") as client:
        assert facts(await ask(client, provider=""))["provider"] == "cometapi"
        assert facts(await ask(client, provider="kling"))["provider"] == "kling"
    async with serving(tmp_path, prices={"cometapi": 0.1}) as client:
        assert facts(await ask(client, provider="", take=2))["provider"] == "kling"


@pytest.mark.parametrize("tool", PRODUCTS_BY_TOOL)
async def test_each_maker_takes_the_choice_and_names_what_others_lack(
    tool: str, tmp_path: Path
) -> None:
    wish = {"prompt": "", **least_wish(tool, tmp_path, "A lighthouse")}
    async with serving(tmp_path, ALL) as client:
        dry = await ask(client, tool, **wish, dry_run=True)

    assert facts(dry)["provider"] == "kling"
    products = PRODUCTS_BY_TOOL[tool]
    for price in facts(dry)["prices"]:
        if set(PROVIDERS[price["provider"]].products).isdisjoint(products):
            assert price["why_not"].startswith("makes no ")


@pytest.mark.parametrize("change", ["another price", "another provider", "no price"])
async def test_the_same_request_finds_what_was_paid_whatever_is_cheapest_now(
    change: str, tmp_path: Path
) -> None:
    async with serving(tmp_path, ("cometapi", "newapi"), prices={"cometapi": 0.1}) as client:
        first = await ask(client)
    names, prices = {
        "another price": (("cometapi", "newapi"), {"newapi": 0.01, "cometapi": 0.2}),
        "another provider": (("kling", "cometapi", "newapi"), {"cometapi": 0.2}),
        "no price": (("newapi", "cometapi"), {}),
    }[change]
    async with serving(tmp_path, names, prices=prices, provider=names[0]) as client:
        dry = await ask(client, dry_run=True)
        again = await ask(client)
        tasks = await made(client)

    assert facts(first)["provider"] == facts(again)["provider"] == facts(dry)["provider"]
    assert facts(again)["repeated"] is True
    assert facts(again)["task_id"] == facts(first)["task_id"]
    assert facts(first)["task_id"] in facts(dry)["next"]
    assert [p["provider"] for p in facts(dry)["prices"] if "taken" in p] == ["cometapi"]
    assert "cometapi was chosen: it was made there before." in words(again)
    assert len(tasks) == 1


async def test_what_another_default_model_made_is_found_too(tmp_path: Path) -> None:
    wish = least_wish("kling_multi_image_to_video", tmp_path, "Both walk")
    async with serving(tmp_path, ("cometapi",)) as client:
        first = await ask(client, "kling_multi_image_to_video", **wish)
    async with serving(tmp_path, ("kling", "cometapi")) as client:
        again = await ask(client, "kling_multi_image_to_video", **wish)

    assert facts(first)["model_name"] == facts(again)["model_name"] == "kling-v1-6"
    assert facts(again)["task_id"] == facts(first)["task_id"]


async def test_what_another_default_provider_led_to_is_found_too(tmp_path: Path) -> None:
    async with serving(tmp_path, ("anyfast", "kling"), provider="anyfast") as client:
        first = await ask(client)
    async with serving(tmp_path, ("kling", "anyfast"), provider="kling") as client:
        again = await ask(client)

    assert (facts(first)["provider"], facts(first)["model_name"]) == ("kling", "kling-v3")
    assert facts(again)["task_id"] == facts(first)["task_id"]


async def test_what_a_named_provider_made_is_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        first = await ask(client, provider="newapi")
        again = await ask(client)

    assert facts(again)["task_id"] == facts(first)["task_id"]
    assert facts(again)["repeated"] is True


@pytest.mark.parametrize("how", ["by the call", "by the setting"])
async def test_another_take_stays_with_the_provider_of_the_first(how: str, tmp_path: Path) -> None:
    by_setting = {"provider": "auto"} if how == "by the setting" else {}
    async with serving(tmp_path, **by_setting) as client:
        first = facts(await ask(client, provider="newapi"))
        more = {"another_take_of": first["task_id"]}
        again = more if by_setting else more | {"provider": "auto"}
        second = facts(await client.call_tool(TEXT, again))

    assert (second["provider"], second["take"]) == ("newapi", 2)


async def test_two_servers_that_choose_differently_pay_once(tmp_path: Path) -> None:
    answers = []

    async def submit(client: Client) -> None:
        answers.append(facts(await ask(client)))

    async with (
        serving(tmp_path, prices={"cometapi": 0.1}) as one,
        serving(tmp_path, prices={"newapi": 0.1}) as other,
    ):
        async with anyio.create_task_group() as group:
            for client in (one, other, one, other):
                group.start_soon(submit, client)
        tasks = await made(one)

    assert len(tasks) == 1
    assert {answer["provider"] for answer in answers} == {tasks[0]["provider"]}
    assert [answer.get("repeated") for answer in answers].count(None) == 1


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(30))
async def test_servers_with_any_prices_defaults_and_moments_pay_once(
    seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    ids = []

    async def serve() -> None:
        names = tuple(dice.sample(("kling", "cometapi", "anyfast", "newapi"), 4))
        prices = {
            name: dice.choice([0.05, 0.1, 0.14, 0.2]) for name in names if dice.random() < 0.6
        }
        default = dice.choice(["auto", names[0]])
        async with serving(tmp_path, names, prices, provider=default) as client:
            ids.append(facts(await ask(client))["task_id"])
            ids.append(facts(await ask(client))["task_id"])

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(serve)
    await serve()
    async with serving(tmp_path, ("kling", "cometapi", "anyfast", "newapi")) as client:
        assert len(await made(client)) == 1
        ids.append(facts(await ask(client))["task_id"])

    assert {ids[-1], ids[-2]} == {ids[-1]}


async def test_a_queued_request_waits_at_the_provider_that_was_chosen(tmp_path: Path) -> None:
    full = {"sandbox_slots": 1, "sandbox_render_s": 900}
    async with serving(tmp_path, prices={"cometapi": 0.1}, **full) as client:
        await ask(client, prompt="The first")
        queued = await ask(client)
    async with serving(tmp_path, prices={"newapi": 0.01}, **full) as client:
        again = await ask(client)

    assert (facts(queued)["status"], facts(queued)["provider"]) == ("queued", "cometapi")
    assert (facts(again)["status"], facts(again)["provider"]) == ("queued", "cometapi")
    assert facts(again)["task_id"] == facts(queued)["task_id"]


async def test_what_a_balance_paid_last_counts_in_its_currency(tmp_path: Path) -> None:
    async with serving(tmp_path, ("cometapi", "anyfast")) as client:
        model = {"model_name": "kling-v2-5-turbo"}
        paid = [facts(await ask(client, provider=n, **model)) for n in ("cometapi", "anyfast")]
    ledger = Ledger(tmp_path / "home")
    for receipt, money, currency in zip(paid, (1.05, 0.12), ("CNY", "USD"), strict=True):
        row = await ledger.find(receipt["task_id"])
        assert row is not None
        task = Task(receipt["task_id"], "succeed", money=money, currency=currency)
        await ledger.record(row.id, task)
    await ledger.close()
    async with serving(tmp_path, ("cometapi", "anyfast"), provider="cometapi") as client:
        dry = await ask(client, prompt="Another lighthouse", dry_run=True)

    assert "Prices: cometapi 1.05 CNY (paid last); anyfast 0.12 USD (paid last, chosen)." in words(
        dry
    )


async def test_an_element_is_asked_for_where_elements_are(tmp_path: Path) -> None:
    wish = least_wish("kling_image_to_video", tmp_path, "It turns")
    element = {"element_list": [829], "model_name": "kling-v3"}
    async with serving(tmp_path, ("kling", "cometapi"), prices={"cometapi": 0.01}) as client:
        dry = await ask(client, "kling_image_to_video", **wish, **element, dry_run=True)

    assert facts(dry)["provider"] == "kling"
    assert "not cometapi: element_list: it could not be checked" in words(dry)


@pytest.mark.parametrize(
    ("limit", "asked"),
    [({"max_units_per_task": 1}, {}), ({"max_units_per_day": 1}, {}), ({}, {"max_units": 1})],
)
async def test_caps_hold_for_the_provider_that_was_chosen(
    limit: dict[str, Any], asked: dict[str, Any], tmp_path: Path
) -> None:
    async with serving(tmp_path, prices={"cometapi": 0.1}, **limit) as client:
        dry = await ask(client, dry_run=True, **asked)
        refused = await ask(client, **asked)
        tasks = await made(client)

    assert facts(dry)["provider"] == "cometapi"
    assert facts(dry)["faults"][-1]["rule"] == "spend_cap"
    assert facts(refused)["error"] == "spend_cap_reached"
    assert tasks == []


async def test_lists_read_the_choice_as_all_providers_and_elements_as_those_that_have_them(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, ("cometapi", "kling"), provider="cometapi") as client:
        await ask(client, provider="kling")
        page = await client.call_tool("kling_list_tasks", {"provider": "auto"})
        listed = await client.call_tool("kling_list_assets", {"kind": "voice", "provider": "auto"})

    assert [task["provider"] for task in tasks_of(facts(page))] == ["kling"]
    assert not listed.is_error


async def test_a_row_may_not_take_the_word_for_the_choice(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"auto": {"like": "newapi", "base_url": "https://a.test"}}')

    with pytest.raises(NotConfigured, match="auto is not a name"):
        build_server(settings(tmp_path, providers=tmp_path / "own.json"))


async def test_a_lost_answer_keeps_the_request_at_its_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = []

    def answer(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            posts.append(request)
            raise httpx.ReadTimeout("lost", request=request)
        return httpx.Response(404, json={"code": 1203, "message": "not found"})

    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(answer).connect)
    at = "https://kling.example"
    async with serving(tmp_path, ("cometapi", "newapi"), {"cometapi": 0.1}, at) as client:
        lost = await ask(client)
    async with serving(tmp_path, ("cometapi", "newapi"), {"newapi": 0.01}, at) as client:
        again = await ask(client)

    assert facts(lost)["charged"] == facts(again)["charged"] == "unknown"
    assert len(posts) == 1


async def test_a_refused_key_is_told_with_the_provider_that_could_do_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(401, json={"code": 1000, "message": "Auth failed"})

    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(answer).connect)
    at = "https://kling.example"
    async with serving(tmp_path, prices={"cometapi": 0.1}, at=at) as client:
        refused = await ask(client)
        tasks = await made(client)

    assert facts(refused)["error"] == "auth_failed"
    assert facts(refused)["charged"] == "no"
    assert 'If the person agrees, provider "kling" or provider "newapi" can make it.' in words(
        refused
    )
    assert [task["provider"] for task in tasks] == ["cometapi"]


async def test_a_sandbox_is_not_compared_with_one_that_charges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kling_mcp.providers.transport.connect", Scripted(ends(task_status="processing")).connect
    )
    mixed = {"kling_base_url": "https://kling.example", "provider": "kling"}
    async with serving(tmp_path, ("kling", "cometapi"), {"cometapi": 0.01}, **mixed) as client:
        answer = await ask(client)

    assert facts(answer)["provider"] == "kling"


async def test_what_no_configured_provider_can_make_is_answered_with_all_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = "https://kling.example"
    async with serving(tmp_path, ("cometapi", "newapi"), at=at) as client:
        wish = {"video": "https://example.com/dance.mp4"}
        refused = await ask(client, "kling_edit_video", **wish)
        dry = await ask(client, "kling_edit_video", **wish, dry_run=True)
        named = await ask(client, "kling_edit_video", **wish, provider="newapi")
        generic = await ask(client, prompt="")

    for answer in (refused, dry):
        fault = next(f for f in facts(answer)["faults"] if f["rule"] == "none_can")
        assert fault["message"] == (
            "no configured provider can make it (cometapi: makes no video of a video; "
            "newapi: makes no video of a video)."
        )
        assert fault["use"] == "kling, once KLING_API_KEY is set"
    assert "kling, once KLING_API_KEY is set" in words(named)
    assert "no configured provider" not in words(generic)


async def test_a_face_that_was_chosen_speaks_where_the_faces_were_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = {
        "video": "https://host.example/talk.mp4?faces=2",
        "sound_file": "https://host.example/words.mp3",
        "sound_end_time": 4000,
        "provider": "auto",
    }
    answers = []
    monkeypatch.setenv("MINE_API_KEY", KEY)
    monkeypatch.setenv("MINE_BASE_URL", "sandbox")
    for price, face in ((0.1, None), (0.2, 2)):
        config = settings(tmp_path, ("kling",))
        row = {"like": "kling", "base_url": "sandbox"}
        (tmp_path / "rows.json").write_text(json.dumps({"mine": row | {"usd_per_unit": price}}))
        async with Client(build_server(config, **hurried())) as client:
            asked = wish if face is None else wish | {"face": face}
            answers.append(facts(await client.call_tool("kling_lip_sync", asked)))
            other = facts(await client.call_tool("kling_lip_sync", wish | {"dry_run": True}))

    shown, spoken = answers
    assert len(shown["faces"]) == 2
    assert (shown["provider"], spoken["provider"]) == ("mine", "mine")
    assert "mine was chosen: its faces were shown there." in spoken["note"]
    assert other["provider"] == "kling"


@pytest.mark.parametrize("lost", [True, False])
async def test_a_request_at_a_provider_without_a_key_now_is_not_forgotten_in_silence(
    lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if is_create(request):
            raise httpx.ReadTimeout("lost", request=request)
        return httpx.Response(404, json={"code": 1203, "message": "not found"})

    at = "sandbox"
    if lost:
        at = "https://kling.example"
        monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(answer).connect)
    async with serving(tmp_path, ("cometapi", "anyfast"), {"anyfast": 0.1}, at) as client:
        await ask(client)
    async with serving(tmp_path, ("cometapi",), at=at) as client:
        dry = await ask(client, dry_run=True)
        other = await ask(client, dry_run=True, prompt="A fox")
        named = await ask(client, dry_run=True, provider="cometapi")
    monkeypatch.undo()
    async with serving(tmp_path, ("cometapi", "anyfast"), {"anyfast": 0.1}, at) as client:
        found = await ask(client, dry_run=True)
    if not lost:
        async with serving(tmp_path, ("cometapi",), at=at) as client:
            sent = await ask(client)
        assert "an equal request was made at anyfast" in words(sent)

    sent_there = "was sent, and may have been paid," if lost else "was made"
    assert f"an equal request {sent_there} at anyfast" in words(dry)
    assert "cometapi makes it anew and charges for it" in words(dry)
    for silent in (other, named, found):
        assert "an equal request" not in words(silent)
    assert facts(found)["provider"] == "anyfast"
