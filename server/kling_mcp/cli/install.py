"""`kling-mcp install CLIENT`: puts this server into a client's configuration."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from pathlib import Path

    from kling_mcp.cli.client_configs.clients import ClientRow, Machine
    from kling_mcp.cli.client_configs.entries import Wanted

__all__ = ["add_arguments", "run_from"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    from kling_mcp.cli.client_configs import dialogue

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
    from kling_mcp.cli.client_configs.change import entry_in, plan_install
    from kling_mcp.cli.client_configs.clients import this_machine
    from kling_mcp.cli.client_configs.dialogue import agreed, file_of, known_client
    from kling_mcp.cli.client_configs.entries import edits_for, entry_to_paste, place_of
    from kling_mcp.cli.client_configs.secrets import holds_secrets

    machine = this_machine()
    client = known_client(arguments.client)
    wanted = _wanted(machine, with_key=arguments.with_key)
    path = file_of(client, machine, arguments.config)
    if arguments.print or client.format != "json":
        print(f"{client.title}, in {path}:", file=sys.stderr)
        print(entry_to_paste(client, wanted))
        if wanted.keys:
            print(f"Put {', '.join(wanted.keys)} in place of the asterisks.", file=sys.stderr)
        if arguments.print:
            return 0
        told = "Nothing was written: add this to the file, beside what is there."
        print(f"{told} {client.then}", file=sys.stderr)
        return 1
    there = entry_in(path, place_of(client))
    change = plan_install(path, edits_for(client, wanted, there), again=there is not None)
    if change.before == change.after:
        print(f"{client.title} has this entry already ({path}).")
    elif agreed(change, yes=arguments.yes):
        print(f"{client.title} now knows this server ({path}).")
    else:
        return 1
    has_key = holds_secrets(entry_in(path, place_of(client)))
    _print_all(_about_the_key(client, wanted, path, has_key=has_key))
    if change.before != change.after:
        print(client.then)
    return 0


def _wanted(machine: Machine, *, with_key: bool) -> Wanted:
    from kling_mcp.cli.client_configs.entries import Wanted, keys_of, plain_settings, this_launch

    keys = keys_of(machine.environment)
    if with_key and not keys:
        raise KlingError(
            "--with-key needs a key in the environment, and none is set.",
            advice="Set KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY.",
        )
    settings = plain_settings(machine.environment)
    return Wanted(this_launch(), tuple(keys), settings, keys if with_key else {})


def _print_all(lines: list[str]) -> None:
    for line in lines:
        print(line)


def _about_the_key(client: ClientRow, wanted: Wanted, path: Path, *, has_key: bool) -> list[str]:
    """Where the key is now, and what to do if it is nowhere."""
    named = ", ".join(wanted.variables)
    if has_key:
        return [f"The key stands in {path.name}: whoever reads that file can spend."]
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
