"""A sandbox over HTTP in whose weather every request may be struck by another fault."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.made_clips import make_clip

from kling_sandbox import SandboxConfig, create_app, parse_faults
from kling_sandbox import clips as clip_making
from kling_sandbox.app import server_of

__all__ = ["CALM", "Storm", "serve"]

CALM = "/calm"
"""A request for this path ends the storm."""

Kind = Literal["creates", "queries", "downloads"]

LOST = (
    "drop-after-accept",
    "html-502-after-accept",
    "empty-body-after-accept",
    "no-id",
)
"""The task is made and the client is not told."""

FULL = ("concurrency", "rate-limit")
REFUSED = ("no-balance", "ok-with-error", "token-expired", *FULL, *FULL)
"""The task is not made, and the client is told so."""

NOT_YET = "not-yet"
"""A task is not found by our id although it exists: a new one may take a moment to appear."""

SILENCES = (NOT_YET, "drop-before-accept", "html-502", "internal")
"""What an outage of queries may be like."""

STRIKES: dict[Kind, tuple[str, ...]] = {
    "creates": (
        *LOST,
        *REFUSED,
        "drop-before-accept",
        "html-502",
        "html-login",
        "empty-body",
        "rate-limit-retry-after",
        "concurrency-retry-after",
        "slow:0.05",
        "internal",
        "backlog",
    ),
    "queries": (NOT_YET, "drop-before-accept", "html-502", "ok-with-error", "slow:0.05"),
    "downloads": ("drop-before-accept", "video-cut-short", "download-404", "slow:0.05"),
}
"""All but `task-fails`, after which a request may be made, and paid, anew."""

STRUCK: dict[Kind, float] = {"creates": 0.5, "queries": 0.2, "downloads": 0.3}
"""How many of the requests are struck in changing weather."""

OUTAGE = 0.3
"""How many spells are outages: no query is answered, and a create is lost or refused."""

LONGEST_SPELL = 60
"""Requests after which the weather changes at the latest."""

FILLING_BYTES = 200_000


@dataclass
class Spell:
    """Weather for some requests; what strikes in it, and how often."""

    requests: int = 0
    strikes: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    struck: Mapping[Kind, float] = field(default_factory=dict)


class Storm:
    """An ASGI app that hands each request to the sandbox with the fault that the dice say."""

    def __init__(self, config: SandboxConfig, seed: int) -> None:
        self._config = config
        self._dice = random.Random(seed)
        self._spell = Spell()
        self._apps: dict[str, ASGIApp] = {}
        self._calm = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == CALM:
            self._calm = True
            await Response(status_code=204)(scope, receive, send)
            return
        fault = self._fault(_kind(scope))
        if fault == NOT_YET:
            fault, scope = "", _unseen(scope)
        await self._app(fault)(scope, receive, send)

    def _app(self, fault: str) -> ASGIApp:
        """The sandbox with one fault turned on, or with none: all have one state on disk."""
        if fault not in self._apps:
            faults = parse_faults([fault] if fault else [])
            self._apps[fault] = create_app(replace(self._config, faults=faults))
        return self._apps[fault]

    def _fault(self, kind: Kind) -> str:
        if self._calm:
            return ""
        if self._spell.requests == 0:
            self._spell = self._next_spell()
        self._spell.requests -= 1
        if self._dice.random() >= self._spell.struck[kind]:
            return ""
        fault = self._dice.choice(self._spell.strikes[kind])
        name, colon, seconds = fault.partition(":")
        return fault if fault == NOT_YET else f"{name}@{kind}{colon}{seconds}"

    def _next_spell(self) -> Spell:
        length = self._dice.randint(1, LONGEST_SPELL)
        if self._dice.random() >= OUTAGE:
            return Spell(length, STRIKES, STRUCK)
        silence = (self._dice.choice(SILENCES),)
        struck = {**STRUCK, "creates": 0.9, "queries": 1.0}
        return Spell(length, {**STRIKES, "creates": LOST + REFUSED, "queries": silence}, struck)


def _unseen(scope: Scope) -> Scope:
    """The same request, if it asks by our id, for a task that does not exist."""
    folder, _, any_id = scope["path"].rpartition("/")
    ours = any_id.startswith(("kmcp-", "own-"))
    return {**scope, "path": f"{folder}/not-yet"} if ours else scope


def _kind(scope: Scope) -> Kind:
    if scope["path"].startswith("/videos/"):
        return "downloads"
    return "creates" if scope["method"] == "POST" else "queries"


@dataclass(frozen=True)
class Reel:
    """In place of a film for each task, which would take longer than all else together: one clip
    of a few frames, made long and different for every task by a box that players skip."""

    clip: bytes
    short_side: int = 64
    motion: object = None
    dub: object = None

    @classmethod
    def below(cls, folder: Path) -> Reel:
        """One whose clip is made in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(make_clip(folder / "reel.mp4").read_bytes())

    def film(self, path: Path) -> None:
        """Put the task's video at `path` in one step."""
        filling = random.Random(path.name).randbytes(FILLING_BYTES)
        box = (8 + len(filling)).to_bytes(4, "big") + b"free" + filling
        part = path.with_suffix(f".{threading.get_ident()}")
        part.write_bytes(self.clip + box)
        part.replace(path)


def serve(listener: socket.socket, home: Path, seed: int) -> None:
    """Serve a storm until the process is ended; its tasks succeed at once."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    reel = Reel.below(home)
    clip_making.script_of = lambda *_: reel  # type: ignore[assignment]
    config = SandboxConfig(home=home, queue_s=0, render_s=0, public_url=url, pack_units=1e9)
    server_of(Storm(config, seed)).run(sockets=[listener])
