"""docs/troubleshooting.md quotes what the program says, and knows every kind of error."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.docs.pages import DOCS
from tests.docs.tools_page import every_error

from kling_mcp.providers.error_codes import BY_HTTP_STATUS, CODES, WORDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`\n]+)`")
KIND = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")
NOT_KINDS = {
    "external_task_id",
    "max_units",
    "model_name",
    "dry_run",
    "kling_cancel_task",
    "kling_film",
    "kling_get_task",
    "kling_list_tasks",
    "kling_upload_picture",
    "kling_wait_for_tasks",
    "timeout_s",
}
COMMANDS = ("kling-mcp ", "serve ")


def quoted() -> list[str]:
    """The texts of the program that the page quotes: code of three words and more."""
    spans = CODE.findall(PAGE)
    return [text for text in spans if text.count(" ") > 1 and not text.startswith(COMMANDS)]


@cache
def said() -> str:
    """Every text in the sources, an ellipsis where something is put in; and the codes' texts."""
    sources = [*(ROOT / "server").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
    written = [text for path in sources for text in texts(ast.parse(path.read_bytes()))]
    rows = [*CODES.values(), *BY_HTTP_STATUS.values(), *(row for _, row in WORDS)]
    return "\n".join([*written, *(row.texts("kling")[0] for row in rows)])


def texts(node: ast.AST) -> Iterator[str]:
    for found in ast.walk(node):
        if isinstance(found, ast.JoinedStr):
            parts = (str(p.value) if isinstance(p, ast.Constant) else "…" for p in found.values)
            yield "".join(parts)
        elif isinstance(found, ast.Constant) and isinstance(found.value, str):
            yield found.value


@pytest.mark.parametrize("text", quoted())
def test_a_text_on_the_page_is_one_that_the_program_says(text: str) -> None:
    pieces = [re.escape(piece.strip()) for piece in text.split("…") if len(piece.strip()) > 1]

    assert re.search(".*".join(pieces), said()), text


def test_a_text_that_the_program_does_not_say_is_noticed() -> None:
    assert "Kling does not like the key." not in said()
    assert "Kling does not accept the key." in said()


def test_every_kind_of_error_is_there_and_no_other() -> None:
    kinds = set(re.findall(r"^### (\w+)$", every_error(), re.M))

    assert set(KIND.findall(PAGE)) - NOT_KINDS == kinds


def test_every_link_leads_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", text):
            assert target.startswith("https://") or (DOCS / target).exists(), (page, target)
