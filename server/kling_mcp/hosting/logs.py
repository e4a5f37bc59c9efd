"""The log of a hosted server: one JSON object a line, and one line for each call of a tool."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from kling_mcp.protocol.middleware import current_service
from kling_tools.decorations import decoration
from kling_tools.products import MAKERS

__all__ = ["Ending", "answered", "log_as_json", "log_calls", "tool_named"]


TOOLS = frozenset(
    {
        *MAKERS,
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


calls = logging.getLogger("kling_mcp.calls")


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_text:
            told["exception"] = record.exc_text
        return json.dumps(told, ensure_ascii=False)


def log_as_json() -> None:
    """From now on every line on standard error is one JSON object; calls are told of."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    for replaced in logging.getLogger().handlers:
        for guard in replaced.filters:
            handler.addFilter(guard)
    logging.getLogger().handlers[:] = [handler]
    for logger in (calls, logging.getLogger("kling_mcp.hosting.http_app")):
        logger.setLevel(logging.INFO)


async def log_calls(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware: who called which tool, how it ended, how long it took, for which task. Neither
    arguments nor answers are told, nor links."""
    if ctx.method != "tools/call":
        return await call_next(ctx)
    service = current_service()
    began = time.perf_counter()

    def tell(ending: Ending) -> None:
        name = tool_named(ctx.params)
        facts = {
            "principal": service.principal.name,
            "tool": name,
            "outcome": ending.outcome,
            "ms": round((time.perf_counter() - began) * 1000),
            "task": ending.task,
            "request": str(ctx.request_id)[:64],
            "protocol": ctx.protocol_version,
        }
        calls.info("%s %s", name, ending.outcome, extra={"facts": facts})

    return await answered(ctx, call_next, tell)
