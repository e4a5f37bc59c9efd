"""`python -m benchmarks.load`: calls over HTTP, beside the floor, and what many open tasks cost.

One program in the SDK's own way (a server with one tool) and kling-mcp answer the same request from
the same number of worker processes, one after the other, asked by the same load (wrk, which has
to be installed). What is compared are ratios: the machine makes the load, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx

from benchmarks.answering_server import answering_server
from benchmarks.process_memory import ProcessMemory
from kling_mcp.ledger import Ledger, NewRow
from kling_mcp.providers.task import Task, Video

__all__ = ["Load", "load_of", "memory_of_open_tasks"]

WORKERS = (1, 2, 4)
CONNECTIONS = 16
SECONDS = 5
WARM_UP_S = 1
ERA = "2026-07-28"
OPEN_TASKS = 10_000
IN_ONE_CALL = 500
MB = 1024 * 1024

META = {
    "io.modelcontextprotocol/protocolVersion": ERA,
    "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass(frozen=True, slots=True)
class Load:
    """What so many workers answered: calls a second, and ms of a call (median, 95th of 100)."""

    server: str
    workers: int
    calls_s: float
    median_ms: float
    p95_ms: float


@contextmanager
def _served(command: Sequence[str], environment: dict[str, str]) -> Iterator[tuple[int, str]]:
    """A server in a process of its own: its pid and URL, which it says on standard error."""
    process = subprocess.Popen(
        command, env={"PATH": os.environ["PATH"], **environment}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    try:
        if "http://" not in line:
            raise RuntimeError(f"{command} did not start: {line}{process.stderr.read()}")
        yield process.pid, line.split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _ledger(folder: Path, database: str) -> Ledger:
    if not database:
        return Ledger(folder)
    from kling_mcp.ledger.postgres import PostgresEngine

    return Ledger(PostgresEngine(database))


def _kling(
    folder: Path, database: str, provider: str = "http://127.0.0.1:9"
) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "kling_mcp", "serve", "--http", "--port", "0"]
    return command, {
        "HOME": str(folder),
        "KLING_MCP_HOME": str(folder),
        "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
        "KLING_API_KEY": "x",
        "KLING_BASE_URL": provider,
        "KLING_MCP_RATE_PER_MINUTE": "0",
        **({"KLING_MCP_DATABASE": database} if database else {}),
    }


def _floor() -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "benchmarks.floor_http"], {}


def _request(task_id: str) -> tuple[dict[str, str], bytes]:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "kling_get_task", "arguments": {"task_id": task_id}, "_meta": META},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": ERA,
        "mcp-method": "tools/call",
        "mcp-name": "kling_get_task",
    }
    return headers, json.dumps(message).encode()


SCRIPT = """
wrk.method = "POST"
{headers}
local bodies = {{ {bodies} }}
local place = 0
request = function()
    place = place % #bodies + 1
    return wrk.format(nil, nil, nil, bodies[place])
end
response = function(status, headers, body)
    if status ~= 200 or body:find('"isError":true', 1, true) then
        print("FAILED", status, body:sub(1, 300))
        wrk.thread:stop()
    end
end
done = function(summary, latency, requests)
    print("FIGURES", summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(95))
end
"""
"""For wrk, a load maker in C: one in Python would be what is measured."""


def _calls(urls: Sequence[str], task_ids: Sequence[str], seconds: int) -> tuple[float, ...]:
    """Calls a second, and ms of a call (median, 95th of 100), by some connections that ask one
    thing after the other. Raises RuntimeError for an answer that is no success."""
    headers, _ = _request("")
    script = SCRIPT.format(
        headers="\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()),
        bodies=", ".join(f"[==[{_request(task_id)[1].decode()}]==]" for task_id in task_ids),
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        each = max(1, CONNECTIONS // len(urls))
        command = ["wrk", "-t1", f"-c{each}", f"-d{seconds}s", "-s", file.name]
        makers = [
            subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) for url in urls
        ]
        told = [maker.communicate()[0] for maker in makers]
    figures = []
    for text in told:
        if "FAILED" in text or "FIGURES" not in text:
            raise RuntimeError(text)
        figures.append([float(word) for word in text.split("FIGURES", 1)[1].split()[:4]])
    rate = sum(count / (micros / 1e6) for count, micros, _, _ in figures)
    return rate, *(sum(row[place] for row in figures) / len(figures) / 1000 for place in (2, 3))


def load_of(
    server: str,
    workers: int,
    command: Sequence[str],
    environment: dict[str, str],
    task_ids: Sequence[str],
    seconds: int = SECONDS,
) -> Load:
    """What so many processes of a server answer."""
    with ExitStack() as stack:
        urls = [stack.enter_context(_served(command, environment))[1] for _ in range(workers)]
        _calls(urls, task_ids, WARM_UP_S)
        return Load(server, workers, *_calls(urls, task_ids, seconds))


async def _fill(ledger: Ledger, count: int, *, ended: bool) -> list[str]:
    """So many rows; their task ids."""
    ids = []
    for number in range(count):
        record, _ = await ledger.reserve(
            NewRow(
                provider="kling",
                base_url=os.environ.get("LOAD_BASE_URL", ""),
                product="image2video",
                digest=str(number),
                take=1,
                model_name="kling-v2-6",
                prompt="Slow zoom",
                request={"image": "photo.png", "prompt": "Slow zoom", "duration": "5"},
                estimate_units=1.5,
            )
        )
        videos = (Video(url="https://videos.example/1.mp4", duration_s=5.1),) if ended else ()
        task_id = f"{10**17 + number}"
        await ledger.record(
            record.id,
            Task(task_id, "succeed" if ended else "processing", videos=videos),
            again=True,
        )
        ids.append(task_id)
    await ledger.close()
    return ids


async def _wait_for_all(url: str, ids: Sequence[str], pid: int) -> int:
    """Bytes of the server while all of these tasks are waited for."""
    memory = ProcessMemory(pid)

    async def wait(some: Sequence[str]) -> None:
        headers, _ = _request("")
        headers["mcp-name"] = "kling_wait_for_tasks"
        arguments = {"task_ids": list(some), "timeout_s": 20}
        params = {"name": "kling_wait_for_tasks", "arguments": arguments, "_meta": META}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with httpx.AsyncClient() as client:
            answer = await client.post(url, headers=headers, json=message, timeout=600)
            assert answer.status_code == 200, answer.text[:300]

    async with anyio.create_task_group() as group:
        for place in range(0, len(ids), IN_ONE_CALL):
            group.start_soon(wait, ids[place : place + IN_ONE_CALL])
    return memory.peak


def memory_of_open_tasks(folder: Path, count: int, database: str = "") -> tuple[int, int]:
    """Bytes of a server that has waited for some tasks, and the most while it waits for so many;
    the first ones load what waiting needs."""
    folder.mkdir(exist_ok=True)
    with answering_server() as url:
        os.environ["LOAD_BASE_URL"] = url
        ids = anyio.run(lambda: _fill(_ledger(folder, database), count, ended=False))
        with _served(*_kling(folder, database, url)) as (pid, mcp):
            anyio.run(_wait_for_all, mcp, ids[:IN_ONE_CALL], pid)
            before = ProcessMemory(pid).resident
            return before, anyio.run(_wait_for_all, mcp, ids, pid)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each load (5)")
    parser.add_argument("--open", type=int, default=OPEN_TASKS, help="open tasks (10000)")
    parser.add_argument("--database", default="", help="an empty PostgreSQL; else SQLite files")
    arguments = parser.parse_args()
    print("server     workers  calls/s  median      p95   calls/s of the floor")
    with tempfile.TemporaryDirectory(prefix="kling-mcp-load-") as name:
        folder = Path(name)
        ids = anyio.run(lambda: _fill(_ledger(folder, arguments.database), 200, ended=True))
        for workers in WORKERS:
            floor = load_of("floor", workers, *_floor(), ids, arguments.seconds)
            ours = load_of(
                "kling-mcp", workers, *_kling(folder, arguments.database), ids, arguments.seconds
            )
            for row in (floor, ours):
                print(
                    f"{row.server:9}  {row.workers:7}  {row.calls_s:7.0f}  {row.median_ms:4.1f} ms"
                    f"  {row.p95_ms:4.1f} ms   {row.calls_s / floor.calls_s:.2f}x",
                    flush=True,
                )
    with tempfile.TemporaryDirectory(prefix="kling-mcp-load-") as name:
        before, most = memory_of_open_tasks(Path(name), arguments.open, arguments.database)
    print(
        f"\n{arguments.open} open tasks waited for: {before / MB:.0f} MB before, "
        f"{most / MB:.0f} MB at most, {(most - before) / arguments.open / 1024:.1f} kB a task"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
