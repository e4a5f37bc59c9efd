"""The page on which a person sends a picture from the chat: in the dark, on a phone, with keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browser.player_stage import SCREENSHOTS, assert_page_accessible, expect
from tests.server.hosting.team import Team, served_team
from tests.server.serving import picture

pytestmark = pytest.mark.campaign

EYES: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True},
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with served_team(tmp_path_factory.mktemp("local"), public_url="") as local:
        yield local


def address(local: Team) -> dict[str, str]:
    facts: dict[str, str] = local.call("nobody", "kling_upload_picture")["structuredContent"]
    return facts


@pytest.mark.parametrize("eyes", EYES)
def test_a_person_sends_a_picture_and_is_told_its_name(
    eyes: str, browser: Any, local: Team
) -> None:
    where = address(local)
    page = browser.new_context(**EYES[eyes]).new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(where["upload_url"])

    assert_page_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Tab")
    field = page.locator("input[type=file]")
    expect(field).to_be_focused()
    field.set_input_files(picture(local.folder))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Tell the assistant to use {where['image']}")).to_be_visible()
    assert_page_accessible(page)
    assert complaints == []
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SCREENSHOTS) / f"upload-{eyes}.png")
    page.context.close()


def test_a_page_of_another_site_that_knows_the_address_sends_nothing(
    browser: Any, local: Team
) -> None:
    where = address(local)
    page = browser.new_context().new_page()
    page.context.route(
        "https://evil.example/",
        lambda route: route.fulfill(content_type="text/html", body="<!doctype html>evil"),
    )
    page.goto("https://evil.example/")
    sends = """async ([url, method]) => {
        const mode = method === "PUT" ? "cors" : "no-cors";
        const answer = fetch(url, { method, body: "x", mode });
        return answer.then((given) => given.type, (error) => error.name);
    }"""
    answers = [page.evaluate(sends, [where["upload_url"], method]) for method in ("PUT", "POST")]
    page.context.close()
    own = browser.new_context().new_page()
    own.goto(where["upload_url"])
    own.locator("input[type=file]").set_input_files(picture(local.folder))
    own.get_by_role("button", name="Send").click()

    assert answers[0] == "TypeError"
    assert answers[1] in ("opaque", "TypeError")
    expect(own.get_by_text("Tell the assistant")).to_be_visible()
    own.context.close()
