"""One account has one ledger, however its base URL is spelled."""

from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.scripted import CREATE, KEY, Scripted, ends, facts
from tests.server.serving import hurried, picture, sandbox_settings

from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("https://kling.example", "HTTPS://Kling.Example:443/"),
        ("https://kling.example/v1/videos", "https://kling.example"),
        ("http://localhost:8899", "http://127.0.0.1:8899/v1/videos/"),
        ("http://kling.example.", "http://kling.example:80"),
        ("global", "https://api-singapore.klingai.com"),
        ("https://API-Singapore.klingai.com/", ""),
    ],
)
async def test_another_spelling_of_the_base_url_is_the_same_account(
    first: str, then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = await asked_at(first, then, tmp_path, monkeypatch)

    assert answers[1]["repeated"] is True
    assert answers[0]["task_id"] == answers[1]["task_id"]


async def test_an_equal_request_at_another_address_is_told_before_it_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, then = "https://kling.example", "https://kling.example:8443"
    _, dry = await asked_at(first, then, tmp_path / "dry", monkeypatch, dry_run=True)
    _, made = await asked_at(first, then, tmp_path / "made", monkeypatch)

    for answer in (dry, made):
        (warning,) = [w for w in answer["warnings"] if "made at https://kling.example " in w]
        assert "charges for it" in warning
    assert "repeated" not in made


async def asked_at(
    first: str, then: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **how: Any
) -> list[dict[str, Any]]:
    """The answers to one request, with the base URL as it was `first`, and `then`."""
    folder.mkdir(exist_ok=True)
    provider = Scripted(ends(task_status="processing"))
    monkeypatch.setattr("kling_mcp.providers.transport.connect", provider.connect)
    wish = {"image": picture(folder), "prompt": "Zoom"}
    answers = []
    for base_url, more in ((first, {}), (then, how)):
        settings = sandbox_settings(
            folder, provider="kling", kling_api_key=KEY, kling_base_url=base_url
        )
        async with Client(build_server(settings, **hurried())) as client:
            answers.append(facts(await client.call_tool(CREATE, wish | more)))
    return answers
