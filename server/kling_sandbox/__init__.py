"""A sandbox that plays Kling's official video API on this machine, for trials and tests.

`create_app(SandboxConfig(home=...))` is an ASGI app. `httpx.ASGITransport` calls it without a port;
`kling-mcp sandbox` serves it over HTTP. It accepts, refuses and answers as recorded from the live
service, on both of Kling's standards, for videos, elements and voices. It keeps its state in
`home`, spends imaginary units or dollars, and makes real MP4 files. It fetches no picture from a
URL. It calls a `callback_url` only as the config allows: the command calls this machine, the
embedded sandbox its own server. Below `/cometapi`, `/anyfast`, `/powertokens`, `/newapi` and
`/newapi-old` it plays the gateways of those names (`gateways` has the rows).

It imports nothing else of this project, so that it can check the client and the contract. The names
below are loaded when first used, since the command line imports this package at every start.
Tests: tests/server/sandbox.
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
