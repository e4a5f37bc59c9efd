"""docs/sandbox.md lists every endpoint of the sandbox, and no other; faults strike each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from kling_sandbox import SandboxConfig, create_app
from kling_sandbox.gateways import GATEWAYS, OFFICIAL
from kling_sandbox.image_models import path_of

PAGE = Path(__file__).parents[3] / "docs/sandbox.md"
ELSEWHERE = tuple(base + "/" for dialect in (*GATEWAYS,) for base in dialect.bases)


def test_the_page_lists_the_endpoints(tmp_path: Path) -> None:
    app = create_app(SandboxConfig(home=tmp_path))
    products = "|".join(path_of("", name)[1:] for name in OFFICIAL.queries)
    served = set()
    for route in app.routes:
        assert isinstance(route, Route)
        path = re.sub(rf"^/v1/videos/(?:{products})(?=/|$)", "/v1/videos/{product}", route.path)
        if not path.startswith((*ELSEWHERE, "/kling/")):
            path = path.replace("{name:path}", "{name}")
            served |= {f"{method} {path}" for method in route.methods or () if method != "HEAD"}

    listed = re.findall(
        r"^\| `((?:GET|POST|PUT) /[^`]*)` \|", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(served)


OPEN = ("/videos/", "/pictures/", "/voices/", "/faces/", "/sounds/", "/sandbox/")
"""Endpoints without a login, which only faults of downloads strike."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "status"), [("rate-limit", 429), ("internal", 500), ("html-login", 200)]
)
async def test_faults_strike_every_endpoint_of_kling(
    open_sandbox: Any, fault: str, status: int
) -> None:
    caller = await open_sandbox(fault)
    listed = re.findall(r"^\| `(GET|POST) (/[^`]*)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    struck = [(method, path) for method, path in listed if not path.startswith(OPEN)]
    assert len(struck) > 20
    for method, path in struck:
        there = path.replace("{product}", "image2video").replace("{model}", "kling-3.0")
        answer = await caller.http.request(method, there.replace("{any_id}", "1"), json={})
        assert answer.status_code == status, path
        assert (answer.headers["content-type"] == "application/json") is (status != 200)
    assert caller.store.counts().strikes == {fault: len(struck)}


@pytest.mark.anyio
async def test_every_create_of_kling_can_lose_its_answer(open_sandbox: Any) -> None:
    caller = await open_sandbox("html-502-after-accept")
    url = "https://example.com/a.png"
    words = {"type": "prompt", "text": "wind"}
    frame = {"type": "first_frame", "url": url}
    pictures = {"frontal_image": url, "refer_images": [{"image_url": url}]}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/videos/image2video": {"model_name": "kling-v3", "image": url, "prompt": "wind"},
        "/text-to-video/kling-3.0-turbo": {"prompt": "wind"},
        "/image-to-video/kling-3.0": {"contents": [words, frame]},
        "/omni-video/kling-o1": {"contents": [words, frame]},
        "/v1/general/advanced-custom-elements": {
            "element_name": "Mia",
            "element_description": "a girl",
            "reference_type": "image_refer",
            "element_image_list": pictures,
        },
        "/v1/general/custom-voices": {"voice_name": "Mia", "voice_url": url},
    }
    for number, (path, body) in enumerate(bodies.items()):
        named = {"external_task_id": f"id-{number}"}
        ours = named if path.startswith("/v1") else {"options": named}
        assert (await caller.http.post(path, json=body | ours)).status_code == 502, path
        (found,) = (
            await caller.http.get("/tasks", params={"external_task_ids": f"id-{number}"})
        ).json()["data"]
        assert found["external_id"] == f"id-{number}"
    assert caller.store.counts().accepted == len(bodies)
