"""No pattern backtracks over a long text: none that a provider, a caller or a file could send.

Every pattern of the tree is found (those written in a call, and those in the tables of a module),
attacked with texts made from its own parts, and has to stay linear.
"""

import ast
import importlib
import pkgutil
import re
import re._constants as sre
import re._parser as parser
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import kling_mcp
import kling_sandbox
import kling_tools

ROOTS = (kling_mcp, kling_sandbox, kling_tools)
CALLS = ("compile", "search", "match", "fullmatch", "sub", "subn", "findall", "finditer", "split")
IN_TABLES = {"WORDS": "search", "MOVES": "search", "_SCHEMES": "match", "_SIGNATURES": "match"}
"""How the patterns of a table are used; all others are called by their names."""
SHORT, LONG = 2_000, 16_000
"""Characters. Before these, a few make a pattern slow that doubles with each further one."""
LINEAR_S = 0.02
"""Seconds of the processor above which growth is looked at; a linear pattern needs a tenth."""
GROWTH = 24
"""Times as long that eight times the text may take; a quadratic pattern takes 64."""


def used(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names of which a method of patterns is taken, and the method."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            yield part.value.id, part.attr


@cache
def trees() -> dict[Path, ast.Module]:
    """Our modules that use patterns."""
    return {
        path: ast.parse(text)
        for root in ROOTS
        for path in Path(next(iter(root.__path__))).rglob("*.py")
        if re.search(rf"\.({'|'.join(CALLS)})\b", text := path.read_text(encoding="utf-8"))
    }


def in_calls() -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """The patterns that stand in a call such as `re.sub(…)`; those of `re.compile(…)` within a
    function, which are used at once."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            made = node.func.value
            if isinstance(made, ast.Call) and ast.unparse(made.func) == "re.compile":
                yield f"{path.stem}:{node.lineno}", compiled(made), node.func.attr
            elif (
                ast.unparse(made) == "re"
                and node.func.attr in CALLS[1:]
                and isinstance(node.args[0], ast.Constant)
            ):
                yield f"{path.stem}:{node.lineno}", compiled(node), node.func.attr


def compiled(call: ast.Call) -> re.Pattern[Any]:
    pattern = ast.literal_eval(call.args[0])
    flags = re.findall(r"re\.([A-Z]+)\b", " ".join(ast.unparse(arg) for arg in call.args[1:]))
    return re.compile(pattern, sum(getattr(re, flag) for flag in flags))


def in_modules() -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """The patterns in the globals of all modules, however deep in tables, with how they are
    used."""
    calls = {pair for tree in trees().values() for pair in used(tree) if pair[1] in CALLS[1:]}
    for root in ROOTS:
        for info in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            if info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                methods = sorted({method for used_as, method in calls if used_as == name})
                for pattern in within(value, 4):
                    for method in methods or {IN_TABLES.get(name, "search")}:
                        yield f"{info.name}.{name}", pattern, method


def within(value: Any, depth: int) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict):
        for part in value.values():
            yield from within(part, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from within(part, depth - 1)


@cache
def patterns() -> list[tuple[str, str, re.Pattern[Any]]]:
    """Where each stands, how it is used, and the pattern."""
    found = {
        (str(pattern.pattern), pattern.flags, method): (where, method, pattern)
        for where, pattern, method in [*in_calls(), *in_modules()]
    }
    return [found[key] for key in sorted(found)]


def samples(parsed: Any) -> Iterator[str]:
    """Short texts that parts of the pattern match, in the order of the pattern."""
    whole = ""
    for op, value in parsed:
        text = sample(op, value)
        whole += text
        yield text
        yield whole
        for inner in parts(op, value):
            yield from samples(inner)


def parts(op: Any, value: Any) -> list[Any]:
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return [value[2]]
    if op is sre.SUBPATTERN:
        return [value[-1]]
    if op is sre.BRANCH:
        return list(value[1])
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        return [value[1]]
    return []


def sample(op: Any, value: Any) -> str:
    """One text that this part matches."""
    if op is sre.LITERAL:
        return chr(value)
    if op is sre.IN:
        return next((chr(c) for c in range(32, 0x3000) if one_of(value, chr(c))), " ")
    if op is sre.ANY:
        return "a"
    if op is sre.NOT_LITERAL:
        return "b" if value == ord("a") else "a"
    if op is sre.BRANCH:
        return "".join(sample(*node) for node in value[1][0])
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return "".join(sample(*node) for node in value[2]) * max(value[0], 1)
    return "".join(sample(*node) for inner in parts(op, value) for node in inner)


def one_of(members: Any, character: str) -> bool:
    negated = members[0][0] is sre.NEGATE
    classes = {
        sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D",
        sre.CATEGORY_SPACE: r"\s", sre.CATEGORY_NOT_SPACE: r"\S",
        sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W",
    }  # fmt: skip
    found = any(
        (kind is sre.LITERAL and ord(character) == value)
        or (kind is sre.RANGE and value[0] <= ord(character) <= value[1])
        or (kind is sre.CATEGORY and re.match(classes[value], character))
        for kind, value in members
    )
    return bool(found) is not negated


def attacks(pattern: re.Pattern[Any], size: int) -> Iterator[Any]:
    """Texts that begin as the pattern wants, go on with one of its parts for long, and end as it
    does not want."""
    source = pattern.pattern
    text = source if isinstance(source, str) else source.decode("latin-1")
    pieces = list(dict.fromkeys(filter(None, samples(parser.parse(text, pattern.flags)))))
    for piece in dict.fromkeys([*pieces, " ", "a", "\n"]):
        for start in ("", *pieces[:4]):
            for end in ("", "\0", "\n!"):
                attack = start + piece * (size // len(piece) + 1) + end
                yield attack if isinstance(source, str) else attack.encode("latin-1", "replace")


def seconds(look: Callable[[Any], object], text: Any) -> float:
    began = time.process_time()
    look(text)
    return time.process_time() - began


SHARES = 16


@pytest.mark.campaign
@pytest.mark.parametrize("share", range(SHARES))
def test_a_pattern_takes_time_in_proportion_to_the_text(share: int) -> None:
    for where, used_as, pattern in patterns()[share::SHARES]:
        method = "search" if used_as in ("sub", "subn") else used_as
        look = getattr(pattern, method)

        for size in (16, 20, 24):
            for text in attacks(pattern, size):
                assert seconds(look, text) < 10 * LINEAR_S, (where, text)
        for short, long in zip(attacks(pattern, SHORT), attacks(pattern, LONG), strict=True):
            if seconds(look, long) < LINEAR_S:
                continue
            fast, slow = (min(seconds(look, text) for _ in range(3)) for text in (short, long))
            assert slow < LINEAR_S or slow < GROWTH * fast, (where, long[:80])
