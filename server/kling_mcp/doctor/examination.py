"""Runs all checks of the doctor in order: those of the ledger, of the folders, and of the versions
in use are here."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from kling_mcp.doctor.findings import Finding, Level
from kling_mcp.doctor.provider_checks import ask
from kling_mcp.doctor.setting_checks import (
    key_findings,
    provider_finding,
    remark_finding,
    table_findings,
    tool_findings,
    trouble,
)
from kling_mcp.ledger.engine import newer, statements_for
from kling_mcp.ledger.postgres import POSTGRES_STEPS
from kling_mcp.ledger.sqlite import STEPS, columns_of, unusable, version_of
from kling_mcp.providers.configured import Configured, configured_providers, remarks_on
from kling_mcp.settings.settings import load_settings
from kling_mcp.version import __version__
from kling_tools.errors import NotConfigured
from kling_tools.quoting import counted

if TYPE_CHECKING:
    from kling_mcp.settings.settings import Settings

__all__ = ["examine", "look_over"]


_OLDER = " It has an older version and will be updated."


async def shared_ledger_finding(address: str) -> Finding:
    """Whether the shared ledger can be read. Changes nothing and creates no table."""
    from kling_mcp.ledger.postgres import PostgresEngine

    try:
        engine = PostgresEngine(address)
        version, rows, open_rows = await to_thread.run_sync(engine.looked_at)
    except NotConfigured as error:
        return Finding("ledger", "wrong", error.message, error.advice)
    facts = {
        "place": engine.place,
        "schema": version or None,
        "rows": rows,
        "open_rows": open_rows,
    }
    if not version:
        text = f"The database {engine.place} is empty; the first task begins the ledger."
        return Finding("ledger", "good", text, "", facts)
    if version > len(POSTGRES_STEPS):
        trouble = newer(engine.place, version, len(POSTGRES_STEPS))
        return Finding("ledger", "wrong", trouble.message, trouble.advice, facts)
    waiting = f", {open_rows} of them waiting to be sent or looked for" if open_rows else ""
    older = _OLDER if version < len(POSTGRES_STEPS) else ""
    text = f"The ledger opens: {counted(rows, 'task')}{waiting} ({engine.place}).{older}"
    return Finding("ledger", "good", text, "", facts)


LITTLE_BYTES = 500 * 2**20
TOO_LITTLE_BYTES = 50 * 2**20
"""A video of 15 s in 4k takes up to about 50 MB."""

WAIT_S = 1.0
"""Seconds to wait for the ledger while another process writes to it."""


def ledger_finding(home: Path) -> Finding:
    """Whether the ledger can be read and written. Changes nothing."""
    path = home / "ledger.sqlite3"
    facts = {"path": str(path)}
    try:
        if not path.exists():
            _try_writing(home)
            text = f"No ledger yet; the first task begins it ({path})."
            return Finding("ledger", "good", text, "", facts)
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True)) as db:
            return _opened(db, path)
    except (sqlite3.Error, OSError) as error:
        trouble = unusable(path, error)
        return Finding("ledger", "wrong", trouble.message, trouble.advice, facts)


def _opened(db: sqlite3.Connection, path: Path) -> Finding:
    db.execute(f"PRAGMA busy_timeout = {int(WAIT_S * 1000)}")
    db.isolation_level = None
    db.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(db)
        rows = open_rows = 0
        columns = columns_of(db)
        if version:
            counts = dict(db.execute("SELECT status, count(*) FROM tasks GROUP BY status"))
            rows = sum(counts.values())
            open_rows = sum(counts.get(status, 0) for status in ("queued", "sending", "unknown"))
    finally:
        db.execute("ROLLBACK")
    facts = {
        "path": str(path),
        "schema": version or None,
        "rows": rows,
        "open_rows": open_rows,
    }
    if version > len(STEPS):
        trouble = newer(str(path), version, len(STEPS))
        return Finding("ledger", "wrong", trouble.message, trouble.advice, facts)
    try:
        lacks = bool(version == len(STEPS) and statements_for(STEPS, columns, str(path)))
    except NotConfigured as error:
        return Finding("ledger", "wrong", error.message, error.advice, facts)
    waiting = f", {open_rows} of them waiting to be sent or looked for" if open_rows else ""
    older = _OLDER if lacks or version < len(STEPS) else ""
    text = f"The ledger opens and can be written: {counted(rows, 'task')}{waiting} ({path}).{older}"
    return Finding("ledger", "good", text, "", facts)


def output_findings(folder: Path) -> list[Finding]:
    """Whether videos can be saved in the folder, and whether its disk has room."""
    facts: dict[str, Any] = {"path": str(folder)}
    try:
        existing = _try_writing(folder)
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return [
            Finding(
                "videos",
                "wrong",
                f"Videos cannot be saved in {folder}: {error.strerror or error}.",
                "Set KLING_MCP_OUTPUT_DIR to a folder that this user can write to.",
                facts,
            )
        ]
    saved = f"Videos are saved in {folder}"
    made = "" if folder.exists() else ", which is created when needed"
    facts = {**facts, "free_bytes": free}
    space = (
        f"{free / 2**30:.1f} GB are free" if free >= 2**30 else f"{free / 2**20:.0f} MB are free"
    )
    if free >= LITTLE_BYTES:
        return [Finding("videos", "good", f"{saved}{made}; {space}.", "", facts)]
    level: Level = "wrong" if free < TOO_LITTLE_BYTES else "warning"
    advice = "Free some space, or set KLING_MCP_OUTPUT_DIR to a folder on another disk."
    return [Finding("videos", level, f"{saved}{made}; only {space}.", advice, facts)]


def root_findings(roots: Sequence[Path]) -> list[Finding]:
    """Whether the folders of pictures exist and can be read."""
    found = []
    for root in roots:
        facts = {"path": str(root)}
        if not root.is_dir():
            text = f"Pictures may come from {root}, which is not a folder."
            advice = "Correct KLING_MCP_IMAGE_ROOTS."
            found.append(Finding("pictures", "warning", text, advice, facts))
        elif not os.access(root, os.R_OK | os.X_OK):
            text = f"Pictures may come from {root}, which this user cannot read."
            found.append(Finding("pictures", "warning", text, "Let this user read it.", facts))
        else:
            found.append(Finding("pictures", "good", f"Pictures may come from {root}.", "", facts))
    if not roots:
        text = "Pictures may come from no folder, only from the web."
        found.append(Finding("pictures", "note", text, "Set KLING_MCP_IMAGE_ROOTS to change it."))
    return found


def _try_writing(folder: Path) -> Path:
    """Write a temporary file into the folder, or into its nearest existing parent.

    Returns the folder that was written to. Raises OSError.
    """
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    with tempfile.TemporaryFile(dir=existing) as file:
        file.write(b"kling-mcp doctor")
        file.flush()
        os.fsync(file.fileno())
    return existing


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
