"""The sign-in page as a person meets it: in the dark, on a phone, with keys only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browser.player_stage import SCREENSHOTS, assert_page_accessible, expect
from tests.server.hosting.sign_in.visit import Visit
from tests.server.hosting.team import Team, give_token, served_team

pytestmark = pytest.mark.campaign

EYES: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True},
    "phone-dark": {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"},
    "large-letters": {"viewport": {"width": 640, "height": 480}, "device_scale_factor": 2},
}
LONGEST_NAME = "Ünïcödë filmstudiowithaverylongname & <b>friends</b> of it"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    give_token(folder / "tokens", "first")
    options: dict[str, Any] = {"rate_per_minute": 0, "max_units_per_day_user": 20}
    with served_team(folder, tokens=folder / "tokens", **options) as team:
        yield team


@pytest.fixture
def own(team: Team) -> str:
    return give_token(team.folder / "tokens", "ada")


def opened(browser: Any, visit: Visit, **context: Any) -> Any:
    """The page in a browser, which shows a page of ours in place of the program's."""
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(20_000)
    page.context.route(
        "https://claude.ai/**",
        lambda route: route.fulfill(body="<!doctype html><title>Claude</title>"),
    )
    sent = visit.authorize()
    page.goto(sent.headers["location"])
    return page


def shoot(page: Any, name: str) -> None:
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("eyes", EYES)
def test_whoever_looks_at_the_page_can_read_and_use_it(
    eyes: str, browser: Any, team: Team, own: str
) -> None:
    visit = Visit.of_new_program(team, client_name=LONGEST_NAME)
    page = opened(browser, visit, **EYES[eyes])

    expect(page.get_by_role("heading", level=1)).to_contain_text("<b>friends</b>")
    assert_page_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shoot(page, f"sign-in-{eyes}")
    page.get_by_label("Your token").fill("kmcp_wrong")
    page.get_by_role("button", name="Sign in and allow").click()
    expect(page.get_by_role("alert")).to_have_text("This token is not valid here.")
    expect(page.get_by_label("Your token")).to_be_focused()
    assert_page_accessible(page)
    shoot(page, f"sign-in-wrong-{eyes}")
    page.get_by_label("Your token").fill(own)
    page.get_by_role("button", name="Sign in and allow").click()
    page.wait_for_url("https://claude.ai/api/mcp/auth_callback?code=*")
    page.context.close()


def test_keys_alone_are_enough(browser: Any, team: Team, own: str) -> None:
    page = opened(browser, Visit.of_new_program(team))
    field = page.get_by_label("Your token")

    expect(field).to_be_focused()
    page.keyboard.type(own)
    page.keyboard.press("Tab")
    expect(page.get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox")).not_to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign in and allow")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Refuse")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("https://claude.ai/api/mcp/auth_callback?code=*")
    page.context.close()


def test_whoever_refuses_needs_no_token(browser: Any, team: Team) -> None:
    page = opened(browser, Visit.of_new_program(team))

    page.get_by_role("button", name="Refuse").click()
    page.wait_for_url("https://claude.ai/api/mcp/auth_callback?error=access_denied*")
    page.context.close()


def test_a_program_on_this_computer_is_led_to(browser: Any, team: Team, own: str) -> None:
    visit = Visit.of_new_program(team, redirect_uris=["http://127.0.0.1/back"])
    visit.redirect_uri = "http://127.0.0.1:49152/back"
    page = opened(browser, visit)
    page.context.route(
        "http://127.0.0.1:49152/**", lambda route: route.fulfill(body="<!doctype html>done")
    )

    expect(page.get_by_text("a program on this computer (127.0.0.1)")).to_be_visible()
    page.get_by_label("Your token").fill(own)
    page.keyboard.press("Enter")
    page.wait_for_url("http://127.0.0.1:49152/back?code=*")
    page.context.close()


def test_a_page_that_was_opened_before_another_one_still_works(
    browser: Any, team: Team, own: str
) -> None:
    """Links from another site lead to both, as from claude.ai."""
    visit = Visit.of_new_program(team)
    context = browser.new_context()
    context.route(
        "https://claude.ai/**",
        lambda route: route.fulfill(content_type="text/html", body="<!doctype html>Claude"),
    )
    tabs = []
    for number in range(2):
        link = visit.authorize(state=str(number)).request.url
        tab = context.new_page()
        tab.goto(f"{team.base.replace('127.0.0.1', 'localhost')}/healthz")
        tab.set_content("<a>Connect</a>")
        tab.evaluate("(link) => { document.querySelector('a').href = link }", str(link))
        tab.get_by_text("Connect").click()
        expect(tab.get_by_label("Your token")).to_be_visible()
        tabs.append(tab)

    for number, tab in enumerate(tabs):
        tab.get_by_label("Your token").fill(own)
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"https://claude.ai/api/mcp/auth_callback?code=*&state={number}&*")
    context.close()


def test_no_page_shows_it_in_a_frame_not_even_one_of_this_server(browser: Any, team: Team) -> None:
    address = Visit.of_new_program(team).authorize().headers["location"]
    page = browser.new_context().new_page()
    page.goto(f"{team.base}/healthz")
    with page.expect_event("requestfailed", lambda failed: "/sign-in" in failed.url) as blocked:
        page.evaluate(
            "(src) => document.body.append(Object.assign(document.createElement('iframe'), {src}))",
            address,
        )

    assert blocked.value.failure == "net::ERR_BLOCKED_BY_RESPONSE"
    page.context.close()


def test_another_page_cannot_send_the_form(browser: Any, team: Team, own: str) -> None:
    visit = Visit.of_new_program(team)
    page = opened(browser, visit)
    fields = {
        name: page.locator(f"input[name={name}]").input_value() for name in ("request", "csrf")
    }
    inputs = "".join(
        f'<input name="{name}" value="{value}">'
        for name, value in {**fields, "token": own, "answer": "allow"}.items()
    )
    body = f'<form method="post" action="{team.base}/sign-in">{inputs}<button>Go</button></form>'
    page.context.route(
        "http://localhost:49153/", lambda route: route.fulfill(content_type="text/html", body=body)
    )
    page.goto("http://localhost:49153/")
    page.get_by_role("button").click()

    expect(page.get_by_text("was not sent from this server's own page")).to_be_visible()
    page.context.close()
