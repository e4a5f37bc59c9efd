"""How long a video usually takes: one row of `usual.json` for each model, mode and duration."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

__all__ = ["UsualRow", "usual_rows", "usual_s"]

MODE = "std"
DURATION = "5"
"""What Kling takes where a request names neither."""


class UsualRow(BaseModel):
    """`usual_s` is the seconds from the submit to the end; an empty field stands for any value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    mode: str
    duration: str
    usual_s: float = Field(gt=0)
    source: str
    date: str


@cache
def usual_rows() -> list[UsualRow]:
    """The rows of the table; the first one that fits counts."""
    text = files("kling_mcp").joinpath("watching", "usual.json").read_text(encoding="utf-8")
    return TypeAdapter(list[UsualRow]).validate_json(text)


def usual_s(model_name: str, request: dict[str, object]) -> float:
    """Seconds that a request of this model usually takes, by the first row that fits; the last
    one fits all."""
    asked = (
        model_name,
        str(request.get("mode") or MODE),
        str(request.get("duration") or DURATION),
    )
    return next(
        row.usual_s
        for row in usual_rows()
        if all(
            not known or known == wanted
            for known, wanted in zip((row.model, row.mode, row.duration), asked, strict=True)
        )
    )
