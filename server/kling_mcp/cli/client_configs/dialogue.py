"""What `install` and `uninstall` have in common: their options, which file is meant, and the
question before it is written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kling_mcp.cli.client_configs.clients import CLIENTS, ClientRow, find_client
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.cli.client_configs.change import Change
    from kling_mcp.cli.client_configs.clients import Machine

__all__ = ["add_arguments", "agreed", "file_of", "known_client"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of both commands."""
    parser.add_argument("client", metavar="CLIENT", help=f"one of {', '.join(CLIENTS)}")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--config", type=Path, default=None, metavar="FILE", help="another file than the client's"
    )


def known_client(name: str) -> ClientRow:
    """The row of a client; raises KlingError, which lists the known ones."""
    row = find_client(name)
    if row is None:
        raise KlingError(
            f"No client {name!r} is known here.",
            advice=f"There are {', '.join(CLIENTS)}. For another one, `kling-mcp install cursor "
            "--print` shows the usual entry.",
        )
    return row


def file_of(client: ClientRow, machine: Machine, config: Path | None = None) -> Path:
    """The client's configuration file on this machine, or the one that was asked for."""
    if config is not None:
        return config.expanduser().absolute()
    if client.folder and machine.environment.get(client.folder[0]):
        return Path(machine.environment[client.folder[0]]).expanduser() / client.folder[1]
    return machine.place(client.files[machine.system])


def agreed(change: Change, *, yes: bool) -> bool:
    """Show the change, ask, and make it; False when the person does not want it."""
    from kling_mcp.cli.client_configs.change import shown, write

    print(shown(change))
    if not yes:
        if not sys.stdin.isatty():
            print("Nothing was written: give --yes where nobody can be asked.", file=sys.stderr)
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
        print(f"The file as it was before is kept as {backup}.")
    return True
