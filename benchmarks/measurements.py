"""What is measured, and how. Budgets are the project's own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import anyio
from PIL import Image

from benchmarks.answering_server import answering_server
from benchmarks.floor import BASE_URL_VARIABLE
from benchmarks.load import memory_of_open_tasks
from benchmarks.pictures import large_pictures, small_picture
from benchmarks.report import Measurement
from benchmarks.saving import saves
from benchmarks.stdio_server import HANDSHAKE_ERA, STATELESS_ERA, StdioServer
from kling_mcp.ledger import Ledger, NewRow
from kling_mcp.outputs.storage import name_of
from kling_mcp.providers.configured import SANDBOX_URL
from kling_mcp.providers.task import Task, Video
from kling_sandbox.film.canvas import Still
from kling_sandbox.film.script import Script

__all__ = ["measure_everything"]

KLING = "kling_mcp"
FLOOR = "benchmarks.floor"

START_BUDGET = 1.10
IDLE_BUDGET = 1.20
LIST_BUDGET_BYTES = 20_000
SUBMIT_BUDGET = 2.0
ANSWER_BUDGET_BYTES = 12_000
OPEN_TASKS = 4_000
OPEN_BUDGET_KB = 2.0
SAVE_BUDGET = 2.5
CLIPS = ((5, 720, 0.6), (15, 2160, 10.0))
"""Seconds, shorter side in px and budget in seconds of a clip, on two cores."""
PICTURES_BUDGET_MB = 25
PICTURES = 4
FINISHED = 100
WISHES = (
    ("coffee.jpg", "Steam rises from the cup"),
    ("cat.jpg", "She turns her head slowly"),
    ("rocket.jpg", "The rocket lifts off calmly"),
    ("sea.jpg", "Waves roll on the beach"),
)
WARM_UP_CALLS = 5
OUTPUT = "KLING_MCP_OUTPUT_DIR"
MB = 1024 * 1024


def measure_everything(runs: int, calls: int, folder: Path) -> Iterator[Measurement]:
    """Every measurement, from `runs` starts and `calls` submits; files go below `folder`."""
    yield from _starts(runs, folder)
    yield from _list_sizes(folder)
    yield _submits(calls, folder)
    yield from _answers(folder)
    yield _open_task(folder)
    yield from _saves(runs, folder)
    yield from _clips(folder)
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
        OUTPUT: str(folder / "videos"),
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


def _answers(folder: Path) -> Iterator[Measurement]:
    """Bytes of an answer about many finished tasks of a few wishes: its text and its fields."""
    settings = _sandbox(folder / "answers")
    ids = anyio.run(_finished, Path(settings["KLING_MCP_HOME"]), Path(settings[OUTPUT]))
    with StdioServer(KLING, settings, folder) as server:
        server.shake_hands()
        for tool, asked in (
            ("kling_wait_for_tasks", {"task_ids": ids}),
            ("kling_list_tasks", {"page_size": FINISHED}),
        ):
            yield Measurement(
                what=f"{tool}, {FINISHED} finished tasks",
                measured=len(server.answer(tool, asked)),
                unit="bytes",
                budget=ANSWER_BUDGET_BYTES,
            )


async def _finished(home: Path, videos: Path) -> list[str]:
    """So many tasks with their files; their ids."""
    ledger, ids = Ledger(home), []
    videos.mkdir(parents=True)
    for number in range(FINISHED):
        picture, prompt = WISHES[number % len(WISHES)]
        row, _ = await ledger.reserve(
            NewRow(
                provider="sandbox",
                base_url=SANDBOX_URL,
                product="image2video",
                digest=f"finished {number}",
                take=1,
                model_name="kling-v2-5-turbo",
                prompt=prompt,
                request={"mode": "std", "duration": "5"},
                estimate_units=1.5,
                pictures=(picture,),
                sandbox=True,
            )
        )
        ids.append(f"{941_210_661_388_174_658 + 7919 * number}")
        video = Video(f"{SANDBOX_URL}/videos/image2video/{ids[-1]}.mp4", 5.041)
        row = await ledger.record(row.id, Task(ids[-1], "succeed", units=1.5, videos=(video,)))
        path = videos / name_of(row)
        path.write_bytes(b"film")
        await ledger.saved(row.id, path, 4, hashlib.sha256(b"film").hexdigest())
    await ledger.close()
    return ids


def _open_task(folder: Path) -> Measurement:
    """Kilobytes that a task takes while it is waited for, over HTTP."""
    before, most = memory_of_open_tasks(folder / "open", OPEN_TASKS)
    return Measurement(
        what=f"memory of an open task, {OPEN_TASKS:,} on one process",
        measured=(most - before) / OPEN_TASKS / 1024,
        unit="kB",
        budget=OPEN_BUDGET_KB,
    )


def _saves(runs: int, folder: Path) -> Iterator[Measurement]:
    """Seconds to save a large video, hash and check included, beside curl, which does neither."""
    ours, curl = saves(runs, folder, _kling(folder / "saves", ""))
    if ours:
        yield Measurement(
            what="save of a video of 100 MB over loopback (floor: curl)",
            measured=median(ours) * 1000,
            floor=median(curl) * 1000,
            unit="ms",
            budget=SAVE_BUDGET,
        )


def _clips(folder: Path) -> Iterator[Measurement]:
    """Seconds in which the sandbox makes a clip of a picture."""
    picture = folder / "noise.png"
    Image.effect_noise((1600, 900), 60).convert("RGB").resize((400, 225)).save(picture)
    for seconds, side, budget in CLIPS:
        script = Script(seconds, side, (Still(picture),), ratio=16 / 9)
        began = time.perf_counter()
        script.film(folder / "film.mp4")
        yield Measurement(
            what=f"sandbox, a clip of {seconds} s, {side}p",
            measured=time.perf_counter() - began,
            unit="s",
            budget=budget,
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
