"""README.zh-CN.md says the same as README.md: whatever is not prose is the same in both."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
OTHER = {"README.md": "README.zh-CN.md"}
"""The link from each of them to the other."""

FENCED = re.compile(r"^```\w+\n.*?^```$", re.M | re.S)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")
FIGURE = re.compile(r"(?<![\w.-])\d[\d,.]*\d|(?<![\w.-])\d")
QUOTE = re.compile(r"^> (?:→|`).*(?:\n> (?!→|`|\*\*).+)*", re.M)


def prose(text: str) -> str:
    return FENCED.sub("", text)


def blocks(text: str) -> list[str]:
    return FENCED.findall(text)


def code(text: str) -> Counter[str]:
    return Counter(CODE.findall(QUOTE.sub("", prose(text))))


def links(text: str) -> Counter[str]:
    return Counter(OTHER.get(link, link) for link in LINK.findall(text))


def quotes(text: str) -> list[str]:
    return QUOTE.findall(text)


def tables(text: str) -> list[list[tuple[list[str], list[str]]]]:
    """The code and the figures of each cell, row by row."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[(CODE.findall(c), FIGURE.findall(CODE.sub("", c))) for c in row] for row in rows]


def sections(text: str) -> list[str]:
    return re.split(r"^## .+\n", prose(text), flags=re.M)


def headings(text: str) -> list[str]:
    return re.findall(r"^(#+) ", prose(text), re.M)


@pytest.mark.parametrize(
    "part", [blocks, quotes, headings, links, tables], ids=lambda p: p.__name__
)
def test_both_have_the_same(part: Callable[[str], object]) -> None:
    assert part(CHINESE) == part(ENGLISH)


def test_each_section_names_the_same_commands_tools_and_settings() -> None:
    for ours, theirs in zip_longest(sections(CHINESE), sections(ENGLISH), fillvalue=""):
        assert code(ours) == code(theirs), theirs[:200]


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        (blocks, "--dry-run\n", "--dry\n"),
        (code, "`kling-mcp doctor`", "`kling-mcp check`"),
        (code, "`kling_wait_for_tasks` |", "`kling_wait` |"),
        (tables, "| 1.5 |", "| 1.6 |"),
        (tables, "0.05 units", "0.5 units"),
        (links, "](docs/deploy.md", "](docs/team.md"),
        (quotes, "nothing sent:", "sent:"),
        (headings, "\n## ", "\n### "),
    ],
)
def test_a_change_in_one_alone_is_found(part: Callable[[str], object], old: str, new: str) -> None:
    assert old in CHINESE
    assert part(CHINESE.replace(old, new, 1)) != part(ENGLISH)
