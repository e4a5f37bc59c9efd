"""HTTP answers in every dialect: what is a success, and what every refusal stands for."""

import json
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kling_mcp.providers.dialects import mapping, number, seconds, text
from kling_mcp.providers.error_codes import unreadable
from kling_mcp.providers.responses import Answer, read_document
from kling_mcp.providers.rows import PROVIDERS, SANDBOX
from kling_tools.errors import (
    AuthFailed,
    Charged,
    ConcurrencyFull,
    ContentRefused,
    PaymentRequired,
    ProviderDown,
    ProviderError,
    RateLimited,
    RequestRefused,
    TaskNotFound,
)

GATEWAYS = tuple(name for name in PROVIDERS if name not in ("kling", SANDBOX))
LOGIN = b"\n<!doctype html><title>Sign in</title><h1>Bad Gateway at 10.0.0.7</h1>"


def read(
    http_status: int = 200, body: bytes | None = None, provider: str = "kling", **document: Any
) -> Any:
    sent = json.dumps(document).encode() if body is None else body
    return read_document(Answer(http_status, sent, provider=provider))


def refusal(
    http_status: int = 200, body: bytes | None = None, provider: str = "kling", **document: Any
) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        read(http_status, body, provider, **document)
    assert raised.value.http_status == http_status
    assert raised.value.provider == provider
    return raised.value


@pytest.mark.parametrize("message", ["SUCCEED", "success", "", None, "failed", {"a": 1}])
@pytest.mark.parametrize("code", [0, "0", "success", "SUCCESS"])
def test_a_code_of_success_is_one_whatever_the_message_says(code: object, message: object) -> None:
    document: dict[str, Any] = {"code": code, "message": message, "data": {"task_id": "1"}}

    assert read(**document) == document


@pytest.mark.parametrize(
    "document",
    [
        {"id": "860260753860210752", "object": "video"},
        {"task_id": "860260753860210752", "error": None},
        {"task_id": 860260753860210752, "code": "", "error": {}},
        {"id": "v1", "status": "failed", "error": {"code": "1301", "message": "risk control"}},
        {"task_id": "v1", "status": "FAILURE", "error": "risk control"},
    ],
)
def test_an_openai_like_object_with_an_id_is_a_success_without_a_code(
    document: dict[str, Any],
) -> None:
    assert read(**document) == document


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"code": None},
        {"code": False, "data": {}},
        {"code": 0.5},
        {"id": ""},
        {"object": "video", "status": "queued"},
        {"data": {"task_id": "1"}},
    ],
)
def test_an_object_that_neither_succeeds_nor_refuses_leaves_open_what_happened(
    document: dict[str, Any],
) -> None:
    raised = refusal(**document)

    assert type(raised) is ProviderDown
    assert raised.charged == "unknown"
    assert raised.code is None


@pytest.mark.parametrize(
    "error", [{"code": 0, "message": "no"}, {"code": "success"}, "no", ["no"], True, {"type": "0"}]
)
@pytest.mark.parametrize("code", [{}, {"code": 0}, {"code": "success"}])
def test_an_answer_with_an_error_in_it_is_no_success(error: object, code: dict[str, Any]) -> None:
    raised = refusal(id="1", error=error, **code)

    assert type(raised) is ProviderDown
    assert raised.charged == "unknown"


def test_a_refusal_without_a_request_id_is_told_without_one() -> None:
    raised = refusal(400, code=1201, message="image can not be null")

    assert type(raised) is RequestRefused
    assert raised.request_id is None
    assert "request_id" not in raised.facts()


def test_the_wait_that_was_asked_for_and_the_provider_are_passed_on() -> None:
    for body in (b'{"code": 1302}', b"<html>slow down</html>", b'{"error": {"message": "often"}}'):
        with pytest.raises(RateLimited) as raised:
            read_document(Answer(429, body, retry_after_s=7.0, provider="kling"))

        assert raised.value.retry_after_s == 7.0
        assert raised.value.provider == "kling"


@pytest.mark.parametrize(
    ("http_status", "charged"), [(200, "unknown"), (301, "no"), (404, "no"), (502, "unknown")]
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>Bad Gateway</h1>\xff</html>",
        LOGIN,
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"code": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_never_shown(http_status: int, charged: str, body: bytes) -> None:
    raised = refusal(http_status, body)

    assert raised.charged == charged
    assert "Gateway" not in str(raised)
    assert f"(HTTP {http_status}, not JSON)" in raised.message


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_page_to_sign_in_on_is_told_with_the_settings_that_lead_elsewhere(provider: str) -> None:
    raised = refusal(200, LOGIN, provider)

    assert type(raised) is ProviderDown
    assert raised.charged == "unknown"
    assert "web page" in raised.advice
    assert f"{provider.upper()}_BASE_URL" in raised.advice


NEW_API: tuple[tuple[int, dict[str, Any], type[ProviderError], Charged], ...] = (
    (400, {"code": "task_not_exist", "message": "task_not_exist"}, TaskNotFound, "no"),
    (400, {"code": "invalid_request", "message": "prompt is required"}, RequestRefused, "no"),
    (
        403,
        {"code": "insufficient_user_quota", "message": "user quota is not enough"},
        PaymentRequired,
        "no",
    ),
    (
        403,
        {"code": "quota_not_enough", "message": "user quota is not enough"},
        PaymentRequired,
        "no",
    ),
    (401, {"error": {"code": "", "message": "Invalid token", "type": "t"}}, AuthFailed, "no"),
    (
        403,
        {"error": {"code": "insufficient_user_quota", "message": "no", "type": "t"}},
        PaymentRequired,
        "no",
    ),
    (
        503,
        {"error": {"code": "model_not_found", "message": "No available channel", "type": "t"}},
        RequestRefused,
        "no",
    ),
    (
        503,
        {"error": {"message": "No available channel for model kling-v9 under group default"}},
        RequestRefused,
        "no",
    ),
    (503, {"error": {"message": "bad_response_status_code"}}, ProviderDown, "unknown"),
    (500, {"code": "fail_to_fetch_task", "message": "EOF"}, ProviderDown, "unknown"),
    (500, {"code": "task_not_exist", "message": "task_not_exist"}, TaskNotFound, "unknown"),
    (429, {"code": "fail_to_fetch_task", "message": "busy, later"}, RateLimited, "no"),
    (200, {"code": "fail_to_fetch_task", "message": "what?"}, ProviderDown, "unknown"),
    (404, {"error": {"message": "Invalid URL (POST /x)", "type": "t"}}, RequestRefused, "no"),
)


@pytest.mark.parametrize(("http_status", "document", "error", "charged"), NEW_API)
@pytest.mark.parametrize("provider", GATEWAYS)
def test_refusals_of_gateways_are_told_as_one_clear_error(
    provider: str,
    http_status: int,
    document: dict[str, Any],
    error: type[ProviderError],
    charged: Charged,
) -> None:
    raised = refusal(http_status, provider=provider, **{"data": None, **document})

    assert type(raised) is error
    assert raised.charged == charged
    said = document.get("error", document)["message"]
    assert raised.provider_says == said
    assert raised.advice


@pytest.mark.parametrize(
    ("http_status", "inner", "error", "charged"),
    [
        (400, {"code": 1201, "message": "mode value 'std' is invalid"}, RequestRefused, "no"),
        (400, {"code": 1301, "message": "risk control"}, ContentRefused, "no"),
        (429, {"code": 1303, "message": "parallel task over limit"}, ConcurrencyFull, "no"),
        (429, {"code": 1102, "message": "Account balance not enough"}, PaymentRequired, "no"),
        (500, {"code": 5000, "message": "internal"}, ProviderDown, "unknown"),
        (500, {"code": 1201, "message": "what?"}, RequestRefused, "unknown"),
    ],
)
def test_a_refusal_of_kling_s_is_read_out_of_the_gateway_s(
    http_status: int, inner: dict[str, Any], error: type[ProviderError], charged: Charged
) -> None:
    raised = refusal(
        http_status, provider="newapi", code="fail_to_fetch_task", message=json.dumps(inner)
    )

    assert type(raised) is error
    assert (raised.code, raised.charged) == (str(inner["code"]), charged)
    assert raised.provider_says == inner["message"]


@pytest.mark.parametrize("message", ["{", '{"code": 77}', '{"a": 1}', "{" * 100_000])
def test_what_is_no_refusal_of_kling_s_stays_the_gateway_s(message: str) -> None:
    raised = refusal(400, provider="newapi", code="fail_to_fetch_task", message=message)

    assert type(raised) is RequestRefused
    assert raised.code == "fail_to_fetch_task"


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_key_for_another_provider_is_told_with_the_settings_of_this_one(provider: str) -> None:
    raised = refusal(401, provider=provider, error={"message": "Invalid token", "type": "t"})

    assert provider in raised.message
    assert f"{provider.upper()}_API_KEY" in raised.advice
    assert "KLING_ACCESS_KEY" not in raised.advice
    assert raised.charged == "no"


@pytest.mark.parametrize("provider", ["kling", SANDBOX])
def test_a_wrong_key_for_kling_is_told_with_kling_s_settings(provider: str) -> None:
    raised = refusal(401, provider=provider, code=1002, message="Authorization is invalid")

    assert raised.message == "Kling does not accept the key."
    assert "KLING_ACCESS_KEY" in raised.advice


def test_a_success_that_holds_no_task_is_told_with_what_is_missing() -> None:
    error = unreadable("newapi", "it names no task")

    assert type(error) is ProviderDown
    assert "it names no task" in error.message
    assert (error.provider, error.charged, error.retryable) == ("newapi", "unknown", True)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("5.041", 5.041),
        (5, 5.0),
        (0, 0.0),
        ("0", 0.0),
        ("100%", None),
        ("", None),
        ("five", None),
        (None, None),
        (-1, None),
        ("nan", None),
        (float("inf"), None),
        (10**400, None),
        ([5], None),
    ],
)
def test_numbers_come_as_text_or_numbers_and_what_is_none_is_none(
    value: object, found: float | None
) -> None:
    assert number(value) == found
    assert seconds(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a", "a"),
        (829611643369439283, "829611643369439283"),
        ("a\ud800b", "a?b"),
        (None, ""),
        (True, ""),
        (1.5, ""),
        (["a"], ""),
    ],
)
def test_text_is_what_a_url_and_a_file_take(value: object, found: str) -> None:
    assert text(value) == found


@pytest.mark.parametrize("value", [None, [], "a", 1, [{"a": 1}]])
def test_what_is_no_object_has_no_fields(value: object) -> None:
    assert mapping(value) == {}


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["0", "success", "1201", "{", '{"code": 1303}', "\ud800", "failed"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["code", "message", "type", "error"]), inner)
    ),
    max_leaves=8,
)
_documents = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("code", "message", "error", "id", "task_id", "status", "data", "request_id"), _values
    ),
)
_bodies = st.binary(max_size=60) | (_documents | _values).map(lambda v: json.dumps(v).encode())


@settings(deadline=None)
@given(_bodies, st.sampled_from([200, 200, 200, 204, 301, 400, 401, 429, 500, 502]))
@example(rb'{"error": {"code": "\ud800"}}', 200)
def test_no_bytes_make_the_reader_raise_anything_but_a_provider_error(
    body: bytes, http_status: int
) -> None:
    try:
        document = read_document(Answer(http_status, body, provider="newapi"))
    except ProviderError as error:
        f"{error} {error.facts()}".encode()
    else:
        code = text(document.get("code")).lower()
        assert http_status < 400
        assert code in ("0", "success") or (not code and {"id", "task_id"} & set(document))


FIELDS = ("code", "message", "msg", "detail", "error", "request_id", "status", "task_id", "id")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("words", ["external_task_id ", "model ", '{"code": ', " ", "<", "\\u"])
def test_a_long_text_in_a_refusal_is_read_no_longer_than_a_short_one(
    field: str, words: str
) -> None:
    began = time.process_time()
    refusal(400, **{"code": 1201, field: words * (600_000 // len(words))})

    assert time.process_time() - began < 0.5
