"""When a read is repeated."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_mcp.providers.retries import LAST_ATTEMPT_S, LONGEST_WAIT_S, retry_after_s, retry_hook
from kling_tools.errors import KlingError, ProviderDown, ProviderError, RateLimited


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ProviderDown("down", retryable=True), True),
        (ProviderDown("down"), False),
        (RateLimited("often", retryable=True, retry_after_s=7), 7),
        (RateLimited("often", retryable=False, retry_after_s=7), False),
        (RateLimited("often", retryable=True, retry_after_s=LAST_ATTEMPT_S + 1), False),
        (KlingError("ours"), False),
        (ValueError("a bug"), False),
    ],
)
async def test_only_what_may_pass_is_repeated_and_when_the_provider_says(
    error: Exception, verdict: bool | float
) -> None:
    assert retry_hook(anyio.current_time())(error) == verdict


@pytest.mark.anyio
async def test_a_wait_that_ends_after_the_last_attempt_is_not_begun() -> None:
    error = RateLimited("often", retryable=True, retry_after_s=5)

    assert retry_hook(anyio.current_time() - LAST_ATTEMPT_S + 6)(error) == 5
    assert retry_hook(anyio.current_time() - LAST_ATTEMPT_S + 4)(error) is False


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("1000000", LONGEST_WAIT_S),
        ("9" * 300, LONGEST_WAIT_S),
        ("Wed, 21 Oct 9015 07:28:00 GMT", LONGEST_WAIT_S),
        (None, None),
        ("", None),
        ("0", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)

    seconds = retry_after_s(format_datetime(soon, usegmt=True))

    assert seconds == pytest.approx(90, abs=5)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_header_breaks_the_reader(header: str) -> None:
    seconds = retry_after_s(header)

    assert seconds is None or 0 < seconds <= LONGEST_WAIT_S


def test_a_provider_error_that_is_not_retryable_is_the_default() -> None:
    assert retry_hook(0.0)(ProviderError("no")) is False
