"""Above a price the person is asked, in both protocol eras; a host that cannot ask is told so."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import ElicitRequestParams, ElicitResult, ErrorData
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_sandbox import SandboxStore

ERAS = ("legacy", "2026-07-28")


class Person:
    """Answers questions, and remembers them."""

    def __init__(self, action: Any, content: dict[str, Any] | None) -> None:
        self.asked: list[str] = []
        self._answer = ElicitResult.model_construct(action=action, content=content)

    async def __call__(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params.message)
        return self._answer


def accepted(folder: Path) -> int:
    return SandboxStore(folder / "home" / "sandbox").counts().accepted


async def submit(folder: Path, era: str, person: Person | None, **more: Any) -> Any:
    settings = sandbox_settings(folder, confirm_above_units=1)
    async with Client(build_server(settings), mode=era, elicitation_callback=person) as client:
        wish = {"image": picture(folder), "prompt": "Zoom", **more}
        return await client.call_tool("kling_image_to_video", wish)


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_person_who_agrees_gets_the_video(era: str, tmp_path: Path) -> None:
    person = Person("accept", {"agree": True})

    result = await submit(tmp_path, era, person)

    assert not result.is_error, result.content
    assert len(person.asked) == 1
    assert "1.5 units" in person.asked[0]
    assert '"Zoom"' in person.asked[0]
    assert accepted(tmp_path) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_person_is_asked_about_the_very_take_that_is_made(era: str, tmp_path: Path) -> None:
    person = Person("accept", {"agree": True})
    first = await submit(tmp_path, era, person)
    made = first.structured_content["task_id"]

    second = await submit(tmp_path, era, person, another_take_of=made)

    assert second.structured_content["take"] == 2
    assert "take 2" in person.asked[-1]
    assert len(person.asked) == accepted(tmp_path) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("action", "content"),
    [
        ("accept", {"agree": False}),
        ("accept", {"agree": "false"}),
        ("accept", {"agree": "I do not know"}),
        ("accept", {"agree": None}),
        ("accept", {"yes": True}),
        ("accept", {}),
        ("accept", None),
        ("decline", {"agree": True}),
        ("decline", None),
        ("cancel", None),
    ],
)
async def test_without_a_clear_yes_nothing_is_paid(
    era: str,
    action: str,
    content: dict[str, Any] | None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = await submit(tmp_path, era, Person(action, content))

    assert caplog.records == []
    assert result.is_error
    assert result.structured_content["error"] == "spend_cap_reached"
    assert "KLING_MCP_CONFIRM_ABOVE_UNITS" in result.structured_content["message"]
    assert not (tmp_path / "home" / "sandbox").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_host_that_cannot_ask_is_told_the_setting(era: str, tmp_path: Path) -> None:
    result = await submit(tmp_path, era, None)

    assert result.is_error
    assert "KLING_MCP_CONFIRM_ABOVE_UNITS" in result.structured_content["message"]
    assert "cannot ask" in result.structured_content["message"]
    assert not (tmp_path / "home" / "sandbox").exists()


class Broken(Person):
    """A host that answers questions with an error."""

    async def __call__(self, context: Any, params: ElicitRequestParams) -> Any:
        return ErrorData(code=-32603, message="The window is closed.")


@pytest.mark.anyio
async def test_a_host_that_fails_to_ask_is_told_the_setting(tmp_path: Path) -> None:
    result = await submit(tmp_path, "legacy", Broken("accept", None))

    assert "KLING_MCP_CONFIRM_ABOVE_UNITS" in result.structured_content["message"]
    assert "cannot ask" in result.structured_content["message"]
    assert not (tmp_path / "home" / "sandbox").exists()


@pytest.mark.anyio
async def test_an_answer_that_the_protocol_does_not_have_is_no_yes(tmp_path: Path) -> None:
    result = await submit(tmp_path, "legacy", Person("perhaps", {"agree": True}))

    assert result.structured_content["error"] == "spend_cap_reached"
    assert not (tmp_path / "home" / "sandbox").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_dry_run_asks_nobody_and_tells_that_the_submit_will(
    era: str, tmp_path: Path
) -> None:
    person = Person("accept", {"agree": True})

    dry = await submit(tmp_path, era, person, dry_run=True)

    assert person.asked == []
    assert "asked to agree (KLING_MCP_CONFIRM_ABOVE_UNITS=1)" in dry.structured_content["next"]


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_nobody_is_asked_again_for_a_video_that_is_made(era: str, tmp_path: Path) -> None:
    person = Person("accept", {"agree": True})
    await submit(tmp_path, era, person)

    again = await submit(tmp_path, era, person)

    assert again.structured_content["repeated"] is True
    assert len(person.asked) == 1
