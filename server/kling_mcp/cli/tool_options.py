"""The words and options of a command that calls a tool, from the tool's own schemas.

What each option means, and which values it takes, is said there alone. Nothing of the tools is
imported before such a command is given.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kling_mcp.cli.exit_codes import EXIT_CODES, RUNNING
from kling_mcp.cli.shell_words import fields_of, flag_of, in_shell, tools_here
from kling_mcp.cli.tool_commands import ToolCommand

if TYPE_CHECKING:
    from kling_tools.tools.tool import KlingTool

__all__ = ["ARGUMENT", "FILE", "OF_THE_SHELL", "CommandParser", "add_options", "read_json"]

FILE = "file"
ARGUMENT = "argument_"
"""Prefix of the tools' arguments among the parsed ones."""


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Those that call tools get their options when they are given. An
    option whose value may be left out takes it with `=` alone: `--dry-run "a prompt"` leaves the
    prompt alone."""

    tool_command: ToolCommand | None = None

    def filled(self) -> CommandParser:
        """The parser with its options."""
        command, self.tool_command = self.tool_command, None
        if command is not None:
            add_options(self, command, tools_here())
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
        namespace, rest = super().parse_known_args(words, namespace)
        if not any(word.startswith("-") for word in rest):
            self._take_late(namespace, rest)
        return namespace, rest

    def _take_late(self, namespace: argparse.Namespace, rest: list[str]) -> None:
        """Read words that stand behind an option, which argparse leaves over."""
        for action in self._get_positional_actions():
            if not action.dest.startswith(ARGUMENT) or not rest:
                continue
            found = getattr(namespace, action.dest)
            if action.nargs == "*":
                setattr(namespace, action.dest, [*(found or ()), *rest])
                rest.clear()
            elif found is None:
                setattr(namespace, action.dest, rest.pop(0))

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
        for name, schema in fields_of(tools[tool]).items():
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
        flag_of(flag),
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


def _json(text: str) -> Any:
    """What the JSON says; text that is none is left to the tool, which says what it takes."""
    try:
        return read_json(text)
    except ValueError:
        return text


def read_json(text: str) -> Any:
    """What the JSON says. Raises ValueError, also for a number that is not finite: a message to a
    tool has none, so that a cap would be left out in silence."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no finite number")
    return number
