"""The measurements as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Measurement", "as_json", "table"]

HEADINGS = ("what", "measured", "floor", "ratio", "budget", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure in `unit`, lower being better.

    The budget is a ratio to the floor where there is a floor, else a figure in `unit`; None is
    a figure for information.
    """

    what: str
    measured: float
    unit: str
    floor: float | None = None
    budget: float | None = None

    @property
    def ratio(self) -> float | None:
        """Measured by floor, where there is one."""
        return None if self.floor is None else self.measured / self.floor

    @property
    def over(self) -> bool:
        """Whether a budget is missed."""
        figure = self.measured if self.ratio is None else self.ratio
        return self.budget is not None and figure > self.budget

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        ratio = self.ratio
        budget = "" if self.budget is None else f"{self.budget:g} {self.unit}"
        if self.budget is not None and ratio is not None:
            budget = f"{self.budget:.2f}x"
        return (
            self.what,
            _figure(self.measured, self.unit),
            "" if self.floor is None else _figure(self.floor, self.unit),
            "" if ratio is None else f"{ratio:.2f}x",
            budget,
            "" if self.budget is None else "OVER" if self.over else "ok",
        )


def _figure(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def table(rows: Sequence[Measurement]) -> str:
    """The measurements in aligned columns."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_json(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Every measurement with its ratio and verdict."""
    return [asdict(row) | {"ratio": row.ratio, "over": row.over} for row in rows]
