"""Signing in by URL: a program gets a login, and what it gets for bad input."""

import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import httpx2
import pytest
from anyio import to_thread
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from tests.postgres import Postgres
from tests.server.hosting.sign_in.visit import CALLBACK, Clock, Page, Visit, query_of, register
from tests.server.hosting.team import ERAS, Team, give_token, picture_data, post, served_team

from kling_mcp.hosting.tokens import TokenFile
from kling_mcp.principal import METRICS, READ, SPEND


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def team(clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    give_token(folder / "tokens", "first")
    provider = {"max_units_per_day": 100, "max_usd_per_day": 50}
    with served_team(
        folder,
        tokens=folder / "tokens",
        rate_per_minute=0,
        max_units_per_day_user=20,
        allowed_origins="https://chat.example",
        provider=provider,
        clock=clock,
    ) as team:
        yield team


@pytest.fixture(autouse=True)
def no_tries(team: Team) -> None:
    """Each test may register and be wrong as often as the first one."""
    with closing(sqlite3.connect(ledger_of(team))) as db, db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sign_in_tries'").fetchone():
            db.execute("DELETE FROM sign_in_tries")


def ledger_of(team: Team) -> Path:
    place = team.folder / "home"
    place.mkdir(exist_ok=True)
    found = [*place.glob("ledger.sqlite3")]
    return found[0] if found else team.folder / "none.sqlite3"


def token_of(team: Team, name: str, *scopes: str, **more: Any) -> str:
    return give_token(team.folder / "tokens", name, *scopes, **more)


def remove_token(team: Team, name: str) -> None:
    file = TokenFile(team.folder / "tokens")
    file.write([token for token in file.all() if token.name != name])


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_program_makes_videos_under_the_name_of_whoever_signed_in(
    era: str, team: Team
) -> None:
    own = token_of(team, f"ada-{era}")
    tokens = Visit.of_new_program(team).tokens(own)
    wish = {"image": picture_data(team.folder), "prompt": f"Slow zoom, {era}"}
    async with team.client(tokens["access_token"], era) as client:
        made = await client.call_tool("kling_image_to_video", wish)
    async with team.client(own, era) as client:
        listed = await client.call_tool("kling_list_tasks", {})

    assert made.structured_content is not None
    assert listed.structured_content is not None
    ids = [task["task_id"] for task in listed.structured_content["tasks"]]
    assert ids == [made.structured_content["task_id"]]
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3600
    assert tokens["scope"] == f"{READ} {SPEND}"


class Storage:
    """What the SDK's client keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_the_sdk_s_own_client_signs_in_and_refreshes(era: str, team: Team) -> None:
    own = token_of(team, f"sdk-{era}")
    visit = Visit(team.base, "")
    led: list[str] = []

    async def redirected(address: str) -> None:
        sent = await to_thread.run_sync(visit.browser.get, address)
        page = Page(await to_thread.run_sync(visit.browser.get, sent.headers["location"]))
        led.append((await to_thread.run_sync(visit.answer, page, own)).leads_to)

    async def called_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(query_of(led[-1]))

    metadata = OAuthClientMetadata.model_validate({"redirect_uris": [CALLBACK]})
    storage = Storage()
    for turn in range(2):
        auth = OAuthClientProvider(team.url, metadata, storage, redirected, called_back)
        async with (
            httpx2.AsyncClient(auth=auth, timeout=30, verify=False) as http,
            Client(streamable_http_client(team.url, http_client=http), mode=era) as client,
        ):
            listed = await client.list_tools()
        assert listed.tools
        assert len(led) == 1, f"the person was asked again, turn {turn}"
        old = storage.tokens
        auth.context.token_expiry_time = 1.0
        async with httpx2.AsyncClient(auth=auth, timeout=30, verify=False) as http:
            await http.get(team.base)
        assert old is not None
        assert storage.tokens is not None
        assert storage.tokens.refresh_token != old.refresh_token


def test_the_way_to_the_page_is_found_from_the_address_alone(team: Team) -> None:
    refused = post(team.url, None, "tools/list")
    (resource,) = re.findall(r'resource_metadata="(.+?)"', refused.headers["www-authenticate"])
    about = httpx.get(resource).json()
    at_root = httpx.get(f"{team.base}/.well-known/oauth-protected-resource").json()
    (issuer,) = about["authorization_servers"]
    service = httpx.get(f"{issuer}/.well-known/oauth-authorization-server").json()

    assert refused.status_code == 401
    assert about == at_root
    assert about["resource"] == team.url
    assert about["scopes_supported"] == [READ, SPEND]
    assert issuer == service["issuer"] == team.base
    assert service["authorization_endpoint"] == f"{team.base}/authorize"
    assert service["token_endpoint"] == f"{team.base}/token"
    assert service["registration_endpoint"] == f"{team.base}/register"
    assert service["revocation_endpoint"] == f"{team.base}/revoke"
    assert service["code_challenge_methods_supported"] == ["S256"]
    assert service["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert service["token_endpoint_auth_methods_supported"] == ["none"]
    assert service["client_id_metadata_document_supported"] is True
    assert service["authorization_response_iss_parameter_supported"] is True
    assert service["scopes_supported"] == [READ, SPEND]


@pytest.mark.parametrize("method", [None, "none", "client_secret_post", "client_secret_basic"])
def test_a_program_that_registers_gets_an_id_and_no_secret(method: str | None, team: Team) -> None:
    answer = register(team.base, token_endpoint_auth_method=method, client_uri="https://a.example")

    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {
        *("client_id", "client_id_issued_at", "client_name", "redirect_uris", "grant_types"),
        *("response_types", "token_endpoint_auth_method", "scope"),
    }
    assert answer.json()["token_endpoint_auth_method"] == "none"


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/back",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "https://claude.ai@evil.example/back",
        "https://claude.ai/back#part",
        "https://claude.ai/" + "x" * 2000,
        "http://127.0.0.1.evil.example/back",
    ],
)
def test_a_program_cannot_register_an_address_that_no_code_should_go_to(
    address: str, team: Team
) -> None:
    assert error_of(register(team.base, redirect_uris=[address])) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize(
    "wrong",
    [{"redirect_uris": []}, {"redirect_uris": ["no url"]}, {"grant_types": ["password"]}],
)
def test_a_broken_registration_is_refused(wrong: dict[str, Any], team: Team) -> None:
    assert error_of(register(team.base, **wrong)) == (400, "invalid_client_metadata")


def test_a_registration_of_a_megabyte_is_not_read(team: Team) -> None:
    assert register(team.base, client_name="x" * 2**20).status_code == 413


def test_the_page_names_program_address_scopes_and_caps(team: Team) -> None:
    page = Visit.of_new_program(team, client_name="Film Desk").page()

    assert page.response.status_code == 200
    assert "Film Desk asks for your Kling videos" in page.text
    assert "Your answer goes to" in page.text
    assert "claude.ai" in page.text
    assert "nobody checked it" in page.text
    assert "It may make videos, which costs money" in page.text
    assert "At most 20 units a day for you" in page.text
    assert "At most 100 units a day for everybody here together" in page.text
    assert "At most 50 US dollars a day for everybody here together" in page.text


@pytest.mark.parametrize("host", ["evil.example", f"claude.ai.{'o' * 60}.{'p' * 60}.evil.example"])
def test_the_page_shows_whose_the_host_is_that_the_answer_goes_to(host: str, team: Team) -> None:
    page = Visit.of_new_program(team, redirect_uris=[f"https://{host}/back"]).page()

    assert "evil.example" in page.text
    assert "claude.ai" not in page.text


def test_the_page_has_no_script_and_shows_itself_in_no_frame(team: Team) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    pages = [page, visit.answer(page, "kmcp_wrong"), visit.answer(page, token_of(team, "framed"))]

    for found in pages:
        headers = found.response.headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "script-src" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "script" not in found.tags


NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "Claude\u202egnp.exe",
    "a" * 5000,
    "Claude\r\nSet-Cookie: a=b",
    "{{7*7}}",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_with_a_script_in_it_is_a_name_and_a_short_one(name: str, team: Team) -> None:
    plain = Visit.of_new_program(team).page()
    page = Visit.of_new_program(team, client_name=name).page()

    assert page.tags == plain.tags
    assert "\u202e" not in page.response.text
    assert max(map(len, re.findall(r"a+", page.text))) <= 60


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/back",
        f"{CALLBACK}/more",
        f"{CALLBACK}?more=1",
        CALLBACK.upper().replace("HTTPS", "https"),
        CALLBACK.replace("claude", "Claude"),
        CALLBACK.replace("/api", "/x/../api"),
        "https://claude.ai.evil.example/api/mcp/auth_callback",
        "https://claude.ai:8443/api/mcp/auth_callback",
        "http://claude.ai/api/mcp/auth_callback",
        "javascript:alert(1)",
        "not a url",
        "",
    ],
)
def test_a_foreign_address_is_told_to_the_person_and_gets_nothing(address: str, team: Team) -> None:
    answer = Visit.of_new_program(team).authorize(redirect_uri=address)

    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "none of this program's own" in Page(answer).text
    assert "evil.example" not in answer.text
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_an_unknown_program_is_told_to_the_person(team: Team) -> None:
    answer = Visit(team.base, "never-registered").authorize()

    assert answer.status_code == 400
    assert "add it again" in Page(answer).text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_program_on_the_person_s_machine_takes_any_port_there(host: str, team: Team) -> None:
    visit = Visit.of_new_program(team, redirect_uris=[f"http://{host}/back"])
    visit.redirect_uri = f"http://{host}:49152/back"
    page = visit.page()
    token = token_of(team, f"near-{host.strip('[]').replace(':', '-')}")
    sent = visit.answer(page, token)

    assert "a program on this computer" in page.text
    assert sent.leads_to.startswith(f"{visit.redirect_uri}?code=")
    assert visit.exchange(sent.code).status_code == 200
    other = visit.authorize(redirect_uri=f"http://{host}:49152/elsewhere")
    assert other.status_code == 400


def test_an_app_is_answered_at_its_own_scheme(team: Team) -> None:
    visit = Visit.of_new_program(team, redirect_uris=["cursor://anysphere.cursor-mcp/oauth/back"])
    page = visit.page()

    refused = visit.answer(page, "", answer="refuse")

    assert "an app on this device (cursor:)" in page.text
    assert refused.leads_to == ""
    assert "You may close this page" in refused.text
    assert query_of(refused.links[0])["error"] == "access_denied"
    assert visit.answer(page, token_of(team, "cursor")).leads_to.startswith("cursor://anysphere")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"state": "x" * 3000}, "invalid_request"),
    ],
)
def test_a_wrong_request_is_told_to_the_program_if_the_person_goes_there(
    wrong: dict[str, Any], error: str, team: Team
) -> None:
    answer = Visit.of_new_program(team).authorize(**wrong)
    (link,) = Page(answer).links
    told = query_of(link)

    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert Page(answer).leads_to == ""
    assert link.startswith(f"{CALLBACK}?")
    assert told["error"] == error
    assert told["iss"] == team.base


def test_a_parameter_that_is_there_twice_is_refused(team: Team) -> None:
    visit = Visit.of_new_program(team)
    asked = urlencode([*visit.asked().items(), ("scope", READ)])
    at_page = visit.browser.get(f"{team.base}/authorize?{asked}")
    code = visit.code(token_of(team, "twice"))
    body = f"grant_type=authorization_code&code={code}&code=x&client_id={visit.id}"
    form = {"content-type": "application/x-www-form-urlencoded"}

    assert at_page.status_code == 400
    answer = httpx.post(f"{team.base}/token", content=body, headers=form)
    assert error_of(answer) == (400, "invalid_request")
    assert visit.exchange(code).status_code == 200


@pytest.mark.parametrize("scope", ["kling:read claudeai", "", "openid offline_access", None])
def test_scopes_of_others_are_left_out_and_never_become_spending(
    scope: str | None, team: Team
) -> None:
    name = f"scoped-{len(scope or '')}-{scope is None}"
    tokens = Visit.of_new_program(team).tokens(token_of(team, name), scope=scope)

    assert tokens["scope"] == (READ if scope else f"{READ} {SPEND}")


def test_the_person_may_let_a_program_look_and_not_spend(team: Team) -> None:
    visit = Visit.of_new_program(team)
    sent = visit.answer(visit.page(), token_of(team, "careful"), spend="")
    tokens = visit.exchange(sent.code).json()
    wish = {"image": picture_data(team.folder), "prompt": "Not for it"}
    refused = team.call(tokens["access_token"], "kling_image_to_video", **wish)

    assert tokens["scope"] == READ
    assert refused["structuredContent"]["error"] == "not_allowed"


def test_what_was_not_allowed_stays_so_after_a_wrong_token(team: Team) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    again = visit.answer(page, "kmcp_wrong", spend="")

    assert "checked" in page.attributes["spend"]
    assert "checked" not in again.attributes["spend"]


def test_a_program_gets_no_more_than_the_token_has(team: Team) -> None:
    visit = Visit.of_new_program(team)
    refused = visit.answer(visit.page(), token_of(team, "prometheus", METRICS))

    assert visit.tokens(token_of(team, "reader", READ))["scope"] == READ
    assert refused.response.status_code == 403
    assert "not for videos" in refused.text


def test_whoever_refuses_sends_the_program_away(team: Team) -> None:
    visit = Visit.of_new_program(team)
    sent = visit.answer(visit.page(), "", answer="refuse")

    assert query_of(sent.leads_to) == {
        "error": "access_denied",
        "state": "as-it-was",
        "iss": team.base,
    }


def test_the_answer_has_the_state_and_the_issuer(team: Team) -> None:
    visit = Visit.of_new_program(team)
    told = query_of(visit.answer(visit.page(), token_of(team, "told")).leads_to)
    without = visit.answer(visit.page(state=None), token_of(team, "stateless")).leads_to

    assert set(told) == {"code", "state", "iss"}
    assert (told["state"], told["iss"]) == ("as-it-was", team.base)
    assert set(query_of(without)) == {"code", "iss"}


def test_a_wrong_token_shows_the_page_again(team: Team) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    late = token_of(team, "late", expires=date.today() - timedelta(days=1))

    for wrong in ("", "kmcp_wrong", "not-even", "kmcp_\0", late):
        again = visit.answer(page, wrong)
        assert again.response.status_code == 403
        assert "not valid here" in again.text
        assert wrong == "" or wrong not in again.response.text
        page = again
    assert visit.answer(page, token_of(team, "right")).code


def test_the_page_is_answered_from_the_browser_that_opened_it_alone(team: Team) -> None:
    token = token_of(team, "forged")
    visit = Visit.of_new_program(team)
    page = visit.page()
    other = Visit(team.base, visit.id)
    others = other.page()
    evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}

    refused = [
        visit.answer(page, token, evil),
        visit.answer(page, token, {"origin": "null"}),
        visit.answer(page, token, {"sec-fetch-site": "same-site"}),
        visit.answer(page, token, csrf=""),
        visit.answer(page, token, csrf=others.fields["csrf"]),
        Visit(team.base, visit.id).answer(page, token),
        visit.answer(page, token, request=others.fields["request"]),
    ]
    signed = page.fields["request"]
    altered = signed[:-1] + ("1" if signed.endswith("0") else "0")
    stale = visit.answer(page, token, request=altered)

    assert [found.response.status_code for found in refused] == [403] * 7
    assert stale.response.status_code == 400
    assert not any(found.leads_to for found in [*refused, stale])
    assert visit.answer(page, token).code


def test_a_page_that_was_open_too_long_begins_again(team: Team, clock: Clock) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    clock.ahead += 1801

    assert "too old" in visit.answer(page, token_of(team, "slow")).text


def test_the_cookie_of_the_page_is_for_the_page_alone(team: Team, tmp_path: Path) -> None:
    cookie = Visit.of_new_program(team).page().response.headers["set-cookie"]
    give_token(tmp_path / "tokens", "ann")
    public = "https://videos.example"
    with served_team(tmp_path, tokens=tmp_path / "tokens", public_url=public) as behind_tls:
        sent = Visit.of_new_program(behind_tls).authorize(resource=f"{public}/mcp")
        page = httpx.get(sent.headers["location"].replace(public, behind_tls.base))
    over_tls = page.headers["set-cookie"]

    for found in (cookie, over_tls):
        assert "HttpOnly" in found
        assert "SameSite=lax" in found
    assert over_tls.startswith("__Host-")
    assert "Secure" in over_tls
    assert "Path=/;" in over_tls
    assert "Domain" not in over_tls


def test_a_code_that_comes_again_revokes_what_was_given_for_it(team: Team) -> None:
    visit = Visit.of_new_program(team)
    code = visit.code(token_of(team, "again"))
    tokens = visit.exchange(code).json()
    assert team.status(tokens["access_token"]) == 200

    assert error_of(visit.exchange(code)) == (400, "invalid_grant")
    assert team.status(tokens["access_token"]) == 401
    assert error_of(visit.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_a_wrong_verifier_uses_the_code_up(team: Team) -> None:
    visit = Visit.of_new_program(team)
    code = visit.code(token_of(team, "verifier"))

    assert error_of(visit.exchange(code, code_verifier="y" * 64)) == (400, "invalid_grant")
    assert error_of(visit.exchange(code)) == (400, "invalid_grant")


def test_a_code_is_good_for_a_minute(team: Team, clock: Clock) -> None:
    visit = Visit.of_new_program(team)
    code = visit.code(token_of(team, "minute"))
    clock.ahead += 61

    assert error_of(visit.exchange(code)) == (400, "invalid_grant")


def test_a_code_is_for_the_program_that_asked(team: Team) -> None:
    visit, other = Visit.of_new_program(team), Visit.of_new_program(team)
    code = visit.code(token_of(team, "theirs"))
    other.verifier = visit.verifier

    assert error_of(other.exchange(code)) == (400, "invalid_grant")
    assert error_of(visit.exchange(code, client_id="nobody")) == (401, "invalid_client")
    assert visit.exchange(code).status_code == 200


def test_a_code_is_for_the_address_to_which_it_was_sent(team: Team) -> None:
    addresses = [CALLBACK, "https://claude.com/api/mcp/auth_callback"]
    visit = Visit.of_new_program(team, redirect_uris=addresses)
    code = visit.code(token_of(team, "address"))

    assert visit.exchange(code, redirect_uri=addresses[1]).status_code == 400


def test_tokens_are_for_this_server_alone(team: Team) -> None:
    visit = Visit.of_new_program(team)
    code = visit.code(token_of(team, "audience"), resource=f"{team.url}/")
    other = {"resource": "https://other.example/mcp"}

    assert error_of(visit.exchange(code, **other)) == (400, "invalid_target")
    tokens = visit.exchange(code).json()
    assert error_of(visit.refresh(tokens["refresh_token"], **other)) == (400, "invalid_target")
    assert visit.refresh(tokens["refresh_token"]).status_code == 200


def test_each_refresh_gives_new_tokens(team: Team, clock: Clock) -> None:
    visit = Visit.of_new_program(team)
    first = visit.tokens(token_of(team, "fresh"))
    clock.ahead += 3601
    late = team.status(first["access_token"])
    second = visit.refresh(first["refresh_token"]).json()

    assert late == 401
    assert team.status(second["access_token"]) == 200
    assert len({first["access_token"], second["access_token"]}) == 2
    assert len({first["refresh_token"], second["refresh_token"]}) == 2


def test_a_stolen_refresh_token_ends_everything_when_both_use_it(team: Team, clock: Clock) -> None:
    visit = Visit.of_new_program(team)
    stolen = visit.tokens(token_of(team, "robbed"))["refresh_token"]
    thief = visit.refresh(stolen).json()
    clock.ahead += 11

    assert error_of(visit.refresh(stolen)) == (400, "invalid_grant")
    assert team.status(thief["access_token"]) == 401
    assert error_of(visit.refresh(thief["refresh_token"])) == (400, "invalid_grant")


def test_an_old_refresh_token_ends_everything_once_its_successor_was_used(team: Team) -> None:
    visit = Visit.of_new_program(team)
    old = visit.tokens(token_of(team, "chain"))["refresh_token"]
    second = visit.refresh(old).json()
    third = visit.refresh(second["refresh_token"]).json()

    assert error_of(visit.refresh(old)) == (400, "invalid_grant")
    assert team.status(third["access_token"]) == 401


def test_a_program_that_lost_the_answer_gets_the_same_again(team: Team) -> None:
    visit = Visit.of_new_program(team)
    old = visit.tokens(token_of(team, "lost"))["refresh_token"]
    answers = [visit.refresh(old).json() for _ in range(3)]

    assert len({answer["refresh_token"] for answer in answers}) == 1
    assert len({answer["access_token"] for answer in answers}) == 1
    assert team.status(answers[0]["access_token"]) == 200


def test_a_refresh_may_ask_for_less_and_never_for_more(team: Team) -> None:
    visit = Visit.of_new_program(team)
    tokens = visit.tokens(token_of(team, "less"))
    less = visit.refresh(tokens["refresh_token"], scope=READ).json()
    whole = visit.refresh(less["refresh_token"]).json()
    reader = Visit.of_new_program(team)
    read = reader.tokens(token_of(team, "only", READ))
    more = reader.refresh(read["refresh_token"], scope=f"{READ} {SPEND}")

    assert less["scope"] == READ
    assert whole["scope"] == f"{READ} {SPEND}"
    assert error_of(more) == (400, "invalid_scope")


def test_a_sign_in_that_nobody_uses_ends_after_a_month(team: Team, clock: Clock) -> None:
    visit = Visit.of_new_program(team)
    tokens = visit.tokens(token_of(team, "away"))
    clock.ahead += 20 * 86_400
    tokens = visit.refresh(tokens["refresh_token"]).json()
    clock.ahead += 20 * 86_400
    tokens = visit.refresh(tokens["refresh_token"]).json()
    clock.ahead += 31 * 86_400

    assert error_of(visit.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_a_program_can_give_its_login_back(kind: str, team: Team) -> None:
    visit = Visit.of_new_program(team)
    tokens = visit.tokens(token_of(team, f"back-{kind}"))
    other = Visit.of_new_program(team)
    address = f"{team.base}/revoke"
    by_another = httpx.post(address, data={"token": tokens[kind], "client_id": other.id})
    unknown = httpx.post(address, data={"token": "x", "client_id": visit.id})
    before = team.status(tokens["access_token"])
    done = httpx.post(address, data={"token": tokens[kind], "client_id": visit.id})

    assert (by_another.status_code, unknown.status_code, before) == (200, 200, 200)
    assert done.status_code == 200
    assert team.status(tokens["access_token"]) == 401
    assert error_of(visit.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_a_login_ends_at_once_with_the_token_that_its_owner_signed_in_with(team: Team) -> None:
    visit = Visit.of_new_program(team)
    own = token_of(team, "leaver")
    tokens = visit.tokens(own)
    code = visit.code(own)
    before = team.status(tokens["access_token"])
    remove_token(team, "leaver")
    token_of(team, "leaver")

    assert before == 200
    assert team.status(tokens["access_token"]) == 401
    assert error_of(visit.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert error_of(visit.exchange(code)) == (400, "invalid_grant")


@pytest.mark.parametrize("text", [None, "", "# Half of a file that is just being written\n"])
def test_a_file_of_tokens_that_is_away_for_a_moment_ends_no_login(
    text: str | None, team: Team
) -> None:
    visit = Visit.of_new_program(team)
    own = token_of(team, "moment")
    tokens, code = visit.tokens(own), visit.code(own)
    path = team.folder / "tokens"
    good = path.read_text()
    path.unlink()
    if text is not None:
        path.write_text(text)
    page, refreshed = visit.page(), visit.refresh(tokens["refresh_token"]).status_code
    answers = team.status(tokens["access_token"]), visit.answer(page, "kmcp_x").response.status_code
    exchanged = visit.exchange(code).status_code
    path.write_text(good)

    assert (refreshed, exchanged, *answers) == ((400, 400, 401, 403) if text else (503,) * 4)
    assert visit.exchange(code).status_code == (400 if text else 200)
    assert team.status(tokens["access_token"]) == 200
    assert visit.refresh(tokens["refresh_token"]).status_code == 200


def test_the_database_has_neither_codes_nor_tokens(team: Team) -> None:
    visit = Visit.of_new_program(team)
    own = token_of(team, "secret")
    code = visit.code(own)
    tokens = visit.exchange(code).json()
    with closing(sqlite3.connect(ledger_of(team))) as db:
        dump = "\n".join(db.iterdump())

    assert "sign_in_tokens" in dump
    for secret in (own, code, tokens["access_token"], tokens["refresh_token"], visit.verifier):
        assert secret not in dump
    assert "kmcp" not in dump.replace("kmcp-", "")


def test_the_log_shows_neither_codes_nor_tokens(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    visit = Visit.of_new_program(team)
    own = token_of(team, "logged")
    code = visit.code(own)
    tokens = visit.exchange(code).json()
    visit.exchange(code)
    visit.refresh(tokens["refresh_token"])
    team.status(tokens["access_token"])
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("http")]

    for secret in (own, code, tokens["access_token"], tokens["refresh_token"]):
        assert not any(secret in line for line in ours)


def test_the_redactor_knows_every_secret_of_a_sign_in() -> None:
    from kling_mcp.providers.redaction import Redactor

    for kind in ("kmcp_", "kmcpa_", "kmcpr_", "kmcpc_"):
        assert Redactor().line(f"a {kind}{'x' * 43} b") == "a ... b"


def test_wrong_tokens_are_slowed_down_and_a_right_one_waits_too(team: Team, clock: Clock) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    own = token_of(team, "patient")
    wrong = [visit.answer(page, f"kmcp_{n}").response.status_code for n in range(11)]
    slowed = visit.answer(page, own)
    clock.ahead += 901

    assert wrong == [403] * 10 + [429]
    assert slowed.response.status_code == 429
    assert 0 < int(slowed.response.headers["retry-after"]) <= 900
    assert visit.answer(page, own).code


@pytest.mark.campaign
def test_wrong_tokens_of_many_addresses_are_slowed_down_together(team: Team) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    own = token_of(team, "one-of-many")
    found = [
        visit.answer(page, "kmcp_wrong", {"x-forwarded-for": str(ip_address(2**31 + number))})
        for number in range(201)
    ]
    statuses = [each.response.status_code for each in found]

    assert statuses == [403] * 200 + [429]
    assert visit.answer(page, own).response.status_code == 429


def test_addresses_of_one_ipv6_network_count_as_one(team: Team) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    found = [
        visit.answer(page, "kmcp_wrong", {"x-forwarded-for": f"2001:db8::{number}"})
        for number in range(1, 12)
    ]
    other = visit.answer(page, "kmcp_wrong", {"x-forwarded-for": "2001:db8:0:1::1"})

    assert [each.response.status_code for each in found] == [403] * 10 + [429]
    assert other.response.status_code == 403


def test_a_right_token_is_no_try_and_makes_no_wrong_one_good(team: Team) -> None:
    visit = Visit.of_new_program(team)
    page = visit.page()
    own, other = token_of(team, "guesser"), token_of(team, "scraper", METRICS)
    for n in range(10):
        assert visit.answer(page, f"kmcp_{n}").response.status_code == 403
        if n in (5, 8):
            assert visit.answer(page, own).code
            assert "not for videos" in visit.answer(page, other).text

    assert visit.answer(page, "kmcp_11").response.status_code == 429


def test_web_pages_of_configured_origins_alone_may_ask(team: Team) -> None:
    paths = ("/.well-known/oauth-authorization-server", "/token", "/register", "/revoke")
    for path in paths:
        for origin, allowed in (("https://chat.example", True), ("https://evil.example", False)):
            asked = httpx.options(
                f"{team.base}{path}",
                headers={"origin": origin, "access-control-request-method": "POST"},
            )
            got = httpx.post(f"{team.base}{path}", headers={"origin": origin})
            for answer in (asked, got):
                assert answer.headers.get("access-control-allow-origin") == (
                    origin if allowed else None
                ), path


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"redirect_uris": 7}', b"[" * 30_000]
)
def test_what_is_no_registration_is_refused(body: bytes, team: Team) -> None:
    answer = httpx.post(f"{team.base}/register", content=body)

    assert error_of(answer) == (400, "invalid_client_metadata")


@pytest.mark.parametrize("path", ["/token", "/revoke"])
def test_what_is_no_form_is_refused(path: str, team: Team) -> None:
    url = f"{team.base}{path}"
    for answer in (
        httpx.post(url),
        httpx.post(url, json={"grant_type": "refresh_token"}),
        httpx.post(url, files={"grant_type": (None, b"refresh_token"), "client_id": (None, b"x")}),
    ):
        assert error_of(answer) == (400, "invalid_request")
        assert answer.headers["cache-control"] == "no-store"


def test_a_made_up_access_token_is_refused(team: Team) -> None:
    assert team.status("kmcpa_" + "x" * 43) == 401


def test_it_can_be_switched_off_and_gives_way_to_a_login_service(tmp_path: Path) -> None:
    give_token(tmp_path / "tokens", "ann")
    tokens = {"tokens": tmp_path / "tokens"}
    issuer = {**tokens, "auth_issuer": "https://login.example"}
    off: list[dict[str, Any]] = [{**tokens, "sign_in": False}, issuer, {}]
    for options in off:
        with served_team(tmp_path, **options) as team:
            paths = ("/.well-known/oauth-authorization-server", "/authorize", "/sign-in")
            assert [httpx.get(f"{team.base}{path}").status_code for path in paths] == [404] * 3
            assert register(team.base).status_code == 404
            page = httpx.get(f"{team.base}/.well-known/oauth-protected-resource")
            assert page.status_code == (200 if "auth_issuer" in options else 404)
            if page.status_code == 200:
                assert page.json()["authorization_servers"] == ["https://login.example"]


def test_a_restart_keeps_every_login(tmp_path: Path) -> None:
    give_token(tmp_path / "tokens", "ann")
    own = give_token(tmp_path / "tokens", "ada")
    options = {"tokens": tmp_path / "tokens", "secret": "s" * 32, "rate_per_minute": 0}
    with served_team(tmp_path, **options, public_url="http://localhost:1") as team:
        visit = Visit.of_new_program(team)
        asked = visit.authorize(resource="http://localhost:1/mcp")
        moved = asked.headers["location"].replace("http://localhost:1", team.base)
        page = Page(visit.browser.get(moved))
        sent = visit.answer(page, own, {"origin": "http://localhost:1"})
        tokens = visit.exchange(sent.code, resource="http://localhost:1/mcp").json()
    with served_team(tmp_path, **options, public_url="http://localhost:1") as team:
        visit.base = team.base
        host = {"host": "localhost:1"}
        again = visit.refresh(tokens["refresh_token"], resource="http://localhost:1/mcp")

        assert team.status(tokens["access_token"], **host) == 200
        assert again.status_code == 200
    with served_team(tmp_path, **options, public_url="http://localhost:2") as team:
        assert team.status(again.json()["access_token"], host="localhost:2") == 401


def test_a_database_that_is_gone_makes_no_login_wrong(tmp_path: Path) -> None:
    own = give_token(tmp_path / "tokens", "ada")
    with served_team(tmp_path, tokens=tmp_path / "tokens", rate_per_minute=0) as team:
        visit = Visit.of_new_program(team)
        tokens = visit.tokens(own)
        page = visit.page()
        with closing(sqlite3.connect(ledger_of(team))) as db, db:
            db.execute("ALTER TABLE sign_in_tokens RENAME TO lost")
            db.execute("ALTER TABLE sign_in_clients RENAME TO gone")

        assert team.status(tokens["access_token"]) == 503
        assert visit.refresh(tokens["refresh_token"]).status_code == 503
        assert register(team.base).status_code == 503
        shown = visit.answer(page, own)
        assert shown.response.status_code == 503
        assert str(tmp_path) not in shown.response.text


def registrations(team: Team) -> int:
    with closing(sqlite3.connect(ledger_of(team))) as db:
        return int(db.execute("SELECT count(*) FROM sign_in_clients").fetchone()[0])


@pytest.mark.parametrize(
    ("count", "addresses"),
    [(50, 1), (120, 60), pytest.param(10_000, 1000, marks=pytest.mark.campaign)],
)
def test_registrations_in_thousands_fill_nothing_and_push_out_nobody(
    count: int, addresses: int, tmp_path: Path
) -> None:
    clock = Clock()
    own = give_token(tmp_path / "tokens", "ada")
    with served_team(tmp_path, tokens=tmp_path / "tokens", rate_per_minute=0, clock=clock) as team:
        visit = Visit.of_new_program(team)
        tokens = visit.tokens(own)
        clock.ahead += 3601
        with httpx.Client() as http:
            answers = [
                http.post(
                    f"{team.base}/register",
                    json={"client_name": "x" * 1000, "redirect_uris": [CALLBACK]},
                    headers={"x-forwarded-for": str(ip_address(n % addresses + 2**31))},
                )
                for n in range(count)
            ]
        kept = sum(answer.status_code == 201 for answer in answers)
        refused = answers[-1]

        assert kept == min(100, 20 * addresses)
        assert registrations(team) == kept + 1
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        assert visit.refresh(tokens["refresh_token"]).status_code == 200
        clock.ahead += 86_401
        Visit.of_new_program(team)
        assert registrations(team) == 2


@pytest.mark.campaign
def test_servers_with_one_database_are_one_login_service(
    postgres: Postgres, tmp_path: Path
) -> None:
    own = give_token(tmp_path / "tokens", "ada")
    database = postgres.new_schema()
    options: dict[str, Any] = {
        "tokens": tmp_path / "tokens",
        "secret": "s" * 32,
        "rate_per_minute": 0,
        "public_url": "http://localhost:1",
        "provider": {"database": database},
    }
    resource = {"resource": "http://localhost:1/mcp"}
    origin = {"origin": "http://localhost:1"}
    with (
        served_team(tmp_path / "one", **options) as one,
        served_team(tmp_path / "two", **options) as two,
    ):
        visit = Visit.of_new_program(one)

        def at(team: Team, location: str) -> str:
            return location.replace("http://localhost:1", team.base)

        visit.base = two.base
        sent = visit.authorize(**resource).headers["location"]
        page = Page(visit.browser.get(at(one, sent)))
        for number in range(10):
            visit.base = (one, two)[number % 2].base
            assert visit.answer(page, f"kmcp_{number}", origin).response.status_code == 403
        assert visit.answer(page, own, origin).response.status_code == 429
        visit.base = one.base
        assert visit.answer(page, own, origin).response.status_code == 429
        import psycopg

        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DELETE FROM sign_in_tries")
        code = visit.answer(page, own, origin).code
        tokens = visit.exchange(code, one.base, **resource).json()
        host = {"host": "localhost:1"}

        assert two.status(tokens["access_token"], **host) == 200
        again = visit.refresh(tokens["refresh_token"], two.base, **resource)
        assert one.status(again.json()["access_token"], **host) == 200
        assert visit.exchange(code, two.base, **resource).status_code == 400
        assert one.status(again.json()["access_token"], **host) == 401
        with psycopg.connect(database) as connection:
            (dump,) = connection.execute(
                "SELECT string_agg(row_to_json(t)::text, ' ') FROM sign_in_tokens t"
            ).fetchone() or ("",)
        assert "kmcp" not in json.dumps(dump)
