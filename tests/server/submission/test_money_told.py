"""Money is told as it is: a reseller's price, a cap that cannot hold it, and what was play."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.loopback import served_sandbox
from tests.server.scripted import facts, make, words
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_mcp.providers.configured import SANDBOX_ACCESS_KEY, SANDBOX_KEY
from kling_sandbox import SandboxConfig

pytestmark = pytest.mark.anyio

RESELLER: dict[str, Any] = {"provider": "cometapi", "cometapi_base_url": "sandbox"}


def at(folder: Path, **settings: Any) -> Client:
    return Client(build_server(sandbox_settings(folder, **settings)))


async def test_a_reseller_s_price_is_never_a_flat_fact(tmp_path: Path) -> None:
    async with at(tmp_path, **RESELLER) as client:
        made = await make(client, tmp_path)
        done = await client.call_tool(
            "kling_wait_for_tasks", {"task_ids": [facts(made)["task_id"]]}
        )

    assert "units at Kling's list price; cometapi sets its own" in words(made)
    assert "estimate_usd" not in facts(made)
    for task in facts(done)["tasks"]:
        assert "units" not in task or task["billed_by"] == "cometapi"


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [({}, {"max_units": 5}), ({"max_units_per_task": 5}, {}), ({"max_units_per_day": 50}, {})],
)
@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_cap_in_units_at_a_reseller_says_what_it_can_hold(
    settings: dict[str, Any], arguments: dict[str, Any], dry_run: bool, tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "dry_run": dry_run, **arguments}
    async with at(tmp_path, **RESELLER, **settings) as client:
        capped = await client.call_tool("kling_image_to_video", wish)
    async with at(tmp_path, provider="kling", kling_base_url="sandbox", **settings) as client:
        at_kling = await client.call_tool("kling_image_to_video", {**wish, "take": 2})

    assert "cometapi sets its own prices, so no cap here holds its bill" in words(capped)
    assert "no cap here holds" not in words(at_kling)


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [({}, {"max_units": 5}), ({"max_units_per_task": 5}, {}), ({"max_units_per_day": 50}, {})],
)
async def test_with_an_unknown_price_no_answer_advises_a_larger_cap(
    settings: dict[str, Any], arguments: dict[str, Any], tmp_path: Path
) -> None:
    wish = {"image": picture(tmp_path), "prompt": "Zoom", "model_name": "kling-v99"}
    async with at(tmp_path, **settings) as client:
        refused = await client.call_tool("kling_image_to_video", {**wish, **arguments})

    assert refused.is_error
    assert facts(refused)["error"] == "spend_cap_reached"
    assert "raise" not in words(refused).casefold()
    assert "price is known" in words(refused)


async def test_a_real_row_is_not_called_play_because_the_sandbox_is_on_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.server.scripted import Scripted, ends, talking_to

    provider = Scripted(ends(task_status="processing"))
    with monkeypatch.context() as real:
        async with talking_to(provider, tmp_path, real) as client:
            await make(client, tmp_path)
    async with at(tmp_path) as client:
        listed = await client.call_tool("kling_list_tasks", {})
        account = await client.call_tool("kling_account", {})

    assert "nothing is charged" not in words(listed)
    assert "sandbox" not in facts(listed)["tasks"][0]
    assert facts(account)["spent"][0]["provider"] == "kling"


@pytest.fixture
def over_http(tmp_path: Path) -> Iterator[str]:
    with served_sandbox(tmp_path / "played") as url:
        yield url


OWN_KEYS: list[dict[str, Any]] = [
    {"provider": "kling", "kling_api_key": "sandbox-key"},
    {
        "provider": "kling",
        "kling_access_key": "sandbox-access",
        "kling_secret_key": SandboxConfig(Path()).secret_key,
    },
]


@pytest.mark.parametrize("keys", OWN_KEYS, ids=["key", "pair"])
async def test_a_sandbox_over_http_costs_nothing_and_says_so(
    keys: dict[str, Any], over_http: str, tmp_path: Path, anyio_backend: str
) -> None:
    async with at(tmp_path, **keys, kling_base_url=over_http, max_units_per_day=2) as client:
        wish = {"image": picture(tmp_path), "prompt": "Zoom"}
        made = await client.call_tool("kling_image_to_video", wish)
        waited = await client.call_tool(
            "kling_wait_for_tasks", {"task_ids": [facts(made)["task_id"]]}
        )
        over = await client.call_tool("kling_image_to_video", {**wish, "take": 2})
        account = await client.call_tool("kling_account", {})

    assert "Sandbox: nothing is charged" in words(made)
    assert "(kling, sandbox)" in words(waited) or "(sandbox)" in words(waited)
    assert "would have cost 1.5 units" in words(waited)
    assert "1.5 of the sandbox's play money were spent" in words(over)
    assert facts(account).get("spent", []) == []
    assert "nothing is charged" in words(account)


async def test_another_key_at_the_same_address_is_taken_for_real_money(
    tmp_path: Path, anyio_backend: str
) -> None:
    for key, url in [
        ("a-key-of-a-person-0123", "http://127.0.0.1:9"),
        ("sandbox-key", "https://gateway.example"),
    ]:
        real = {"provider": "kling", "kling_api_key": key, "kling_base_url": url}
        async with at(tmp_path, **real) as client:
            wish = {"image": picture(tmp_path), "prompt": "Zoom", "dry_run": True}
            priced = await client.call_tool("kling_image_to_video", wish)

        assert "about 1.5 units" in words(priced)
        assert "andbox" not in words(priced)


def test_the_keys_that_cost_nothing_are_the_sandbox_s_own() -> None:
    own = SandboxConfig(Path())

    assert own.api_keys == (SANDBOX_KEY,)
    assert own.access_key == SANDBOX_ACCESS_KEY
