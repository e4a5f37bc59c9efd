"""`kling-mcp serve --http`: the server for clients that speak MCP over HTTP."""

from __future__ import annotations

import argparse
import gc
from contextlib import suppress
from typing import TYPE_CHECKING

from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from kling_mcp.settings.settings import Settings

__all__ = ["add_arguments", "serve"]

HOST = "127.0.0.1"
PORT = 8000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--http", action="store_true", required=True, help="streamable HTTP, at the path /mcp"
    )
    parser.add_argument(
        "--host",
        default=HOST,
        help="address to listen on; any but this machine's requires a login (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help="0 picks a free one (default: %(default)s)"
    )


def serve(settings: Settings, host: str, port: int) -> int:
    """Serve until stopped, and finish requests on their way to a provider. Returns the exit code.

    Videos are saved automatically only when KLING_MCP_SAVE says so. Raises NotConfigured for
    unusable settings, for an address that other machines reach without a login, and for a port
    that is taken.
    """
    from kling_mcp.hosting.http_app import http_app, refuse_to_be_open, server_of, url_of
    from kling_mcp.hosting.team import Hosting
    from kling_mcp.hosting.team_settings import load_host_settings
    from kling_mcp.protocol.server import build_server
    from kling_sandbox.app import bound_socket

    hosting = Hosting.create(settings, load_host_settings(settings.env_file))
    refuse_to_be_open(host, hosting)
    if "save" not in settings.model_fields_set:
        settings = settings.model_copy(update={"save": False})
    if hosting.settings.log_format == "json":
        from kling_mcp.hosting.logs import log_as_json

        log_as_json()
    try:
        listener = bound_socket(host, port)
    except OSError as error:
        raise NotConfigured(
            f"{host}:{port} cannot be used: {error.strerror}.",
            advice="Choose another --port; 0 picks a free one.",
        ) from error
    with listener, suppress(KeyboardInterrupt):
        hosting = hosting.reached_at(url_of(listener), settings)
        server = build_server(settings, team=hosting.team(settings))
        running = server_of(http_app(server, host, hosting), hosting)
        gc.freeze()  # what the start made stays: no collection looks through it, while calls wait
        running.run(sockets=[listener])
    return 0


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65_535:
        raise argparse.ArgumentTypeError("a port from 0 to 65535")
    return value
