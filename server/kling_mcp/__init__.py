"""An MCP server that makes Kling videos: settings, providers, ledger, sandbox and transports.

Public is what `__all__` names: `build_server(load_settings())` is the server, for any transport of
the SDK. All else may change with any release. Importing this package loads nothing of it.
Its tests are in `tests/server`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kling_mcp.protocol.server import build_server
    from kling_mcp.settings.settings import load_settings

__all__ = ["build_server", "load_settings"]

_MODULES = {
    "build_server": "kling_mcp.protocol.server",
    "load_settings": "kling_mcp.settings.settings",
}

if not TYPE_CHECKING:  # A type checker that saw it would believe in every name.

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)
