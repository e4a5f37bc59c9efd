"""A sandbox in this process, a clock that tests move, and pictures to send."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw

from kling_sandbox import SandboxConfig, SandboxStore, create_app, parse_faults

KEY = {"Authorization": "Bearer sandbox-key"}


class Clock:
    """Unix seconds that only tests move."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class WebhookSender:
    """A client of one sandbox that speaks Kling's HTTP by hand."""

    def __init__(
        self, http: httpx.AsyncClient, home: Path, image: str, root: str = "/v1/videos"
    ) -> None:
        self.http = http
        self.home = home
        self.store = SandboxStore(home)
        self.image = image
        self.root = root

    def at(self, gateway: str) -> WebhookSender:
        """The same client at the door of a gateway."""
        return WebhookSender(self.http, self.home, self.image, f"/{gateway}/kling/v1/videos")

    async def create(self, product: str = "image2video", **fields: Any) -> httpx.Response:
        """POST a body that is good unless `fields` make it otherwise; None leaves one out."""
        body: dict[str, Any] = {"model_name": "kling-v3", "image": self.image, "prompt": "wind"}
        if product == "multi-image2video":
            body = {"image_list": [{"image": self.image}] * 2, "prompt": "they meet"}
        elif product == "omni-video":
            body = {
                "model_name": "kling-v3-omni",
                "image_list": [{"image_url": self.image}],
                "prompt": "<<<image_1>>> dances",
            }
        body = {name: value for name, value in (body | fields).items() if value is not None}
        return await self.http.post(f"{self.root}/{product}", content=json.dumps(body))

    async def query(self, task_id: str, product: str = "image2video") -> httpx.Response:
        """GET of one task."""
        return await self.http.get(f"{self.root}/{product}/{task_id}")

    async def created(self, product: str = "image2video", **fields: Any) -> dict[str, Any]:
        """The `data` of a create that must be accepted."""
        answer = await self.create(product, **fields)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def task(self, task_id: str, product: str = "image2video") -> dict[str, Any]:
        """The `data` of a query that must find the task."""
        answer = await self.query(task_id, product)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    """A picture of that type; NOISE is a PNG that does not become small."""
    if kind == "NOISE":
        image, kind = Image.effect_noise((width, height), 80).convert("RGB"), "PNG"
    else:
        image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
        ImageDraw.Draw(image).ellipse((50, 50, 150, 150), fill=(220, 60, 40))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def encoded(width: int, height: int, kind: str = "PNG") -> str:
    """The same as raw base64."""
    return base64.b64encode(picture(width, height, kind)).decode()


@pytest.fixture(autouse=True)
def shared_films() -> None:
    """Here each film is made, and looked at."""


@pytest.fixture(scope="session")
def image() -> str:
    return encoded(400, 300)


@pytest.fixture(scope="session")
def encode() -> Callable[..., str]:
    """A function of width, height and kind that gives a picture as raw base64."""
    return encoded


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def open_sandbox(
    tmp_path: Path, clock: Clock, image: str
) -> AsyncIterator[Callable[..., Any]]:
    """Open a sandbox that serves retired models too, whose rules most tests are about; called
    again it opens a second app on the same home."""
    async with AsyncExitStack() as stack:

        async def opened(*faults: str, **settings: Any) -> WebhookSender:
            config = SandboxConfig(
                home=tmp_path / "home",
                clock=clock,
                faults=parse_faults(faults),
                **{"serve_retired": True} | settings,
            )
            http = await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(create_app(config)),
                    base_url=config.public_url,
                    headers=KEY,
                )
            )
            return WebhookSender(http, config.home, image)

        yield opened
