"""A dry run refuses what the real call refuses, in the same words, and nothing else."""

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult
from tests.sampling import sampled
from tests.server.scripted import CREATE, facts, words
from tests.server.serving import no_sleep, picture, sandbox_settings

from kling_mcp.ledger import Ledger
from kling_mcp.protocol.server import build_server
from kling_mcp.submission.submission import Submission
from kling_tools.errors import ProviderDown

pytestmark = pytest.mark.anyio

MANY = "kling_multi_image_to_video"
EARLIER = "EARLIER"
"""Stands for the id of the task that is made before the case."""


@dataclass(frozen=True)
class Case:
    """A call that is refused: its arguments beside a good picture and a prompt (or what `call`
    makes of them), under these settings, after `before` was made, with this in the answer."""

    says: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    tool: str = CREATE
    whole: bool = False
    sql: str = ""
    prepare: Callable[[Path], Any] = lambda folder: None


def tiny(folder: Path) -> None:
    picture(folder, "tiny.png", (40, 30))


CASES: dict[str, Case] = {
    "an unreadable value": Case("duration", {"duration": "long"}),
    "an unknown argument": Case("seeds", {"seeds": 7}),
    "too many values": Case("more than", {"multi_prompt": [{"x": [1] * 4000}]}),
    "no prompt": Case("prompt", {"prompt": ""}),
    "a blank prompt": Case("prompt", {"prompt": " \n"}),
    "a rule between fields": Case("voice_list", {"voice_list": ["1"], "sound": "off"}),
    "a mode that the model has not": Case("4k", {"mode": "4k", "model_name": "kling-v2-6"}),
    "a field that the model has not": Case(
        "cfg_scale", {"cfg_scale": 0.3, "model_name": "kling-v2-6"}
    ),
    "a provider that is not on": Case("not configured", {"provider": "kling"}),
    "a picture that is not there": Case("image", {"image": "nowhere.png"}),
    "a picture that is too small": Case("40x30", {"image": "tiny.png"}, prepare=tiny),
    "words that nobody hears": Case("nobody will hear", {"prompt": 'She says: "Good morning!"'}),
    "max_units": Case("max_units is 1", {"max_units": 1}),
    "a cap for one video": Case("PER_TASK", settings={"max_units_per_task": 1}),
    "a cap for a day": Case("The day's cap", settings={"max_units_per_day": 1}),
    "a price that is not known": Case(
        "not known", {"model_name": "kling-v9", "max_units": 5, "sound": "off"}
    ),
    "another take of nothing": Case(
        "no task with that id", {"another_take_of": "nowhere"}, whole=True
    ),
    "another take of nothing, with a picture": Case(
        "no task with that id", {"another_take_of": "nowhere", "mode": "pro"}
    ),
    "another take of another tool's task": Case(
        "was made with", {"another_take_of": EARLIER}, before={}, tool=MANY, whole=True
    ),
    "another take of a task without arguments": Case(
        "has no arguments",
        {"another_take_of": EARLIER},
        before={},
        whole=True,
        sql="UPDATE tasks SET arguments = '{}'",
    ),
    "another take of a lost answer": Case(
        "may exist",
        {"another_take_of": EARLIER},
        before={},
        whole=True,
        sql="UPDATE tasks SET task_id = NULL, status = 'unknown', external_task_id = 'EARLIER'",
    ),
    "another take with a wrong change": Case(
        "duration", {"another_take_of": EARLIER, "duration": "long"}, before={}, whole=True
    ),
    "an external_task_id of another request": Case(
        "belongs to another request",
        {"external_task_id": "mine", "mode": "pro"},
        before={"external_task_id": "mine"},
    ),
    "a damaged row of the same request": Case(
        "is damaged", {}, before={}, sql="UPDATE tasks SET product = 'none', task_id = NULL"
    ),
}


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncIterator[Client]:
    async with Client(build_server(sandbox_settings(folder, **more), sleep=no_sleep)) as client:
        yield client


async def run_sql(folder: Path, sql: str) -> None:
    ledger = Ledger(folder / "home")
    await ledger._engine.alone(lambda db: db.execute(sql, ()))
    await ledger.close()


def is_refused(result: CallToolResult) -> bool:
    return bool(result.is_error or facts(result).get("faults"))


def faults(result: CallToolResult) -> list[tuple[str, str]]:
    return [(fault["field"], fault["rule"]) for fault in facts(result).get("faults", [])]


def passes(result: CallToolResult) -> dict[str, Any]:
    return {n: v for n, v in facts(result).get("would_pass", {}).items() if v}


@pytest.mark.parametrize("name", sampled(CASES, 2))
async def test_a_dry_run_and_the_real_call_refuse_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case = CASES[name]
    case.prepare(tmp_path)
    good = {"image": picture(tmp_path), "prompt": "Zoom"}
    earlier = EARLIER
    if case.before is not None:
        async with serving(tmp_path) as client:
            made = await client.call_tool(CREATE, {**good, **case.before})
            earlier = facts(made)["task_id"]
    if case.sql:
        await run_sql(tmp_path, case.sql)
        earlier = EARLIER if EARLIER in case.sql else earlier
    call = {**({} if case.whole else good), **case.arguments}
    call = {key: earlier if value == EARLIER else value for key, value in call.items()}

    async with serving(tmp_path, **case.settings) as client:
        dry = await client.call_tool(case.tool, {**call, "dry_run": True})
        real = await client.call_tool(case.tool, call)

    assert real.is_error, words(real)
    assert case.says in words(real)
    assert is_refused(dry), words(dry)
    assert case.says in words(dry)
    if faults(real):
        assert faults(dry) == faults(real)
    assert passes(dry) == passes(real)
    unknown = [fault for fault in faults(real) if fault[0] == "another_take_of"]
    assert not (unknown and "estimate_units" in facts(dry)), words(dry)


@pytest.mark.parametrize("name", ["model_name", "mode", "duration", "sound"])
async def test_what_decides_the_price_and_cannot_be_read_leaves_no_price(
    name: str, tmp_path: Path
) -> None:
    call = {"image": picture(tmp_path), "prompt": "Zoom", name: ["no"], "dry_run": True}
    async with serving(tmp_path) as client:
        dry = await client.call_tool(CREATE, call)

    assert faults(dry)[0][0] == name
    assert "estimate_units" not in facts(dry)
    assert "about" not in words(dry).partition("It would be refused")[0]


async def test_a_good_request_is_refused_by_neither(tmp_path: Path) -> None:
    data = base64.b64encode(Path(picture(tmp_path)).read_bytes()).decode()
    calls: list[dict[str, Any]] = [
        {"image": data, "prompt": "Zoom"},
        {"image": data, "prompt": "Zoom", "external_task_id": "mine"},
        {"image": data, "prompt": "Pan", "max_units": 1.5, "external_task_id": "other"},
    ]
    async with serving(tmp_path) as client:
        for call in calls:
            dry = await client.call_tool(CREATE, {**call, "dry_run": True})
            real = await client.call_tool(CREATE, call)
            assert not is_refused(dry), words(dry)
            assert not real.is_error, words(real)


async def test_a_proxy_that_cannot_be_used_refuses_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.example:1")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "ftp://proxy.example:1"})
    settings = {"provider": "kling", "kling_api_key": "a-key-that-nobody-may-see"}
    call = {"image": picture(tmp_path), "prompt": "Zoom"}
    async with serving(tmp_path, **settings) as client:
        dry = await client.call_tool(CREATE, {**call, "dry_run": True})
        real = await client.call_tool(CREATE, call)

    assert facts(dry)["error"] == facts(real)["error"] == "not_configured"
    assert words(dry) == words(real)


@pytest.mark.parametrize("dry_run", [True, "true", "full", False, None])
@pytest.mark.parametrize("broken", [RuntimeError, partial(ProviderDown, charged="unknown")])
async def test_a_dry_run_is_never_said_to_be_perhaps_charged_whatever_breaks(
    broken: Callable[[str], Exception],
    dry_run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(*_: Any) -> None:
        raise broken("It broke.")

    monkeypatch.setattr(Submission, "submit", breaks)
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "dry_run": dry_run}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        told = await client.call_tool(CREATE, wish)

    assert told.is_error
    assert facts(told)["charged"] == ("no" if dry_run else "unknown")
