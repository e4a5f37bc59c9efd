"""Every agent in examples/agents makes a video, with a script in its model's place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.outside_suites import client_python

pytestmark = pytest.mark.campaign

AGENTS = Path(__file__).resolve().parents[2] / "examples" / "agents"
LIMIT_S = 120


@pytest.mark.parametrize("program", sorted(AGENTS.glob("*.py")), ids=lambda path: path.name)
@pytest.mark.parametrize("render_s", ["0", "3"])
def test_an_agent_says_where_its_video_is(program: Path, render_s: str, tmp_path: Path) -> None:
    kind = "langchain" if program.name.startswith("langchain") else "agents"
    ran = subprocess.run(
        [client_python(kind), str(program)],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "KLING_MCP_HOME": str(tmp_path / "home"),
            "KLING_MCP_OUTPUT_DIR": str(tmp_path / "videos"),
            "KLING_MCP_SANDBOX_QUEUE_S": "0",
            "KLING_MCP_SANDBOX_RENDER_S": render_s,
        },
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (video,) = (tmp_path / "videos").glob("*.mp4")
    assert ran.stdout.splitlines()[-1] == str(video)
