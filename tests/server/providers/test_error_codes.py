"""Kling's error table, row by row, as the answer to a create and to a read."""

import json

import pytest

from kling_mcp.providers.error_codes import (
    BY_HTTP_STATUS,
    CODES,
    UNREADABLE,
    WORDS,
    CodeRow,
    row_for,
)
from kling_mcp.providers.responses import Answer, read_document
from kling_tools.errors import (
    AuthFailed,
    Charged,
    ConcurrencyFull,
    ContentRefused,
    DuplicateTask,
    ModelRetired,
    PaymentRequired,
    ProviderDown,
    ProviderError,
    RateLimited,
    RequestRefused,
    TaskNotFound,
)

TABLE: tuple[tuple[int, str, type[ProviderError], bool, Charged], ...] = (
    (401, "1000", AuthFailed, False, "no"),
    (401, "1001", AuthFailed, False, "no"),
    (401, "1002", AuthFailed, False, "no"),
    (401, "1003", AuthFailed, False, "no"),
    (401, "1004", AuthFailed, False, "no"),
    (429, "1100", PaymentRequired, False, "no"),
    (429, "1101", PaymentRequired, False, "no"),
    (429, "1102", PaymentRequired, False, "no"),
    (403, "1103", AuthFailed, False, "no"),
    (400, "1200", RequestRefused, False, "no"),
    (400, "1201", RequestRefused, False, "no"),
    (404, "1202", RequestRefused, False, "no"),
    (404, "1203", RequestRefused, False, "no"),
    (400, "1300", ContentRefused, False, "no"),
    (400, "1301", ContentRefused, False, "no"),
    (429, "1302", RateLimited, True, "no"),
    (429, "1303", ConcurrencyFull, True, "no"),
    (429, "1304", AuthFailed, False, "no"),
    (500, "5000", ProviderDown, True, "unknown"),
    (503, "5001", ProviderDown, True, "unknown"),
    (504, "5002", ProviderDown, True, "unknown"),
)
"""Section 2 of the contract: HTTP, code, class, read again, and whether a create may exist."""

LIVE: tuple[tuple[int, int, str, type[ProviderError]], ...] = (
    (400, 1201, "Task not found by id/external id: mf-auth-probe-nonexistent", TaskNotFound),
    (400, 1201, "External_task_id v6-1789956049929 already exists", DuplicateTask),
    (
        401,
        1002,
        "Authentication error. The current API does not support AK/SK; please go to the console "
        "(https://kling.ai/dev/api-key) to create API key.",
        AuthFailed,
    ),
    (429, 1303, "parallel task over resource pack limit", ConcurrencyFull),
    (429, 1102, "Account balance not enough", PaymentRequired),
    (400, 1201, "kling-v1-6 is not supported with motion brush", RequestRefused),
    (
        400,
        1201,
        "model/mode/duration(kling-v2-5-turbo/std/5) is not supported with image_tail",
        RequestRefused,
    ),
    (400, 1201, "mode value 'std' is invalid", RequestRefused),
    (200, 1201, "duration value '99' is invalid", RequestRefused),
    (400, 1201, "duration value '99' is invalid", RequestRefused),
    (
        400,
        1201,
        "Duration only supports 5 or 10 seconds when no refer_image is provided",
        RequestRefused,
    ),
    (400, 1201, "contents cannot be empty", RequestRefused),
    (400, 1201, "... cannot exceed 20 in total", RequestRefused),
    (
        400,
        1201,
        "camera_control is only supported in std mode with 5s duration and kling-v1",
        RequestRefused,
    ),
    (400, 1201, "Image tail is not supported by the current model", RequestRefused),
    (400, 1201, "image can not be null", RequestRefused),
)
"""Answers that were recorded from the live service."""


def refusal(http_status: int, **envelope: object) -> ProviderError:
    body = json.dumps(envelope).encode()
    with pytest.raises(ProviderError) as raised:
        read_document(Answer(http_status, body, provider="kling"))
    return raised.value


@pytest.mark.parametrize(("http_status", "code", "error", "retryable", "charged"), TABLE)
def test_each_row_of_kling_s_table_is_told_as_it_is(
    http_status: int, code: str, error: type[ProviderError], retryable: bool, charged: Charged
) -> None:
    for sent in (int(code), code):
        raised = refusal(http_status, code=sent, message="words of Kling", request_id="r-1")

        assert type(raised) is error
        assert (raised.retryable, raised.charged) == (retryable, charged)
        assert (raised.code, raised.http_status, raised.request_id) == (code, http_status, "r-1")
        assert raised.provider_says == "words of Kling"
        assert raised.advice


def test_the_table_has_no_other_codes() -> None:
    assert sorted(CODES) == sorted(code for _, code, *_ in TABLE)


@pytest.mark.parametrize(("http_status", "code", "error", "retryable", "charged"), TABLE)
def test_http_200_with_a_code_means_what_the_code_means(
    http_status: int, code: str, error: type[ProviderError], retryable: bool, charged: Charged
) -> None:
    raised = refusal(200, code=int(code), message="")

    assert type(raised) is error
    assert (raised.retryable, raised.charged) == (retryable, charged)


@pytest.mark.parametrize(("http_status", "code", "message", "error"), LIVE)
def test_recorded_refusals_are_understood(
    http_status: int, code: int, message: str, error: type[ProviderError]
) -> None:
    raised = refusal(http_status, code=code, message=message)

    assert type(raised) is error
    assert raised.charged == "no"
    assert raised.provider_says == message


def test_a_retired_model_is_told_with_one_that_is_not() -> None:
    words = "The model 'kling-v1' has been discontinued and is no longer available."
    coded = refusal(400, code=1201, message=words)
    bare = refusal(400, code=None, message=words)

    for raised in (coded, bare):
        assert type(raised) is ModelRetired
        assert "retired" in raised.message
        assert "kling-v2-5-turbo" in raised.advice
    assert bare.code is None


@pytest.mark.parametrize(
    ("http_status", "message", "error"),
    [
        (404, "no such task", TaskNotFound),
        (400, 'No such task: "t-1"', TaskNotFound),
        (500, "no such task type: image2video", ProviderDown),
        (503, "no such task queue", ProviderDown),
        (503, "task not found", ProviderDown),
        (404, "no such tasks endpoint", RequestRefused),
        (400, "no such task type: image2video", RequestRefused),
    ],
)
def test_a_task_is_missing_only_where_that_is_what_is_said(
    http_status: int, message: str, error: type[ProviderError]
) -> None:
    assert type(refusal(http_status, code="error", message=message)) is error


def test_only_a_token_s_age_asks_for_a_fresh_one() -> None:
    assert {code for code, row in CODES.items() if row.renew} == {"1003", "1004"}


def test_words_do_not_overrule_a_code_that_says_enough() -> None:
    raised = refusal(429, code=1302, message="task not found, you ask too often")

    assert type(raised) is RateLimited


@pytest.mark.parametrize(
    ("code", "http_status", "error", "charged"),
    [
        ("task_not_exist", 400, TaskNotFound, "no"),
        ("insufficient_user_quota", 403, PaymentRequired, "no"),
        ("quota_not_enough", 403, PaymentRequired, "no"),
        ("model_not_found", 503, RequestRefused, "no"),
        ("invalid_request", 400, RequestRefused, "no"),
        ("1999", 200, RequestRefused, "no"),
        ("1999", 429, RateLimited, "no"),
        ("", 301, RequestRefused, "no"),
        ("", 308, RequestRefused, "no"),
        ("", 400, RequestRefused, "no"),
        ("", 401, AuthFailed, "no"),
        ("", 402, PaymentRequired, "no"),
        ("", 403, AuthFailed, "no"),
        ("", 404, RequestRefused, "no"),
        ("", 405, RequestRefused, "no"),
        ("", 408, ProviderDown, "no"),
        ("", 413, RequestRefused, "no"),
        ("", 418, RequestRefused, "no"),
        ("", 429, RateLimited, "no"),
        ("", 500, ProviderDown, "unknown"),
        ("", 502, ProviderDown, "unknown"),
        ("1999", 503, ProviderDown, "unknown"),
        ("0", 500, ProviderDown, "unknown"),
        ("", 200, ProviderDown, "unknown"),
        ("5999", 200, ProviderDown, "unknown"),
        ("fail", 200, ProviderDown, "unknown"),
    ],
)
def test_a_code_that_we_do_not_know_is_judged_by_its_http_status(
    code: str, http_status: int, error: type[ProviderError], charged: Charged
) -> None:
    row = row_for(code, "", http_status)

    assert row.error is error
    assert row.created == charged


def every_row() -> list[CodeRow]:
    return [
        *CODES.values(),
        *BY_HTTP_STATUS.values(),
        *(row for _, row in WORDS),
        row_for("", "", 500),
        UNREADABLE,
    ]


@pytest.mark.parametrize("row", every_row(), ids=lambda row: row.message)
@pytest.mark.parametrize("provider", ["kling", "powertokens"])
def test_every_row_says_in_sentences_what_is_wrong_and_what_to_do(
    provider: str, row: CodeRow
) -> None:
    message, advice = row.texts(provider)

    assert message.endswith(".")
    assert advice.endswith(".")
    assert "{" not in message + advice
    assert len(message) + len(advice) < 300


@pytest.mark.parametrize("row", every_row(), ids=lambda row: row.message)
def test_a_row_speaks_of_the_provider_that_answered(row: CodeRow) -> None:
    for official in ("", "kling", "sandbox"):
        assert row.texts(official) == row.texts("kling")
    for text in row.texts("mygate"):
        assert "Kling " not in text or "retired" in text
        assert "KLING_" not in text
    assert ("MYGATE_API_KEY" in row.texts("mygate")[1]) is ("KLING_API_KEY" in row.texts("")[1])


def test_only_a_gateway_refuses_before_it_hands_on() -> None:
    assert not any(row.at_the_door for row in CODES.values())
    for row in every_row():
        assert row.created == "no" or not row.at_the_door
