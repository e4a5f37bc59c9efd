"""A finding about the set-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Level", "is_well"]


Level = Literal["good", "note", "warning", "wrong"]
"""`warning`: it works, but perhaps not as intended; `wrong`: something cannot work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`area` is the subject, `text` the finding, `advice` what to do, and `facts` the same for
    programs. None of them contains a secret."""

    area: str
    level: Level
    text: str
    advice: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether no finding has the level `wrong`."""
    return all(finding.level != "wrong" for finding in findings)
