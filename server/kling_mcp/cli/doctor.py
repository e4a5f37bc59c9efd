"""`kling-mcp doctor`: checks this installation."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from kling_mcp.cli.terminal import visible
from kling_mcp.doctor.findings import Finding, Level, is_well
from kling_tools.errors import NotConfigured
from kling_tools.quoting import counted

__all__ = ["add_arguments", "run_from"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="the findings as JSON, for programs")


def run_from(arguments: argparse.Namespace) -> int:
    """Print the findings. Returns 0 when nothing is wrong, else 1. Spends nothing."""
    import logging

    import anyio

    from kling_mcp.cli.terminal import shows_colours, shows_unicode, steer
    from kling_mcp.doctor.examination import examine
    from kling_mcp.providers.redaction import Redactor

    for name in ("httpx", "httpcore", "stamina"):
        logging.getLogger(name).setLevel(logging.ERROR)
    findings = [*anyio.run(examine), *_team_findings()]
    if arguments.json:
        text = as_json(findings)
    else:
        text = as_text(
            findings, colours=shows_colours(sys.stdout), unicode=shows_unicode(sys.stdout)
        )
    steer(sys.stdout, Redactor(_secrets()).text(text) + "\n")
    return 0 if is_well(findings) else 1


def _team_findings() -> list[Finding]:
    """What is wrong with the settings of a server for a team."""
    from kling_mcp.doctor.setting_checks import trouble
    from kling_mcp.hosting.team_settings import load_host_settings
    from kling_mcp.settings.environment import UnusableEnvFile

    try:
        load_host_settings()
    except UnusableEnvFile:
        return []
    except NotConfigured as error:
        return [trouble(error, "team")]
    return []


def _secrets() -> set[str]:
    """Every value that may be a key, both as written and as cleaned."""
    from kling_mcp.settings.environment import read_environment

    counted: Mapping[str, str] = {}
    with suppress(NotConfigured):
        counted = read_environment().values
    values = [
        value
        for name, value in (*os.environ.items(), *counted.items())
        if value and name.upper().endswith(("_API_KEY", "_ACCESS_KEY", "_SECRET_KEY"))
    ]
    return {form for value in values for form in (value, value.strip(), value.strip(" \"'"))}


MARKS: dict[Level, tuple[str, str, str]] = {
    "good": ("✓", "ok", "32"),
    "note": ("·", "--", "36"),
    "warning": ("!", "!!", "33"),
    "wrong": ("✗", "XX", "31"),
}
"""The sign of each level, the same in ASCII, and its colour (ECMA-48)."""


def as_text(findings: Sequence[Finding], *, colours: bool, unicode: bool) -> str:
    """One line per finding with its advice below, and a summary at the end."""
    width = max((len(finding.area) for finding in findings), default=0)
    lines = []
    for finding in findings:
        sign, ascii_sign, colour = MARKS[finding.level]
        mark = sign if unicode else ascii_sign
        shown = f"\x1b[{colour}m{mark}\x1b[0m" if colours else mark
        lines.append(f"{shown} {finding.area:<{width}}  {visible(finding.text)}")
        if finding.advice:
            lines.append(f"{' ' * (len(mark) + 1 + width)}  {visible(finding.advice)}")
    return "\n".join([*lines, "", _sum(findings)])


def as_json(findings: Sequence[Finding]) -> str:
    """`ok` and the `findings`, each with area, level, text, advice and facts."""
    document = {"ok": is_well(findings), "findings": [asdict(finding) for finding in findings]}
    return json.dumps(document, indent=2)


def _sum(findings: Sequence[Finding]) -> str:
    wrong = sum(finding.level == "wrong" for finding in findings)
    warned = sum(finding.level == "warning" for finding in findings)
    if wrong:
        return f"{counted(wrong, 'thing is', 'things are')} wrong."
    if warned:
        return f"It works, with {counted(warned, 'warning')}."
    return "All is well."
