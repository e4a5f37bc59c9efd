"""The commands that call a tool: `kling-mcp video "prompt"` and its siblings, as a table.

Their arguments are those of the tools. What each option means, and which values it takes, comes
from the tools' own schemas. Nothing of them is imported before such a command is given.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kling_tools.tools.tool import KlingTool

__all__ = ["COMMANDS", "EXIT_CODES", "CommandParser", "ToolCommand", "add_options", "in_shell"]

DONE, FAILED, REFUSED, RUNNING, CAP, PROVIDER, SETUP, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

EXIT_CODES: Mapping[int, str] = {
    DONE: "done",
    FAILED: "failed: the task, or the writing of its file",
    REFUSED: "refused: the command, its arguments or what they ask for; change it",
    RUNNING: "not done yet, and nothing is lost: the command that goes on is printed",
    CAP: "a limit of spending, or nobody agreed to the price",
    PROVIDER: "the provider: it cannot be reached, or makes nothing now",
    SETUP: "the set-up: a key or a setting; see kling-mcp doctor",
    INTERRUPTED: "interrupted with Ctrl-C; what goes on is printed",
}
"""What each exit code says."""

ARGUMENT = "argument_"
"""Prefix of the tools' arguments among the parsed ones."""

MEDIA = frozenset(
    {
        *("image", "image_tail", "image_list", "images", "video", "sound_file", "sample"),
        *("static_mask", "mask", "file"),
    }
)
"""The arguments, and parts of arguments, that may name a file of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCommand:
    """One command: its words in the list of commands, and the tools that it calls, of which
    `tool_for` chooses one. `words` are the arguments that are given without an option, `flags`
    other names of an argument's option. What it `makes` can be waited for, `waits` is said of the
    wait itself, and `output` says what `-o` is.
    """

    name: str
    text: str
    tools: tuple[str, ...]
    words: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    makes: bool = False
    waits: bool = False
    output: str = ""

    def tool_for(self, given: dict[str, Any]) -> str:
        """The tool for these arguments. One picture is a first frame, more are combined."""
        if len(self.tools) == 1:
            return self.tools[0]
        pictures = given.pop("image", [])
        if len(pictures) > 1 or (given.get("element_list") and not pictures):
            given |= {"image_list": pictures} if pictures else {}
            return "kling_multi_image_to_video"
        given |= {"image": pictures[0]} if pictures else {}
        framed = pictures or given.get("image_tail")
        return "kling_image_to_video" if framed else "kling_text_to_video"


PROMPT = ("prompt",)
THE_FILE = "the file that it is saved as, or a folder that is there; implies --wait"
COMMANDS: Mapping[str, ToolCommand] = {
    command.name: command
    for command in (
        ToolCommand(
            name="video",
            text="make a video of words, of a picture, or of several",
            tools=("kling_image_to_video", "kling_multi_image_to_video", "kling_text_to_video"),
            words=PROMPT,
            flags={"image_list": "image"},
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="image",
            text="make pictures of words, or change and combine pictures",
            tools=("kling_generate_image",),
            words=PROMPT,
            flags={"image_list": "image"},
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="edit",
            text="change a video by words, or continue it",
            tools=("kling_edit_video",),
            words=PROMPT,
            flags={"image_list": "image"},
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="dance",
            text="make the figure of a picture move as in a video",
            tools=("kling_motion_control",),
            words=PROMPT,
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="speak",
            text="make the face of a picture speak or sing",
            tools=("kling_talking_photo",),
            words=("text",),
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="dub",
            text="make a face of a video speak other words",
            tools=("kling_lip_sync",),
            words=("text",),
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="wait",
            text="wait for tasks, and save what they made",
            tools=("kling_wait_for_tasks",),
            words=("task_ids",),
            waits=True,
            output="the file that it is saved as; of several tasks a folder",
        ),
        ToolCommand(
            name="look",
            text="say what is wrong with a finished video, and show it as a picture",
            tools=("kling_look",),
            words=("task_id",),
            output="the JPEG that it is shown in",
        ),
        ToolCommand(
            name="save",
            text="move or write a finished video to a name of your choice",
            tools=("kling_save_video",),
            words=("task_id",),
            output="a file, or a folder that is there; the first name moves it, later ones copy it",
        ),
        ToolCommand(
            name="cancel",
            text="withdraw requests that are still queued here",
            tools=("kling_cancel_task",),
            words=("task_ids",),
        ),
        ToolCommand(
            name="account",
            text="show who is paid, what is left, and what was spent",
            tools=("kling_account",),
        ),
        ToolCommand(
            name="assets",
            text="list elements or voices that videos can repeat",
            tools=("kling_list_assets",),
            words=("kind",),
        ),
        ToolCommand(
            name="element",
            text="make a person, thing or place that videos can repeat",
            tools=("kling_create_element",),
            words=("name",),
            flags={"images": "image"},
        ),
        ToolCommand(
            name="voice",
            text="clone a voice",
            tools=("kling_create_voice",),
            words=("name",),
        ),
        ToolCommand(
            name="delete",
            text="delete an element or a voice of your own",
            tools=("kling_delete_asset",),
            words=("kind", "id"),
        ),
    )
}
"""The commands by name."""

COMMAND_OF = {tool: command.name for command in COMMANDS.values() for tool in command.tools} | {
    "kling_get_task": "tasks",
    "kling_list_tasks": "tasks",
}
"""The command that calls a tool, or stands in its place."""

_TOOL = re.compile(r"\b(kling_[a-z_]+)(?: (?:with task_ids?|for) \[?\"?([\w-]*\d[\w-]*)\"?\]?)?")
_ARGUMENT = re.compile(r"(?<![\w./{])[a-z]+(?:_[a-z]+)+\b(?!\.\w|[/(])")


IN_SHELL: Mapping[str, str] = {
    "Tell the person the price; then submit without dry_run.": "Without --dry-run it is made.",
    "Tell the person that the price is not known; then submit without dry_run.": "The price is "
    "not known. Without --dry-run it is made.",
    "Ask the person, then submit": "Give the command again",
    "Ask the person which one speaks; then call again with the same arguments and face, its "
    "number.": "Give the command again with --face and the number of the one that speaks.",
    "; a host that cannot ask them is refused": "; without a terminal, --yes agrees",
    "They are then asked to agree": "You are then asked to agree",
    "The person did not agree": "You did not agree",
    "Ask what they would like instead; dry_run shows prices.": "--dry-run shows prices.",
}
"""Advice to an assistant, and the same to the person who gave the command."""

_SENT = re.compile(r"(?<!Not )\b(?:Sent|Will send): [^.]*\. ")


def in_shell(text: str) -> str:
    """A text for an assistant as one for a person at a shell: tools are commands, and arguments
    are options. The names of what was sent are left out."""
    text = _SENT.sub("", text)
    for said, instead in IN_SHELL.items():
        text = text.replace(said, instead)

    def command(found: re.Match[str]) -> str:
        name = COMMAND_OF.get(found[1])
        return f"kling-mcp {name} {found[2] or ''}".rstrip() if name else found[0]

    options = _options_of_several_words()
    return _ARGUMENT.sub(
        lambda found: _flag(found[0]) if found[0] in options else found[0], _TOOL.sub(command, text)
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@cache
def _options_of_several_words() -> frozenset[str]:
    names = {name for tool in _tools().values() for name in _fields(tool) if "_" in name}
    return frozenset(names - {word for command in COMMANDS.values() for word in command.words})


@cache
def _tools() -> Mapping[str, KlingTool]:
    """Every tool, with the texts for the providers of this machine; where its settings cannot be
    used, for the sandbox."""
    from kling_mcp.protocol.server import offered_tools
    from kling_mcp.settings.settings import Settings, load_settings
    from kling_tools.errors import NotConfigured

    whole = {"tools": ("all",), "read_only": False}
    try:
        tools = offered_tools(load_settings().model_copy(update=whole))
    except NotConfigured:
        tools = offered_tools(Settings())
    return {tool.name: tool for tool in tools}


def _fields(tool: KlingTool) -> Mapping[str, dict[str, Any]]:
    """The schema of every argument of the tool: as it is published, and what is left out there."""
    from kling_tools.tools.schema import arguments_schema

    absent = getattr(tool.arguments, "absent", ())
    own = arguments_schema(tool.arguments, without=absent)["properties"]
    published = tool.parameters["properties"]
    return {name: {**own.get(name, {}), **published.get(name, {})} for name in [*published, *own]}


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Those that call tools get their options when they are given. An
    option whose value may be left out takes it with `=` alone: `--dry-run "a prompt"` leaves the
    prompt alone."""

    tool_command: ToolCommand | None = None

    def filled(self) -> CommandParser:
        """The parser with its options."""
        command, self.tool_command = self.tool_command, None
        if command is not None:
            add_options(self, command, _tools())
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of every parser."""
        self.filled()
        optional = (action for action in self._actions if action.nargs == "?")
        switches = {flag for action in optional for flag in action.option_strings}
        words = list(sys.argv[1:] if args is None else args)
        options = words.index("--") if "--" in words else len(words)
        for place in range(options):
            if words[place] in switches:
                words[place] += f"={TRUE}"
        return super().parse_known_args(words, namespace)

    def format_help(self) -> str:
        """As of every parser."""
        self.filled()
        return super().format_help()


TRUE = "true"


def add_options(
    parser: argparse.ArgumentParser, command: ToolCommand, tools: Mapping[str, KlingTool]
) -> None:
    """Declare the arguments of the command's tools, and the options of the shell."""
    schemas: dict[str, dict[str, Any]] = {}
    for tool in command.tools:
        for name, schema in _fields(tools[tool]).items():
            known = schemas.setdefault(name, schema)
            if not known.get("description"):
                schemas[name] = {**known, "description": schema.get("description", "")}
    for name in OF_THE_SHELL:
        schemas.pop(name, None)
    flags = {name: command.flags.get(name, name) for name in schemas}
    several = {flags[name] for name in schemas if _is_list(schemas[name])}
    for name in command.words:
        _add_word(parser, name, schemas.pop(name))
    for flag in dict.fromkeys(flags[name] for name in schemas):
        alike = {name: schema for name, schema in schemas.items() if flags[name] == flag}
        _add_option(parser, flag, alike, several=flag in several)
    own = parser.add_argument_group("of the shell")
    own.add_argument("--json", action="store_true", help="one JSON object, for programs")
    if command.makes:
        own.add_argument("--wait", action="store_true", help="wait until it is made and saved")
    if command.makes or command.waits:
        own.add_argument(
            "--timeout-s",
            type=_seconds,
            metavar="SECONDS",
            help=f"stop waiting then, with the exit code {RUNNING}; it goes on",
        )
    if command.output:
        own.add_argument("-o", "--output", metavar="FILE", help=command.output)
    if any(tools[tool].spends for tool in command.tools):
        own.add_argument(
            "-y", "--yes", action="store_true", help="agree to what would be asked, and its price"
        )
    codes = "; ".join(f"{code} {said}" for code, said in EXIT_CODES.items())
    parser.epilog = f"Exit codes: {codes}."


def _add_word(parser: argparse.ArgumentParser, name: str, schema: Mapping[str, Any]) -> None:
    is_list = _is_list(schema)
    parser.add_argument(
        ARGUMENT + name,
        nargs="*" if is_list else "?",
        metavar=name.removesuffix("s").upper() if is_list else name.upper(),
        help=_said(schema),
    )


def _is_list(schema: Mapping[str, Any]) -> bool:
    """Whether each of its values can be given for itself."""
    return schema.get("type") == "array" and schema["items"].get("type") != "object"


def _add_option(
    parser: argparse.ArgumentParser,
    flag: str,
    schemas: Mapping[str, Mapping[str, Any]],
    *,
    several: bool,
) -> None:
    """The option of an argument, or of several that have the same flag."""
    name, schema = next(iter(schemas.items()))
    kinds = schema.get("anyOf", [schema])
    metavar = _metavar(flag, kinds)
    more: dict[str, Any] = {}
    if several:
        more["action"] = "append"
    elif metavar.startswith("="):
        more |= {"nargs": "?", "const": TRUE}
    elif metavar == KINDS["object"]:
        more["type"] = _json
    help_texts = [_said(each) for each in schemas.values()]
    parser.add_argument(
        _flag(flag),
        dest=ARGUMENT + name,
        metavar=metavar,
        help=" ".join([*help_texts, *(["May be repeated."] if several else [])]),
        **more,
    )


OF_THE_SHELL = ("timeout_s", "path")
"""Arguments of tools in whose place the shell has options of its own."""

KINDS = {"integer": "N", "number": "N", "object": "JSON"}


def _metavar(flag: str, kinds: Sequence[Mapping[str, Any]]) -> str:
    choices = [str(choice) for kind in kinds for choice in kind.get("enum", ())]
    if any(kind.get("type") == "boolean" for kind in kinds):
        return "=" + "|".join([TRUE, "false", *choices])
    kind = kinds[0].get("items", kinds[0])
    if choices := choices or [str(choice) for choice in kind.get("enum", ())]:
        return "|".join(choices)
    return KINDS.get(kind.get("type", ""), _last_word(flag).upper())


def _last_word(flag: str) -> str:
    return flag.removesuffix("_list").removesuffix("_of").rpartition("_")[2]


def _said(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    after = f" (default: {default})" if default not in (None, "", [], {}, False) else ""
    return (in_shell(schema.get("description", "")) + after).strip().replace("%", "%%")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds, not {text!r}")
    return seconds


def given_arguments(command: ToolCommand, parsed: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the command's tools, as they were given. A prompt of `-` is read from
    standard input, and names of files are whole paths."""
    given = {
        name.removeprefix(ARGUMENT): value
        for name, value in vars(parsed).items()
        if name.startswith(ARGUMENT) and value not in (None, [])
    }
    for name in command.words:
        if given.get(name) == "-":
            given[name] = sys.stdin.read().strip()
    whole: dict[str, Any] = _whole(given, [Path.cwd()])
    return whole


def _json(text: str) -> Any:
    """What the JSON says; text that is none is left to the tool, which says what it takes."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _whole(value: Any, folders: Sequence[Path], name: str = "") -> Any:
    """The value, in which the names of files in these folders are whole paths."""
    if isinstance(value, dict):
        return {inner: _whole(part, folders, inner) for inner, part in value.items()}
    if isinstance(value, list):
        return [_whole(part, folders, name) for part in value]
    if name in MEDIA and isinstance(value, str):
        return next((str(path) for path in _files(value, folders)), value)
    return value


def _files(text: str, folders: Sequence[Path]) -> Iterator[Path]:
    with suppress(OSError, ValueError, RuntimeError):
        path = Path(text).expanduser()
        yield from (folder / path for folder in folders if (folder / path).is_file())


def named_files(value: Any, name: str = "") -> Iterator[Path]:
    """The files of this machine that arguments name."""
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from named_files(part, inner)
    elif isinstance(value, list):
        for part in value:
            yield from named_files(part, name)
    elif name in MEDIA and isinstance(value, str):
        yield from _files(value, [Path("/")])


def command_with(command: ToolCommand, words: Sequence[str], change: Mapping[str, Any]) -> str:
    """The line of the same command with these arguments besides, of which the last one counts; for
    a shell of POSIX. Empty where one of them cannot be given so."""
    options = []
    for name, value in change.items():
        if name in command.words or isinstance(value, list | dict):
            return ""
        said = json.dumps(value) if isinstance(value, bool) else str(value)
        options.append(f"{_flag(command.flags.get(name, name))}={said}")
    return shlex.join(["kling-mcp", *words, *options]) if options else ""
