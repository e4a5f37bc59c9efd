"""The contract of kling-mcp: what an assistant can ask, what it gets, and what can go wrong.

Public is what `__all__` names: `build_toolset` makes the tools of an SDK server whose lifespan
yields a `VideoService`, whose methods return the answers named here and raise only `KlingError`
and its kin (drawn in `kling_tools.errors`). All else may change with any release. Nothing here
speaks HTTP, reads files or imports `kling_mcp`. Its tests are in `tests/tools`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kling_tools.errors import KlingError
    from kling_tools.results import (
        Receipt,
        SavedVideo,
        TaskPage,
        TaskView,
        UploadAddress,
        WaitResult,
    )
    from kling_tools.service import VideoService
    from kling_tools.tools.toolset import build_toolset

__all__ = [
    "KlingError",
    "Receipt",
    "SavedVideo",
    "TaskPage",
    "TaskView",
    "UploadAddress",
    "VideoService",
    "WaitResult",
    "build_toolset",
]

_MODULES = {
    "KlingError": "kling_tools.errors",
    "VideoService": "kling_tools.service",
    "build_toolset": "kling_tools.tools.toolset",
}

if not TYPE_CHECKING:  # A type checker that saw it would believe in every name.

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES.get(name, "kling_tools.results")), name)
