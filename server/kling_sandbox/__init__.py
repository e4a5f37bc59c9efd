"""Kling's official video API, played by this machine: for trying things out and for tests.

`create_app(SandboxConfig(home=...))` is an ASGI app; through `httpx.ASGITransport` it needs no
port, `kling-mcp sandbox` serves it over HTTP. It accepts, refuses and answers as recorded from the
live service, keeps its state in `home`, spends imaginary units, and makes real MP4 files. Pictures
at addresses are not fetched, and a `callback_url` is called only where the config lets it be: by
the command on this machine, by the embedded one at the hosted server that it is part of. Below
`/cometapi`, `/anyfast`, `/powertokens`, `/newapi` and `/newapi-old` it plays the gateways of those
names (`gateways` has the rows).

It takes nothing from the client or the contract of this project: it is a second opinion on them.
The names below are loaded when first used; the command line reads this package at every start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kling_sandbox.app import create_app
    from kling_sandbox.config import SandboxConfig
    from kling_sandbox.faults import ConnectionDropped, Fault, fault_help, parse_faults
    from kling_sandbox.state import SandboxStore

__all__ = [
    "ConnectionDropped",
    "Fault",
    "SandboxConfig",
    "SandboxStore",
    "create_app",
    "fault_help",
    "parse_faults",
]

_HOMES = {
    "ConnectionDropped": "faults",
    "Fault": "faults",
    "SandboxConfig": "config",
    "SandboxStore": "state",
    "create_app": "app",
    "fault_help": "faults",
    "parse_faults": "faults",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
