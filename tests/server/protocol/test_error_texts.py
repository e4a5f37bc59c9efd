"""Every error as the one who reads it sees it: what is wrong, the money, what to do; and short."""

import json
import re

import pytest

from kling_mcp.providers.error_codes import BY_HTTP_STATUS, CODES, unreadable
from kling_mcp.providers.responses import Answer, read_document
from kling_mcp.providers.rows import PROVIDERS
from kling_tools.errors import ProviderError

TEXT_LIMIT = 500
LONG = "word " * 1000
MONEY = ("This call cost nothing.", "This was charged.", "Whether it was charged is unknown.")
SETTING = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")


def refusals(provider: str) -> list[ProviderError]:
    """One error for each way in which a provider can refuse."""
    bodies = [(400, {"code": int(code), "message": LONG}) for code in CODES]
    bodies += [(status, {"error": {"message": LONG}}) for status in BY_HTTP_STATUS]
    bodies += [
        (400, {"code": "task_not_exist", "message": LONG}),
        (400, {"code": 1201, "message": "External_task_id x already exists"}),
        (400, {"code": 1201, "message": f"no longer available {LONG}"}),
        (403, {"code": "insufficient_user_quota", "message": LONG}),
        (503, {"error": {"code": "model_not_found", "message": LONG}}),
        (500, {}),
        (200, {}),
    ]
    answers = [(status, json.dumps(body).encode()) for status, body in bodies]
    answers += [(200, b""), (200, b"<html>"), (502, b"<html>"), (404, b"<html>"), (302, b"")]
    errors = []
    for status, body in answers:
        with pytest.raises(ProviderError) as raised:
            read_document(Answer(status, body, provider=provider))
        errors.append(raised.value)
    return [*errors, unreadable(provider, "it names no task")]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_refusal_says_what_is_wrong_what_it_cost_and_what_to_do(provider: str) -> None:
    for error in refusals(provider):
        text = str(error)

        assert len(text) <= TEXT_LIMIT, text
        assert sum(money in text for money in MONEY) == 1, text
        assert error.advice.endswith("."), text
        assert text.endswith(error.advice)
        assert not re.search(r"what (it|they|that) \w+|that text|its words", error.advice), text
        assert not re.search(r"\.\.|  |\{|\}|<|\( ", text.replace("...", "")), text
        assert text[0].isupper() or text.startswith(provider), text


@pytest.mark.parametrize(
    "provider", [name for name in PROVIDERS if name not in ("kling", "sandbox")]
)
def test_a_gateway_s_error_speaks_of_the_gateway_and_names_its_settings(provider: str) -> None:
    for error in refusals(provider):
        ours = f"{error.message} {error.advice}".replace(error.provider_says, "")

        assert "Kling" not in ours, ours
        assert all(name.startswith(f"{provider.upper()}_") for name in SETTING.findall(ours)), ours


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_refused_key_names_the_setting_that_holds_it(provider: str) -> None:
    with pytest.raises(ProviderError) as raised:
        read_document(Answer(401, b'{"code": 1002, "message": "no"}', provider=provider))

    expected = "KLING_API_KEY" if provider == "sandbox" else PROVIDERS[provider].key_setting
    assert expected in raised.value.advice
