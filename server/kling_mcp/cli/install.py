"""`kling-mcp install CLIENT` and `uninstall CLIENT`: add or remove this server in a client's
configuration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kling_mcp.cli.client_configs.clients import CLIENTS, find_client
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.cli.client_configs.change import Change
    from kling_mcp.cli.client_configs.clients import ClientRow, Machine
    from kling_mcp.cli.client_configs.entries import Wanted

__all__ = ["add_arguments", "add_install_arguments", "install", "uninstall"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of both commands."""
    parser.add_argument("client", metavar="CLIENT", help=f"one of {', '.join(CLIENTS)}")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--config", type=Path, default=None, metavar="FILE", help="change this file instead"
    )


def known_client(name: str) -> ClientRow:
    """The row of a client. Raises KlingError with the known names."""
    row = find_client(name)
    if row is None:
        raise KlingError(
            f"The client {name!r} is unknown.",
            advice=f"Known clients: {', '.join(CLIENTS)}. For another one, `kling-mcp install "
            "cursor --print` shows the usual entry.",
        )
    return row


def file_of(client: ClientRow, machine: Machine, config: Path | None = None) -> Path:
    """The client's configuration file on this machine, or `config` when given."""
    if config is not None:
        return config.expanduser().absolute()
    if client.folder and machine.environment.get(client.folder[0]):
        return Path(machine.environment[client.folder[0]]).expanduser() / client.folder[1]
    return machine.place(client.files[machine.system])


def agreed(change: Change, *, yes: bool) -> bool:
    """Show the change, ask, and make it. Returns False when the person declines."""
    from kling_mcp.cli.client_configs.change import shown, write

    print(shown(change))
    if not yes:
        if not sys.stdin.isatty():
            print("Nothing was written: without a terminal, give --yes.", file=sys.stderr)
            return False
        try:
            answer = input("Write this? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            print("Nothing was written.", file=sys.stderr)
            return False
    backup = write(change)
    if backup is not None:
        print(f"The previous file is kept as {backup}.")
    return True


def add_install_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `install`."""
    add_arguments(parser)
    parser.add_argument("--print", action="store_true", help="only show the entry, change nothing")
    parser.add_argument(
        "--with-key",
        action="store_true",
        help="write the key itself into the file, where others may read it",
    )


def install(arguments: argparse.Namespace) -> int:
    """Show the change, ask, and make it. Returns 0 when the file has the entry, else 1.

    Raises KlingError when the client is unknown or its file cannot be changed.
    """
    from kling_mcp.cli.client_configs.change import entry_in, plan_install
    from kling_mcp.cli.client_configs.clients import this_machine
    from kling_mcp.cli.client_configs.entries import (
        edits_for,
        entry_to_paste,
        holds_secrets,
        place_of,
    )

    machine = this_machine()
    client = known_client(arguments.client)
    wanted = _wanted(machine, with_key=arguments.with_key)
    path = file_of(client, machine, arguments.config)
    if arguments.print or client.format != "json":
        print(f"{client.title}, in {path}:", file=sys.stderr)
        print(entry_to_paste(client, wanted))
        if wanted.keys:
            print(f"Replace the asterisks by {', '.join(wanted.keys)}.", file=sys.stderr)
        if arguments.print:
            return 0
        advice = "Nothing was written: add this to the file, and keep what is there."
        print(f"{advice} {client.then}", file=sys.stderr)
        return 1
    there = entry_in(path, place_of(client))
    change = plan_install(path, edits_for(client, wanted, there), again=there is not None)
    if change.before == change.after:
        print(f"{client.title} already has this entry ({path}).")
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
            "--with-key requires a key in the environment, and none is set.",
            advice="Set KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY.",
        )
    settings = plain_settings(machine.environment)
    return Wanted(this_launch(), tuple(keys), settings, keys if with_key else {})


def _print_all(lines: list[str]) -> None:
    for line in lines:
        print(line)


def _about_the_key(client: ClientRow, wanted: Wanted, path: Path, *, has_key: bool) -> list[str]:
    """Where the key is now, and what to do when there is none."""
    named = ", ".join(wanted.variables)
    if has_key:
        return [f"The key is in {path.name}: whoever reads that file can spend your units."]
    if client.keys == "none":
        return [
            f"{client.title} can keep keys only in that file, which has none. The free sandbox is "
            f"used unless {client.title} itself starts with the key in its environment; --with-key "
            "writes the key into the file instead."
        ]
    if client.keys in ("reference", "forwarded"):
        if not wanted.variables:
            return ["No key is set, so the free sandbox is used. Set one and install again."]
        return [f"The key is not in the file; {client.title} reads it from {named}."]
    return []


def uninstall(arguments: argparse.Namespace) -> int:
    """Show the change, ask, and make it. Returns 0 when the entry is gone, else 1.

    Raises KlingError when the client is unknown or its file cannot be changed.
    """
    from kling_mcp.cli.client_configs.change import plan_uninstall
    from kling_mcp.cli.client_configs.clients import this_machine
    from kling_mcp.cli.client_configs.entries import holds_secrets, own_edits, place_of

    client = known_client(arguments.client)
    path = file_of(client, this_machine(), arguments.config)
    if client.format != "json":
        print(f"Remove {'.'.join(place_of(client))} from {path} yourself.")
        return 1
    change = plan_uninstall(path, own_edits(client), holds_secrets)
    if change.before == change.after:
        print(f"{client.title} has no entry for this server ({path}).")
        return 0
    if not agreed(change, yes=arguments.yes):
        return 1
    print(f"{client.title} no longer has an entry for this server ({path}).")
    return 0
