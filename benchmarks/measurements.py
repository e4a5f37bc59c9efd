"""What is measured, and how. Budgets are the project's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.answering_server import answering_server
from benchmarks.floor import BASE_URL_VARIABLE
from benchmarks.pictures import large_pictures, small_picture
from benchmarks.report import Measurement
from benchmarks.stdio_server import HANDSHAKE_ERA, STATELESS_ERA, StdioServer

__all__ = ["measure_everything"]

KLING = "kling_mcp"
FLOOR = "benchmarks.floor"

START_BUDGET = 1.10
IDLE_BUDGET = 1.20
LIST_BUDGET_BYTES = 20_000
SUBMIT_BUDGET = 2.0
PICTURES_BUDGET_MB = 25
PICTURES = 4
WARM_UP_CALLS = 5
MB = 1024 * 1024


def measure_everything(runs: int, calls: int, folder: Path) -> Iterator[Measurement]:
    """Every measurement, from `runs` starts and `calls` submits; files go below `folder`."""
    yield from _starts(runs, folder)
    yield from _list_sizes(folder)
    yield _submits(calls, folder)
    pictures = large_pictures(folder, PICTURES)
    with answering_server() as url:
        yield _memory_of_pictures(
            f"memory of a submit with {PICTURES} pictures of 10 MB, to Kling over HTTP",
            _kling(folder, url),
            pictures,
            PICTURES_BUDGET_MB,
        )
    yield _memory_of_pictures(
        "the same, into the embedded sandbox", _sandbox(folder), pictures, None
    )


def _sandbox(folder: Path) -> dict[str, str]:
    """Settings of a server without a key, whose ledger starts empty."""
    return {
        "KLING_MCP_HOME": str(folder / "sandbox"),
        "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
        "KLING_MCP_IMAGE_ROOTS": str(folder),
    }


def _kling(folder: Path, url: str) -> dict[str, str]:
    """Settings of a server with a key, whose provider answers at `url`."""
    own = {"KLING_API_KEY": "x", "KLING_BASE_URL": url, "KLING_MCP_HOME": str(folder / "kling")}
    return _sandbox(folder) | own


def _starts(runs: int, folder: Path) -> Iterator[Measurement]:
    """Seconds from the start of the process to the first tools/list, and memory after it.

    The two alternate, so that a busy moment of the machine hits both; a first start of each,
    which writes byte code, is not counted.
    """
    starts: dict[str, list[float]] = {KLING: [], FLOOR: []}
    idle: dict[str, list[int]] = {KLING: [], FLOOR: []}
    for run in range(runs + 1):
        for module in (KLING, FLOOR):
            with StdioServer(module, _sandbox(folder), folder) as server:
                server.shake_hands()
                server.list_tools()
                age = server.age
                if run:
                    starts[module].append(age)
                    idle[module].append(server.memory.resident)
    yield Measurement(
        what="start to the first tools/list",
        measured=median(starts[KLING]) * 1000,
        floor=median(starts[FLOOR]) * 1000,
        unit="ms",
        budget=START_BUDGET,
    )
    yield Measurement(
        what="memory when idle",
        measured=median(idle[KLING]) / MB,
        floor=median(idle[FLOOR]) / MB,
        unit="MB",
        budget=IDLE_BUDGET,
    )


def _list_sizes(folder: Path) -> Iterator[Measurement]:
    """Bytes of the tools/list answer as it stands on the wire, in both eras of the protocol."""
    for era in (HANDSHAKE_ERA, STATELESS_ERA):
        with StdioServer(KLING, _sandbox(folder), folder) as server:
            if era == HANDSHAKE_ERA:
                server.shake_hands()
            line = server.list_tools(era)
        tools = len(json.loads(line)["result"]["tools"])
        yield Measurement(
            what=f"tools/list of {tools} tools, protocol {era}",
            measured=len(line),
            unit="bytes",
            budget=LIST_BUDGET_BYTES,
        )


def _submits(calls: int, folder: Path) -> Measurement:
    """Seconds of a submit with a small picture; the floor's tool POSTs as many bytes."""
    picture = small_picture(folder)
    asked = {"image": str(picture), "prompt": "The light grows warmer"}
    posted = {"image_bytes": -(-picture.stat().st_size // 3) * 4, "prompt": asked["prompt"]}
    took: dict[str, list[float]] = {KLING: [], FLOOR: []}
    with (
        answering_server() as url,
        StdioServer(KLING, _kling(folder, url), folder) as kling,
        StdioServer(FLOOR, {BASE_URL_VARIABLE: url}, folder) as floor,
    ):
        kling.shake_hands()
        floor.shake_hands()
        for take in range(1, WARM_UP_CALLS + calls + 1):
            times = {
                KLING: kling.call("kling_image_to_video", {**asked, "take": take}),
                FLOOR: floor.call("submit", {**posted, "take": take}),
            }
            if take > WARM_UP_CALLS:
                for module, seconds in times.items():
                    took[module].append(seconds)
    return Measurement(
        what="submit of a small picture",
        measured=median(took[KLING]) * 1000,
        floor=median(took[FLOOR]) * 1000,
        unit="ms",
        budget=SUBMIT_BUDGET,
    )


def _memory_of_pictures(
    what: str, settings: dict[str, str], pictures: list[Path], budget: float | None
) -> Measurement:
    """Megabytes by which one submit raises the process above what it held after another."""
    small = str(small_picture(pictures[0].parent))
    with StdioServer(KLING, settings, pictures[0].parent) as server:
        server.shake_hands()
        arguments = {"prompt": "All of it in one scene", "image_list": [small, small]}
        server.call("kling_multi_image_to_video", arguments)
        server.memory.forget_peak()
        before = server.memory.resident
        arguments["image_list"] = [str(picture) for picture in pictures]
        server.call("kling_multi_image_to_video", arguments)
        grown = server.memory.peak - before
    return Measurement(what=what, measured=grown / MB, unit="MB", budget=budget)
