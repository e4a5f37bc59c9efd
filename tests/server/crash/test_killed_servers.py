"""Servers that are killed at any moment pay for nothing twice and lose nothing that was paid.

Everything in the table of products that the provider makes is made: thirty kills of each at Kling
and at a gateway. `KLING_MCP_CRASH_KILLS=400` asks for another number for each product,
`KLING_MCP_CRASH_SEED` for another course.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client
from tests.server.crash.lives import PICTURES, Wish, products_at
from tests.server.crash.verdict import breaches
from tests.server.serving import picture, sandbox_settings

from kling_mcp.protocol.server import build_server
from kling_tools.products import MADE, Made

CAMPAIGN = Path(__file__).with_name("campaign.py")
ROOT = CAMPAIGN.parents[3]
SEED = int(os.environ.get("KLING_MCP_CRASH_SEED", "20261121"))
KILLS = int(os.environ.get("KLING_MCP_CRASH_KILLS", "0"))
LONGEST_KILL_S = 3


@pytest.mark.anyio
@pytest.mark.parametrize("product", products_at("kling"))
async def test_the_campaign_wishes_for_each_product(product: Made, tmp_path: Path) -> None:
    for name in PICTURES:
        picture(tmp_path, name, (320, 320))
    wish = Wish(product, "wish 1 of 1", 1, "")
    async with Client(build_server(sandbox_settings(tmp_path))) as client:
        asked = {**wish.arguments(tmp_path), "dry_run": True}
        priced = await client.call_tool(MADE[product].tool, asked)

    told = priced.structured_content or {"faults": priced.content}
    assert not told.get("faults"), f"`Wish.arguments` requires the inputs of {product}"


@pytest.mark.campaign
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be many and fast")
@pytest.mark.parametrize(("provider", "kills"), [("kling", 30), ("newapi", 30)])
def test_killed_servers_pay_nothing_twice_and_lose_nothing(
    provider: str, kills: int, tmp_path: Path
) -> None:
    kills = KILLS or kills
    command = [sys.executable, str(CAMPAIGN), str(tmp_path), f"--kills={kills}", f"--seed={SEED}"]
    done = subprocess.run(
        [*command, f"--provider={provider}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120 + kills * LONGEST_KILL_S * len(products_at(provider)),
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    log = tmp_path / "broken.log"
    assert not log.exists(), log.read_text() + done.stderr
    assert done.stderr == ""
    print({name: value for name, value in report.items() if name != "grounds"})
    assert breaches(tmp_path, report) == [], f"seed {SEED}"
    assert set(report["steps"]) == set(products_at(provider))
    assert report["broken"] == 0
    for product, steps in report["steps"].items():
        assert sum(steps.values()) >= kills, product
        assert min(steps.values()) > 0, (product, steps)
