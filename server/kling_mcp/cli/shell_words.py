"""The words of a shell: the texts of tools for a person who gives commands, and lines to give."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from kling_mcp.cli.tool_commands import COMMAND_OF, COMMANDS, ToolCommand

if TYPE_CHECKING:
    from kling_tools.tools.tool import KlingTool

__all__ = ["IN_SHELL", "command_with", "fields_of", "flag_of", "in_shell", "tools_here"]


_TOOL = re.compile(
    r"(?<![\w./\\-])(kling_[a-z_]+)\b(?!\.\w|[/\\-])"
    r"(?: (?:with task_ids?|for) \[?\"?([\w-]*\d[\w-]*)\"?\]?)?"
)
_ARGUMENT = re.compile(r"(?<![\w./{])[a-z]+(?:_[a-z]+)+\b(?!\.\w|[/(])")


IN_SHELL: Mapping[str, str] = {
    "Tell the person the price; then submit without dry_run.": "Without --dry-run it is made.",
    "Tell the person that the price is not known; then submit without dry_run.": "The price is "
    "not known. Without --dry-run it is made.",
    "Ask the person, then submit": "Give the command again",
    "Ask the person which one speaks; then call again with the same arguments and face, its "
    "number.": "Give the command again with --face and the number of the one that speaks.",
    "Tell the person the price; then call again without dry_run.": "Without --dry-run it is made.",
    "fits has that as arguments to copy.": "--json shows that as arguments to copy, in fits.",
    "; a host that cannot ask them is refused": "; without a terminal, --yes agrees",
    "They are then asked to agree": "You are then asked to agree",
    "The person did not agree": "You did not agree",
    "while this server runs": "while a server runs or a command waits for it",
    "The person who runs the server has to check": "Check",
    "Ask what they would like instead; dry_run shows prices.": "--dry-run shows prices.",
}
"""Advice to an assistant, and the same to the person who gave the command."""

_SENT = re.compile(r"(?<=\. )(?:Sent|Will send): [a-z_, ]+\. ")


def in_shell(text: str, keep: Collection[str] = ()) -> str:
    """A text for an assistant as one for a person at a shell: tools are commands, and arguments
    are options. The names of what was sent are left out. What the text says of these paths, prompts
    and names stays to the letter, and so does a quotation that was cut."""
    whole = {said for each in keep for said in (each, " ".join(each.split())) if each}
    changed = sorted((each for each in whole if _in_shell(each) != each), key=len, reverse=True)
    parts = re.split("(" + "|".join([*map(re.escape, changed), '"[^"\n]*…"']) + ")", text)
    return "".join(part if at % 2 else _in_shell(part) for at, part in enumerate(parts))


def _in_shell(text: str) -> str:
    text = _SENT.sub("", text)
    for said, instead in IN_SHELL.items():
        text = text.replace(said, instead)

    def command(found: re.Match[str]) -> str:
        name = COMMAND_OF.get(found[1])
        return f"kling-mcp {name} {found[2] or ''}".rstrip() if name else found[0]

    options = _options_of_several_words()
    return _ARGUMENT.sub(
        lambda found: flag_of(found[0]) if found[0] in options else found[0],
        _TOOL.sub(command, text),
    )


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def command_with(command: ToolCommand, words: Sequence[str], change: Mapping[str, Any]) -> str:
    """The line of the same command with these arguments in place of its own, for a shell of POSIX;
    "" leaves one out. Empty where one of them cannot be given so."""
    left, options = [*words], []
    for name, value in change.items():
        if name in command.words or isinstance(value, list | dict):
            return ""
        flag, before = flag_of(command.flags.get(name, name)), len(left)
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
    schemas = [fields_of(tools_here()[tool]).get(name, {}) for tool in command.tools]
    kinds = [kind for schema in schemas for kind in schema.get("anyOf", [schema])]
    return any(kind.get("type") == "boolean" for kind in kinds)


@cache
def _options_of_several_words() -> frozenset[str]:
    names = {name for tool in tools_here().values() for name in fields_of(tool) if "_" in name}
    return frozenset(names - {word for command in COMMANDS.values() for word in command.words})


@cache
def tools_here() -> Mapping[str, KlingTool]:
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


def fields_of(tool: KlingTool) -> Mapping[str, dict[str, Any]]:
    """The schema of every argument of the tool: as it is published, and what is left out there."""
    from kling_tools.tools.schema import arguments_schema

    absent = getattr(tool.arguments, "absent", ())
    own = arguments_schema(tool.arguments, without=absent)["properties"]
    published = tool.parameters["properties"]
    return {name: {**own.get(name, {}), **published.get(name, {})} for name in [*published, *own]}
