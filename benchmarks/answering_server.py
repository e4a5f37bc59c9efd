"""A loopback HTTP server that reads a create to its end, keeps nothing, and answers at once.

As a program it prints its port and serves until standard input ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

PIECE_BYTES = 256 * 1024

_numbers = itertools.count(1)


def answering_server() -> AbstractContextManager[str]:
    """The base URL of such a server in a process of its own, which ends with the context."""
    return server_in_a_process("benchmarks.answering_server")


@contextmanager
def server_in_a_process(module: str, *arguments: str) -> Iterator[str]:
    """The base URL of the module's server, which prints its port and ends with its standard
    input."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _envelope(number: int) -> bytes:
    data = {"task_id": f"{10**17 + number}", "task_status": "submitted"}
    times = {"created_at": 1790000000000 + number, "updated_at": 1790000000000 + number}
    answer = {"code": 0, "message": "SUCCEED", "request_id": str(number), "data": data | times}
    return json.dumps(answer).encode()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            left = _content_length(head)
            while left:
                left -= len(await reader.read(min(left, PIECE_BYTES)))
            body = _envelope(next(_numbers))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
