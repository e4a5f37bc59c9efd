"""Which providers are on, which one comes first, and where each is reached."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_mcp.providers.auth import ApiKey, SignedToken
from kling_mcp.providers.configured import SANDBOX_URL, Configured, configured_providers
from kling_mcp.providers.rows import PROVIDERS, SANDBOX
from kling_mcp.settings.settings import load_settings
from kling_tools.errors import NotConfigured

KEY = "api-key-of-a-test"
PAIR = {"KLING_ACCESS_KEY": "access-of-a-test", "KLING_SECRET_KEY": "secret-of-a-test"}
GATEWAYS = ("cometapi", "anyfast", "powertokens", "newapi")
ALL = {
    "NEWAPI_API_KEY": "sk-key-5",
    "NEWAPI_BASE_URL": "https://newapi.example",
    "POWERTOKENS_API_KEY": "key-4",
    "ANYFAST_API_KEY": "key-3",
    "COMETAPI_API_KEY": "key-2",
    "KLING_API_KEY": "key-1",
}


@pytest.fixture(autouse=True)
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder of its own, and no setting from outside."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.endswith(("_API_KEY", "_BASE_URL")) or "KLING" in name:
            monkeypatch.delenv(name)


def configured(environment: Mapping[str, str], provider: str = "") -> Mapping[str, Configured]:
    """The providers that these variables turn on."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return configured_providers(load_settings(provider=provider))


def refusal(environment: Mapping[str, str], provider: str = "") -> NotConfigured:
    with pytest.raises(NotConfigured) as refused:
        configured(environment, provider)
    for name, secret in environment.items():
        if name.endswith("_KEY"):
            assert secret not in str(refused.value)
    return refused.value


def test_without_any_key_the_sandbox_answers_alone() -> None:
    found = configured({})

    assert [*found] == [SANDBOX]
    assert (found[SANDBOX].base_url, found[SANDBOX].embedded) == (SANDBOX_URL, True)


@pytest.mark.parametrize(
    ("environment", "provider", "chosen"),
    [
        ({}, "", "sandbox"),
        ({"KLING_API_KEY": KEY}, "", "kling"),
        (PAIR, "", "kling"),
        ({"KLING_API_KEY": KEY}, "sandbox", "sandbox"),
        ({"KLING_ACCESS_KEY": "half"}, "sandbox", "sandbox"),
        ({"KLING_API_KEY": KEY, "KLING_ACCESS_KEY": "half"}, "kling", "kling"),
        ({"KLING_API_KEY": "   "}, "", "sandbox"),
        ({"COMETAPI_API_KEY": KEY}, "", "cometapi"),
        ({"NEWAPI_BASE_URL": "https://newapi.example"}, "", "sandbox"),
    ],
)
def test_the_provider_is_the_one_with_a_key_else_the_sandbox(
    environment: dict[str, str], provider: str, chosen: str
) -> None:
    assert [*configured(environment, provider)] == [chosen]


def test_all_with_a_key_are_on_in_the_order_of_the_table() -> None:
    found = configured(ALL)

    assert [*found] == ["kling", *GATEWAYS]
    assert [one.credentials.token() for one in found.values()] == [
        *("key-1", "key-2", "key-3", "key-4", "sk-key-5")
    ]
    assert not any(one.embedded for one in found.values())
    assert [one.name for one in found.values()] == [one.row.name for one in found.values()]


@pytest.mark.parametrize("first", ["kling", *GATEWAYS])
def test_the_provider_that_is_asked_for_comes_first(first: str) -> None:
    others = [name for name in ("kling", *GATEWAYS) if name != first]

    assert [*configured(ALL, first)] == [first, *others]
    assert [*configured(ALL, first.upper())] == [first, *others]


def test_the_sandbox_is_alone_when_it_is_asked_for_and_never_sees_a_key() -> None:
    found = configured({**ALL, **PAIR}, "sandbox")

    assert [*found] == [SANDBOX]
    assert found[SANDBOX].credentials.token() not in {*ALL.values(), *PAIR.values()}


def test_an_api_key_goes_before_a_key_pair() -> None:
    signed = configured(PAIR)["kling"].credentials
    plain = configured({**PAIR, "KLING_API_KEY": KEY})["kling"].credentials

    assert isinstance(signed, SignedToken)
    assert (signed.access_key, signed.secret_key) == tuple(PAIR.values())
    assert plain == ApiKey(KEY)


@pytest.mark.parametrize("given", PAIR)
@pytest.mark.parametrize("provider", ["", "kling", "cometapi"])
def test_half_a_key_pair_names_the_half_that_is_missing(given: str, provider: str) -> None:
    (missing,) = set(PAIR) - {given}

    error = refusal({given: PAIR[given], "COMETAPI_API_KEY": KEY}, provider)

    assert f"{missing} is missing" in error.message
    assert "sandbox" in error.advice


def test_a_provider_that_does_not_exist_is_told_with_those_that_do() -> None:
    error = refusal({"KLING_API_KEY": KEY}, "klng")

    assert "KLING_MCP_PROVIDER is klng" in error.message
    assert "kling, cometapi, anyfast, powertokens, newapi, sandbox" in error.advice


@pytest.mark.parametrize("name", ["kling", *GATEWAYS])
def test_a_provider_without_its_key_points_to_the_keyless_way(name: str) -> None:
    error = refusal({"OTHER_API_KEY": KEY}, name)

    assert f"KLING_MCP_PROVIDER is {name}" in error.message
    assert f"{name.upper()}_API_KEY" in error.message
    assert ("NEWAPI_BASE_URL" in error.message) is (name == "newapi")
    assert "sandbox" in error.advice


def test_a_gateway_of_an_operator_needs_its_base_url() -> None:
    error = refusal({"NEWAPI_API_KEY": KEY, "KLING_API_KEY": "key-1"})

    assert "NEWAPI_API_KEY is set" in error.message
    assert "NEWAPI_BASE_URL" in error.advice


@pytest.mark.parametrize("name", ["kling", *GATEWAYS])
@pytest.mark.parametrize("keys", [{}, ALL], ids=["without keys", "with keys"])
def test_the_sandbox_can_stand_in_for_every_provider(name: str, keys: dict[str, str]) -> None:
    found = configured({**keys, f"{name.upper()}_BASE_URL": "Sandbox"})
    base_url = SANDBOX_URL if name == "kling" else f"{SANDBOX_URL}/{name}"

    assert (found[name].base_url, found[name].embedded) == (base_url, True)
    assert found[name].credentials.token() not in ALL.values()
    assert SANDBOX not in found
    assert [other for other, one in found.items() if one.embedded] == [name]


@pytest.mark.parametrize("name", [name for name in GATEWAYS if name != "newapi"])
def test_a_gateway_is_reached_where_its_row_says_or_where_it_is_told(name: str) -> None:
    key = {f"{name.upper()}_API_KEY": KEY}
    moved = {**key, f"{name.upper()}_BASE_URL": "https://moved.example/api/"}

    assert configured(key)[name].base_url == PROVIDERS[name].base_url
    assert configured(moved)[name].base_url == "https://moved.example/api"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", "https://api-singapore.klingai.com"),
        ("global", "https://api-singapore.klingai.com"),
        ("China", "https://api-beijing.klingai.com"),
        (" china ", "https://api-beijing.klingai.com"),
        ("https://gateway.example.com/kling/", "https://gateway.example.com/kling"),
        ("http://127.0.0.1:8765/", "http://127.0.0.1:8765"),
        ("http://[::1]:8765", "http://[::1]:8765"),
    ],
)
def test_a_base_url_is_a_region_or_an_address(given: str, url: str) -> None:
    found = configured({"KLING_API_KEY": KEY, "KLING_BASE_URL": given})

    assert found["kling"].base_url == url


UNUSABLE = (
    "europe",
    "ftp://example.com",
    "https://",
    "https:// example.com",
    "https://example.com:port",
    "https://example.com:0",
    "https://[::1",
    "https://me:word@example.com",
    "https://example.com?key=word",
    "https://example.com?",
    "https://example.com#word",
    "https://example.com/\x01",
    "https://exa\nmple.com",
    "//example.com",
    "https:example.com",
)


@pytest.mark.parametrize("given", UNUSABLE)
@pytest.mark.parametrize("name", ["kling", "cometapi"])
@pytest.mark.parametrize("keys", [{}, ALL], ids=["without keys", "with keys"])
def test_a_base_url_that_cannot_be_put_on_the_wire_is_refused(
    keys: dict[str, str], name: str, given: str
) -> None:
    error = refusal({**keys, f"{name.upper()}_BASE_URL": given})

    assert f"{name.upper()}_BASE_URL is not an http(s) URL" in error.message
    regions = ", global, china" if name == "kling" else ""
    assert error.advice == f"It takes a URL{regions} or sandbox."
    assert "word" not in str(error)


def test_a_region_of_kling_is_no_region_of_a_gateway() -> None:
    error = refusal({"COMETAPI_API_KEY": KEY, "COMETAPI_BASE_URL": "china"})

    assert "COMETAPI_BASE_URL is not" in error.message


@example("https://user:word@host/path")
@example("http://[v1.a]")
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30))
def test_whatever_stands_for_a_base_url_is_one_or_is_refused(text: str) -> None:
    for asked in (text, f"https://{text}"):
        try:
            found = configured({"KLING_API_KEY": KEY, "KLING_BASE_URL": asked})
        except NotConfigured as error:
            refused = str(error)
            assert "KLING_BASE_URL is not" in refused
            assert KEY not in refused
        else:
            url = found["kling"].base_url
            assert url.partition("://")[0].lower() in ("http", "https")
            assert not {"?", "#", " "} & set(url)
