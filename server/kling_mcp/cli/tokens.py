"""`kling-mcp tokens`: logins for a small team, without a login service."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from kling_mcp.hosting.tokens import TokenFile

__all__ = ["add_arguments", "run_from"]

NAME_LENGTH = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--file", type=Path, help="the token file (default: the one that KLING_MCP_TOKENS names)"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a token for somebody and show it once")
    add.add_argument("name", type=_name, help="who will use it: letters, digits, . _ - @")
    less = add.add_mutually_exclusive_group()
    less.add_argument("--read-only", action="store_true", help="it may look, not make videos")
    less.add_argument("--metrics", action="store_true", help="it may read /metrics, nothing else")
    add.add_argument("--expires", type=_date, metavar="YYYY-MM-DD", help="its last valid day")
    actions.add_parser("list", help="show who has a token")
    remove = actions.add_parser("remove", help="revoke all tokens of somebody, at once")
    remove.add_argument("name")


def run_from(arguments: argparse.Namespace) -> int:
    """Add, list or remove tokens. Returns 0, or 1 when nobody has that name. Raises NotConfigured
    when no token file is configured or the file cannot be used."""
    from kling_mcp.hosting.tokens import TokenFile

    path = arguments.file or _file_of_the_server()
    if path is None:
        raise NotConfigured(
            "No token file is configured.",
            advice="Set KLING_MCP_TOKENS for the server and this command, or give --file.",
        )
    file = TokenFile(path)
    if arguments.action == "add":
        return _add(file, arguments)
    if arguments.action == "list":
        for token in file.all():
            until = f", until {token.expires}" if token.expires else ""
            print(f"{token.name}: {' '.join(token.scopes)}{until}")
        return 0
    tokens = file.all()
    kept = [token for token in tokens if token.name != arguments.name]
    if len(kept) == len(tokens):
        print(f"kling-mcp tokens: {arguments.name} has no token.", file=sys.stderr)
        return 1
    file.write(kept)
    return 0


def _file_of_the_server() -> Path | None:
    """The file in the server's own setting. Its other settings need not be complete yet."""
    from kling_mcp.settings.environment import read_environment

    named = read_environment().values.get("KLING_MCP_TOKENS")
    return Path(named).expanduser() if named else None


def _add(file: TokenFile, arguments: argparse.Namespace) -> int:
    from kling_mcp.hosting.tokens import new_token
    from kling_mcp.principal import METRICS, READ, SPEND

    scopes = [METRICS] if arguments.metrics else [READ] if arguments.read_only else [READ, SPEND]
    text, token = new_token(arguments.name, scopes, arguments.expires)
    file.write([*file.all(), token])
    print(text)
    print("Copy it now: it is not shown again.", file=sys.stderr)
    return 0


def _name(text: str) -> str:
    good = text.isascii() and all(c.isalnum() or c in "._-@" for c in text)
    if not good or not 0 < len(text) <= NAME_LENGTH:
        raise argparse.ArgumentTypeError("letters, digits, . _ - and @, at most 64")
    return text


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a date such as 2027-12-31") from None
