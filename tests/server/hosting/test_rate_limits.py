"""How often one login may ask: a bucket for each, that fills again."""

from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.responses import PlainTextResponse
from tests.server.hosting.team import give_token, post, served_team

from kling_mcp.hosting import request_limits
from kling_mcp.hosting.request_limits import RateLimited


class Gate:
    """An application behind the limit, asked at times that the test chooses."""

    def __init__(self, per_minute: int, most_open: int = 64) -> None:
        self.now = 0.0
        self.may_end = anyio.Event()
        self.may_end.set()
        self._app = RateLimited(self._answer, per_minute, lambda: self.now, most_open)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self.may_end.wait()
        await PlainTextResponse("in")(scope, receive, send)

    async def ask(self, login: str = "", address: str = "10.0.0.1") -> tuple[int, str | None]:
        """Status and Retry-After."""
        told: dict[str, Any] = {}

        async def send(message: Any) -> None:
            told.update(message)

        scope: dict[str, Any] = {"type": "http", "method": "GET", "client": (address, 1)}
        if login:
            access = AccessToken(token="t", client_id="app", scopes=[], subject=login)
            scope["user"] = AuthenticatedUser(access)
        await self._app(scope, _no_body, send)
        headers = {name.decode(): value.decode() for name, value in told["headers"]}
        return told["status"], headers.get("retry-after")


async def _no_body() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.anyio
async def test_as_many_requests_as_a_minute_has_pass_and_the_next_says_when_to_come_again() -> None:
    gate = Gate(6)
    passed = [(await gate.ask("ann"))[0] for _ in range(6)]

    assert passed == [200] * 6
    assert await gate.ask("ann") == (429, "10")


@pytest.mark.anyio
@pytest.mark.parametrize("per_minute", [0, 600])
async def test_a_stream_counts_for_as_long_as_it_is_open(per_minute: int) -> None:
    gate = Gate(per_minute, most_open=2)
    gate.may_end = anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(gate.ask, "ann")
        await anyio.wait_all_tasks_blocked()
        third = await gate.ask("ann")
        group.start_soon(gate.ask, "bob")
        gate.may_end.set()

    assert third == (429, "5")
    assert await gate.ask("ann") == (200, None)


@pytest.mark.anyio
async def test_it_pays_to_wait_as_long_as_was_said_and_no_shorter() -> None:
    gate = Gate(6)
    for _ in range(6):
        await gate.ask("ann")
    gate.now += 9.5
    early = await gate.ask("ann")
    gate.now += 1
    in_time = await gate.ask("ann")
    again = await gate.ask("ann")
    gate.now += 3600
    rested = [(await gate.ask("ann"))[0] for _ in range(7)]

    assert early == (429, "1")
    assert in_time == (200, None)
    assert again == (429, "10")
    assert rested == [200] * 6 + [429]


@pytest.mark.anyio
async def test_one_login_s_haste_is_nobody_else_s() -> None:
    gate = Gate(1)

    assert (await gate.ask("ann"))[0] == 200
    assert (await gate.ask("ann", address="10.0.0.2"))[0] == 429
    assert (await gate.ask("bob"))[0] == 200
    assert (await gate.ask(address="10.0.0.3"))[0] == 200
    assert (await gate.ask(address="10.0.0.3"))[0] == 429
    assert (await gate.ask(address="10.0.0.4"))[0] == 200


@pytest.mark.anyio
async def test_only_so_many_strangers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "REMEMBERED", 2)
    gate = Gate(1)
    asked = [(await gate.ask(login))[0] for login in ("ann", "bob", "bob", "carol", "bob", "ann")]

    assert asked == [200, 200, 429, 200, 429, 200]


def test_a_login_that_asks_too_often_is_told_to_wait_and_others_are_served(tmp_path: Path) -> None:
    tokens = {name: give_token(tmp_path / "tokens", name) for name in ("ann", "bob")}
    with served_team(tmp_path, tokens=tmp_path / "tokens", rate_per_minute=2) as team:
        answers = [post(team.url, tokens["ann"], "server/discover") for _ in range(3)]
        strangers = [team.status(None) for _ in range(3)]
        bob = team.status(tokens["bob"])
        alive = [httpx.get(f"{team.base}/healthz", verify=False).status_code for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 30
    assert "2 a minute" in answers[-1].json()["error"]
    assert strangers == [401, 401, 429]
    assert bob == 200
    assert alive == [200] * 5


def test_a_server_of_one_s_own_may_be_asked_at_any_pace(tmp_path: Path) -> None:
    with served_team(tmp_path, public_url="", rate_per_minute=2) as team:
        assert [team.status(None) for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(("proxies", "second"), [("127.0.0.1,::1", 401), ("203.0.113.1", 429)])
def test_where_a_stranger_comes_from_is_only_taken_from_a_proxy_that_is_trusted(
    proxies: str, second: int, tmp_path: Path
) -> None:
    give_token(tmp_path / "tokens", "ann")
    with served_team(
        tmp_path, tokens=tmp_path / "tokens", rate_per_minute=1, trusted_proxies=proxies
    ) as team:
        assert team.status(None, **{"x-forwarded-for": "198.51.100.1"}) == 401
        assert team.status(None, **{"x-forwarded-for": "198.51.100.2"}) == second
        assert team.status(None, **{"x-forwarded-for": "198.51.100.2"}) == 429
