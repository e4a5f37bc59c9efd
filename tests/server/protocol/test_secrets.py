"""No key, token or signature is to be found anywhere after a long conversation at log level DEBUG.

The server is a process of its own, as hosts start it; the sandbox behind it, over HTTP, takes known
keys. Then every answer, every stream and every file is searched.
"""

import base64
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from tests.made_clips import make_clip
from tests.server.serving import picture

from kling_mcp.providers.auth import ApiKey, SignedToken
from kling_mcp.providers.configured import configured_providers
from kling_mcp.settings.settings import load_settings
from kling_sandbox import SandboxConfig, create_app, parse_faults
from kling_sandbox.app import bound_socket, server_of
from kling_sandbox.clips import ClipMaker

KEYS = {
    "KLING_ACCESS_KEY": "AKaccessAccessAccess0123456789ab",
    "KLING_SECRET_KEY": "SKsecretSecretSecret0123456789abcdef0123456789",
    "COMETAPI_API_KEY": "sk-cometCometComet0123456789abcdef",
    "ANYFAST_API_KEY": "sk-anyfastAnyfastAnyfast0123456789",
    "POWERTOKENS_API_KEY": "sk-powerPowerPower0123456789abcdef",
    "NEWAPI_API_KEY": "sk-wrongWrongWrongWrong0123456789",
}
"""The last one is not taken by the sandbox."""

TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.")
SIGNATURE = re.compile(rb"sig=[0-9a-f]{16}")
CREATE = "kling_image_to_video"
PROVIDERS = ("kling", "cometapi", "anyfast", "powertokens", "newapi")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a sandbox that loses an answer, is full once, and breaks once."""
    monkeypatch.setattr(ClipMaker, "_make", lambda _, order, path: film(path))
    with bound_socket("127.0.0.1", 0) as listener:
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = SandboxConfig(
            home=tmp_path / "elsewhere",
            api_keys=tuple(key for name, key in KEYS.items() if name != "NEWAPI_API_KEY"),
            access_key=KEYS["KLING_ACCESS_KEY"],
            secret_key=KEYS["KLING_SECRET_KEY"],
            queue_s=0,
            render_s=0,
            faults=parse_faults(["drop-after-accept:1", "concurrency:1", "internal@queries:1"]),
            public_url=url,
        )
        server = server_of(create_app(config))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield url
        server.should_exit = True
        thread.join(timeout=60)


def film(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_clip(path)


def environment(folder: Path, url: str) -> dict[str, str]:
    return {
        **KEYS,
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KLING_BASE_URL": url,
        "COMETAPI_BASE_URL": f"{url}/cometapi",
        "ANYFAST_BASE_URL": f"{url}/anyfast",
        "POWERTOKENS_BASE_URL": f"{url}/powertokens",
        "NEWAPI_BASE_URL": f"{url}/newapi",
        "KLING_MCP_HOME": str(folder / "home"),
        "KLING_MCP_OUTPUT_DIR": str(folder / "videos"),
        "KLING_MCP_LOG_LEVEL": "DEBUG",
    }


async def converse(client: Client, image: str, look: Callable[[], None]) -> list[Any]:
    """A call of each tool at each provider, good ones and bad ones, and a look after each; all
    that was answered."""
    answers: list[Any] = []

    async def call(tool: str, **arguments: Any) -> dict[str, Any]:
        answers.append(await client.call_tool(tool, arguments))
        look()
        return answers[-1].structured_content or {}

    answers.append(await client.list_tools())
    answers.append(await client.read_resource("kling://models"))
    ids = []
    for provider in PROVIDERS:
        wish = {"image": image, "prompt": f"Zoom {provider}", "provider": provider}
        await call(CREATE, **wish, dry_run=True)
        ids.append((await call(CREATE, **wish)).get("task_id"))
        await call(CREATE, **wish)
        await call(CREATE, **wish, duration=7)
        await call("kling_list_tasks", provider=provider)
    for task_id in filter(None, reversed(ids)):
        await call("kling_get_task", task_id=task_id)
        await call("kling_wait_for_tasks", task_ids=[task_id], timeout_s=10)
        await call("kling_save_video", task_id=task_id)
    await call("kling_get_task", task_id="no-such-task")
    return answers


def found_in(content: bytes) -> list[str]:
    names = [name for name, key in KEYS.items() if key.encode() in content]
    coded = [n for n, key in KEYS.items() if base64.b64encode(key.encode())[:-4] in content]
    return names + coded + ["a token" for _ in TOKEN.findall(content)[:1]]


def test_the_search_finds_what_it_looks_for() -> None:
    token = SignedToken(KEYS["KLING_ACCESS_KEY"], KEYS["KLING_SECRET_KEY"]).token()

    assert found_in(f"Authorization: Bearer {token}".encode()) == ["a token"]
    for name, key in KEYS.items():
        assert found_in(f"key={key}".encode()) == [name]
        assert found_in(base64.b64encode(key.encode())) == [name]


@pytest.mark.anyio
async def test_no_secret_is_left_anywhere_after_a_long_conversation(
    sandbox: str, tmp_path: Path
) -> None:
    user = tmp_path / "user"
    image = picture(user)
    process = StdioServerParameters(
        command=sys.executable, args=["-m", "kling_mcp"], env=environment(user, sandbox), cwd=user
    )
    kinds: set[str] = set()
    leaks: dict[str, list[str]] = {}

    def look() -> None:
        for path in user.rglob("*"):
            with suppress(FileNotFoundError, IsADirectoryError):
                kinds.add(path.name.partition(".")[2])
                leaks[str(path)] = found_in(path.read_bytes()) or leaks.get(str(path), [])

    with (user / "stderr.log").open("w") as log:
        async with Client(stdio_client(process, errlog=log)) as client:
            answers = await converse(client, image, look)
    look()
    said = json.dumps([answer.model_dump(mode="json") for answer in answers]).encode()
    log_text = (user / "stderr.log").read_bytes()

    assert b"does not accept the key" in said
    assert b"succeed" in said
    assert b"Already made" in said
    assert b"Using selector" in log_text
    assert kinds >= {"mp4", "sqlite3", "sqlite3-wal", "json", "log"}
    assert found_in(said) == []
    assert {path: found for path, found in leaks.items() if found} == {}
    assert not SIGNATURE.search(log_text)


def test_no_secret_shows_in_a_repr() -> None:
    settings = load_settings(
        **{name.lower(): key for name, key in KEYS.items()}, newapi_base_url="https://x.example"
    )
    providers = configured_providers(settings)
    signed = SignedToken(KEYS["KLING_ACCESS_KEY"], KEYS["KLING_SECRET_KEY"])
    token = signed.token()
    shown = [settings, settings.model_dump(), providers, signed, ApiKey(KEYS["ANYFAST_API_KEY"])]
    for thing in shown:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert found_in(text.encode()) == []
            assert token not in text
