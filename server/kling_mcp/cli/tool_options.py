"""The words and options of a command that calls a tool, from the tool's own schemas.

What each option means, and which values it takes, is said there alone. Nothing of the tools is
imported before such a command is given.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kling_mcp.cli.exit_codes import EXIT_CODES, RUNNING
from kling_mcp.cli.tool_commands import COMMAND_OF, COMMANDS, ToolCommand
from kling_tools.errors import InvalidRequest
from kling_tools.faults import Fault

if TYPE_CHECKING:
    from kling_tools.tools.tool import KlingTool

__all__ = [
    "ARGUMENT",
    "IN_SHELL",
    "OF_THE_SHELL",
    "CommandParser",
    "add_options",
    "command_with",
    "given_arguments",
    "in_shell",
    "named_files",
]

FILE = "file"
ARGUMENT = "argument_"
"""Prefix of the tools' arguments among the parsed ones."""

MEDIA = frozenset(
    {
        *("image", "image_tail", "image_list", "images", "video", "sound_file", "sample"),
        *("static_mask", "mask", "music", "file"),
    }
)
"""The arguments, and parts of arguments, that may name a file of this machine."""


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
    if command.file:
        parser.add_argument(FILE, nargs="?", metavar=FILE.upper(), help=command.file)
    for name in command.words:
        _add_word(parser, name, schemas.pop(name))
    for flag in dict.fromkeys(flags[name] for name in schemas):
        alike = {name: schema for name, schema in schemas.items() if flags[name] == flag}
        _add_option(parser, flag, alike, several=flag in several)
    own = parser.add_argument_group("of the shell")
    own.add_argument("--json", action="store_true", help="one JSON object, for programs")
    if command.makes and not command.stays:
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
    default = schema.get("default") or ""
    said = TRUE if default is True else default
    after = f" (default: {said})" if said else ""
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
    standard input, and names of files are whole paths: those in a file of arguments begin in its
    folder, or in the working folder. Raises InvalidRequest for such a file that has none, and for
    what is no text."""
    folders = [Path.cwd()]
    in_file: dict[str, Any] = {}
    if command.file and (place := parsed.file):
        from kling_mcp.inputs.policy import at_home

        path = at_home(Path(place))
        in_file = _read_arguments(place, path)
        folders = [path.absolute().parent, *folders]
    given = {
        name.removeprefix(ARGUMENT): value
        for name, value in vars(parsed).items()
        if name.startswith(ARGUMENT) and value not in (None, [])
    }
    for name in command.words:
        if given.get(name) == "-":
            given[name] = _standard_input().strip()
    strange = [name for name, value in {**in_file, **given}.items() if not _is_text(value)]
    if strange:
        raise InvalidRequest(
            [Fault(name, "not_text", "is no text in UTF-8.", "UTF-8") for name in strange]
        )
    whole: dict[str, Any] = _whole(in_file, folders) | _whole(given, folders[-1:])
    return whole


def _standard_input() -> str:
    """What is there, also bytes that are no text; empty where it is closed."""
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if sys.stdin else ""


def _is_text(value: Any) -> bool:
    """Whether it can be sent: an argument of other bytes holds half characters."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_arguments(place: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_standard_input() if place == "-" else path.read_text("utf-8-sig"))
    except OSError as error:
        raise _unreadable(f"{place} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"{place} is no JSON: {error}.") from error
    if isinstance(found, list):
        found = {"name": "" if place == "-" else path.stem, "shots": found}
    if not isinstance(found, dict):
        raise _unreadable(f"{place} has neither an object nor a list.")
    return found


def _unreadable(message: str) -> InvalidRequest:
    use = 'an object such as {"name": "Tea", "shots": [{"prompt": "A kettle boils"}]}'
    return InvalidRequest([Fault(FILE, "unreadable", message, use)])


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
    elif name in MEDIA and isinstance(value, str) and Path(value).is_absolute():
        yield from _files(value, [Path.cwd()])


def command_with(command: ToolCommand, words: Sequence[str], change: Mapping[str, Any]) -> str:
    """The line of the same command with these arguments in place of its own, for a shell of POSIX;
    "" leaves one out. Empty where one of them cannot be given so."""
    left, options = [*words], []
    for name, value in change.items():
        if name in command.words or isinstance(value, list | dict):
            return ""
        flag, before = _flag(command.flags.get(name, name)), len(left)
        left = [*_without_option(left, flag, bare=_is_switch(command, name))]
        if value != "" or len(left) == before:
            said = json.dumps(value) if isinstance(value, bool) else str(value)
            options.append(f"{flag}={said}")
    return shlex.join(["kling-mcp", *left, *options]) if change else ""


def _without_option(words: Sequence[str], flag: str, *, bare: bool) -> Iterator[str]:
    """The words without an option and its value; one that may be `bare` has it behind `=`."""
    left = iter(words)
    for word in left:
        if word == flag and not bare:
            next(left, "")
        elif word != flag and not word.startswith(f"{flag}="):
            yield word


def _is_switch(command: ToolCommand, name: str) -> bool:
    schemas = [_fields(_tools()[tool]).get(name, {}) for tool in command.tools]
    kinds = [kind for schema in schemas for kind in schema.get("anyOf", [schema])]
    return any(kind.get("type") == "boolean" for kind in kinds)


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


_TOOL = re.compile(r"\b(kling_[a-z_]+)(?: (?:with task_ids?|for) \[?\"?([\w-]*\d[\w-]*)\"?\]?)?")
_ARGUMENT = re.compile(r"(?<![\w./{])[a-z]+(?:_[a-z]+)+\b(?!\.\w|[/(])")


IN_SHELL: Mapping[str, str] = {
    "Tell the person the price; then submit without dry_run.": "Without --dry-run it is made.",
    "Tell the person that the price is not known; then submit without dry_run.": "The price is "
    "not known. Without --dry-run it is made.",
    "Ask the person, then submit": "Give the command again",
    "Ask the person which one speaks; then call again with the same arguments and face, its "
    "number.": "Give the command again with --face and the number of the one that speaks.",
    "Tell the person the price; then call again without dry_run.": "Without --dry-run it is made.",
    "; a host that cannot ask them is refused": "; without a terminal, --yes agrees",
    "They are then asked to agree": "You are then asked to agree",
    "The person did not agree": "You did not agree",
    "while this server runs": "while a server runs or a command waits for it",
    "The person who runs the server has to check": "Check",
    "Ask what they would like instead; dry_run shows prices.": "--dry-run shows prices.",
}
"""Advice to an assistant, and the same to the person who gave the command."""

_SENT = re.compile(r"(?<=\. )(?:Sent|Will send): [a-z_, ]+\. ")


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
