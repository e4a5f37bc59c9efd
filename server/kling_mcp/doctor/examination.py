"""Runs all checks of the doctor in order, and reports the versions in use."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from kling_mcp.doctor.findings import Finding
from kling_mcp.doctor.folder_checks import (
    ledger_finding,
    output_findings,
    root_findings,
    shared_ledger_finding,
)
from kling_mcp.doctor.provider_checks import ask
from kling_mcp.doctor.setting_checks import (
    key_findings,
    provider_finding,
    remark_finding,
    table_findings,
    tool_findings,
    trouble,
)
from kling_mcp.providers.configured import Configured, configured_providers, remarks_on
from kling_mcp.settings.settings import load_settings
from kling_mcp.version import __version__
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from kling_mcp.settings.settings import Settings

__all__ = ["examine", "look_over", "version_findings"]


PACKAGES = ("mcp", "httpx", "pydantic", "av", "pillow", "truststore")


def version_findings() -> list[Finding]:
    """The versions of kling-mcp, Python, the main packages, and the protocol."""
    from mcp_types.version import SUPPORTED_PROTOCOL_VERSIONS

    packages = {name: _installed(name) for name in PACKAGES}
    system = f"{platform.system()} {platform.release()}".strip()
    listed = ", ".join(f"{name} {number or 'missing'}" for name, number in packages.items())
    return [
        Finding(
            "versions",
            "good" if all(packages.values()) else "wrong",
            f"kling-mcp {__version__}, Python {platform.python_version()} on {system}; {listed}.",
            "" if all(packages.values()) else "Install kling-mcp again.",
            {
                "kling_mcp": __version__,
                "python": platform.python_version(),
                "system": system,
                "packages": packages,
            },
        ),
        Finding(
            "protocol",
            "good",
            f"Hosts can use MCP versions {SUPPORTED_PROTOCOL_VERSIONS[0]} to "
            f"{SUPPORTED_PROTOCOL_VERSIONS[-1]}.",
            "",
            {"versions": list(SUPPORTED_PROTOCOL_VERSIONS)},
        ),
    ]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


async def examine(*, clock: Callable[[], float] = time.time, **options: Any) -> list[Finding]:
    """All findings about this installation; `options` are given settings. Providers are asked in
    parallel. Spends nothing and shows no secret."""
    try:
        settings = load_settings(**options)
    except NotConfigured as error:
        return [trouble(error), *version_findings()]
    found: list[Finding] = []
    try:
        providers = configured_providers(settings)
    except NotConfigured as error:
        providers = {}
        found.append(trouble(error))
    return found + await look_over(settings, providers, clock) + version_findings()


async def look_over(
    settings: Settings,
    providers: Mapping[str, Configured],
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """All findings about these settings and providers, which are asked in parallel."""
    found = [
        provider_finding(provider, settings, first=not place)
        for place, provider in enumerate(providers.values())
    ]
    found += map(remark_finding, remarks_on(settings))
    found += table_findings(settings)
    found += tool_findings(providers, settings)
    answers = await _ask_all(providers, settings, clock)
    accepted = {fact["provider"] for fact in (f.facts for f in answers) if fact.get("accepted")}
    found += key_findings(providers, settings, accepted)
    found += answers
    if settings.database is None:
        found.append(await to_thread.run_sync(ledger_finding, settings.home))
    else:
        found.append(await shared_ledger_finding(settings.database.get_secret_value()))
    found += await to_thread.run_sync(output_findings, settings.output_dir)
    return found + await to_thread.run_sync(root_findings, settings.image_roots)


async def _ask_all(
    providers: Mapping[str, Configured], settings: Settings, clock: Callable[[], float]
) -> list[Finding]:
    answers: dict[str, list[Finding]] = {}

    async def one(provider: Configured) -> None:
        answers[provider.name] = await ask(provider, settings, clock)

    async with anyio.create_task_group() as group:
        for provider in providers.values():
            group.start_soon(one, provider)
    return [finding for name in providers for finding in answers[name]]
