"""Callbacks of providers: hints, of which nothing is believed."""

import json
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from standardwebhooks import Webhook
from tests.server.hosting.public_server import PUBLIC, Hosted, facts, hosted
from tests.server.hosting.team import served_team
from tests.server.scripted import Scripted, task
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.hosting.public_routes import BODY_BYTES
from kling_mcp.protocol.server import build_server

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1jYWxsYmFja3M="
KLING = {"provider": "kling", "kling_api_key": "a-key"}
DONE = {
    "task_status": "succeed",
    "task_result": {"videos": [{"id": "v", "url": "https://kling.example/v.mp4", "duration": "5"}]},
}
FALSE = {"task_id": "t-1", **DONE, "task_result": {"videos": [{"url": "https://evil.example/v"}]}}


class Kling:
    """A provider with one task; `asked` counts the questions, `sent` are the creates."""

    def __init__(self) -> None:
        self.asked = 0
        self.sent: list[dict[str, Any]] = []
        self.now: dict[str, Any] = {"task_status": "processing"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.sent.append(json.loads(request.content))
            return task()
        self.asked += 1
        return task(**self.now)


@pytest.fixture
def kling(monkeypatch: pytest.MonkeyPatch) -> Kling:
    provider = Kling()
    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(provider).connect)
    return provider


class Gate:
    """A server's sleep that lasts until the test says so."""

    def __init__(self) -> None:
        self.asleep = 0
        self._opened = anyio.Event()

    async def __call__(self, _: float) -> None:
        self.asleep += 1
        await self._opened.wait()

    def open(self) -> None:
        self._opened.set()
        self._opened = anyio.Event()


async def made(server: Hosted, folder: Path, **more: Any) -> dict[str, Any]:
    wish = {"image": PICTURE(folder), "prompt": "wind", **more}
    return await server.call("kling_image_to_video", **wish)


def PICTURE(folder: Path) -> str:  # noqa: N802
    import base64

    return "data:image/png;base64," + base64.b64encode(Path(picture(folder)).read_bytes()).decode()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    at = datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", at, body.decode())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


async def settled(condition: Callable[[], bool]) -> None:
    """Let the server go on until something is so."""
    for _ in range(10_000):
        if condition():
            return
        await anyio.sleep(0.001)
    raise TimeoutError


async def idle() -> None:
    """Let the server do all that it would do now."""
    for _ in range(50):
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(lambda: None)


async def written(folder: Path, status: str) -> None:
    """Let the server go on until a task has this status in its ledger, and then do all else."""
    with closing(sqlite3.connect(folder / "home" / "ledger.sqlite3")) as db:
        await settled(lambda: db.execute("SELECT status FROM tasks").fetchall() == [(status,)])
    await idle()


@pytest.mark.anyio
async def test_a_create_names_an_address_of_its_own_that_nobody_can_guess(
    kling: Kling, tmp_path: Path
) -> None:
    async with hosted(tmp_path, provider=KLING) as server:
        dry = await made(server, tmp_path, dry_run="full")
        receipt = await made(server, tmp_path)
        row = await server.row(receipt["task_id"])

    assert kling.sent[0]["callback_url"] == f"{PUBLIC}/callbacks/{row.callback_key}"
    assert len(row.callback_key) == 32
    assert row.callback_key not in json.dumps(row.request) + repr(row)
    assert "callback_url" in receipt["sent"]
    assert dry["request"]["body"]["callback_url"].startswith(f"{PUBLIC}/callbacks/")


@pytest.mark.anyio
async def test_a_callers_own_address_stands(kling: Kling, tmp_path: Path) -> None:
    async with hosted(tmp_path, provider=KLING) as server:
        await made(server, tmp_path, callback_url="https://mine.example/hook")

    assert kling.sent[0]["callback_url"] == "https://mine.example/hook"


@pytest.mark.anyio
async def test_a_provider_that_does_not_call_back_is_given_no_address(
    kling: Kling, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps({"kling": {"callbacks": False}}))
    async with hosted(tmp_path, provider={**KLING, "providers": rows}) as server:
        receipt = await made(server, tmp_path)

    assert "callback_url" not in kling.sent[0]
    assert "callback_url" not in receipt["sent"]


@pytest.mark.anyio
async def test_the_same_wish_is_the_same_video_with_and_without_callbacks(
    kling: Kling, tmp_path: Path
) -> None:
    wish = {"image": PICTURE(tmp_path), "prompt": "wind"}
    async with Client(build_server(sandbox_settings(tmp_path, **KLING), sleep=no_sleep)) as client:
        first = facts(await client.call_tool("kling_image_to_video", wish))
    async with hosted(tmp_path, provider=KLING) as server:
        again = await made(server, tmp_path)

    assert again["repeated"] is True
    assert again["task_id"] == first["task_id"]
    assert len(kling.sent) == 1


@pytest.mark.anyio
async def test_a_finished_task_is_noticed_at_once_though_nobody_asks(
    kling: Kling, tmp_path: Path
) -> None:
    async with hosted(tmp_path, provider=KLING) as server:
        receipt = await made(server, tmp_path)
        row = await server.row(receipt["task_id"])
        kling.now = DONE
        answer = await server.http.post(f"/callbacks/{row.callback_key}", content=b"{}")
        await written(tmp_path, "succeed")
        row = await server.row(receipt["task_id"])

    assert (answer.status_code, answer.content) == (204, b"")
    assert row.status == "succeed"
    assert kling.asked == 1


@pytest.mark.anyio
async def test_what_a_callback_says_is_not_believed(kling: Kling, tmp_path: Path) -> None:
    async with hosted(tmp_path, provider=KLING, sleep=Gate()) as server:
        receipt = await made(server, tmp_path)
        row = await server.row(receipt["task_id"])
        answer = await server.http.post(f"/callbacks/{row.callback_key}", json=FALSE)
        await written(tmp_path, "processing")
        row = await server.row(receipt["task_id"])

    assert answer.status_code == 204
    assert (row.status, row.videos) == ("processing", ())


@pytest.mark.anyio
async def test_a_flood_for_one_task_asks_once_in_some_seconds(kling: Kling, tmp_path: Path) -> None:
    gate = Gate()
    async with hosted(tmp_path, provider=KLING, sleep=gate) as server:
        row = await server.row((await made(server, tmp_path))["task_id"])
        for _ in range(60):
            await server.http.post(f"/callbacks/{row.callback_key}", json=FALSE)
        await settled(lambda: gate.asleep == 1)
        asked_first = kling.asked
        kling.now = DONE
        gate.open()
        await written(tmp_path, "succeed")
        status = (await server.row(row.id)).status
        for _ in range(60):
            await server.http.post(f"/callbacks/{row.callback_key}", json=FALSE)
        await idle()

    assert asked_first == 1
    assert status == "succeed"
    assert kling.asked == 2


@pytest.mark.anyio
async def test_a_callback_that_overtakes_the_answer_to_its_create_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kling = Kling()
    kling.now = DONE

    async def overtaken(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            url = json.loads(request.content)["callback_url"]
            answer = await server.http.post(url, content=b"{}")
            assert answer.status_code == 204
        return kling(request)

    monkeypatch.setattr("kling_mcp.providers.transport.connect", Scripted(overtaken).connect)  # type: ignore[arg-type]
    async with hosted(tmp_path, provider=KLING, sleep=Turns()) as server:
        receipt = await made(server, tmp_path)
        await written(tmp_path, "succeed")
        row = await server.row(receipt["task_id"])

    assert row.status == "succeed"
    assert kling.asked == 1


class Turns:
    """A sleep that lets everything else go first."""

    async def __call__(self, _: float) -> None:
        await anyio.wait_all_tasks_blocked()


def forgeries(
    key: str, count: int, *, with_key: bool
) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Paths, bodies and headers of callbacks that nobody at the provider sent."""
    chance = random.Random(20261121)
    true = json.dumps(FALSE).encode()
    bodies = [
        lambda: true,
        lambda: b"",
        lambda: b"\xff\x00garbage",
        lambda: b"{" * 5000,
        lambda: json.dumps({"task_id": "t-1", "external_task_id": key, "callback": key}).encode(),
        lambda: b"x" * (BODY_BYTES + 1),
    ]
    headers: list[Callable[[bytes], dict[str, str]]] = [
        lambda body: {},
        lambda body: {"webhook-id": "m", "webhook-timestamp": "now", "webhook-signature": "v1,"},
        lambda body: {
            "webhook-id": "m",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": "v1",
        },
        lambda body: {
            "webhook-id": "m",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": f"v1,{secrets.token_hex(16)}",
        },
        lambda body: signed(b"another body"),
        lambda body: signed(true, "whsec_" + "b3RoZXItc2VjcmV0LW9mLXNvbWVib2R5"),
        lambda body: {**signed(true), "webhook-timestamp": "1700000000"},
    ]
    made_up = [
        lambda: secrets.token_urlsafe(24),
        lambda: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda: key.swapcase(),
        lambda: "t-1",
        lambda: "a" * 4000,
        lambda: "%00",
        lambda: "' OR 1=1 --",
    ]
    for _ in range(count):
        body = chance.choice(bodies)()
        name = key if with_key else chance.choice(made_up)()
        yield f"/callbacks/{name}", body, chance.choice(headers)(body)


@pytest.mark.anyio
@pytest.mark.parametrize("secret", ["", SECRET])
@pytest.mark.parametrize("count", [200, pytest.param(2_000, marks=pytest.mark.campaign)])
async def test_forged_callbacks_change_nothing(
    count: int, secret: str, kling: Kling, tmp_path: Path
) -> None:
    async with hosted(tmp_path, provider=KLING, callback_secret=secret or None) as server:
        row = await server.row((await made(server, tmp_path))["task_id"])
        before = _content(tmp_path)
        statuses: dict[int, int] = {}
        for path, body, headers in forgeries(row.callback_key, count, with_key=bool(secret)):
            answer = await server.http.post(path, content=body, headers=headers)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        await idle()
        after = _content(tmp_path)
        asked = kling.asked
        body = json.dumps(FALSE).encode()
        kling.now = DONE
        true = await server.http.post(
            f"/callbacks/{row.callback_key}", content=body, headers=signed(body)
        )
        await written(tmp_path, "succeed")
        status = (await server.row(row.id)).status

    assert kling.asked > asked
    assert set(statuses) == ({401, 413} if secret else {404, 413})
    assert after == before
    assert asked == 0
    assert true.status_code == 204
    assert status == "succeed"


def _content(folder: Path) -> list[Any]:
    with closing(sqlite3.connect(folder / "home" / "ledger.sqlite3")) as db:
        return db.execute("SELECT * FROM tasks").fetchall()


@pytest.mark.anyio
async def test_a_replayed_callback_of_an_ended_task_asks_nobody(
    kling: Kling, tmp_path: Path
) -> None:
    async with hosted(tmp_path, provider=KLING, callback_secret=SECRET) as server:
        row = await server.row((await made(server, tmp_path))["task_id"])
        body = json.dumps({"task_id": "t-1", **DONE}).encode()
        headers = signed(body)
        kling.now = DONE
        statuses = set()
        for _ in range(30):
            answer = await server.http.post(
                f"/callbacks/{row.callback_key}", content=body, headers=headers
            )
            statuses.add(answer.status_code)
            await idle()

    assert statuses == {204}
    assert kling.asked == 1


@pytest.mark.parametrize("secret", ["", SECRET])
def test_the_sandbox_calls_back_so_that_all_of_it_can_be_tried(secret: str, tmp_path: Path) -> None:
    provider = {"sandbox_render_s": 0.3, "save": True}
    with served_team(tmp_path, provider=provider, callback_secret=secret or None) as team:
        wish = {"image": PICTURE(tmp_path), "prompt": "wind"}
        receipt = team.call("nobody", "kling_image_to_video", **wish)["structuredContent"]
        saved = threading.Event()
        until = time.monotonic() + 60
        while not saved.wait(0.02) and time.monotonic() < until:
            if list((tmp_path / "videos").glob("local/*/*.mp4")):
                saved.set()

    assert receipt["status"] in ("submitted", "processing", "succeed")
    assert saved.is_set()
