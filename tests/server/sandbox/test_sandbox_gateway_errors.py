"""How the gateways of the sandbox refuse, and what a fault looks like at each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from kling_sandbox import SandboxConfig
from kling_sandbox.gateways import GATEWAYS

pytestmark = pytest.mark.anyio

NAMES = [gateway.name for gateway in GATEWAYS]
FORWARDING = ["cometapi", "powertokens"]
KINDS = {"cometapi": "comet_api_error"}


def token(now: float) -> str:
    claims = {"iss": "sandbox-access", "exp": int(now) + 1800, "nbf": int(now) - 5}
    return jwt.encode(claims, SandboxConfig(home=Path()).secret_key)


def said(body: dict[str, Any]) -> Any:
    """The code that an error answer names, after checking that it has one known form."""
    if "error" in body:
        assert set(body) == {"error"}
        assert {"code", "message", "type"} <= set(body["error"])
        return ("error", body["error"]["code"])
    if isinstance(body["code"], str):
        assert set(body) == {"code", "message", "data"}
        assert body["data"] is None
        return body["code"]
    assert set(body) <= {"code", "message", "request_id"}
    return body["code"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "sandbox-key", "Bearer {token}"])
async def test_only_a_key_is_let_in_and_no_token(
    open_sandbox: Any, clock: Any, name: str, header: str | None
) -> None:
    caller = (await open_sandbox()).at(name)
    key = caller.http.headers.pop("Authorization")
    if header:
        caller.http.headers["Authorization"] = header.format(token=token(clock.now))
    for answer in (await caller.create(), await caller.query("1")):
        assert answer.status_code == 401
        error = answer.json()["error"]
        assert error["message"].lower().startswith("invalid token (request id: ")
        assert (error["code"], error["type"]) == ("", KINDS.get(name, "new_api_error"))
    assert caller.store.counts().accepted == 0
    caller.http.headers["Authorization"] = key.replace("Bearer ", "Bearer sk-")
    assert (await caller.create()).status_code == 200


UNKNOWN = {
    "cometapi": {"code": 1201, "message": "Task not found by id/external id: 7"},
    "powertokens": {"code": 1201, "message": "Task not found by id/external id: 7"},
    "anyfast": {"code": "task_not_exist", "message": "task_not_exist", "data": None},
    "newapi": {"code": "task_not_exist", "message": "task_not_exist", "data": None},
    "newapi-old": {"code": "task_not_exist", "message": "task_not_exist", "data": None},
}


@pytest.mark.parametrize("name", NAMES)
async def test_an_unknown_task_is_http_400(open_sandbox: Any, name: str) -> None:
    answer = await (await open_sandbox()).at(name).query("7")
    body = answer.json()
    assert ("request_id" in body) == (name == "powertokens")
    body.pop("request_id", None)
    assert (answer.status_code, body) == (400, UNKNOWN[name])


@pytest.mark.parametrize("name", NAMES)
async def test_kling_s_refusal_comes_through_as_it_is_or_as_text(
    open_sandbox: Any, name: str
) -> None:
    caller = (await open_sandbox()).at(name)
    answer = await caller.create(duration="99")
    body = answer.json()
    assert answer.status_code == 400
    if name not in FORWARDING:
        assert body["code"] == "fail_to_fetch_task"
        body = json.loads(body["message"])
    assert (body["code"], body["message"]) == (1201, "duration value '99' is invalid")
    assert caller.store.counts().accepted == 0


@pytest.mark.parametrize("name", NAMES)
async def test_an_external_id_is_taken_once_at_each_provider(open_sandbox: Any, name: str) -> None:
    official = await open_sandbox()
    await official.created(external_task_id="e")
    assert (await official.at(name).create(external_task_id="e")).status_code == 200
    again = await official.at(name).create(external_task_id="e")
    assert again.status_code == 400
    assert "External_task_id e already exists" in again.json()["message"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_discontinued_model_is_refused_everywhere_by_the_same_judge(
    open_sandbox: Any, name: str
) -> None:
    strict = await open_sandbox(serve_retired=False)
    answer = await strict.at(name).create(model_name="kling-v1")
    assert answer.status_code == 404
    assert "'kling-v1' has been discontinued" in answer.json()["message"]
    served = await open_sandbox()
    assert (await served.at(name).create(model_name="kling-v1")).status_code == 200


MODELS: list[tuple[str, Any, int, Any]] = [
    ("newapi", None, 400, ("error", "")),
    ("newapi", ["kling-v3"], 400, ("error", "")),
    ("newapi", "kling-v9", 503, ("error", "model_not_found")),
    ("newapi", "kling-\ud800", 503, ("error", "model_not_found")),
    ("newapi-old", "kling-v9", 503, ("error", "")),
    ("anyfast", None, 400, ("error", "")),
    ("powertokens", "kling-v9", 503, ("error", "model_not_found")),
    ("cometapi", "kling-v9", 400, 1201),
]


@pytest.mark.parametrize(("name", "model", "status", "code"), MODELS)
async def test_a_model_that_nobody_serves_is_refused_by_the_gateway(
    open_sandbox: Any, name: str, model: Any, status: int, code: Any
) -> None:
    answer = await (await open_sandbox()).at(name).create(model_name=model)
    assert (answer.status_code, said(answer.json())) == (status, code)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", [b"", b"nonsense", b'{"a": NaN}'])
async def test_a_body_that_is_no_json_is_the_gateway_s_400(
    open_sandbox: Any, name: str, body: bytes
) -> None:
    caller = (await open_sandbox()).at(name)
    answer = await caller.http.post(f"{caller.root}/image2video", content=body)
    assert answer.status_code == 400
    assert said(answer.json())[0] == "error"


WRAPPED = {
    "rate-limit": (429, "fail_to_fetch_task"),
    "concurrency-retry-after": (429, "fail_to_fetch_task"),
    "ok-with-error": (200, "fail_to_fetch_task"),
    "internal": (500, "fail_to_fetch_task"),
    "maintenance": (503, "fail_to_fetch_task"),
    "backlog": (504, "fail_to_fetch_task"),
    "token-expired": (401, ("error", "")),
    "no-balance": (403, "insufficient_user_quota"),
}
OLD = WRAPPED | {"no-balance": (403, "quota_not_enough")}
FORWARDED = {
    "rate-limit": (429, ("error", "")),
    "concurrency-retry-after": (429, 1303),
    "ok-with-error": (200, 1201),
    "internal": (500, ("error", "")),
    "maintenance": (503, ("error", "")),
    "backlog": (504, ("error", "")),
    "token-expired": (401, ("error", "")),
    "no-balance": (403, ("error", "insufficient_user_quota")),
}
FAULTED = {
    "cometapi": FORWARDED,
    "powertokens": FORWARDED,
    "anyfast": OLD,
    "newapi": WRAPPED,
    "newapi-old": OLD,
}


@pytest.mark.parametrize("name", NAMES)
async def test_every_fault_is_worded_in_the_gateway_s_own_way(open_sandbox: Any, name: str) -> None:
    caller = (await open_sandbox(*(f"{fault}:1" for fault in FAULTED[name]))).at(name)
    for fault, expected in FAULTED[name].items():
        answer = await caller.create()
        assert (fault, answer.status_code, said(answer.json())) == (fault, *expected)
        assert answer.headers.get("retry-after") == ("1" if "retry" in fault else None)
    assert caller.store.counts().accepted == 0
    assert (await caller.create()).status_code == 200


async def test_new_api_hides_why_its_upstream_said_429(open_sandbox: Any) -> None:
    caller = (await open_sandbox("rate-limit:1", slots=0)).at("newapi")
    limited, full = await caller.create(), await caller.create()
    assert limited.status_code == full.status_code == 429
    assert limited.json() == full.json()
    assert "13" not in full.json()["message"]


@pytest.mark.parametrize("name", ["kling", *NAMES])
async def test_a_page_to_sign_in_on_or_nothing_at_all_comes_with_http_200(
    open_sandbox: Any, name: str
) -> None:
    official = await open_sandbox("html-login@creates:1", "empty-body:2")
    caller = official if name == "kling" else official.at(name)
    page, nothing, nothing_again = (
        await caller.create(),
        await caller.create(),
        await caller.query("1"),
    )
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Sign in</title>" in page.text
    assert nothing.content == nothing_again.content == b""
    assert {page.status_code, nothing.status_code, nothing_again.status_code} == {200}
    assert caller.store.counts().accepted == 0


@pytest.mark.parametrize("name", ["kling", *NAMES])
@pytest.mark.parametrize("fault", ["no-id", "empty-body-after-accept"])
async def test_a_task_may_be_made_though_its_receipt_names_no_id(
    open_sandbox: Any, name: str, fault: str
) -> None:
    official = await open_sandbox(f"{fault}:1")
    caller = official if name == "kling" else official.at(name)
    answer = await caller.create(external_task_id="mine-1")
    assert answer.status_code == 200
    assert official.store.body("mine-1", name)
    if fault == "no-id":
        receipt = answer.json()
        assert not {"id", "task_id"} & {*receipt, *receipt.get("data", {})}
        assert len(receipt) > 2
    else:
        assert answer.content == b""
