"""`kling-mcp completion SHELL`: the script that lets a shell complete this command's words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SHELLS", "add_arguments", "script"]

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell, which has to be named."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What the shell has to read for the commands and options of this parser."""
    import shtab

    from kling_mcp.cli.client_configs.clients import CLIENTS

    for action in _actions(parser):
        if action.dest == "client":
            action.choices = list(CLIENTS)
        elif action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option and argument, those of the commands too."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
