"""Servers of a team as processes: on one database, with homes of their own, before one sandbox."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kling_mcp.hosting.tokens import TokenFile, new_token
from kling_mcp.principal import READ, SPEND

__all__ = ["Fleet", "fleet", "sandbox_process"]

PORT = re.compile(r"http://127\.0\.0\.1:(\d+)")


@dataclass
class Replica:
    """One server: its port stays the same however often it is started."""

    folder: Path
    port: int
    environment: Mapping[str, str]
    process: subprocess.Popen[str] | None = None
    lines: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start it, and return when it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "kling_mcp", "serve", "--http", "--port", str(self.port)]
        errors = (self.folder / "errors").open("a")
        with errors:
            self.process = subprocess.Popen(
                command, env=dict(self.environment), cwd=self.folder, stderr=errors
            )

    def kill(self) -> None:
        """As a machine that loses its power."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """As one that is shut down."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)


@dataclass
class Fleet:
    """The replicas, and the token that its callers log in with."""

    replicas: Sequence[Replica]
    token: str


@contextmanager
def fleet(
    count: int, ports: Sequence[int], folder: Path, database: str, sandbox: str, public_url: str
) -> Iterator[Fleet]:
    """So many servers at these ports; stopped at the end."""
    text, line = new_token("studio", [READ, SPEND])
    TokenFile(folder / "tokens").write([line])
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KLING_API_KEY": "sandbox-key",
        "KLING_BASE_URL": sandbox,
        "KLING_MCP_DATABASE": database,
        "KLING_MCP_TOKENS": str(folder / "tokens"),
        "KLING_MCP_PUBLIC_URL": public_url,
        "KLING_MCP_SECRET": "the same for all of them, and long enough",
        "KLING_MCP_RATE_PER_MINUTE": "0",
        "KLING_MCP_IMAGE_ROOTS": str(folder),
    }
    replicas = [
        Replica(
            folder / f"replica-{number}",
            port,
            {
                **environment,
                "KLING_MCP_HOME": str(folder / f"replica-{number}" / "home"),
                "KLING_MCP_OUTPUT_DIR": str(folder / f"replica-{number}" / "videos"),
            },
        )
        for number, port in zip(range(count), ports, strict=True)
    ]
    with ExitStack() as stack:
        for replica in replicas:
            replica.start()
            stack.callback(replica.stop)
        yield Fleet(replicas, text)


@contextmanager
def sandbox_process(home: Path, *options: str) -> Iterator[str]:
    """A sandbox of its own process; its URL."""
    command = [sys.executable, "-m", "kling_mcp", "sandbox", "--port", "0", "--home", str(home)]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "the sandbox did not start"
            found = PORT.search(line)
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)
