"""Keeps the secrets of this process out of its answers, its ledger and its log.

The redactor works at three places: on a provider's document as soon as it is decoded, before any
text is cut or kept; on every answer to an assistant; and on every line of the log.
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
"""The fewest characters of a secret; shorter texts are parts of words."""

LEAST_OTHERS = 16
"""The fewest characters of a secret in another program's variable."""

LONGEST_CODED = 100
"""The most characters of a secret whose base64 is looked for; longer ones are tokens, which are
base64 already."""

_NAMED = re.compile(r"(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|PWD|CREDENTIALS?)$", re.IGNORECASE)
"""Names of environment variables that hold a secret."""

_GIVEN_OUT = re.compile(r"kmcp[acr]?_[\w-]{20,}|(?<=/callbacks/)[\w-]{20,}")
"""Secrets that this server makes: login tokens, those and the codes of signing in (access, code,
refresh), and the keys of callback addresses."""

_RUN = re.compile(r"\\{2,}")
_ESCAPED = re.compile(r"(?:\\(?:u00|x)|%)([0-9a-f]{2})", re.IGNORECASE)

MOST_ESCAPES = 1_000_000
"""The most escapes in one value; a list of 500 tasks with links has less than a tenth of them."""

_QUERY = re.compile(r"""(https?://[^\s"'<>?\\]*)(?:\?[^\s"'<>\\]*)?""", re.IGNORECASE)
_SIGNED = re.compile(r"""([?&][\w.-]{1,40}=)[^\s"'<>&\\]{16,}""")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?")
_BEARER = re.compile(r"(\b(?:Bearer|Basic)\s{1,4})[\w.~+/=-]{8,}", re.IGNORECASE)

LINE_LIMIT, TAIL = 20_000, 500
"""The most characters of a line of the log, and the characters behind them that are searched too,
as a cut could hide half of a secret."""

ROUNDS = 4
"""The most layers of escapes that are undone."""


class Redactor:
    """Takes secrets out of texts, also escaped ones: the `given` secrets, and those that the
    `credentials` have at that moment."""

    def __init__(self, given: Iterable[str] = (), credentials: Iterable[Credentials] = ()) -> None:
        self._given = frozenset(given)
        self._credentials = tuple(credentials)
        self._known: frozenset[str] = frozenset()
        self._forms: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """The text with `...` for each secret. Escapes are undone if they hide one."""
        text = self._without_forms(text)
        decoded = _decoded(text)
        found = self._without_forms(decoded)
        text = text if found == decoded else found
        given_out = "kmcp" in text or "/callbacks/" in text
        return _GIVEN_OUT.sub(IN_PLACE, text) if given_out else text

    def value(self, value: Any) -> Any:
        """The JSON value with `...` for each secret in its texts and in its names of fields.

        Raises ValueError for a value with more than MOST_ESCAPES escapes.
        """
        whole = json.dumps(value, ensure_ascii=False, default=str)
        if sum(map(whole.count, "\\%&")) > MOST_ESCAPES:
            raise ValueError("too many escapes")
        return value if self.text(whole) == whole else mapped(value, self.text)

    def line(self, text: str) -> str:
        """The text for a log: without secrets, without the queries of URLs, without any tokens."""
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
    """A redactor for all secrets of the settings, of the providers' credentials and of the
    environment, and for `others`."""
    secrets = [*_of_environment(), *secrets_of(settings), *others]
    return Redactor(secrets, [provider.credentials for provider in providers])


def secrets_of(settings: BaseModel) -> list[str]:
    """All secrets of the settings, and their parts that are secret by themselves."""
    values = [v for v in vars(settings).values() if isinstance(v, SecretStr)]
    return [part for value in values for part in _parts(value.get_secret_value())]


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON value with `change` applied to every text and every name of a field."""
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
    """Take secrets out of every line of the log from now on."""
    for handler in logging.getLogger().handlers:
        for old in [each for each in handler.filters if isinstance(each, _Discreet)]:
            handler.removeFilter(old)
        handler.addFilter(_Discreet(redactor))


class _Discreet(logging.Filter):
    """A filter of a handler, where the records of all loggers pass."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the secrets out of the record. Returns True: every record is written."""
        record.msg, record.args = self._redactor.line(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redactor.line(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor.line(record.stack_info)
        return True


def _decoded(text: str) -> str:
    """The text without the escapes of JSON, URLs and HTML, up to ROUNDS layers of them."""
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
    """The forms that a secret takes in base64, for each offset at which it may begin."""
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
    """A secret and its secret parts: the password of a URL, the key behind a prefix."""
    found = [secret, secret.removeprefix("whsec_")]
    try:
        password = urlsplit(secret).password or ""
    except ValueError:
        password = ""
    words = re.findall(r"\bpassword\s{0,4}=\s{0,4}'?([^\s']+)", secret)
    return [*found, password, unquote(password), *words]


def _of_environment() -> list[str]:
    """Secrets in environment variables: values of telling names, and passwords in addresses."""
    found = []
    for name, value in os.environ.items():
        if _NAMED.search(name) and len(value) >= LEAST_OTHERS and not os.path.exists(value):  # noqa: PTH110
            found.append(value)
        if "://" in value:
            found += _parts(value)[2:]
    return found
