"""`kling-mcp doctor`: checks this installation."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from kling_tools.errors import NotConfigured

__all__ = ["add_arguments", "run_from"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="the findings as JSON, for programs")


def run_from(arguments: argparse.Namespace) -> int:
    """Print the findings. Returns 0 when nothing is wrong, else 1. Spends nothing."""
    import logging

    import anyio

    from kling_mcp.cli.doctor.examination import examine
    from kling_mcp.cli.doctor.findings import as_json, as_text, is_well
    from kling_mcp.cli.terminal import shows_colours, shows_unicode, steer
    from kling_mcp.providers.redaction import Redactor

    for name in ("httpx", "httpcore", "stamina"):
        logging.getLogger(name).setLevel(logging.ERROR)
    findings = anyio.run(examine)
    if arguments.json:
        text = as_json(findings)
    else:
        text = as_text(
            findings, colours=shows_colours(sys.stdout), unicode=shows_unicode(sys.stdout)
        )
    steer(sys.stdout, Redactor(_secrets()).text(text) + "\n")
    return 0 if is_well(findings) else 1


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
