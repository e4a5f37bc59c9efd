"""Each drawing of states, in the docstring of its module, is whole and names code that is there.
What a drawn state is in the code is tested beside that module's tests."""

import ast
import re

import pytest
from tests.drawings import DIES, drawn, states
from tests.test_floors import MODULES

TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
DOCSTRINGS = {name: ast.get_docstring(tree, clean=False) or "" for name, tree in TREES.items()}
DRAWINGS = sorted(name for name, text in DOCSTRINGS.items() if drawn(text))

ANY = "any"
"""The start of an arrow that leads away from every state."""


def places(module: str) -> list[str]:
    """The modules of which the drawing says that its arrows are there: its own is the first."""
    (said,) = re.findall(r"Each\s+arrow is ([^:.]+(?:\.\w[^:.]+)*)(?:\.|:)\s", DOCSTRINGS[module])
    assert " here" in said
    named = re.findall(r"`([\w.]+)`", said)
    package = module.rpartition(".")[0]
    found = [
        next((full for full in (f"{package}.{n}", f"kling_mcp.{n}", n) if full in TREES), n)
        for n in named
    ]
    return [module, *found]


def code_of(module: str) -> set[str]:
    """The names of its functions and methods."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(TREES[module]) if isinstance(node, kinds)}


def test_the_five_ways_are_drawn() -> None:
    assert DRAWINGS == [
        "kling_mcp.films.desk",
        "kling_mcp.films.making",
        "kling_mcp.polling.scheduler",
        "kling_mcp.submission.sender",
        "kling_mcp.submission.submission",
    ]


@pytest.mark.parametrize("module", DRAWINGS)
def test_each_arrow_is_a_method_in_a_module_that_the_drawing_names(module: str) -> None:
    arrows, code = drawn(DOCSTRINGS[module]), {place: code_of(place) for place in places(module)}

    assert len(arrows) == len(re.findall(r"──.*> ", DOCSTRINGS[module]))
    methods = {arrow.by for arrow in arrows} - {DIES}
    assert methods - set().union(*code.values()) == set()
    assert {place for place in code if not methods & code[place]} == set(), "no arrow is there"


@pytest.mark.parametrize("module", DRAWINGS)
def test_each_state_can_be_reached_from_the_first(module: str) -> None:
    arrows = drawn(DOCSTRINGS[module])
    reached, before = {arrows[0].start}, set[str]()
    while reached != before:
        before = set(reached)
        reached |= {arrow.end for arrow in arrows if arrow.start in {*reached, ANY}}

    assert states(arrows) - reached <= {ANY}


@pytest.mark.parametrize("module", DRAWINGS)
def test_no_arrow_is_drawn_twice(module: str) -> None:
    arrows = [arrow[:3] for arrow in drawn(DOCSTRINGS[module])]

    assert len(arrows) == len({*arrows})
