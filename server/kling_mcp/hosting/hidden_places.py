"""Where things lie on a server is nobody's business but its own: no error tells it to callers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from kling_mcp.providers.redaction import mapped

if TYPE_CHECKING:
    from kling_mcp.settings.settings import Settings

__all__ = ["hiding_places"]

IN_PLACE = "…"


def hiding_places(settings: Settings) -> ServerMiddleware[Any]:
    """What takes the server's own folders out of errors, whoever words them: the folder goes, the
    name of the file stays. Those who run the server find the whole of it in its log."""
    found = (settings.home, settings.output_dir, Path(tempfile.gettempdir()))
    places = sorted({str(place) for path in found for place in _spellings(path)}, key=len)[::-1]

    def without(text: str) -> str:
        for place in places:
            text = text.replace(place, IN_PLACE)
        return text

    def hidden(value: Any) -> Any:
        return mapped(value, without)

    async def hide(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        try:
            result = await call_next(ctx)
        except MCPError as error:
            told = error.error
            raise MCPError(told.code, hidden(told.message), hidden(told.data)) from error
        if isinstance(result, dict):
            return hidden(result) if result.get("isError") else result
        if isinstance(result, BaseModel) and getattr(result, "is_error", False):
            return type(result).model_validate(hidden(result.model_dump(by_alias=True)))
        return result

    return hide


def _spellings(path: Path) -> Iterable[Path]:
    yield path.absolute()
    yield path.resolve()
