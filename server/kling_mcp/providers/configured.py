"""The providers of this process: all providers with a key, else the sandbox."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kling_mcp.providers.auth import A_KEY, ApiKey, Credentials, SignedToken
from kling_mcp.providers.rows import PROVIDERS, SANDBOX, ProviderRow, read_providers
from kling_tools.errors import NotConfigured
from kling_tools.requests.arguments import AUTO
from kling_tools.rules.capabilities import ProviderTerms, Wire

if TYPE_CHECKING:
    from kling_mcp.settings.environment import Remark
    from kling_mcp.settings.settings import Settings

__all__ = [
    "SANDBOX_ACCESS_KEY",
    "SANDBOX_KEY",
    "SANDBOX_URL",
    "Configured",
    "configured_providers",
    "remarks_on",
]

SANDBOX_URL = "http://sandbox.kling.invalid"
"""The base URL of the embedded sandbox; no name server knows its host."""

SANDBOX_KEY = "sandbox-key"
SANDBOX_ACCESS_KEY = "sandbox-access"
"""The keys of every sandbox [kling_sandbox.config]. No provider issues them, so with one nothing
can be paid."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A provider with its base URL and credentials; `embedded` when the sandbox in this process
    answers for it. `wires` are the standards that it speaks here, by its row, the kind of key and
    the settings: the first one that can carry a request takes it. `other_wires` says how to get the
    others."""

    row: ProviderRow
    base_url: str
    credentials: Credentials
    embedded: bool
    wires: tuple[Wire, ...] = ("legacy",)
    other_wires: str = ""

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.row.name

    @property
    def terms(self) -> ProviderTerms:
        """The part of it that the rules need."""
        return replace(self.row.terms, wires=self.wires)

    @property
    def reads_all(self) -> bool:
        """Whether one request may ask for tasks of any product and standard."""
        return "new" in self.wires

    @property
    def sandbox(self) -> bool:
        """Whether a sandbox answers, so that nothing is charged: the one in this process, or one in
        this network that is given a sandbox's own key."""
        if self.embedded:
            return True
        from kling_mcp.inputs.urls import is_private_host

        given = self.credentials
        key = given.access_key if isinstance(given, SignedToken) else given.token()
        known = key in (SANDBOX_KEY, SANDBOX_ACCESS_KEY)
        return known and is_private_host(urlsplit(self.base_url).hostname or "")


def configured_providers(settings: Settings) -> Mapping[str, Configured]:
    """The providers by name, the default first.

    All providers with a key are used, in the order of the table. `KLING_MCP_PROVIDER` comes first;
    `sandbox` comes alone, so that nothing can be spent; `auto` changes no order. Raises
    NotConfigured when `KLING_MCP_PROVIDER` has no key, or when half of a key pair is missing.
    """
    rows = read_providers(settings.providers)
    wanted = "" if settings.provider == AUTO else settings.provider
    if wanted and wanted not in rows:
        raise NotConfigured(
            f"KLING_MCP_PROVIDER is {wanted}, which is not a provider.",
            advice=f"There are {', '.join(rows)}, and {AUTO}.",
        )
    found = {} if wanted == SANDBOX else _with_keys(rows, settings)
    if wanted and wanted != SANDBOX and wanted not in found:
        row = rows[wanted]
        needs = (
            f"{row.key_setting} is"
            if row.base_url or settings.base_url_of(row.base_url_setting)
            else (f"{row.key_setting} and {row.base_url_setting} are")
        )
        raise NotConfigured(
            f"KLING_MCP_PROVIDER is {wanted}, and {needs} not set.",
            advice=_because(settings, row)
            + "Set it, or leave KLING_MCP_PROVIDER out to try everything in the sandbox.",
        )
    if not found:
        found = {SANDBOX: _sandbox(rows[SANDBOX], SANDBOX_URL, settings.standard)}
    return dict(sorted(found.items(), key=lambda item: item[0] != wanted))


def remarks_on(settings: Settings) -> tuple[Remark, ...]:
    """What was left out of the settings, and of the keys and base URLs of providers that the user
    has added, as far as their file can be read."""
    rows: Collection[ProviderRow] = ()
    with suppress(NotConfigured):
        rows = read_providers(settings.providers).values()
    added = {name for row in rows for name in (row.key_setting, row.base_url_setting)}
    own = settings.remarks
    return (*own, *(remark for remark in settings.remarks_on(*added) if remark not in own))


def _with_keys(rows: Mapping[str, ProviderRow], settings: Settings) -> dict[str, Configured]:
    found = {}
    for name, row in rows.items():
        if name == SANDBOX:
            continue
        asked = settings.base_url_of(row.base_url_setting) or row.base_url
        base_url = row.regions.get(asked.lower(), asked)
        credentials = _credentials(row, settings)
        if base_url.lower() == SANDBOX:
            found[name] = _sandbox(row, _played(row), settings.standard)
            continue
        base_url = _checked(row, base_url) if base_url else ""
        if credentials is not None and base_url:
            wires, others = _wires(row, credentials, settings.standard)
            found[name] = Configured(row, base_url, credentials, False, wires, others)
        elif credentials is not None:
            raise NotConfigured(
                f"{row.key_setting} is set, and the base URL of the gateway is not.",
                advice=f"{_because(settings, row)}Set {row.base_url_setting}.",
            )
    return found


def _because(settings: Settings, row: ProviderRow) -> str:
    """The reasons why a key or a base URL that is set somewhere does not count."""
    remarks = settings.remarks_on(row.key_setting, row.base_url_setting)
    return "".join(f"{remark.text} " for remark in remarks if not remark.harmless)


def _sandbox(row: ProviderRow, base_url: str, standard: str) -> Configured:
    key = ApiKey(SANDBOX_KEY)
    wires, others = _wires(row, key, standard)
    return Configured(row, base_url, key, True, wires, others)


def _wires(
    row: ProviderRow, credentials: Credentials, standard: str
) -> tuple[tuple[Wire, ...], str]:
    """The standards that the provider speaks here, the first choice first, and how to get the
    others. Raises NotConfigured for a key pair where only the new standard may be used."""
    signed = isinstance(credentials, SignedToken)
    if "new" not in row.wires:
        return row.wires, ""
    if signed and standard == "new":
        raise NotConfigured(
            "KLING_MCP_STANDARD is new, and Kling's new standard takes no access key pair.",
            advice=f"Set {A_KEY}, or leave KLING_MCP_STANDARD out.",
        )
    if signed:
        return tuple(wire for wire in row.wires if wire != "new"), A_KEY
    if standard == "auto":
        return row.wires, ""
    return tuple(wire for wire in row.wires if wire == standard), "KLING_MCP_STANDARD=auto"


def _played(row: ProviderRow) -> str:
    """The URL at which the sandbox plays the built-in provider that this row is like."""
    if row.family in PROVIDERS:
        return SANDBOX_URL if row.family == "kling" else f"{SANDBOX_URL}/{row.family}"
    raise NotConfigured(
        f"{row.base_url_setting} is sandbox, which does not know {row.name}.",
        advice='Give its row "like" with a provider that the sandbox plays.',
    )


def _credentials(row: ProviderRow, settings: Settings) -> Credentials | None:
    key = settings.key_of(row.key_setting)
    if key is not None:
        return ApiKey(key)
    if row.name != "kling":
        return None
    access, secret = settings.kling_access_key, settings.kling_secret_key
    if (access is None) is not (secret is None):
        missing = "KLING_SECRET_KEY" if access else "KLING_ACCESS_KEY"
        raise NotConfigured(
            f"{missing} is missing: the access key and the secret key work as a pair.",
            advice="Set both, or KLING_API_KEY, or KLING_MCP_PROVIDER=sandbox to try everything "
            "without a key.",
        )
    if access is None or secret is None:
        return None
    return SignedToken(access.get_secret_value(), secret.get_secret_value())


def _checked(row: ProviderRow, base_url: str) -> str:
    """The base URL without a slash at its end, and without the path that all requests have. Raises
    NotConfigured for a URL to which no path can be added, or that cannot be sent."""
    try:
        parts = urlsplit(base_url)
        plain = not (parts.username or parts.password or {"?", "#"} & set(base_url))
        known = parts.scheme in ("http", "https") and parts.port != 0 and bool(parts.hostname)
    except ValueError:
        plain = known = False
    writable = base_url.isprintable() and " " not in base_url
    if known and plain and writable:
        return base_url.rstrip("/").removesuffix(row.prefix).rstrip("/")
    choices = ", ".join(["a URL", *row.regions])
    raise NotConfigured(
        f"{row.base_url_setting} is not an http(s) URL without user, query or fragment.",
        advice=f"It takes {choices} or {SANDBOX}.",
    )
