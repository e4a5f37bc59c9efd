"""The parts of docs/*.md that are made from the program, each between two marks."""

from pathlib import Path

__all__ = ["DOCS", "cell", "made_part", "table", "with_part"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
END = "<!-- made: end -->\n"


def _begin(name: str) -> str:
    return f"<!-- made: {name} -->\n"


def made_part(page: Path, name: str) -> str:
    """What stands between the marks now; ValueError where there are none."""
    text = page.read_text(encoding="utf-8")
    begin = text.index(_begin(name)) + len(_begin(name))
    return text[begin : text.index(END, begin)]


def with_part(page: Path, name: str, part: str) -> str:
    """The page with another part between the marks."""
    head, _, rest = page.read_text(encoding="utf-8").partition(_begin(name))
    _, _, tail = rest.partition(END)
    return f"{head}{_begin(name)}{part}{END}{tail}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def cell(text: str) -> str:
    """The text as it can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")
