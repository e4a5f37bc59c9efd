"""A line for each call, and every line as JSON where that is wanted."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from kling_mcp.service import Service

__all__ = ["log_as_json", "log_calls", "outcome_of", "tool_named"]

calls = logging.getLogger("kling_mcp.calls")

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
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def log_as_json() -> None:
    """From now on every line on standard error is one JSON object; calls are told of."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    logging.getLogger().handlers[:] = [handler]
    for logger in (calls, logging.getLogger("kling_mcp.http_app")):
        logger.setLevel(logging.INFO)


async def log_calls(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware: who called which tool, how it ended, how long it took, for which task. Neither
    arguments nor answers are told, nor links."""
    if ctx.method != "tools/call":
        return await call_next(ctx)
    service: Service = ctx.lifespan_context
    began, outcome, task = time.perf_counter(), "cancelled", None
    try:
        result = await call_next(ctx)
        outcome = outcome_of(result)
        task = _task_of(result)
        return result
    except MCPError as error:
        outcome = f"code {error.error.code}"
        raise
    except Exception:
        outcome = "broken"
        raise
    finally:
        name = tool_named(ctx.params)
        facts = {
            "principal": service.principal.name,
            "tool": name,
            "outcome": outcome,
            "ms": round((time.perf_counter() - began) * 1000),
            "task": task,
            "request": str(ctx.request_id)[:64],
            "protocol": ctx.protocol_version,
        }
        calls.info("%s %s", name, outcome, extra={"facts": facts})


def tool_named(params: Mapping[str, Any] | None) -> str:
    """The tool that a call is for; `unknown` for names that there are not."""
    name = (params or {}).get("name")
    return name if isinstance(name, str) and name in TOOLS else "unknown"


def outcome_of(result: HandlerResult) -> str:
    """`ok`, or the kind of error that an answer tells of."""
    told = _told(result)
    return str(_facts(told).get("error", "error")) if told.get("isError") else "ok"


def _task_of(result: HandlerResult) -> str | None:
    told = _told(result)
    found = _facts(told).get("task_id") or told.get("taskId")
    return str(found) if found else None


def _told(result: HandlerResult) -> Mapping[str, Any]:
    """The answer as it goes out: a tool's own, or one that is finished already."""
    if isinstance(result, BaseModel):
        return result.model_dump(by_alias=True)
    return result or {}


def _facts(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return told.get("structuredContent") or {}
