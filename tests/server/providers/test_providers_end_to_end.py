"""Every provider over MCP, played by the sandbox in its own dialect: one alone, and several."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import stamina
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.made_clips import make_clip
from tests.sampling import sampled
from tests.server.serving import ALL_BYTES, no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_mcp.providers.rows import PROVIDERS, serving
from kling_sandbox import SandboxStore
from kling_tools.products import PRODUCTS_BY_TOOL

pytestmark = pytest.mark.anyio

ALL = ("kling", "cometapi", "anyfast", "powertokens", "newapi")
BLIND = ("anyfast", "powertokens", "newapi")
"""Providers that cannot be asked for a task by our id."""

RISK = "Failure to pass the risk control system"
ASTRONAUT = "https://filesystem.site/cdn/20250414/chxiLc2O45zoLT8BCrQ6WQlTvGDDnK.png"
PORTRAIT = "https://h2.inkwai.com/bs2/3214b798-e1b4-4b00-b7af-72b5b0417420_raw_image_0.jpg"

BODIES: dict[str, dict[str, Any]] = {
    "kling": {
        "model_name": "kling-v2-6",
        "image": "https://p2-kling.klingai.com/kcdn/multi-2.png",
        "image_tail": "https://p2-kling.klingai.com/kcdn/multi-1.png",
        "prompt": "Camera zooms out, the girl smiles",
        "negative_prompt": "",
        "duration": "5",
        "mode": "pro",
        "sound": "off",
        "callback_url": "",
        "external_task_id": "",
    },
    "cometapi": {"image": PORTRAIT, "prompt": "She turns her head"},
    "anyfast": {
        "model_name": "kling-v2-master",
        "image": PORTRAIT,
        "prompt": "She turns her head",
        "negative_prompt": "blur",
        "duration": "5",
        "multi_shot": False,
        "sound": "off",
        "watermark_info": {"enabled": True},
        "external_task_id": "scene-1",
    },
    "powertokens": {
        "model_name": "kling-v2-1-master",
        "image": PORTRAIT,
        "prompt": "She turns her head",
        "duration": 10,
    },
    "newapi": {"image": PORTRAIT, "prompt": "She turns her head", "mode": "pro"},
}
"""One picture as each provider's page shows it, as far as the model can do it."""

SEVERAL: dict[str, Any] = {
    "model_name": "kling-v1-6",
    "duration": "5",
    "image_list": [PORTRAIT, PORTRAIT, ASTRONAUT, ASTRONAUT],
    "prompt": "The astronauts got up and left.",
}
"""The example of CometAPI's page of several pictures."""

WISH: dict[str, Any] = {"image": PORTRAIT, "prompt": "She turns her head"}
SHOTS: dict[str, Any] = {
    **WISH,
    "model_name": "kling-v3",
    "multi_shot": True,
    "shot_type": "intelligence",
}


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder of its own, no setting from outside, no waiting, and small clips."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.endswith(("_API_KEY", "_BASE_URL")) or "KLING" in name:
            monkeypatch.delenv(name)

    def make(_maker: object, _order: object, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        make_clip(path)

    monkeypatch.setattr("kling_sandbox.clips.ClipMaker._make", make)
    with stamina.set_testing(True, attempts=2):
        yield


@asynccontextmanager
async def served(folder: Path, *names: str, **more: Any) -> AsyncIterator[Client]:
    """A client of a server that uses these providers, all played by one sandbox."""
    played = {f"{name}_base_url": "sandbox" for name in names}
    settings = sandbox_settings(folder, **{"provider": "", **played, **more})
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        yield client


def words(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def ok(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(f"kling_{tool}", arguments)
    assert not result.is_error, words(result)
    assert result.structured_content is not None
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(f"kling_{tool}", arguments)
    assert result.is_error, words(result)
    assert "<" not in words(result)
    assert result.structured_content is not None
    return result.structured_content


def store(folder: Path) -> SandboxStore:
    return SandboxStore(folder / "home" / "sandbox")


def asked(folder: Path, kind: str) -> dict[str, int]:
    """Requests of a kind by provider, those of none left out."""
    counts = store(folder).counts().per_provider
    return {name: kinds[kind] for name, kinds in counts.items() if kinds.get(kind)}


@pytest.mark.parametrize("name", ALL)
async def test_a_picture_becomes_a_saved_video_at_every_provider(name: str, tmp_path: Path) -> None:
    async with served(tmp_path, name, sandbox_queue_s=0) as client:
        receipt = await ok(client, "image_to_video", **BODIES[name])
        task_id = receipt["task_id"]
        now = await ok(client, "get_task", task_id=task_id)
        waited = await ok(client, "wait_for_tasks", task_ids=[task_id])
        saved = await ok(client, "save_video", task_id=task_id)

    assert (receipt["provider"], receipt["status"]) == (name, "submitted")
    assert now["status"] == "succeed"
    assert now["units"] == receipt["estimate_units"]
    assert waited["done"] is True
    assert Path(saved["path"]).stat().st_size == saved["bytes"]
    assert task_id in saved["path"]
    assert asked(tmp_path, "accepted") == {name: 1}
    sent = store(tmp_path).body(task_id, name)
    assert sent is not None
    assert sent["model_name"] == receipt["model_name"]
    assert sent["duration"] == str(BODIES[name].get("duration", "5"))


@pytest.mark.parametrize("name", ALL)
async def test_every_state_of_a_task_is_understood_at_every_provider(
    name: str, tmp_path: Path
) -> None:
    seen = []
    for take, (queue_s, render_s) in enumerate([(900, 0), (0, 900), (0, 0)], start=1):
        slow = {"sandbox_queue_s": queue_s, "sandbox_render_s": render_s}
        async with served(tmp_path, name, **slow) as client:
            receipt = await ok(client, "image_to_video", **WISH, take=take)
            now = await ok(client, "get_task", task_id=receipt["task_id"])
            seen.append((receipt["status"], now["status"]))

    assert [status for _, status in seen] == ["submitted", "processing", "succeed"]
    assert {status for status, _ in seen} == {"submitted"}


@pytest.mark.parametrize("name", ["cometapi", "anyfast"])
async def test_several_pictures_become_a_video_where_there_is_a_route(
    name: str, tmp_path: Path
) -> None:
    async with served(tmp_path, name) as client:
        receipt = await ok(client, "multi_image_to_video", **SEVERAL)
        saved = await ok(client, "save_video", task_id=receipt["task_id"])

    assert receipt["model_name"] == "kling-v1-6"
    assert any("kling-v3-omni" in warning for warning in receipt["warnings"])
    assert saved["bytes"] > 0
    sent = store(tmp_path).body(receipt["task_id"], name)
    assert sent is not None
    assert len(sent["image_list"]) == 4


async def test_several_pictures_go_to_kling_s_living_route_by_default(tmp_path: Path) -> None:
    wish = {name: SEVERAL[name] for name in ("image_list", "prompt")}
    async with served(tmp_path, "kling") as client:
        receipt = await ok(client, "multi_image_to_video", **wish)

    assert receipt["model_name"] == "kling-v3-omni"
    sent = store(tmp_path).body(receipt["task_id"], "kling")
    assert sent is not None
    assert [*sent["image_list"][0]] == ["image_url"]
    assert all(f"<<<image_{place}>>>" in sent["prompt"] for place in range(1, 5))


@pytest.mark.parametrize("name", ALL)
async def test_a_failed_task_has_its_reason_at_every_provider(name: str, tmp_path: Path) -> None:
    async with served(tmp_path, name, sandbox_faults="task-fails") as client:
        receipt = await ok(client, "image_to_video", **WISH)
        waited = await ok(client, "wait_for_tasks", task_ids=[receipt["task_id"]])
        facts = await refused(client, "save_video", task_id=receipt["task_id"])

    (task,) = waited["tasks"]
    assert (task["status"], task["provider_says"]) == ("failed", RISK)
    assert "videos" not in task
    assert (facts["error"], facts["provider_says"]) == ("task_failed", RISK)


async def test_a_field_that_newapi_loses_is_refused_with_a_provider_that_keeps_it(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, "newapi", "kling", provider="newapi") as client:
        facts = await refused(client, "image_to_video", **SHOTS)
        made = await ok(client, "image_to_video", **SHOTS, provider="kling")

    lost = {fault["field"]: fault for fault in facts["faults"]}
    assert set(lost) == {"multi_shot", "shot_type"}
    assert 'provider "kling"' in lost["multi_shot"]["use"]
    assert "drops it" in lost["multi_shot"]["message"]
    assert facts["charged"] == "no"
    assert made["provider"] == "kling"
    assert asked(tmp_path, "creates") == {"kling": 1}


@pytest.mark.parametrize("name", ["kling", "cometapi", "anyfast"])
@pytest.mark.parametrize("wish", [{"image": PORTRAIT}, {"image_list": [PORTRAIT, PORTRAIT]}])
async def test_a_request_without_a_prompt_is_judged_here_as_at_the_provider(
    tmp_path: Path, name: str, wish: dict[str, Any]
) -> None:
    optional = name == "cometapi" and "image" in wish
    tool = "kling_image_to_video" if "image" in wish else "kling_multi_image_to_video"
    async with served(tmp_path, name) as client:
        made = await client.call_tool(tool, wish)

    assert made.is_error is not optional, made.content
    assert asked(tmp_path, "accepted") == ({name: 1} if optional else {})


async def test_a_prompt_longer_than_cometapi_documents_is_sent_with_a_warning(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, "cometapi", "anyfast") as client:
        just = await ok(client, "image_to_video", image=PORTRAIT, prompt="x" * 500)
        long = await ok(client, "image_to_video", image=PORTRAIT, prompt="x" * 501)
        too_long = await refused(client, "image_to_video", image=PORTRAIT, prompt="x" * 2501)

    assert "warnings" not in just
    (warning,) = long["warnings"]
    assert "cometapi documents 500 characters" in warning
    assert 'Use provider "anyfast"' in warning
    assert {fault["field"] for fault in too_long["faults"]} == {"prompt"}
    assert asked(tmp_path, "accepted") == {"cometapi": 2}


@pytest.mark.parametrize("name", ["powertokens", "newapi"])
async def test_several_pictures_without_a_route_are_refused_with_a_provider_that_has_one(
    name: str, tmp_path: Path
) -> None:
    async with served(tmp_path, name, "cometapi", "kling", provider=name) as client:
        facts = await refused(client, "multi_image_to_video", **SEVERAL)

    (fault,) = (fault for fault in facts["faults"] if fault["field"] == "provider")
    assert name in fault["message"]
    assert fault["use"] == 'provider "kling" or provider "cometapi"'
    assert facts["charged"] == "no"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["powertokens", "newapi"])
async def test_a_provider_for_one_picture_only_serves_alone(name: str, tmp_path: Path) -> None:
    async with served(tmp_path, name) as client:
        facts = await refused(client, "multi_image_to_video", **SEVERAL)

    assert name in json.dumps(facts["faults"])


@pytest.mark.parametrize("name", ALL)
async def test_a_dry_run_shows_the_path_and_the_body_of_every_provider(
    name: str, tmp_path: Path
) -> None:
    async with served(tmp_path, name) as client:
        image = picture(tmp_path)
        result = await client.call_tool(
            "kling_image_to_video", {**BODIES[name], "image": image, "dry_run": "full"}
        )

    assert not result.is_error
    assert result.structured_content is not None
    call = result.structured_content["request"]
    prefix = "" if name == "kling" else "/kling"
    assert (call["method"], call["path"]) == ("POST", f"{prefix}/v1/videos/image2video")
    assert call["body"]["image"].startswith("<base64 of photo.png")
    assert result.structured_content["provider"] == name
    assert call["path"] in words(result)
    assert "sandbox-key" not in result.model_dump_json()
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()
    assert not (tmp_path / "home" / "sandbox").exists()


@pytest.mark.parametrize("name", ALL)
async def test_a_key_for_the_wrong_provider_is_told_with_its_settings(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kling_mcp.providers.configured.SANDBOX_KEY", "key-of-somewhere-else")
    async with served(tmp_path, name) as client:
        facts = await refused(client, "image_to_video", **WISH)

    assert (facts["error"], facts["charged"]) == ("auth_failed", "no")
    assert f"{name.upper()}_API_KEY" in facts["next"]
    assert "key-of-somewhere-else" not in json.dumps(facts)
    assert asked(tmp_path, "accepted") == {}


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize(
    ("fault", "accepted"),
    sampled(
        [
            ("html-login@creates:1", 0),
            ("empty-body@creates:1", 0),
            ("empty-body-after-accept:1", 1),
            ("no-id:1", 1),
            ("drop-after-accept:1", 1),
            ("html-502-after-accept:1", 1),
        ],
        2,
    ),
)
async def test_an_answer_that_says_nothing_leaves_the_money_open_and_is_not_repeated_blindly(
    fault: str, accepted: int, name: str, tmp_path: Path
) -> None:
    async with served(tmp_path, name, sandbox_faults=fault) as client:
        first = await refused(client, "image_to_video", **WISH)
        again = await refused(client, "image_to_video", **WISH)
        second = await ok(client, "image_to_video", **WISH, take=2)

    assert (first["charged"], again["charged"]) == ("unknown", "unknown")
    assert "raise take" in first["next"]
    assert "raise take" in again["next"]
    assert second["status"] == "submitted"
    assert asked(tmp_path, "creates") == {name: 2}
    assert asked(tmp_path, "accepted") == {name: 1 + accepted}


@pytest.mark.parametrize("name", ["kling", "cometapi"])
@pytest.mark.parametrize(
    "fault",
    ["empty-body-after-accept:1", "no-id:1", "drop-after-accept:1", "html-502-after-accept:1"],
)
async def test_a_lost_answer_is_made_good_where_the_provider_knows_our_id(
    fault: str, name: str, tmp_path: Path
) -> None:
    async with served(tmp_path, name, sandbox_faults=fault) as client:
        receipt = await ok(client, "image_to_video", **WISH)
        task = await ok(client, "get_task", task_id=receipt["task_id"])

    assert task["status"] == "succeed"
    assert asked(tmp_path, "creates") == asked(tmp_path, "accepted") == {name: 1}


@pytest.mark.parametrize("name", ALL)
async def test_a_success_with_an_error_in_it_is_a_refusal_at_every_provider(
    name: str, tmp_path: Path
) -> None:
    async with served(tmp_path, name, sandbox_faults="ok-with-error@creates") as client:
        facts = await refused(client, "image_to_video", **WISH)

    assert (facts["error"], facts["charged"], facts["code"]) == ("request_refused", "no", "1201")
    assert facts["provider_says"] == "Invalid request parameters"


@pytest.mark.parametrize("name", ALL)
async def test_an_empty_account_is_told_at_every_provider(name: str, tmp_path: Path) -> None:
    async with served(tmp_path, name, sandbox_faults="no-balance") as client:
        facts = await refused(client, "image_to_video", **WISH)

    assert (facts["error"], facts["charged"]) == ("payment_required", "no")
    assert ("Kling" if name == "kling" else name) in facts["next"]


@pytest.mark.parametrize("name", ALL)
async def test_a_discontinued_model_is_told_with_another_one(name: str, tmp_path: Path) -> None:
    async with served(tmp_path, name) as client:
        facts = await refused(client, "image_to_video", **WISH, model_name="kling-v1")

    kind = "invalid_request" if name == "kling" else "model_retired"
    assert (facts["error"], facts["charged"]) == (kind, "no")
    assert "retired" in json.dumps(facts)
    assert facts["would_pass"]["change"] == {"model_name": "kling-v2-5-turbo"}
    assert asked(tmp_path, "accepted") == {}


@pytest.mark.parametrize("name", ALL)
async def test_a_page_to_sign_in_on_is_no_status(name: str, tmp_path: Path) -> None:
    async with served(tmp_path, name, sandbox_faults="html-login@queries") as client:
        receipt = await ok(client, "image_to_video", **WISH)
        facts = await refused(client, "get_task", task_id=receipt["task_id"])

    assert (facts["error"], facts["charged"]) == ("provider_down", "no")
    assert "web page" in facts["next"]


async def test_the_choice_is_published_only_where_there_is_one(tmp_path: Path) -> None:
    for names in (("newapi",), ("kling", "newapi"), ("newapi", "kling"), ALL):
        async with served(tmp_path, *names, provider=names[0]) as client:
            listed = await client.list_tools()
        able = serving({name: PROVIDERS[name] for name in names})
        for tool in listed.tools:
            if tool.name in PRODUCTS_BY_TOOL:
                choice = tool.input_schema["properties"].get("provider", {}).get("enum")

                can = able[tool.name]
                assert choice == (
                    None if can in ([], [names[0]]) else [*can, *(["auto"] if len(can) > 1 else [])]
                )
        wire = listed.model_dump_json(by_alias=True, exclude_none=True)
        assert len(wire.encode()) <= ALL_BYTES


async def test_voices_are_those_of_the_only_provider_that_keeps_any(tmp_path: Path) -> None:
    async with served(tmp_path, *ALL, provider="newapi") as client:
        listed = await ok(client, "list_assets", kind="voice")
        named = await refused(client, "list_assets", kind="voice", provider="newapi")

    assert listed["assets"]
    assert named["error"] == "not_here"


async def test_the_default_comes_first_in_the_choice_and_is_used(tmp_path: Path) -> None:
    async with served(tmp_path, *ALL, provider="anyfast") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        receipt = await ok(client, "image_to_video", **WISH)

    choice = tools["kling_image_to_video"].input_schema["properties"]["provider"]["enum"]
    assert choice == ["anyfast", *(name for name in ALL if name != "anyfast"), "auto"]
    assert receipt["provider"] == "anyfast"


async def test_a_provider_that_is_not_on_is_refused_with_those_that_are(tmp_path: Path) -> None:
    async with served(tmp_path, "kling", "newapi") as client:
        facts = await refused(client, "image_to_video", **WISH, provider="cometapi")

    (fault,) = facts["faults"]
    assert (fault["field"], fault["use"]) == ("provider", "kling or newapi or auto")


async def test_each_task_is_asked_for_where_it_was_made(tmp_path: Path) -> None:
    async with served(tmp_path, *ALL) as client:
        ids = {
            name: (await ok(client, "image_to_video", **WISH, provider=name))["task_id"]
            for name in ALL
        }
        waited = await ok(client, "wait_for_tasks", task_ids=[*ids.values()])
        for name, task_id in ids.items():
            await ok(client, "save_video", task_id=task_id)
            shown = await ok(client, "get_task", task_id=task_id)
            assert shown["provider"] == name

    assert [task["provider"] for task in waited["tasks"]] == [*ALL]
    assert asked(tmp_path, "accepted") == dict.fromkeys(ALL, 1)
    assert asked(tmp_path, "queries") == dict.fromkeys(ALL, 1)  # the link is still fresh
    assert asked(tmp_path, "queries_refused") == {}


async def test_a_task_made_elsewhere_is_found_at_the_provider_that_knows_it(tmp_path: Path) -> None:
    ids = {}
    async with served(tmp_path, *ALL) as client:
        for name in ALL:
            made = await ok(client, "image_to_video", **WISH, provider=name)
            ids[name] = made["task_id"]
    forget_ledger(tmp_path)

    async with served(tmp_path, *ALL) as client:
        for name, task_id in ids.items():
            task = await ok(client, "get_task", task_id=task_id)
            assert (task["provider"], task["status"]) == (name, "succeed")
            saved = await ok(client, "save_video", task_id=task_id)
            assert saved["bytes"] > 0


def forget_ledger(folder: Path) -> None:
    """As on another computer: the providers have the tasks, this ledger has not."""
    for path in (folder / "home").glob("ledger.sqlite3*"):
        path.unlink()


@pytest.mark.parametrize("name", ALL)
async def test_a_task_of_another_provider_is_not_found_and_costs_nothing(
    name: str, tmp_path: Path
) -> None:
    other = "newapi" if name != "newapi" else "kling"
    async with served(tmp_path, other) as client:
        task_id = (await ok(client, "image_to_video", **WISH))["task_id"]
    forget_ledger(tmp_path)

    async with served(tmp_path, name) as client:
        facts = await refused(client, "get_task", task_id=task_id)
        waited = await ok(client, "wait_for_tasks", task_ids=[task_id], timeout_s=0)

    assert (facts["error"], facts["charged"]) == ("task_not_found", "no")
    assert waited["done"] is True
    assert waited["tasks"][0]["status"] == "unknown"


async def test_a_task_that_no_provider_knows_names_them_all(tmp_path: Path) -> None:
    async with served(tmp_path, *ALL) as client:
        facts = await refused(client, "get_task", task_id="nobody's")

    assert facts["error"] == "task_not_found"
    assert "kling, cometapi, anyfast, powertokens, newapi" in facts["message"]


async def test_the_list_merges_the_ledger_with_kling_s_own_and_says_where_each_is_from(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, "kling") as client:
        elsewhere = (await ok(client, "image_to_video", **WISH, take=2))["task_id"]
    forget_ledger(tmp_path)
    async with served(tmp_path, "kling", "newapi") as client:
        here = (await ok(client, "image_to_video", **WISH))["task_id"]
        gateway = (await ok(client, "image_to_video", **WISH, provider="newapi"))["task_id"]
        page = await ok(client, "list_tasks")
        of_kling = await ok(client, "list_tasks", provider="kling")
        of_gateway = await ok(client, "list_tasks", provider="newapi")
        failed = await ok(client, "list_tasks", status="failed")

    sources = {task["task_id"]: (task["provider"], task["source"]) for task in page["tasks"]}
    assert sources == {
        elsewhere: ("kling", "kling"),
        here: ("kling", "ledger"),
        gateway: ("newapi", "ledger"),
    }
    assert page["more"] is False
    assert "newapi has no list of its own" in page["note"]
    assert {task["task_id"] for task in of_kling["tasks"]} == {elsewhere, here}
    assert "no list of its own" not in of_kling["note"]
    assert [task["task_id"] for task in of_gateway["tasks"]] == [gateway]
    assert failed["tasks"] == []


async def test_every_task_is_on_exactly_one_page(tmp_path: Path) -> None:
    made = []
    async with served(tmp_path, "kling") as client:
        made += [
            (await ok(client, "image_to_video", **WISH, take=take))["task_id"]
            for take in range(1, 4)
        ]
    forget_ledger(tmp_path)
    async with served(tmp_path, "kling", "anyfast") as client:
        for take in range(4, 6):
            for name in ("kling", "anyfast"):
                receipt = await ok(client, "image_to_video", **WISH, take=take, provider=name)
                made.append(receipt["task_id"])
        listed: list[str] = []
        for page in range(1, 10):
            answer = await ok(client, "list_tasks", page=page, page_size=2)
            listed += [task["task_id"] for task in answer["tasks"]]
            if not answer["more"]:
                break

    assert sorted(listed) == sorted(made)


async def test_a_list_that_cannot_be_had_is_told_and_the_ledger_s_is_shown(tmp_path: Path) -> None:
    async with served(tmp_path, "kling", sandbox_faults="internal@queries") as client:
        receipt = await ok(client, "image_to_video", **WISH)
        page = await ok(client, "list_tasks")

    assert [task["task_id"] for task in page["tasks"]] == [receipt["task_id"]]
    assert "kling's own list is missing" in page["note"]


async def test_moving_to_another_provider_takes_a_setting_and_makes_its_own_video(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, "cometapi") as client:
        before = await ok(client, "image_to_video", **WISH)
    async with served(tmp_path, "anyfast") as client:
        moved = await ok(client, "image_to_video", **WISH)
        page = await ok(client, "list_tasks")
        facts = await ok(client, "get_task", task_id=before["task_id"])
    async with served(tmp_path, "cometapi", "anyfast") as client:
        both = await ok(client, "wait_for_tasks", task_ids=[before["task_id"], moved["task_id"]])

    assert moved["provider"] == "anyfast"
    assert "repeated" not in moved
    assert {task["task_id"] for task in page["tasks"]} == {before["task_id"], moved["task_id"]}
    assert facts["error"] == "not_configured"
    assert "COMETAPI_API_KEY" in facts["next"]
    assert [task["status"] for task in both["tasks"]] == ["succeed", "succeed"]
    assert asked(tmp_path, "accepted") == {"anyfast": 1, "cometapi": 1}


async def test_a_gateway_of_one_s_own_is_a_row_in_a_file(tmp_path: Path) -> None:
    rows = tmp_path / "rows.toml"
    rows.write_text('[mine]\nlike = "newapi"\nbase_url = "sandbox"\npoll_s = 1\n')
    async with served(tmp_path, "kling", providers=rows) as client:
        receipt = await ok(client, "image_to_video", **WISH, provider="mine")
        task = await ok(client, "get_task", task_id=receipt["task_id"])
        facts = await refused(client, "image_to_video", **SHOTS, provider="mine")

    assert (task["provider"], task["status"]) == ("mine", "succeed")
    assert 'provider "kling"' in json.dumps(facts["faults"]).replace('\\"', '"')
    assert asked(tmp_path, "accepted") == {"newapi": 1}


@pytest.mark.parametrize("names", [*((name,) for name in ALL), ALL], ids=" ".join)
async def test_the_table_of_models_can_be_read_with_every_provider(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    async with served(tmp_path, *names) as client:
        (content,) = (await client.read_resource("kling://models")).contents

    assert "kling-v2-5-turbo" in content.text
