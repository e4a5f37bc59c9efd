"""One life of a server process: what it is asked for, and the steps that it reports."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import stamina
from mcp import Client
from mcp_types import CallToolResult
from tests.server.serving import least_wish

from kling_mcp.ledger import Ledger, connecting
from kling_mcp.outputs.part import Part
from kling_mcp.protocol.server import build_server
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.rows import PROVIDERS
from kling_mcp.settings.settings import Settings, load_settings
from kling_mcp.submission.queue import FolderQueue
from kling_tools import decorations
from kling_tools.products import ASSETS, MADE, PRODUCTS, Made
from kling_tools.requests import requests
from kling_tools.rules.capabilities import built_in_capabilities

__all__ = [
    "LOOKING",
    "PICTURES",
    "STEPS",
    "Ground",
    "Life",
    "Wish",
    "ask",
    "live",
    "model_for",
    "products_at",
    "steps_of",
]

LOOKING = "looking for a lost task"
"""A step that there is only where a provider can be asked by our id."""

STEPS = (
    "before the reserve",
    "reserved",
    "in the POST",
    "answered, not written down",
    LOOKING,
    "spooling",
    "queued",
    "waiting",
    "downloading",
    "naming the file",
    "named, not written down",
    "saved",
)
"""What a process may be at when it is killed."""

SAVING = STEPS[STEPS.index("downloading") :]
"""The steps of what has a file."""

LEASE_S = 0.4
HASTE = 100
"""How many times faster than in life a process waits between two looks."""

PICTURES = ("photo.png", "other.png")
"""The pictures of which everything is made."""

BROKEN = "mistake of its own"


def model_for(product: Made) -> str:
    """The first model that makes it on the standard on which a lost task is found by our id; empty
    when no model does."""
    return next(iter(built_in_capabilities().living([product], ["legacy"])), "")  # type: ignore[list-item]


def products_at(provider: str) -> list[Made]:
    """What the provider makes: every product of the table with a living model, and every asset."""
    row = PROVIDERS[provider]
    made = [name for name in PRODUCTS if name in row.products and model_for(name)]
    return [*made, *(ASSETS if row.assets else ())]


def steps_of(provider: str, product: Made) -> list[str]:
    """The steps at which a process can be that makes this there."""
    lacks = {*(SAVING if product in ASSETS else ()), *(() if provider == "kling" else (LOOKING,))}
    return [step for step in STEPS if step not in lacks]


@dataclass(frozen=True)
class Ground:
    """Where the lives of one campaign take place; `pictures` is the folder of `PICTURES`."""

    folder: Path
    url: str
    provider: str
    pictures: Path

    def settings(self) -> Settings:
        """The settings of each process: all share one ledger and one folder of videos."""
        return load_settings(
            **{
                "provider": self.provider,
                f"{self.provider}_api_key": "sandbox-key",
                f"{self.provider}_base_url": self.url,
                "home": self.folder / "home",
                "output_dir": self.folder / "videos",
                "image_roots": (self.pictures,),
                "save": True,
            }
        )


@dataclass(frozen=True)
class Wish:
    """One thing that somebody wants; equal ones are the same wish. `prompt`, or the name of an
    asset, tells it from all others."""

    product: Made
    prompt: str
    take: int
    external_task_id: str

    @property
    def is_spoken(self) -> bool:
        """Whether a text is spoken for it first: for every other wish that can have one."""
        steps = PRODUCTS[self.product].steps if self.product in PRODUCTS else ()
        number = re.search(r"\d+", self.prompt)
        return "speech" in steps and number is not None and int(number[0]) % 2 == 1

    def arguments(self, folder: Path) -> dict[str, Any]:
        """What the tool is called with; its pictures are in the folder."""
        if self.product in ASSETS:
            of_kind = {
                "element": {"description": "A fox", "images": [str(folder / n) for n in PICTURES]},
                "voice": {"sample": "https://example.com/voice.mp3"},
            }
            return {"name": self.prompt, **of_kind[ASSETS[self.product].kind]}
        given = {
            **least_wish(MADE[self.product].tool, folder, self.prompt),
            "take": self.take,
        }
        if self.is_spoken:
            given = {name: given[name] for name in given if not name.startswith("sound_")}
            given |= {"text": f"{self.prompt}, and all of it is spoken aloud", "voice_id": "Melody"}
        wanted = getattr(requests, PRODUCTS[self.product].request)  # type: ignore[index]
        if "model_name" not in wanted.absent:
            given["model_name"] = model_for(self.product)
        if PRODUCTS[self.product].result == "picture":  # type: ignore[index]
            given.pop("image_list")  # words are enough, and not every model takes two
        return given | (
            {"external_task_id": self.external_task_id} if self.external_task_id else {}
        )


@dataclass(frozen=True)
class Life:
    """What one process is asked for; with `last_step` it kills itself on reaching that step."""

    wishes: Sequence[Wish]
    last_step: str | None = None
    lists: bool = False


def live(life: Life, ground: Ground, pipe: int, log: Path) -> None:
    """Live in a process of its own, to the end if nobody kills it; never returns.

    Each step is a byte on the pipe. What no fault explains goes to the log.
    """
    code = 1
    try:
        _report_steps(pipe, life.last_step)
        anyio.run(_served, life, ground, log)
        code = 0
    except BaseException:
        _note(log, traceback.format_exc())
    finally:
        os._exit(code)


async def _served(life: Life, ground: Ground, log: Path) -> None:
    async with Client(build_server(ground.settings(), sleep=hasty)) as client:
        if life.lists:
            _look_for_breakage(await client.call_tool("kling_list_tasks", {}), log)
        async with anyio.create_task_group() as group:
            for wish in life.wishes:
                group.start_soon(_wanted, client, wish, ground, log)


async def _wanted(client: Client, wish: Wish, ground: Ground, log: Path) -> None:
    """Submit, wait, and have it saved, as an agent does that tries a second time."""
    for _ in range(2):
        receipt = await ask(client, wish, ground, log)
        if receipt is None:
            continue
        waited = await client.call_tool(
            "kling_wait_for_tasks", {"task_ids": [receipt["task_id"]], "timeout_s": 2}
        )
        _look_for_breakage(waited, log)


async def ask(client: Client, wish: Wish, ground: Ground, log: Path) -> dict[str, Any] | None:
    """The receipt of a submit, or None when it was answered with an error."""
    tool = MADE[wish.product].tool
    result = await client.call_tool(tool, wish.arguments(ground.pictures))
    _look_for_breakage(result, log)
    return None if result.is_error else result.structured_content


async def hasty(seconds: float) -> None:
    """Wait a hundredth of that."""
    await anyio.sleep(seconds / HASTE)


def in_haste() -> None:
    """Make this process and those forked from it wait less than they would. Nothing is left out
    as too late: on a busy machine that is no breakage."""
    stamina.set_testing(True, attempts=4, cap=True)
    mock.patch.object(decorations, "DECORATION_S", math.inf).start()
    hasty_ledger = functools.partial(Ledger, lease_s=LEASE_S)
    mock.patch.object(connecting, "Ledger", hasty_ledger).start()


def _look_for_breakage(result: CallToolResult, log: Path) -> None:
    if result.is_error and BROKEN in json.dumps(result.structured_content):
        _note(log, json.dumps(result.structured_content))


def _note(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def _report_steps(pipe: int, last_step: str | None) -> None:
    """Have the product's own calls say where they are."""
    now = STEPS[0]

    def at(step: str) -> None:
        nonlocal now
        now = step
        os.write(pipe, bytes([STEPS.index(step)]))
        if step == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    def looking() -> None:
        if now in ("answered, not written down", LOOKING):
            at(LOOKING)

    def say(step: str) -> Callable[[], None]:
        return functools.partial(at, step)

    _around(Ledger, "reserve", after=say("reserved"))
    _around(KlingClient, "create", say("in the POST"), say("answered, not written down"))
    _around(KlingClient, "task", looking)
    _around(Ledger, "record", after=say("waiting"))
    _around(FolderQueue, "keep", say("spooling"))
    _around(Ledger, "queue", after=say("queued"))
    _around(Ledger, "saved", after=say("saved"))
    plain = KlingClient.open_video
    KlingClient.open_video = _told(plain, say("downloading"))  # type: ignore[method-assign]
    claim = Part.claim
    Part.claim = _told(  # type: ignore[method-assign]
        claim, say("naming the file"), say("named, not written down")
    )


def _around(
    owner: type,
    name: str,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
) -> None:
    """Replace an async method by itself with a word before and after."""
    plain = getattr(owner, name)

    async def told(*given: Any, **more: Any) -> Any:
        if before:
            before()
        try:
            return await plain(*given, **more)
        finally:
            if after:
                after()

    setattr(owner, name, told)


def _told(
    plain: Callable[..., Any],
    before: Callable[[], None],
    after: Callable[[], None] | None = None,
) -> Callable[..., Any]:
    def told(*given: Any, **more: Any) -> Any:
        before()
        result = plain(*given, **more)
        if after:
            after()
        return result

    return told
