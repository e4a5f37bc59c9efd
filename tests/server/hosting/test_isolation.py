"""Whose a task is: every tool and every resource, with every kind of token."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.sampling import sampled
from tests.server.protocol.raw_client import MODERN
from tests.server.serving import picture, sandbox_settings

from kling_mcp.hosting.http_app import METRICS, http_app
from kling_mcp.hosting.team import Hosting
from kling_mcp.hosting.team_settings import load_host_settings
from kling_mcp.hosting.tokens import Token, TokenFile, new_token
from kling_mcp.principal import READ, SPEND
from kling_mcp.protocol.server import build_server
from kling_sandbox.app import bound_socket

SECRET = "a plan that nobody else may read"
TASKS = "io.modelcontextprotocol/tasks"
PEOPLE = {
    "ann": ([READ, SPEND], None),
    "bob": ([READ, SPEND], None),
    "reader": ([READ], None),
    "late": ([READ, SPEND], date(2020, 1, 1)),
    "other-scope": ([METRICS], None),
}


class Team:
    """A hosted server, and a token for each of its people."""

    def __init__(self, folder: Path, url: str, tokens: dict[str, str]) -> None:
        self.folder = folder
        self.url = url
        self.tokens = tokens

    def ask(self, who: str | None, method: str, **params: Any) -> httpx.Response:
        """One request of the 2026-07-28 protocol."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": MODERN,
            "mcp-method": method,
        }
        for key in ("name", "uri", "taskId"):
            if key in params:
                headers["mcp-name"] = str(params[key])
        if who:
            headers["authorization"] = f"Bearer {self.tokens[who]}"
        return httpx.post(self.url, json=message, headers=headers, timeout=60, verify=False)

    def result(self, who: str, method: str, **params: Any) -> dict[str, Any]:
        """What is answered, a result or an error, without the ids of requests."""
        answer = self.ask(who, method, **params)
        assert answer.status_code in (200, 400, 404), answer.text
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        told: dict[str, Any] = json.loads(lines[-1] if lines else answer.text)
        return told.get("result") or {"refused": told["error"]}

    def call(self, who: str, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.result(who, "tools/call", name=tool, arguments=arguments)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    texts: dict[str, str] = {}
    lines: list[Token] = []
    for name, (scopes, expires) in PEOPLE.items():
        texts[name], line = new_token(name, scopes, expires)
        lines.append(line)
    texts["made-up"] = "kmcp_" + "x" * 43
    texts["no-token"] = "eyJhbGciOiJub25lIn0.e30."
    TokenFile(folder / "tokens").write(lines)
    listener = bound_socket("127.0.0.1", 0)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = sandbox_settings(folder)
    host = load_host_settings(tokens=folder / "tokens", public_url=base, rate_per_minute=0)
    hosting = Hosting.create(settings, host)
    app = http_app(build_server(settings, team=hosting.team(settings)), "127.0.0.1", hosting)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        thread.join(0.01)
    try:
        yield Team(folder, f"{base}/mcp", texts)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()


PICTURE = "data:image/png;base64,"


@pytest.fixture(scope="module")
def wish(team: Team) -> dict[str, Any]:
    import base64

    data = Path(picture(team.folder)).read_bytes()
    return {"image": PICTURE + base64.b64encode(data).decode(), "prompt": SECRET}


@pytest.fixture(scope="module")
def ids(team: Team, wish: dict[str, Any]) -> dict[str, str]:
    """Ann's finished and saved video, by each of its ids."""
    made = team.call("ann", "kling_image_to_video", external_task_id="ann-1", **wish)
    row_id = made.get("taskId") or made["structuredContent"]["task_id"]
    with closing(sqlite3.connect(team.folder / "home" / "ledger.sqlite3")) as db:
        task_id, row_id, external = db.execute(
            "SELECT task_id, id, external_task_id FROM tasks WHERE principal = 'token:ann'"
        ).fetchone()
    waited = team.call("ann", "kling_wait_for_tasks", task_ids=[task_id], timeout_s=20)
    assert waited["structuredContent"]["done"] is True
    assert not team.call("ann", "kling_save_video", task_id=task_id).get("isError")
    return {"task": task_id, "row": row_id, "external": external, "chosen": "ann-1"}


Way = Callable[[Team, str, str], dict[str, Any]]


def tool(name: str, **more: Any) -> Way:
    def way(team: Team, who: str, any_id: str) -> dict[str, Any]:
        given = {
            key: json.loads(json.dumps(value).replace("ID", any_id)) for key, value in more.items()
        }
        return team.call(who, name, **given)

    return way


def resource(uri: str) -> Way:
    return lambda team, who, any_id: team.result(
        who, "resources/read", uri=uri.replace("ID", any_id)
    )


def method(name: str, **more: Any) -> Way:
    return lambda team, who, any_id: team.result(who, name, taskId=any_id, **more)


WAYS: dict[str, Way] = {
    "get": tool("kling_get_task", task_id="ID"),
    "wait": tool("kling_wait_for_tasks", task_ids=["ID"], timeout_s=0),
    "save": tool("kling_save_video", task_id="ID"),
    "cancel": tool("kling_cancel_task", task_ids=["ID"]),
    "look": tool("kling_look", task_id="ID"),
    "its last frame": tool(
        "kling_image_to_video", image="kling://tasks/ID/frames/last", prompt="On", dry_run=True
    ),
    "another take": tool(
        "kling_image_to_video",
        another_take_of="ID",
        image="https://example.com/a.png",
        dry_run=True,
    ),
    "the task": resource("kling://tasks/ID"),
    "the video": resource("kling://tasks/ID/video"),
    "a frame": resource("kling://tasks/ID/frames/first"),
    "the sheet": resource("kling://tasks/ID/contact-sheet"),
    "a part": resource("kling://tasks/ID/video/0-99"),
}
OF_ROWS: dict[str, Way] = {
    "tasks/get": method("tasks/get"),
    "tasks/update": method("tasks/update", inputResponses={}),
    "tasks/cancel": method("tasks/cancel"),
}


SAY_IT_INSIDE = ("wait", "cancel", "its last frame", "another take")
"""Answers that are no errors, and name what is wrong with one of several tasks or pictures."""


KINDS = ("task", "row", "external", "chosen")


@pytest.mark.parametrize(("name", "kind"), sampled(product([*WAYS, *OF_ROWS], KINDS), 3))
def test_a_task_is_there_for_its_owner_and_for_nobody_else(
    team: Team, ids: dict[str, str], name: str, kind: str
) -> None:
    way = {**WAYS, **OF_ROWS}[name]
    none = "9" * len(ids["task"]) if kind == "task" else {"row": "0" * 32}.get(kind, "nobody-1")
    own = way(team, "ann", ids[kind])
    others = way(team, "bob", ids[kind])
    nothing = way(team, "bob", none)

    refused = "refused" in own or own.get("isError")
    assert not refused or (name in OF_ROWS and kind != "row")
    assert "refused" in others or others.get("isError") or name in SAY_IT_INSIDE
    assert json.dumps(others).replace(ids[kind], none) == json.dumps(nothing)
    assert SECRET not in json.dumps(others)


def test_lists_show_one_s_own_tasks_alone(team: Team, ids: dict[str, str]) -> None:
    lists: list[Callable[[str], dict[str, Any]]] = [
        lambda who: team.call(who, "kling_list_tasks"),
        lambda who: team.result(who, "resources/read", uri="kling://tasks"),
        lambda who: team.result(
            who,
            "completion/complete",
            ref={"type": "ref/resource", "uri": "kling://tasks/{task_id}"},
            argument={"name": "task_id", "value": ""},
        ),
    ]
    for shown in lists:
        assert ids["task"] in json.dumps(shown("ann"))
        assert ids["task"] not in json.dumps(shown("bob"))
        assert SECRET not in json.dumps(shown("bob"))


def test_the_same_wish_of_two_people_is_two_videos(
    team: Team, ids: dict[str, str], wish: dict[str, Any]
) -> None:
    again = team.call("ann", "kling_image_to_video", external_task_id="ann-1", **wish)
    other = team.call("bob", "kling_image_to_video", **wish)

    assert ids["row"] in json.dumps(again) or ids["task"] in json.dumps(again)
    assert ids["row"] not in json.dumps(other)
    assert ids["task"] not in json.dumps(other)


def test_nobody_learns_which_ids_others_have_chosen(
    team: Team, ids: dict[str, str], wish: dict[str, Any]
) -> None:
    hers = team.call("ann", "kling_image_to_video", external_task_id="ann-2", **wish)
    assert not hers.get("isError"), hers
    other = {**wish, "prompt": "Mine"}
    made = team.call("bob", "kling_image_to_video", external_task_id="ann-2", **other)
    again = team.call(
        "bob",
        "kling_image_to_video",
        external_task_id="ann-2",
        **{**wish, "prompt": "Mine too"},
    )
    dry = team.call("bob", "kling_image_to_video", external_task_id="ann-2", dry_run=True)

    assert not made.get("isError"), made
    assert "belongs to another request" in json.dumps(again)
    for answer in (made, again, dry):
        assert SECRET not in json.dumps(answer)
        assert ids["task"] not in json.dumps(answer)
        assert ids["external"] not in json.dumps(answer)


EVERYTHING: list[tuple[str, dict[str, Any]]] = [
    ("server/discover", {}),
    ("tools/list", {}),
    ("tools/call", {"name": "kling_list_tasks", "arguments": {}}),
    ("resources/list", {}),
    ("resources/read", {"uri": "kling://tasks"}),
    ("prompts/list", {}),
    ("tasks/get", {"taskId": "0" * 32}),
    ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["kling://tasks"]}}),
]


@pytest.mark.parametrize(
    ("who", "status"),
    [(None, 401), ("late", 401), ("made-up", 401), ("no-token", 401), ("other-scope", 403)],
)
@pytest.mark.parametrize(("asked", "params"), EVERYTHING, ids=[name for name, _ in EVERYTHING])
def test_without_a_good_token_nothing_is_answered(
    team: Team, who: str | None, status: int, asked: str, params: dict[str, Any]
) -> None:
    answer = team.ask(who, asked, **params)

    assert answer.status_code == status
    assert "www-authenticate" in answer.headers
    assert "result" not in answer.text


@pytest.mark.usefixtures("ids")
def test_who_may_only_look_makes_no_video_and_may_ask_for_its_price(
    team: Team, wish: dict[str, Any]
) -> None:
    refused = team.call("reader", "kling_image_to_video", **wish)
    price = team.call("reader", "kling_image_to_video", dry_run=True, **wish)

    assert refused["isError"] is True
    assert refused["structuredContent"]["error"] == "not_allowed"
    assert refused["structuredContent"]["charged"] == "no"
    assert not price.get("isError")
    with closing(sqlite3.connect(team.folder / "home" / "ledger.sqlite3")) as db:
        (count,) = db.execute(
            "SELECT count(*) FROM tasks WHERE principal = 'token:reader'"
        ).fetchone()
    assert count == 0


def test_nobody_hears_of_somebody_else_s_changes(team: Team, ids: dict[str, str]) -> None:
    """A stream for a task of somebody else is acknowledged without it and says nothing."""
    notifications = {"taskIds": [ids["row"]]}
    told: list[str] = []
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": MODERN,
        "mcp-method": "subscriptions/listen",
        "authorization": f"Bearer {team.tokens['bob']}",
    }
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
    }
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {"notifications": notifications, "_meta": meta},
    }
    with httpx.stream("POST", team.url, json=message, headers=headers, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                told.append(line)
                break

    assert ids["row"] not in told[0]


def test_an_account_names_no_path_no_setting_of_the_server_and_nobody_else_s_money(
    team: Team, ids: dict[str, str]
) -> None:
    told = team.call("bob", "kling_account")

    fields = told["structuredContent"]
    assert not told.get("isError")
    assert not {"saves_to", "pictures_from", "wrong", "spent"} & set(fields)
    assert SECRET not in json.dumps(told)
    assert str(team.folder) not in json.dumps(told)


def test_a_login_sees_and_deletes_only_its_own_voices(team: Team) -> None:
    made = team.call("ann", "kling_create_voice", name="Ann", sample="https://example.com/ann.mp3")[
        "structuredContent"
    ]

    def own(who: str) -> list[str]:
        told = team.call(who, "kling_list_assets", kind="voice")["structuredContent"]
        return [voice["id"] for voice in told["assets"] if voice["owner"] == "own"]

    def deleted(who: str) -> dict[str, Any]:
        answer = team.call(who, "kling_delete_asset", kind="voice", id=made["id"], confirm=True)
        facts: dict[str, Any] = answer["structuredContent"]
        return facts

    assert own("ann") == own("ann") == [made["id"]]
    assert own("bob") == own("reader") == []
    assert deleted("bob")["faults"][0]["rule"] == "voice_unknown"
    assert deleted("reader")["error"] == "not_allowed"
    assert deleted("ann")["deleted"] is True
