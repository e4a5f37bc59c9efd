"""A client that sends and receives bare JSON-RPC, for what the SDK's own client hides or lacks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.client._memory import InMemoryTransport
from mcp.server import MCPServer
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

TASKS = "io.modelcontextprotocol/tasks"
MODERN = "2026-07-28"
HANDSHAKE = "2025-11-25"
PATIENCE_S = 120


class RawClient:
    """`ask` gives a whole answer, `heard` are the notifications in the order they came."""

    def __init__(self, write: Any, group: TaskGroup, capabilities: dict[str, Any] | None) -> None:
        self._write = write
        self._group = group
        self._capabilities = capabilities
        self._ids = count(1)
        self._answers: dict[Any, dict[str, Any]] = {}
        self._came = anyio.Event()
        self.modern = capabilities is not None
        self.heard: list[dict[str, Any]] = []

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a request: its `result`, or its `error`."""
        return await self.answer_to(await self.begin(method, **params))

    async def begin(self, method: str, **params: Any) -> int:
        """Send a request whose answer may come much later; its id."""
        number = next(self._ids)
        if self._capabilities is not None:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": self._capabilities,
            }
        await self._send({"id": number, "method": method, "params": params})
        return number

    async def answer_to(self, number: int) -> dict[str, Any]:
        """Wait for the answer to the request with this id."""
        await self._until(lambda: number in self._answers)
        return self._answers[number]

    async def hear(self, method: str, how_many: int = 1) -> list[dict[str, Any]]:
        """Wait for notifications; the params of all that came so far."""
        await self._until(lambda: len(self._params(method)) >= how_many)
        return self._params(method)

    async def notify(self, method: str, **params: Any) -> None:
        """Send a notification."""
        await self._send({"method": method, "params": params})

    def _params(self, method: str) -> list[dict[str, Any]]:
        return [message["params"] for message in self.heard if message["method"] == method]

    async def _send(self, message: dict[str, Any]) -> None:
        parsed = jsonrpc_message_adapter.validate_python({"jsonrpc": "2.0", **message})
        await self._write.send(SessionMessage(parsed))

    async def _until(self, ready: Any) -> None:
        with anyio.fail_after(PATIENCE_S):
            while not ready():
                await self._came.wait()

    async def _read(self, stream: Any) -> None:
        async for item in stream:
            message = item.message.model_dump(by_alias=True, mode="json", exclude_none=True)
            if "method" in message:
                self.heard.append(message)
            else:
                self._answers[message["id"]] = message
            self._came.set()
            self._came = anyio.Event()


@asynccontextmanager
async def modern(
    server: MCPServer[Any], *, tasks: bool = True, **capabilities: Any
) -> AsyncIterator[RawClient]:
    """A client of 2026-07-28; with `tasks` it declares the extension in every request."""
    declared = {**capabilities, **({"extensions": {TASKS: {}}} if tasks else {})}
    async with _connected(server, declared) as client:
        yield client


@asynccontextmanager
async def handshaken(server: MCPServer[Any]) -> AsyncIterator[RawClient]:
    """A client of 2025-11-25 after its handshake."""
    async with _connected(server, None) as client:
        await client.ask(
            "initialize",
            protocolVersion=HANDSHAKE,
            capabilities={},
            clientInfo={"name": "raw", "version": "1"},
        )
        await client.notify("notifications/initialized")
        yield client


@asynccontextmanager
async def _connected(
    server: MCPServer[Any], capabilities: dict[str, Any] | None
) -> AsyncIterator[RawClient]:
    async with InMemoryTransport(server) as (read, write), anyio.create_task_group() as group:
        client = RawClient(write, group, capabilities)
        group.start_soon(client._read, read)
        yield client
        group.cancel_scope.cancel()
