"""Which of Kling's standards a request goes by, and that it is one video on either."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.virtual_time import virtual_clock
from mcp import Client
from PIL import Image
from tests.sampling import sampled
from tests.server.scripted import Scripted, facts, talking_to, words
from tests.server.serving import (
    hurried,
    least_wish,
    picture,
    sandbox_by,
    sandbox_settings,
    virtual_time,
)

from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import load_settings
from kling_mcp.tasks.views import WITHOUT_ID
from kling_tools.errors import NotConfigured
from kling_tools.products import PRODUCTS_BY_TOOL

pytestmark = [pytest.mark.anyio, virtual_time]

CREATE = "kling_image_to_video"
SEVERAL = "kling_multi_image_to_video"


@asynccontextmanager
async def served(folder: Path, **more: Any) -> AsyncIterator[Client]:
    settings = sandbox_settings(folder, **more)
    async with Client(build_server(settings, **hurried())) as client:
        yield client


async def path_of(client: Client, tool: str = CREATE, **wish: Any) -> str:
    """Where a request would be sent."""
    shown = facts(await client.call_tool(tool, {"prompt": "Zoom", **wish, "dry_run": "full"}))
    assert shown.get("faults", []) == []
    path: str = shown["request"]["path"]
    return path


async def refusal(client: Client, **wish: Any) -> str:
    """The words with which a request is refused, and a dry run the same."""
    arguments = {"prompt": "Zoom", **wish}
    refused = await client.call_tool(CREATE, arguments)
    assert refused.is_error, words(refused)
    assert facts(refused)["charged"] == "no"
    dry = facts(await client.call_tool(CREATE, {**arguments, "dry_run": "full"}))
    assert [f["message"] for f in dry["faults"]] == [f["message"] for f in facts(refused)["faults"]]
    return words(refused)


def large(folder: Path) -> str:
    """A sound picture of 11 MB."""
    path = folder / "large.png"
    Image.frombytes("RGB", (2000, 1900), os.urandom(2000 * 1900 * 3)).save(path, compress_level=0)
    return str(path)


async def test_a_model_of_both_standards_goes_by_the_legacy_one(tmp_path: Path) -> None:
    image = picture(tmp_path)
    async with served(tmp_path) as client:
        assert await path_of(client, image=image) == "/v1/videos/image2video"
        assert await path_of(client, image=image, model_name="kling-v3") == "/v1/videos/image2video"
        several = {"image_list": [image, image]}
        assert await path_of(client, SEVERAL, **several) == "/v1/videos/omni-video"


async def test_what_was_wished_from_the_sandbox_is_not_offered_for_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(lambda request: httpx.Response(500))
    async with talking_to(provider, tmp_path, monkeypatch, cometapi_api_key="k" * 20) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom", "provider": "sandbox"}
        refused = await client.call_tool(CREATE, wish)

    assert refused.is_error
    assert "would_pass" not in facts(refused)
    assert "charges for what it makes" in words(refused)
    assert "if the person agrees to pay" in words(refused)


SHOT = {"index": 1, "prompt": "She turns", "duration": "5"}


WITHOUT_SHOTS: tuple[dict[str, Any], ...] = (
    {},
    {"multi_prompt": []},
    {"multi_prompt": "x"},
    {"multi_prompt": [{**SHOT, "duration": 0}]},
)


@pytest.mark.parametrize(
    ("tool", "standard"),
    [
        (CREATE, "auto"),
        ("kling_text_to_video", "new"),
        pytest.param(CREATE, "new", marks=pytest.mark.campaign),
        pytest.param("kling_text_to_video", "auto", marks=pytest.mark.campaign),
    ],
)
async def test_shots_that_are_missing_or_wrong_are_an_ordinary_refusal(
    tmp_path: Path, tool: str, standard: str
) -> None:
    least = least_wish(tool, tmp_path, "Zoom") | {"multi_shot": True, "shot_type": "customize"}
    models = "kling-v3-turbo", "kling-4.0", "kling-v3"
    async with served(tmp_path, models_preview=True, standard=standard) as client:
        for number, (model, shots) in enumerate(product(models, WITHOUT_SHOTS)):
            dry = (False, "full")[number % 2]
            wish = {**least, "model_name": model, **shots, "dry_run": dry}
            answer = await client.call_tool(tool, wish)
            told = facts(answer)
            assert any("multi_prompt" in f["field"] for f in told.get("faults", ())), (wish, told)
            assert not answer.is_error or told["charged"] == "no"


ODD: tuple[Any, ...] = (0, "x", [{}], True, [SHOT])


@pytest.mark.campaign
@pytest.mark.parametrize("tool", PRODUCTS_BY_TOOL)
async def test_no_arguments_are_a_mistake_of_the_server(tmp_path: Path, tool: str) -> None:
    least = least_wish(tool, tmp_path, "Zoom") | {"dry_run": "full"}
    cut = {"multi_shot": True, "shot_type": "customize"}
    async with served(tmp_path, models_preview=True, standard="new") as client:
        (schema,) = [t for t in (await client.list_tools()).tools if t.name == tool]
        fields = schema.input_schema["properties"]
        for shots, field, value in product(({}, cut), fields, ODD):
            if shots.keys() <= fields.keys():
                answer = await client.call_tool(tool, {**least, **shots, field: value})
                assert "mistake" not in words(answer), (shots, field, value, words(answer))


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("shot 1, 2, a; shot 2, 2, b;", ""),
        ("shot 1, 2, a; shot 2, 3, b;", "its shots last 5 s together, duration is 4 s"),
        ("shot 1, 2, a; shot 3, 2, b;", "its shot 2 has the number 3"),
        ("shot 1, 4, a; and then", "what follows shot 1 is no shot"),
        ("shot 1, 0, a; shot 2, 4, b;", "its shot 1 lasts 0 s"),
        ("shot 1, 4, ;", "its shot 1 requires 1 to 512 characters"),
        ("Shot 1, 2 people walk; they stop", ""),
        (" ".join(f"shot {n}, 1, a;" for n in range(1, 8)), "more than 6 shots"),
    ],
)
@pytest.mark.parametrize("model_name", sampled(["kling-v3-turbo", "kling-v3"], 2))
async def test_shots_written_in_the_prompt_are_judged_before_they_are_sent(
    tmp_path: Path, model_name: str, prompt: str, told: str
) -> None:
    wish = {"prompt": prompt, "model_name": model_name, "duration": 4}
    cut = {"multi_shot": True, "shot_type": "intelligence"} if model_name == "kling-v3" else {}
    async with served(tmp_path, standard="new") as client:
        dry = await client.call_tool("kling_text_to_video", {**wish, **cut, "dry_run": True})
        sent = await client.call_tool("kling_text_to_video", {**wish, **cut})
        plain = await client.call_tool("kling_text_to_video", {**wish, "dry_run": True})

    faults = [fault["message"] for fault in facts(dry).get("faults", ())]
    assert sent.is_error == bool(told), words(sent)
    assert faults == [] if not told else told in faults[0], faults
    assert facts(plain).get("faults", []) == [] or model_name == "kling-v3-turbo"


async def test_a_model_of_the_new_standard_goes_by_that(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        sent = await path_of(client, image=picture(tmp_path), model_name="Kling 3.0 Turbo")

    assert sent == "/image-to-video/kling-3.0-turbo"


async def test_a_picture_too_large_for_the_legacy_standard_goes_whole_by_the_new_one(
    tmp_path: Path,
) -> None:
    image = large(tmp_path)
    async with served(tmp_path) as client:
        whole = await path_of(client, image=image, model_name="kling-v3")
        smaller = await path_of(client, image=image, model_name="kling-v3", negative_prompt="rain")
        made = await client.call_tool(
            CREATE, {"image": image, "prompt": "Zoom", "model_name": "kling-v3"}
        )

    assert whole == "/image-to-video/kling-3.0"
    assert smaller == "/v1/videos/image2video"  # converted: only that standard has the field
    assert not made.is_error, words(made)
    assert "sent as" not in words(made)


async def test_a_setting_chooses_the_standard(tmp_path: Path) -> None:
    image = picture(tmp_path)
    async with served(tmp_path, standard="new") as client:
        assert await path_of(client, image=image) == "/image-to-video/kling-2.5-turbo"
        several = {"image_list": [image, image]}
        assert await path_of(client, SEVERAL, **several) == "/omni-video/kling-3.0-omni"
        told = await refusal(client, image=image, negative_prompt="rain")
    async with served(tmp_path, standard="legacy") as client:
        turbo = await refusal(client, image=image, model_name="kling-v3-turbo")

    assert "negative_prompt" in told
    assert "KLING_MCP_STANDARD=auto" in turbo


@pytest.mark.parametrize(
    "lost",
    sampled(
        [
            {"negative_prompt": "rain"},
            {"cfg_scale": 0.7},
            {"camera_control": {"type": "simple", "config": {"zoom": 5}}},
            {"static_mask": "again"},
            {"image_tail": "again"},
            {"mode": "4k"},
            {"voice_list": ["v"], "sound": "on"},
            {"element_list": ["1"]},
        ],
        2,
    ),
    ids=lambda fields: next(iter(fields)),
)
async def test_what_the_new_model_has_no_place_for_is_refused_by_name(
    lost: dict[str, Any], tmp_path: Path
) -> None:
    image = picture(tmp_path)
    given = {name: image if value == "again" else value for name, value in lost.items()}
    async with served(tmp_path) as client:
        told = await refusal(client, image=image, model_name="kling-v3-turbo", **given)

    assert next(iter(lost)) in told
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()


async def test_a_model_of_the_legacy_standard_alone_is_refused_where_only_the_new_one_may_be_used(
    tmp_path: Path,
) -> None:
    image = picture(tmp_path)
    wish = {"image_list": [image, image], "prompt": "Zoom", "model_name": "kling-v1-6"}
    async with served(tmp_path, standard="new") as client:
        refused = await client.call_tool(SEVERAL, wish)
        dry = await client.call_tool(SEVERAL, {**wish, "dry_run": "full"})

    assert refused.is_error
    assert facts(refused)["charged"] == "no"
    assert facts(dry)["faults"]


async def test_a_key_pair_is_refused_for_the_new_standard_with_the_setting_that_helps(
    tmp_path: Path,
) -> None:
    pair = {"provider": "kling", "kling_access_key": "access", "kling_secret_key": "secret"}
    settings = sandbox_settings(tmp_path, **pair)
    async with Client(build_server(settings, **hurried())) as client:
        told = await refusal(client, image=picture(tmp_path), model_name="kling-v3-turbo")

    assert "KLING_API_KEY in place of KLING_ACCESS_KEY and KLING_SECRET_KEY" in told
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()


async def test_a_key_pair_and_the_new_standard_alone_do_not_go_together(tmp_path: Path) -> None:
    settings = load_settings(
        provider="kling",
        kling_access_key="access",
        kling_secret_key="secret",
        standard="new",
        home=tmp_path,
    )
    with pytest.raises(NotConfigured, match="takes no access key pair") as refused:
        build_server(settings)

    assert "KLING_API_KEY" in refused.value.advice


async def test_a_gateway_has_no_model_of_the_new_standard(tmp_path: Path) -> None:
    async with served(tmp_path, provider="cometapi", cometapi_base_url="sandbox") as client:
        told = await refusal(client, image=picture(tmp_path), model_name="kling-v3-turbo")

    assert "new standard" in told


async def test_the_same_request_is_one_video_whatever_standard_it_would_go_by(
    tmp_path: Path,
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v3"}
    async with served(tmp_path, standard="legacy") as client:
        first = facts(await client.call_tool(CREATE, wish))
    async with served(tmp_path, standard="new") as client:
        again = facts(await client.call_tool(CREATE, wish))

    assert again["task_id"] == first["task_id"]
    assert again["repeated"] is True


@pytest.mark.parametrize(
    ("more", "now"),
    [
        ({"negative_prompt": "rain"}, "new"),
        ({"negative_prompt": "rain", "model_name": "kling-v2-6"}, "new"),
        ({"model_name": "kling-v3-turbo"}, "legacy"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "faults",
    [
        (),
        ("drop-after-accept",),
        *(
            pytest.param(faults, marks=pytest.mark.campaign)
            for faults in (("drop-before-accept",), ("concurrency",))
        ),
    ],
    ids=str,
)
async def test_what_was_made_is_found_by_rules_that_refuse_it_now(
    more: dict[str, Any], now: str, faults: tuple[str, ...], tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"} | more
    older = {"kling_base_url": "sandbox", "kling_api_key": "k", "provider": "kling"}
    async with served(tmp_path, **older, sandbox_faults=faults) as client:
        made = await client.call_tool(CREATE, wish)
    async with served(tmp_path, **older, standard=now) as client:
        dry = facts(await client.call_tool(CREATE, {**wish, "dry_run": "full"}))
        again = await client.call_tool(CREATE, wish)
        other = await client.call_tool(CREATE, {**wish, "take": 2})

    assert not again.is_error, words(again)
    if not made.is_error:
        assert facts(again)["repeated"] is True
        assert facts(again)["task_id"] == facts(made)["task_id"]
    assert dry.get("faults", []) == []
    assert other.is_error
    assert facts(other)["charged"] == "no"


async def test_what_is_not_wanted_is_said_in_the_prompt_or_another_model_takes_it(
    tmp_path: Path,
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "negative_prompt": "rain"}
    async with served(tmp_path) as client:
        told = facts(await client.call_tool(CREATE, {**wish, "model_name": "kling-v3-turbo"}))
        passes = told["would_pass"]
        dry = [
            facts(await client.call_tool(CREATE, {**wish, **change, "dry_run": True}))
            for change in (
                {"model_name": "kling-v3-turbo", **passes["change"]},
                passes["cheaper"]["change"],
            )
        ]

    assert passes["change"] == {"prompt": "Zoom. Avoid rain.", "negative_prompt": ""}
    assert passes["cheaper"]["change"] == {"model_name": "kling-v2-5-turbo"}
    assert ", or with model_name: kling-v2-5-turbo" in told["next"]
    assert [answer.get("faults") for answer in dry] == [None, None]


async def test_tasks_of_both_standards_are_made_waited_for_saved_and_listed(
    tmp_path: Path,
) -> None:
    image = picture(tmp_path)
    wishes = (
        (CREATE, {"image": image, "model_name": "kling-v3-turbo"}),
        (CREATE, {"image": image}),
        (SEVERAL, {"image_list": [image, image]}),
    )
    async with served(tmp_path) as client:
        made = [
            facts(await client.call_tool(tool, {**wish, "prompt": "Zoom"})) for tool, wish in wishes
        ]
        ids = [receipt["task_id"] for receipt in made]
        waited = facts(await client.call_tool("kling_wait_for_tasks", {"task_ids": ids}))
        saved = facts(await client.call_tool("kling_save_video", {"task_id": ids[0]}))
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert waited["done"] is True
    assert saved["bytes"] > 0
    assert {task["task_id"] for task in listed["tasks"]} == set(ids)


@pytest.mark.parametrize("standard", ["legacy", "new"])
@pytest.mark.parametrize("fault", ["drop-after-accept:1", "html-502-after-accept:1"])
async def test_a_lost_create_is_found_again_on_each_standard(
    standard: str, fault: str, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with served(tmp_path, standard=standard, sandbox_faults=(fault,)) as client:
        made = facts(await client.call_tool(CREATE, wish))
        again = facts(await client.call_tool(CREATE, wish))
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert made["status"] in ("submitted", "processing", "succeed")
    assert again["task_id"] == made["task_id"]
    assert [task["task_id"] for task in listed["tasks"]] == [made["task_id"]]


@pytest.mark.parametrize("standard", ["legacy", "new"])
async def test_a_task_made_elsewhere_is_listed_and_found_by_its_id(
    standard: str, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with served(tmp_path, standard=standard) as client:
        made = facts(await client.call_tool(CREATE, wish))
    for path in (tmp_path / "home").glob("ledger.sqlite3*"):
        path.unlink()

    async with served(tmp_path) as client:
        listed = facts(await client.call_tool("kling_list_tasks", {}))
        found = facts(await client.call_tool("kling_get_task", {"task_id": made["task_id"]}))

    assert [task["task_id"] for task in listed["tasks"]] == [made["task_id"]]
    assert found["status"] == "succeed"


async def test_a_lost_create_without_our_id_is_found_by_its_time_and_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sandbox_by(virtual_clock())
    monkeypatch.setattr("kling_mcp.providers.transport.connect", connect)
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-4.0"}
    more = {"models_preview": True, "sandbox_faults": ("drop-after-accept:1",)}
    async with served(tmp_path, **more) as client:
        shown = facts(await client.call_tool(CREATE, {**wish, "dry_run": "full"}))
        made = facts(await client.call_tool(CREATE, wish))
        again = facts(await client.call_tool(CREATE, wish))
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert shown["request"]["path"] == "/image-to-video/kling-4.0"
    assert "options" not in shown["request"]["body"]
    assert again["task_id"] == made["task_id"]
    assert [task["task_id"] for task in listed["tasks"]] == [made["task_id"]]


async def test_a_create_without_our_id_that_did_not_arrive_is_not_sent_again(
    tmp_path: Path,
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-4.0"}
    more = {"models_preview": True, "sandbox_faults": ("drop-before-accept:1",)}
    async with served(tmp_path, **more) as client:
        first = await client.call_tool(CREATE, wish)
        again = await client.call_tool(CREATE, wish)
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert first.is_error
    assert facts(first)["charged"] == "unknown"
    (shown,) = listed["tasks"]
    assert shown["status"] == "unknown"
    assert "raise take" in WITHOUT_ID
    assert all(WITHOUT_ID in told for told in (words(first), words(again), shown["next"]))


async def test_shots_that_are_too_long_together_are_refused_before_they_are_sent(
    tmp_path: Path,
) -> None:
    shots = [{"index": n, "prompt": "x" * 500, "duration": "1"} for n in range(1, 7)]
    wish = {"image": picture(tmp_path), "multi_shot": True, "shot_type": "customize"}
    asked = {**wish, "multi_prompt": shots, "duration": 6, "prompt": ""}
    async with served(tmp_path) as client:
        told = await refusal(client, **asked, model_name="kling-v3-turbo")
        made = await client.call_tool(CREATE, {**asked, "model_name": "kling-v3"})

    assert "multi_prompt: with the marks of shots and pictures it is 5" in told
    assert not made.is_error, words(made)


async def test_a_task_that_only_the_new_standard_knows_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"id": "t-9", "status": "processing", "external_id": ""}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tasks":
            mine = request.url.params.get("task_ids") == "t-9"
            return httpx.Response(200, json={"code": 0, "data": [record] if mine else []})
        return httpx.Response(400, json={"code": 1201, "message": "Task not found by id"})

    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        found = facts(await client.call_tool("kling_get_task", {"task_id": "t-9"}))
        missing = await client.call_tool("kling_get_task", {"task_id": "t-8"})

    assert found["status"] == "processing"
    assert facts(missing)["error"] == "task_not_found"


async def test_an_address_that_passes_on_the_legacy_standard_alone_is_still_listed_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def shown(task_id: str) -> dict[str, Any]:
        videos = [{"id": "v", "url": f"https://files.example/{task_id}.mp4", "duration": "5.0"}]
        return {
            "task_id": task_id,
            "task_status": "succeed",
            "task_result": {"videos": videos},
            "created_at": 1781080778802,
        }

    def answer(request: httpx.Request) -> httpx.Response:
        product, _, last = request.url.path.removeprefix("/v1/videos/").partition("/")
        if request.url.path == "/tasks":
            return httpx.Response(404, json={"code": 1202, "message": "no such method"})
        if request.method == "POST":
            made.append(product)
            data: Any = {"task_id": f"t-{len(made)}", "task_status": "submitted"}
        elif last:
            data = shown(last)
        else:
            data = [shown("t-99")] if product == "image2video" else []
        return httpx.Response(200, json={"code": 0, "data": data})

    image = picture(tmp_path)
    async with talking_to(Scripted(answer), tmp_path, monkeypatch) as client:
        one = facts(await client.call_tool(CREATE, {"image": image, "prompt": "Zoom"}))
        two = facts(
            await client.call_tool(SEVERAL, {"image_list": [image, image], "prompt": "Zoom"})
        )
        ids = [one["task_id"], two["task_id"]]
        waited = facts(await client.call_tool("kling_wait_for_tasks", {"task_ids": ids}))
        listed = facts(await client.call_tool("kling_list_tasks", {}))

    assert made == ["image2video", "omni-video"]
    assert waited["done"] is True
    assert {"t-1", "t-2", "t-99"} == {task["task_id"] for task in listed["tasks"]}
    assert "missing" not in listed.get("note", "")
