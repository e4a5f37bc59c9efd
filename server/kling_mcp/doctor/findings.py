"""One thing that the doctor found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Level"]

Level = Literal["good", "note", "warning", "wrong"]
"""`warning`: it works, and may not do what was meant; `wrong`: something cannot work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`area` says what it is about, `text` what was found, `advice` what to do about it, and
    `facts` the same for programs. None of them holds a secret."""

    area: str
    level: Level
    text: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
