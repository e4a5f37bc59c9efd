"""`kling-mcp tasks` shows the owner what the ledger holds, and changes nothing."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import to_thread
from mcp import Client
from tests.server.serving import picture, sandbox_settings

from kling_mcp.cli.main import main
from kling_mcp.ledger import Ledger, NewRow
from kling_mcp.ledger.sqlite import SqliteEngine
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


async def ask_often(home: Path, number: int) -> None:
    ledger = Ledger(SqliteEngine(home / "ledger.sqlite3"))
    for place in range(number):
        await ledger.reserve(
            NewRow(
                provider="kling",
                base_url="https://api.klingai.com",
                product="image2video",
                digest=f"{place}",
                take=1,
                model_name="kling-v2-5-turbo",
                prompt=f"Fox {place} runs through the snow until it has reached the last tree",
                request={},
                estimate_units=1.5 if place else None,
            )
        )
    await ledger.close()


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> Path:
    monkeypatch.setenv("KLING_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("number", "options", "last"),
    [
        (1, [], "1 shown; 0 units in the last 24 hours among them, and 1 of an unknown price."),
        (2, ["--limit", "1"], "1 shown (older ones: --limit 2); 1.5 units in the last 24 hours "),
        (2, ["--limit", "2"], "2 shown; 1.5 units in the last 24 hours among them, and 1 of "),
        (45, [], "20 shown (older ones: --limit 40); 30 units in the last 24 hours among them."),
    ],
)
async def test_the_sum_says_what_it_leaves_out(
    number: int, options: list[str], last: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await ask_often(home, number)

    assert await to_thread.run_sync(main, ["tasks", *options]) == 0

    assert capsys.readouterr().out.splitlines()[-1].startswith(last)


@pytest.mark.anyio
async def test_units_of_pictures_and_money_are_never_added_to_units_of_videos(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        await client.call_tool("kling_generate_image", {"prompt": "A fox", "n": 2})
        await client.call_tool(
            "kling_image_to_video", {"image": picture(tmp_path), "prompt": "It runs"}
        )

    assert await to_thread.run_sync(main, ["tasks"]) == 0

    shown = capsys.readouterr().out.splitlines()
    assert "~1.5 (play)" in shown[1]
    assert "~16 image (play)  generate image: A fox" in shown[3]
    assert shown[-1].endswith("would have cost 1.5 units and 16 image units.")


@pytest.mark.anyio
@pytest.mark.parametrize(("columns", "prompt"), [(200, 50), (90, 30), (40, 12)])
async def test_a_narrow_terminal_gets_shorter_prompts(
    columns: int, prompt: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask_often(home, 2)
    console = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(console, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setenv("COLUMNS", str(columns))

    assert await to_thread.run_sync(main, ["tasks", "--limit", "1"]) == 0

    line = console.buffer.getvalue().decode().splitlines()[1]  # type: ignore[attr-defined]
    cut = line[line.index("Fox") :]
    assert (len(cut), cut[-1]) == (prompt, "…")
    assert len(line) <= max(columns, 72)


@pytest.mark.parametrize("limit", ["0", "-5", "x", "1.5", "100001", "²"])
def test_a_limit_that_makes_no_sense_is_refused(
    limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["tasks", f"--limit={limit}"])

    assert end.value.code == 2
    assert "a number from 1 to 100000" in capsys.readouterr().err


@pytest.mark.anyio
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_a_provider_that_does_not_exist_is_refused_with_those_that_do(
    number: int, options: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await ask_often(home, number)

    assert await to_thread.run_sync(main, ["tasks", "--provider", "klng", *options]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert "There is no provider 'klng', only kling, " in err


@pytest.mark.anyio
@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_nothing_that_matches_is_said_beside_the_output(
    options: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await ask_often(home, 1)
    wanted = ["--provider", "cometapi", "--status", "failed"]

    assert await to_thread.run_sync(main, ["tasks", *wanted, *options]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("No tasks at cometapi with the status failed yet (")


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"not a database " * 99, b"SQLite format 3\0" + b"\1" * 999])
async def test_a_broken_ledger_is_one_line_with_what_to_do(
    content: bytes, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "ledger.sqlite3").write_bytes(content)

    assert await to_thread.run_sync(main, ["tasks"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be used" in line
    assert "Put back a copy of it" in line


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("tasks --limit 200", 141),
        pytest.param("tasks --json", 141, marks=pytest.mark.campaign),
        pytest.param("doctor", 141, marks=pytest.mark.campaign),
        pytest.param("sandbox --fault help", 141, marks=pytest.mark.campaign),
        ("--help", 0),  # argparse drops what it cannot write
    ],
)
async def test_a_reader_who_leaves_ends_the_command_without_a_word(
    words: str, code: int, home: Path
) -> None:
    await ask_often(home, 45)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "kling_mcp", *words.split()]
    done = await to_thread.run_sync(
        lambda: subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (code, b"")


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
    """Make a row as earlier versions did, which did not tidy prompts."""
    async with Client(build_server(sandbox_settings(folder))) as client:
        arguments = {"image": picture(folder), "prompt": "strange"}
        assert not (await client.call_tool("kling_image_to_video", arguments)).is_error
    ledger = Ledger(folder / "home")
    change = "UPDATE tasks SET prompt = ? WHERE prompt = 'strange'"
    await ledger._engine.alone(lambda db: db.execute(change, (STRANGE,)))
    await ledger.close()


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

    assert "No tasks yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_what_is_asked_for_in_words_is_shown_alone_with_all_its_pictures(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Client(build_server(sandbox_settings(tmp_path, save=True))) as client:
        made = await client.call_tool("kling_generate_image", {"prompt": "A fox", "n": 3})
        assert made.structured_content is not None
        ids = [made.structured_content["task_id"]]
        await client.call_tool("kling_text_to_video", {"prompt": "A hare"})
        await client.call_tool("kling_wait_for_tasks", {"task_ids": ids})

    assert await to_thread.run_sync(main, ["tasks", "--product", "pictures"]) == 0
    pictures = capsys.readouterr().out.splitlines()
    assert await to_thread.run_sync(main, ["tasks", "--product", "text to video"]) == 0
    words = capsys.readouterr().out.splitlines()
    assert await to_thread.run_sync(main, ["tasks", ids[0], "--dossier"]) == 0
    dossier = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["tasks", "--product", "songs"])

    assert len(pictures) == len(words) == 4
    assert "generate image: A fox" in pictures[1]
    assert pictures[2].endswith("-1.png, and 2 more")
    assert "text to video: A hare" in words[1]
    assert "| made by | generate image |" in dossier
    assert "| unit | image unit |" in dossier
    assert "pictures, videos, image to video, multi image to video" in capsys.readouterr().err
