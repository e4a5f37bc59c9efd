"""Everything that is known of one task, for its provider's support: times, ids, cost, words, the
file and the answers that told of it. It holds no secret and no address with which a file can be
fetched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kling_mcp.ledger import Record
from kling_mcp.providers.redaction import mapped
from kling_tools.errors import quote_provider
from kling_tools.products import MADE, spoken

__all__ = ["as_markdown", "dossier"]

_REQUEST_ID = re.compile(r'"request_id":\s*"([^"\\]{1,200})"')

STEP_BYTES = 1 << 20

IN_BLOCKS = {ord(char): f"\\u{ord(char):04x}" for char in "`\x7f"}
"""Characters that JSON does not escape: one could end the block, one is not printable."""

IN_CELLS = {ord(char): f"\\{char}" for char in "\\|`<"}
"""Characters with a meaning in a table of Markdown."""


def dossier(
    row: Record, answers: Sequence[Mapping[str, Any]], redacted: Callable[[str], str]
) -> dict[str, Any]:
    """The facts of a row and of the `answers` that it keeps, in sections; what is not known is left
    out. `redacted` takes secrets out of a text. It reads the saved file, so it blocks."""
    told = [{**answer, "at": _utc(answer.get("at"))} for answer in answers]
    asked = [_request_id(answer.get("answer")) for answer in answers]
    sections: dict[str, Any] = {
        "task": {
            "status": row.status,
            "provider": row.provider,
            "address": row.base_url,
            "product": row.product,
            "made_by": spoken(row.product),
            "model": row.model_name,
            "take": row.take,
            "sandbox": row.sandbox or None,
        },
        "ids": {
            "task_id": row.task_id,
            "external_task_id": row.external_task_id if row.named else None,
            "name_known_here_alone": None if row.named else row.external_task_id,
            "request_ids": list(dict.fromkeys(filter(None, asked))),
            "row": row.id,
        },
        "times": {
            "asked_for": _utc(row.created_at),
            "ended": _utc(row.ended_at),
            "last_change": _utc(row.updated_at),
            "file_kept_by_provider_until": _utc(row.expires_at),
        },
        "cost": {
            "unit": MADE[row.product].other_unit,
            "estimated_units": row.estimate_units,
            "estimated_usd": None if row.estimate_usd is None else round(row.estimate_usd, 4),
            "charged_units": row.units,
            "charged_money": row.money,
            "currency": row.currency or None,
            "list_price": row.list_price,
            "paid_from": row.cash_type or None,
        },
        "provider_says": quote_provider(row.message) or None,
        "file": _file(row),
        "request": row.request,
        "answers": told,
    }
    return {name: kept for name, value in sections.items() if (kept := _known(value, redacted))}


def as_markdown(facts: Mapping[str, Any]) -> str:
    """A dossier as a page of Markdown, of printable characters."""
    ids = facts.get("ids", {})
    lines = [f"# Task {_cell(next(iter(ids.values()), None))}", ""]
    for name, value in facts.items():
        lines += [f"## {name.replace('_', ' ').capitalize()}", ""]
        if name in ("request", "answers"):
            shown = json.dumps(value, indent=2).translate(IN_BLOCKS)
            lines += ["```json", shown, "```", ""]
        elif isinstance(value, Mapping):
            rows = [f"| {word.replace('_', ' ')} | {_cell(said)} |" for word, said in value.items()]
            lines += ["| fact | value |", "| --- | --- |", *rows, ""]
        else:
            lines += [f"> {_cell(value)}", ""]
    return "\n".join(lines).rstrip()


def _file(row: Record) -> dict[str, Any] | None:
    """What was saved, and whether the file is still that."""
    if not row.path:
        return None
    facts = {"path": row.path, "bytes": row.bytes, "sha256": row.sha256, "note": row.file_note}
    try:
        with Path(row.path).open("rb") as file:
            digest = hashlib.sha256()
            while part := file.read(STEP_BYTES):
                digest.update(part)
    except OSError:
        return facts | {"now": "cannot be read on this computer"}
    same = digest.hexdigest() == row.sha256
    return facts | {"now": "unchanged" if same else f"changed: SHA-256 {digest.hexdigest()}"}


def _utc(seconds: Any) -> str | None:
    """The time (seconds since the epoch) in UTC, to the second."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _request_id(answer: Any) -> str:
    """The provider's id of the exchange; answers that were too long are kept as text."""
    if isinstance(answer, Mapping):
        found = answer.get("request_id")
        return found if isinstance(found, str) else ""
    named = _REQUEST_ID.search(answer) if isinstance(answer, str) else None
    return named[1] if named else ""


def _known(value: Any, redacted: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        value = {name: fact for name, fact in value.items() if fact not in (None, "", [], {})}
    return mapped(value, redacted)


def _cell(value: Any) -> str:
    """The value for a cell of a table."""
    text = value if isinstance(value, str) else json.dumps(value)
    if isinstance(value, list):
        text = ", ".join(map(str, value))
    return quote_provider(text).translate(IN_CELLS)
