"""What an agent is told when things go wrong on the way, and that nothing is paid twice."""

from pathlib import Path
from typing import Any

import pytest
import stamina
from mcp import Client
from mcp_types import CallToolResult, TextContent
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore


@pytest.fixture(autouse=True)
def no_waiting_between_attempts() -> Any:
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def words(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def submit(
    folder: Path,
    faults: str,
    then: tuple[str, ...] = (),
    also: dict[str, Any] | None = None,
    **more: Any,
) -> list[CallToolResult]:
    """One create with these faults turned on, `also` among its arguments; then other tools for its
    task."""
    settings = sandbox_settings(folder, sandbox_faults=faults, **more)
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"image": picture(folder), "prompt": "Zoom", **(also or {})}
        results = [await client.call_tool("kling_image_to_video", wish)]
        facts = results[0].structured_content or {}
        for tool in then:
            wanted: dict[str, Any] = {
                "kling_image_to_video": wish,
                "kling_wait_for_tasks": {"task_ids": [facts.get("task_id")]},
            }.get(tool, {"task_id": facts.get("task_id")})
            results.append(await client.call_tool(tool, wanted))
        return results


def accepted(folder: Path) -> int:
    return SandboxStore(folder / "home" / "sandbox").counts().accepted


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "kind", "code", "advice"),
    [
        ("no-balance", "payment_required", "1102", "top it up"),
        ("token-expired", "auth_failed", "1004", "clock"),
        ("ok-with-error@creates", "request_refused", "1201", "Leave out optional arguments"),
    ],
)
async def test_a_refused_create_says_why_and_that_nothing_was_charged(
    tmp_path: Path, fault: str, kind: str, code: str, advice: str
) -> None:
    (result,) = await submit(tmp_path, fault)

    assert result.is_error
    assert result.structured_content is not None
    facts = result.structured_content
    assert (facts["error"], facts["code"], facts["charged"]) == (kind, code, "no")
    assert advice in facts["next"]
    assert "This call cost nothing." in words(result)
    assert accepted(tmp_path) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["drop-after-accept", "html-502-after-accept"])
async def test_a_task_whose_answer_was_lost_is_found_again(tmp_path: Path, fault: str) -> None:
    (result,) = await submit(tmp_path, fault)

    assert not result.is_error, words(result)
    assert accepted(tmp_path) == 1


@pytest.mark.anyio
async def test_a_task_that_cannot_be_seen_for_a_while_is_not_made_again(tmp_path: Path) -> None:
    first, second = await submit(
        tmp_path, "drop-after-accept:1,html-502@queries:16", ("kling_image_to_video",)
    )

    assert first.is_error
    assert first.structured_content is not None
    assert first.structured_content["charged"] == "unknown"
    assert "Do not submit a new request" in first.structured_content["next"]
    assert not second.is_error, words(second)
    assert second.structured_content is not None
    assert second.structured_content["repeated"] is True
    assert accepted(tmp_path) == 1


@pytest.mark.anyio
async def test_while_nobody_answers_the_money_is_said_to_be_unknown(tmp_path: Path) -> None:
    first, second = await submit(
        tmp_path, "drop-after-accept@creates:1,drop-before-accept:30", ("kling_image_to_video",)
    )

    for result in (first, second):
        assert result.is_error
        assert result.structured_content is not None
        assert result.structured_content["charged"] == "unknown"
        assert "Do not submit a new request" in result.structured_content["next"]
    assert accepted(tmp_path) <= 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fault", ["drop-before-accept@creates:1", "html-502@creates:1", "internal@creates:1"]
)
async def test_a_create_that_never_arrived_is_looked_for_and_sent_again(
    tmp_path: Path, fault: str
) -> None:
    (result,) = await submit(tmp_path, fault)

    assert not result.is_error, words(result)
    assert accepted(tmp_path) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fault",
    [
        "drop-before-accept@queries:2",
        "html-502@queries:2",
        "rate-limit@queries:2",
        "rate-limit-retry-after@queries:1",
        "internal@queries:2",
        "maintenance@queries:1",
        "backlog@queries:1",
    ],
)
async def test_a_read_that_fails_for_a_moment_is_repeated_unseen(
    tmp_path: Path, fault: str
) -> None:
    _, waited = await submit(tmp_path, fault, ("kling_wait_for_tasks",))

    assert not waited.is_error, words(waited)
    assert waited.structured_content is not None
    assert waited.structured_content["done"] is True


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["video-cut-short:1", "drop-before-accept@downloads:1"])
async def test_a_broken_download_is_taken_up_again(tmp_path: Path, fault: str) -> None:
    saved = (await submit(tmp_path, fault, ("kling_save_video",)))[-1]

    assert not saved.is_error, words(saved)
    assert saved.structured_content is not None
    assert (
        Path(saved.structured_content["path"]).stat().st_size == (saved.structured_content["bytes"])
    )


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["video-cut-short", "download-404"])
async def test_a_download_that_never_works_leaves_no_file(tmp_path: Path, fault: str) -> None:
    saved = (await submit(tmp_path, fault, ("kling_save_video",)))[-1]

    assert saved.is_error
    assert saved.structured_content is not None
    assert saved.structured_content["error"] in ("save_failed", "provider_down")
    assert list((tmp_path / "videos").glob("**/*.mp4*")) == []


@pytest.mark.anyio
async def test_a_paid_video_that_could_not_be_saved_is_not_called_free(tmp_path: Path) -> None:
    waited = (await submit(tmp_path, "download-404", ("kling_wait_for_tasks",), save=True))[-1]

    assert "would have cost 1.5 units. It could not be saved" in words(waited)
    assert "Nothing was charged" not in words(waited)
    assert "This call cost nothing." in words(waited)


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_told_and_costs_nothing(tmp_path: Path) -> None:
    (result,) = await submit(
        tmp_path, "", provider="kling", kling_api_key="k", kling_base_url="http://127.0.0.1:9"
    )

    assert result.is_error
    assert words(result) == (
        "kling (127.0.0.1) cannot be reached. This call cost nothing. Check the network, and the "
        "base URL (setting KLING_BASE_URL)."
    )


@pytest.mark.anyio
async def test_our_own_reason_is_not_put_into_the_provider_s_mouth(tmp_path: Path) -> None:
    settings = sandbox_settings(
        tmp_path, provider="kling", kling_api_key="k", kling_base_url="http://127.0.0.1:9"
    )
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        await client.call_tool("kling_image_to_video", wish)
        listed = await client.call_tool("kling_list_tasks", {})

    assert listed.structured_content is not None
    (task,) = listed.structured_content["tasks"]
    assert "provider_says" not in task
    assert task["next"] == 'Never made: "kling (127.0.0.1) cannot be reached."'
    assert "What was never made cost nothing" in listed.structured_content["note"]


@pytest.mark.anyio
async def test_a_refusal_s_own_words_stand_in_their_field_alone(tmp_path: Path) -> None:
    settings = sandbox_settings(tmp_path, sandbox_faults="no-balance@creates")
    async with Client(build_server(settings, sleep=no_sleep)) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        refused = await client.call_tool("kling_image_to_video", wish)
        listed = await client.call_tool("kling_list_tasks", {})
        (task,) = (listed.structured_content or {})["tasks"]
        saved = await client.call_tool("kling_save_video", {"task_id": task["task_id"]})

    words_of_kling = (refused.structured_content or {})["provider_says"]
    assert task["provider_says"] == words_of_kling
    assert words_of_kling not in task["next"]
    assert (saved.structured_content or {})["provider_says"] == words_of_kling


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("caps", "setting"),
    [
        ({"max_units_per_task": 1}, "KLING_MCP_MAX_UNITS_PER_TASK"),
        ({"max_units_per_day": 1}, "KLING_MCP_MAX_UNITS_PER_DAY"),
    ],
)
async def test_a_cap_refuses_before_anything_is_sent(
    tmp_path: Path, caps: dict[str, float], setting: str
) -> None:
    (result,) = await submit(tmp_path, "", **caps)

    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["error"] == "spend_cap_reached"
    assert setting in words(result)
    assert not (tmp_path / "home" / "sandbox").exists()


@pytest.mark.anyio
async def test_a_dry_run_tells_of_a_cap_in_the_words_of_the_refusal(tmp_path: Path) -> None:
    (told,) = await submit(tmp_path / "a", "", max_units_per_day=1)
    (dry,) = await submit(tmp_path / "b", "", also={"dry_run": True}, max_units_per_day=1)

    assert told.structured_content is not None
    said, way_on = told.structured_content["message"], told.structured_content["next"]
    assert f"It would be refused: price: {said}" in words(dry)
    assert words(dry).endswith(way_on)


@pytest.mark.anyio
async def test_a_cap_and_an_unknown_price_are_told_with_models_that_have_one(
    tmp_path: Path,
) -> None:
    asked = {"model_name": "kling-v9"}
    (result,) = await submit(tmp_path, "", also=asked, max_units_per_task=2)

    assert "The price of this video is not known, and the cap for one video" in words(result)
    assert "It passes with model_name: kling-v2-5-turbo; that makes kling-v2-5-turbo" in words(
        result
    )
    assert "raise" not in words(result).lower()
    assert "shorter" not in words(result)
