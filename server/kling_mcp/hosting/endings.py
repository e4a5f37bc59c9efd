"""Which tool a call is for, and how it ends: what a server's lines and numbers both tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from kling_tools.decorations import decoration

__all__ = ["Ending", "answered", "tool_named"]

TOOLS = frozenset(
    {
        "kling_image_to_video",
        "kling_multi_image_to_video",
        "kling_get_task",
        "kling_list_tasks",
        "kling_wait_for_tasks",
        "kling_save_video",
        "kling_upload_picture",
    }
)
"""Names that labels and lines may have: callers could make up any other."""


@dataclass(frozen=True, slots=True)
class Ending:
    """`outcome` is `ok`, the kind of error that the answer tells of, `code N` for an error of the
    protocol, `cancelled` or `broken`; `task` the id of the task that was answered with."""

    outcome: str
    task: str | None = None


async def answered(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext, tell: Callable[[Ending], None]
) -> HandlerResult:
    """The answer to a call; `tell` hears how it ended, whichever way that is."""
    ending = Ending("cancelled")
    try:
        result = await call_next(ctx)
        ending = Ending("ok")
        with decoration("a word of how it ended"):
            ending = _ending_of(result)
        return result
    except MCPError as error:
        ending = Ending(f"code {error.error.code}")
        raise
    except Exception:
        ending = Ending("broken")
        raise
    finally:
        with decoration("a line or a count of its own"):
            tell(ending)


def tool_named(params: Mapping[str, Any] | None) -> str:
    """The tool that a call is for; `unknown` for names that there are not."""
    name = (params or {}).get("name")
    return name if isinstance(name, str) and name in TOOLS else "unknown"


def _ending_of(result: HandlerResult) -> Ending:
    """By the answer as it goes out: a tool's own, or one that is finished already."""
    told: Mapping[str, Any] = (
        result.model_dump(by_alias=True) if isinstance(result, BaseModel) else result or {}
    )
    facts = told.get("structuredContent") or {}
    task = facts.get("task_id") or told.get("taskId")
    return Ending(
        str(facts.get("error", "error")) if told.get("isError") else "ok",
        str(task) if task else None,
    )
