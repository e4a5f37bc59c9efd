"""A line for each call, and every line as JSON where that is wanted."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from kling_mcp.hosting.endings import Ending, answered, tool_named
from kling_mcp.service import Service

__all__ = ["log_as_json", "log_calls"]

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
    for logger in (calls, logging.getLogger("kling_mcp.http_app")):
        logger.setLevel(logging.INFO)


async def log_calls(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware: who called which tool, how it ended, how long it took, for which task. Neither
    arguments nor answers are told, nor links."""
    if ctx.method != "tools/call":
        return await call_next(ctx)
    service: Service = ctx.lifespan_context
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
