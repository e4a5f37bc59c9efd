"""A server on an embedded sandbox, all of whose files lie in one folder."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
import pytest
from benchmarks.virtual_time import VirtualTimeLoop, virtual_clock
from PIL import Image

from kling_mcp.providers.configured import SANDBOX_URL, Configured
from kling_mcp.providers.transport import Connection
from kling_mcp.settings.settings import Settings, load_settings
from kling_sandbox import SandboxConfig, create_app, parse_faults
from kling_tools.products import PRODUCTS, PRODUCTS_BY_TOOL

ERAS_WITH_CLIPS = (pytest.param("legacy", marks=pytest.mark.campaign), "2026-07-28")
"""Both eras of the protocol, for tests that have a clip made: it takes a second of a core."""

CORE_BYTES, ALL_BYTES = 11_000, 20_000
"""The most bytes of tools/list: of the set `core`, and of all tools."""

SMALL_PX, SIDE_PX = 48, 300
"""Of the sandbox's clips: the second is the least that Kling takes as a picture, for frames that
are given on; it takes seven times as long to make."""

FASTER = 500
"""Times that time goes faster in tests."""


async def no_sleep(seconds: float) -> None:
    """Waits a five-hundredth of that, awaited: what works beside it, in a thread too, gets on."""
    await anyio.sleep(seconds / FASTER)


def hurried() -> dict[str, Any]:
    """The `sleep` of a server, and with it its `clock` where the running loop's time is virtual."""
    if isinstance(asyncio.get_running_loop(), VirtualTimeLoop):
        return {"sleep": anyio.sleep, "clock": virtual_clock()}
    return {"sleep": no_sleep}


virtual_time = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"loop_factory": VirtualTimeLoop})], ids=["virtual time"]
)
"""For tests without sockets: all waiting is over at once, in its order."""


def sandbox_by(clock: Callable[[], float]) -> Callable[..., AsyncIterator[Connection]]:
    """What stands in place of `kling_mcp.providers.transport.connect` so that the embedded sandbox
    goes by this clock."""

    @asynccontextmanager
    async def connect(
        provider: Configured, settings: Settings, _: object = None
    ) -> AsyncIterator[Connection]:
        config = SandboxConfig(
            home=settings.home / "sandbox",
            queue_s=settings.sandbox_queue_s,
            render_s=settings.sandbox_render_s,
            side_px=settings.sandbox_side_px,
            slots=settings.sandbox_slots,
            preview=settings.models_preview,
            faults=parse_faults(settings.sandbox_faults),
            clock=clock,
            public_url=SANDBOX_URL,
        )
        transport = httpx.ASGITransport(create_app(config))
        async with (
            httpx.AsyncClient(base_url=provider.base_url, transport=transport) as api,
            httpx.AsyncClient(transport=transport) as files,
        ):
            yield Connection(api, files, provider.credentials, True)

    return connect


def tasks_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasks of an answer, each with what an answer about many says once."""
    shared = answer.get("unless_stated", {})
    return [
        {name: value for name, value in {**shared, **task}.items() if value is not None}
        for task in answer["tasks"]
    ]


PICTURE_SIZE = (640, 480)


def picture(folder: Path, name: str = "photo.png", size: tuple[int, int] = PICTURE_SIZE) -> str:
    """A small real picture; its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_drawn(size, path.suffix))
    return str(path)


def least_wish(tool: str, folder: Path, prompt: str) -> dict[str, Any]:
    """The least that a tool that makes something requires, with small pictures in the folder."""

    def drawn(name: str) -> str:
        return str(path) if (path := folder / name).exists() else picture(folder, name)

    inputs: dict[str, Callable[[], Any]] = {
        "image": lambda: drawn("photo.png"),
        "image_list": lambda: [drawn("photo.png"), drawn("other.png")],
        "video": lambda: "https://example.com/dance.mp4",
        "sound_file": lambda: "https://example.com/speech.mp3",
    }
    main = PRODUCTS[PRODUCTS_BY_TOOL[tool][0]].inputs
    given = {name: make() for name, make in inputs.items() if name in main}
    if tool == "kling_lip_sync":  # it has no prompt: its video and its sound tell wishes apart
        named = {name: f"{given[name]}?{urlencode({'wish': prompt})}" for name in given}
        return {**named, "sound_end_time": 4000}
    return {**given, "prompt": prompt}


@cache
def _drawn(size: tuple[int, int], suffix: str) -> bytes:
    file = io.BytesIO()
    kind = Image.registered_extensions()[suffix]
    Image.effect_mandelbrot(size, (-2, -1, 1, 1), 40).convert("RGB").save(file, kind)
    return file.getvalue()


def sandbox_settings(folder: Path, **more: Any) -> Settings:
    """Settings for tests: tasks end at once, nothing outside the folder is read or written."""
    return load_settings(
        **{
            "provider": "sandbox",
            "home": folder / "home",
            "output_dir": folder / "videos",
            "save_roots": (),
            "image_roots": (folder,),
            "sandbox_queue_s": 0,
            "sandbox_render_s": 0,
            "sandbox_side_px": SMALL_PX,
            "save": False,
            **more,
        }
    )
