"""Checks of the form of each key, without showing any part of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kling_mcp.doctor.findings import Finding
from kling_mcp.providers.configured import SANDBOX_ACCESS_KEY, SANDBOX_KEY

if TYPE_CHECKING:
    from kling_mcp.providers.configured import Configured
    from kling_mcp.settings.settings import Settings

__all__ = ["key_findings", "key_origins"]

PAIR = ("KLING_ACCESS_KEY", "KLING_SECRET_KEY")


@dataclass(frozen=True, slots=True)
class Slip:
    """One common mistake with a key; `applies` takes the key and the provider's family."""

    applies: Callable[[str, str], bool]
    text: str
    advice: str


SLIPS: tuple[Slip, ...] = (
    Slip(
        lambda key, _: key[:1] in "\"'" or key[-1:] in "\"'",
        "has quotation marks around it, which would be sent too",
        "Write it without them.",
    ),
    Slip(
        lambda key, _: bool(re.search(r"your|xxx|<|>|\.\.\.|example|change.?me", key.lower())),
        "looks like the placeholder of an example",
        "Replace it by the provider's key.",
    ),
    Slip(
        lambda key, _: key.startswith("eyJ") and key.count(".") == 2,
        "is a token that ends after half an hour, not a key",
        "Set KLING_ACCESS_KEY and KLING_SECRET_KEY, from which tokens are made.",
    ),
    Slip(
        lambda key, family: family == "kling" and key.startswith("sk-"),
        "begins with sk-, like keys of gateways, not of Kling",
        "Set it as the gateway's key: COMETAPI_API_KEY, ANYFAST_API_KEY, POWERTOKENS_API_KEY or "
        "NEWAPI_API_KEY.",
    ),
    Slip(
        lambda key, _: key in (SANDBOX_KEY, SANDBOX_ACCESS_KEY),
        "is the key of the sandbox, which no provider accepts",
        "Set the provider's base URL to the sandbox's, or the key to the provider's.",
    ),
    Slip(
        lambda key, _: len(key) < 16,
        "is shorter than the keys of any provider",
        "Copy it again, to its end.",
    ),
)
"""The first that applies is reported. New-api gateways write `sk-` before their keys."""


def _settings(provider: Configured) -> tuple[str, ...]:
    """The variables of this provider's key; empty for the sandbox."""
    from kling_mcp.providers.auth import SignedToken

    if provider.embedded:
        return ()
    if isinstance(provider.credentials, SignedToken):
        return PAIR
    return (provider.row.key_setting,)


def key_findings(
    providers: Mapping[str, Configured], settings: Settings, accepted: Container[str] = ()
) -> list[Finding]:
    """Findings about the form of each key in use, unless its provider has `accepted` it or a
    sandbox plays the provider."""
    found: list[Finding] = []
    for provider in providers.values():
        if provider.sandbox or provider.name in accepted:
            continue
        for variable in _settings(provider):
            found.extend(_of(variable, settings.variable(variable), provider.row.family))
    found.extend(_doubles(settings))
    return found


def _of(variable: str, key: str, family: str) -> Iterator[Finding]:
    slip = next((slip for slip in SLIPS if key and slip.applies(key, family)), None)
    if slip is not None:
        yield Finding("key", "warning", f"{variable} {slip.text}.", slip.advice)


def _doubles(settings: Settings) -> Iterator[Finding]:
    api_key, access, secret = map(settings.variable, ("KLING_API_KEY", *PAIR))
    if api_key and access and secret:
        yield Finding(
            "key", "note", "KLING_API_KEY is used; KLING_ACCESS_KEY and KLING_SECRET_KEY are not."
        )
    if access and access == secret:
        yield Finding(
            "key",
            "wrong",
            "KLING_ACCESS_KEY and KLING_SECRET_KEY are the same.",
            "Kling shows two keys: copy both.",
        )
    if api_key and api_key in (access, secret):
        yield Finding(
            "key",
            "warning",
            "KLING_API_KEY is one half of the pair of access key and secret key.",
            "Leave KLING_API_KEY out.",
        )


def key_origins(provider: Configured, settings: Settings) -> dict[str, str]:
    """The origin of each of the provider's key settings, by variable."""
    return {name: settings.origin_of(name) for name in _settings(provider)}
