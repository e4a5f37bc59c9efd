"""The local provider: a server on loopback that makes tasks, breaks as told, and counts. It speaks
HTTP, and for a contender that takes no other address HTTPS, with a certificate of its own."""

from __future__ import annotations

import itertools
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import trustme

from benchmarks.peers.dialects import DIALECTS, Dialect, Reply

__all__ = ["Address", "Desk", "Fault", "local_provider"]

Fault = Literal["", "lost", "html", "limited", "silent", "empty"]
"""What happens to creates: the answer is lost after the task was made; HTTP 502 with a page; too
many requests; the task is made and nothing is answered; no balance."""

SECURED = "minimax-h3"
"""The dialect of the server that takes an HTTPS address alone, and no path in it."""

PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the provider listens: `plain`, below which each dialect has a path of its name, and
    `secured` for `SECURED` alone, whose certificate the file `authority` vouches for."""

    plain: str
    secured: str = ""
    authority: str = ""


@dataclass(slots=True)
class Desk:
    """One provider's state. `strikes` is how many creates the fault still hits; `made` are the
    prompts of the tasks that exist, each of which was paid; `asked` the times of all requests."""

    dialect: Dialect
    fault: Fault = ""
    strikes: int = 0
    made: dict[str, str] = field(default_factory=dict)
    asked: list[float] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def strike(self, fault: Fault, times: int) -> None:
        """From now on the next creates fail like this."""
        self.fault, self.strikes = fault, times

    def struck(self) -> Fault:
        """What happens to the create that has just come."""
        if self.strikes <= 0:
            return ""
        self.strikes -= 1
        return self.fault


def _own_id(made: str, path: str) -> bool:
    """Whether the path ends on the id that whoever made the task gave it."""
    given = json.loads(made).get("external_task_id")
    return bool(given) and path.endswith(f"/{given}")


def _with_own_id(told: Any, made: str) -> Any:
    """The answer about one task, with the id that whoever made it gave it, as Kling repeats it."""
    given, data = json.loads(made).get("external_task_id"), told.get("data")
    if not given or not isinstance(data, dict) or "task_id" not in data:
        return told
    return {**told, "data": {**data, "task_info": {"external_task_id": given}}}


_numbers = itertools.count(941_000_000_000_000_000)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    """An answer leaves whole and at once: in two pieces it waits 40 ms for the other side."""

    desks: dict[str, Desk]
    only: str = ""

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._serve(json.loads(self.rfile.read(length) or b"{}"))

    def _serve(self, body: dict[str, Any]) -> None:
        path = self.path.partition("?")[0]
        desk = self.desks[self.only or path.split("/")[1]]
        desk.asked.append(time.perf_counter())
        if desk.dialect.priced and "/estimate/" in path:
            self._answer(desk.dialect.priced)
            return
        if path.endswith(desk.dialect.creates):
            if self.command == "POST":
                self._create(desk, body)
            else:
                self._answer(desk.dialect.running(list(desk.made)))
            return
        words = f"{self.path} {json.dumps(body)}"
        known = [n for n, made in desk.made.items() if n in words or _own_id(made, path)]
        if not known:
            self._answer(desk.dialect.unknown)
            return
        status, told = desk.dialect.running(known)
        self._answer((status, _with_own_id(told, desk.made[known[0]])))

    def _create(self, desk: Desk, body: dict[str, Any]) -> None:
        fault = desk.struck()
        if fault == "html":
            self._send(502, "text/html", PAGE)
            return
        if fault in ("limited", "empty"):
            self._answer(desk.dialect.limited if fault == "limited" else desk.dialect.empty)
            return
        number = desk.dialect.number(next(_numbers))
        desk.made[number] = json.dumps(body, sort_keys=True)
        if fault == "silent":
            desk.released.wait()
        if fault in ("lost", "silent"):
            self.close_connection = True
            return
        self._answer(desk.dialect.created(number))

    def _answer(self, reply: Reply) -> None:
        status, body = reply
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing is logged."""


@contextmanager
def local_provider() -> Iterator[tuple[Address, dict[str, Desk]]]:
    """Its address, and the desks by the names of their dialects."""
    desks = {name: Desk(dialect) for name, dialect in DIALECTS.items()}
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kling-mcp-peers-")))
        authority.cert_pem.write_to_path(folder / "authority.pem")
        plain = stack.enter_context(_listening(desks, None))
        secured = stack.enter_context(_listening(desks, context))
        yield (
            Address(
                f"http://127.0.0.1:{plain}",
                f"https://localhost:{secured}",
                str(folder / "authority.pem"),
            ),
            desks,
        )


@contextmanager
def _listening(desks: dict[str, Desk], context: ssl.SSLContext | None) -> Iterator[int]:
    """A server for the time; its port."""
    only = "" if context is None else SECURED
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"desks": desks, "only": only})
    )
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        for desk in desks.values():
            desk.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
