"""What stands behind the bearer token."""

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_mcp.providers.auth import ApiKey, SignedToken

ACCESS = "access-key-of-a-test"
SECRET = "secret-key-of-a-test-0123456789abcdef"


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def claims(token: str) -> dict[str, object]:
    options = {"verify_exp": False, "verify_nbf": False}
    read: dict[str, object] = jwt.decode(token, SECRET, algorithms=["HS256"], options=options)
    return read


def test_an_api_key_is_sent_as_it_is_and_there_is_no_other_one() -> None:
    key = ApiKey("key-of-a-test")

    assert key.token() == "key-of-a-test"
    assert key.renew() is False
    assert key.token() == "key-of-a-test"


def test_the_token_has_exactly_the_header_and_claims_of_kling_s_page() -> None:
    token = SignedToken(ACCESS, SECRET, Clock(1_700_000_000.9)).token()

    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert claims(token) == {"iss": ACCESS, "exp": 1_700_001_800, "nbf": 1_699_999_995}


def test_the_token_is_valid_now_and_only_with_its_secret() -> None:
    token = SignedToken(ACCESS, SECRET).token()

    assert jwt.decode(token, SECRET, algorithms=["HS256"])["iss"] == ACCESS
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, SECRET[::-1], algorithms=["HS256"])


def test_a_secret_that_was_cut_short_is_signed_with_and_warns_nobody_on_standard_error() -> None:
    # The provider refuses it, and that is told; a warning of a library tells nobody anything.
    token = SignedToken(ACCESS, "short").token()

    assert jwt.get_unverified_header(token)["alg"] == "HS256"


@pytest.mark.parametrize(
    ("later_s", "fresh"), [(0, False), (1499, False), (1500, False), (1501, True), (90_000, True)]
)
def test_a_token_is_replaced_five_minutes_before_its_end(later_s: int, fresh: bool) -> None:
    clock = Clock(1_700_000_000)
    signed = SignedToken(ACCESS, SECRET, clock)
    first = signed.token()

    clock.now += later_s

    assert (signed.token() != first) is fresh


def test_a_refused_token_is_replaced_at_once() -> None:
    clock = Clock(1_700_000_000)
    signed = SignedToken(ACCESS, SECRET, clock)
    first = signed.token()
    clock.now += 10

    assert signed.token() == first
    assert signed.renew() is True
    assert claims(signed.token())["exp"] == 1_700_001_810


def test_a_token_that_could_not_be_made_is_not_taken_for_made() -> None:
    signed = SignedToken(ACCESS, "", Clock(1_700_000_000))

    for _ in range(2):
        with pytest.raises(jwt.InvalidKeyError):
            signed.token()


@settings(deadline=None)
@given(st.lists(st.floats(0, 4000), max_size=8))
def test_however_time_goes_on_a_token_holds_five_minutes_more(steps: list[float]) -> None:
    clock = Clock(1_700_000_000)
    signed = SignedToken(ACCESS, SECRET, clock)

    for step in steps:
        clock.now += step
        read = claims(signed.token())

        assert read["exp"] >= clock.now + 300 - 1
        assert read["nbf"] <= clock.now - 5


@pytest.mark.parametrize("credentials", [ApiKey(SECRET), SignedToken(ACCESS, SECRET)])
def test_no_secret_shows_in_repr(credentials: ApiKey | SignedToken) -> None:
    token = credentials.token()

    for secret in (SECRET, ACCESS, token):
        assert secret not in repr(credentials)
        assert secret not in str(credentials)
