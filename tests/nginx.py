"""nginx before some servers on this machine, set up by the file that is shipped for it."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from kling_sandbox.app import bound_socket

__all__ = ["behind_nginx"]

SHIPPED = Path(__file__).parents[1] / "deploy" / "nginx.conf"
SETUP = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/shipped.conf;
}}
"""


@contextmanager
def behind_nginx(upstreams: Sequence[int], folder: Path) -> Iterator[str]:
    """The URL of an nginx that hands requests to these ports in turn; the test is skipped where
    nginx is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no nginx")
    folder.mkdir(parents=True, exist_ok=True)
    with closing(bound_socket("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    one = "server kling-mcp:8000 max_fails=1 fail_timeout=1s;"
    shipped = SHIPPED.read_text()
    assert one in shipped
    assert "listen 8080;" in shipped
    servers = " ".join(one.replace("kling-mcp:8000", f"127.0.0.1:{own}") for own in upstreams)
    ours = shipped.replace(one, servers).replace("listen 8080;", f"listen 127.0.0.1:{port};")
    (folder / "shipped.conf").write_text(ours)
    user = "user root;" if os.geteuid() == 0 else ""
    setup = folder / "nginx.conf"
    setup.write_text(SETUP.format(user=user, folder=folder))
    process = subprocess.Popen([program, "-c", str(setup), "-e", str(folder / "error.log")])
    url = f"http://127.0.0.1:{port}"
    try:
        _answers(url)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return
