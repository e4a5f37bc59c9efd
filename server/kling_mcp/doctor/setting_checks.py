"""Checks of the settings: which provider they choose, the tools, the table of models, and what was
left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kling_mcp.doctor.findings import Finding
from kling_mcp.doctor.key_checks import key_origins
from kling_mcp.settings.capability_file import read_capabilities
from kling_tools.errors import KlingError, NotConfigured
from kling_tools.quoting import counted
from kling_tools.requests.arguments import AUTO

if TYPE_CHECKING:
    from kling_mcp.providers.configured import Configured
    from kling_mcp.settings.environment import Remark
    from kling_mcp.settings.settings import Settings

__all__ = ["provider_finding", "remark_finding", "table_findings", "tool_findings", "trouble"]

AFTER_A_SUBMIT = {
    "kling_wait_for_tasks": "wait for it",
    "kling_get_task": "see its state",
    "kling_save_video": "save it",
}
"""The tools that a video requires once it is asked for, and what each does with it."""


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
            "No provider's key is set: the sandbox makes test clips, free of charge.",
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
        text = f"The tools of KLING_MCP_TOOLS make a video, but no tool can {lacks}."
        advice = f"Set KLING_MCP_TOOLS={','.join([*settings.tools, *missing])}."
        yield Finding("tools", "note", text, advice, facts)
    elif makes:
        yield Finding("tools", "good", f"{counted(len(names), 'tool')} offered.", "", facts)
    else:
        text = f"{counted(len(names), 'tool')} offered, and none makes a video."
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
