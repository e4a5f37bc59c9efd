"""What this program runs on, and which versions of the protocol hosts can speak to it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from kling_mcp.doctor.findings import Finding
from kling_mcp.version import __version__

__all__ = ["version_findings"]

PACKAGES = ("mcp", "httpx", "pydantic", "av", "pillow", "truststore")


def version_findings() -> list[Finding]:
    """The versions of kling-mcp, Python, the packages that matter, and the protocol."""
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
            f"Hosts can speak MCP {SUPPORTED_PROTOCOL_VERSIONS[0]} to "
            f"{SUPPORTED_PROTOCOL_VERSIONS[-1]} with it.",
            "",
            {"versions": list(SUPPORTED_PROTOCOL_VERSIONS)},
        ),
    ]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
