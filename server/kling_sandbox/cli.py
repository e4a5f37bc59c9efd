"""The command `kling-mcp sandbox`: serves the sandbox over HTTP to any client of Kling."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from kling_sandbox.config import SandboxConfig
from kling_sandbox.faults import fault_help, parse_faults

__all__ = ["add_arguments", "run_from"]

_DEFAULT_PORT = 8765


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to a parser."""
    defaults = SandboxConfig(home=default_home())
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=_DEFAULT_PORT,
        help="port to listen on, 0 for a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--home", type=Path, default=defaults.home, help="folder for tasks, pictures and videos"
    )
    parser.add_argument(
        "--queue",
        type=_seconds,
        default=defaults.queue_s,
        metavar="S",
        help="seconds that a task is submitted (default: %(default)s)",
    )
    parser.add_argument(
        "--render",
        type=_seconds,
        default=defaults.render_s,
        metavar="S",
        help="seconds that a task is processing (default: %(default)s)",
    )
    parser.add_argument(
        "--slots",
        type=int,
        default=defaults.slots,
        help="tasks at once, at each provider, before 1303 (default: %(default)s)",
    )
    parser.add_argument(
        "--serve-discontinued",
        action="store_true",
        help="accept models and endpoints that Kling has discontinued, as a gateway may",
    )
    parser.add_argument(
        "--cash", action="store_true", help="pay from a balance in dollars, without a resource pack"
    )
    parser.add_argument(
        "--preview",
        action="store_true",
        help="serve kling-4.0 and kling-4.0-flash, as resellers describe them",
    )
    parser.add_argument(
        "--callback-secret",
        default="",
        metavar="whsec_…",
        help="sign callbacks; a callback_url is called only on this machine",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[:N][@TARGET]",
        help="make something go wrong; may be repeated; `--fault help` lists all faults",
    )


def run_from(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code: 0, or 2 for a wrong option."""
    if "help" in args.fault:
        print(fault_help())
        return 0
    try:
        _serve(args)
    except (ValueError, OSError) as error:
        print(f"kling-mcp sandbox: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(args: argparse.Namespace) -> None:
    """Serve the sandbox until interrupted. Prints its address and its key on stderr.

    Each start counts faults from zero. Raises `ValueError` for an unknown fault and `OSError` when
    the port is taken.
    """
    from kling_sandbox.app import bound_socket, create_app, server_of
    from kling_sandbox.state import SandboxStore
    from kling_sandbox.webhooks import only_loopback

    chosen = parse_faults(args.fault)
    with bound_socket(args.host, args.port) as listener:
        name = f"[{args.host}]" if ":" in args.host else args.host
        config = SandboxConfig(
            home=args.home,
            queue_s=args.queue,
            render_s=args.render,
            slots=args.slots,
            faults=chosen,
            public_url=f"http://{name}:{listener.getsockname()[1]}",
            serve_retired=args.serve_discontinued,
            cash=args.cash,
            preview=args.preview,
            may_call=only_loopback,
            callback_secret=args.callback_secret,
        )
        SandboxStore(args.home).forget_strikes()
        listener.listen()
        for line in _greeting(config):
            print(line, file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            server_of(create_app(config)).run(sockets=[listener])


def default_home() -> Path:
    """The default folder of the sandbox, in the user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("kling-mcp", appauthor=False) / "sandbox"


def _greeting(config: SandboxConfig) -> list[str]:
    lines = [
        f"Kling sandbox at {config.public_url}",
        f"  API key     {config.api_keys[0]}",
        f"  or a pair   {config.access_key} / {config.secret_key} (official only)",
        *_base_urls(config),
        f"  statistics  {config.public_url}/sandbox/stats",
        f"  files       {config.home}",
    ]
    if config.faults:
        lines.append(f"  faults      {' '.join(map(str, config.faults))}")
    return [*lines, "Nothing is paid and nothing leaves this machine. Ctrl+C ends it."]


def _base_urls(config: SandboxConfig) -> list[str]:
    from kling_sandbox.gateways import GATEWAYS, OFFICIAL

    lines = []
    for dialect in (OFFICIAL, *GATEWAYS):
        lines.append(f"  {dialect.name:<11} {config.public_url}{dialect.bases[0]}")
    return lines


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError("seconds from 0 to 86400")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65_535:
        raise argparse.ArgumentTypeError("a port from 0 to 65535")
    return value
