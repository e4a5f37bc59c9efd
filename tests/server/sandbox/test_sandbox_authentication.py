"""Whom the sandbox lets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest

from kling_sandbox import SandboxConfig

pytestmark = pytest.mark.anyio

SECRET = SandboxConfig(home=Path()).secret_key


def token(now: float, *, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    said = {"iss": "sandbox-access", "exp": int(now) + 1800, "nbf": int(now) - 5} | claims
    kept = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(kept, secret, algorithm=algorithm)


async def status(caller: Any, header: str | None) -> tuple[int, int]:
    headers = {} if header is None else {"Authorization": header}
    del caller.http.headers["Authorization"]
    answer = await caller.http.get("/v1/videos/image2video", headers=headers)
    body = answer.json()
    assert body["request_id"]
    assert ("data" in body) == (body["code"] == 0)
    return answer.status_code, body["code"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001),
        ("", 1001),
        ("Bearer", 1002),
        ("Bearer ", 1002),
        ("Basic sandbox-key", 1002),
        ("sandbox-key", 1002),
        ("Bearer another-key", 1002),
        ("Bearer a.b.c", 1002),
        ("Bearer sandbox-key2", 1002),
    ],
)
async def test_a_missing_or_unknown_credential_is_401(
    open_sandbox: Any, header: str | None, code: int
) -> None:
    assert await status(await open_sandbox(), header) == (401, code)


@pytest.mark.parametrize("key", ["sandbox-key", "second-key"])
async def test_any_listed_key_is_let_in(open_sandbox: Any, key: str) -> None:
    caller = await open_sandbox(api_keys=("sandbox-key", "second-key"))
    assert await status(caller, f"Bearer {key}") == (200, 0)


async def test_a_fresh_token_of_the_pair_is_let_in(open_sandbox: Any, clock: Any) -> None:
    assert await status(await open_sandbox(), f"Bearer {token(clock.now)}") == (200, 0)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"secret": "another-secret-another-secret-another"}, 1002),
        ({"algorithm": "HS384", "secret": SECRET + SECRET}, 1002),
        ({"iss": "somebody"}, 1002),
        ({"exp": None}, 1002),
        ({"nbf": 4_000_000_000, "exp": 4_000_001_800}, 1003),
        ({"exp": 1_789_999_999}, 1004),
    ],
)
async def test_a_token_that_is_forged_early_or_late_is_401(
    open_sandbox: Any, clock: Any, claims: dict[str, Any], code: int
) -> None:
    assert await status(await open_sandbox(), f"Bearer {token(clock.now, **claims)}") == (401, code)


async def test_a_token_expires_by_the_clock_of_the_sandbox(open_sandbox: Any, clock: Any) -> None:
    header = f"Bearer {token(clock.now)}"
    clock.now += 1799
    assert await status(await open_sandbox(), header) == (200, 0)
    clock.now += 1
    assert await status(await open_sandbox(), header) == (401, 1004)


async def test_a_create_without_credential_makes_nothing_and_reads_its_body(
    open_sandbox: Any, tmp_path: Any
) -> None:
    caller = await open_sandbox()
    del caller.http.headers["Authorization"]
    answer = await caller.create()
    assert (answer.status_code, answer.json()["code"]) == (401, 1001)
    assert caller.store.counts().accepted == 0
    assert not (tmp_path / "home" / "pictures").exists()
