"""Logins of a login service: JSON Web Tokens, judged by what the service publishes."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest
from anyio import to_thread
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.sampling import sampled
from tests.server.hosting.team import (
    ERAS,
    Issuer,
    Team,
    give_token,
    key_named,
    picture_data,
    post,
    public_jwk,
    served_issuer,
    served_team,
)

from kling_mcp.hosting.login import KEYS_S, LEEWAY_S, NEW_KEYS_S, JwtVerifier
from kling_mcp.principal import READ, SPEND

AUDIENCE = "https://videos.example/mcp"
HOUR_S = 3600
DAY_S = 24 * HOUR_S


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with served_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def team(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    with served_team(
        folder, auth_issuer=issuer.url, tokens=folder / "tokens", rate_per_minute=0
    ) as team:
        yield team


@pytest.fixture
def own_issuer() -> Iterator[Issuer]:
    """One whose pages a test may change."""
    with served_issuer() as issuer:
        yield issuer


class Clock:
    """Tells the seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = (json.dumps(part).encode() for part in (header, claims))
    return ".".join([*(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts), signature])


def claims_for(team: Team, issuer: Issuer) -> dict[str, Any]:
    return jwt.decode(issuer.token(team.url), options={"verify_signature": False})


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_a_login_of_the_service_makes_videos_under_its_own_name(
    era: str, team: Team, issuer: Issuer
) -> None:
    wish = {"image": picture_data(team.folder), "prompt": f"Slow zoom, {era}"}
    async with team.client(issuer.token(team.url, sub=f"ann-{era}"), era) as client:
        made = await client.call_tool("kling_image_to_video", wish)
    async with team.client(issuer.token(team.url, sub=f"ann-{era}", jti="later"), era) as client:
        again = await client.call_tool("kling_list_tasks", {})
    async with team.client(issuer.token(team.url, sub=f"bob-{era}"), era) as client:
        others = await client.call_tool("kling_list_tasks", {})

    assert made.structured_content is not None
    assert again.structured_content is not None
    assert others.structured_content is not None
    ids = [task["task_id"] for task in again.structured_content["tasks"]]
    assert ids == [made.structured_content["task_id"]]
    assert others.structured_content["tasks"] == []


def test_the_name_in_the_ledger_tells_nobody_s_address(team: Team, issuer: Issuer) -> None:
    token = issuer.token(team.url, sub="ann@team.example")
    team.call(token, "kling_image_to_video", image=picture_data(team.folder), prompt="Mine")

    ledger = (team.folder / "home").glob("ledger.sqlite3*")
    assert b"ann@team.example" not in b"".join(path.read_bytes() for path in ledger)


def test_both_ways_to_log_in_stand_side_by_side(team: Team, issuer: Issuer) -> None:
    own = give_token(team.folder / "tokens", "ann")

    assert team.status(own) == 200
    assert team.status(issuer.token(team.url)) == 200


def test_without_a_login_a_client_is_told_where_to_get_one(team: Team, issuer: Issuer) -> None:
    answer = post(team.url, None, "server/discover")
    page = f"{team.base}/.well-known/oauth-protected-resource/mcp"
    told = httpx.get(page, headers={"origin": "https://chat.example"})

    assert answer.status_code == 401
    assert f'resource_metadata="{page}"' in answer.headers["www-authenticate"]
    assert told.headers["access-control-allow-origin"] == "*"
    assert told.json() == {
        "resource": team.url,
        "authorization_servers": [issuer.url],
        "scopes_supported": [READ, SPEND],
        "bearer_methods_supported": ["header"],
    }


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "https://other.example/mcp"},
        {"aud": []},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"exp": None},
        {"exp": "soon"},
    ],
    ids=str,
)
def test_a_token_that_says_something_else_is_refused(
    claims: dict[str, Any], team: Team, issuer: Issuer
) -> None:
    assert team.status(issuer.token(team.url, **claims)) == 401


def test_a_stream_ends_with_the_login_that_it_was_opened_with(team: Team, issuer: Issuer) -> None:
    almost_over = issuer.token(team.url, exp=int(time.time()) - LEEWAY_S + 2)
    filters = {"resourceSubscriptions": ["kling://tasks"]}

    answer = post(team.url, almost_over, "subscriptions/listen", notifications=filters)

    assert answer.status_code == 200
    assert "notifications/subscriptions/acknowledged" in answer.text
    assert '"result"' in answer.text.splitlines()[-2]
    assert team.status(almost_over) == 401


@pytest.mark.parametrize(("claim", "from_now_s"), [("exp", -60), ("nbf", HOUR_S), ("iat", HOUR_S)])
def test_a_token_of_another_time_is_refused(
    claim: str, from_now_s: int, team: Team, issuer: Issuer
) -> None:
    token = issuer.token(team.url, **{claim: int(time.time()) + from_now_s})
    assert team.status(token) == 401


def test_clocks_may_differ_by_half_a_minute(team: Team, issuer: Issuer) -> None:
    now = int(time.time())

    assert team.status(issuer.token(team.url, exp=now - 15)) == 200
    assert team.status(issuer.token(team.url, nbf=now + 15, iat=now + 15)) == 200


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scope": f"openid {READ}"}, 200),
        ({"scope": None, "scp": [READ]}, 200),
        ({"scope": None, "scp": f"{READ} {SPEND}"}, 200),
        ({"aud": ["https://other.example", "own"]}, 200),
        ({"scope": None}, 403),
        ({"scope": SPEND}, 403),
        ({"scope": READ.upper()}, 403),
        ({"scope": 7}, 403),
        ({"scope": {READ: True}}, 403),
    ],
    ids=str,
)
def test_scopes_are_taken_as_login_services_write_them(
    claims: dict[str, Any], status: int, team: Team, issuer: Issuer
) -> None:
    if "aud" in claims:
        claims = {"aud": [team.url, *claims["aud"]]}

    assert team.status(issuer.token(team.url, **claims)) == status


def test_who_may_only_look_sees_the_price_and_cannot_pay_it(team: Team, issuer: Issuer) -> None:
    reader = issuer.token(team.url, scope=READ)
    wish = {"image": picture_data(team.folder), "prompt": "Not for me"}

    refused = team.call(reader, "kling_image_to_video", **wish)
    tried = team.call(reader, "kling_image_to_video", **wish, dry_run=True)

    assert refused["structuredContent"]["error"] == "not_allowed"
    assert not tried.get("isError")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "RS256", ["none"], None])
def test_a_token_without_a_signature_is_refused(alg: object, team: Team, issuer: Issuer) -> None:
    header = {"typ": "JWT", "alg": alg, "kid": "one"}

    assert team.status(unsigned(header, claims_for(team, issuer))) == 401


def test_the_published_key_is_no_shared_secret(team: Team, issuer: Issuer) -> None:
    public = key_named("one").public_key()
    for form in (serialization.Encoding.PEM, serialization.Encoding.DER):
        secret = public.public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
        header = {"typ": "JWT", "alg": "HS256", "kid": "one"}
        said = unsigned(header, claims_for(team, issuer))
        mac = hmac.new(secret, said.rstrip(".").encode(), hashlib.sha256).digest()
        forged = said + base64.urlsafe_b64encode(mac).decode().rstrip("=")

        assert team.status(forged) == 401


def test_a_token_signed_by_somebody_else_under_the_key_s_name_is_refused(
    team: Team, issuer: Issuer
) -> None:
    forged = jwt.encode(
        claims_for(team, issuer), key_named("evil"), algorithm="RS256", headers={"kid": "one"}
    )

    assert team.status(forged) == 401


@pytest.mark.parametrize("place", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_a_token_brings_along_is_not_used(
    place: str, team: Team, issuer: Issuer, own_issuer: Issuer
) -> None:
    own_issuer.kids = ["evil"]
    brought: dict[str, Any] = {
        "jwk": public_jwk("evil"),
        "jku": f"{own_issuer.url}/keys",
        "x5u": f"{own_issuer.url}/keys",
        "x5c": [public_jwk("evil")["n"]],
    }
    headers = {"kid": "one", place: brought[place]}
    claims = claims_for(team, issuer)
    forged = jwt.encode(claims, key_named("evil"), algorithm="RS256", headers=headers)

    assert team.status(forged) == 401
    assert own_issuer.asked == 0


DEEP = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 20_000).decode()
HOSTILE = (
    *("", ".", "..", "...", "a.b.c", "e30.e30.e30", "eyJhbGciOiJSUzI1NiJ9..", "\x7f.é.ÿ"),
    *(f"{DEEP}.e30.AA", unsigned({"alg": "RS256", "kid": ["one"]}, {}, "AA")),
    *(unsigned({"alg": "RS256", "kid": "one", "b64": False, "crit": ["b64"]}, {}, "AA"),),
    unsigned({"alg": "RS256", "kid": "one"}, {"exp": 10**400}, "AA"),
)


@pytest.mark.anyio
@pytest.mark.parametrize("token", HOSTILE, ids=range(len(HOSTILE)))
async def test_what_is_no_token_at_all_is_refused_like_any_other(
    token: str, issuer: Issuer
) -> None:
    assert await JwtVerifier(issuer.url, AUDIENCE).verify_token(token) is None


@given(token=st.text() | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode() + "..x"))
def test_no_text_breaks_the_check(token: str) -> None:
    async def check() -> None:
        assert await JwtVerifier("http://127.0.0.1:9", AUDIENCE).verify_token(token) is None

    anyio.run(check)


def test_the_log_tells_why_and_never_the_token(
    team: Team, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    token = issuer.token("https://other.example/mcp")
    team.status(token)

    assert "A token is refused: Audience doesn't match" in caplog.text
    assert not any(part in caplog.text for part in token.split("."))


@pytest.mark.anyio
async def test_a_flood_of_unknown_keys_asks_the_service_once_in_ten_seconds(
    own_issuer: Issuer,
) -> None:
    clock = Clock()
    verifier = JwtVerifier(own_issuer.url, AUDIENCE, clock=clock)
    good = own_issuer.token(AUDIENCE)
    assert await verifier.verify_token(good)
    asked = [own_issuer.asked]

    async def flood() -> None:
        async with anyio.create_task_group() as group:
            for number in range(50):
                forged = own_issuer.token(AUDIENCE, kid="evil", jti=str(number))
                group.start_soon(verifier.verify_token, forged)
        assert await verifier.verify_token(good)
        asked.append(own_issuer.asked)

    await flood()
    clock.now += NEW_KEYS_S + 1
    await flood()
    await flood()

    assert asked == [1, 1, 2, 2]


@pytest.mark.anyio
async def test_logins_that_come_while_the_first_keys_are_fetched_are_let_in(
    own_issuer: Issuer,
) -> None:
    verifier = JwtVerifier(own_issuer.url, AUDIENCE)
    let_in = []

    async def log_in() -> None:
        let_in.append(await verifier.verify_token(own_issuer.token(AUDIENCE)) is not None)

    own_issuer.may_answer.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(log_in)
        await to_thread.run_sync(own_issuer.was_asked.wait, 20)
        for _ in range(9):
            group.start_soon(log_in)
        await anyio.wait_all_tasks_blocked()
        own_issuer.may_answer.set()

    assert let_in == [True] * 10
    assert own_issuer.asked == 1


@pytest.mark.anyio
async def test_only_one_login_waits_while_a_slow_service_is_asked_again(
    own_issuer: Issuer,
) -> None:
    clock = Clock()
    verifier = JwtVerifier(own_issuer.url, AUDIENCE, clock=clock)
    good = own_issuer.token(AUDIENCE)
    assert await verifier.verify_token(good)

    clock.now += KEYS_S + 1
    own_issuer.was_asked.clear()
    own_issuer.may_answer.clear()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(verifier.verify_token, good)
            await to_thread.run_sync(own_issuer.was_asked.wait, 20)
            with anyio.fail_after(60):
                assert await verifier.verify_token(good)
            own_issuer.may_answer.set()
    finally:
        own_issuer.may_answer.set()

    assert own_issuer.asked == 2


@pytest.mark.anyio
async def test_a_new_key_of_the_service_is_taken_and_one_withdrawn_is_not(
    own_issuer: Issuer,
) -> None:
    clock = Clock()
    verifier = JwtVerifier(own_issuer.url, AUDIENCE, clock=clock)
    old, new = own_issuer.token(AUDIENCE), own_issuer.token(AUDIENCE, kid="two")
    assert await verifier.verify_token(old)

    own_issuer.kids = ["one", "two"]
    clock.now += NEW_KEYS_S + 1
    assert await verifier.verify_token(new)
    assert await verifier.verify_token(old)

    own_issuer.kids = ["two"]
    clock.now += KEYS_S + 1
    assert await verifier.verify_token(old) is None
    assert await verifier.verify_token(new)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "page",
    sampled(
        [b"", b"no JSON", b"[]", b'{"keys": []}', b'{"keys": 7}', b'{"keys": [{"kty": "RSA"}]}'], 2
    ),
)
async def test_keys_that_were_read_are_good_while_the_service_is_broken(
    page: bytes, own_issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    verifier = JwtVerifier(own_issuer.url, AUDIENCE, clock=clock)
    good = own_issuer.token(AUDIENCE)
    assert await verifier.verify_token(good)

    own_issuer.answers["/keys"] = page
    clock.now += KEYS_S + 1

    assert await verifier.verify_token(good)
    assert "cannot be read" in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"issuer": "https://evil.example", "jwks_uri": "KEYS"}, "names another issuer"),
        ({"issuer": "ISSUER", "jwks_uri": "http://keys.example/keys"}, "is no https URL"),
        ({"issuer": "ISSUER", "jwks_uri": "http://127.0.0.1:80@keys.example/"}, "is no https URL"),
        ({"issuer": "ISSUER", "jwks_uri": "file:///etc/hostname"}, "is no https URL"),
        ({"issuer": "ISSUER", "jwks_uri": None}, "is no https URL"),
        ({"issuer": "ISSUER", "jwks_uri": "https://[keys"}, "Invalid IPv6 URL"),
        ({"issuer": "ISSUER"}, "jwks_uri"),
        ([], "404"),
    ],
    ids=str,
)
async def test_a_service_that_says_strange_things_of_itself_lets_nobody_in(
    told: object, why: str, own_issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    page = json.dumps(told).replace("ISSUER", own_issuer.url)
    page = page.replace("KEYS", f"{own_issuer.url}/keys")
    own_issuer.answers["/.well-known/openid-configuration"] = page.encode()
    verifier = JwtVerifier(own_issuer.url, AUDIENCE)

    assert await verifier.verify_token(own_issuer.token(AUDIENCE)) is None
    assert f"The keys of {own_issuer.url} cannot be read" in caplog.text
    assert why in caplog.text
    assert own_issuer.asked == 0


@pytest.mark.anyio
async def test_a_redirect_of_the_service_is_not_followed(
    own_issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    own_issuer.moved_to = f"{own_issuer.url}/keys"
    verifier = JwtVerifier(own_issuer.url, AUDIENCE, f"{own_issuer.url}/moved")

    assert await verifier.verify_token(own_issuer.token(AUDIENCE)) is None
    assert "cannot be read" in caplog.text
    assert own_issuer.asked == 0


@pytest.mark.anyio
async def test_metadata_of_plain_oauth_and_a_key_address_of_one_s_own_do_as_well(
    own_issuer: Issuer,
) -> None:
    own_issuer.answers["/own-keys"] = json.dumps({"keys": [public_jwk("two")]}).encode()
    named = JwtVerifier(own_issuer.url, AUDIENCE, f"{own_issuer.url}/own-keys")
    own_issuer.answers["/.well-known/oauth-authorization-server"] = json.dumps(
        {"issuer": own_issuer.url, "jwks_uri": f"{own_issuer.url}/keys"}
    ).encode()
    own_issuer.answers["/.well-known/openid-configuration"] = b"<html>Not here</html>"
    found = JwtVerifier(own_issuer.url, AUDIENCE)

    assert await named.verify_token(own_issuer.token(AUDIENCE, kid="two"))
    assert await found.verify_token(own_issuer.token(AUDIENCE))


@pytest.mark.anyio
async def test_keys_that_sign_nothing_are_not_taken(own_issuer: Issuer) -> None:
    secret = base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")
    keys = [
        {"kty": "oct", "k": secret, "kid": "shared", "alg": "HS256"},
        {**public_jwk("one"), "use": "enc"},
        public_jwk("two"),
    ]
    own_issuer.answers["/keys"] = json.dumps({"keys": keys}).encode()
    verifier = JwtVerifier(own_issuer.url, AUDIENCE)
    claims = jwt.decode(own_issuer.token(AUDIENCE), options={"verify_signature": False})
    shared = jwt.encode(claims, b"k" * 32, algorithm="HS256", headers={"kid": "shared"})

    assert await verifier.verify_token(shared) is None
    assert await verifier.verify_token(own_issuer.token(AUDIENCE)) is None
    assert await verifier.verify_token(own_issuer.token(AUDIENCE, kid="two"))


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_short_rsa_key_is_not_taken(
    own_issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(short.public_key(), as_dict=True)
    keys = [{**public, "kid": "short", "use": "sig", "alg": "RS256"}, public_jwk("one")]
    own_issuer.answers["/keys"] = json.dumps({"keys": keys}).encode()
    verifier = JwtVerifier(own_issuer.url, AUDIENCE)
    claims = jwt.decode(own_issuer.token(AUDIENCE), options={"verify_signature": False})
    forged = jwt.encode(claims, short, algorithm="RS256", headers={"kid": "short"})

    assert await verifier.verify_token(forged) is None
    assert await verifier.verify_token(own_issuer.token(AUDIENCE))
    assert "is ignored: it has 1024 bits" in caplog.text


@pytest.mark.anyio
async def test_one_login_has_one_name_and_no_other_has_it(own_issuer: Issuer) -> None:
    first, second = (JwtVerifier(own_issuer.url, AUDIENCE) for _ in range(2))
    tokens = [own_issuer.token(AUDIENCE, sub=sub) for sub in ("ann", "ann", "bob")]
    found = [await verifier.verify_token(token) for verifier in (first, second) for token in tokens]
    names = [access.subject if access else None for access in found]

    assert names[0] is not None
    assert names[0] == names[1] == names[3] == names[4]
    assert names[2] == names[5] != names[0]


def test_the_audience_may_be_another_than_the_address(issuer: Issuer, tmp_path: Path) -> None:
    with served_team(tmp_path, auth_issuer=issuer.url, auth_audience="kling-team") as team:
        page = httpx.get(f"{team.base}/.well-known/oauth-protected-resource/mcp")

        assert team.status(issuer.token("kling-team")) == 200
        assert team.status(issuer.token(team.url)) == 401
        assert page.json()["resource"] == team.url
