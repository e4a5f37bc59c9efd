"""The drawing of a create's states, in the docstring of `sender`, held against code and ledger."""

import ast
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import get_args

import pytest
from tests.drawings import DIES, Arrow, drawn, states

from kling_mcp.ledger import Ledger, NewRow, Record
from kling_mcp.providers.task import Task
from kling_mcp.submission import made_tasks, sender
from kling_tools.results import TaskStatus

pytestmark = pytest.mark.anyio

DRAWN = drawn(sender.__doc__)


def write_of(arrow: Arrow) -> str:
    """The method of the ledger by which it writes."""
    return arrow.words.split()[0]


WRITTEN = [arrow for arrow in DRAWN if write_of(arrow) != DIES]

WRITES = {"reserve", "claim", "record", "refused", "queue", "reopen", "withdraw"}
"""Methods of the ledger that move a row to another state."""

ME = "this process"
TASK = Task("t-1", "submitted")
FAILED = Task("t-1", "failed")
ROW = NewRow(
    provider="kling",
    base_url="https://kling.example",
    product="image2video",
    digest="d",
    take=1,
    model_name="kling-v2-6",
    prompt="waves",
    request={},
    estimate_units=2.0,
)


@pytest.fixture
async def ledger(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    await opened.close()


def calls_of_the_ledger(method: ast.AST) -> set[str]:
    return {
        node.func.attr
        for node in ast.walk(method)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "self._ledger"
    }


def test_every_write_of_the_code_is_drawn_and_every_arrow_is_in_the_code() -> None:
    code = {
        (method.name, call)
        for module in (sender, made_tasks)
        for method in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(method, ast.AsyncFunctionDef)
        for call in calls_of_the_ledger(method) & WRITES
    }

    assert code == {(arrow.by, write_of(arrow)) for arrow in WRITTEN}


def test_every_status_is_drawn_or_named_below_the_drawing() -> None:
    text = sender.__doc__ or ""

    assert all(s in states(DRAWN) or f"`{s}`" in text for s in get_args(TaskStatus))


async def put(ledger: Ledger, state: str, *, gone: bool = False) -> str:
    """The id of a row that is in this state of the drawing; what it made may be `gone`."""
    row, _ = await ledger.reserve(ROW, owner=ME)
    if state == "unknown":
        await ledger.release(row.id, ME)
    elif state in ("queued", "leased", "cancelled"):
        await ledger.queue(row.id, "full", 0.0, ME)
    elif state == "refused":
        await ledger.refused(row.id, "no", ME)
    elif state == "made":
        await ledger.record(row.id, FAILED if gone else TASK)
    if state == "leased":
        await ledger.claim(row.id, ME)
    elif state == "cancelled":
        await ledger.withdraw(row.id)
    return row.id


def state_of(row: Record, now: float) -> str:
    if row.status == "queued" and row.is_leased(now):
        return "leased"
    if row.task_id:
        return "made"
    return "refused" if row.status == "failed" else row.state(now)


@pytest.mark.parametrize("arrow", WRITTEN, ids=lambda arrow: " ".join(arrow[:3]))
async def test_the_ledger_moves_a_row_as_it_is_drawn(arrow: Arrow, ledger: Ledger) -> None:
    (start, _, end, _), write = arrow, write_of(arrow)
    row_id = "" if start == "new" else await put(ledger, start, gone=write == "reserve")
    doubt = end == "unknown"
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "reserve": lambda: put(ledger, "sending"),
        "claim": lambda: ledger.claim(row_id, ME),
        "record": lambda: ledger.record(row_id, TASK),
        "refused": lambda: ledger.refused(row_id, "no"),
        "queue": lambda: ledger.queue(row_id, "full", 0.0, ME, in_doubt=doubt),
        "reopen": lambda: ledger.reopen(row_id, ME),
        "withdraw": lambda: ledger.withdraw(row_id),
    }
    if write == "queue":
        await ledger.claim(row_id, ME)

    await writes[write]()

    row, *older = await ledger.page(limit=9, offset=0)
    assert state_of(row, ledger.now()) == end
    assert [state_of(one, ledger.now()) for one in older] == [start] * (
        write == "reserve" and start != "new"
    )


async def test_a_row_that_is_about_to_be_sent_is_not_withdrawn(ledger: Ledger) -> None:
    row_id = await put(ledger, "leased")

    assert not await ledger.withdraw(row_id)


@pytest.mark.parametrize(("start", "end"), [("sending", "unknown"), ("leased", "queued")])
async def test_a_row_whose_lease_is_given_back_is_as_it_is_drawn(
    start: str, end: str, ledger: Ledger
) -> None:
    row_id = await put(ledger, start)

    await ledger.release(row_id, ME)

    assert (start, "let_go", end) in [arrow[:3] for arrow in DRAWN]
    (row,) = await ledger.page(limit=9, offset=0)
    assert state_of(row, ledger.now()) == end
