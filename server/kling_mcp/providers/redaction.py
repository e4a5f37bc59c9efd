"""No secret of this process leaves it: not in an answer, not in the ledger, not in the log.

It stands at three doors. What a provider says passes through when it has been decoded, before
anything is cut or kept; what an assistant reads, and each line of the log, when it leaves.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from kling_mcp.providers.auth import Credentials
    from kling_mcp.providers.configured import Configured
    from kling_mcp.settings.settings import Settings

__all__ = [
    "IN_PLACE",
    "Redactor",
    "guard_logs",
    "mapped",
    "redactor_of",
    "secrets_of",
]

IN_PLACE = "..."

LEAST = 8
"""Characters from which on a secret is one; shorter ones stand in words."""

LEAST_OTHERS = 16
"""The same for a variable of other programs, which may hold anything."""

LONGEST_CODED = 100
"""Characters of a secret whose base64 is looked for; a token is base64 already."""

_NAMED = re.compile(r"(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|PWD|CREDENTIALS?)$", re.IGNORECASE)
"""Variables of the environment that hold a secret."""

_GIVEN_OUT = re.compile(r"kmcp_[\w-]{20,}|(?<=/callbacks/)[\w-]{20,}")
"""What this server gives out itself: tokens of a login, addresses that a provider calls."""

_RUN = re.compile(r"\\{2,}")
_ESCAPED = re.compile(r"(?:\\(?:u00|x)|%)([0-9a-f]{2})", re.IGNORECASE)

MOST_ESCAPES = 1_000_000
"""In one value; a list of 500 tasks with their links has less than a tenth."""

_QUERY = re.compile(r"""(https?://[^\s"'<>?\\]*)(?:\?[^\s"'<>\\]*)?""", re.IGNORECASE)
_SIGNED = re.compile(r"""([?&][\w.-]{1,40}=)[^\s"'<>&\\]{16,}""")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?")
_BEARER = re.compile(r"(\b(?:Bearer|Basic)\s{1,4})[\w.~+/=-]{8,}", re.IGNORECASE)

LINE_LIMIT, TAIL = 20_000, 500
"""Characters of a log's line that are kept, and so many more that are looked at: a secret must
not be cut in two."""

ROUNDS = 4
"""How many times over a text may be escaped."""


class Redactor:
    """Takes secrets out of texts, however they are escaped: `given` ones, and those that
    `credentials` have now."""

    def __init__(self, given: Iterable[str] = (), credentials: Iterable[Credentials] = ()) -> None:
        self._given = frozenset(given)
        self._credentials = tuple(credentials)
        self._known: frozenset[str] = frozenset()
        self._forms: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """The text with `...` for each secret; its escapes are undone where they hide one."""
        text = self._without_forms(text)
        decoded = _decoded(text)
        found = self._without_forms(decoded)
        text = text if found == decoded else found
        given_out = "kmcp_" in text or "/callbacks/" in text
        return _GIVEN_OUT.sub(IN_PLACE, text) if given_out else text

    def value(self, value: Any) -> Any:
        """The same for every text in a value as JSON has them, names of fields included.

        Raises ValueError for one with so many escapes that undoing them keeps others waiting.
        """
        whole = json.dumps(value, ensure_ascii=False, default=str)
        if sum(map(whole.count, "\\%&")) > MOST_ESCAPES:
            raise ValueError("too many escapes")
        return value if self.text(whole) == whole else mapped(value, self.text)

    def line(self, text: str) -> str:
        """For a log, which also holds no signed URL and nobody else's token."""
        text = text[: LINE_LIMIT + TAIL]
        text = _QUERY.sub(lambda found: found[1] + ("?..." if found[0] != found[1] else ""), text)
        text = _SIGNED.sub(rf"\1{IN_PLACE}", text)
        text = self.text(_BEARER.sub(rf"\1{IN_PLACE}", _JWT.sub(IN_PLACE, text)))
        return text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]}…"

    def _without_forms(self, text: str) -> str:
        for form in self._all_forms():
            text = text.replace(form, IN_PLACE)
        return text

    def _all_forms(self) -> tuple[str, ...]:
        now = self._given.union(*(each.secrets for each in self._credentials))
        if now != self._known:
            secrets = {secret for secret in now if len(secret) >= LEAST}
            coded = {form for secret in secrets for form in _in_base64(secret)}
            self._known, self._forms = now, tuple(sorted(secrets | coded, key=len, reverse=True))
        return self._forms


def redactor_of(
    settings: Settings, providers: Iterable[Configured], others: Iterable[str] = ()
) -> Redactor:
    """One that knows every secret of these settings, of the providers' keys, of the environment,
    and `others`."""
    secrets = [*_of_environment(), *secrets_of(settings), *others]
    return Redactor(secrets, [provider.credentials for provider in providers])


def secrets_of(settings: BaseModel) -> list[str]:
    """Every secret of these settings, and the parts of it that are secret by themselves."""
    values = [v for v in vars(settings).values() if isinstance(v, SecretStr)]
    return [part for value in values for part in _parts(value.get_secret_value())]


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value as JSON has them, with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    if isinstance(value, Mapping):
        return {
            change(name) if isinstance(name, str) else name: mapped(item, change)
            for name, item in value.items()
        }
    return value


def guard_logs(redactor: Redactor) -> None:
    """From now on no line of the log holds a secret, whoever writes it."""
    for handler in logging.getLogger().handlers:
        for old in [each for each in handler.filters if isinstance(each, _Discreet)]:
            handler.removeFilter(old)
        handler.addFilter(_Discreet(redactor))


class _Discreet(logging.Filter):
    """Stands before a handler, since records of all loggers come there."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """True, always; the record has lost its secrets."""
        record.msg, record.args = self._redactor.line(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redactor.line(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor.line(record.stack_info)
        return True


def _decoded(text: str) -> str:
    """The text as a reader would understand it, whose escapes (of JSON, URLs and HTML, also
    several times over) may hide a secret."""
    for _ in range(ROUNDS):
        before = text
        if "\\" in text or "%" in text:
            text = _RUN.sub(r"\\", text)
            text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
        if "&" in text:
            text = html.unescape(text)
        if text == before:
            break
    return text.replace("\\", "")


def _in_base64(secret: str) -> set[str]:
    """What stands of a secret in base64, wherever in the encoded text it begins."""
    if len(secret) > LONGEST_CODED:
        return set()
    forms = set()
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        data = bytes(before) + secret.encode()
        whole = len(data) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(data).decode()[skipped:whole])
    return {form for form in forms if len(form) >= LEAST}


def _parts(secret: str) -> list[str]:
    """A secret, and what is secret in it: the password of a URL, the key behind a prefix."""
    found = [secret, secret.removeprefix("whsec_")]
    try:
        password = urlsplit(secret).password or ""
    except ValueError:
        password = ""
    words = re.findall(r"\bpassword\s{0,4}=\s{0,4}'?([^\s']+)", secret)
    return [*found, password, unquote(password), *words]


def _of_environment() -> list[str]:
    """Secrets among the variables: those whose name says so, and passwords in addresses."""
    found = []
    for name, value in os.environ.items():
        if _NAMED.search(name) and len(value) >= LEAST_OTHERS and not os.path.exists(value):  # noqa: PTH110
            found.append(value)
        if "://" in value:
            found += _parts(value)[2:]
    return found
