"""Servers that are killed at any moment pay for nothing twice and lose nothing that was paid.

Two hundred kills at Kling and sixty at a gateway; `KLING_MCP_CRASH_KILLS=2000` asks for another
number of them, `KLING_MCP_CRASH_SEED` for another course.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.crash.verdict import breaches

pytestmark = pytest.mark.campaign

CAMPAIGN = Path(__file__).with_name("campaign.py")
ROOT = CAMPAIGN.parents[3]
SEED = int(os.environ.get("KLING_MCP_CRASH_SEED", "20261121"))
KILLS = int(os.environ.get("KLING_MCP_CRASH_KILLS", "0"))
LONGEST_KILL_S = 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be many and fast")
@pytest.mark.parametrize(("provider", "kills"), [("kling", 200), ("newapi", 60)])
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
        timeout=120 + kills * LONGEST_KILL_S,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    log = tmp_path / "broken.log"
    assert not log.exists(), log.read_text() + done.stderr
    assert done.stderr == ""
    print({name: value for name, value in report.items() if name != "grounds"})
    assert breaches(tmp_path, report) == [], f"seed {SEED}"
    assert report["kills"] >= kills
    assert report["broken"] == 0
    assert min(report["steps"].values()) > 0, report["steps"]
