"""The fault matrix as a file, and as the tables of docs/reliability.md."""

import json
from collections.abc import Iterable
from pathlib import Path

from tests.server.submission.fault_cells import CREATES, PROVIDERS, READS

from kling_sandbox.faults import FAULTS

MATRIX = Path(__file__).with_name("fault_matrix.json")
DOCUMENT = Path(__file__).parents[3] / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix: begin -->\n", "<!-- matrix: end -->\n"

ByProvider = dict[str, str]
Matrix = dict[str, dict[str, dict[str, ByProvider]]]
"""Outcomes by tool, fault, time and provider."""
Row = dict[str, ByProvider | str]
"""One fault's outcomes by time: one outcome where all providers have it."""
Folded = dict[str, dict[str, Row]]
"""Rows by tool and fault."""


def folded(row: dict[str, ByProvider]) -> Row:
    """One fault's outcomes by time, those that all providers share as one word."""
    return {
        times: found if len(set(found.values())) > 1 else next(iter(found.values()))
        for times, found in row.items()
    }


def outcomes(row: Row, providers: Iterable[str]) -> dict[str, ByProvider]:
    """The opposite of `folded`, for these providers."""
    return {
        times: {name: found if isinstance(found, str) else found[name] for name in providers}
        for times, found in row.items()
    }


def read_matrix() -> Folded:
    """The expected outcomes."""
    matrix: Folded = json.loads(MATRIX.read_text(encoding="utf-8"))
    return matrix


def write_matrix(seen: Matrix) -> None:
    """Write the outcomes down, a line for each time of each fault."""
    tools = []
    for tool, rows in seen.items():
        faults = []
        for fault, row in rows.items():
            lines = [f"   {json.dumps(t)}: {json.dumps(o)}" for t, o in folded(row).items()]
            faults.append(f"  {json.dumps(fault)}: {{\n" + ",\n".join(lines) + "\n  }")
        tools.append(f" {json.dumps(tool)}: {{\n" + ",\n".join(faults) + "\n }")
    MATRIX.write_text("{\n" + ",\n".join(tools) + "\n}\n", encoding="utf-8")


def tables(matrix: Folded) -> str:
    """The matrix in Markdown: the faults, a table for each create, one for all the reads.

    Faults with the same answers share a row, providers with the same answers a column.
    """
    parts = ["\n| fault | what happens |\n| --- | --- |\n"]
    parts.extend(f"| `{fault}` | {row.text} |\n" for fault, row in FAULTS.items())
    for tool in CREATES:
        rows = matrix[tool]
        columns = {p: [_words(row, p) for row in rows.values()] for p in PROVIDERS}
        parts.append(f"\n### {tool}\n\n")
        parts.append(_table(rows, _alike(columns)))
    parts.append("\n### The tools that spend nothing\n\n")
    columns = {tool: [_read_cell(row) for row in matrix[tool].values()] for tool in READS}
    parts.append(_table(matrix[READS[0]], columns))
    return "".join(parts)


def with_tables(document: str, rendered: str) -> str:
    """The document with these tables between its marks."""
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{rendered}\n{END}{tail}"


def _alike(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Columns of the same content as one, under all their names."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, cells in columns.items():
        names.setdefault(tuple(cells), []).append(name)
    return {", ".join(found): list(cells) for cells, found in names.items()}


def _table(faults: Iterable[str], columns: dict[str, list[str]]) -> str:
    shared: dict[tuple[str, ...], list[str]] = {}
    for fault, *cells in zip(faults, *columns.values(), strict=True):
        shared.setdefault(tuple(cells), []).append(f"`{fault}`")
    lines = [["fault", *columns], ["---"] * (len(columns) + 1)]
    lines.extend([", ".join(names), *cells] for cells, names in shared.items())
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _of(found: ByProvider | str, provider: str) -> str:
    return found if isinstance(found, str) else found[provider]


def _words(row: Row, provider: str) -> str:
    outcomes = [_of(found, provider) for found in row.values()]
    return outcomes[0] if len(set(outcomes)) == 1 else " / ".join(outcomes)


def _read_cell(row: Row) -> str:
    providers_of: dict[str, list[str]] = {}
    for provider in PROVIDERS:
        providers_of.setdefault(_words(row, provider), []).append(provider)
    if len(providers_of) == 1:
        return next(iter(providers_of))
    (most, _), *others = sorted(providers_of.items(), key=lambda item: -len(item[1]))
    return "; ".join([most, *(f"{', '.join(names)}: {words}" for words, names in others)])
