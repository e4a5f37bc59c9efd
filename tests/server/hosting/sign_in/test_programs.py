"""Which addresses are a program's own, and what its name may look like."""

import unicodedata
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.auth import InvalidRedirectUriError
from pydantic import AnyUrl, ValidationError

from kling_mcp.hosting.sign_in.clients import APPS, Client, client_of, spelled

OWN = "https://claude.ai/api/mcp/auth_callback?kind=mcp"
NEAR = "http://127.0.0.1:3000/back"


def is_own(client: Client, address: str) -> bool:
    try:
        return client.validate_redirect_uri(AnyUrl(address)) is not None
    except (ValidationError, InvalidRedirectUriError):
        return False


@given(st.text(max_size=20), st.integers(0, len(OWN)))
def test_an_address_with_anything_put_in_is_a_foreign_one(more: str, at: int) -> None:
    address = OWN[:at] + more + OWN[at:]
    taken = is_own(client_of("id", "Claude", [OWN]), address)

    assert not taken or str(AnyUrl(address)) == OWN


@given(st.integers(1, 65_535))
def test_any_port_of_the_person_s_machine_is_the_program_s_own(port: int) -> None:
    client = client_of("id", "Claude", [NEAR])

    assert is_own(client, f"http://127.0.0.1:{port}/back")
    assert not is_own(client, f"http://127.0.0.1:{port}/back?more")
    assert not is_own(client, f"http://localhost:{port}/back")
    assert not is_own(client, f"https://127.0.0.1:{port}/back")
    assert not is_own(client, f"http://ann@127.0.0.1:{port}/back")


@given(st.text(max_size=60))
def test_whatever_is_taken_leads_a_browser_to_a_program(text: str) -> None:
    try:
        client = client_of("id", None, [text])
    except ValueError:
        return
    (address,) = client.redirect_uris or ()
    scheme = urlsplit(str(address)).scheme

    assert scheme in ("https", "http") or scheme in APPS or "." in scheme
    assert scheme != "http" or address.host in ("127.0.0.1", "[::1]", "localhost")
    assert is_own(client, str(address))


STARTS_SOMETHING = """about blob chrome content data feed file filesystem ftp intent jar javascript
mailto ms-msdt ms-settings search-ms tel vbscript view-source ws wss x-apple.systempreferences"""


@pytest.mark.parametrize("scheme", STARTS_SOMETHING.split())
@pytest.mark.parametrize("form", ["{}:alert(1)", "{}://host/path", "{}:/path"])
def test_a_scheme_of_scripts_files_and_the_system_is_never_taken(scheme: str, form: str) -> None:
    for written in (scheme, scheme.upper(), f"\t{scheme}", f" {scheme}"):
        with pytest.raises(ValueError, match="redirect_uri"):
            client_of("id", None, [form.format(written)])


@pytest.mark.parametrize(
    "scheme", ["cursor", "vscode-insiders", "com.example.app", "io.github.x-y"]
)
def test_an_app_s_own_scheme_is_taken(scheme: str) -> None:
    assert is_own(client_of("id", None, [f"{scheme}://back"]), f"{scheme}://back")


@pytest.mark.parametrize(
    "address",
    [
        "https://Claude.ai/api/mcp/auth_callback",
        "HTTPS://claude.ai/api/mcp/auth_callback",
        "https://claude.ai/x/../api/mcp/auth_callback",
        "https://claude.ai:443/api/mcp/auth_callback",
        "https://claude.ai\\api/mcp/auth_callback",
        "https://claude.ai/api/mcp/\tauth_callback",
    ],
)
def test_another_spelling_of_an_address_is_refused_with_the_usual_one(address: str) -> None:
    with pytest.raises(ValueError, match=r"spelled https://claude\.ai/api/mcp/auth_callback$"):
        client_of("id", None, [address])
    assert str(spelled("https://claude.ai")) == "https://claude.ai/"


@given(st.text(max_size=500))
def test_a_name_is_one_short_line_that_shows_what_it_is(name: str) -> None:
    shown = client_of("id", name, [OWN]).shown_name

    assert 0 < len(shown) <= 60
    assert shown.isprintable()
    assert not [c for c in shown if unicodedata.category(c) in ("Cf", "Cc", "Zl", "Zp")]
