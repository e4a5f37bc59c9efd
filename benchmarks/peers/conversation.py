"""An MCP server of any make as a child process, spoken to in JSON-RPC lines, with time limits."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.process_memory import ProcessMemory
from benchmarks.stdio_server import CLIENT, HANDSHAKE_ERA

__all__ = ["Answer", "Conversation", "NoAnswer"]

START_LIMIT_S = 60.0


class NoAnswer(Exception):
    """Nothing came within the time, or the process ended."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool call gave: the text, whether it is marked as an error, the seconds it took, and
    the bytes of the line."""

    text: str
    is_error: bool
    took_s: float
    size: int


class Conversation:
    """The process, started at once; a context manager that ends it. All clients here know the
    2025-11-25 protocol, which every contender speaks."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, str], folder: Path) -> None:
        self._ids = itertools.count(1)
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._waiting: dict[int, bytes] = {}
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **settings},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.memory = ProcessMemory(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(b"")

    def open(self) -> tuple[bytes, float]:
        """Shake hands and list the tools: that line, and the seconds since the start."""
        hello = {"protocolVersion": HANDSHAKE_ERA, "capabilities": {}, "clientInfo": CLIENT}
        self._result(self.send("initialize", hello), START_LIMIT_S)
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        line = self._result(self.send("tools/list", {}), START_LIMIT_S)
        return line, time.perf_counter() - self._started

    def call(self, tool: str, arguments: Mapping[str, Any], limit_s: float) -> Answer:
        """Call a tool. Raises NoAnswer."""
        began = time.perf_counter()
        line = self._result(self.send_call(tool, arguments), limit_s)
        took_s = time.perf_counter() - began
        message = json.loads(line)
        if "error" in message:
            return Answer(message["error"]["message"], True, took_s, len(line))
        result = message["result"]
        texts = [part["text"] for part in result["content"] if part["type"] == "text"]
        return Answer(" ".join(texts), bool(result.get("isError")), took_s, len(line))

    def send_call(self, tool: str, arguments: Mapping[str, Any]) -> int:
        """Call a tool and do not wait; the number of the request."""
        return self.send("tools/call", {"name": tool, "arguments": arguments})

    def cancel(self, number: int) -> None:
        """Say that the answer is not wanted any more."""
        params = {"requestId": number, "reason": "the person does not want it any more"}
        self._write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    def send(self, method: str, params: Mapping[str, Any]) -> int:
        """Send a request; its number."""
        number = next(self._ids)
        self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number

    def _result(self, number: int, limit_s: float) -> bytes:
        until = time.perf_counter() + limit_s
        while number not in self._waiting:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.perf_counter()))
            except queue.Empty:
                raise NoAnswer(f"no answer within {limit_s:g} s") from None
            if not line:
                raise NoAnswer("the server ended")
            message = json.loads(line)
            if "method" not in message and "id" in message:
                self._waiting[message["id"]] = line.rstrip(b"\n")
        return self._waiting.pop(number)

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
