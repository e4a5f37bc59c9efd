"""The doctor's findings, and how they are printed as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kling_mcp.cli.terminal import visible

__all__ = ["Finding", "Level", "as_json", "as_text", "is_well"]


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


MARKS: dict[Level, tuple[str, str, str]] = {
    "good": ("✓", "ok", "32"),
    "note": ("·", "--", "36"),
    "warning": ("!", "!!", "33"),
    "wrong": ("✗", "XX", "31"),
}
"""The sign of each level, the same in ASCII, and its colour (ECMA-48)."""


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether no finding has the level `wrong`."""
    return all(finding.level != "wrong" for finding in findings)


def as_text(findings: Sequence[Finding], *, colours: bool, unicode: bool) -> str:
    """One line per finding with its advice below, and a summary at the end."""
    width = max((len(finding.area) for finding in findings), default=0)
    lines = []
    for finding in findings:
        sign, ascii_sign, colour = MARKS[finding.level]
        mark = sign if unicode else ascii_sign
        shown = f"\x1b[{colour}m{mark}\x1b[0m" if colours else mark
        lines.append(f"{shown} {finding.area:<{width}}  {visible(finding.text)}")
        if finding.advice:
            lines.append(f"{' ' * (len(mark) + 1 + width)}  {visible(finding.advice)}")
    return "\n".join([*lines, "", _sum(findings)])


def as_json(findings: Sequence[Finding]) -> str:
    """`ok` and the `findings`, each with area, level, text, advice and facts."""
    document = {"ok": is_well(findings), "findings": [asdict(finding) for finding in findings]}
    return json.dumps(document, indent=2)


def _sum(findings: Sequence[Finding]) -> str:
    wrong = sum(finding.level == "wrong" for finding in findings)
    warned = sum(finding.level == "warning" for finding in findings)
    if wrong:
        return f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong."
    if warned:
        return f"It works, with {warned} {'warning' if warned == 1 else 'warnings'}."
    return "All is well."
