"""The body of a create: read from the wire, told apart from others, written down without bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.requests import Request

from kling_mcp.sandbox.intake import Intake
from kling_mcp.sandbox.lifting import BodyTooLong, Lifted
from kling_mcp.sandbox.refusals import refused

__all__ = ["drain", "fingerprint", "read_body", "without_bytes"]

_DELIVERY = ("external_task_id", "callback_url")


async def read_body(request: Request, intake: Intake) -> Any:
    """The JSON document, read to its end even when it is refused; raises `Refusal`.

    Megabytes of text that are neither base64 nor anything else known are refused as Kling refuses
    a picture that is not base64.
    """
    too_long = False
    async for chunk in request.stream():
        if not too_long:
            try:
                intake.feed(chunk)
            except BodyTooLong:
                too_long = True
    if too_long:
        raise refused("not_base64")
    try:
        return intake.document()
    except ValueError:
        raise refused("not_json") from None


async def drain(request: Request) -> None:
    """Read the body and forget it: a client that still sends would miss the answer."""
    async for _ in request.stream():
        pass


def without_bytes(value: Any) -> Any:
    """The document with each long picture as its hash and its size in bytes."""
    if isinstance(value, Lifted):
        return {"sha256": value.sha256, "bytes": value.size}
    if isinstance(value, list):
        return [without_bytes(item) for item in value]
    if isinstance(value, dict):
        return {key: without_bytes(item) for key, item in value.items()}
    return value


def fingerprint(door: str, body: dict[str, Any]) -> str:
    """The same for bodies that ask the same `door`, a provider's product, for the same video.

    Their external id and callback may differ."""
    asked = {key: value for key, value in body.items() if key not in _DELIVERY}
    text = json.dumps([door, without_bytes(asked)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
