"""Every fault of the sandbox, at every tool, at every provider: what is answered, and the money.

`fault_matrix.json` holds the expected answers; `--update-snapshots` writes it and the tables of
`docs/reliability.md` anew, to be read in review.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
import stamina
from tests.made_clips import make_clip
from tests.server.serving import virtual_time
from tests.server.submission.fault_cells import (
    CREATES,
    NEW,
    PROVIDERS,
    READS,
    STRUCK,
    FaultRun,
    assert_honest,
    prepare,
)
from tests.server.submission.fault_tables import (
    DOCUMENT,
    Matrix,
    outcomes,
    read_matrix,
    tables,
    with_tables,
    write_matrix,
)

from kling_mcp.submission.recovery import Recovery
from kling_sandbox.clips import ClipMaker
from kling_sandbox.faults import FAULTS

TELLING = ("kling", NEW, "newapi")
"""Kling's two standards, which can be asked by our ids, and one provider that cannot."""

DOUBTFUL = ("drop-after-accept", "no-id", "slow")
"""After these nobody knows at first whether a task was made: quick, at each of the three."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("prepared")
    return folder, anyio.run(prepare, folder)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("film") / "clip.mp4")


@pytest.fixture(autouse=True)
def nothing_takes_time(monkeypatch: pytest.MonkeyPatch, film: Path) -> Iterator[None]:
    """Films are there at once, a late answer is one that was given up, and nobody works in the
    background, so that each cell shows what its own call does."""

    async def sleep(seconds: float) -> None:
        raise httpx.ReadTimeout(f"no answer within {seconds} s")

    async def rest(_: Recovery) -> None:
        return None

    def copy(_: ClipMaker, order: Any, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, path)

    monkeypatch.setattr("kling_sandbox.fault_injection.anyio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(Recovery, "run", rest)
    monkeypatch.setattr(ClipMaker, "_make", copy)
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


@pytest.fixture(scope="module")
def seen() -> Matrix:
    return {}


@pytest.mark.anyio
@virtual_time
@pytest.mark.parametrize(
    ("fault", "providers", "creates"),
    [
        *(
            pytest.param(fault, (TELLING[number % 3],), CREATES[:1], id=f"{fault} at one")
            for number, fault in enumerate(FAULTS)
            if fault not in DOUBTFUL
        ),
        *(pytest.param(fault, TELLING, CREATES[:1], id=f"{fault} at three") for fault in DOUBTFUL),
        *(
            pytest.param(
                fault, PROVIDERS, CREATES, marks=pytest.mark.campaign, id=f"{fault} at all"
            )
            for fault in FAULTS
        ),
    ],
)
async def test_each_tool_answers_as_the_matrix_says_and_nothing_is_paid_twice(
    fault: str,
    providers: tuple[str, ...],
    creates: tuple[str, ...],
    prepared: tuple[Path, dict[str, str]],
    seen: Matrix,
    tmp_path: Path,
    update_snapshots: bool,
) -> None:
    if update_snapshots:
        providers, creates = PROVIDERS, CREATES
    for struck in STRUCK:
        folder = tmp_path / struck
        run = FaultRun(fault, struck, providers, creates, prepared[0], folder, prepared[1])
        async for tool, times, provider, cell in run.cells():
            assert_honest(cell)
            row = seen.setdefault(tool, {}).setdefault(fault, {})
            row.setdefault(times, {})[provider] = cell.outcome
        assert run.paid_twice() == []
    if not update_snapshots:
        expected = read_matrix()
        for tool, rows in seen.items():
            if tool not in (*creates, *READS):
                continue
            found = {times: {p: row[p] for p in providers} for times, row in rows[fault].items()}
            assert found == outcomes(expected[tool][fault], providers), tool


def test_the_matrix_is_whole_and_documented(seen: Matrix, update_snapshots: bool) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    if update_snapshots:
        assert {tool: [*rows] for tool, rows in seen.items()} == {tool: [*FAULTS] for tool in seen}
        write_matrix(seen)
        DOCUMENT.write_text(with_tables(document, tables(read_matrix())), encoding="utf-8")
    matrix = read_matrix()

    assert {tool: [*rows] for tool, rows in matrix.items()} == {
        tool: [*FAULTS] for tool in (*CREATES, *READS)
    }
    assert document == with_tables(document, tables(matrix)) or update_snapshots
    cells = sum(len(PROVIDERS) * len(row) for rows in matrix.values() for row in rows.values())
    assert f"| {cells:,} cells |" in document
