"""`kling-mcp tasks` shows the owner what the ledger holds, and changes nothing."""

import io
import json
import sys
from pathlib import Path

import pytest
from anyio import to_thread
from mcp import Client
from tests.server.serving import picture, sandbox_settings

from kling_mcp.cli.main import main
from kling_mcp.protocol.server import build_server

STRANGE = "\x1b[31m\x9b2J\u202e沸水 \U0001f600\x07\r"


async def fill(folder: Path) -> list[str]:
    async with Client(build_server(sandbox_settings(folder, sandbox_faults="no-balance:1"))) as c:
        image = picture(folder)
        await c.call_tool("kling_image_to_video", {"image": image, "prompt": "refused"})
        made = await c.call_tool("kling_image_to_video", {"image": image, "prompt": "a fine one"})
        assert made.structured_content is not None
        task_id = made.structured_content["task_id"]
        saved = await c.call_tool("kling_save_video", {"task_id": task_id})
        assert saved.structured_content is not None
        return [task_id, saved.structured_content["path"]]


@pytest.fixture
async def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> list[str]:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return await fill(tmp_path)


@pytest.mark.anyio
async def test_the_table_says_what_it_cost_and_where_it_is(
    ledger: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await to_thread.run_sync(main, ["tasks"]) == 0

    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["made", "status", "model", "units", "prompt"]
    assert "succeed" in shown[1]
    assert "1.5 (play)" in shown[1]
    assert shown[1].endswith("a fine one")
    assert shown[2].strip() == ledger[1]
    assert "failed" in shown[3]
    assert "balance" in shown[4]
    assert shown[-1] == (
        "2 shown; 0 units in the last 24 hours among them; "
        "those of the sandbox would have cost 1.5 units."
    )


@pytest.mark.anyio
async def test_a_sandbox_video_stays_one_when_a_key_is_set(
    ledger: list[str], tmp_path: Path
) -> None:
    keyed = sandbox_settings(tmp_path, provider="kling", kling_api_key="a-key-of-somebody-0123")
    async with Client(build_server(keyed)) as client:
        arguments = {"task_ids": ledger[:1], "timeout_s": 0}
        seen = await client.call_tool("kling_wait_for_tasks", arguments)

    text = seen.content[0].text
    assert "would have cost 1.5 units" in text
    assert ", cost 1.5 units" not in text
    assert seen.structured_content is not None
    assert [task["sandbox"] for task in seen.structured_content["tasks"]] == [True]


@pytest.mark.anyio
async def test_a_cap_in_the_sandbox_speaks_of_play_money(ledger: list[str], tmp_path: Path) -> None:
    capped = sandbox_settings(tmp_path, max_units_per_day=1)
    async with Client(build_server(capped)) as client:
        arguments = {"image": picture(tmp_path), "prompt": "another"}
        refused = await client.call_tool("kling_image_to_video", arguments)

    assert "cap is 1 unit; 1.5 of the sandbox's play money were spent" in refused.content[0].text


def test_a_state_that_there_is_not_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["tasks", "--status", "done"])

    assert end.value.code == 2
    assert "succeed" in capsys.readouterr().err


@pytest.mark.anyio
async def test_json_has_a_line_for_each_task(
    ledger: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await to_thread.run_sync(main, ["tasks", "--json", "--status", "succeed"])

    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert (facts["task_id"], facts["path"]) == tuple(ledger)
    assert facts["units"] == 1.5
    assert facts["request"]["image"] == "photo.png"
    assert len(facts["sha256"]) == 64


async def ask_strangely(folder: Path) -> None:
    async with Client(build_server(sandbox_settings(folder))) as client:
        arguments = {"image": picture(folder), "prompt": STRANGE}
        assert not (await client.call_tool("kling_image_to_video", arguments)).is_error


@pytest.mark.anyio
async def test_no_prompt_steers_the_terminal(
    ledger: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await ask_strangely(tmp_path)

    assert await to_thread.run_sync(main, ["tasks"]) == 0

    line = capsys.readouterr().out.splitlines()[1]
    assert line.isprintable()
    assert line.endswith(r"\u001b[31m\u009b2J\u202e沸水 😀\u0007")


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_a_console_that_cannot_print_a_prompt_prints_the_rest(
    encoding: str,
    options: list[str],
    ledger: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await ask_strangely(tmp_path)
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", console)

    assert await to_thread.run_sync(main, ["tasks", *options]) == 0

    shown = console.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert r"\u6cb8\u6c34" in shown
    assert ledger[0] in shown or ledger[1] in shown
    if options:
        assert json.loads(shown.splitlines()[0])["prompt"].startswith(STRANGE[:3])


def test_an_empty_house_says_so_and_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    assert main(["tasks"]) == 0

    assert "No videos yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
