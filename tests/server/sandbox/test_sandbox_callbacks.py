"""The sandbox calls a `callback_url`, where it may, as Kling does."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from kling_sandbox import SandboxConfig, SandboxStore, create_app
from kling_sandbox.orders import Task
from kling_sandbox.webhooks import (
    WebhookSender,
    call_none,
    only_below,
    only_loopback,
    signed_headers,
)

SECRET = "whsec_c2VjcmV0LW9mLXRoZS1jYWxsYmFja3M="

Said = tuple[str, dict[str, str], bytes]


@contextmanager
def listening() -> Iterator[tuple[str, "Queue[Said]"]]:
    """Somebody who is called back; the URL and what was said."""
    said: Queue[Said] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said.put((self.path, dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", said
    finally:
        server.shutdown()
        thread.join(timeout=60)
        server.server_close()


async def created(folder: Path, image: str, url: str, **config: Any) -> dict[str, Any]:
    """A task of a sandbox that is done at once, made with this callback_url."""
    app = create_app(SandboxConfig(home=folder, queue_s=0, render_s=0, **config))
    body = {"model_name": "kling-v3", "image": image, "prompt": "wind", "callback_url": url}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        answer = await http.post(
            "http://sandbox/v1/videos/image2video",
            json=body,
            headers={"Authorization": "Bearer sandbox-key"},
        )
    data: dict[str, Any] = answer.json()["data"]
    return data


@pytest.mark.anyio
async def test_start_and_end_are_told_with_the_bare_task_and_a_signature(
    tmp_path: Path, image: str
) -> None:
    with listening() as (url, said):
        task = await created(
            tmp_path, image, f"{url}/hook?a=b", may_call=only_loopback, callback_secret=SECRET
        )
        told = [said.get(timeout=60) for _ in range(2)]

    for path, headers, body in told:
        assert path == "/hook?a=b"
        Webhook(SECRET).verify(body, headers)
    last = json.loads(told[-1][2])
    assert (last["task_id"], last["task_status"]) == (task["task_id"], "succeed")
    assert last["task_result"]["videos"][0]["url"]


@pytest.mark.anyio
@pytest.mark.parametrize("error", [OSError("gone"), sqlite3.OperationalError("gone")])
async def test_a_callback_about_what_cannot_be_read_is_left_out(
    error: Exception, tmp_path: Path, image: str
) -> None:
    """As where the sandbox's folder was removed. Two are due at once: the second is told."""
    unread = [error]

    def document(task: Task, now: float) -> dict[str, Any]:
        if unread:
            raise unread.pop()
        return {"told": task.task_id}

    with listening() as (url, said):
        made = await created(tmp_path, image, f"{url}/hook")
        task = SandboxStore(tmp_path).find(made["task_id"])
        assert task
        WebhookSender(only_loopback, "", document, time.time).follow(task)
        told = json.loads(said.get(timeout=60)[2])

    assert told == {"told": task.task_id}
    assert said.empty()


@pytest.mark.anyio
async def test_whoever_it_may_not_call_hears_nothing(tmp_path: Path, image: str) -> None:
    with listening() as (url, said):
        await created(tmp_path, image, f"{url}/hook")
        await created(tmp_path, image, f"{url}/other/hook", may_call=only_below(f"{url}/mine"))
        await created(tmp_path, image, f"{url}/mine/hook", may_call=only_below(f"{url}/mine"))
        heard = {said.get(timeout=60)[0] for _ in range(2)}

    assert heard == {"/mine/hook"}
    assert said.empty()


@pytest.mark.anyio
async def test_a_task_of_the_new_standard_is_told_in_its_own_shape(
    tmp_path: Path, image: str
) -> None:
    with listening() as (url, said):
        app = create_app(
            SandboxConfig(home=tmp_path, queue_s=0, render_s=0, may_call=only_loopback)
        )
        contents = [{"type": "prompt", "text": "wind"}, {"type": "first_frame", "url": image}]
        options = {"callback_url": f"{url}/hook", "external_task_id": "mine"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
            answer = await http.post(
                "http://sandbox/image-to-video/kling-3.0-turbo",
                json={"contents": contents, "options": options},
                headers={"Authorization": "Bearer sandbox-key"},
            )
        _, _, body = [said.get(timeout=60) for _ in range(2)][-1]

    last = json.loads(body)
    assert last["id"] == answer.json()["data"]["id"]
    assert (last["status"], last["message"], last["external_id"]) == ("succeeded", "", "mine")
    assert last["outputs"][0]["type"] == "video"
    assert last["billing"][0]["amount"] == "4"


def test_a_signature_is_the_one_that_kling_publishes() -> None:
    body = (
        b'{"id":"1234567890","status":"succeeded","message":"",'
        b'"create_time":1781080778802,"update_time":1781080794151}'
    )
    secret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="

    assert signed_headers(secret, "9876543210", 1781080794, body) == {
        "webhook-id": "9876543210",
        "webhook-timestamp": "1781080794",
        "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
    }


@pytest.mark.parametrize(
    ("rule", "url", "may"),
    [
        (call_none, "http://127.0.0.1:1/x", False),
        (only_loopback, "http://127.0.0.1:1/x", True),
        (only_loopback, "http://[::1]/x", True),
        (only_loopback, "http://127.0.0.1.evil.example/x", False),
        (only_loopback, "http://127.0.0.1@evil.example/x", False),
        (only_loopback, "http://[bad", False),
        (only_below("https://v.example/callbacks"), "https://v.example/callbacks/key", True),
        (only_below("https://v.example/callbacks"), "https://v.example/callbacksuffix", False),
        (only_below("https://v.example/callbacks"), "https://v.example.evil/callbacks/key", False),
    ],
)
def test_an_address_is_judged_by_its_host(rule: Callable[[str], bool], url: str, may: bool) -> None:
    assert rule(url) is may


@pytest.mark.anyio
async def test_who_does_not_answer_is_no_trouble(tmp_path: Path, image: str) -> None:
    await created(tmp_path, image, "http://127.0.0.1:9/x", may_call=only_loopback)
    with listening() as (url, said):
        await created(tmp_path, image, f"{url}/x", may_call=only_loopback)

        assert said.get(timeout=60)
