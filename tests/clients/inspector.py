"""Makes a video with the Inspector's command line, which is started anew for each call."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.outside_suites import node, node_modules

__all__ = ["Inspector"]

LAUNCHER = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
TOOL_SAID_NO = 5
"""Exit status after an answer with isError."""


@dataclass(frozen=True)
class Inspector:
    """The Inspector on one server; `environment` is its own, and a server's that it starts."""

    era: str
    target: list[str]
    environment: dict[str, str]
    folder: Path

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """One run against the server, finished."""
        kept = [
            part
            for name, value in self.environment.items()
            if not self.target[0].startswith("http")
            for part in ("-e", f"{name}={value}")
        ]
        launcher = str(node_modules() / LAUNCHER)
        fixed = [node(), launcher, "--cli", "--format", "json", "--protocol-era", self.era]
        return subprocess.run(
            [*fixed, *kept, *options, *self.target],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def call(self, tool: str, given: dict[str, Any]) -> dict[str, Any]:
        """A tool's result; AssertionError when there is none."""
        done = self.run(
            "--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(given)
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)["result"]
        return result

    def report(self, image: str) -> dict[str, Any]:
        """The same report as the other clients print."""
        listed = self.run("--method", "tools/list", "--strict")
        assert (listed.returncode, listed.stderr) == (0, "")
        tools = json.loads(listed.stdout)["result"]["tools"]
        wish = {"image": image, "prompt": "Slow zoom"}
        made = self.call("kling_image_to_video", wish)["structuredContent"]
        ids = [made["task_id"]]
        waited = self.call("kling_wait_for_tasks", {"task_ids": ids})["structuredContent"]
        assert waited["done"] is True
        saved = self.call("kling_save_video", {"task_id": ids[0]})
        bad = json.dumps({**wish, "duration": "7"})
        refused = self.run(
            *("--method", "tools/call", "--tool-name", "kling_image_to_video"),
            *("--tool-args-json", bad),
        )
        said = refused.stdout if refused.returncode == TOOL_SAID_NO else refused.stderr
        return {
            "tools": len(tools),
            "path": saved["structuredContent"]["path"],
            "refusal": said,
            "era": "modern" if "resultType" in saved else "legacy",
            "version": self.run("--version").stdout.strip(),
        }
