"""A finished video that is saved over loopback, beside curl, which neither hashes nor checks it.

As a program it serves the file that it is given, prints its port, and ends with standard input.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import av

from benchmarks.answering_server import server_in_a_process
from benchmarks.stdio_server import StdioServer
from kling_mcp.ledger import Ledger, NewRow
from kling_mcp.providers.task import Task, Video

__all__ = ["saves", "small_clip"]

MB = 1_000_000
SIZE = 100 * MB


def small_clip(path: Path) -> bytes:
    """A video of one second, also written to the path."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(24):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    return path.read_bytes()


def saves(runs: int, folder: Path, settings: Mapping[str, str]) -> tuple[list[float], list[float]]:
    """Seconds of `kling_save_video` and of curl for a video of 100 MB, in turns. `settings` are
    those of a server with a key, without its base URL. Nothing where curl is missing."""
    if not shutil.which("curl"):
        return [], []
    video = folder / "large.mp4"
    clip = small_clip(video)
    rest = SIZE - len(clip)
    video.write_bytes(clip + rest.to_bytes(4, "big") + b"free" + bytes(rest - 8))
    ours, curl = [], []
    with server_in_a_process("benchmarks.saving", str(video)) as url:
        ids = anyio.run(_finished, Path(settings["KLING_MCP_HOME"]), url, runs + 1)
        own = {**settings, "KLING_BASE_URL": url}
        with StdioServer("kling_mcp", own, folder) as server:
            server.shake_hands()
            for number, task_id in enumerate(ids):
                took = server.call("kling_save_video", {"task_id": task_id})
                copy = folder / f"curl-{number}.mp4"
                began = time.perf_counter()
                subprocess.run(["curl", "-sf", "-o", copy, f"{url}/v.mp4"], check=True)
                if number:
                    ours.append(took)
                    curl.append(time.perf_counter() - began)
                copy.unlink()
    return ours, curl


async def _finished(home: Path, url: str, count: int) -> list[str]:
    """So many tasks whose video is at the address; their ids."""
    ledger, ids = Ledger(home), []
    for number in range(count):
        row, _ = await ledger.reserve(
            NewRow(
                provider="kling",
                base_url=url,
                product="image2video",
                digest=f"saved {number}",
                take=1,
                model_name="kling-v2-6",
                prompt=f"Slow zoom {number}",
                request={"prompt": "Slow zoom"},
                estimate_units=1.5,
            )
        )
        ids.append(f"{2 * 10**17 + number}")
        video = Video(url=f"{url}/{number}.mp4", duration_s=1.0)
        await ledger.record(row.id, Task(ids[-1], "succeed", videos=(video,)))
    await ledger.close()
    return ids


async def _serve(path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            asked = re.search(rb"\r\nrange: bytes=(\d+)-", head, re.IGNORECASE)
            start, size = int(asked[1]) if asked else 0, path.stat().st_size
            state = "206 Partial Content" if asked else "200 OK"
            lines = [f"HTTP/1.1 {state}", f"Content-Length: {size - start}", "Connection: close"]
            lines += [f"Content-Range: bytes {start}-{size - 1}/{size}"] if asked else []
            writer.write("\r\n".join([*lines, "", ""]).encode())
            await writer.drain()
            with path.open("rb") as file:
                await asyncio.get_running_loop().sendfile(writer.transport, file, start)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
