"""Checks of the settings: which provider they choose, the form of each key (without a part of it
shown), the tools, the table of models, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kling_mcp.doctor.findings import Finding
from kling_mcp.providers.configured import SANDBOX_ACCESS_KEY, SANDBOX_KEY
from kling_mcp.settings.environment import read_capabilities
from kling_tools.errors import KlingError, NotConfigured
from kling_tools.quoting import counted
from kling_tools.requests.arguments import AUTO

if TYPE_CHECKING:
    from kling_mcp.providers.configured import Configured
    from kling_mcp.settings.environment import Remark
    from kling_mcp.settings.settings import Settings

__all__ = [
    "key_findings",
    "key_origins",
    "provider_finding",
    "remark_finding",
    "table_findings",
    "tool_findings",
    "trouble",
]


AFTER_A_SUBMIT = {
    "kling_wait_for_tasks": "wait for it",
    "kling_get_task": "see its state",
    "kling_save_video": "save it",
}
"""The tools that a task requires once it is asked for, and what each does with it."""


def provider_finding(provider: Configured, settings: Settings, *, first: bool) -> Finding:
    """Whether a provider is used, and which setting chose it."""
    name, used = provider.name, "is used" if first else "can be asked for"
    if settings.provider == AUTO:
        used = f"is compared with others by price (KLING_MCP_PROVIDER={AUTO})"
    origins = key_origins(provider, settings)
    facts = {"provider": name, "default": first, "settings": origins}
    if not provider.embedded:
        named = " and ".join(origins)
        where = " and ".join(sorted(set(filter(None, origins.values())))) or "an option"
        text = f"{name} {used}: {named} from {where}."
        if provider.sandbox:
            text += f" A sandbox at {urlsplit(provider.base_url).netloc} plays it: free of charge."
        return Finding("settings", "note" if provider.sandbox else "good", text, "", facts)
    if name == "sandbox":
        return Finding(
            "settings",
            "note",
            "No provider's key is set: the sandbox makes test clips and pictures, free of charge.",
            "Set KLING_API_KEY (or KLING_ACCESS_KEY and KLING_SECRET_KEY) to make real videos.",
            facts,
        )
    text = f"{name} {used}, played by the sandbox ({provider.row.base_url_setting} says so)."
    return Finding("settings", "note", text, "", facts)


def tool_findings(providers: Mapping[str, Configured], settings: Settings) -> Iterator[Finding]:
    """Which tools are offered, and which of them are missing after a submit."""
    from kling_tools.tools.toolset import build_toolset

    try:
        tools = build_toolset(
            list(providers),
            models={},
            hosted=bool(settings.variable("KLING_MCP_PUBLIC_URL")),
            only=settings.tools,
            read_only=settings.read_only,
        )
    except NotConfigured as error:
        yield trouble(error, "tools")
        return
    names = [tool.name for tool in tools]
    facts = {"tools": names}
    makes = any(tool.spends for tool in tools)
    missing = [name for name in AFTER_A_SUBMIT if name not in names] if makes else []
    if missing:
        lacks = " or ".join(AFTER_A_SUBMIT[name] for name in missing)
        text = f"The tools of KLING_MCP_TOOLS make something, but no tool can {lacks}."
        advice = f"Set KLING_MCP_TOOLS={','.join([*settings.tools, *missing])}."
        yield Finding("tools", "note", text, advice, facts)
    elif makes:
        yield Finding("tools", "good", f"{counted(len(names), 'tool')} offered.", "", facts)
    else:
        text = f"{counted(len(names), 'tool')} offered, and none makes anything."
        named = "KLING_MCP_READ_ONLY" if settings.read_only else "KLING_MCP_TOOLS"
        yield Finding("tools", "note", text, f"{named} says so.", facts)


def table_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the user's table of models can be used; nothing without one."""
    if settings.capabilities is None:
        return
    try:
        read_capabilities(settings.capabilities)
    except NotConfigured as error:
        yield trouble(error)
    else:
        text = f"The table of models has the rows of {settings.capabilities}."
        yield Finding("settings", "good", text, "", {"path": str(settings.capabilities)})


def remark_finding(remark: Remark) -> Finding:
    """What was left out of a variable."""
    area = "key" if remark.variable.endswith("_KEY") else "settings"
    return Finding(area, "note" if remark.harmless else "warning", remark.text)


def trouble(error: KlingError, area: str = "settings") -> Finding:
    """The finding about settings with which the server would not start."""
    return Finding(area, "wrong", error.message, error.advice)


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
