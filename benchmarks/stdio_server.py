"""An MCP server as a child process, spoken to in plain JSON-RPC lines.

No client library stands between the clock and the wire.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.process_memory import ProcessMemory

__all__ = ["HANDSHAKE_ERA", "STATELESS_ERA", "StdioServer", "ToolRefused"]

HANDSHAKE_ERA = "2025-11-25"
STATELESS_ERA = "2026-07-28"
CLIENT = {"name": "benchmarks", "version": "0"}
ROOT = Path(__file__).resolve().parents[1]
OWN_SETTINGS = ("KLING_", "FLOOR_", "PYTHONDONTWRITEBYTECODE")
"""Prefixes of variables that must not leak from the caller's environment into a measurement: an
installed program has its byte code."""


class ToolRefused(Exception):
    """A tool answered with isError, or the server with an error."""


class StdioServer:
    """`python -m MODULE`, started at once; a context manager that ends it.

    `folder` is its working folder, so that no `.env` of the checkout is read.
    """

    def __init__(self, module: str, settings: Mapping[str, str], folder: Path) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(OWN_SETTINGS)}
        self._ids = itertools.count(1)
        self._started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={
                **inherited,
                "PYTHONPATH": str(ROOT),
                "PYTHONPYCACHEPREFIX": str(folder / "byte code"),
                **settings,
            },
        )
        self.memory = ProcessMemory(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    @property
    def age(self) -> float:
        """Seconds since the process was started."""
        return time.perf_counter() - self._started

    def shake_hands(self) -> None:
        """Open the conversation as clients of the 2025-11-25 era do."""
        self._request(
            "initialize",
            {"protocolVersion": HANDSHAKE_ERA, "capabilities": {}, "clientInfo": CLIENT},
        )
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def list_tools(self, era: str = HANDSHAKE_ERA) -> bytes:
        """The line that answers tools/list, without its newline. Raises ToolRefused."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": STATELESS_ERA,
            "io.modelcontextprotocol/clientInfo": CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        return self._request("tools/list", {"_meta": meta} if era == STATELESS_ERA else {})

    def call(self, tool: str, arguments: Mapping[str, Any]) -> float:
        """Call a tool; the seconds until its answer was there. Raises ToolRefused."""
        return self._called(tool, arguments)[0]

    def answer(self, tool: str, arguments: Mapping[str, Any]) -> bytes:
        """The line that answers a call of a tool. Raises ToolRefused."""
        return self._called(tool, arguments)[1]

    def _called(self, tool: str, arguments: Mapping[str, Any]) -> tuple[float, bytes]:
        began = time.perf_counter()
        line = self._request("tools/call", {"name": tool, "arguments": arguments})
        took = time.perf_counter() - began
        result = json.loads(line)["result"]
        if result.get("isError"):
            raise ToolRefused(result["content"][0]["text"])
        return took, line

    def _request(self, method: str, params: Mapping[str, Any]) -> bytes:
        number = next(self._ids)
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if message.get("id") != number:
                continue
            if "error" in message:
                raise ToolRefused(message["error"]["message"])
            return line.rstrip(b"\n")
        raise ToolRefused(f"{method}: the server ended with code {self._process.wait()}")

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
