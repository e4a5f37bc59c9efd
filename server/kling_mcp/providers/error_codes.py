"""The meaning of providers' error codes: a table after Kling's error code page.

`created` answers the question about money: can the task exist after this answer to a create?
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from kling_tools import errors
from kling_tools.errors import Charged, ProviderError

__all__ = [
    "BY_HTTP_STATUS",
    "CODES",
    "MADE_FROM",
    "SUCCESS_CODES",
    "WORDS",
    "CodeRow",
    "no_such_task",
    "of_content",
    "row_for",
    "row_without_json",
    "unreadable",
]


MADE_FROM = "prompt or picture"
"""What most requests give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRow:
    """One kind of refusal.

    `{name}`, `{settings}`, `{base_url}` and `{made_from}` in the texts stand for the provider and
    for what the request gives, see `texts`. `without_model` is the advice to a tool that has no
    model_name, where `advice` names one.
    `retryable`: the same read may succeed later; `renew`: a fresh token may help at once;
    `created`: whether a create that got this answer may have made a task; `at_the_door`: it is
    refused before it is handed on to Kling, so that even an HTTP 5xx made none; `of_model`: only
    this model is refused; `of_content`: the prompt or the picture is, so that the same request is
    refused each time.
    """

    error: type[ProviderError]
    message: str
    advice: str = ""
    without_model: str = ""
    retryable: bool = False
    renew: bool = False
    created: Charged = "no"
    at_the_door: bool = False
    of_model: bool = False
    of_content: bool = False

    def texts(
        self, provider: str, made_from: str = MADE_FROM, *, has_models: bool = True
    ) -> tuple[str, str]:
        """Message and advice with the provider's name and the settings that lead to it, and with
        what the result is `made_from`; `has_models` says that its tool has a model_name."""
        official = provider in ("", "kling", "sandbox")
        prefix = provider.upper()
        words = {
            "made_from": made_from,
            "name": "Kling" if official else provider,
            "settings": _OFFICIAL if official else f"{prefix}_API_KEY and {prefix}_BASE_URL",
            "base_url": "setting KLING_BASE_URL" if official else f"setting {prefix}_BASE_URL",
        }
        advice = self.advice if has_models else self.without_model or self.advice
        return self.message.format(**words), advice.format(**words)


_OFFICIAL = "KLING_API_KEY, or KLING_ACCESS_KEY with KLING_SECRET_KEY, and KLING_BASE_URL for the "
_OFFICIAL += "region"
_KEY = "The person who runs the server has to check the key (settings {settings})."
_PAY = "Waiting does not help: the account's owner has to top it up at {name}."
_LATER = "Try again later."

_AUTH = CodeRow(error=errors.AuthFailed, message="{name} does not accept the key.", advice=_KEY)
_ACCOUNT = CodeRow(
    error=errors.PaymentRequired,
    message="The {name} account is in arrears or in an abnormal state.",
    advice=_PAY,
)
_REFUSED = CodeRow(
    error=errors.RequestRefused,
    message="{name} refuses the request.",
    advice="Leave out optional arguments, or use another model_name; dry_run shows the request.",
    without_model="Leave out optional arguments; dry_run shows the request.",
)
_POLICY = CodeRow(
    error=errors.ContentRefused,
    message="{name}'s content policy refuses this {made_from}.",
    advice="Use another {made_from}.",
    of_content=True,
)
_MISSING = CodeRow(
    error=errors.RequestRefused,
    message="{name} knows no such method, resource or model.",
    advice="Check model_name, and the base URL ({base_url}).",
    without_model="Check the base URL ({base_url}).",
)


_RETIRED = CodeRow(
    error=errors.ModelRetired,
    message="{name} does not serve this model any more: it has been retired.",
    advice="Use another model_name, kling-v2-5-turbo for example.",
    without_model="Use another provider.",
    of_model=True,
)
"""HTTP 404 with code 1203 as the answer to a create [Kling's API, measured on 2026-10-01]."""


def _down(message: str) -> CodeRow:
    return CodeRow(
        error=errors.ProviderDown,
        message=message,
        advice=_LATER,
        retryable=True,
        created="unknown",
    )


_TOKEN_AGE = CodeRow(
    error=errors.AuthFailed,
    message="{name} says that the token is not valid now.",
    advice="Check this machine's clock. " + _KEY,
    renew=True,
)

CODES: dict[str, CodeRow] = {
    "1000": _AUTH,
    "1001": _AUTH,
    "1002": _AUTH,
    "1003": _TOKEN_AGE,
    "1004": _TOKEN_AGE,
    "1100": _ACCOUNT,
    "1101": _ACCOUNT,
    "1102": CodeRow(
        error=errors.PaymentRequired,
        message="The {name} account has no units left, or its resource pack has expired.",
        advice=_PAY,
    ),
    "1103": CodeRow(
        error=errors.AuthFailed,
        message="The {name} account has no right to this API or model.",
        advice="Use another model_name, or have the right added at {name}.",
        without_model="Have the right added at {name}.",
    ),
    "1200": _REFUSED,
    "1201": _REFUSED,
    "1202": _MISSING,
    "1203": _MISSING,
    "1300": _POLICY,
    "1301": _POLICY,
    "1302": CodeRow(
        error=errors.RateLimited,
        message="Too many requests to {name}.",
        advice="Call again in a minute.",
        retryable=True,
    ),
    "1303": CodeRow(
        error=errors.ConcurrencyFull,
        message="As many videos are being made as the {name} account allows.",
        advice="Call again when a running task has ended (kling_wait_for_tasks).",
        retryable=True,
    ),
    "1304": CodeRow(
        error=errors.AuthFailed,
        message="This machine's IP address is not on the {name} account's whitelist.",
        advice="The account's owner has to add it at {name}.",
    ),
    "5000": _down("{name} has an internal error."),
    "5001": _down("{name} is in maintenance."),
    "5002": _down("{name} has a backlog and does not answer in time."),
}
"""By Kling's business code."""

_NO_TASK = CodeRow(
    error=errors.TaskNotFound,
    message="{name} knows no such task.",
    advice="Check the id with kling_list_tasks; results are cleared after 30 days.",
)

WORDS: tuple[tuple[re.Pattern[str], CodeRow], ...] = (
    (
        re.compile(
            r"deadline exceeded|client\.timeout|awaiting headers|unexpected eof|connection reset"
            r"|broken pipe|i/o timeout",
            re.IGNORECASE,
        ),
        _down("{name} got no answer from its own provider in time."),
    ),
    (
        re.compile(
            r"task_not_exist|task not found|no such task\s{0,9}(?:$|[.,:;!(\"'])", re.IGNORECASE
        ),
        _NO_TASK,
    ),
    (
        re.compile(r"already be deleted", re.IGNORECASE),
        CodeRow(
            error=errors.RequestRefused,
            message="An element or a voice of this request is deleted at {name}.",
            advice="Use another one of kling_list_assets, or make it anew.",
        ),
    ),
    (
        re.compile(r"external_task_id .{0,200}already exists", re.IGNORECASE),
        CodeRow(
            error=errors.DuplicateTask,
            message="A task with this external_task_id exists already.",
            advice="Ask for it with kling_get_task, or leave external_task_id out.",
        ),
    ),
    (
        re.compile(r"not supported for this api|model is not supported", re.IGNORECASE),
        CodeRow(
            error=errors.RequestRefused,
            message="{name} has this model, but not for this kind of video.",
            advice="Use another model_name.",
            without_model="Use another provider.",
            of_model=True,
        ),
    ),
    (
        re.compile(
            r"\bmodel\b.{0,100}\bdoes not exist|\bmodel not found|unknown model", re.IGNORECASE
        ),
        CodeRow(
            error=errors.RequestRefused,
            message="{name} has no model of this name.",
            advice="Use another model_name, kling-v2-5-turbo for example.",
            without_model="Use another provider.",
            of_model=True,
        ),
    ),
    (re.compile(r"discontinued|no longer available", re.IGNORECASE), _RETIRED),
    (
        re.compile(
            r"insufficient_user_quota|quota_not_enough|quota is not enough"
            r"|account balance not enough",
            re.IGNORECASE,
        ),
        CodeRow(
            error=errors.PaymentRequired,
            message="The {name} account has too little left for this.",
            advice=_PAY,
            at_the_door=True,
        ),
    ),
    (re.compile(r"risk control system", re.IGNORECASE), _POLICY),
    (
        re.compile(r"not in a valid base64 format", re.IGNORECASE),
        CodeRow(
            error=errors.RequestRefused,
            message="{name} cannot read the picture.",
            advice="Use another copy of it, or the https URL of the picture.",
            of_content=True,
        ),
    ),
    (
        re.compile(
            r"image pixel is invalid|resolution or aspect ratio of the input image"
            r"|image format is not supported|size of \S+ cannot exceed \d+ ?MB",
            re.IGNORECASE,
        ),
        CodeRow(
            error=errors.RequestRefused,
            message="{name} does not take a picture of this size, shape or format.",
            advice="Use a JPEG copy of the picture with sides of 300 to 2000 px and a ratio "
            "between 1:2.5 and 2.5:1.",
            of_content=True,
        ),
    ),
    (
        re.compile(r"model_not_found|no available channel for model", re.IGNORECASE),
        CodeRow(
            error=errors.RequestRefused,
            message="{name} does not serve this model now.",
            advice="Use another model_name, or another provider.",
            without_model="Use another provider.",
            at_the_door=True,
            of_model=True,
        ),
    ),
)
"""What codes of several meanings, and gateways with words for codes, are told apart by."""

_ELSEWHERE = CodeRow(
    error=errors.RequestRefused,
    message="{name}'s address sends requests on to another one, which is not followed.",
    advice="Correct the base URL ({base_url}).",
)

BY_HTTP_STATUS: dict[int, CodeRow] = {
    **dict.fromkeys((301, 302, 303, 307, 308), _ELSEWHERE),
    401: _AUTH,
    402: _ACCOUNT,
    403: CODES["1103"],
    404: _MISSING,
    405: _MISSING,
    499: _down("{name} gave up before its own provider had answered."),
    408: CodeRow(
        error=errors.ProviderDown,
        message="{name} did not get the whole request in time.",
        advice="Try again, with smaller pictures if the line is slow.",
        retryable=True,
    ),
    413: CodeRow(
        error=errors.RequestRefused,
        message="The request is too large for {name}.",
        advice="Use smaller pictures.",
    ),
    429: CODES["1302"],
}
"""Where an answer has no code that we know."""

SUCCESS_CODES = frozenset({"0", "success"})
"""The codes of an answer that does not refuse, in small letters."""

UNREADABLE = _down("{name}'s answer cannot be read.")

_PAGE = replace(
    UNREADABLE,
    advice="It is a web page: check the base URL ({base_url}), or whether a proxy wants somebody "
    "to sign in.",
)

_AT_THE_GATE = CodeRow(
    error=errors.ProviderDown,
    message="Something before {name} does not let this machine through.",
    advice="A firewall or a proxy answers, not {name}: this says nothing about the key or the "
    "account. Try again later, use another network, or check the base URL ({base_url}).",
    retryable=True,
)

SPEAKS_WITHOUT_JSON = (401, 404, 405, 408, 413, 429)
"""Refusals that mean the same whoever answers: the provider, or what stands before it."""

_REFUSAL = re.compile(r"1\d{3}")
"""Kling's codes for what it does not take; from 5000 on the fault is its own."""


def row_without_json(http_status: int, page: bool) -> CodeRow:
    """The row of an answer without JSON, such as a web `page`. A firewall's refusal says nothing
    about the key or the account."""
    if http_status < 300:
        return _PAGE if page else UNREADABLE
    if 400 <= http_status < 500 and http_status not in SPEAKS_WITHOUT_JSON:
        return _AT_THE_GATE
    return row_for("", "", http_status)


def row_for(code: str, message: str, http_status: int, *, creating: bool = False) -> CodeRow:
    """The row of an answer, by its code and its words, else by its HTTP status. `creating` says
    that it is the answer to a create.

    An answer that neither succeeds nor says clearly that it refuses is UNREADABLE. Words about a
    missing task count neither in the answer to a create nor beside an error of the provider's own:
    the task may be there, and paid.
    """
    if code in ("1200", "1201", "1203") or code not in CODES:
        for words, row in WORDS:
            if row is _NO_TASK and creating:
                continue
            by_words = row is not _NO_TASK or http_status < 500
            if words.search(code) or (by_words and words.search(message)):
                return row
    if creating and (code, http_status) == ("1203", 404):
        return _RETIRED
    if code in CODES:
        return CODES[code]
    if http_status >= 500:
        return _down("{name} has an error of its own.")
    if http_status in BY_HTTP_STATUS:
        return BY_HTTP_STATUS[http_status]
    return _REFUSED if http_status >= 400 or _REFUSAL.fullmatch(code) else UNREADABLE


def of_content(provider_says: str, made_from: str = MADE_FROM) -> str:
    """What to do about a refusal in these words of what the result is `made_from`, which is refused
    each time; empty for all other words."""
    row = next((row for words, row in WORDS if words.search(provider_says)), None)
    return row.texts("", made_from)[1] if row and row.of_content else ""


def unreadable(provider: str, why: str) -> ProviderError:
    """The error about an answer that says success but lacks what a success contains; `why` names
    it."""
    row = UNREADABLE
    message, advice = row.texts(provider)
    return row.error(
        f"{message[:-1]}: {why}.",
        retryable=row.retryable,
        provider=provider,
        charged=row.created,
        advice=advice,
    )


def no_such_task(provider: str) -> ProviderError:
    """The error about a task that is missing in an answer without an error, as Kling's new standard
    tells it."""
    message, advice = _NO_TASK.texts(provider)
    return _NO_TASK.error(message, provider=provider, charged="no", advice=advice)
