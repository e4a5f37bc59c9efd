"""`kling-mcp install CLIENT`: puts this server into a client's configuration."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from pathlib import Path

    from kling_mcp.installing.clients import ClientRow
    from kling_mcp.installing.entries import Wanted
    from kling_mcp.installing.machine import Machine

__all__ = ["add_arguments", "run_from"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    from kling_mcp.installing import dialogue

    dialogue.add_arguments(parser)
    parser.add_argument("--print", action="store_true", help="only show the entry, change nothing")
    parser.add_argument(
        "--with-key",
        action="store_true",
        help="write the key itself into the file, where others may read it",
    )


def run_from(arguments: argparse.Namespace) -> int:
    """Show the change, ask, and make it; 0 when the entry is there, 1 when it was not wanted.

    Raises KlingError when the client is unknown or its file cannot be changed.
    """
    from kling_mcp.installing.change import made_anew, plan_install
    from kling_mcp.installing.dialogue import agreed, file_of, known_client
    from kling_mcp.installing.entries import edits_for
    from kling_mcp.installing.machine import this_machine

    machine = this_machine()
    client = known_client(arguments.client)
    wanted = _wanted(machine, with_key=arguments.with_key)
    edits = edits_for(client, wanted)
    path = file_of(client, machine, arguments.config)
    if arguments.print:
        print(f"{client.title}, in {path}:", file=sys.stderr)
        print(made_anew(client.format, edits), end="")
        return 0
    change = plan_install(path, client.format, edits)
    if change.before == change.after:
        print(f"{client.title} has this entry already ({path}).")
        _print_all(_about_the_key(client, wanted, path))
        return 0
    if not agreed(change, wanted.keys.values(), yes=arguments.yes):
        return 1
    print(f"{client.title} now knows this server ({path}).")
    _print_all([*_about_the_key(client, wanted, path), client.then])
    return 0


def _wanted(machine: Machine, *, with_key: bool) -> Wanted:
    from kling_mcp.installing.entries import Wanted, key_variables, plain_settings
    from kling_mcp.installing.launching import this_launch

    environment = machine.environment
    variables = key_variables(environment)
    if with_key and not variables:
        raise KlingError(
            "--with-key needs a key in the environment, and none is set.",
            advice="Set KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY.",
        )
    keys = {name: environment[name].strip() for name in variables} if with_key else {}
    return Wanted(this_launch(), variables, plain_settings(environment), keys)


def _print_all(lines: list[str]) -> None:
    for line in lines:
        print(line)


def _about_the_key(client: ClientRow, wanted: Wanted, path: Path) -> list[str]:
    """Where the key is now, and what to do if it is nowhere."""
    named = ", ".join(wanted.variables)
    if wanted.keys:
        return [f"The key stands in {path.name}: whoever reads that file can spend ({named})."]
    if client.keys == "none":
        return [
            f"{client.title} keeps keys nowhere but in that file, which holds none: the free "
            f"sandbox is used unless {client.title} itself is started with the key in its "
            "environment. --with-key writes it into the file instead."
        ]
    if client.keys in ("reference", "forwarded"):
        if not wanted.variables:
            return ["No key is set here: the free sandbox is used. Set one and install again."]
        return [f"The key stays out of the file; {client.title} reads it from {named}."]
    return []
