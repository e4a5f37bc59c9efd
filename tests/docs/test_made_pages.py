"""The parts of docs/*.md that are made from the program are as the program is."""

import re
from collections.abc import Callable

import pytest
from tests.docs import providers_page, settings_page, tools_page
from tests.docs.pages import DOCS, made_part, with_part

from kling_tools.requests.host_habits import ADDED_BY_HOSTS

PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("tools.md", "tools"): tools_page.reference,
    ("tools.md", "answers"): tools_page.answers,
    ("tools.md", "errors"): tools_page.every_error,
    ("settings.md", "settings"): settings_page.reference,
    ("settings.md", "host settings"): settings_page.host_reference,
    ("providers.md", "providers"): providers_page.overview,
    ("providers.md", "losses"): providers_page.losses,
    ("providers.md", "row"): providers_page.row_fields,
}


@pytest.mark.parametrize(("page", "part"), PARTS, ids=lambda value: value.replace(" ", "-"))
def test_a_made_part_is_what_the_program_says(
    page: str, part: str, request: pytest.FixtureRequest
) -> None:
    now = PARTS[page, part]()
    if request.config.getoption("--update-snapshots"):
        (DOCS / page).write_text(with_part(DOCS / page, part, now), encoding="utf-8")

    assert made_part(DOCS / page, part) == now, "see --update-snapshots"


def test_no_part_is_left_uncompared() -> None:
    marked = {
        (page.name, part)
        for page in DOCS.glob("*.md")
        for part in re.findall(r"<!-- made: (.+) -->", page.read_text(encoding="utf-8"))
        if part != "end"
    }

    assert marked == set(PARTS)


def test_the_page_of_tools_names_the_arguments_that_are_passed_over() -> None:
    page = (DOCS / "tools.md").read_text(encoding="utf-8")

    assert [name for name in sorted(ADDED_BY_HOSTS) if f"`{name}`" not in page] == []
