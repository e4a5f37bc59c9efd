"""What a team's server takes over HTTP, without any proxy before it."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.server.hosting.team import META, Team, give_token, picture_data, post, served_team

from kling_mcp.hosting.request_limits import Limits
from kling_mcp.principal import READ

SOON = Limits(head_s=0.2, body_s=0.2, least_rate=10_000_000)
LARGE = "x" * 300_000


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    give_token(folder / "tokens", "first")
    with served_team(folder, tokens=folder / "tokens", limits=SOON) as team:
        yield team


@pytest.fixture(scope="module")
def reader(team: Team) -> str:
    return give_token(team.folder / "tokens", "reader", READ)


def sent(team: Team, request: bytes = b"") -> bytes:
    """All that is answered to these bytes on one connection until the server ends it."""
    host, port = team.base.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request)
        while received := connection.recv(65536):
            answer += received
    return answer


def head(team: Team, token: str, *lines: str, path: str = "/mcp") -> bytes:
    host = team.base.removeprefix("http://")
    all_lines = [
        f"POST {path} HTTP/1.1",
        *([] if any(line.startswith("Host:") for line in lines) else [f"Host: {host}"]),
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        *lines,
    ]
    return ("\r\n".join(all_lines) + "\r\n\r\n").encode()


def legacy_call(team: Team, token: str, tool: str, **arguments: object) -> httpx.Response:
    """A call of the 2025-11-25 protocol, whose headers do not say which tool it is for."""
    params = {"arguments": arguments, "name": tool}
    return httpx.post(
        team.url,
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        headers={
            "accept": "application/json, text/event-stream",
            "authorization": f"Bearer {token}",
            "mcp-protocol-version": "2025-11-25",
        },
        timeout=30,
        verify=False,
    )


def test_only_tools_that_take_pictures_take_large_calls(
    team: Team, reader: str, tmp_path: Path
) -> None:
    picture = picture_data(tmp_path).ljust(300_000, "=")
    wish = {"image": picture, "prompt": "Zoom", "dry_run": True}
    small, large = (
        [
            post(team.url, reader, "tools/call", name=tool, arguments=arguments).status_code,
            legacy_call(team, reader, tool, **arguments).status_code,
        ]
        for tool, arguments in (
            ("kling_get_task", {"task_id": LARGE}),
            ("kling_image_to_video", wish),
        )
    )

    assert small == [413, 413]
    assert large == [200, 200]


def test_a_large_call_with_more_values_than_any_picture_is_not_read(
    team: Team, reader: str
) -> None:
    for asked in (
        post(team.url, reader, "tools/call", name="kling_image_to_video",
             arguments={"dynamic_masks": [[]] * 150_000}),
        legacy_call(team, reader, "kling_image_to_video", dynamic_masks=json.dumps([[]] * 150_000)),
    ):  # fmt: skip
        assert asked.status_code == 413
        assert "values" in asked.text


def test_other_methods_take_no_large_body(team: Team, reader: str) -> None:
    for method, params in (
        ("prompts/get", {"name": "storyboard", "arguments": {"story": LARGE}}),
        ("resources/read", {"uri": f"kling://tasks/{LARGE}"}),
        ("tools/list", {"cursor": LARGE}),
    ):
        assert post(team.url, reader, method, **params).status_code == 413


def test_a_small_call_of_many_arguments_gets_a_short_answer(team: Team, reader: str) -> None:
    arguments = {f"a{number}": 1 for number in range(15_000)}
    answer = post(team.url, reader, "tools/call", name="kling_list_tasks", arguments=arguments)

    assert "15,000 of them are not arguments" in answer.text
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": [1] * 50_000}}),
        ("subscriptions/listen", {"notifications": {"taskIds": [1] * 50_000}}),
        ("completion/complete", {"ref": {"type": "x"}, "argument": [1] * 50_000}),
        ("tools/call", {"name": "kling_list_tasks", "arguments": [1] * 50_000}),
        ("prompts/get", {"name": "storyboard", "arguments": [1] * 50_000}),
        ("prompts/get", {"name": "storyboard", "arguments": {f"a{n}": n for n in range(15_000)}}),
        ("x" * 200_000, {}),
    ],
)
def test_whatever_is_wrong_the_answer_is_short(
    method: str, params: dict[str, object], team: Team, reader: str
) -> None:
    answer = post(team.url, reader, method, {"mcp-method": method[:50]}, **params)

    assert answer.status_code >= 400
    assert len(answer.content) < 5000


def test_a_connection_that_asks_nothing_is_closed(team: Team) -> None:
    assert sent(team) == b""


def test_half_a_head_is_not_waited_for(team: Team, reader: str) -> None:
    whole = head(team, reader, "Content-Length: 0")

    assert sent(team, whole[:-10]) == b""


def test_a_drop_now_and_then_does_not_keep_a_connection_open(team: Team) -> None:
    host, port = team.base.removeprefix("http://").split(":")
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            while not ended.wait(0.02):
                connection.sendall(b"X-A: b\r\n")
        except OSError:
            pass

    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /mcp HTTP/1.1\r\n")
        dripping = threading.Thread(target=drip, args=(connection,))
        dripping.start()
        try:
            received = connection.recv(1000)
        except ConnectionResetError:
            received = b""
        ended.set()
        dripping.join()

    assert received == b""


@pytest.mark.parametrize("path", ["/mcp", "/callbacks/" + "k" * 32])
def test_half_a_body_is_told_so_and_closed(path: str, team: Team, reader: str) -> None:
    answer = sent(team, head(team, reader, "Content-Length: 100", path=path) + b"{")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


def test_what_is_left_of_a_refused_request_is_not_waited_for(team: Team, reader: str) -> None:
    answer = sent(team, head(team, reader, "Content-Length: 100", path="/nothing") + b"{")

    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.campaign
def test_a_stream_stays_open_for_longer_than_a_request_may_take_to_come(
    team: Team, reader: str
) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {"notifications": {"resourceSubscriptions": ["kling://tasks"]}, "_meta": META},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {reader}",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "subscriptions/listen",
    }
    with (
        httpx.Client(timeout=httpx.Timeout(60, read=2.0)) as client,
        client.stream("POST", team.url, json=message, headers=headers) as answer,
    ):
        pieces = answer.iter_bytes()
        next(pieces)
        with pytest.raises(httpx.ReadTimeout):
            next(pieces)


def test_two_lengths_of_one_body_are_refused(team: Team, reader: str) -> None:
    asked = head(team, reader, "Content-Length: 4", "Transfer-Encoding: chunked")
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = sent(team, asked + smuggled)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "line",
    [
        "Host: 127.0.0.1:1@evil.example",
        "Host: 127.0.0.1:1.evil.example",
        "Host: localhost:80/evil",
        "Host: [::1]:1@evil.example",
        "Host: localhost:",
        "Host: evil@localhost:1",
        "Origin: http://127.0.0.1:1@evil.example",
        "Origin: http://localhost:1.evil.example",
        "Origin: http://localhost:80/evil",
    ],
)
def test_a_name_that_only_begins_like_the_server_s_is_refused(
    line: str, team: Team, reader: str
) -> None:
    answer = sent(team, head(team, reader, line, "Content-Length: 2") + b"{}")

    assert answer.startswith(b"HTTP/1.1 421 " if "Host" in line else b"HTTP/1.1 403 ")


ORIGIN = "http://localhost:6274"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Team, str]]:
    folder = tmp_path_factory.mktemp("pages")
    token = give_token(folder / "tokens", "ann")
    origins = f"{ORIGIN},https://chat.example/,http://127.0.0.1:*"
    with served_team(folder, tokens=folder / "tokens", allowed_origins=origins) as team:
        yield team, token


@pytest.mark.parametrize("origin", [ORIGIN, "https://chat.example", "http://127.0.0.1:5173"])
@pytest.mark.parametrize("path", ["/mcp", "/.well-known/oauth-protected-resource/mcp"])
def test_a_page_of_a_configured_origin_may_ask_what_it_may_send(
    origin: str, path: str, pages: tuple[Team, str]
) -> None:
    team, _ = pages
    asked = "authorization,content-type,mcp-method,mcp-name,mcp-protocol-version,mcp-session-id"
    answer = httpx.options(
        f"{team.base}{path}",
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": asked,
        },
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert set(asked.split(",")) <= set(answer.headers["access-control-allow-headers"].split(","))


def test_a_page_reads_answers_and_errors(pages: tuple[Team, str]) -> None:
    team, token = pages
    origin = {"origin": ORIGIN}
    answers = [
        post(team.url, token, "tools/list", origin),
        post(team.url, None, "tools/list", origin),
        post(team.url, token, "tools/list", {**origin, "accept": "text/plain"}),
        post(team.url, token, "tools/list", origin, cursor=LARGE),
        httpx.get(f"{team.base}/nothing", headers=origin),
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 406, 413, 404]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert {"mcp-session-id", "www-authenticate", "retry-after"} <= set(exposed.split(", "))


@pytest.mark.parametrize("origin", ["https://evil.example", "https://chat.example:8443", "null"])
def test_a_page_of_another_origin_gets_no_leave(origin: str, pages: tuple[Team, str]) -> None:
    team, token = pages
    asked = httpx.options(
        team.url, headers={"origin": origin, "access-control-request-method": "POST"}
    )
    sent = post(team.url, token, "tools/list", {"origin": origin})

    assert asked.status_code == 400
    assert sent.status_code == 403
    assert "access-control-allow-origin" not in {**asked.headers, **sent.headers}
