"""A sandbox over HTTP on this machine, for tests whose servers are processes of their own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server.serving import SIDE_PX

from kling_sandbox import SandboxConfig, create_app, parse_faults
from kling_sandbox.app import bound_socket, server_of

__all__ = ["served_sandbox", "settings_of"]


@contextmanager
def served_sandbox(
    home: Path, *faults: str, keys: tuple[str, ...] = ("sandbox-key",)
) -> Iterator[str]:
    """Serve a sandbox with these faults and API keys in a thread; its URL."""
    listener = bound_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = SandboxConfig(
        home=home,
        api_keys=keys,
        faults=parse_faults(faults),
        public_url=url,
        queue_s=0,
        render_s=0,
        side_px=SIDE_PX,
    )
    server = server_of(create_app(config))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.server_state.default_headers:  # its first answers would have no Date
            thread.join(0.005)
            assert thread.is_alive()
        yield url
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()


def settings_of(folder: Path, url: str, provider: str = "kling") -> dict[str, Any]:
    """The settings, as JSON holds them, of a server that uses it and writes below the folder."""
    base_url = url if provider == "kling" else f"{url}/{provider}"
    return {
        "provider": provider,
        f"{provider}_api_key": "sandbox-key",
        f"{provider}_base_url": base_url,
        "home": str(folder / "home"),
        "output_dir": str(folder / "videos"),
        "image_roots": [str(folder)],
    }
