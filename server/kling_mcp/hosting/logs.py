"""The log of a hosted server: one JSON object per line, and one line per tool call."""

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
from kling_tools.products import ASSETS, FILM, PRODUCTS_BY_TOOL

__all__ = ["Ending", "answered", "log_as_json", "log_calls", "tool_named"]


TOOLS = frozenset(
    {
        *PRODUCTS_BY_TOOL,
        *(row.tool for row in ASSETS.values()),
        FILM.tool,
        "kling_list_assets",
        "kling_delete_asset",
        "kling_get_task",
        "kling_list_tasks",
        "kling_wait_for_tasks",
        "kling_save_video",
        "kling_look",
        "kling_cancel_task",
        "kling_account",
        "kling_upload_picture",
    }
)
"""The tool names that labels and lines may show. Callers could make up any other."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended. `outcome` is `ok`, the kind of the answer's error, `code N` for an error
    of the protocol, `cancelled` or `broken`. `task` is the id of the task in the answer."""

    outcome: str
    task: str | None = None


async def answered(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext, tell: Callable[[Ending], None]
) -> HandlerResult:
    """The answer to a call. `tell` is called with its ending, also when the call fails."""
    ending = Ending("cancelled")
    try:
        result = await call_next(ctx)
        ending = Ending("ok")
        with decoration("a word of how it ended", waits=False):
            ending = _ending_of(result)
        return result
    except MCPError as error:
        ending = Ending(f"code {error.error.code}")
        raise
    except Exception:
        ending = Ending("broken")
        raise
    finally:
        with decoration("a line or a count of its own", waits=False):
            tell(ending)


def tool_named(params: Mapping[str, Any] | None) -> str:
    """The name of the called tool; `unknown` when no tool has that name."""
    name = (params or {}).get("name")
    return name if isinstance(name, str) and name in TOOLS else "unknown"


def _ending_of(result: HandlerResult) -> Ending:
    """Read the ending from the answer: a model, or a dictionary that is already serialized."""
    answer: Mapping[str, Any] = (
        result.model_dump(by_alias=True) if isinstance(result, BaseModel) else result or {}
    )
    facts = answer.get("structuredContent") or {}
    task = facts.get("task_id") or answer.get("taskId")
    return Ending(
        str(facts.get("error", "error")) if answer.get("isError") else "ok",
        str(task) if task else None,
    )


calls = logging.getLogger("kling_mcp.calls")


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_text:
            fields["exception"] = record.exc_text
        return json.dumps(fields, ensure_ascii=False)


def log_as_json() -> None:
    """Write every log line as one JSON object on standard error; tool calls are logged too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    for replaced in logging.getLogger().handlers:
        for guard in replaced.filters:
            handler.addFilter(guard)
    logging.getLogger().handlers[:] = [handler]
    for logger in (calls, logging.getLogger("kling_mcp.hosting.http_app")):
        logger.setLevel(logging.INFO)


async def log_calls(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware that logs each tool call: the caller, the tool, the outcome, the milliseconds
    and the task. It logs no arguments, no answers and no links."""
    if ctx.method != "tools/call" or not calls.isEnabledFor(logging.INFO):
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
