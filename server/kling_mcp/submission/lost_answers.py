"""Rows of which nobody knows whether they were made, and what is told of them."""

from __future__ import annotations

from kling_mcp.ledger import Record
from kling_mcp.providers.rows import ProviderRow
from kling_tools.errors import ProviderDown, ProviderError

__all__ = ["blind", "how_to_go_on", "is_open", "is_ours", "maybe_charged"]


def is_open(record: Record) -> bool:
    """Whether the row was sent, or was to be, and nothing more is known of it."""
    return record.task_id is None and record.status == "unknown"


def is_ours(external_task_id: str, record: Record) -> bool:
    """Whether the id was made from the row, so that nobody else can have used it."""
    return external_task_id.endswith(record.id)


def maybe_charged(error: ProviderError, record: Record, row: ProviderRow) -> ProviderError:
    """The same error for a row whose first create may have been made. What it advised stands if it
    is something else than to try again."""
    error.charged = "unknown"
    mend = "" if error.retryable else error.advice
    error.advice = f"{how_to_go_on(record, row)} {mend}".strip()
    return error


def how_to_go_on(record: Record, row: ProviderRow) -> str:
    """What the agent can do about the row without paying twice."""
    if row.external_ids == "unique":
        return (
            f"Do not submit anew. Ask kling_get_task for {record.external_task_id}, or send the "
            "very same request again: it is then looked up first and not paid twice."
        )
    return _to_the_console(row)


LOOKED_FOR = {
    "none": "This provider cannot be asked for it by our id",
    "unknown": "It was asked for by our id and is not shown, which proves nothing there",
}
"""By what a provider's row says of `external_ids`, where they are not unique."""


def _to_the_console(row: ProviderRow) -> str:
    return (
        f"{LOOKED_FOR[row.external_ids]}: look at its console or its bill. The same request is not "
        "sent again by itself; raise take to make (and pay) the video anew."
    )


def blind(row: ProviderRow) -> ProviderError:
    """The refusal of a repeat that might be paid twice."""
    return ProviderDown(
        f"This request was sent to {row.name} before and its answer was lost, so it may exist.",
        provider=row.name,
        charged="unknown",
        advice=_to_the_console(row),
    )
