"""`kling-mcp video` and its siblings: the tools of the chat, from a shell."""

import io
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from mcp import Client
from tests.server.serving import SMALL_PX, picture, sandbox_settings

from kling_mcp.cli import tool_options
from kling_mcp.cli.exit_codes import CODE_OF_KIND, EXIT_CODES
from kling_mcp.cli.main import main
from kling_mcp.cli.shell_words import command_with, in_shell, tools_here
from kling_mcp.cli.tool_commands import COMMAND_OF, COMMANDS
from kling_mcp.cli.tool_options import OF_THE_SHELL, CommandParser
from kling_mcp.outputs.part import copied
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import Settings, environment_name
from kling_tools import errors
from kling_tools.errors import KlingError
from kling_tools.tools.toolset import build_toolset

SETTINGS = {
    "KLING_MCP_PROVIDER": "sandbox",
    "KLING_MCP_SANDBOX_QUEUE_S": "0",
    "KLING_MCP_SANDBOX_RENDER_S": "0",
    "KLING_MCP_SANDBOX_SIDE_PX": str(SMALL_PX),
}


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sandbox of its own, and a working folder outside of those for pictures and videos."""
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    folders = {
        "KLING_MCP_HOME": str(tmp_path / "home"),
        "KLING_MCP_OUTPUT_DIR": str(tmp_path / "videos"),
        "KLING_MCP_IMAGE_ROOTS": str(tmp_path / "pictures"),
    }
    for name, value in {**SETTINGS, **folders}.items():
        monkeypatch.setenv(name, value)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


class Shell:
    """The commands that a person gives, and what they see."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, line: str) -> int:
        words = shlex.split(line)
        assert words[0] == "kling-mcp"
        try:
            code = main(words[1:])
        except SystemExit as end:
            code = int(end.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return code

    def fields(self, line: str, code: int = 0) -> dict[str, Any]:
        """The one object of a command that is run with --json."""
        assert self.run(f"{line} --json") == code, self.err
        found = json.loads(self.out)
        assert isinstance(found, dict)
        assert len(self.out.splitlines()) == 1
        return found


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def made(world: Path) -> int:
    """The rows that the ledger has."""
    ledger = world.parent / "home" / "ledger.sqlite3"
    if not ledger.exists():
        return 0
    try:
        with closing(sqlite3.connect(ledger)) as database:
            (count,) = database.execute("SELECT count(*) FROM tasks").fetchone()
    except sqlite3.OperationalError:  # it is being made
        return 0
    return int(count)


def test_every_tool_has_a_command_that_takes_every_argument_of_it() -> None:
    tools = {tool.name: tool for tool in build_toolset(["kling"], models={})}

    assert tools.keys() == COMMAND_OF.keys()
    for command in COMMANDS.values():
        parser = CommandParser(prog=command.name)
        parser.tool_command = command
        flags = {flag for action in parser.filled()._actions for flag in action.option_strings}
        words = {action.dest for action in parser._actions if not action.option_strings}
        of_file = {"file"} if command.file else set()
        assert words == {tool_options.ARGUMENT + word for word in command.words} | of_file
        for tool in command.tools:
            kind = tools[tool].arguments
            names = set(kind.model_fields) - set(getattr(kind, "absent", ()))
            taken = names - set(command.words) - set(OF_THE_SHELL)
            options = {f"--{command.flags.get(n, n).replace('_', '-')}" for n in taken}
            assert options <= flags, tool


def test_the_help_of_an_option_is_that_of_the_tool(shell: Shell) -> None:
    assert shell.run("kling-mcp video --help") == 0

    told = " ".join(shell.out.split())
    assert "std=720p, pro=1080p, 4k (v3 only)." in told
    assert "Default kling-v2-5-turbo; kling-v2-6" in told
    assert "Refuse if it would cost more (1 unit lists 0.14 USD)." in told
    assert "kling_" not in told
    for code, said in EXIT_CODES.items():
        assert f"{code} {said}" in told


def test_help_is_there_while_a_setting_cannot_be_used(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools_here.cache_clear()
    monkeypatch.setenv("KLING_MCP_MAX_UNITS_PER_TASK", "many")

    assert shell.run("kling-mcp speak --help") == 0
    assert "--sound-file" in shell.out
    assert shell.run("kling-mcp speak hello") == 6
    assert "KLING_MCP_MAX_UNITS_PER_TASK" in shell.err
    tools_here.cache_clear()


def test_advice_names_the_commands_and_options_of_the_shell() -> None:
    wait = 'kling_wait_for_tasks with task_ids ["941"]; the video is saved when it is done.'
    assert in_shell(wait) == "kling-mcp wait 941; the video is saved when it is done."
    assert in_shell('kling_get_task with task_id "k-9" or') == "kling-mcp tasks k-9 or"
    assert in_shell("image_tail: not with kling-v3") == "--image-tail: not with kling-v3"


def test_paths_and_prompts_are_told_to_the_letter(shell: Shell, world: Path) -> None:
    prompt = "kling_film of an image_tail, on and on" + ", and on" * 40
    for folder in ("kling_film", "my image_tail"):
        (world / folder).mkdir()
        place = world / folder / "kling_look x.mp4"

        assert shell.run(f"kling-mcp video '{prompt}' -o '{folder}/kling_look x.mp4'") == 0

        assert shell.out.rstrip().endswith(f"saved at {place}.")
        assert "kling_film of an image_tail" in shell.out
    assert shell.run("kling-mcp video fox -o 'no kling_look/x.mp4'") == 2
    assert f"the folder {world}/no kling_look does not exist" in shell.err


def test_the_advice_for_a_program_names_commands(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_RENDER_S", "60")

    begun = shell.fields("kling-mcp video fox")

    assert begun["next"].startswith(f"kling-mcp wait {begun['task_id']}")


def test_the_same_command_again_finds_the_same_video(shell: Shell, world: Path) -> None:
    assert shell.run('kling-mcp video "A fox in the snow"') == 0
    assert shell.out.startswith("Task ")
    assert "kling-mcp wait " in shell.out
    assert shell.err == ""

    again = shell.fields('kling-mcp video "A fox in the snow" --wait -o fox.mp4')

    assert again["repeated"] is True
    assert again["status"] == "succeed"
    assert again["path"] == str(world / "fox.mp4")
    assert (world / "fox.mp4").stat().st_size
    assert made(world) == 1

    assert shell.run('kling-mcp video "A fox in the snow" -o fox.mp4') == 0
    assert shell.out.startswith(f"Already made: task {again['task_id']}, succeed.")
    assert shell.out.rstrip().endswith(f"saved at {world / 'fox.mp4'}.")
    assert [*world.glob("*.mp4")] == [world / "fox.mp4"]
    assert made(world) == 1


@pytest.mark.anyio
async def test_what_a_chat_began_the_shell_finishes_and_the_other_way_round(
    shell: Shell, world: Path
) -> None:
    image = picture(world)
    settings = sandbox_settings(
        world.parent, image_roots=(world,), save=True, sandbox_side_px=SMALL_PX
    )
    async with Client(build_server(settings)) as chat:
        begun = await chat.call_tool("kling_image_to_video", {"image": image, "prompt": "waves"})
    assert begun.structured_content is not None
    task = begun.structured_content["task_id"]

    line = f"kling-mcp wait {task} -o waves.mp4"
    ended = await to_thread.run_sync(shell.fields, line)
    assert ended["tasks"][0]["path"] == str(world / "waves.mp4")
    same = await to_thread.run_sync(shell.fields, "kling-mcp video waves --image photo.png")
    assert (same["repeated"], same["task_id"]) == (True, task)
    other = await to_thread.run_sync(shell.fields, "kling-mcp video storms --image ./photo.png")

    async with Client(build_server(settings)) as chat:
        wish = {"image": image, "prompt": "storms"}
        again = await chat.call_tool("kling_image_to_video", wish)
        seen = await chat.call_tool("kling_wait_for_tasks", {"task_ids": [other["task_id"]]})
    assert again.structured_content is not None
    assert again.structured_content["task_id"] == other["task_id"]
    assert seen.structured_content is not None
    assert seen.structured_content["tasks"][0]["status"] == "succeed"


@pytest.mark.parametrize(
    ("options", "tool"),
    [
        ("", "text2video"),
        ("--image {0}", "image2video"),
        ("--image {0} --image {1}", "omni-video"),
        ("--image {0} --image-tail {1} --mode pro", "image2video"),
        ("--element-list 160", "omni-video"),
    ],
)
def test_what_is_given_decides_how_a_video_is_made(
    options: str, tool: str, shell: Shell, world: Path
) -> None:
    pictures = [picture(world.parent / "anywhere", f"{name}.png") for name in "ab"]

    assert shell.run(f"kling-mcp video waves {options.format(*pictures)}") == 0, shell.err
    assert shell.run("kling-mcp tasks --json") == 0

    assert json.loads(shell.out)["product"] == tool


def test_another_take_is_made_by_the_tool_of_the_first(shell: Shell, world: Path) -> None:
    first = shell.fields(f"kling-mcp video waves --image {picture(world)}")

    second = shell.fields(f"kling-mcp video --another-take-of {first['task_id']}")

    assert second["take"] == 2
    assert made(world) == 2


def test_a_switch_leaves_the_next_word_alone(shell: Shell, world: Path) -> None:
    assert shell.fields("kling-mcp video --dry-run waves")["dry_run"] is True
    whole = shell.fields("kling-mcp video --dry-run=full waves")
    assert whole["request"]["body"]["prompt"] == "waves"
    assert made(world) == 0
    assert shell.run("kling-mcp video --dry-run=false -- -waves") == 0
    assert made(world) == 1


def test_a_prompt_comes_from_standard_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.BytesIO(b"A long walk\nby the sea\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(typed))

    assert shell.fields("kling-mcp video -")["task_id"]
    assert shell.run("kling-mcp tasks --json") == 0
    assert json.loads(shell.out)["prompt"] == "A long walk\nby the sea"


@pytest.mark.parametrize("line", ["video 'fox \udcff'", "video -", "video a --model-name \udcff"])
def test_bytes_that_are_no_text_are_refused(
    line: str, shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"fox \xff")))

    assert shell.run(f"kling-mcp {line}") == 2
    assert "is no text in UTF-8." in shell.err
    assert made(world) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("options", ["", " --json", " --wait"])
def test_an_answer_that_cannot_be_written_says_how_to_get_it(
    options: str, shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", full)
        assert shell.run(f"kling-mcp video fox{options}") == 3

    said, goes_on = shell.err.splitlines()
    assert said == "The answer could not be written: No space left on device."
    assert shell.run(goes_on.removeprefix("Go on with: ")) == 0
    assert made(world) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_advice_that_cannot_be_written_changes_no_exit_code(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "concurrency")
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stderr", full)
        assert shell.run("kling-mcp video fox") == 3


def test_a_video_that_cannot_be_fetched_is_made_and_gone_on_with(
    shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "download-404")
    unsaved = shell.fields("kling-mcp video fox -o f.mp4", 3)

    assert (unsaved["status"], unsaved["error"]) == ("succeed", "provider_down")
    assert unsaved["goes_on"] == f"kling-mcp wait {unsaved['task_id']} --json -o f.mp4"
    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "")
    assert shell.run(unsaved["goes_on"]) == 0
    assert (world / "f.mp4").stat().st_size


@pytest.mark.parametrize(
    "early", ["calling.given_arguments", "calling.build_server", "main._parse"]
)
def test_ctrl_c_before_the_call_is_told_as_any_other(
    early: str, shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"kling_mcp.cli.{early}", pressed)

    assert shell.fields("kling-mcp video fox", 130) == {"goes_on": "kling-mcp video fox --json"}
    assert made(world) == 0


def test_closed_streams_change_nothing_but_what_is_seen(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", None)

    assert main(["video", "fox", "--wait"]) == 0
    assert main(["video", "-"]) == 2
    assert made(world) == 1


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere/fox.mp4", "mkdir -p "),
        ("~nobody-here/fox.mp4", "mkdir -p "),
        ("-", "nothing is written to standard output"),
        ("/proc/fox.mp4", "nothing can be written into /proc"),
        ("nowhere/", "mkdir -p "),
        ("fox.mov", "the ending .mov is wrong"),
        ("there.mp4", "that file is there already"),
        ("con.mp4", "is the name of a device on Windows"),
        ("/dev/null", "is a device, and the video has to be a file"),
        ("link.mp4", "is a link to nothing: gone.mp4"),
        (f"{'a' * 300}.mp4", "no file can have that name: File name too long"),
    ],
)
def test_a_place_where_no_file_can_be_is_refused_before_anything_is_paid(
    place: str, says: str, shell: Shell, world: Path
) -> None:
    (world / "there.mp4").write_bytes(b"somebody's")
    (world / "link.mp4").symlink_to("gone.mp4")

    assert shell.run(f"kling-mcp video fox -o {place}") == 2

    assert says in shell.err
    assert shell.out == ""
    assert made(world) == 0
    assert (world / "there.mp4").read_bytes() == b"somebody's"


def test_the_name_of_another_video_is_left_to_it(shell: Shell, world: Path) -> None:
    assert shell.run("kling-mcp video fox -o clip.mp4") == 0
    first = (world / "clip.mp4").read_bytes()

    hare = shell.fields("kling-mcp video hare -o clip.mp4")

    assert shell.err == "clip.mp4 has another file, which is left as it is.\n"
    assert hare["path"] == str(world / "clip-2.mp4")
    assert (world / "clip.mp4").read_bytes() == first


@pytest.mark.parametrize("is_done", [True, False], ids=["after", "before"])
def test_a_file_that_another_shell_moves_at_the_same_moment_is_still_written(
    is_done: bool, shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shell.fields("kling-mcp video fox --wait")["task_id"]

    def raced(source: Path, target: Path) -> tuple[Path, bool]:
        written = copied(source, target) if is_done else None
        source.rename(source.with_stem("away"))
        return written or copied(source, target)

    monkeypatch.setattr("kling_mcp.outputs.downloads.copied", raced)

    told = shell.fields(f"kling-mcp wait {task} -o mine.mp4")
    assert told["tasks"][0]["path"] == str(world / "mine.mp4")
    assert [*world.glob("*.mp4")] == [world / "mine.mp4"]


def test_a_name_that_another_shell_gives_meanwhile_is_left_to_it(
    shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shell.fields("kling-mcp video fox --wait")["task_id"]
    call_tool = Client.call_tool

    async def raced(self: Client, name: str, *given: Any, **more: Any) -> Any:
        answer = await call_tool(self, name, *given, **more)
        if name == "kling_save_video":
            place = {"task_id": task, "path": f"{world}/theirs.mp4"}
            assert not (await call_tool(self, name, place)).is_error
        return answer

    monkeypatch.setattr(Client, "call_tool", raced)

    assert shell.run(f"kling-mcp wait {task} -o mine.mp4") == 0
    assert shell.out.rstrip().endswith(f"saved at {world / 'mine.mp4'}.")
    assert shell.err == ""
    told = shell.fields(f"kling-mcp wait {task} -o mine.mp4")
    assert told["tasks"][0]["path"] == str(world / "mine.mp4")


def test_words_are_read_on_both_sides_of_an_option(shell: Shell) -> None:
    assert shell.run("kling-mcp delete voice --provider sandbox foo") == 2
    assert "foo" in shell.err
    assert "unrecognized" not in shell.err
    task = shell.fields("kling-mcp video fox")["task_id"]
    assert len(shell.fields(f"kling-mcp wait {task} --timeout-s 9 {task}1", 2)["tasks"]) == 2


def test_words_that_are_too_many_are_told_with_the_usage_of_the_command(shell: Shell) -> None:
    assert shell.run("kling-mcp delete voice foo bar") == 2
    assert shell.err.startswith("usage: kling-mcp delete ")
    assert shell.err.endswith("unrecognized arguments: bar\n")


def test_a_prompt_without_quotes_is_not_paid(shell: Shell, world: Path) -> None:
    assert shell.run("kling-mcp video a red fox") == 2
    assert "unrecognized arguments: red fox (a prompt of several words stands in" in shell.err
    assert made(world) == 0


@pytest.mark.parametrize(
    ("setting", "line", "code", "kind"),
    [
        ("", "video", 2, "invalid_request"),
        ("", "video fox --image none.png", 2, "image_rejected"),
        ("", "video fox --mode 4k", 2, "invalid_request"),
        ("", "video fox --max-units 1", 4, "spend_cap_reached"),
        ("KLING_MCP_MAX_UNITS_PER_DAY=1", "video fox", 4, "spend_cap_reached"),
        ("KLING_MCP_CONFIRM_ABOVE_UNITS=1", "video fox", 4, "spend_cap_reached"),
        ("KLING_MCP_SANDBOX_FAULTS=no-balance", "video fox", 5, "payment_required"),
        ("KLING_MCP_PROVIDER=kling", "video fox", 6, "not_configured"),
        ("KLING_MCP_READ_ONLY=true", "video fox", 6, "not_configured"),
        ("", "wait", 2, "invalid_request"),
        ("", "save 941 -o nowhere/", 2, "unsafe_path"),
    ],
)
def test_a_script_knows_by_the_exit_code_what_was_wrong(
    setting: str,
    line: str,
    code: int,
    kind: str,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if setting:
        monkeypatch.setenv(*setting.split("=", 1))

    fields = shell.fields(f"kling-mcp {line}", code)

    assert fields["error"] == kind
    assert fields["charged"] == "no"
    assert "goes_on" not in fields
    assert shell.run(f"kling-mcp {line}") == code
    assert shell.out == ""
    assert "Traceback" not in shell.err
    assert "kling_" not in shell.err.replace("kling_mcp", "")


def test_the_advice_of_an_error_is_told_also_before_a_wait(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "no-balance")
    advice = shell.fields("kling-mcp video fox --wait", 5)["next"]

    assert shell.run("kling-mcp video fox --wait") == 5
    assert advice in shell.err


def test_every_error_has_an_exit_code() -> None:
    kinds = {error.kind for error in every_kind(KlingError)}

    assert kinds == set(CODE_OF_KIND)
    assert set(CODE_OF_KIND.values()) <= EXIT_CODES.keys()


def every_kind(error: type[KlingError]) -> Iterator[type[KlingError]]:
    yield error
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from every_kind(below)


def test_a_task_that_failed_has_a_code_of_its_own(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "task-fails")

    failed = shell.fields("kling-mcp video fox --wait", 1)

    assert failed["status"] == "failed"
    assert "goes_on" not in failed


def test_a_dry_run_says_by_its_code_whether_it_would_be_made(shell: Shell) -> None:
    assert shell.run("kling-mcp video fox --dry-run") == 0
    assert "Without --dry-run it is made." in shell.out
    assert shell.run("kling-mcp video fox --dry-run --duration 7") == 2
    assert shell.run("kling-mcp video fox --dry-run --max-units 1") == 4


def test_a_changed_option_takes_the_place_of_the_one_before() -> None:
    video = COMMANDS["video"]
    words = ["video", "--duration", "4", "a fox", "--multi-shot", "--mode=pro", "-o", "a b.mp4"]

    assert command_with(video, words, {"duration": "5", "mode": "", "multi_shot": False}) == (
        "kling-mcp video 'a fox' -o 'a b.mp4' --duration=5 --multi-shot=false"
    )
    assert command_with(video, words, {"sound": ""}).endswith("--sound=")
    assert command_with(video, words, {"prompt": "another"}) == ""
    assert command_with(video, words, {}) == ""


def test_the_command_that_passes_is_printed_as_it_can_be_given(shell: Shell) -> None:
    assert shell.run("kling-mcp video 'a fox' --model-name kling-v2-6 --duration 4") == 2

    (line,) = [line for line in shell.err.splitlines() if line.startswith("It passes as: ")]
    assert line == "It passes as: kling-mcp video 'a fox' --duration 4 --model-name=kling-v3"
    assert shell.run(line.removeprefix("It passes as: ")) == 0, shell.err


def test_time_that_is_over_leaves_a_task_that_goes_on(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_RENDER_S", "60")
    late = shell.fields("kling-mcp video fox --wait --timeout-s 0 -o fox.mp4", 3)

    assert late["status"] in ("submitted", "processing")
    assert late["goes_on"] == f"kling-mcp wait {late['task_id']} --json -o fox.mp4"
    assert shell.run(f"{late['goes_on']} --timeout-s 0") == 3


def test_a_lost_answer_is_gone_on_with_by_the_same_command(
    shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "concurrency")
    queued = shell.fields("kling-mcp video fox", 3)
    assert queued["status"] == "queued"

    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "")
    ended = shell.fields(f"{queued['goes_on']} -o fox.mp4")

    assert ended["tasks"][0]["path"] == str(world / "fox.mp4")
    assert made(world) == 1


def test_what_is_queued_is_withdrawn(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_FAULTS", "concurrency")
    queued = shell.fields("kling-mcp video fox", 3)

    assert shell.run(f"kling-mcp cancel {queued['task_id']}") == 0
    assert shell.run("kling-mcp cancel 123456789012345678") == 2


class Terminal:
    """A stream that is a terminal: it shows what is written, and reads what a person types."""

    encoding = "utf-8"

    def __init__(self, typed: str = "") -> None:
        self.shown = ""
        self._typed = typed

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError

    def write(self, text: str) -> int:
        self.shown += text
        return len(text)

    def flush(self) -> None:
        pass

    def readline(self) -> str:
        return self._typed


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 4), ("\n", 4), ("", 4)])
def test_a_person_at_a_terminal_is_asked_above_the_limit(
    typed: str, code: int, shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_CONFIRM_ABOVE_UNITS", "1")
    terminal = Terminal(typed)
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("sys.stderr", terminal)

    assert shell.run("kling-mcp video fox") == code

    assert "for about 1.5 units (0.21 USD list price)?" in terminal.shown
    assert terminal.shown.count("[y/N]") == 1
    assert made(world) == (code == 0)


def test_without_a_terminal_only_yes_agrees(
    shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_CONFIRM_ABOVE_UNITS", "1")

    assert shell.run("kling-mcp video fox") == 4
    assert "for about 1.5 units" in shell.err
    assert "add --yes to agree." in shell.err
    assert made(world) == 0
    assert shell.run("kling-mcp video fox --yes") == 0
    assert made(world) == 1


def test_a_terminal_sees_one_line_of_progress(
    shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    assert shell.run("kling-mcp video fox --wait") == 0

    assert "\n" not in terminal.shown
    assert "of 1 done" in terminal.shown
    assert terminal.shown.endswith("\r\x1b[K")
    assert all(len(part) <= 80 for part in terminal.shown.split("\r\x1b[K"))


def test_a_look_is_shown_in_a_file(shell: Shell, world: Path) -> None:
    task = shell.fields("kling-mcp video fox --wait")["task_id"]

    looked = shell.fields(f"kling-mcp look {task} -o sheet.jpg")

    assert looked["shown_in"] == [str(world / "sheet.jpg")]
    assert (world / "sheet.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    again = shell.fields(f"kling-mcp look {task} -o sheet.jpg", 1)
    assert again["error"] == "save_failed"
    assert shell.run(f"kling-mcp look {task} -o sheet.png") == 2
    assert "Give sheet.jpg." in shell.err


def test_pictures_are_made_and_saved_by_number(shell: Shell, world: Path) -> None:
    made_ = shell.fields("kling-mcp image 'a fox' --n 2 -o fox.png")

    assert sorted(path.name for path in world.iterdir()) == ["fox-1.png", "fox-2.png"]
    assert made_["path"] == str(world / "fox-1.png")


def test_several_tasks_go_into_a_folder(shell: Shell, world: Path) -> None:
    tasks = [shell.fields(f"kling-mcp image {prompt}")["task_id"] for prompt in ("fox", "hare")]
    line = f"kling-mcp wait {' '.join(tasks)}"

    assert shell.run(f"{line} -o one.png") == 2
    assert "several tasks do not go into one file" in shell.err
    assert shell.run(f"{line} -o .") == 0
    assert len([*world.glob("*.png")]) == 2


def test_every_command_without_arguments_ends_with_words(shell: Shell) -> None:
    for name in COMMANDS:
        assert shell.run(f"kling-mcp {name}") in (0, 2), name
        assert "Traceback" not in shell.err
        assert "kling_" not in shell.out + shell.err


def test_a_film_above_its_cap_says_where_the_shell_shows_the_plan_that_fits(
    shell: Shell, world: Path
) -> None:
    shots = [{"prompt": f"Scene {n} of the story{' and on' * 8}"} for n in range(1, 9)]
    (world / "story.json").write_text(json.dumps(shots), encoding="utf-8")

    shell.run("kling-mcp film story.json --dry-run --max-units 9")
    assert "--json shows that as arguments to copy, in fits." in shell.out
    assert shell.fields("kling-mcp film story.json --dry-run --max-units 9", 4)["fits"]["shots"]


def test_a_film_is_made_of_a_file_and_found_again(shell: Shell, world: Path) -> None:
    picture(world / "shots", "cup.png", size=(320, 320))
    shots = [
        {"image": "cup.png", "prompt": "steam rises"},
        {"image": "cup.png", "prompt": "waves"},
    ]
    (world / "shots" / "tea.json").write_text(json.dumps(shots), encoding="utf-8")

    assert shell.run("kling-mcp film shots/tea.json --dry-run") == 0
    assert 'Film "tea", 10 s' in shell.out
    assert "about 3 units" in shell.out
    film = shell.fields("kling-mcp film shots/tea.json -o tea.mp4")

    assert film["status"] == "succeed"
    assert film["path"] == str(world / "tea.mp4")
    again = shell.fields("kling-mcp film shots/tea.json -o tea.mp4")
    assert (again["task_id"], again["path"]) == (film["task_id"], film["path"])
    assert made(world) == 3  # two shots, and the film itself


def test_the_clips_of_a_batch_go_into_a_folder(shell: Shell, world: Path) -> None:
    batch = {"name": "Two", "join": False, "shots": [{"prompt": "fox"}, {"prompt": "hare"}]}
    (world / "two.json").write_text(json.dumps(batch), encoding="utf-8")

    assert shell.run("kling-mcp film two.json -o two.mp4") == 2
    assert "several tasks do not go into one file" in shell.err
    assert made(world) == 0
    clips = shell.fields("kling-mcp film two.json -o .")["saved"]

    assert sorted(clips) == sorted(map(str, world.glob("*.mp4")))
    assert len(clips) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is no JSON"),
        (
            '{"name": "A", "shots": [{"prompt": "fox"}], "max_units": NaN}',
            "NaN is no finite number",
        ),
        ('{"name": "A", "shots": [{"prompt": "fox"}], "max_usd": 1e999}', "1e999 is no finite"),
        ('"tea"', "has neither an object nor a list"),
        ("[]", "shots: is required"),
        ('{"shots": [{"prompt": "fox"}]}', "name: is required"),
        ('[{"promt": "fox"}]', "promt"),
    ],
)
def test_a_file_of_arguments_that_cannot_be_used_is_refused(
    text: str | None, says: str, shell: Shell, world: Path
) -> None:
    if text is not None:
        (world / "film.json").write_text(text, encoding="utf-8")

    assert shell.run("kling-mcp film film.json -o film.mp4") == 2

    assert says in shell.err
    assert made(world) == 0


def test_options_come_before_what_the_file_says(shell: Shell, world: Path) -> None:
    shots = json.dumps([{"prompt": "fox"}])
    (world / "film.json").write_text(json.dumps({"name": "Fox", "shots": []}), encoding="utf-8")

    line = f"kling-mcp film film.json --shots '{shots}' --name Hare --dry-run"
    assert shell.fields(line)["name"] == "Hare"


class Interrupting(Terminal):
    """A terminal at which a person presses Ctrl-C as soon as it shows these words."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def write(self, text: str) -> int:
        if self._at in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def test_ctrl_c_loses_nothing_and_says_how_to_go_on(
    shell: Shell, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_MCP_SANDBOX_RENDER_S", "60")
    terminal = Interrupting("0 of 1 done")
    monkeypatch.setattr("sys.stderr", terminal)
    before = signal.getsignal(signal.SIGINT)

    stopped = shell.fields("kling-mcp video 'a fox' --wait -o 'my fox.mp4'", 130)

    goes_on = f"kling-mcp wait {stopped['task_id']} --json -o 'my fox.mp4'"
    assert stopped["goes_on"] == goes_on
    assert terminal.shown.endswith(f"Interrupted. Nothing is lost. Go on with: {goes_on}\n")
    assert made(world) == 1
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("line", ["video fox --wait", "video fox --json", "account"])
def test_a_pipe_that_is_closed_ends_in_silence(
    line: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        monkeypatch.setattr("sys.stderr", terminal)

        assert main(line.split()) == 141

    assert "\n" not in terminal.shown
    assert made(world) == ("video" in line)


class RealTerminal:
    """A pseudo-terminal in which a command is given; what it shows stands in `shown`."""

    def __init__(self, *words: str, **settings: str) -> None:
        self._master, slave = os.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kling_mcp", *words],
            env={**os.environ, **settings},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def until(self, said: str) -> None:
        """Read until this is shown, or the command ends."""
        while said not in self.shown:
            try:
                self.shown += os.read(self._master, 65536).decode()
            except OSError:  # nobody writes any more
                break
        assert said in self.shown

    def types(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        with suppress(OSError):
            while more := os.read(self._master, 65536):
                self.shown += more.decode()
        os.close(self._master)
        return self.process.wait(60)


@pytest.mark.campaign
def test_at_a_real_terminal_a_person_agrees_and_sees_how_it_goes(world: Path) -> None:
    terminal = RealTerminal("video", "fox", "-o", "fox.mp4", KLING_MCP_CONFIRM_ABOVE_UNITS="1")
    terminal.until("[y/N] ")
    terminal.types("y\n")

    assert terminal.end() == 0

    assert "\r\x1b[K1 of 1 done" in terminal.shown
    assert terminal.shown.rstrip().endswith(f"saved at {world / 'fox.mp4'}.")
    assert made(world) == 1


@pytest.mark.campaign
def test_ctrl_c_at_a_question_sends_nothing(world: Path) -> None:
    terminal = RealTerminal("video", "fox", KLING_MCP_CONFIRM_ABOVE_UNITS="1")
    terminal.until("[y/N] ")
    terminal.process.send_signal(signal.SIGINT)

    assert terminal.end() == 130

    assert "Go on with: kling-mcp video fox" in terminal.shown
    assert made(world) == 0


@pytest.mark.campaign
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_a_request_is_on_its_way_pays_nothing_twice(
    times: int, shell: Shell, world: Path
) -> None:
    slow = RealTerminal("video", "fox", KLING_MCP_SANDBOX_FAULTS="slow:5@creates")
    slow.until("Asking")
    while made(world) == 0:
        time.sleep(0.05)
    slow.process.send_signal(signal.SIGINT)
    slow.until("Ctrl-C again ends at once.")
    if times == 2:
        slow.process.send_signal(signal.SIGINT)

    assert slow.end() == 130

    assert "Go on with: kling-mcp video fox" in slow.shown
    assert shell.run("kling-mcp video fox --wait") == 0
    assert made(world) == 1
