"""`kling-mcp uninstall CLIENT`: takes this server out of a client's configuration again."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run_from"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    from kling_mcp.cli.client_configs import dialogue

    dialogue.add_arguments(parser)


def run_from(arguments: argparse.Namespace) -> int:
    """Show the change, ask, and make it; 0 when the entry is gone, 1 when that was not wanted.

    Raises KlingError when the client is unknown or its file cannot be changed.
    """
    from kling_mcp.cli.client_configs.change import plan_uninstall
    from kling_mcp.cli.client_configs.clients import this_machine
    from kling_mcp.cli.client_configs.dialogue import agreed, file_of, known_client
    from kling_mcp.cli.client_configs.entries import own_edits, place_of
    from kling_mcp.cli.client_configs.secrets import holds_secrets

    client = known_client(arguments.client)
    path = file_of(client, this_machine(), arguments.config)
    if client.format != "json":
        print(f"Take {'.'.join(place_of(client))} out of {path}, which only you change.")
        return 1
    change = plan_uninstall(path, own_edits(client), holds_secrets)
    if change.before == change.after:
        print(f"{client.title} does not know this server ({path}).")
        return 0
    if not agreed(change, yes=arguments.yes):
        return 1
    print(f"{client.title} does not know this server any more ({path}).")
    return 0
