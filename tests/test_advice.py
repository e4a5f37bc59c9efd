"""Whatever the product's sentences name exists: tools, arguments, settings, commands, pages."""

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from kling_mcp.cli import main
from kling_mcp.cli.shell_words import IN_SHELL
from kling_mcp.cli.tool_options import CommandParser
from kling_mcp.ledger.records import Record
from kling_mcp.providers.rows import ProviderRow
from kling_tools import results
from kling_tools.requests import arguments, fields, films
from kling_tools.rules.capabilities import built_in_capabilities
from kling_tools.tools.toolset import build_toolset

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "tools" / "kling_tools", ROOT / "server" / "kling_mcp")
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|WHERE|PRAGMA|SET)\b ")
OF_THE_SYSTEM = {"ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE"}
PACKAGES = {"kling_mcp", "kling_tools"}
NOT_COMMANDS = {"again", "in", "server", "serves", "wrote", "is", "process"}
"""Words that follow the name of the program in sentences about it."""


@cache
def sentences() -> tuple[tuple[str, str], ...]:
    """The texts of the product, each with its place."""
    return tuple(_sentences())


def _sentences() -> Iterator[tuple[str, str]]:
    """Each text of three words or more in the packages' source that is no docstring, with its
    place; `…` stands for what is filled in."""
    for path in sorted(file for folder in FOLDERS for file in folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner: set[int] = set()
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            inner |= {id(part) for part in parts}
            inner |= {id(node.value)} if isinstance(node, ast.Expr) else set()
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    getattr(p, "value", "…") if _is_text(p) else "…" for p in node.values
                )
            elif _is_text(node) and id(node) not in inner:
                text = node.value  # type: ignore[attr-defined]
            if len(text.split()) >= 3 and not SQL.search(text):
                yield text, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def named(pattern: str) -> dict[str, str]:
    """What the sentences name by this pattern, each with one place."""
    return {word: place for text, place in sentences() for word in re.findall(pattern, text)}


def parsers() -> list[argparse.ArgumentParser]:
    """The program's parser and those of its commands."""
    found = [main._parser()]
    for parser in found:
        if isinstance(parser, CommandParser):
            parser.filled()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.extend(action.choices.values())
    return found


def field_names(*modules: Any) -> set[str]:
    models = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel)
    }
    return {name for model in models for name in model.model_fields}


def test_a_tool_that_a_sentence_names_is_there() -> None:
    tools = build_toolset(["kling"], models={}, hosted=True)
    names = {tool.name for tool in tools} | PACKAGES

    assert {w: p for w, p in named(r"\bkling_[a-z_]+").items() if w not in names} == {}


def test_a_setting_that_a_sentence_names_is_described() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    found = named(r"\b[A-Z]+(?:_[A-Z0-9]+)*_(?:API_KEY|URL|KEY|PROXY|FILE)\b|\bKLING_[A-Z0-9_]+")
    lost = {w: p for w, p in found.items() if w not in pages and w not in OF_THE_SYSTEM}

    assert "KLING_MCP_MAX_UNITS_PER_TASK" in found
    assert lost == {}


def test_a_command_and_an_option_that_a_sentence_names_exist() -> None:
    every = parsers()
    options = {option for parser in every for option in parser._option_string_actions}
    commands = {parser.prog.split()[-1] for parser in every} | NOT_COMMANDS

    said = named(r"kling-mcp ([a-z]+)")
    assert {word: place for word, place in said.items() if word not in commands} == {}
    flags = named(r"(?<![\w-])--[a-z][a-z-]+")
    assert {word: place for word, place in flags.items() if word not in options} == {}


def test_what_a_shell_says_otherwise_is_said_somewhere() -> None:
    said = "\n".join(text for text, place in sentences() if "/cli/" not in place)

    assert [phrase for phrase in IN_SHELL if phrase not in said] == []


def test_a_page_that_a_sentence_names_is_there() -> None:
    pages = named(r"\bdocs/[\w-]+\.md\b")

    assert pages
    assert [page for page in pages if not (ROOT / page).exists()] == []


def test_a_model_that_a_sentence_names_as_a_way_out_is_not_retired() -> None:
    models = built_in_capabilities().models

    for name, place in named(r"\bkling-v[\w-]+").items():
        assert name in models, place
        assert not models[name].retired, place


def test_an_argument_or_field_that_a_sentence_names_exists() -> None:
    known = field_names(arguments, films, fields, results) | set(ProviderRow.model_fields)
    known |= set(vars(fields)) | set(Record.__dataclass_fields__)
    known |= {"down_back", "forward_up", "right_turn_forward", "left_turn_forward"}
    known |= {"env_vars", "redirect_uri"}  # of Codex's configuration, and of OAuth
    known |= {tool.name for tool in build_toolset(["kling"], models={}, hosted=True)} | PACKAGES
    said = {
        word: place
        for text, place in sentences()
        if text.rstrip().endswith((".", ";", "…"))
        for word in re.findall(r"(?<![\w/.{-])[a-z]+(?:_[a-z]+)+\b(?![/.}(]\w)", text)
    }

    assert {word: place for word, place in said.items() if word not in known} == {}
