"""The fenced blocks of the README, of CONTRIBUTING.md and of docs/*.md."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "blocks", "lines"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
BARE = re.compile(r"^```\n", re.M)


@dataclass(frozen=True)
class Block:
    """One block: the page it is on, its language, its text."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        first = self.text.splitlines()[0][:40]
        return f"{self.page}: {first}"


def blocks(*languages: str) -> list[Block]:
    """Those in one of the languages; all when none is named."""
    return [block for block in _all() if not languages or block.language in languages]


def _all() -> Iterator[Block]:
    for page in PAGES:
        for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
            yield Block(page.name, language, text)


def lines(block: Block) -> list[str]:
    """The commands of a shell block; one that is continued on the next line is one."""
    joined = block.text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
