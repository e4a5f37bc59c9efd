"""`examples/conversation.md` is what the server answers today."""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from benchmarks.virtual_time import VirtualTimeLoop
from tests.examples.conversation import INTRODUCTION, play
from tests.examples.stage import Stage

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DOCUMENT = EXAMPLES / "conversation.md"
TUESDAY = datetime(2026, 9, 15, 10, tzinfo=UTC).timestamp()


def played(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The document of one run; everything that it writes lies in `home`."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    shutil.copytree(EXAMPLES / "pictures", home / "Pictures")

    async def run() -> str:
        loop = asyncio.get_running_loop()
        stage = Stage(home, lambda: TUESDAY + loop.time())
        monkeypatch.setattr("kling_mcp.providers.transport.connect", stage.connect)
        await play(stage)
        return "\n".join([INTRODUCTION, *stage.lines])

    return anyio.run(run, backend_options={"loop_factory": VirtualTimeLoop})


def test_the_conversation_is_what_the_server_answers_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    document = played(tmp_path, monkeypatch)
    if request.config.getoption("--update-snapshots"):
        DOCUMENT.write_text(document, encoding="utf-8")

    assert document == DOCUMENT.read_text(encoding="utf-8")
