"""docs/command-line.md: the commands that call tools, and their exit codes."""

import argparse
from collections.abc import Iterator

from tests.docs.pages import table
from tests.docs.tools_page import every_tool

from kling_mcp.cli.exit_codes import EXIT_CODES
from kling_mcp.cli.tool_commands import COMMANDS, ToolCommand
from kling_mcp.cli.tool_options import add_options

__all__ = ["commands", "exit_codes"]


def commands() -> str:
    """A section for each command, made from its parser."""
    return "\n" + "\n".join(map(_section, COMMANDS.values())) + "\n"


def _section(command: ToolCommand) -> str:
    parser = argparse.ArgumentParser(prog=f"kling-mcp {command.name}", add_help=False)
    add_options(parser, command, every_tool())
    tools = ", ".join(f"[`{tool}`](tools.md#{tool})" for tool in command.tools)
    text = f"{command.text[0].upper()}{command.text[1:]}"
    return "\n".join(
        [
            f"### kling-mcp {command.name}\n",
            f"{text}: {tools}.\n",
            table(("word or option", "what it is"), list(_rows(parser))),
        ]
    )


def _rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, ...]]:
    for action in parser._actions:
        flags, value = ", ".join(action.option_strings), str(action.metavar or "")
        if flags:
            value = f"[{value}]" if action.nargs == "?" else f" {value}"
        yield f"`{flags}{value}`".replace(" `", "`"), (action.help or "").replace("%%", "%")


def exit_codes() -> str:
    """What each exit code says."""
    rows = [(f"`{code}`", said) for code, said in EXIT_CODES.items()]
    return table(("code", "what it says"), rows)
