"""docs/architecture.md names every folder that there is, and none that there is not."""

import re
from pathlib import Path

from tests.docs.pages import DOCS
from tests.test_floors import MACHINE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
SOURCES = ("server/kling_mcp", "server/kling_sandbox", "tools/kling_tools")


def test_the_map_names_every_package_and_no_other_folder() -> None:
    named = re.findall(r"^\| `([\w/]+)/` \|", PAGE, re.M)
    packages = {
        str(file.parent.relative_to(ROOT))
        for source in SOURCES
        for file in [*(ROOT / source).glob("__init__.py"), *(ROOT / source).glob("*/__init__.py")]
        if "kling_sandbox/" not in str(file.parent)
    }

    assert [name for name in named if not (ROOT / name).is_dir()] == []
    assert {name for name in named if name.startswith(SOURCES)} == packages


def test_every_module_that_it_names_is_there() -> None:
    for name in re.findall(r"`(\w+\.(?:py|json))`", PAGE):
        assert any(next((ROOT / source).rglob(name), None) for source in SOURCES), name


def test_every_file_of_the_walks_is_there() -> None:
    titles = (
        *("A picture through a submit", "A task id through a wait", "A file through a save"),
        "A film through its making",
    )
    for title in titles:
        walk = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
        steps = re.findall(r"^\d+\. .+$", walk, re.M)
        files = [re.findall(r"`(kling_\w+/[\w/]+\.py)`", step) for step in steps]

        assert len(steps) >= 8
        assert all(files), "each step names its file"
        for name in (name for names in files for name in names):
            assert any((ROOT / place / name).is_file() for place in ("server", "tools")), name


def test_it_names_the_floors_from_the_highest_to_the_lowest() -> None:
    (told,) = re.findall(r"imports only from those below it: ([\w,\s]+)\.", PAGE)

    assert tuple(re.split(r",\s+", told)) == MACHINE


def test_it_fits_on_two_pages_and_has_one_drawing() -> None:
    assert len(PAGE.splitlines()) <= 125
    assert PAGE.count("```mermaid") == 1
