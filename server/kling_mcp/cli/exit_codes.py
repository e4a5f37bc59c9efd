"""The exit codes of commands that call a tool: what scripts know of an error, a task, a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kling_tools import errors
from kling_tools.errors import KlingError

__all__ = ["EXIT_CODES", "code_of_error", "code_of_receipt", "code_of_task", "tasks_of"]

DONE, FAILED, REFUSED, RUNNING, CAP, PROVIDER, SETUP, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

EXIT_CODES: Mapping[int, str] = {
    DONE: "done",
    FAILED: "failed: it was not made, or its file could not be written",
    REFUSED: "refused: the command, its arguments or what they ask for; change it",
    RUNNING: "not done yet, and nothing is lost: the command that goes on is printed",
    CAP: "a limit of spending, or nobody agreed to the price",
    PROVIDER: "the provider: it cannot be reached, or makes nothing now",
    SETUP: "the set-up: a key or a setting; see kling-mcp doctor",
    INTERRUPTED: "interrupted with Ctrl-C; what goes on is printed",
}
"""What each exit code says."""

CODES_OF_ERRORS: Mapping[type[KlingError], int] = {
    KlingError: FAILED,
    errors.InvalidRequest: REFUSED,
    errors.ImageRejected: REFUSED,
    errors.SpendCapReached: CAP,
    errors.NotAllowed: SETUP,
    errors.NotConfigured: SETUP,
    errors.UnsafePath: REFUSED,
    errors.UnsafeUrl: REFUSED,
    errors.SaveFailed: FAILED,
    errors.TaskFailed: FAILED,
    errors.ProviderError: PROVIDER,
    errors.AuthFailed: SETUP,
    errors.PaymentRequired: PROVIDER,
    errors.RateLimited: PROVIDER,
    errors.ConcurrencyFull: PROVIDER,
    errors.ContentRefused: REFUSED,
    errors.RequestRefused: REFUSED,
    errors.ModelRetired: REFUSED,
    errors.DuplicateTask: PROVIDER,
    errors.TaskNotFound: REFUSED,
    errors.ProviderDown: PROVIDER,
}
"""The exit code of each error."""

CODE_OF_KIND = {error.kind: code for error, code in CODES_OF_ERRORS.items()}


def code_of_error(kind: object) -> int:
    """The exit code of an error, by the name of its kind."""
    return CODE_OF_KIND.get(str(kind), FAILED)


def tasks_of(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks of an answer, each with what an answer about many says once."""
    return [{**fields.get("unless_stated", {}), **task} for task in fields["tasks"]]


def code_of_task(task: Mapping[str, Any], *, saves: bool) -> int:
    """The exit code for a task that was waited for."""
    from kling_tools.results import ENDED

    status = task["status"]
    if error := task.get("error"):
        return code_of_error(error)
    if status != "succeed":
        return FAILED if status in ENDED else RUNNING
    unsaved = (task.get("videos") or task.get("pictures")) and not task.get("path")
    return RUNNING if saves and unsaved else DONE


def code_of_receipt(fields: Mapping[str, Any]) -> int:
    """The exit code of an answer to a request, or to the wish to withdraw some."""
    if "withdrawn" in fields:
        return max(map(_code_of_cancelled, tasks_of(fields)), default=DONE)
    faults = fields.get("faults") or []
    if any(fault["rule"] == "spend_cap" for fault in faults):
        return CAP
    if faults or fields.get("faces"):
        return REFUSED
    from kling_tools.results import ENDED

    waits = fields.get("status", "succeed") not in ENDED and not fields.get("dry_run")
    return RUNNING if waits else DONE


def _code_of_cancelled(task: Mapping[str, Any]) -> int:
    """The exit code for a task that was to be withdrawn: one that goes on is not."""
    if error := task.get("error"):
        return code_of_error(error)
    return DONE if task["status"] == "cancelled" else FAILED
