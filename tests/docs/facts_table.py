"""The README's table of measured facts, in both languages: cells of benchmarks/peers.md."""

import re
from pathlib import Path

from tests.docs.pages import table

__all__ = ["in_chinese", "in_english"]

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers.md"

FACTS = (
    (
        "the task is made, the connection breaks before the answer",
        r"after the same call again (\d+)",
        "videos paid when an answer is lost and the same call is made again",
        "应答丢失后再次发出同一请求时的付费视频数",
    ),
    (
        "the task is made, nothing is ever answered",
        r"after the same call again (\d+)",
        "videos paid when the provider never answers and the same call is made again",
        "服务商始终不应答且再次发出同一请求时的付费视频数",
    ),
    (
        "the task is made, nothing is ever answered",
        r"(?:answer after|no answer within) (\d+) s",
        "seconds until the assistant hears anything of that",
        "此时助手多少秒后得到回音",
    ),
    (
        "HTTP 502 with a page of HTML, nothing is made",
        r"made (\d+),",
        "videos made after one HTTP 502, without another call",
        "遇到一次 HTTP 502 后无需再次调用即生成的视频数",
    ),
    (
        "too many requests, once",
        r"made (\d+),",
        'videos made after one "too many requests", without another call',
        "遇到一次“请求过多”后无需再次调用即生成的视频数",
    ),
    ("tools", r"(\d+)", "tools", "工具数"),
    (
        "tools/list, bytes",
        r"([\d,]+)",
        "bytes of the list of tools that an assistant reads",
        "助手读取的工具清单的字节数",
    ),
)
"""Rows of that page, what of a cell is shown, and how it is called here."""


def in_english() -> str:
    """The table for README.md."""
    return _facts(("measured", "over "), 2)


def in_chinese() -> str:
    """The table for README.zh-CN.md."""
    return _facts(("实测", "超过 "), 3)


def _facts(words: tuple[str, str], name: int) -> str:
    head, over = words
    page = PEERS.read_text(encoding="utf-8")
    (first, *_) = re.findall(r"^\|  \|( `.*) \|$", page, re.M)
    servers = re.findall(r"(`[^`]+`) \S+", first)
    rows = []
    for fact in FACTS:
        (line,) = re.findall(rf"^\| {re.escape(fact[0])} \|(.+)\|$", page, re.M)
        cells = [cell.strip() for cell in line.split(" | ")]
        shown = [_shown(fact[1], cell, over) for cell in cells]
        assert len(shown) == len(servers), fact
        rows.append((fact[name], *shown))
    return table((head, *servers), rows)


def _shown(pattern: str, cell: str, over: str) -> str:
    found = re.search(pattern, cell)
    assert found, cell
    return over * found[0].startswith("no answer within") + found[1]
